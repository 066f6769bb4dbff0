# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Bad input is refused with what was found, what was expected and the fix, before work is spent."""

from types import SimpleNamespace

import pytest
from datasets import Dataset, IterableDataset
from peft import PromptTuningConfig
from trl.rewards import accuracy_reward

from star_trl import RationaleSampler, RationalizationSampler
from star_trl.generation.policy import check_sharding
from star_trl.rewards import exact_match_reward
from support.sums import EXAMPLES, PROBLEMS, solve_easy_and_hinted


def rows(**changes):
    return Dataset.from_list([{**row, **changes} for row in PROBLEMS])


def format_reward(completions, **kwargs):
    return [1.0] * len(completions)


def needs_solution_steps(completions, solution_steps, **kwargs):
    return [1.0] * len(completions)


def without_kwargs(completions, answer):
    return [1.0] * len(completions)


def other_name(completion, **kwargs):
    return [1.0] * len(completion)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"train_dataset": IterableDataset.from_generator(lambda: iter(PROBLEMS))}, TypeError, "IterableDataset"),
        ({"train_dataset": Dataset.from_list([])}, ValueError, "`train_dataset` is empty"),
        ({"train_dataset": Dataset.from_list(PROBLEMS).rename_column("prompt", "question")}, ValueError, "'question'"),
        ({"train_dataset": rows(prompt="")}, ValueError, "Row 0 of `train_dataset` has an empty `prompt`"),
        ({"train_dataset": rows(hinted_prompt=PROBLEMS[2]["prompt"])}, ValueError, "Row 2 .* same text"),
        ({"train_dataset": None}, ValueError, "`train_dataset` is required"),
        ({"reward_funcs": None}, ValueError, "`reward_funcs` is required"),
        ({"reward_funcs": []}, ValueError, "`reward_funcs` is empty"),
        ({"reward_funcs": [1.0]}, TypeError, "must be a function .* got a float"),
        ({"reward_funcs": needs_solution_steps}, ValueError, "`needs_solution_steps` needs a column `solution_steps`"),
        (
            {"reward_funcs": without_kwargs},
            ValueError,
            r"\(completions, answer\), .* prompts, .* Add `\*\*kwargs`",
        ),
        ({"reward_funcs": other_name}, ValueError, "`completion`, .* Did you mean `completions`"),
        ({"reward_funcs": [exact_match_reward, format_reward]}, ValueError, "`reward_threshold` must be a list"),
        (
            {"reward_funcs": [exact_match_reward, format_reward], "reward_threshold": [1.0]},
            ValueError,
            "1 values for 2 reward functions",
        ),
        (
            {"reward_funcs": [exact_match_reward, format_reward], "reward_threshold": [None, None]},
            ValueError,
            "nothing decides",
        ),
        ({"reward_weights": [1.0, 2.0]}, ValueError, "2 values for 1 reward functions"),
        ({"samplers": []}, ValueError, "`samplers` must be a list"),
        ({"samplers": [RationaleSampler(), RationaleSampler()]}, ValueError, "different names"),
        ({"samplers": [RationaleSampler(num_generations=2)]}, ValueError, "at temperature 0"),
        ({"num_generations": 2}, ValueError, "at temperature 0"),
        (
            {
                "samplers": [RationaleSampler(), RationalizationSampler()],
                "train_dataset": Dataset.from_list(PROBLEMS).remove_columns("hinted_prompt"),
            },
            ValueError,
            "no column `hinted_prompt`",
        ),
        (
            {"few_shot_examples": [{"prompt": "Q: 1+1?\nA:", "completion": " 2"}]},
            ValueError,
            "example has no `hinted_prompt`",
        ),
        (
            {"few_shot_examples": [{**EXAMPLES[0], "prompt": [{"role": "user", "content": "1+1?"}]}]},
            ValueError,
            "differ in kind",
        ),
        (
            {"few_shot_examples": [{**row, "completion": " 0"} for row in PROBLEMS]},
            ValueError,
            "All 4 .* is none left",
        ),
        ({"packing": True}, ValueError, "`packing=True` fills rows of `max_length` tokens"),
        ({"max_completion_length": 250}, ValueError, "model's context is 256"),
        ({"train_dataset": rows(prompt="Q: " + "1" * 300 + "\nA:")}, ValueError, "model's context is 256"),
        ({"max_length": 64}, ValueError, r"can reach \d+ tokens"),
        ({"eval_dataset": rows(), "eval_group_column": "digits"}, ValueError, "no column `digits`"),
        ({"eval_dataset": Dataset.from_list([])}, ValueError, "`eval_dataset` is empty"),
        ({"eval_dataset": {"dev": Dataset.from_list([])}}, ValueError, r"`eval_dataset\['dev'\]` is empty"),
        ({"max_steps": 10}, ValueError, "both set the length"),
        ({"step_increment": 5, "step_growth": 1.2}, ValueError, "both make the number of steps grow"),
        ({"initial_steps": None, "max_inner_steps": 5}, ValueError, "`initial_steps`, which is None"),
        ({"step_growth": 0.5, "num_iterations": 4}, ValueError, "Iteration 4, the last one, would have 0 inner steps"),
        (
            {"step_increment": -2, "num_iterations": 4},
            ValueError,
            "Iteration 4, the last one, would have -3 inner steps",
        ),
        ({"num_iterations": 0}, ValueError, "`num_iterations` must be at least 1"),
        ({"temperature": -1.0}, ValueError, "`temperature` must be"),
        ({"stop_strings": [""]}, ValueError, "empty string"),
        ({"assistant_only_loss": True}, ValueError, "on the sampled completion only"),
        ({"load_best_model_at_end": True, "save_strategy": "no"}, ValueError, "needs the checkpoints"),
        ({"load_best_model_at_end": True}, ValueError, "`load_best_model_at_end=True` needs an `eval_dataset`"),
        (
            {"load_best_model_at_end": True, "eval_dataset": {}},
            ValueError,
            "`load_best_model_at_end=True` needs an `eval_dataset`",
        ),
        ({"initial_steps": None, "num_train_epochs": 0}, ValueError, "Set one above 0"),
        ({"initial_steps": None, "max_steps": 0}, ValueError, "Set one above 0"),
        ({"ignore_data_skip": True}, ValueError, "trains on other rows"),
        (
            {
                "peft_config": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
                "sample_weighting": "reward",
            },
            ValueError,
            "learned vectors in front",
        ),
    ],
)
def test_bad_arguments(make_trainer, arguments, error, message):
    with pytest.raises(error, match=message):
        make_trainer(**arguments)


