# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Pairs of a chosen and a rejected completion, from samples and solutions."""

import pytest

from star_trl.preference.pairs import draw_pairs, repair, unpair
from support.samples import make_sample


def right(problem=0, index=0, ids=(1, 2), **changes):
    return make_sample(
        problem_id=problem, sample_index=index, completion_ids=list(ids), loss_mask=[True] * 2, **changes
    )


def wrong(problem=0, index=0, ids=(3, 4), **changes):
    return right(problem, index, ids, **{"kept": False, **changes})


def ids_of(pairs):
    return [(tuple(pair.chosen.completion_ids), tuple(pair.rejected.completion_ids)) for pair in pairs]


def test_right_and_wrong_completions_of_the_same_problem_are_paired():
    samples = [
        right(0, 0, (1, 1)),
        wrong(0, 1, (2, 2)),
        right(0, 2, (3, 3)),
        right(1, 0, (4, 4)),  # nothing wrong
        wrong(2, 0, (5, 5)),  # nothing right
        wrong(2, 1, (6, 6), drop_reason="truncated"),
    ]
    drawn = draw_pairs(samples, None, seed=0)
    assert ids_of(drawn.pairs) == [((1, 1), (2, 2)), ((3, 3), (2, 2))]
    assert drawn.metrics == {
        "pairs": 2,
        "problems_with_pairs": 1,
        "problems_without_right": 1,
        "problems_without_wrong": 1,
    }
    assert drawn.dropped == {"unpaired": 2, "truncated": 1}
    assert repair(unpair(drawn.pairs)) == drawn.pairs


def test_a_completion_counts_once_and_not_if_it_was_judged_both_ways():
    samples = [
        right(0, 0, (1, 1)),
        right(0, 1, (1, 1)),
        wrong(0, 2, (2, 2)),
        wrong(0, 3, (2, 2)),
        right(0, 4, (3, 3)),
        wrong(0, 5, (3, 3)),
    ]
    drawn = draw_pairs(samples, None, seed=0)
    assert ids_of(drawn.pairs) == [((1, 1), (2, 2))]
    assert drawn.dropped == {"duplicate": 3, "cap": 1}


def test_the_limit_draws_with_the_seed_and_by_problem():
    samples = [
        sample
        for problem in range(2)
        for index in range(6)
        for sample in (right(problem, index, (1, index)), wrong(problem, 6 + index, (2, index)))
    ]
    pairs = draw_pairs(samples, 4, seed=0).pairs
    assert [pair.chosen.problem_id for pair in pairs] == [0] * 4 + [1] * 4
    assert len(set(ids_of(pairs[:4]))) == 4
    assert pairs == draw_pairs(samples, 4, seed=0).pairs
    assert pairs != draw_pairs(samples, 4, seed=1).pairs
    assert pairs[:4] == draw_pairs([sample for sample in samples if not sample.problem_id], 4, seed=0).pairs


def test_samples_that_are_trained_with_another_prompt_make_no_pair():
    hinted = {"sampler": "rationalization", "hint_shown": True}
    samples = [wrong(0, 0, (2, 2)), right(0, 0, (1, 1), **hinted), wrong(1, 0), right(1, 0, sampler="rationalization")]
    assert [pair.chosen.problem_id for pair in draw_pairs(samples, None, seed=0).pairs] == [1]


def test_solutions_are_right_completions():
    solution = right(0, 0, (9, 9), sampler="solution")
    samples = [right(0, 0, (1, 1)), wrong(0, 1, (2, 2)), wrong(0, 2, (9, 9)), wrong(1, 0)]
    drawn = draw_pairs(samples, None, seed=0, solutions={0: solution})
    assert ids_of(drawn.pairs) == [((9, 9), (2, 2)), ((1, 1), (2, 2))]
    assert drawn.metrics["problems_without_right"] == 1


@pytest.mark.parametrize("reason", [None, "wrong", "truncated", "unverified"])
def test_self_play_rejects_every_sample_that_differs_from_the_solution(reason):
    solution = right(0, 0, (9, 9), sampler="solution")
    samples = [
        wrong(0, 0, (2, 2), kept=reason is None, drop_reason=reason),
        wrong(0, 1, (9, 9)),
        wrong(1, 0, (9, 9)),
    ]
    solutions = {0: solution, 1: right(1, 0, (9, 9), sampler="solution")}
    drawn = draw_pairs(samples, None, seed=0, solutions=solutions, self_play=True)
    assert ids_of(drawn.pairs) == [((9, 9), (2, 2))]
    assert drawn.dropped == {"cap": 1, "unpaired": 1}
    assert drawn.metrics["problems_without_wrong"] == 1
