# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Which problems an outer iteration samples, in which order, and when it has enough."""

import shutil

import pytest
from datasets import Dataset

from star_trl import RationaleSampler
from star_trl.ledger.ledger import Ledger
from star_trl.ledger.sample import Sample
from star_trl.rollout.curriculum import Curriculum
from support.sums import last_question, solve_easy_and_hinted
from support.tiny_models import build_model


def sums(number: int) -> Dataset:
    rows = [(index, index // 7, index % 7) for index in range(number)]
    return Dataset.from_list(
        [
            {"prompt": f"Q: {a}+{b}?\nA:", "hinted_prompt": f"Q: {a}+{b}? ({a + b})\nA:", "answer": str(a + b)}
            for _, a, b in rows
        ]
    )


def solve_all_but_sixes(prompt: str) -> str:
    """Right unless the sum is above 5 and there is no hint."""
    question = last_question(prompt)
    a, b = map(int, question.split("?")[0].split("+"))
    return f" Let me count.\n{a + b if a + b <= 5 or '(' in question else 0}"


def sample(problem: int, kept: bool, iteration: int = 1, sampler: str = "rationale", index: int = 0) -> Sample:
    return Sample(
        iteration=iteration,
        problem_id=problem,
        sampler=sampler,
        sample_index=index,
        prompt="",
        hint_shown=False,
        completion="",
        completion_ids=[1],
        loss_mask=[True],
        finish_reason="eos",
        rewards={},
        reward=None,
        kept=kept,
        drop_reason=None if kept else "wrong",
    )


def test_the_adaptive_order_is_that_of_adastar(make_args, tmp_path):
    ledger = Ledger(tmp_path / "run")
    curriculum = Curriculum(
        make_args(problem_order="adaptive", num_kept_per_iteration=3), problems=range(8), ledger=ledger
    )
    first = curriculum.candidates(1)
    assert sorted(first) == list(range(8)) and first != list(range(8))
    # Six of the eight are sampled. Of the first three one sample is kept, of two; of the last three all or none.
    kept = dict(zip(first[:6], ["right", "hinted", "right", "right", "right", "wrong"], strict=True))
    ledger.append([sample(problem, outcome == "right") for problem, outcome in kept.items()])
    ledger.append(
        [
            sample(problem, outcome == "hinted", sampler="rationalization")
            for problem, outcome in kept.items()
            if outcome != "right"
        ]
    )
    # 5 of 6 are solved: round(6 * (5 / 6) ** 2) = 4 problems count as sampled.
    second = curriculum.candidates(2)
    assert (
        set(second[:4]) == set(first[4:]) and second[4] == first[1] and set(second[5:]) == set(first) - {*second[:5]}
    )
    ledger.append([sample(problem, problem != second[0], iteration=2) for problem in second[:3]])
    # 2 of 3 are solved: round(3 * 4 / 9) = 1 problem counts, and comes last.
    third = curriculum.candidates(3)
    assert third[-1] == second[0] and set(third[:3]) == set(second[1:4]) and third[3] == first[1]
    # Another object, as a resumed run has, and one that begins anew
    again = Curriculum(curriculum.args, problems=range(8), ledger=ledger)
    assert again.candidates(3) == third and again.candidates(2) == second and again.candidates(3) == third


def test_sampling_ends_with_enough_kept_samples(make_trainer):
    trainer = make_trainer(solve_all_but_sixes, train_dataset=sums(40), num_kept_per_iteration=6, num_iterations=1)
    samples = trainer.sample(1)
    problems = {sample.problem_id for sample in samples}
    assert sum(sample.kept for sample in samples) == 6 and len(problems) == 6  # hints solve what else fails
    assert {sample.sampler for sample in samples} == {"rationale", "rationalization"}
    assert problems != set(range(6))  # drawn, not the first ones


def test_further_rounds_follow_the_yield(make_trainer):
    trainer = make_trainer(
        solve_all_but_sixes,
        train_dataset=sums(40),
        samplers=[RationaleSampler()],
        num_kept_per_iteration=10,
        num_problems_per_iteration=39,
        num_iterations=1,
    )
    trainer.train()
    kept = [sample.kept for sample in trainer.ledger.read(1)]
    assert 10 <= sum(kept) < 15 and len(kept) < 39
    history = next(row for row in trainer.state.log_history if "samples/problems" in row)
    assert history["samples/problems"] == len(kept)
    assert history["rationale/solved"] == pytest.approx(sum(kept) / len(kept))


def test_too_few_problems_are_warned_of(make_trainer, caplog):
    trainer = make_trainer(solve_easy_and_hinted, num_kept_per_iteration=4, num_iterations=1)
    trainer.train()
    assert len({sample.problem_id for sample in trainer.ledger.read(1)}) == 4
    assert "Only 3 samples are kept, of `num_kept_per_iteration=4`, and all 4 problems" in caplog.text


def test_a_resumed_run_has_the_same_rounds(make_trainer, tokenizer, tmp_path):
    settings = {
        "train_dataset": sums(40),
        "samplers": [RationaleSampler()],
        "num_kept_per_iteration": 12,
        "problem_order": "adaptive",
    }
    whole = make_trainer(solve_all_but_sixes, output_dir=str(tmp_path / "whole"), **settings)
    whole.train()
    assert len(whole.ledger.read(1)) > 18
    calls = 0

    def killed(prompt: str) -> str:
        nonlocal calls
        calls += 1
        if calls == 18:  # in the second round
            raise InterruptedError
        return solve_all_but_sixes(prompt)

    with pytest.raises(InterruptedError):
        make_trainer(killed, model=build_model(tokenizer), **settings).train()
    resumed = make_trainer(solve_all_but_sixes, model=build_model(tokenizer), **settings)
    resumed.train(resume_from_checkpoint=True)
    for iteration in (1, 2):
        assert resumed.ledger.read(iteration) == whole.ledger.read(iteration)


def test_the_adaptive_order_needs_all_earlier_samples(make_trainer, tokenizer):
    settings = {"train_dataset": sums(20), "num_kept_per_iteration": 3, "problem_order": "adaptive"}
    trainer = make_trainer(solve_all_but_sixes, **settings)
    trainer.train()
    shutil.rmtree(trainer.ledger.iteration_dir(1))
    again = make_trainer(solve_all_but_sixes, model=build_model(tokenizer), **settings, num_iterations=3)
    with pytest.raises(ValueError, match="iteration-001"):
        again.train(resume_from_checkpoint=True)


def test_the_adaptive_order_needs_a_limit(make_args):
    with pytest.raises(ValueError, match="says which problems are left out, but every outer iteration samples all"):
        make_args(problem_order="adaptive")
    with pytest.raises(ValueError, match="`problem_order` must be one of random, adaptive, got 'heap'"):
        make_args(problem_order="heap")
    with pytest.raises(ValueError, match="`num_kept_per_iteration` must be at least 1 or None, got 0"):
        make_args(num_kept_per_iteration=0)


def test_the_first_round_counts_the_draws_of_a_problem(make_trainer):
    trainer = make_trainer(
        lambda prompt: solve_all_but_sixes(prompt + "("),
        train_dataset=sums(40),
        samplers=[RationaleSampler(num_generations=4, temperature=1.0)],
        num_kept_per_iteration=10,
        num_iterations=1,
    )
    assert len({sample.problem_id for sample in trainer.sample(1)}) == 3
