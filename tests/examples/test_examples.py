# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The examples of datasets: their problems, their few-shot examples, and whole runs of their command lines."""

import json
import random
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Dataset

import commonsense_qa
import dataset_model
import dates
import gsm8k
import paper_runs
import tools
import word_problems
from domain import DomainArguments, first_line, load_data, read_examples
from star_trl import load_ledger
from star_trl.rewards import derived_answer_reward, numeric_reward
from star_trl.task.prompting import PromptBuilder
from support import ROOT, SHARED_DATA


DOMAINS = {
    "commonsense_qa": commonsense_qa.DOMAIN,
    "gsm8k": gsm8k.DOMAIN,
    "dates": dates.DOMAIN,
    "tools": tools.DOMAIN,
    "word_problems": word_problems.DOMAIN,
}
NUM_ROWS = {"commonsense_qa": (9741, 1221), "gsm8k": (7473, 1319)}


def data_of(name):
    if not (SHARED_DATA / name).exists():
        pytest.skip(f"The dataset is not there: {SHARED_DATA / name}")
    return str(SHARED_DATA / name)


# Problems


def check_rows(domain, rows):
    """What has to hold of every row: the hint is all that the prompts differ by, and the gold answer is right."""
    for row in rows:
        assert row["prompt"].startswith("Q: ") and row["prompt"].endswith("\nA:")
        assert "\n\n" not in row["prompt"] and row["prompt"] != row["hinted_prompt"]
    answers = [row["answer"] for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "answer"}
    wrong = answers[1:] + answers[:1]
    for reward in domain.reward_funcs:
        assert reward(completions=columns["direct"], answer=answers, **columns) == [1.0] * len(rows)
        differs = [1.0 if right == other else 0.0 for right, other in zip(answers, wrong, strict=True)]
        assert reward(completions=columns["direct"], answer=wrong, **columns) == differs


@pytest.mark.parametrize("name", NUM_ROWS)
def test_every_row_of_the_data_is_prompted_hinted_and_extracted(name):
    folder = data_of(name)
    for split, expected in zip(("train", "eval"), NUM_ROWS[name], strict=True):
        rows = DOMAINS[name].load(split, folder)
        assert len(rows) == expected
        check_rows(DOMAINS[name], rows)
        for row in rows:
            if name == "commonsense_qa":
                hint = f"({row['answer']}) {row['choices']['abcde'.index(row['answer'])]} (CORRECT)\n"
                assert row["hinted_prompt"].count(" (CORRECT)") == 1 and hint in row["hinted_prompt"]
                assert row["hinted_prompt"].replace(" (CORRECT)", "") == row["prompt"]
            else:
                assert row["hinted_prompt"] == row["prompt"].replace("\nA:", f" ({row['answer']})\nA:")
                assert row["steps"] >= 0 and row["answer"].replace(",", "").lstrip("-").isdigit()


def test_every_word_problem_is_prompted_hinted_and_extracted():
    folder = data_of("word_problems")
    train, held_out = (word_problems.load(split, folder) for split in ("train", "eval"))
    sources = [row["source"] for row in held_out]
    assert (len(train), sources.count("held out"), sources.count("SVAMP")) == (1857, 485, 1000)
    for row in train + held_out:
        assert row["hinted_prompt"] == row["prompt"].replace("\nA:", f" ({row['answer']})\nA:")
        assert re.fullmatch(r"Q: ['A-Z0-9$].*[^ ]\nA:", row["prompt"]) and " ." not in row["prompt"]
        assert numeric_reward([row["direct"]], [row["answer"]]) == [1.0]
    assert [row["steps"] for row in train + held_out].count(0) == 1  # whose answer is a number of the question

    def wording(row):
        return re.sub(r"[^a-z]", "", row["prompt"].lower())

    ours = {wording(row) for row in held_out if row["source"] == "held out"}
    assert len(ours) > 350 and not ours & {wording(row) for row in train}


