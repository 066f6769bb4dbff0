# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Answers that follow from the calculations before them, and those that do not."""

import json

import pytest

from star_trl import load_ledger
from star_trl.rewards import derived_answer_reward, exact_match_reward
from support import SHARED_DATA
from support.sums import solve_easy_and_hinted


ROLLS = "Q: A baker made 24 rolls and sold 15 of them at $1.50. How many are left?\nA:"


@pytest.mark.parametrize(
    ("question", "completion", "derived"),
    [
        (ROLLS, " There are 24 - 15 = <<24-15=9>>9 left.\n#### 9", 1.0),
        (ROLLS, " There are <<24-15=9>>9 left.\n#### 9", 1.0),
        (ROLLS, " There are 24-15 = 9 left. The answer is 9.", 1.0),
        (ROLLS, " He got 15 × $1.50 = $22.50.\n#### 22.5", 1.0),
        (ROLLS, " He got 15 x 1.5 = 22.50, and 24 + 22.5 = 46.5.\n#### 46.5", 1.0),
        (ROLLS, " The answer need not be right: 24 + 15 = 39.\n#### 39", 1.0),
        # Copied: no calculation, or one that is of something else, wrong, or with numbers that come from nowhere
        (ROLLS, " Milford Lake was originally blue, and now it is green.\n#### 9", 0.0),
        (ROLLS, " There are 24 - 15 = <<24-15=9>>9 left.\n#### 39", 0.0),
        (ROLLS, " There are 24 - 15 = 8 left.\n#### 8", 0.0),
        (ROLLS, " There are 24 + 15 = 9 left.\n#### 9", 0.0),
        (ROLLS, " There are 4 + 5 = <<4+5=9>>9 left.\n#### 9", 0.0),
        (ROLLS, " There are 9 * 1 = <<9*1=9>>9 left.\n#### 9", 0.0),
        (ROLLS, " There are 9 = 9 left.\n#### 9", 0.0),
        (ROLLS, " There are 24 - 15 = <<24-15=9>>9 left.", 1.0),
        (ROLLS, "", 0.0),
        (ROLLS, " <<24=24>>\n#### 24", 0.0),
        (ROLLS, " 24 − 15 = 9\n#### 9", 1.0),
        (ROLLS, " 2^24-15 = 9\n#### 9", 0.0),
        (ROLLS, " 15 - 24 = -9, and 24 - 9 = 15. 15 - 9 = 6\n#### 6", 1.0),
        (ROLLS, " 15 - 24 = <<15-24=-9>>-9\n#### -9", 1.0),
        (ROLLS, " 24 - 15 = 9 + 24 = 33\n#### 33", 1.0),
        (ROLLS, " ((24 + 15) - 15) * 15 = 360\n#### 360", 1.0),
        # The order matters: a result counts from its calculation on.
        (ROLLS, " 24 - 15 = 9 and 9 * 24 = 216.\n#### 216", 1.0),
        (ROLLS, " 9 * 24 = 216 and 24 - 15 = 9.\n#### 216", 0.0),
        # What follows the next question is not of this one.
        (ROLLS, " No idea.\n#### 9\nQ: And?\nA: 24 - 15 = 9", 0.0),
        ("Tom has twice as many as Ann, who has 1,200. How many?", "2 * 1,200 = 2,400\n#### 2400", 1.0),
        ("Half of 30?", "30 / 2 = <<30/2=15>>15\n#### 15", 1.0),
        ("25% of 80?", "80 * 25 / 100 = 20\n#### 20", 1.0),
        ("25 percent of 80?", "80 * 25% = 20\n#### 20", 0.0),
        ("2 minutes in seconds?", "2 * 60 = 120\n#### 120", 0.0),
        ("10 shared by 3?", "10 / 3 = 3.33\n#### 3.33", 1.0),
        ("10 shared by 3?", "10 / 3 = 3.4\n#### 3.4", 0.0),
        ("10 shared by 3?", "10 / 3 = 3.334\n#### 3.334", 0.0),
        ("10 shared by 3?", "10 / 3 = <<10/3=3.3333333333>>3.33\n#### 3.33", 1.0),
        ("1 by 8?", "1 / 8 = 0.13\n#### 0.13", 1.0),
        ("9" * 5000 + " and 1?", "9 + 1 = 10\n#### 10", 0.0),
        ("Q: (40 + 30) - 28?", "(40 + 30) - 28 = 42\n#### 42", 1.0),
        # Not arithmetic
        (ROLLS, " <<exit()=9>>\n#### 9", 0.0),
        (ROLLS, " <<24-15=>>\n#### 9", 0.0),
        (ROLLS, " 24 / 0 = 9\n#### 9", 0.0),
    ],
)
def test_derived(question, completion, derived):
    assert derived_answer_reward([question], [completion], answer=["9"]) == [derived]


def test_messages():
    prompt = [{"role": "system", "content": "Think."}, {"role": "user", "content": ROLLS}]
    completion = [{"role": "assistant", "content": "<think>24 - 15 = 9</think>\n#### 9"}]
    assert derived_answer_reward([prompt], [completion]) == [1.0]


def test_the_calculations_of_gsm8k_are_mostly_derived():
    path = SHARED_DATA / "gsm8k" / "test.jsonl"
    if not path.exists():
        pytest.skip(f"The dataset is not there: {path}")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rewards = derived_answer_reward([row["question"] for row in rows], [row["answer"] for row in rows])
    # The rest uses numbers that the question does not give, such as 60 minutes.
    assert 0.6 < sum(rewards) / len(rewards) < 0.9


def test_filters_the_rationalizations_alone(make_trainer, tmp_path):
    """A reward function is told which sampler a completion is from, and may apply to some of them only."""
    told = []

    def derived_rationalization_reward(samplers, **kwargs):
        told.extend(samplers)
        return [0.0 if sampler == "rationalization" else None for sampler in samplers]

    trainer = make_trainer(
        solve_easy_and_hinted,
        reward_funcs=[exact_match_reward, derived_rationalization_reward],
        reward_threshold=[1.0, 1.0],
    )
    trainer.train()
    assert set(told) == {"rationale", "rationalization"}
    kept = {row["sampler"] for row in load_ledger(trainer.args.output_dir) if row["kept"]}
    assert kept == {"rationale"}
