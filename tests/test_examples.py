# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The examples of datasets: their problems, their few-shot examples, and whole runs of their command lines."""

import json
import random
import re
import sys
from pathlib import Path

import pytest
from datasets import Dataset

from conftest import ScriptedEngine
from star_trl import load_ledger
from star_trl.prompting import PromptBuilder


EXAMPLES = Path(__file__).parents[1] / "examples"
DATA = Path(__file__).parents[2] / "shared/data"
sys.path.insert(0, str(EXAMPLES))

import baselines  # noqa: E402
import common  # noqa: E402
import commonsense_qa  # noqa: E402
import dates  # noqa: E402
import gsm8k  # noqa: E402
import tiny_model  # noqa: E402
import tools  # noqa: E402


TASKS = {"commonsense_qa": commonsense_qa.TASK, "gsm8k": gsm8k.TASK, "dates": dates.TASK, "tools": tools.TASK}
NUM_ROWS = {"commonsense_qa": (9741, 1221), "gsm8k": (7473, 1319)}


def data_of(name):
    if not (DATA / name).exists():
        pytest.skip(f"The dataset is not there: {DATA / name}")
    return str(DATA / name)


# Problems


def check_rows(task, rows):
    """What has to hold of every row: the hint is all that the prompts differ by, and the gold answer is right."""
    for row in rows:
        assert row["prompt"].startswith("Q: ") and row["prompt"].endswith("\nA:")
        assert "\n\n" not in row["prompt"] and row["prompt"] != row["hinted_prompt"]
    answers = [row["answer"] for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "answer"}
    wrong = answers[1:] + answers[:1]
    for reward in task.reward_funcs:
        assert reward(completions=columns["direct"], answer=answers, **columns) == [1.0] * len(rows)
        differs = [1.0 if right == other else 0.0 for right, other in zip(answers, wrong, strict=True)]
        assert reward(completions=columns["direct"], answer=wrong, **columns) == differs


@pytest.mark.parametrize("name", NUM_ROWS)
def test_every_row_of_the_data_is_prompted_hinted_and_extracted(name):
    folder = data_of(name)
    for split, expected in zip(("train", "eval"), NUM_ROWS[name], strict=True):
        rows = TASKS[name].load(split, folder)
        assert len(rows) == expected
        check_rows(TASKS[name], rows)
        for row in rows:
            if name == "commonsense_qa":
                hint = f"({row['answer']}) {row['choices']['abcde'.index(row['answer'])]} (CORRECT)\n"
                assert row["hinted_prompt"].count(" (CORRECT)") == 1 and hint in row["hinted_prompt"]
                assert row["hinted_prompt"].replace(" (CORRECT)", "") == row["prompt"]
            else:
                assert row["hinted_prompt"] == row["prompt"].replace("\nA:", f" ({row['answer']})\nA:")
                assert row["steps"] >= 0 and row["answer"].replace(",", "").lstrip("-").isdigit()


def test_every_date_is_prompted_hinted_and_extracted():
    train, held_out = (dates.load(split, None) for split in ("train", "eval"))
    check_rows(dates.TASK, train)
    check_rows(dates.TASK, held_out)
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


# Few-shot examples


@pytest.mark.parametrize(("name", "number"), [("commonsense_qa", 7), ("gsm8k", 6), ("dates", 6), ("tools", 4)])
def test_few_shot_examples_are_right_and_not_of_the_dataset(name, number):
    task = TASKS[name]
    examples = common.read_examples(EXAMPLES / "prompts" / name, task.direct_pattern)
    assert len(examples) == number
    for example in examples:
        hint = re.findall(r"\((\S+?)\)(?=\nA:)|\((\w)\) [^\n]* \(CORRECT\)", example["hinted_prompt"])
        answer = "".join(hint[-1])
        for completion in (example["completion"], example["direct"]):
            for reward in task.reward_funcs:
                assert reward(completions=[completion], answer=[answer]) == [1.0]
        assert example["completion"].startswith(" ") and "\n\n" not in example["completion"]
        for mark, result in re.findall(r"<<(.*?)=(.*?)>>", example["completion"]):
            assert gsm8k_value(mark) == float(result)
    if name in NUM_ROWS and (DATA / name).exists():
        questions = {common.first_line(row) for split in ("train", "eval") for row in task.load(split, data_of(name))}
        assert not questions & {common.first_line(example) for example in examples}


