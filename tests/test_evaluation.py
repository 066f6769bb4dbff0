# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Evaluation by generating."""

import pytest
from datasets import Dataset
from transformers import TrainerCallback

from star_trl import RationaleSampler
from star_trl.ledger.metrics import accuracy_names
from star_trl.rewards import exact_match_reward
from support.sums import PROBLEMS, last_question, solve_easy_and_hinted


def test_accuracy_by_group(make_trainer, problems):
    trainer = make_trainer(solve_easy_and_hinted, eval_dataset=problems, eval_group_column="kind")
    metrics = trainer.evaluate()
    assert (metrics["eval_accuracy"], metrics["eval_accuracy/easy"], metrics["eval_accuracy/hard"]) == (0.5, 1.0, 0.0)
    assert metrics["eval_rewards/exact_match_reward/mean"] == metrics["eval_reward"] == 0.5
    assert metrics["eval_completion_length"] == 17 and metrics["eval_clipped_ratio"] == 0
    assert metrics["eval_runtime"] >= 0


def test_prefix_and_several_sets(make_trainer, problems):
    sets = {"easy": problems.select([0, 1]), "hard": problems.select([2, 3])}
    trainer = make_trainer(solve_easy_and_hinted, eval_dataset=sets)
    metrics = trainer.evaluate(metric_key_prefix="test")
    assert (metrics["test_easy_accuracy"], metrics["test_hard_accuracy"]) == (1.0, 0.0)
    assert trainer.evaluate("hard")["eval_hard_accuracy"] == 0.0
    assert trainer.evaluate(problems)["eval_accuracy"] == 0.5
    with pytest.raises(ValueError, match="no evaluation set named 'other'"):
        trainer.evaluate("other")


def test_accuracies_of_sets_are_found_whatever_they_are_called(make_trainer, problems):
    def guessed_accuracy(completions, log_metric, **kwargs):
        log_metric("logged_accuracy", 1.0)
        return [1.0] * len(completions)

    trainer = make_trainer(
        solve_easy_and_hinted,
        reward_funcs=[exact_match_reward, guessed_accuracy],
        reward_threshold=[1.0, None],
        eval_dataset={"sums/easy": problems.select([0, 1]), "hard": problems.select([2, 3])},
        eval_group_column="kind",
        num_iterations=1,
    )
    trainer.train()
    assert accuracy_names(trainer.outer_run.history) == ["eval_sums/easy_accuracy", "eval_hard_accuracy"]
    card = (trainer.ledger.output_dir / "README.md").read_text()
    names = [
        "eval_sums/easy accuracy",
        "eval_sums/easy accuracy, easy",
        "eval_hard accuracy",
        "eval_hard accuracy, hard",
    ]
    assert f"| iteration | {' | '.join(names)} |" in card


def test_max_length_is_for_training_sequences(make_trainer):
    """Problems that are evaluated on may be longer. The model's context they must fit in."""
    long = Dataset.from_list([{"prompt": f"Q: {'1+' * 50}1?\nA:", "answer": "51"}])
    trainer = make_trainer(solve_easy_and_hinted, max_length=100, eval_dataset=long)
    assert trainer.evaluate(long)["eval_accuracy"] == 0.0
    with pytest.raises(ValueError, match="longest `prompt` of `eval_dataset` .* context is 256"):
        make_trainer(max_length=100, eval_dataset=Dataset.from_list([{"prompt": "1" * 300, "answer": "1"}]))


def test_problems_that_are_their_own_examples_are_left_out(make_trainer, problems, caplog):
    """Their prompts hold their solutions, so that every model would be right."""
    examples = [{**PROBLEMS[2], "completion": " Let me count.\n9"}]
    trainer = make_trainer(
        lambda prompt: " Let me count.\n9", eval_dataset=problems, few_shot_examples=examples, eval_group_column="kind"
    )
    assert "1 of the 4 problems of `eval_dataset` are few-shot examples" in caplog.text
    metrics = trainer.evaluate()
    assert (metrics["eval_accuracy"], metrics["eval_accuracy/hard"]) == (0.0, 0.0)
    assert len(trainer.engine.prompts) == 3
    with pytest.raises(ValueError, match="All 1 problems of `eval_dataset`"):
        trainer.evaluate(problems.select([2]))


