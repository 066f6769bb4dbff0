# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Extraction of numbers, against what models write and what would fool it."""

import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from star_trl.rewards import extract_number, numeric_reward, strict_numeric_reward
from support.sums import last_question


# completion, right answer, flexible verdict, strict verdict
VERDICTS = [
    # GSM8K's form
    ("48 + 24 = <<48+24=72>>72\n#### 72", "72", 1, 1),
    ("#### 72", "72", 1, 1),
    ("####72", "72", 1, 1),
    ("#### 72.", "72", 1, 1),
    ("#### 72.0\n", "72", 1, 1),
    ("#### $72", "72", 1, 1),
    ("#### 72 clips", "72", 1, 1),
    ("#### 72%", "72", 1, 1),
    ("#### **72**", "72", 1, 1),
    ("#### 1,080", "1080", 1, 1),
    ("#### 1080", "1,080", 1, 1),
    ("#### -5", "-5", 1, 1),
    ("#### -$5", "-5", 1, 1),
    ("#### $-5", "-5", 1, 1),
    ("#### −5", "-5", 1, 1),
    ("#### 3/4", "0.75", 1, 1),
    ("#### $\\frac{3}{4}$", "3/4", 1, 1),
    ("#### 73", "72", 0, 0),
    ("#### 72", "-72", 0, 0),
    ("#### --5", "5", 0, 0),
    ("####", "72", 0, 0),
    ("72\n####", "72", 1, 0),
    ("#### seventy-two", "72", 0, 0),
    ("so #### 72", "72", 1, 0),
    ("##### 72", "72", 1, 0),
    # Several answers
    ("#### 72\n#### 73", "72", 0, 0),
    ("#### 73\n#### 72", "72", 0, 0),
    ("#### 72\n#### 72", "72", 1, 0),
    ("#### 72 or 73", "72", 0, 0),
    ("#### 72 or 73", "73", 0, 0),
    ("#### 72, 73", "73", 0, 0),
    ("#### 72 or seventy-three", "72", 0, 0),
    ("#### 72 #### 73", "73", 0, 0),
    ("\\boxed{72} \\boxed{73}", "73", 0, 0),
    ("\\boxed{72}, so again \\boxed{72}", "72", 1, 0),
    ("\\boxed{73}\n#### 72", "72", 0, 0),
    ("\\boxed{72}\n#### 72", "72", 1, 1),
    ("Which question?\nQ: 9?\n#### 72", "72", 0, 0),
    ("#### \\boxed{72}", "72", 1, 0),
    ("The answer is 72. The answer is 73.", "72", 0, 0),
    ("The answer is 72. The answer is 73.", "73", 0, 0),
    ("The answer is 72 or 73.", "72", 0, 0),
    ("The answer is 72 or 73.", "73", 0, 0),
    ("The answer is x = 72, or x = 73.", "73", 0, 0),
    ("The answer is 72, 73, or 74.", "74", 0, 0),
    ("It is 72 or 73", "73", 0, 0),
    ("The answer is not 72. The answer is 73.", "73", 1, 0),
    # What follows the answer
    ("#### 72\n\nQ: How many legs have 3 cats?\nA: 12\n#### 12", "72", 1, 0),
    ("#### 72\n\nQ: How many legs have 3 cats?\nA: 12\n#### 12", "12", 0, 0),
    ("She has 72.\nQuestion: And 5 more?", "72", 1, 0),
    ("#### 72\nI hope that 1 of you likes it.", "72", 1, 0),
    ("#### 72 is the answer, not 73", "72", 0, 0),
    ("The answer is 72.\n\nThere were 3 steps.", "72", 1, 0),
    # Calculator marks
    ("48/2 = <<48/2=24>>24", "24", 1, 0),
    ("She has <<48/2=24>>", "24", 0, 0),
    ("#### <<48/2=24>>24", "24", 1, 1),
    # Chat models
    ("It is \\boxed{72}.", "72", 1, 0),
    ("$$\\boxed{1{,}080}$$", "1080", 1, 0),
    ("\\[ \\boxed{72 \\text{ clips}} \\]", "72", 1, 0),
    ("\\boxed{\\$72}", "72", 1, 0),
    ("\\boxed{\\text{72}}", "72", 1, 0),
    ("\\boxed{\\boxed{72}}", "72", 1, 0),
    ("\\boxed{\\frac{3}{4}}", "0.75", 1, 0),
    ("\\boxed{-\\dfrac{3}{4}}", "-0.75", 1, 0),
    ("\\boxed{\\frac34}", "0.75", 1, 0),
    ("\\boxed{1\\frac{1}{2}}", "1.5", 1, 0),
    ("\\boxed{7.2 \\times 10^{3}}", "7200", 1, 0),
    ("\\boxed{x = 5}", "5", 1, 0),
    ("\\boxed{25\\%}", "25", 1, 0),
    ("\\boxed{2^{10}}", "10", 0, 0),
    ("\\boxed{\\sqrt{16}}", "16", 0, 0),
    ("\\boxed{72", "72", 0, 0),
    ("\\boxed{}  72", "72", 0, 0),
    ("<answer>72</answer>", "72", 1, 0),
    ("<answer>\\boxed{72}</answer>", "72", 1, 0),
    ("**Answer:** 72", "72", 1, 0),
    ("**Answer**: $1,234.50", "1234.5", 1, 0),
    ("The final answer is **72** clips.", "72", 1, 0),
    ("The answer is:\n\n72", "72", 1, 0),
    ("the answer to the question is 72", "72", 1, 0),
    ("The answer is 48 + 24 = 72 clips.", "72", 1, 0),
    ("The answer is clear. She sold 72.", "72", 1, 0),
    ("The answer is $72.", "72", 1, 0),
    ("The answer is 72, and that is the end of step 4", "4", 0, 0),
    ("The answer is (72).", "72", 1, 0),
    ("#### Step 1: half\n48/2 = 24\n#### Step 2: sum\n**72**", "72", 1, 0),
    ("#### 1. Half of 48\nis 24\n#### 2. The sum\nis `72`", "72", 1, 0),
    ("答案是72个", "72", 1, 0),
    # Thinking
    ("<think>It is 73.\n#### 73</think>\n#### 72", "72", 1, 1),
    ("<think>#### 72</think>", "72", 0, 0),
    ("<think>#### 72", "72", 0, 0),
    ("#### 73</think>#### 72", "72", 1, 1),
    ("<think>a</think>#### 72<think>", "72", 0, 0),
    ("<think>a</think>#### 72<think>#### 73</think>", "72", 0, 0),
    # The last number
    ("She sold 72", "72", 1, 0),
    ("24 in May, 48 in April, so 72 clips altogether.", "72", 1, 0),
    ("so 72 clips, 48 in April", "72", 0, 0),
    ("She weighs 72kg", "72", 1, 0),
    ("a 72-year-old", "72", 1, 0),
    ("She has 72!", "72", 1, 0),
    ("It costs .5 dollars", "0.5", 1, 0),
    ("It costs 1,234.50", "1234.5", 1, 0),
    ("It is 1\u202f234", "1234", 1, 0),
    ("It is 7.2e3", "7200", 1, 0),
    ("It is 7.2 x 10^3", "7200", 1, 0),
    ("It is 1 1/2 cups", "1.5", 1, 0),
    ("It takes 72 m^2", "72", 1, 0),
    ("It takes 72 of H2O", "72", 1, 0),
    ("72 people had COVID-19", "72", 1, 0),
    ("x_1 is 72", "72", 1, 0),
    ("no number", "72", 0, 0),
    ("", "72", 0, 0),
    # No single number
    ("#### 1e999999999", "1", 0, 0),
    ("#### 1e-999999999", "0", 0, 0),
    ("#### 10^999999999", "10", 0, 0),
    ("#### 1 x 10^999999999", "1", 0, 0),
    ("#### inf", "72", 0, 0),
    ("#### nan", "72", 0, 0),
    ("#### 3/0", "3", 0, 0),
    ("#### 0/0", "0", 0, 0),
    ("#### \\frac{3}{0}", "3", 0, 0),
    ("#### 3-5", "5", 0, 0),
    ("#### 3–5", "3", 0, 0),
    ("It takes 3 to 5", "5", 0, 0),
    ("It takes 3-5", "-5", 0, 0),
    ("#### 1,23", "123", 0, 0),
    ("#### 1,23", "1.23", 0, 0),
    ("#### 1.234,50", "1234.5", 0, 0),
    ("#### 12,34,567", "1234567", 0, 0),
    ("#### 2024-01-02", "2", 0, 0),
    ("It is due on 3/4/2020", "2020", 0, 0),
    ("It is 5:30", "30", 0, 0),
    ("#### 1.2.3", "1.2", 0, 0),
    ("#### 48 + 24", "72", 0, 0),
    ("so it is 48 + 24", "24", 0, 0),
    ("so it is 8*9", "9", 0, 0),
    ("so it is 8**2", "82", 0, 0),
    ("so it is sqrt(16)", "16", 0, 0),
    ("#### 1_000", "1000", 0, 0),
    ("#### 0x48", "72", 0, 0),
    ("#### 5 million", "5", 0, 0),
    ("#### 5k", "5", 0, 0),
    ("#### 2nd", "2", 0, 0),
    ("#### ７２", "72", 0, 0),
    ("#### ٧٢", "72", 0, 0),
    ("7²", "72", 0, 0),
    ("#### 7½", "7", 0, 0),
    ("#### __import__('os').getpid()", "72", 0, 0),
    ("Answer: √16", "16", 0, 0),
    ("so it is √(16)", "16", 0, 0),
    ("so it is $\\sqrt 16$", "16", 0, 0),
    ("√16 = 4", "4", 1, 0),
    # Signs apart from their numbers
    ("The answer is - 5.", "5", 0, 0),
    ("The answer is - 5.", "-5", 1, 0),
    ("The answer is − 5.", "-5", 1, 0),
    ("The answer is **- 5**.", "-5", 1, 0),
    ("The answer is -$ 5.", "5", 0, 0),
    ("The answer is -$ 5.", "-5", 1, 0),
    ("The answer is - $5.", "-5", 1, 0),
    ("The answer is minus 5.", "5", 0, 0),
    ("The answer is minus 5.", "-5", 1, 0),
    ("The answer is negative $5.", "-5", 1, 0),
    ("So x = - 5.", "5", 0, 0),
    ("So x = - 5.", "-5", 1, 0),
    ("$x = - 5$", "5", 0, 0),
    ("$x = - 5$", "-5", 1, 0),
    ("It is $- 5$", "-5", 1, 0),
    (" - 5", "-5", 1, 0),
    ("#### - 5", "5", 0, 0),
    ("#### - 5", "-5", 1, 1),
    ("#### minus 5", "-5", 1, 1),
    ("\\boxed{- 5}", "-5", 1, 0),
    ("\\boxed{- \\frac{1}{2}}", "-0.5", 1, 0),
    ("<answer>\n- 5\n</answer>", "-5", 1, 0),
    ("The answer is 7 - 5 = 2.", "2", 1, 0),
    ("7 minus 5 = 2", "2", 1, 0),
    ("so it is 7 minus 5", "5", 0, 0),
    ("so y is x - 5", "5", 0, 0),
    ("so y is x - 5", "-5", 0, 0),
    ("She has\n- 7 pears and\n  - 5 apples", "5", 1, 0),
    ("She has\n- 7 pears and\n  - 5 apples", "-5", 0, 0),
    # Spaces between thousands
    ("#### 1 000", "1000", 1, 1),
    ("so she has 1 000 apples", "1000", 1, 0),
    ("so she has 1 000 apples", "0", 0, 0),
    ("100 000", "100000", 1, 0),
    ("$1 234 567.50", "1234567.5", 1, 0),
    ("#### 1 00", "100", 0, 0),
    ("1 2 3", "3", 1, 0),
    ("20 10", "10", 1, 0),
    ("in 2024 100", "100", 1, 0),
    ("1 100/200 cups", "1.5", 1, 0),
    # Units
    ("#### 5 €", "5", 1, 1),
    ("#### 5€", "5", 1, 1),
    ("#### € 5", "5", 1, 1),
    ("#### $ 5", "5", 1, 1),
    ("#### 20 £", "20", 1, 1),
    ("so it is 5€ - 3€", "3", 0, 0),
    ("It takes 12 cm²", "12", 1, 0),
    ("It takes 12cm²", "12", 1, 0),
    ("#### 5 m²", "5", 1, 1),
    # Percent is a unit
    ("#### 5%", "5", 1, 1),
    ("#### 5%", "0.05", 0, 0),
    ("#### 5 percent", "5%", 1, 1),
    ("#### 0.05", "5%", 0, 0),
    # Exact
    ("#### 0.333333", "1/3", 0, 0),
    ("#### 2/6", "1/3", 1, 1),
    ("#### 0.1", 0.1, 1, 1),
    ("#### 12345678901234567891", "12345678901234567890", 0, 0),
]


