# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The reproduction of section 4.3: its data, what it measures of the scratchpads, its results file and its page."""

import random
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import domains_report
from runs import merge_results, read_results
from star_trl import Completion, Prompt
from star_trl.ledger import Ledger
from support.samples import make_sample


pytest.importorskip("matplotlib")

import arithmetic
import arithmetic_report as report
import arithmetic_reproduction as reproduction
import scratchpads


@pytest.fixture
def tiny(monkeypatch, tmp_path, small_adder):
    """Settings that take seconds: a base model that solves some sums of one digit, and few problems."""
    shutil.copytree(small_adder, tmp_path / "runs" / "base")
    monkeypatch.setattr(reproduction, "RESULTS", tmp_path / "docs" / "results" / "arithmetic.json")
    for name, value in {
        "PROBLEMS_PER_DIGIT": 12,
        "PROBLEMS_PER_ITERATION": 10,
        "HELD_OUT": 4,
        "HELD_OUT_LONGER": 2,
    }.items():
        monkeypatch.setattr(reproduction, name, value)
    smaller = {"num_iterations": 1, "num_problems_per_iteration": 30, "initial_steps": 2, "max_completion_length": 40}
    monkeypatch.setattr(reproduction, "CONFIG", {**reproduction.CONFIG, **smaller})

    def run(*argv: str) -> None:
        monkeypatch.setattr(sys, "argv", ["", *argv, "--output_dir", str(tmp_path / "runs")])
        reproduction.main()

    return run


def test_figure_4_and_the_baselines_run_and_are_merged(tiny):
    tiny()
    runs = {setting: run["seed 0"] for setting, run in read_results(reproduction.RESULTS).items()}
    assert list(runs) == ["rationalization", "no_rationalization", "direct", "few_shot"]
    star = runs["rationalization"]["iterations"]
    assert [row["iteration"] for row in star] == [0, 1]
    assert set(star[1]["accuracy"]) == {str(digits) for digits in range(1, 9)}
    assert star[1]["samplers"]["rationale"]["kept"] > 0
    assert runs["direct"]["iterations"][0]["steps"] == star[1]["steps"] == 2

    # Again, with another seed: nothing is lost, nothing is there twice.
    tiny("--setting", "few_shot", "--seed", "1")
    tiny("--setting", "few_shot", "--seed", "1")
    seeds = {setting: list(run) for setting, run in read_results(reproduction.RESULTS).items()}
    assert seeds == {**dict.fromkeys(runs, ["seed 0"]), "few_shot": ["seed 0", "seed 1"]}


def test_the_direct_baseline_needs_the_steps_of_star(tiny, monkeypatch):
    monkeypatch.setattr(reproduction, "make_base_model", lambda path, **kwargs: path)
    with pytest.raises(SystemExit, match="Run that first"):
        tiny("--setting", "direct")


@pytest.mark.parametrize("setting", sorted(set(reproduction.SETTINGS) - set(reproduction.FIGURE_4)))
def test_every_setting_makes_a_trainer(setting, tmp_path, monkeypatch):
    """And its samplers choose problems; whole runs of each would take too long here."""
    monkeypatch.setattr(reproduction, "PROBLEMS_PER_DIGIT", 8)
    monkeypatch.setattr(reproduction, "PROBLEMS_PER_ITERATION", 5)
    made = {}

    def evaluate_the_base_only(self, **kwargs):
        made.update(trainer=self)
        (tmp_path / "run" / "iteration-000").mkdir(parents=True)
        (tmp_path / "run" / "iteration-000" / "metrics.json").write_text('{"iteration": 0, "eval_accuracy/1": 1.0}')

    monkeypatch.setattr(reproduction.STaRTrainer, "train", evaluate_the_base_only)
    monkeypatch.setattr(reproduction, "judge_scratchpads", lambda path: {})
    monkeypatch.setattr(reproduction, "operands_copied", lambda trainer, problems: {})
    base = scratchpads.make_base_model(tmp_path / "base", phases=((1, 2, 32, (1,)),))
    (row,) = reproduction.run_star(setting, 0, base, tmp_path / "run")
    assert row["accuracy"] == {"1": 1.0} and row["samplers"] == {}
    state = reproduction.LoopState(
        iteration=2,
        problems=made["trainer"].task.problems,
        candidates=list(range(len(made["trainer"].task.problems))),
        solved=set(),
        rng=random.Random(0),
        ledger=made["trainer"].ledger,
    )
    assert all(sampler.select(state) for sampler in made["trainer"].task.samplers)


