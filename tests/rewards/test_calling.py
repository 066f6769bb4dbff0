# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What reward functions may give and do, and what names them where they may not."""

import asyncio
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset

from star_trl.rewards import exact_match_reward
from star_trl.rewards.calling import RewardCaller
from star_trl.rewards.scoring import Scorer
from support.sums import solve_easy_and_hinted


def score(func, timeout=None):
    scorer = Scorer(func, call=RewardCaller(timeout))
    return [result.reward for result in scorer(["Q", "Q"], ["a", "b"], [[1], [2]])]


def giving(value):
    def faulty(completions, **kwargs):
        return value

    return faulty


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, TypeError, r"`faulty` returned None \(`NoneType`\). It must return a list with one number per compl"),
        (1.0, TypeError, r"`faulty` returned 1.0 \(`float`\)"),
        ("ab", TypeError, r"`faulty` returned 'ab' \(`str`\)"),
        ({0: 1.0, 1: 1.0}, TypeError, r"`faulty` returned .* \(`dict`\)"),
        (torch.tensor(1.0), TypeError, r"`faulty` returned tensor\(1.\) \(`Tensor`\)"),
        (["1", "0"], TypeError, r"`faulty` returned a list with '1' \(`str`\) in it"),
        ([[1.0], [0.0]], TypeError, r"a list with \[1.0\] \(`list`\) in it"),
        (torch.ones(2, 3), TypeError, r"a list with tensor\(\[1., 1., 1.\]\) \(`Tensor`\) in it"),
        ([1.0], ValueError, "`faulty` returned 1 rewards for 2 completions"),
        ([float("inf")] * 2, ValueError, "`faulty` returned the reward inf, but rewards are finite"),
    ],
)
@pytest.mark.parametrize("timeout", [None, 30])
def test_what_is_no_reward_is_refused_by_name(value, error, message, timeout):
    with pytest.raises(error, match=message):
        score(giving(value), timeout)


@pytest.mark.parametrize(
    "value", [[1, None], (True, torch.nan), np.array([1.0, np.nan]), torch.tensor([1.0, torch.nan])]
)
def test_numbers_of_any_kind_are_rewards(value):
    assert score(giving(value)) == [1.0, None]


@pytest.mark.parametrize("value", [float("inf"), "1"])
def test_one_wrong_reward_marks_one_completion(value):
    """Until a function gives 8 of them in a row, which is broken."""
    scorer = Scorer(giving([value, 1.0]))
    wrong, right = scorer(["Q", "Q"], ["a", "b"], [[1], [2]])
    assert wrong.error.startswith("faulty: ") and str(value) in wrong.error
    assert (wrong.passed, wrong.reward, right.passed, right.error) == (False, None, True, None)
    broken = Scorer(giving([value]))
    for _ in range(7):
        assert broken(["Q"], ["a"], [[1]])[0].error
    with pytest.raises((TypeError, ValueError), match="The reward function `faulty` returned "):
        broken(["Q"], ["a"], [[1]])


@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_exit_with_a_code_ends_the_program(timeout, is_async):
    """Without a retry."""
    calls = []

    def leaving(completions, **kwargs):
        calls.append(completions)
        sys.exit(143)

    async def leaving_later(completions, **kwargs):
        await asyncio.sleep(0)
        leaving(completions)

    with pytest.raises(SystemExit) as left:
        Scorer(leaving_later if is_async else leaving, call=RewardCaller(timeout, retries=2))(["Q"], ["a"], [[1]])
    assert left.value.code == 143
    assert len(calls) == 1


