# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Reward functions in GRPO's calling convention, and the gate that they form."""

import asyncio
import functools
import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl.rewards import accuracy_reward, think_format_reward

from star_trl import RationaleSampler, load_ledger
from star_trl.rewards import exact_match_reward, scratchpad_answer_reward
from star_trl.rewards.scoring import Scorer
from support.sums import PROBLEMS, solve_easy_and_hinted


def kept_problems(trainer):
    return {sample.problem_id for sample in trainer.sample(1) if sample.kept}


@pytest.mark.parametrize(
    ("completion", "answer", "reward"),
    [
        ("8", "8", 1.0),
        ("two lines\n 8  8 3 \n\n", "8 8 3", 1.0),
        ("8\nor so", "8", 0.0),
        ("the answer is 8", "8", 0.0),
        ("", "8", 0.0),
        ("8", 8, 1.0),
        ("8", None, None),
        ([{"role": "assistant", "content": "so\n8"}], "8", 1.0),
    ],
)
def test_exact_match(completion, answer, reward):
    assert exact_match_reward([completion], [answer]) == [reward]


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("<scratch>\n2 + 5 , C: 0\n</scratch>\n7", 1.0),
        ("<scratch>\n2 + 5 , C: 0\n</scratch>\n7 7", 0.0),
        ("7", 0.0),  # no scratchpad
        ("<scratch>\n7", 0.0),  # not closed
        ("<scratch>\n</scratch>\n</scratch>\n7", 0.0),  # closed twice
        ("<scratch>\n</scratch>\n7\nInput:", 0.0),
    ],
)
def test_scratchpad_answer(completion, reward):
    assert scratchpad_answer_reward([completion], ["7"]) == [reward]


def test_a_grpo_style_reward_with_extra_columns(make_trainer, problems):
    seen = {}

    def reward(prompts, completions, completion_ids, kind, solution, trainer_state, log_extra, log_metric, **kwargs):
        seen.update(prompts=prompts, solution=solution, state=trainer_state, columns=set(kwargs), ids=completion_ids)
        log_extra("length", [len(completion) for completion in completions])
        log_metric("share_easy", kind.count("easy") / len(kind))
        return [float(value == "easy") for value in kind]

    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=reward, num_iterations=1)
    trainer.train()
    assert set(seen["prompts"]) <= {row["prompt"] for row in PROBLEMS}
    assert set(seen["solution"]) <= {row["answer"] for row in PROBLEMS}
    assert seen["columns"] == {"hinted_prompt", "answer", "samplers"}
    assert {sample.problem_id for sample in trainer.ledger.read(1) if sample.kept} == {0, 1}
    assert json.loads(load_ledger(trainer.args.output_dir)[0]["extra"]) == {"length": 16}
    assert any("share_easy" in entry for entry in trainer.state.log_history)


def test_a_list_that_a_reward_uses_again_is_recorded_as_it_was(make_trainer):
    def reward(completions, log_extra, **kwargs):
        values = [1] * len(completions)
        log_extra("first", values)
        values[:] = [2] * len(completions)
        log_extra("second", values)
        return [1.0] * len(completions)

    samples = make_trainer(solve_easy_and_hinted, reward_funcs=reward).sample(1)
    assert [sample.extra for sample in samples] == [{"first": 1, "second": 2}] * len(samples)


def test_what_json_cannot_hold_is_refused_before_it_is_recorded(make_trainer):
    def reward(completions, log_extra, **kwargs):
        log_extra("seen", [{(1, 2): "one"}] * len(completions))
        return [1.0] * len(completions)

    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=reward)
    with pytest.raises(TypeError, match="`log_extra` cannot record .* for the column 'seen': keys must be str"):
        trainer.sample(1)
    assert trainer.ledger.read(1) == []


@pytest.mark.parametrize("name", ["samplers", "completions", "trainer_state"])
def test_a_column_with_the_name_of_an_argument_is_refused(name):
    with pytest.raises(ValueError, match=f"has the column `{name}`, .*Rename the column"):
        Scorer(exact_match_reward).check_columns(["prompt", "answer", name])