@pytest.mark.parametrize(("completion", "answer", "flexible", "strict"), VERDICTS)
def test_verdicts(completion, answer, flexible, strict):
    assert numeric_reward([completion], [answer]) == [flexible]
    assert strict_numeric_reward([completion], [answer]) == [strict]
    assert strict <= flexible


@pytest.mark.parametrize(
    "answer",
    ["72", "$72", "72 €", "72 m²", " 72 clips ", "so\n#### 72", "\\boxed{72}"]
    + [72, 72.0, Decimal(72), Fraction(72), np.int64(72)],
)
def test_right_answers(answer):
    assert numeric_reward(["72", "73"], [answer] * 2) == [1.0, 0.0]


def test_extracted_numbers_of_one_value_are_equal():
    texts = ["#### 1,080", "<think>5</think>\\boxed{1080.0}", "so 2160/2", "#### 1 or 2", "none"]
    assert [extract_number(text) for text in texts] == ["1080", "1080", "1080", None, None]


@pytest.mark.parametrize("answer", ["", "many", "3-5", "#### 1\n#### 2", "nan", float("inf"), True, "1e999999999"])
@pytest.mark.parametrize("reward", [numeric_reward, strict_numeric_reward])
def test_a_right_answer_without_a_number_is_named(reward, answer):
    with pytest.raises(ValueError, match="no single number in the right answer") as error:
        reward(["72"], [answer])
    assert repr(answer) in str(error.value)