@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda: sys.exit(0), r"the reward function `faulty` called `sys.exit\(0\)`; raise an error instead"),
        (lambda: sys.exit(), r"`faulty` called `sys.exit\(None\)`"),
        (lambda: asyncio.current_task().cancel(), "the reward function `faulty` was cancelled"),
    ],
)
def test_a_reward_function_cannot_end_the_run_without_a_word(timeout, is_async, end, message):
    def cancel_or_exit():
        if not is_async and "cancelled" in message:
            raise asyncio.CancelledError
        end()

    def faulty(completions, **kwargs):
        cancel_or_exit()

    async def waiting(completions, **kwargs):
        cancel_or_exit()
        await asyncio.sleep(30)

    waiting.__name__ = "faulty"
    with pytest.raises(RuntimeError, match=message):
        score(waiting if is_async else faulty, timeout)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_timeout_names_the_function(is_async):
    def faulty(completions, **kwargs):
        asyncio.run(asyncio.sleep(5))

    async def waiting(completions, **kwargs):
        await asyncio.sleep(5)

    waiting.__name__ = "faulty"
    with pytest.raises(TimeoutError, match="`faulty` gave no answer within `reward_timeout=0.05` seconds"):
        score(waiting if is_async else faulty, timeout=0.05)


def test_an_error_without_a_text_names_the_function():
    def faulty(completions, **kwargs):
        raise TimeoutError

    with pytest.raises(TimeoutError) as raised:
        score(faulty)
    assert raised.value.__notes__[-1] == "Raised by the reward function `faulty`."


def test_sys_exit_in_a_reward_ends_the_run_with_an_error(make_trainer):
    def faulty(completions, **kwargs):
        sys.exit(0)

    with pytest.raises(RuntimeError, match=r"`faulty` called `sys.exit\(0\)`"):
        make_trainer(solve_easy_and_hinted, reward_funcs=faulty, reward_retries=0).train()


@pytest.mark.parametrize("wrong", [None, "1.0", [1.0]])
def test_a_wrong_type_is_not_retried_and_costs_one_group(make_trainer, monkeypatch, wrong):
    """What was recorded before stays, and a corrected function goes on from it."""
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("The function is called again."))
    calls = []

    def faulty(completions, answer, **kwargs):
        calls.append(len(completions))
        return wrong if len(calls) == 2 else exact_match_reward(completions=completions, answer=answer)

    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=faulty, generation_batch_size=2, reward_retries=2)
    with pytest.raises((TypeError, ValueError), match="The reward function `faulty` returned "):
        trainer.sample(1)
    assert calls == [2, 2]
    assert len(trainer.ledger.read(1)) == 2
    trainer.sample(1)
    assert calls == [2, 2, 2, 2]


def test_what_a_reward_function_changes_in_place_changes_nothing_else(make_trainer):
    """Neither what is recorded and trained on, nor what another function sees."""
    seen = []

    def vandal(prompts, completions, completion_ids, answer, **kwargs):
        for ids in completion_ids:
            ids[:] = [5]
        completion_ids.clear()
        answer[:] = ["0"] * len(answer)
        return [1.0] * len(completions)

    def witness(completion_ids, **kwargs):
        seen.extend(len(ids) for ids in completion_ids)
        return [1.0] * len(completion_ids)

    funcs = [vandal, witness, exact_match_reward]
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=funcs, reward_threshold=[None, None, 1.0])
    samples = trainer.sample(1)
    assert sum(sample.kept for sample in samples) == 3
    assert sorted(len(sample.completion_ids) for sample in samples) == sorted(seen)
    assert min(seen) > 1


def test_what_a_reward_function_changes_in_messages_is_not_recorded(make_trainer):
    problems = Dataset.from_list([{"prompt": [{"role": "user", "content": "1+2?"}], "answer": "3"}])

    def vandal(prompts, completions, **kwargs):
        for prompt in prompts:
            prompt[0]["content"] = "changed"
            prompt.append({"role": "user", "content": "more"})
        return [1.0] * len(completions)

    trainer = make_trainer(lambda prompt: "3", reward_funcs=vandal, train_dataset=problems, few_shot_examples=None)
    assert [sample.prompt for sample in trainer.sample(1)] == ['[{"role": "user", "content": "1+2?"}]']


@pytest.mark.parametrize("values", [None, 1.0, "abcd", [1.0], torch.tensor(1.0)])
def test_what_is_no_column_is_not_logged(make_trainer, values):
    def faulty(completions, log_extra, **kwargs):
        log_extra("note", values)
        return [1.0] * len(completions)

    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=faulty, reward_retries=0)
    with pytest.raises(TypeError, match=r"`log_extra` takes a list .* 4 completions.*for the column `note`"):
        trainer.sample(1)
    assert trainer.ledger.read(1) == []
