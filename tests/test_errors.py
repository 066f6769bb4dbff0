# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Bad input is refused with what was found, what was expected and the fix, before work is spent."""

import copy
import inspect
import re
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from peft import PromptTuningConfig
from trl import GRPOConfig
from trl.rewards import accuracy_reward

from star_trl import NothingSurvives, RationaleSampler, RationalizationSampler, STaRConfig, STaRTrainer
from star_trl.generation.policy import check_sharding
from star_trl.rewards import exact_match_reward
from star_trl.user_input import OTHER_ARGUMENTS, OTHER_SETTINGS, OTHER_VALUES
from support import ROOT
from support.sums import EXAMPLES, PROBLEMS, solve_easy_and_hinted


def rows(**changes):
    return Dataset.from_list([{**row, **changes} for row in PROBLEMS])


def format_reward(completions, **kwargs):
    return [1.0] * len(completions)


STREAM = IterableDataset.from_generator(lambda: iter(PROBLEMS))


def needs_solution_steps(completions, solution_steps, **kwargs):
    return [1.0] * len(completions)


def without_kwargs(completions, answer):
    return [1.0] * len(completions)


def other_name(completion, **kwargs):
    return [1.0] * len(completion)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"train_dataset": STREAM},
            ValueError,
            "`train_dataset` is an `IterableDataset`.* `num_problems_per_iteration`",
        ),
        (
            {"eval_dataset": STREAM},
            ValueError,
            r"`eval_dataset` .* evaluate on.* `Dataset.from_list\(list\(eval_dataset",
        ),
        ({"eval_dataset": {"a": STREAM}}, ValueError, r"`eval_dataset\['a'\]` is an `IterableDataset`"),
        (
            {"train_dataset": STREAM, "num_problems_per_iteration": 2, "problem_order": "adaptive"},
            ValueError,
            "gives the next ones",
        ),
        (
            {"train_dataset": STREAM.filter(lambda row: False), "num_problems_per_iteration": 2},
            ValueError,
            "`train_dataset` is empty",
        ),
        ({"train_dataset": PROBLEMS}, TypeError, r"got `list`. .* `train_dataset=Dataset.from_list\(rows\)`"),
        (
            {"train_dataset": DatasetDict(dev=rows())},
            TypeError,
            r"Choose .* `train_dataset=dataset\['dev'\]`",
        ),
        ({"eval_dataset": PROBLEMS}, TypeError, r"`eval_dataset=Dataset.from_list\(rows\)`"),
        ({"train_dataset": "gsm8k"}, TypeError, r"load_dataset\('gsm8k', split='train'\)"),
        ({"train_dataset": Dataset.from_list([])}, ValueError, "`train_dataset` is empty"),
        ({"train_dataset": Dataset.from_list(PROBLEMS).rename_column("prompt", "question")}, ValueError, "'question'"),
        ({"train_dataset": rows(prompt="")}, ValueError, "Row 0 of `train_dataset` has an empty `prompt`"),
        ({"train_dataset": rows(hinted_prompt=PROBLEMS[2]["prompt"])}, ValueError, "Row 2 .* same text"),
        ({"train_dataset": None}, ValueError, "`train_dataset` is required"),
        ({"reward_funcs": None}, ValueError, "No reward source provided. Give `reward_funcs`"),
        ({"reward_funcs": []}, ValueError, "`reward_funcs` is empty"),
        ({"reward_funcs": [1.0]}, TypeError, r"must be a function .* got 1.0 \(`float`\)"),
        ({"reward_funcs": 1.0}, TypeError, r"must be a function .* got 1.0 \(`float`\)"),
        ({"reward_funcs": needs_solution_steps}, ValueError, "`needs_solution_steps` needs a column `solution_steps`"),
        (
            {"reward_funcs": without_kwargs},
            ValueError,
            r"\(completions, answer\), .* prompts, .* Add `\*\*kwargs`",
        ),
        ({"reward_funcs": other_name}, ValueError, "`completion`, .* Did you mean `completions`"),
        ({"reward_funcs": [exact_match_reward, format_reward]}, ValueError, "unclear which of them decide"),
        (
            {"reward_funcs": [exact_match_reward, format_reward], "reward_threshold": [1.0, 1.0, 1.0]},
            ValueError,
            "3 values for 2 reward functions",
        ),
        (
            {"reward_funcs": [exact_match_reward, format_reward], "reward_threshold": [None, None]},
            ValueError,
            "nothing decides",
        ),
        (
            {"reward_processing_classes": [None, None]},
            ValueError,
            r"number of reward processing classes \(2\) must match the number of reward functions \(1\)",
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
        (
            {"reward_threshold": "high"},
            ValueError,
            r"must be of type `list\[float\] \| None` or `float`",
        ),
        ({"reward_threshold": ["high"]}, ValueError, r"`reward_threshold` must be .* got \['high'\]"),
        ({"num_iterations": "3"}, ValueError, r"`num_iterations` must be of type `int`, got '3' \(`str`\)"),
        ({"num_iterations": True}, ValueError, "`num_iterations` must be of type `int`, got True"),
        ({"temperature": "hot"}, ValueError, "`temperature` must be of type `float`"),
        ({"metric_for_best_model": "reward"}, ValueError, "`metric_for_best_model='reward'` .* no `eval_dataset`"),
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("num_iteration", "`STaRConfig` has no argument `num_iteration`. Did you mean `num_iterations`?"),
        ("max_new_tokens", "`STaRConfig` has no argument `max_new_tokens`. Set `max_completion_length`."),
        ("max_prompt_length", "Leave it out: prompts are never cut"),
        ("beta", "Leave it out: there is no KL penalty"),
        ("qwertz", r"`help\(STaRConfig\)` lists its arguments"),
    ],
)
def test_settings_of_other_trainers(name, message):
    with pytest.raises(TypeError, match=message):
        STaRConfig(**{name: 1})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("formatting_func", "`STaRTrainer` has no argument `formatting_func`. Give the dataset a column `prompt`"),
        ("compute_metrics", "Reward functions are the metrics"),
        ("data_collator", "the training sequences are built from the samples"),
        ("tokenizer", "Use `processing_class`"),
        ("reward_function", "Did you mean `reward_funcs`"),
        ("max_completion_length", r"It is a setting: `args=STaRConfig\(max_completion_length=...\)`"),
    ],
)
def test_arguments_of_other_trainers(name, message):
    with pytest.raises(TypeError, match=message):
        STaRTrainer(model="unused", **{name: None})