def test_messages_without_a_chat_template(make_trainer, tokenizer):
    import copy

    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    problems = Dataset.from_list([{"prompt": [{"role": "user", "content": "1+2?"}], "answer": "3"}])
    with pytest.raises(ValueError, match="no chat template"):
        make_trainer(train_dataset=problems, few_shot_examples=None, processing_class=plain)


def test_vllm_that_is_not_installed(make_trainer, monkeypatch):
    monkeypatch.setattr("star_trl.generation.make_engine.is_vllm_available", lambda: False)
    with pytest.raises(ImportError, match="pip install vllm"):
        make_trainer(use_vllm=True)


def test_wrong_number_of_rewards(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=lambda completions, **kwargs: [1.0])
    with pytest.raises(ValueError, match="returned 1 rewards for 4 completions"):
        trainer.train()


def test_a_reward_for_messages_on_text_prompts(make_trainer, problems):
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=accuracy_reward)
    with pytest.raises(TypeError, match="`accuracy_reward` reads completions as lists of messages"):
        trainer.train()


def test_probabilities_of_rationalization():
    with pytest.raises(ValueError, match="`p_show_hint` is a share"):
        RationalizationSampler(p_show_hint=1.5)


def test_an_output_directory_with_a_run(make_trainer):
    make_trainer(solve_easy_and_hinted, num_iterations=1).train()
    with pytest.raises(FileExistsError, match="holds a run already"):
        make_trainer(solve_easy_and_hinted, num_iterations=1).train()
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=2, overwrite_output_dir=True)
    trainer.train()
    assert trainer.ledger.iterations() == [0, 1, 2]


def test_sharding_that_is_refused(make_args):
    state = SimpleNamespace(fsdp_plugin=SimpleNamespace(fsdp_version=1))
    with pytest.raises(ValueError, match="fsdp_version: 2"):
        check_sharding(SimpleNamespace(state=state), make_args())
    state.fsdp_plugin.fsdp_version = 2
    check_sharding(SimpleNamespace(state=state), make_args())
    with pytest.raises(ValueError, match="its parameters are sharded"):
        check_sharding(SimpleNamespace(state=state), make_args(gradient_view_samples=8))
    state = SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=3))
    with pytest.raises(ValueError, match="its parameters are sharded"):
        check_sharding(SimpleNamespace(state=state), make_args(gradient_view_samples=8))


def test_every_prompt_is_measured(make_trainer):
    """Also a short problem for which a function chooses a long example, behind many longer problems."""

    def choose(problem):
        steps = 400 if problem["answer"] == "short" else 1
        return [{"prompt": "Q: 1?\nA:", "completion": " One." * steps + "\n1"}]

    longer = [{"prompt": f"Q: {number}+{number}?\nA:", "answer": "long"} for number in range(1000, 1040)]
    problems = Dataset.from_list([*longer, {"prompt": "Q: 1+2?\nA:", "answer": "short"}])
    with pytest.raises(ValueError, match=r"longest `prompt` of `train_dataset` has 20\d\d tokens.*context is 256"):
        make_trainer(train_dataset=problems, few_shot_examples=choose)


def test_every_problems_examples_are_checked(make_trainer, problems):
    def choose(problem):
        return EXAMPLES if problem["kind"] == "easy" else [{"prompt": "Q: 1+1?\nA:", "completion": " 2"}]

    with pytest.raises(ValueError, match="example has no `hinted_prompt`"):
        make_trainer(train_dataset=problems, few_shot_examples=choose)