def test_digits_are_added_and_the_number_of_problems_is_fixed(monkeypatch):
    monkeypatch.setattr(reproduction, "PROBLEMS_PER_DIGIT", 30)
    monkeypatch.setattr(reproduction, "PROBLEMS_PER_ITERATION", 100)
    problems, _, _ = reproduction.make_datasets(0, trained_digits=8, evaluated_digits=10)
    rationales, rationalizations = reproduction.SETTINGS["digits_added"].samplers()

    def state(iteration: int, solved: set[int]) -> reproduction.LoopState:
        return reproduction.LoopState(
            iteration=iteration,
            problems=problems,
            candidates=list(range(len(problems))),
            solved=solved,
            rng=random.Random(0),
            ledger=None,
        )

    for iteration, most in {1: 5, 2: 6, 4: 8, 6: 8}.items():
        chosen = rationales.select(state(iteration, set()))
        assert len(chosen) == 100
        longer = [digits for digits in (problems["digits"][index] for index in chosen) if digits > most]
        assert len(longer) == (10 if most < 8 else 0)
        unsolved = rationalizations.select(state(iteration, set(chosen[:40])))
        assert unsolved == chosen[40:]


def test_hints_stay_in_sums_that_are_still_to_come(monkeypatch):
    sampler = reproduction.SETTINGS["digits_added_hinted"].samplers()[1]
    sampler.p_show_hint, sampler.most_digits = 0.0, 6
    prompts = [
        Prompt(problem=digits, sample_index=0, input_ids=[], seed=0, columns={"digits": digits})
        for digits in range(1, 9)
    ]
    completions = [Completion(prompt=prompt, token_ids=[], loss_mask=[], finish_reason="eos") for prompt in prompts]
    shown = [
        completion.prompt.problem
        for completion in sampler.sample(prompts, lambda _: completions)
        if completion.hint_shown
    ]
    assert shown == [7, 8]


def test_held_out_problems_are_not_training_problems():
    train, held_out, examples = reproduction.make_datasets(0, trained_digits=3, evaluated_digits=4)
    assert not {row["prompt"] for row in train if row["digits"] > 1} & {row["prompt"] for row in held_out}
    assert not {example["prompt"] for example in examples.values()} & {row["prompt"] for row in held_out}
    assert set(held_out["digits"]) == {1, 2, 3, 4} and set(train["digits"]) == {1, 2, 3}
    assert "completion" not in train.column_names


def test_scratchpads_are_judged(tmp_path):
    """A true one, one that is right by luck, one in another layout, and a wrong answer that a majority gave."""
    problem = arithmetic.make_problem(62, 25)
    true = problem["completion"]
    written = [
        true,
        true.replace("8 7 C: 0", "8 7 C: 1"),
        f"<scratch>\n</scratch>\n{problem['answer']}",
        "8 8",
    ]
    samples = [
        make_sample(sample_index=index, prompt=problem["prompt"], completion=completion)
        for index, completion in enumerate(written)
    ]
    Ledger(str(tmp_path), 0, 1).append(samples)
    judged = reproduction.judge_scratchpads(tmp_path)[1, "rationale"]
    assert judged == {"kept": 4, "right_answer": 0.75, "true_scratchpad": 0.25, "examples_layout": 0.5}


def test_the_committed_page_is_made_from_the_committed_results(tmp_path, monkeypatch):
    page = (report.DOCS / "arithmetic_paper.md").read_text()
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(report, "DOCS", tmp_path)
    (tmp_path / "arithmetic_paper.md").write_text(page)
    report.main()
    assert (tmp_path / "arithmetic_paper.md").read_text() == page
    for image in re.findall(r"images/(\w+\.png)", page):
        assert (tmp_path / "images" / image).exists()


def test_results_are_those_of_known_settings():
    for setting, runs in read_results(reproduction.RESULTS).items():
        assert setting in {*reproduction.SETTINGS, *reproduction.BASELINES}
        rows = [row for run in runs.values() for row in run["iterations"]]
        assert all(0 <= value <= 1 for row in rows for value in row["accuracy"].values())


def test_the_figure_of_the_domains_is_drawn_from_the_committed_results(tmp_path):
    domains_report.draw(tmp_path / "domains.png")
    assert (tmp_path / "domains.png").stat().st_size > 0


def test_results_are_merged_and_nothing_is_lost(tmp_path):
    path = tmp_path / "results" / "some.json"
    merge_results(path, "star", {"seed 0": [1]})
    merge_results(path, "star", {"seed 1": [2]})
    merge_results(path, "other", {"seed 0": [3]})
    merge_results(path, "star", {"seed 0": [4]})
    assert read_results(path) == {"star": {"seed 0": [4], "seed 1": [2]}, "other": {"seed 0": [3]}}
    assert not list(path.parent.glob("*.partial"))


def test_runs_that_end_at_the_same_time_are_all_merged(tmp_path):
    path, seeds = tmp_path / "some.json", [f"seed {number}" for number in range(50)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda seed: merge_results(path, "star", {seed: [seed]}), seeds))
    assert sorted(read_results(path)["star"]) == sorted(seeds)