def test_settings_of_grpo_are_one_error():
    with pytest.raises(TypeError) as error:
        STaRConfig(beta=0.04, loss_type="dr_grpo", num_iteration=2, temperature=1.0)
    assert str(error.value).splitlines() == [
        "`STaRConfig` does not take these arguments:",
        f"- `beta`: {OTHER_SETTINGS['beta']}",
        "- `num_iteration`: Did you mean `num_iterations`?",
        f"- `loss_type='dr_grpo'`: {OTHER_VALUES['loss_type'][1]}",
    ]
    with pytest.raises(TypeError, match="these arguments:\n- `loss_type='dapo'`: Leave it out"):
        STaRConfig(loss_type="dapo")


def test_every_field_of_grpo_is_explained():
    """By the error, and by the table of the docs."""
    unknown = GRPOConfig.__dataclass_fields__.keys() - STaRConfig.__dataclass_fields__.keys()
    assert not unknown - OTHER_SETTINGS.keys()
    table = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "from_grpo.md").read_text()))
    assert not unknown - table


def test_tables_of_other_names_have_no_own_ones():
    assert not OTHER_SETTINGS.keys() & STaRConfig.__dataclass_fields__.keys()
    assert not OTHER_ARGUMENTS.keys() & inspect.signature(STaRTrainer).parameters.keys()


def test_predict_names_the_methods_that_do_it(make_trainer, problems):
    with pytest.raises(NotImplementedError, match=r"`evaluate\(dataset\)` .* `sample_problems\(dataset\)`"):
        make_trainer().predict(problems)


def test_a_model_that_is_not_there(make_trainer, tmp_path):
    (tmp_path / "out" / "checkpoint").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"out has no 'chekpoint'. Did you mean `checkpoint`\?"):
        make_trainer(model=f"{tmp_path}/out/chekpoint/last")


def test_numbers_of_numpy_are_numbers(make_args):
    args = make_args(num_iterations=np.int64(3), temperature=np.float32(1), reward_threshold=np.float64(0.5))
    assert (args.num_iterations, args.temperature, args.reward_threshold) == (3, 1, 0.5)


def test_without_an_accelerator_the_default_precision_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    args = STaRConfig(output_dir=str(tmp_path))
    assert (args.bf16, args.dataloader_pin_memory) == (False, False)
    with pytest.raises(ValueError, match="`bf16=True`, but this computer has no accelerator"):
        STaRConfig(output_dir=str(tmp_path), bf16=True)
    assert STaRConfig(output_dir=str(tmp_path), bf16=True, use_cpu=True).bf16


def test_a_tokenizer_without_eos(make_trainer, tokenizer):
    plain = copy.deepcopy(tokenizer)
    plain.eos_token = None
    with pytest.raises(ValueError, match=r"tokenizer \(`.*`\) has no EOS token.*Set `eos_token`"):
        make_trainer(processing_class=plain)
    make_trainer(processing_class=plain, eos_token="<eos>")


def test_messages_without_a_chat_template(make_trainer, tokenizer):
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


def test_fsdp_that_is_not_in_force_is_warned_about(make_trainer, monkeypatch, caplog):
    make_trainer(solve_easy_and_hinted)
    assert "FSDP" not in caplog.text
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    make_trainer(solve_easy_and_hinted)
    assert "FSDP is asked for, but nothing is sharded" in caplog.text


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


@pytest.mark.parametrize(
    ("samplers", "message"),
    [
        ("rationale", r"must be a list of samplers, such as `\[RationaleSampler\(\)\]`, got 'rationale'"),
        ([RationaleSampler], r"must hold samplers, but one is <class .*Give `RationaleSampler\(\)`"),
        (["rationale"], "must hold samplers, but one is 'rationale'. Give an object"),
    ],
)
def test_what_is_no_list_of_samplers_is_named(make_trainer, samplers, message):
    with pytest.raises(TypeError, match=message):
        make_trainer(samplers=samplers)


def test_few_shot_examples_that_are_no_dicts_are_named(make_trainer):
    with pytest.raises(TypeError, match=r"must be dicts with a `prompt` and a `completion`, but one is 'Q: 1\+1"):
        make_trainer(few_shot_examples=["Q: 1+1?\nA: 2"])


def test_a_number_that_yaml_reads_as_text_is_named(make_args):
    with pytest.raises(ValueError, match="`learning_rate` must be a number, got the text '1e-5'.*`1.0e-5`"):
        make_args(learning_rate="1e-5")


def test_a_loss_is_no_metric_of_an_evaluation(make_args):
    with pytest.raises(ValueError, match="`metric_for_best_model='eval_loss'`, but an evaluation generates"):
        make_args(metric_for_best_model="eval_loss")


def test_the_hint_is_not_blamed_where_all_samples_were_cut(make_trainer, caplog):
    trainer = make_trainer(lambda prompt: " One and one and one", max_completion_length=4)
    with pytest.raises(NothingSurvives, match="8 truncated"):
        trainer.train()
    assert "although they were shown a hint" not in caplog.text