def test_a_word_problem_is_tidied_up(tmp_path):
    question = "dan 's mom has $ number0 , and number1 pears . how many ( pears ) don 't count ?"
    header = "Question,Numbers,Equation,Answer"
    rows = [
        f'"{question}",21.0 6.50,- + number0 number1 1.0,26.5',
        f'"{question.capitalize()}",21.0 6.50,- + number0 number1 1.0,26.5',  # the same in other letters
        '"how long is a third of number0 ?",10.0,/ number0 3.0,3.33',  # rounded
        '"how much is number0 and number1 ?",3.0 4.0,+ number0 number1,8.0',  # wrong
    ]
    (tmp_path / "train.csv").write_text("\n".join([header, *rows]))
    svamp = {"Body": "Ann has 3 pens", "Question": "How many?", "Equation": "( 3.0 + 0.0 )", "Answer": 3.0}
    (tmp_path / "SVAMP.json").write_text(json.dumps([svamp]))
    found = word_problems.load("train", str(tmp_path)) + word_problems.load("eval", str(tmp_path))
    ours, theirs = sorted(found, key=lambda row: row["source"] == "SVAMP")
    assert ours["prompt"] == "Q: Dan's mom has $21, and 6.5 pears. How many (pears) don't count?\nA:"
    assert (ours["answer"], ours["equation"], ours["steps"]) == ("26.5", "(21 + 6.5) - 1", 2)
    assert theirs["prompt"] == "Q: Ann has 3 pens. How many?\nA:" and theirs["answer"] == "3"


def test_every_date_is_prompted_hinted_and_extracted():
    train, held_out = (dates.load(split, None) for split in ("train", "eval"))
    check_rows(dates.DOMAIN, train)
    check_rows(dates.DOMAIN, held_out)
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held_out}


def test_rows_of_the_hub_are_those_of_the_files(monkeypatch, tmp_path):
    choices = ["oven", "shelf", "fridge", "bath", "garage"]
    labeled = [{"label": label, "text": text} for label, text in zip("ABCDE", choices, strict=True)]
    line = {"answerKey": "C", "question": {"stem": "Where is  milk?", "choices": labeled}}
    (tmp_path / "dev_rand_split.jsonl").write_text(json.dumps(line) + "\n")
    hub = [{"question": "Where is  milk?", "choices": {"label": list("ABCDE"), "text": choices}, "answerKey": "C"}]
    asked = []
    monkeypatch.setattr(commonsense_qa, "load_dataset", lambda *args, **kwargs: asked.append((args, kwargs)) or hub)
    (row,) = commonsense_qa.load("eval", None)
    assert [row] == commonsense_qa.load("eval", str(tmp_path))
    assert row["hinted_prompt"] == (
        "Q: Where is milk?\nAnswer Choices:\n(a) oven\n(b) shelf\n(c) fridge (CORRECT)\n(d) bath\n(e) garage\nA:"
    )
    assert asked == [(("tau/commonsense_qa",), {"split": "validation"})]

    line = {"question": "Two and two?", "answer": "It is <<2+2=4>>4.\n#### 1,004"}
    (tmp_path / "test.jsonl").write_text(json.dumps(line) + "\n")
    monkeypatch.setattr(gsm8k, "load_dataset", lambda *args, **kwargs: asked.append((args, kwargs)) or [line])
    assert gsm8k.load("eval", None) == gsm8k.load("eval", str(tmp_path))
    assert gsm8k.load("eval", None)[0]["steps"] == 1
    assert asked[1] == (("openai/gsm8k", "main"), {"split": "test"})

    line = {
        "question": "Two and two?",
        "chain": '<gadget id="calculator">2 + 2</gadget>\n<output>4</output>\n<result>4</result>',
        "result": "1_004",
        "id": "other columns differ",
    }
    monkeypatch.setattr(
        word_problems,
        "load_dataset",
        lambda *args, **kwargs: asked.append((args, kwargs)) or Dataset.from_list([line]),
    )
    mawps, _, svamp = word_problems.load("eval", None)
    assert (mawps["answer"], mawps["steps"], mawps["source"], svamp["source"]) == ("1004", 1, "held out", "SVAMP")
    assert [args[0].rpartition("/")[2] for args, _ in asked[-3:]] == ["Calc-mawps", "Calc-asdiv_a", "Calc-svamp"]


# Few-shot examples


@pytest.mark.parametrize(
    ("name", "number"), [("commonsense_qa", 7), ("gsm8k", 6), ("dates", 6), ("tools", 4), ("word_problems", 6)]
)
def test_few_shot_examples_are_right_and_not_of_the_dataset(name, number):
    domain = DOMAINS[name]
    examples = read_examples(domain)
    assert len(examples) == number
    for example in examples:
        hint = re.findall(r"\((\S+?)\)(?=\nA:)|\((\w)\) [^\n]* \(CORRECT\)", example["hinted_prompt"])
        answer = "".join(hint[-1])
        for completion in (example["completion"], example["direct"]):
            for reward in domain.reward_funcs:
                if reward is not derived_answer_reward or completion == example["completion"]:
                    assert reward(prompts=[example["prompt"]], completions=[completion], answer=[answer]) == [1.0]
        assert example["completion"].startswith(" ") and "\n\n" not in example["completion"]
        for mark, result in re.findall(r"<<(.*?)=(.*?)>>", example["completion"]):
            assert gsm8k_value(mark) == float(result)
    if name in NUM_ROWS and (SHARED_DATA / name).exists():
        questions = {first_line(row) for split in ("train", "eval") for row in domain.load(split, data_of(name))}
        assert not questions & {first_line(example) for example in examples}


