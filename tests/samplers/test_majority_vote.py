# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Bootstrapping without ground truth: each problem's samples are scored against the answer that most of them give."""

from collections import Counter

import pytest

from star_trl import MajorityVoteSampler
from support.sums import last_question


def last_line(text: str) -> str | None:
    return text.strip().splitlines()[-1] if "\n" in text else None


def answers_in_turn(answers: dict[str, list[str]]):
    """Answers a question's samples one after the other, the last one first, as the scripted engine asks for them."""
    asked: Counter[str] = Counter()

    def answer(prompt: str) -> str:
        question = last_question(prompt).split("?")[0]
        asked[question] += 1
        return f" Let me count.\n{answers[question][-asked[question]]}"

    return answer


# What is right is 3, 5, 9 and 8.
VOTES = {"1+2": ["3", "3", "2"], "2+3": ["6", "5", "6"], "4+5": ["9", "8", "7"], "7+1": ["1", "8", "8"]}


@pytest.fixture
def voting():
    return [MajorityVoteSampler(last_line, num_generations=3)]


def test_the_majority_stands_for_the_truth(make_trainer, problems, voting):
    trainer = make_trainer(
        answers_in_turn(VOTES), samplers=voting, train_dataset=problems.remove_columns("answer"), num_iterations=1
    )
    kept = {}
    for sample in trainer.sample(1):
        if sample.kept:
            kept.setdefault(sample.problem_id, []).append(sample.completion.splitlines()[-1])
    # 2+3 is wrong by two votes to one; 4+5 is a tie, which the first sample decides.
    assert kept == {0: ["3", "3"], 1: ["6", "6"], 2: ["9"], 3: ["8", "8"]}


def test_an_evaluation_is_scored_against_the_truth(make_trainer, problems, voting):
    trainer = make_trainer(lambda prompt: " Let me see.\n3", samplers=voting, eval_dataset=problems)
    assert trainer.evaluate()["eval_accuracy"] == 0.25


def test_without_votes_nothing_is_kept_and_the_truth_is_not_looked_at(make_trainer, voting):
    voting[0].extract_answer = lambda text: None
    trainer = make_trainer(answers_in_turn(VOTES), samplers=voting)
    assert {sample.drop_reason for sample in trainer.sample(1)} == {"unverified"}


def test_truncated_samples_do_not_vote(make_trainer, voting):
    def answer(prompt):
        return answer.turns(prompt) if "7+1" in prompt else f"{answer.turns(prompt)} and so on and so on"

    answer.turns = answers_in_turn(VOTES)
    samples = make_trainer(answer, samplers=voting, max_completion_length=17).sample(1)
    assert {sample.problem_id for sample in samples if sample.kept} == {3}


def test_a_resumed_vote_counts_all_samples(make_trainer, tmp_path, voting):
    """The last sample recorded is lost in a crash: the vote is taken again over all three."""
    whole = make_trainer(answers_in_turn(VOTES), samplers=voting, output_dir=str(tmp_path / "whole")).sample(1)
    trainer = make_trainer(answers_in_turn(VOTES), samplers=voting)
    trainer.sample(1)
    (shard,) = (tmp_path / "out").glob("iteration-001/*.jsonl")
    lines = shard.read_text().splitlines(keepends=True)
    shard.write_text("".join(lines[:-2]))
    resumed = make_trainer(answers_in_turn(VOTES), samplers=voting).sample(1)
    assert resumed == whole