def gsm8k_value(expression):
    from star_trl.calculator import calculate

    return float(calculate(expression))


@pytest.mark.parametrize(("name", "number", "left_out"), [("commonsense_qa", 7, 7), ("gsm8k", 6, 6)])
def test_the_authors_examples_are_read_and_left_out_of_the_problems(name, number, left_out, capsys):
    folder, task = data_of(name), TASKS[name]
    args = common.TaskArguments(data_dir=folder, prompts=folder)
    examples, problems, held_out = common.load_data(task, args, direct=False)
    assert len(examples) == number
    assert (len(problems), len(held_out)) == (NUM_ROWS[name][0] - left_out, NUM_ROWS[name][1])
    assert all(example["hinted_prompt"] != example["prompt"] for example in examples)
    if name == "commonsense_qa":
        direct, _, _ = common.load_data(task, args, direct=True)
        built = "\n\n".join(example["prompt"] + example["completion"] for example in direct)
        assert built == (Path(folder) / "prompts_direct.txt").read_text().strip()


def test_examples_whose_completions_differ_are_refused(tmp_path):
    (tmp_path / "prompts.txt").write_text("Q: 1?\nA: It is (a).")
    (tmp_path / "prompts_answer_key.txt").write_text("Q: 1? (a)\nA: It is (b).")
    with pytest.raises(ValueError, match="differ with and without the hint"):
        common.read_examples(tmp_path, r"\(.\)")


# Chat models


@pytest.fixture(scope="module")
def chat_tokenizer():
    return tiny_model.build_tokenizer(["Q: a few words"] * 2, vocab_size=300)


@pytest.mark.parametrize(("thinking", "end"), [(None, ""), (True, ""), (False, "<think>\n\n</think>\n\n")])
def test_messages_for_chat_models_that_think_or_do_not(chat_tokenizer, thinking, end):
    args = common.TaskArguments(chat=True)
    examples, problems, _ = common.load_data(dates.TASK, args, direct=False)
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
    examples = common.read_examples(EXAMPLES / "prompts/commonsense_qa", r"\([a-e]\)\.")
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
    path = tmp_path_factory.mktemp("model")
    problems = commonsense_qa.load("train", str(csqa_folder))
    model, tokenizer = tiny_model.make_model(commonsense_qa.TASK, problems, phases=((60, 8, 128),))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def command(monkeypatch, tmp_path, csqa_model):
    """Runs the command line of a task, with what suits a tiny model."""

    def run(task, *arguments, output_dir=tmp_path / "runs"):
        given = f"""--output_dir {output_dir} --model_name_or_path {csqa_model} --num_iterations 1 --initial_steps 2
            --gradient_accumulation_steps 1 --use_cpu --bf16 false --gradient_checkpointing false --report_to none
            --disable_tqdm true --num_few_shot 2 --max_train_problems 30 --max_eval_problems 10"""
        monkeypatch.setattr(sys, "argv", [f"{task.name}.py", *given.split(), *map(str, arguments)])
        baselines.main(task)
        return output_dir

    return run