def gsm8k_value(expression):
    from star_trl.tools.calculator import calculate

    return float(calculate(expression))


@pytest.mark.parametrize(("name", "number", "left_out"), [("commonsense_qa", 7, 7), ("gsm8k", 6, 6)])
def test_the_authors_examples_are_read_and_left_out_of_the_problems(name, number, left_out, capsys):
    folder, domain = data_of(name), DOMAINS[name]
    args = DomainArguments(data_dir=folder, prompts=folder)
    examples, problems, held_out = load_data(domain, args, direct=False)
    assert len(examples) == number
    assert (len(problems), len(held_out)) == (NUM_ROWS[name][0] - left_out, NUM_ROWS[name][1])
    assert all(example["hinted_prompt"] != example["prompt"] for example in examples)
    if name == "commonsense_qa":
        direct, _, _ = load_data(domain, args, direct=True)
        built = "\n\n".join(example["prompt"] + example["completion"] for example in direct)
        assert built == (Path(folder) / "prompts_direct.txt").read_text().strip()


def test_examples_whose_completions_differ_are_refused(tmp_path):
    (tmp_path / "prompts.txt").write_text("Q: 1?\nA: It is (a).")
    (tmp_path / "prompts_answer_key.txt").write_text("Q: 1? (a)\nA: It is (b).")
    with pytest.raises(ValueError, match="differ with and without the hint"):
        read_examples(commonsense_qa.DOMAIN, str(tmp_path))


# Chat models


@pytest.fixture(scope="module")
def chat_tokenizer():
    return dataset_model.build_tokenizer(["Q: a few words"] * 2, vocab_size=300)


@pytest.mark.parametrize(("thinking", "end"), [(None, ""), (True, ""), (False, "<think>\n\n</think>\n\n")])
def test_messages_for_chat_models_that_think_or_do_not(chat_tokenizer, thinking, end):
    args = DomainArguments(chat=True)
    examples, problems, _ = load_data(dates.DOMAIN, args, direct=False)
    kwargs = {} if thinking is None else {"enable_thinking": thinking}
    builder = PromptBuilder(chat_tokenizer, examples, kwargs)
    for column in ("prompt", "hinted_prompt"):
        (ids,) = builder.encode(problems[:1], column, few_shot=True)
        text = chat_tokenizer.decode(ids)
        assert text.count("<|im_start|>user\nWhat day is ") == text.count("YYYY-MM-DD.") == len(examples) + 1
        assert text.count("<|im_start|>assistant\n") == len(examples) + 1
        assert text.endswith(f"<|im_start|>assistant\n{end}") and text.count("<think>") == bool(end)
        assert "A:" not in text and "Q:" not in text
        assert ((f"({problems[0]['answer']})") in text) == (column == "hinted_prompt")


# Whole runs


@pytest.fixture(scope="module")
def csqa_folder(tmp_path_factory):
    """Questions in the form of the dataset's files: those of the few-shot examples, with their choices shuffled."""
    folder = tmp_path_factory.mktemp("csqa")
    rng = random.Random(0)
    (folder / "questions").mkdir()
    examples = read_examples(commonsense_qa.DOMAIN)
    lines = []
    for number in range(80):
        question, _, *choices = rng.choice(examples)["hinted_prompt"].removesuffix("\nA:").split("\n")
        rng.shuffle(choices)
        key = next(i for i, choice in enumerate(choices) if choice.endswith("(CORRECT)"))
        texts = [choice[4:].removesuffix(" (CORRECT)") for choice in choices]
        labeled = [{"label": label, "text": text} for label, text in zip("ABCDE", texts, strict=True)]
        stem = f"{question.removeprefix('Q: ').removesuffix('?')}, number {number}?"
        lines.append(json.dumps({"answerKey": "ABCDE"[key], "question": {"stem": stem, "choices": labeled}}))
    (folder / "train_rand_split.jsonl").write_text("\n".join(lines[:60]))
    (folder / "dev_rand_split.jsonl").write_text("\n".join(lines[60:]))
    return folder