def test_a_decorator_takes_the_arguments_of_its_function():
    def passing_on(func):
        @functools.wraps(func)
        def inner(completions, answer, **kwargs):
            return func(completions, answer)

        return inner

    @passing_on
    def reward(completions, answer):
        return [1.0] * len(completions)

    Scorer(reward).check_columns(["prompt", "answer"])
    with pytest.raises(ValueError, match="Add `\\*\\*kwargs`"):
        Scorer(reward.__wrapped__).check_columns(["prompt", "answer"])


def test_logged_metrics_of_an_evaluation_are_its_own(make_trainer, problems):
    """Be it `evaluate`, in a run or not, or `sample_problems`, of which nobody asks for them."""

    def reward(completions, answer, held_out, log_metric, **kwargs):
        log_metric("numpy", np.float32(held_out[0]))
        log_metric("torch", torch.tensor(held_out[0], dtype=torch.bfloat16))
        log_metric("accuracy", 7.0)  # a name that is taken in evaluations
        return exact_match_reward(completions, answer)

    seen, unseen = (problems.add_column("held_out", [value] * 4) for value in (0.0, 1.0))
    trainer = make_trainer(
        solve_easy_and_hinted, reward_funcs=reward, train_dataset=seen, eval_dataset=unseen, num_iterations=1
    )
    trainer.sample_problems(unseen)
    trainer.train()
    base, first = trainer.outer_run.history
    assert first["numpy"] == first["torch"] == 0.0 and first["accuracy"] == 7.0 and "numpy" not in base
    assert all(row["eval_numpy"] == row["eval_torch"] == 1.0 and row["eval_accuracy"] == 0.5 for row in (base, first))
    trainer.sample_problems(unseen)
    assert trainer.evaluate(seen)["eval_numpy"] == 0.0
    assert not trainer.rollouts.scoring.pop_metrics() and not trainer.evaluations.scoring.pop_metrics()


@pytest.mark.parametrize("value", [None, "high", [0.5], torch.ones(2)])
def test_a_logged_metric_is_a_number(make_trainer, value):
    def reward(completions, log_metric, **kwargs):
        log_metric("my_metric", value)
        return [1.0] * len(completions)

    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=reward, reward_retries=0)
    with pytest.raises(TypeError, match="takes one number, .* for the metric `my_metric`"):
        trainer.sample(1)


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_rewards_do_not_run_in_the_precision_of_the_policy(make_trainer, timeout):
    """Which generates without gradients and, with `bf16`, under autocast: neither is a matter of the reward."""
    layer, seen = torch.nn.Linear(2, 1), []

    def reward(completions, **kwargs):
        output = layer(torch.ones(len(completions), 2))
        seen.append((output.dtype, output.requires_grad))
        return [1.0] * len(completions)

    make_trainer(solve_easy_and_hinted, reward_funcs=reward, bf16=True, reward_timeout=timeout).sample(1)
    assert set(seen) == {(torch.float32, True)}


def test_async_rewards_run_together(make_trainer):
    running = []

    async def first(completions, answer, **kwargs):
        running.append("first")
        await asyncio.sleep(0.01)
        assert "second" in running  # it began before this one ended
        return exact_match_reward(completions, answer)

    async def second(completions, **kwargs):
        running.append("second")
        return [0.5] * len(completions)

    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=[first, second], reward_threshold=[1.0, None])
    assert kept_problems(trainer) == {0, 1, 2}
    assert trainer.ledger.read(1)[0].rewards == {"first": 1.0, "second": 0.5}


def test_trl_accuracy_reward_with_conversational_prompts(make_trainer):
    problems = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": "1+2?"}], "solution": "$3$"},
            {"prompt": [{"role": "user", "content": "2+2?"}], "solution": "$4$"},
        ]
    )
    trainer = make_trainer(
        lambda prompt: "It is \\boxed{3}.",
        reward_funcs=accuracy_reward,
        train_dataset=problems,
        few_shot_examples=None,
        stop_strings=None,
    )
    assert kept_problems(trainer) == {0}


def format_reward(completions, **kwargs):
    return [1.0 for _ in completions]