def test_no_right_answer_means_that_it_does_not_apply():
    message = [{"role": "assistant", "content": "#### 72"}]
    assert numeric_reward([message, message], answer=[None, 72], other=[1, 2]) == [None, 1.0]
    assert strict_numeric_reward([message, message], answer=[None, 72], other=[1, 2]) == [None, 1.0]


def test_the_strict_variant_decides_and_the_flexible_one_is_reported(make_trainer, problems):
    def answer(prompt):
        return {"1+2?\nA:": "#### 3", "2+3?\nA:": "#### 6"}.get(last_question(prompt), "It is 9 or so: 9")

    trainer = make_trainer(
        answer,
        reward_funcs=[strict_numeric_reward, numeric_reward],
        reward_threshold=[1.0, None],
        eval_dataset=problems,
    )
    metrics = trainer.evaluate()
    assert metrics["eval_accuracy"] == metrics["eval_rewards/strict_numeric_reward/mean"] == 0.25
    assert metrics["eval_rewards/numeric_reward/mean"] == 0.5


@pytest.mark.parametrize("split", ["train", "test"])
def test_gsm8k(shared_data, split):
    rows = [json.loads(line) for line in (shared_data / f"gsm8k/{split}.jsonl").open()]
    assert len(rows) == {"train": 7473, "test": 1319}[split]
    rows = rows[::4] if split == "train" else rows
    answers = [row["answer"] for row in rows]
    numbers = [answer.split("#### ")[1] for answer in answers]
    others = [f"#### {int(number.replace(',', '')) + 1}" for number in numbers]
    for reward in (numeric_reward, strict_numeric_reward):
        assert set(reward(answers, answers)) == {1.0}
        assert set(reward(answers, numbers)) == {1.0}
        assert set(reward(others, answers)) == {0.0}
    assert set(numeric_reward([f"It is \\boxed{{{number}}}." for number in numbers], answers)) == {1.0}
    assert set(numeric_reward([f"The answer is ${number}.00." for number in numbers], answers)) == {1.0}
