# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Which problems the samplers propose for, in whole runs with a scripted engine."""

import re
from collections import Counter

import pytest
from datasets import Dataset

from star_trl import DifficultySampler, RationaleSampler, RationalizationSampler, load_ledger, mixture
from support import ROOT
from support.sums import EXAMPLES, PROBLEMS, last_question, solve_easy_and_hinted


def right_in_turn(outcomes: dict[str, str]):
    """Answers the samples of a question right (`+`) and wrong (`-`) in turn."""
    asked: Counter[str] = Counter()
    answers = {problem["prompt"][3:6]: problem["answer"] for problem in PROBLEMS}

    def answer(prompt: str) -> str:
        question = last_question(prompt)[:3]
        outcome = outcomes[question][asked[question] % len(outcomes[question])]
        asked[question] += 1
        return f" Let me count.\n{answers[question] if outcome == '+' else 'no'}"

    return answer


RATES = {"1+2": "++++", "2+3": "+---", "4+5": "++--", "7+1": "----"}


def proposed_for(trainer, sampler: str, iteration: int = 1) -> dict[int, int]:
    """How many samples of each problem a sampler drew."""
    return Counter(sample.problem_id for sample in trainer.ledger.read(iteration) if sample.sampler == sampler)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {1: 3, 2: 3}),
        ({"max_problems": 1}, {2: 3}),
        ({"solve_rate": (0.0, 0.5)}, {1: 3}),
        ({"estimated_from": "another"}, {}),
    ],
)
def test_samples_go_where_the_solve_rate_is_neither_0_nor_1(make_trainer, settings, expected):
    samplers = [
        RationaleSampler(num_generations=4, temperature=1.0),
        DifficultySampler(num_generations=3, temperature=1.0, **settings),
    ]
    trainer = make_trainer(right_in_turn(RATES), samplers=samplers)
    trainer.sample(1)
    assert proposed_for(trainer, "difficulty") == expected


def test_the_solve_rate_of_greedy_samples_is_counted_over_iterations(make_trainer):
    """1+2 is right in both, 2+3 in the first iteration only."""
    samplers = [RationaleSampler(), DifficultySampler(num_generations=2, num_iterations=2)]
    trainer = make_trainer(right_in_turn({"1+2": "+", "2+3": "+-", "4+5": "-", "7+1": "-"}), samplers=samplers)
    trainer.sample(1)
    assert proposed_for(trainer, "difficulty") == {}
    trainer.sample(2)
    assert proposed_for(trainer, "difficulty", iteration=2) == {1: 2}


def test_each_problem_of_a_mixture_has_one_proposal(make_trainer, make_args):
    problems = Dataset.from_list([{**PROBLEMS[number % 4], "id": number} for number in range(400)])
    samplers = mixture([RationaleSampler(), RationalizationSampler()], weights=[3, 1])
    trainer = make_trainer(solve_easy_and_hinted, samplers=samplers, train_dataset=problems)
    first, second = ({sample.problem_id: sample.sampler for sample in trainer.sample(number)} for number in (1, 2))
    assert len(first) == len(second) == 400 == len(trainer.ledger.read(1))
    share = sum(name == "rationalization" for name in first.values()) / 400
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5  # four standard errors
    assert first != second
    assert any("(3)" in prompt for prompt in trainer.engine.prompts)


def test_a_mixture_behind_another_sampler_leaves_out_what_is_solved(make_trainer):
    """Rationalization selects as it does alone, among the problems that were drawn for it."""
    again = RationaleSampler()
    again.name = "again"
    samplers = [RationaleSampler(), *mixture([again, RationalizationSampler()], weights=[0, 1])]
    trainer = make_trainer(solve_easy_and_hinted, samplers=samplers)
    trainer.sample(1)
    assert proposed_for(trainer, "again") == {}
    assert set(proposed_for(trainer, "rationalization")) == {2, 3}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mixture([RationaleSampler()], [0.5, 0.5]), "one weight for each of its 1 samplers"),
        (lambda: mixture([RationaleSampler()], [0.0]), "not all zero"),
        (lambda: mixture([RationaleSampler(), RationalizationSampler()], [2, -1]), r"got \[2, -1\]"),
        (lambda: DifficultySampler(solve_rate=(0.5, 0.2)), r"the lower one first, got \(0.5, 0.2\)"),
        (lambda: DifficultySampler(num_iterations=0), "`num_iterations` must be at least 1"),
        (lambda: DifficultySampler(max_problems=0), "`max_problems` must be at least 1"),
    ],
)
def test_arguments_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_sampler_of_the_guide_rescues_failed_rationales(make_trainer, tmp_path):
    """It goes on behind the first half of what failed, in the order that the page promises."""
    page = (ROOT / "docs" / "write_a_sampler.md").read_text()
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2]:
        exec(block, names)

    def answer(prompt: str) -> str:
        question = last_question(prompt)
        return "or rather\n8" if question.startswith("7+1?\nA:") and len(question) > 8 else " Some.\nno"

    trainer = make_trainer(answer, samplers=names["samplers"], num_iterations=1)
    trainer.train()
    rescued = load_ledger(str(tmp_path / "out")).filter(lambda row: row["sampler"] == "backtracking" and row["kept"])
    assert rescued["problem_id"] == [3] * 4 and set(rescued["completion"]) == {" Someor rather\n8"}


def test_the_least_hint_that_suffices_is_used(make_trainer, problems):
    """4+5 is solved with the hint "9 is odd", 7+1 with the answer only."""

    def answer(prompt: str) -> str:
        answers = {"1+2?\nA:": "3", "2+3?\nA:": "5", "4+5? (odd)\nA:": "9", "7+1? (8)\nA:": "8"}
        return f" Let me count.\n{answers.get(last_question(prompt), 'no')}"

    def with_parity(row: dict) -> dict:
        parity = ("even", "odd")[int(row["answer"]) % 2]
        return {"parity_prompt": row["prompt"].replace("?", f"? ({parity})")}

    trainer = make_trainer(
        answer,
        train_dataset=problems.map(with_parity),
        few_shot_examples=[{**EXAMPLES[0], "parity_prompt": "Q: 1+1? (even)\nA:"}],
        samplers=[RationaleSampler(), RationalizationSampler(prompt_column="parity_prompt"), RationalizationSampler()],
    )
    trainer.sample(1)
    assert set(proposed_for(trainer, "rationalization_parity")) == {2, 3}
    assert set(proposed_for(trainer, "rationalization")) == {3}
    kept = {sample.problem_id: sample for sample in trainer.select(1)}
    assert set(kept) == {0, 1, 2, 3} and kept[2].prompt == problems[2]["prompt"]


def test_a_tier_without_a_hint_is_refused(make_trainer, problems):
    rows = [{**row, "parity_prompt": row["hinted_prompt"] if index else ""} for index, row in enumerate(problems)]
    with pytest.raises(ValueError, match="Row 0 of `train_dataset` has an empty `parity_prompt`"):
        make_trainer(
            train_dataset=Dataset.from_list(rows),
            samplers=[RationaleSampler(), RationalizationSampler(prompt_column="parity_prompt")],
        )