def test_a_format_reward_never_buys_a_wrong_answer_in(make_trainer):
    trainer = make_trainer(
        lambda prompt: " Well formed.\n0",
        reward_funcs=[exact_match_reward, format_reward],
        reward_threshold=[1.0, None],
        reward_weights=[1.0, 100.0],
    )
    assert kept_problems(trainer) == set()
    assert {sample.reward for sample in trainer.ledger.read(1)} == {100.0}


def test_penalties_do_not_drop_everything(make_trainer):
    def length_penalty(completions, **kwargs):
        return [-len(completion) / 100 for completion in completions]

    trainer = make_trainer(
        solve_easy_and_hinted, reward_funcs=[exact_match_reward, length_penalty], reward_threshold=[1.0, None]
    )
    assert kept_problems(trainer) == {0, 1, 2}


def test_what_nothing_verifies_is_not_kept(make_trainer, problems):
    unknown = problems.map(lambda row: {"answer": row["answer"] if row["kind"] == "easy" else None})
    trainer = make_trainer(
        solve_easy_and_hinted,
        train_dataset=unknown,
        reward_funcs=[exact_match_reward, format_reward],
        reward_threshold=[1.0, None],
    )
    assert kept_problems(trainer) == {0, 1}
    reasons = {sample.drop_reason for sample in trainer.ledger.read(1) if sample.problem_id == 2}
    assert reasons == {"unverified"}


def test_all_deciding_functions_must_agree():
    scorer = Scorer([exact_match_reward, think_format_reward], thresholds=[1.0, 1.0])
    completions = [
        [{"role": "assistant", "content": text}] for text in ("<think>a</think>\n3", "3", "<think>a</think>\n4")
    ]
    scores = scorer(prompts=["p"] * 3, completions=completions, completion_ids=[[]] * 3, answer=["3"] * 3)
    assert [score.passed for score in scores] == [True, False, False]


def test_nan_means_that_it_does_not_apply():
    scorer = Scorer(lambda completions, **kwargs: [float("nan"), 1.0])
    scores = scorer(prompts=["p"] * 2, completions=["a", "b"], completion_ids=[[], []])
    assert [(score.reward, score.verified, score.passed) for score in scores] == [
        (None, False, False),
        (1.0, True, True),
    ]


def length_reward(completions, **kwargs):
    return [len(completion) / 100 for completion in completions]


@pytest.mark.parametrize(
    ("threshold", "weights", "kept"),
    [(1.16, None, {0, 1}), ([1.17], None, set()), (0.16, None, {0, 1, 2, 3}), (1.5, [1.5, 0.0], {0, 1})],
)
def test_a_number_is_the_threshold_of_the_weighted_sum(make_trainer, threshold, weights, kept):
    trainer = make_trainer(
        solve_easy_and_hinted,
        reward_funcs=[exact_match_reward, length_reward],
        reward_threshold=threshold,
        reward_weights=weights,
        samplers=[RationaleSampler()],
    )
    assert kept_problems(trainer) == kept


def test_a_sum_is_not_missed_by_its_rounding():
    def parts(value):
        def reward(completions, **kwargs):
            return [value] * len(completions)

        reward.__name__ = f"reward_{value}"
        return reward

    (score,) = Scorer([parts(0.7), parts(0.1), parts(0.2)], thresholds=1.0)(["Q"], ["A"], [[1]])
    assert score.passed and score.reward == 1.0


def test_a_sum_that_no_function_applies_to_is_unverified():
    def silent(completions, **kwargs):
        return [None] * len(completions)

    def other(completions, **kwargs):
        return [None] * len(completions)

    (score,) = Scorer([silent, other], thresholds=0.0)(["Q"], ["A"], [[1]])
    assert not score.passed and not score.verified and score.reward is None


def test_rewards_that_are_all_none_are_a_warning_once(make_trainer, caplog):
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=lambda completions, **kwargs: [None] * len(completions))
    trainer.sample(1)
    (warning,) = [record.getMessage() for record in caplog.records if "All reward functions" in record.getMessage()]
    assert "'prompts': 'Q: " in warning and "recorded as unverified" in warning