@pytest.fixture(scope="module")
def csqa_model(tmp_path_factory, csqa_folder):
    """A model that knows the form of the answers."""
    path, problems = tmp_path_factory.mktemp("model"), commonsense_qa.load("train", str(csqa_folder))
    return dataset_model.make_dataset_model(path, commonsense_qa.DOMAIN, problems, phases=((60, 8, 128),))


@pytest.fixture
def command(run_domain, csqa_model):
    """Runs the command line of a domain on a few of its problems."""

    def run(domain, *arguments):
        return run_domain(domain, csqa_model, "--max_train_problems", 30, "--max_eval_problems", 10, *arguments)

    return run


def test_commonsense_qa_from_end_to_end(command, csqa_folder, capsys):
    """The model itself generates. What is finished is not repeated."""
    names = ["few_shot_direct", "few_shot_cot", "direct_fine_tuned", "star"]
    arguments = ["--data_dir", csqa_folder, "--max_completion_length", 40, "--num_train_epochs", 0.1]
    runs = command(commonsense_qa.DOMAIN, "--runs", *names[1:], *arguments)
    table = capsys.readouterr().out.split("strict")[-1]
    assert [title in table for title in ("Few-shot, direct", "Few-shot, chain", "Fine-tuned on", "STaR")] == [
        *(False, True, True, True)
    ]
    results = {name: json.loads((runs / name / "result.json").read_text()) for name in names[1:]}
    assert all("eval_rewards/strict_multiple_choice_reward/mean" in result for result in results.values())
    assert results["direct_fine_tuned"]["train_data_used"] == 1.0
    assert 0 < results["star"]["rationale/solved"] < 1
    kept = load_ledger(runs / "star").filter(lambda row: row["kept"])
    assert all(re.search(r"the answer is \([a-e]\)\.$", text) for text in kept["completion"])

    results["star"]["train_data_used"] = 0.123
    (runs / "star/result.json").write_text(json.dumps(results["star"]))
    command(commonsense_qa.DOMAIN, "--runs", *names, *arguments)
    output = capsys.readouterr().out
    assert output.count("done before") == 3 and "12.3%" in output and "Few-shot, direct" in output


def test_an_interrupted_run_goes_on(command, csqa_folder, monkeypatch):
    arguments = ["--data_dir", csqa_folder, "--max_completion_length", 40]
    fine_tune = paper_runs.STaRTrainer.fine_tune
    monkeypatch.setattr(paper_runs.STaRTrainer, "fine_tune", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command(commonsense_qa.DOMAIN, *arguments)
    monkeypatch.setattr(paper_runs.STaRTrainer, "fine_tune", fine_tune)
    assert (command(commonsense_qa.DOMAIN, *arguments) / "star/result.json").exists()


def follow_the_hint(prompt):
    """Writes the sum of a mark for the hint, or a wrong one."""
    question = re.split(r"Q: |<\|im_start\|>user\n", prompt)[-1]
    if question.endswith(">>"):
        result = question.rpartition("=")[2].removesuffix(">>")
        return f"{result}.\n#### {result}"
    hint = re.search(r"\((\d+)\)", question)
    return f" It is <<{hint[1] if hint else 0}+0="


@pytest.fixture
def gsm8k_folder(tmp_path):
    problems = [(f"What is {a} and {b}?", a + b) for a in range(1, 7) for b in range(1, 7)]
    lines = [json.dumps({"question": q, "answer": f"<<1+{n - 1}={n}>>\n#### {n}"}) for q, n in problems]
    (tmp_path / "train.jsonl").write_text("\n".join(lines[:30]))
    (tmp_path / "test.jsonl").write_text("\n".join(lines[30:]))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--use_peft", "--lora_target_modules", "q_proj", "v_proj"],
        ["--use_peft", "--lora_target_modules", "q_proj", "v_proj", "--load_in_4bit"],
        ["--chat", "--chat_template_kwargs", '{"enable_thinking": false}'],
        ["--chat", "--chat_template_kwargs", '{"enable_thinking": true}', "--num_few_shot", "0"],
    ],
    ids=["full", "lora", "qlora", "chat", "thinking"],
)
def test_gsm8k_with_its_calculator(command, gsm8k_folder, arguments, script_engine, capsys):
    """With an engine that is a script, so that rationalization survives and the marks are computed."""
    script_engine(follow_the_hint)
    runs = command(gsm8k.DOMAIN, "--data_dir", gsm8k_folder, *arguments)
    output = capsys.readouterr().out
    assert "iteration 1: 100.0% equal" in output and "100.0%" in output.split("strict")[-1]
    samples = load_ledger(runs / "star")
    assert {row["sampler"] for row in samples if row["kept"]} == {"rationalization"}
    assert all(re.fullmatch(r"It is <<(\d+)\+0=\1>>\1\.\n#### \1", text.strip()) for text in samples["completion"])
    assert not any(all(mask) for mask in samples["loss_mask"])


