# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Mistakes in the data that raise nothing are warned of when the trainer is made, each with a row."""

import logging
import re
from functools import partial

import pytest
from datasets import Dataset

from star_trl import MajorityVoteSampler, RationaleSampler
from star_trl.rewards import (
    exact_match_reward,
    extract_number,
    multiple_choice_reward,
    numeric_reward,
    strict_numeric_reward,
)
from star_trl.task import data_mistakes
from support.sums import PROBLEMS


def changed(*rows, **changes):
    """The four sums, with changes in some rows."""
    return Dataset.from_list([{**row, **(changes if index in rows else {})} for index, row in enumerate(PROBLEMS)])


def with_answers(*answers):
    return Dataset.from_dict({"prompt": [f"Q{n}" for n in range(len(answers))], "answer": list(answers)})


@pytest.fixture
def warnings(make_trainer, caplog):
    """Makes a trainer and returns its warnings."""

    def make(**changes) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="star_trl"):
            make_trainer(**changes)
        return [record.getMessage() for record in caplog.records]

    return make


PLAIN = {"samplers": [RationaleSampler()], "few_shot_examples": None}


def test_a_prompt_that_ends_in_a_space(warnings):
    spaced = [{**row, "prompt": row["prompt"] + " " * (index % 2)} for index, row in enumerate(PROBLEMS)]
    (message,) = warnings(train_dataset=Dataset.from_list(spaced))
    assert "`prompt` of row 1 and 1 more of the 4 rows of `train_dataset` ends in a space" in message


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({"hinted_prompt": "Q: 2+3? ()\nA:", "prompt": "Q: 2+3\nA:"}, 1),
        ({"answer": "17"}, 1),
        ({"hinted_prompt": "Q: 2+3? ( 5 )\nA:"}, None),
        ({"answer": "Two and three is 5.\n#### 5"}, None),
        ({"answer": r"So it is \boxed{5}."}, None),
        ({"answer": "1000", "hinted_prompt": "Q: 2+3? (1,000)\nA:"}, None),
    ],
)
def test_a_hint_without_its_answer(warnings, changes, row):
    messages = warnings(train_dataset=changed(1, **changes))
    assert bool(messages) == (row is not None)
    assert all("`hinted_prompt` of row 1 of `train_dataset` does not hold its `answer`" in text for text in messages)


def test_an_evaluation_on_training_problems(warnings, problems):
    (message,) = warnings(eval_dataset=problems)
    assert "4 of the 4 problems of `eval_dataset` are in `train_dataset` as well" in message
    held_out = {"old": problems.select([3]), "new": changed(0, prompt="Q: 3+0?\nA:").select([0])}
    (message,) = warnings(eval_dataset=held_out)
    assert "1 of the 1 problems of `eval_dataset['old']`" in message
    assert "row 0, which is row 3 there" in message


def test_problems_that_occur_twice(warnings):
    (message,) = warnings(train_dataset=Dataset.from_list(PROBLEMS + PROBLEMS))
    assert "4 of the 8 problems of `train_dataset` repeat an earlier one: row 4 has the prompt of row 0" in message
    many = [{"prompt": f"Q{number}", "answer": "1"} for number in range(40)]
    assert not warnings(train_dataset=Dataset.from_list([*many, many[0]]), **PLAIN)


def test_messages_that_occur_twice(warnings):
    row = {"prompt": [{"role": "user", "content": "1+2?"}], "answer": "3"}
    (message,) = warnings(train_dataset=Dataset.from_list([row, row]), **PLAIN)
    assert "row 1 has the prompt of row 0" in message


def test_answers_that_are_mostly_missing(warnings):
    (message,) = warnings(train_dataset=with_answers("1", None, None, None, "2"), **PLAIN)
    assert "`answer` of row 1 and 2 more of the 5 rows of `train_dataset` is None" in message
    assert not warnings(train_dataset=with_answers("1", None, None, "2"), **PLAIN)
    votes = [MajorityVoteSampler(extract_number, 2)]
    assert not warnings(train_dataset=with_answers("1", None, None), samplers=votes, few_shot_examples=None)


def test_floats_that_are_compared_as_text(warnings):
    data = with_answers(5.0, 7.0)
    (message,) = warnings(train_dataset=data, reward_funcs=partial(exact_match_reward), **PLAIN)
    assert "is the float 5.0, and `exact_match_reward` compares text" in message
    assert "such as '5', or use `numeric_reward`" in message
    assert not warnings(train_dataset=data, reward_funcs=numeric_reward, **PLAIN)


@pytest.mark.parametrize(
    ("reward", "data", "message"),
    [
        (numeric_reward, with_answers("1", "five", None, "six"), "`numeric_reward` cannot read .* row 1 and 1 more"),
        (partial(strict_numeric_reward), with_answers("1", "2", "x"), "`strict_numeric_reward` .* row 2 of `train_d"),
        (multiple_choice_reward, with_answers("A", "(b)", "dog"), "row 2 .* none of the choices"),
    ],
)
def test_answers_that_their_reward_cannot_read(warnings, reward, data, message):
    (found,) = warnings(train_dataset=data, reward_funcs=reward, **PLAIN)
    assert re.search(message, found)


def test_one_answer_that_cannot_be_read_among_many_takes_few_calls(warnings, monkeypatch):
    calls = []
    monkeypatch.setattr(
        data_mistakes, "_error", lambda func, *rows, error=data_mistakes._error: calls.append(1) or error(func, *rows)
    )
    data = with_answers(*(["1"] * 300), "x", *(["2"] * 700))
    messages = warnings(train_dataset=data, reward_funcs=numeric_reward, **PLAIN)
    assert any("cannot read the `answer` of row 300 of" in message for message in messages)
    assert len(calls) < 30


def test_answers_none_of_which_can_be_read(make_trainer):
    with pytest.raises(ValueError, match="`numeric_reward` cannot read .* row 0 and 1 more of the 2 rows"):
        make_trainer(train_dataset=with_answers("five", "six"), reward_funcs=numeric_reward, **PLAIN)


def test_rewards_of_others_are_not_called(make_trainer):
    def reward(completions, **kwargs):
        raise AssertionError("called before there are completions")

    make_trainer(reward_funcs=reward)
