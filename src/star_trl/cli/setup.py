# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Creation of a trainer from parsed arguments."""

import importlib.util
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.trainer_utils import IntervalStrategy
from trl import ModelConfig, get_peft_config, get_quantization_config

from ..samplers import Sampler
from ..star_config import STaRConfig
from ..star_trainer import STaRTrainer
from ..user_input import check_model_path
from .arguments import TaskArguments
from .data import load_few_shot, load_problems
from .errors import UsageError
from .lookup import load_reward, load_samplers


def build_trainer(task: TaskArguments, args: STaRConfig, model_args: ModelConfig) -> STaRTrainer:
    """
    Creates the trainer of `star-trl train`. Cheap checks come first, and the model is loaded last.

    Args:
        task ([`TaskArguments`]):
            Problems, few-shot examples, rewards and samplers.
        args ([`STaRConfig`]):
            Configuration.
        model_args ([`~trl.ModelConfig`]):
            The model, adapters and quantization.

    Raises:
        `UsageError`: If something that the arguments name does not exist or does not fit.
    """
    if not task.reward_funcs:
        raise UsageError(
            "`reward_funcs` is missing: they decide which samples are kept, such as `exact_match_reward`."
        )
    reward_funcs = [load_reward(spec) for spec in task.reward_funcs]
    samplers = load_samplers(task.samplers) if task.samplers else None
    model = load_model_arguments(args, model_args, train=True)
    problems = load_problems(task, test=False)
    assert problems is not None
    return _build(task, args, model, reward_funcs, samplers, problems, load_problems(task, test=True))


def build_evaluator(task: TaskArguments, args: STaRConfig, model_args: ModelConfig) -> tuple[STaRTrainer, Dataset]:
    """
    Creates the trainer of `star-trl evaluate` and `star-trl generate`, which does not train. Also returns the
    problems: those to evaluate on, or, if none are named, those to train on. Without `reward_funcs` nothing is scored.
    """
    reward_funcs = [load_reward(spec) for spec in task.reward_funcs] if task.reward_funcs else [unscored]
    samplers = load_samplers(task.samplers or ["rationale"])[:1]
    model = load_model_arguments(args, model_args, train=False)
    problems = load_problems(task, test=True)
    if problems is None:
        problems = load_problems(task, test=False)
    assert problems is not None
    # An evaluation does not use these. They would be refused without training and evaluation sets that fit.
    args.sample_weighting, args.distillation, args.gradient_view_samples = "uniform", None, 0
    args.load_best_model_at_end, args.eval_strategy = False, IntervalStrategy.NO
    args.metric_for_best_model = None
    args.max_length, args.packing, args.few_shot_train = None, False, False
    args.ignored_settings = []  # those of the training do not matter here
    args.push_to_hub = False  # a trainer would create the repository on creation
    if not task.reward_funcs:
        args.reward_threshold = args.reward_weights = None
    return _build(task, args, model, reward_funcs, samplers, problems, None), problems


def unscored(completions: list, **kwargs: Any) -> list[None]:
    """Reward function that never applies."""
    return [None] * len(completions)


def load_model_arguments(args: STaRConfig, model_args: ModelConfig, train: bool) -> dict[str, Any]:
    """
    Returns how the trainer loads the model, with an adapter or quantized if requested. A model that is itself an
    adapter, as the checkpoints of a run with `use_peft` are, is loaded with its base.
    """
    name = model_args.model_name_or_path
    if name is None:
        raise UsageError("`model_name_or_path` is missing: a model of the hub, or a folder with one.")
    kwargs = {
        **(args.model_init_kwargs if isinstance(args.model_init_kwargs, dict) else {}),
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
    }
    quantization = get_quantization_config(model_args)
    tokenizer = load_tokenizer(args, model_args)
    if (Path(name) / "adapter_config.json").exists():
        if importlib.util.find_spec("peft") is None:
            raise UsageError(f"{name} is an adapter, which needs PEFT. Install it with `pip install star-trl[peft]`.")
        from peft import AutoPeftModelForCausalLM

        del kwargs["revision"]  # belongs to the base model, which the adapter names
        model = AutoPeftModelForCausalLM.from_pretrained(
            name, is_trainable=train, quantization_config=quantization, **kwargs
        )
        return {"model": model, "processing_class": tokenizer}
    args.model_init_kwargs = kwargs
    return {
        "model": name,
        "processing_class": tokenizer,
        "quantization_config": quantization,
        "peft_config": get_peft_config(model_args) if train else None,
    }


def load_tokenizer(args: STaRConfig, model_args: ModelConfig) -> PreTrainedTokenizerBase:
    """
    Loads the model's tokenizer. This happens before the data are loaded, so that a missing model is noticed early.
    """
    name = model_args.model_name_or_path
    try:
        check_model_path(str(name))
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    try:
        return AutoTokenizer.from_pretrained(
            name, revision=model_args.model_revision, trust_remote_code=args.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"The model {name!r} cannot be loaded: {error}") from error


def _build(
    task: TaskArguments,
    args: STaRConfig,
    model: dict[str, Any],
    reward_funcs: list[Any],
    samplers: list[Sampler] | None,
    problems: Dataset,
    held_out: Dataset | None,
) -> STaRTrainer:
    if task.few_shot_examples is not None and isinstance(problems[0]["prompt"], str) and args.stop_strings is None:
        args.stop_strings = ["\n\n"]  # the next example would begin here
    try:
        return STaRTrainer(
            args=args,
            reward_funcs=reward_funcs,
            samplers=samplers,
            few_shot_examples=load_few_shot(task),
            train_dataset=problems,
            eval_dataset=held_out,
            **model,
        )
    except (ValueError, ImportError) as error:  # the messages of the trainer's checks say what to do
        raise UsageError(str(error)) from error
