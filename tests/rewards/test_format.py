# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Format and length: what may filter beside the answer, and what it counts."""

import re

import pytest
from trl.rewards import get_soft_overlong_punishment

from star_trl.rewards import exact_match_reward, get_format_reward
from support.sums import solve_easy_and_hinted


@pytest.mark.parametrize(
    ("pattern", "completion", "reward"),
    [
        (r".+\n\d+", "So it is\nthis.\n8", 1.0),  # over line breaks
        (r".+\n\d+", "So it is.\n8 or so", 0.0),  # to the end
        (r"\d+", "It is 8", 0.0),  # from the start
        (r"\d+", "8\n", 0.0),  # where `$` would match
        (r"<think>.*</think>\n\d+", "<think>\nSix.\n</think>\n8", 1.0),
        (r"<think>.*</think>\n\d+", [{"role": "assistant", "content": "<think>Six.</think>\n8"}], 1.0),
        (r".+", "", 0.0),
    ],
)
def test_format(pattern, completion, reward):
    assert get_format_reward(pattern)([completion], answer=["8"], prompts=["Q"]) == [reward]


def test_a_wrong_pattern_is_refused_at_once():
    with pytest.raises(re.error):
        get_format_reward("(")


def test_the_format_filters_right_answers(make_trainer):
    def answer(prompt):
        return "3" if "1+2?" in prompt.split("Q: ")[-1] else solve_easy_and_hinted(prompt)

    trainer = make_trainer(
        answer, reward_funcs=[exact_match_reward, get_format_reward(r".+\n\d+")], reward_threshold=[1.0, 1.0]
    )
    samples = trainer.sample(1)
    assert samples[0].rewards == {"exact_match_reward": 1.0, "format_reward": 0.0}
    assert {sample.problem_id for sample in samples if sample.kept} == {1, 2}


def test_trls_length_penalty_lowers_the_reward_of_long_samples(make_trainer):
    def answer(prompt):
        return " Let us count slowly.\n3" if "1+2?" in prompt.split("Q: ")[-1] else solve_easy_and_hinted(prompt)

    trainer = make_trainer(
        answer,
        reward_funcs=[exact_match_reward, get_soft_overlong_punishment(max_completion_len=32, soft_punish_cache=10)],
        reward_threshold=[1.0, None],
    )
    kept = {sample.problem_id: sample for sample in trainer.sample(1) if sample.kept}
    assert {problem: len(sample.completion_ids) for problem, sample in kept.items()} == {0: 24, 1: 17, 2: 17}
    assert {problem: sample.reward for problem, sample in kept.items()} == {0: pytest.approx(0.8), 1: 1.0, 2: 1.0}