def test_an_example_is_the_same_problem_behind_another_system_message(make_trainer):
    question = {"role": "user", "content": "1+2?", "name": None}
    problem = [{"role": "system", "content": "Add."}, question]
    examples = [{"prompt": [{"role": "user", "content": "1+2?"}], "completion": "3"}]
    dataset = Dataset.from_list(
        [
            {"prompt": problem, "answer": "3"},
            {"prompt": problem[:1] + [{"role": "user", "content": "2+2?", "name": None}], "answer": "4"},
        ]
    )
    trainer = make_trainer(train_dataset=dataset, few_shot_examples=examples)
    assert trainer.candidates(1) == [1]


def test_problems_that_are_too_long_are_not_sampled(make_trainer):
    with pytest.raises(ValueError, match="longest `prompt` of `dataset` .* context is 256"):
        make_trainer().sample_problems(Dataset.from_list([{"prompt": "1" * 300, "answer": "1"}]))


def test_nothing_to_evaluate_on(make_trainer):
    with pytest.raises(ValueError, match="nothing to evaluate on"):
        make_trainer().evaluate()


def test_a_best_metric_that_there_is_not(make_trainer, problems):
    trainer = make_trainer(
        solve_easy_and_hinted, eval_dataset=problems, patience=1, metric_for_best_model="share_right", num_iterations=1
    )
    with pytest.raises(ValueError, match=r"'share_right'` is no metric .*one of \['eval_accuracy'"):
        trainer.train()
    assert not trainer.ledger.read(1)  # before any work on the first iteration


def test_evaluating_inside_a_run_is_of_the_weights_as_they_are(make_trainer, problems):
    found = []

    class Evaluate(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            found.append(trainer.evaluate()["eval_accuracy"])

    def answer(prompt):
        right = trainer.state.global_step == 1 and not trainer.iteration
        a, b = last_question(prompt).split("?")[0].split("+")
        return f" Sum.\n{int(a) + int(b)}" if right else solve_easy_and_hinted(prompt)

    trainer = make_trainer(answer, eval_dataset=problems, num_iterations=1, callbacks=[Evaluate()])
    trainer.train()
    assert found == [1.0, 0.5, 0.5]
    assert trainer.outer_run.history[0]["eval_accuracy"] == 0.5


def test_the_best_metric_of_several_sets_must_be_named(make_trainer, problems):
    trainer = make_trainer(solve_easy_and_hinted, eval_dataset={"dev": problems}, patience=1)
    with pytest.raises(ValueError, match="such as 'eval_dev_accuracy'"):
        trainer.train()


def test_evaluation_is_greedy_and_sees_no_hint(make_trainer, problems):
    """With the few-shot examples that the sampling of that iteration has."""
    trainer = make_trainer(
        solve_easy_and_hinted,
        eval_dataset=problems,
        samplers=[RationaleSampler(num_generations=3, temperature=1.0)],
        few_shot_iterations=1,
    )
    params = []
    generate = trainer.engine.generate
    trainer.engine.generate = lambda model, requests, given: params.append(given) or generate(model, requests, given)
    trainer.evaluate()
    assert len(trainer.engine.prompts) == 4 and params[0].temperature == 0
    assert all("1+1" in prompt and "(" not in prompt for prompt in trainer.engine.prompts)
    trainer.outer_run.iteration = 2
    trainer.engine.prompts.clear()
    trainer.evaluate()
    assert not any("1+1" in prompt for prompt in trainer.engine.prompts)


def test_a_conversational_evaluation_set(make_trainer):
    problems = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": row["prompt"]}], "answer": row["answer"]} for row in PROBLEMS]
    )
    trainer = make_trainer(
        lambda prompt: solve_easy_and_hinted(prompt.replace("<eos><assistant>", "")),
        train_dataset=problems,
        eval_dataset=problems,
        few_shot_examples=None,
    )
    assert trainer.evaluate()["eval_accuracy"] == 0.5