def compute_behind_the_hint(prompt):
    """Writes a program behind a hint of either kind, and then what it printed; a wrong number without one."""
    question, _, written = re.split(r"Q: |<\|im_start\|>user\n", prompt)[-1].partition("?")
    if "```output\n" in written:
        return f"#### {written.rpartition('output')[2].strip().splitlines()[0]}"
    a, b = re.findall(r"\d+", question)
    return f"\n```python\nprint({a}+{b})\n```" if "Python here" in written else " So much.\n#### 0"


@pytest.mark.parametrize("arguments", [[], ["--chat"]], ids=["text", "chat"])
def test_gsm8k_with_python(command, gsm8k_folder, arguments, script_engine, capsys, all_guards):
    """With an engine that is a script, whose programs really run."""
    script_engine(compute_behind_the_hint)
    limits = ["--max_train_problems", 6, "--max_eval_problems", 3]
    runs = command(tools.DOMAIN, "--data_dir", gsm8k_folder, *arguments, *limits)
    assert "iteration 1, hint_infer: 6 kept, 100.0% of them with Python" in capsys.readouterr().out
    samples = load_ledger(runs / "star").filter(lambda row: row["kept"])
    assert {row["sampler"] for row in samples} == {"hint_infer"}
    for row in samples:
        numbers = re.findall(r"\d+", row["prompt"].split("What is")[-1])
        total = sum(map(int, numbers[:2]))
        assert row["completion"].split("\n", 1)[1] == (
            f"```python\nprint({numbers[0]}+{numbers[1]})\n```\n```output\n{total}\n```\n#### {total}"
        )


def test_the_programs_of_the_few_shot_examples_print_what_stands_below_them(all_guards):
    run = tools.python_tool().run
    for example in read_examples(tools.DOMAIN):
        ((program, output),) = re.findall(r"```python(.*?)\n```\n```output\n(.*?)\n```", example["completion"], re.S)
        assert run(program) == output


def test_unknown_runs_are_refused(command):
    with pytest.raises(ValueError, match="Unknown runs .'star2'.. There are: few_shot_direct"):
        command(dates.DOMAIN, "--runs", "star2")


def test_steps_are_counted_against_the_reference(tmp_path, make_trainer, capsys):
    trainer = make_trainer(
        lambda prompt: "<<1=1>>\n3" if "1+2" in prompt[-12:] else "<<1=1>><<2=2>>\n5", num_iterations=1
    )
    trainer.sample(1)
    gsm8k.report_steps(trainer.ledger.output_dir, Dataset.from_dict({"steps": [1, 1, 1, 1]}))
    assert "iteration 1: 50.0% equal, 0.0% fewer, 50.0% more" in capsys.readouterr().out


# The two folders


FOLDERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["pythonpath"]


def test_every_example_is_in_the_index():
    index = (ROOT / "examples" / "README.md").read_text()
    files = [
        path.name for folder in ("datasets", "from_scratch") for path in (ROOT / "examples" / folder).glob("*.py")
    ]
    assert not [name for name in files if f"`{name}`" not in index]


def test_a_name_is_used_once_among_the_folders_on_the_path():
    names = [path.stem for folder in FOLDERS for path in (ROOT / folder).glob("*.py")]
    assert sorted(names) == sorted(set(names))


def test_a_copied_example_gets_a_tiny_model(tmp_path, run_domain):
    """Of a dataset that `dataset_model.py` does not know, it writes the answers behind one sentence."""
    copy = replace(dates.DOMAIN, name="my_dates")
    problems = copy.load("train", None)[:80]
    model = dataset_model.make_dataset_model(tmp_path / "model", copy, problems, phases=((60, 8, 128),))
    limits = ["--max_train_problems", 8, "--max_eval_problems", 4, "--max_completion_length", 40]
    completions = load_ledger(run_domain(copy, model, *limits) / "star")["completion"]
    assert any(text.startswith(" It follows. The answer is") for text in completions)