def test_commonsense_qa_from_end_to_end(command, csqa_folder, capsys, monkeypatch):
    """The model itself generates. What is finished is not repeated."""
    names = ["few_shot_direct", "few_shot_cot", "direct_fine_tuned", "star"]
    arguments = ["--data_dir", csqa_folder, "--max_completion_length", 40, "--num_train_epochs", 0.1]
    runs = command(commonsense_qa.TASK, "--runs", *names[1:], *arguments)
    table = capsys.readouterr().out.split("strict")[-1]
    assert [title in table for title in ("Few-shot, direct", "Few-shot, chain", "Fine-tuned on", "STaR")] == [
        *(False, True, True, True)
    ]
    results = {name: json.loads((runs / name / "result.json").read_text()) for name in names[1:]}
    assert all("eval_rewards/strict_multiple_choice_reward" in result for result in results.values())
    assert results["direct_fine_tuned"]["train_data_used"] == 1.0
    assert 0 < results["star"]["rationale/solved"] < 1
    kept = load_ledger(runs / "star").filter(lambda row: row["kept"])
    assert all(re.search(r"the answer is \([a-e]\)\.$", text) for text in kept["completion"])

    results["star"]["train_data_used"] = 0.123
    (runs / "star/result.json").write_text(json.dumps(results["star"]))
    command(commonsense_qa.TASK, "--runs", *names, *arguments)
    output = capsys.readouterr().out
    assert output.count("done before") == 3 and "12.3%" in output and "Few-shot, direct" in output


def test_an_interrupted_run_goes_on(command, csqa_folder, monkeypatch):
    arguments = ["--data_dir", csqa_folder, "--max_completion_length", 40]
    fine_tune = baselines.STaRTrainer.fine_tune
    monkeypatch.setattr(baselines.STaRTrainer, "fine_tune", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command(commonsense_qa.TASK, *arguments)
    monkeypatch.setattr(baselines.STaRTrainer, "fine_tune", fine_tune)
    assert (command(commonsense_qa.TASK, *arguments) / "star/result.json").exists()


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
def test_gsm8k_with_its_calculator(command, gsm8k_folder, arguments, monkeypatch, capsys):
    """With an engine that is a script, so that rationalization survives and the marks are computed."""
    monkeypatch.setattr(
        "star_trl.star_trainer.make_engine", lambda args, tokenizer, _: ScriptedEngine(tokenizer, follow_the_hint)
    )
    runs = command(gsm8k.TASK, "--data_dir", gsm8k_folder, *arguments)
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
def test_gsm8k_with_python(command, gsm8k_folder, arguments, monkeypatch, capsys):
    """With an engine that is a script, whose programs really run."""
    monkeypatch.setattr(
        "star_trl.star_trainer.make_engine",
        lambda args, tokenizer, _: ScriptedEngine(tokenizer, compute_behind_the_hint),
    )
    limits = ["--max_train_problems", 6, "--max_eval_problems", 3]
    runs = command(tools.TASK, "--data_dir", gsm8k_folder, *arguments, *limits)
    assert "iteration 1, hint_infer: 6 kept, 100.0% of them with Python" in capsys.readouterr().out
    samples = load_ledger(runs / "star").filter(lambda row: row["kept"])
    assert {row["sampler"] for row in samples} == {"hint_infer"}
    for row in samples:
        numbers = re.findall(r"\d+", row["prompt"].split("What is")[-1])
        total = sum(map(int, numbers[:2]))
        assert row["completion"].split("\n", 1)[1] == (
            f"```python\nprint({numbers[0]}+{numbers[1]})\n```\n```output\n{total}\n```\n#### {total}"
        )


def test_the_programs_of_the_few_shot_examples_print_what_stands_below_them():
    run = tools.python_tool().run
    for example in common.read_examples(EXAMPLES / "prompts/tools", tools.TASK.direct_pattern):
        ((program, output),) = re.findall(r"```python(.*?)\n```\n```output\n(.*?)\n```", example["completion"], re.S)
        assert run(program) == output


def test_unknown_runs_are_refused(command):
    with pytest.raises(ValueError, match="Unknown runs .'star2'.. There are: few_shot_direct"):
        command(dates.TASK, "--runs", "star2")


def test_steps_are_counted_against_the_reference(tmp_path, make_trainer, capsys):
    trainer = make_trainer(
        lambda prompt: "<<1=1>>\n3" if "1+2" in prompt[-12:] else "<<1=1>><<2=2>>\n5", num_iterations=1
    )
    trainer.sample(1)
    gsm8k.report_steps(trainer.ledger.output_dir, Dataset.from_dict({"steps": [1, 1, 1, 1]}))
    assert "iteration 1: 50.0% equal, 0.0% fewer, 50.0% more" in capsys.readouterr().out
