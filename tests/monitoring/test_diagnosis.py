# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Warnings of runs that will not get anywhere."""

import logging

import pytest
from datasets import Dataset

from star_trl import RationaleSampler, RationalizationSampler, Sample
from star_trl.monitoring.diagnosis import chance_level, signs_in_samples, signs_of_chance
from support.sums import PROBLEMS, solve_easy_and_hinted


def problems_with(*answers, **columns):
    return Dataset.from_dict({"answer": list(answers), **columns})


def sample_of(problem, sampler="rationale", kept=True):
    return Sample(
        iteration=1,
        problem_id=problem,
        sampler=sampler,
        sample_index=0,
        prompt="",
        hint_shown=False,
        completion="I do not know.",
        completion_ids=[],
        loss_mask=[],
        finish_reason="eos",
        rewards={},
        reward=None,
        kept=kept,
    )


@pytest.mark.parametrize(
    ("problems", "chance"),
    [
        (problems_with(*"abcdefgh"), 0.0),
        (problems_with("yes", "no", "yes"), 0.5),
        (problems_with(*"aaaa"), 1.0),
        (problems_with(*"abcd", choices=[["x", "y"]] * 4), 0.5),
        (problems_with(*"abcd", choices=[["x", "y"]] * 2 + [["x", "y", "z", "w"]] * 2), 0.375),
        (problems_with(*"aaab", choices=[list("abcde")] * 4), 2 / 3),
        (problems_with(1, 1, 2), 0.5),
        (problems_with("a"), 0.0),
        (Dataset.from_dict({"prompt": ["Q"]}), 0.0),
        (problems_with("a", choices=[{"text": ["x", "y"], "label": ["A", "B"]}]), 0.0),
    ],
)
def test_chance_level(problems, chance):
    assert chance_level(problems) == pytest.approx(chance)


@pytest.mark.parametrize(("accuracy", "warned"), [(0.1, True), (0.2, True), (0.27, True), (0.29, False), (1.0, False)])
def test_an_accuracy_has_to_be_clearly_above_chance(accuracy, warned):
    problems = problems_with(*map(str, range(100)), choices=[list("abcde")] * 100)  # a standard error is 4%
    messages = signs_of_chance(accuracy, problems)
    assert bool(messages) == warned
    assert all("chance (20.0%)" in message and f"{accuracy:.1%} of 100" in message for message in messages)


def test_nothing_right_at_all_is_at_chance():
    assert signs_of_chance(0.0, problems_with(*"abcd"))
    assert not signs_of_chance(0.01, problems_with(*map(str, range(100))))


def test_rationalization_that_yields_nothing():
    samplers = [RationaleSampler(), RationalizationSampler()]
    problems = problems_with(*"abcd")
    samples = [sample_of(0), sample_of(1, kept=False), sample_of(1, "rationalization", kept=False)]
    (message,) = signs_in_samples(samples, samplers, problems, range(4))
    assert "None of 1 samples of `rationalization` is kept" in message and "I do not know." in message
    samples.append(sample_of(2, "rationalization"))
    assert not signs_in_samples(samples, samplers, problems, range(4))
    assert not signs_in_samples([sample_of(0, kept=False)], samplers, problems, range(4))  # no hints, no warning


@pytest.mark.parametrize(
    ("kept", "warned"),
    [
        (range(0, 40), True),  # all yes, of 40 yes and 60 no
        (range(20, 50), True),  # 20 yes and 10 no: 67%
        (range(22, 58), False),  # 18 yes and 18 no
        (range(40, 100), True),  # all no
        (range(0, 100), False),
        (range(0, 19), False),  # too few to tell
    ],
)
def test_an_answer_that_dominates(kept, warned):
    problems = problems_with(*["yes"] * 40, *["no"] * 60)
    samples = [sample_of(problem) for problem in kept]
    messages = signs_in_samples(samples, [RationaleSampler()], problems, range(100))
    assert bool(messages) == warned
    if warned:
        assert f"The answer {'no' if kept == range(40, 100) else 'yes'!r}" in messages[0]


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, logger="star_trl")
    return lambda: [record.getMessage() for record in caplog.records]


def test_the_trainer_warns_before_training(make_trainer, problems, warnings):
    trainer = make_trainer(lambda prompt: "no", eval_dataset=problems)
    trainer.evaluate()
    assert [message for message in warnings() if "right on 0.0% of 4 problems" in message]


def test_without_an_evaluation_set_it_looks_at_the_first_samples(make_trainer, warnings):
    problems = Dataset.from_list([{**row, "choices": ["3", "5"]} for row in PROBLEMS])
    make_trainer(solve_easy_and_hinted, train_dataset=problems, num_iterations=1).train()
    assert [message for message in warnings() if "right on 50.0% of 4 problems" in message]


def test_the_trainer_warns_of_hints_that_do_not_help(make_trainer, problems, warnings):
    make_trainer(lambda prompt: "3", num_iterations=1).train()
    assert [message for message in warnings() if "None of 3 samples of `rationalization`" in message]


def test_a_run_that_goes_well_warns_of_nothing(make_trainer, problems, warnings):
    make_trainer(solve_easy_and_hinted, eval_dataset=problems, num_iterations=1).train()
    assert not warnings()


def test_the_trainer_warns_of_settings_that_it_does_not_read(make_trainer, warnings):
    make_trainer(num_train_epochs=1)
    (message,) = warnings()
    assert "`num_train_epochs=1` has no effect" in message


def test_the_trainer_warns_of_samples_that_are_repeated_too_often(make_trainer, warnings):
    make_trainer(solve_easy_and_hinted, num_iterations=1, initial_steps=15).train()
    assert not warnings()  # 15 steps of 2 sequences on 3 samples
    make_trainer(solve_easy_and_hinted, num_iterations=1, initial_steps=17, overwrite_output_dir=True).train()
    (message,) = warnings()
    assert "17 steps = 11 epochs over 3 samples" in message and "Lower `initial_steps`" in message
