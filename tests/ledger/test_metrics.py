# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import pytest

from star_trl.ledger.metrics import exploration_metrics, sampling_metrics
from support.samples import make_sample


def drawn(problem, *draws):
    """Samples of a problem, each as (kept, reward, completion_ids)."""
    return [
        make_sample(
            problem_id=problem, sample_index=i, kept=kept, reward=reward, completion_ids=ids, sampler="rationale"
        )
        for i, (kept, reward, ids) in enumerate(draws)
    ]


SAMPLES = [
    # Right twice, in the same words. The best by reward is wrong.
    *drawn(0, (True, 0.5, [1]), (True, 0.5, [1]), (False, 0.9, [2])),
    # Right in two ways, and one of the best two is wrong.
    *drawn(1, (True, 1.0, [1, 2]), (False, 1.0, [3]), (True, None, [4])),
    *drawn(2, (False, 0.0, [1]), (False, 0.0, [2]), (False, 0.0, [3])),
    *drawn(3, (False, 0.1, [1]), (False, 0.2, [2]), (True, 0.3, [3])),
]


def test_exploration_and_exploitation():
    expected = {"pass@3": 3 / 4, "best_of_3": (0 + 1 / 2 + 0 + 1) / 4, "unique_right": (1 + 2 + 0 + 1) / 4}
    assert exploration_metrics(SAMPLES) == pytest.approx(expected)
    metrics = sampling_metrics(SAMPLES, ["rationale"], num_candidates=8)
    assert {name: metrics[f"rationale/{name}"] for name in expected} == pytest.approx(expected)


def test_one_draw_explores_nothing_and_unequal_draws_cannot_be_compared():
    assert exploration_metrics(drawn(0, (True, 1.0, [1])) + drawn(1, (False, 0.0, [1]))) == {}
    assert exploration_metrics(SAMPLES[:-1]) == {}
    assert exploration_metrics([]) == {}
