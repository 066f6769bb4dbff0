# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What the weights and the samples of a run depend on, besides the weights that it starts from."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from accelerate.utils import is_peft_model
from datasets import Dataset
from transformers import PreTrainedModel

from .checks import named_datasets
from .prompting import PromptBuilder, as_text
from .samplers import Sampler
from .weights import frozen_weights_digest


if TYPE_CHECKING:
    from .star_trainer import STaRTrainer


# What an adapter's configuration tells of its origin
ORIGIN = ("base_model_name_or_path", "revision", "auto_mapping", "inference_mode", "peft_version")


def run_settings(trainer: "STaRTrainer") -> dict[str, Any]:
    """
    What a run is resumed with only if it is the same, as `star_state.json` has it.

    Args:
        trainer ([`STaRTrainer`]):
            The trainer.

    Returns:
        `dict[str, Any]`: Settings by name, and digests of what is long.
    """
    args, samplers, builder = trainer.args, trainer.samplers, trainer.prompt_builder
    evaluation = named_datasets(trainer.eval_dataset)
    params = trainer.proposals.sampling_params(samplers[0], trainer.model.generation_config)
    settings = {
        **args.compared_settings,
        "sequences per optimizer step": (
            args.train_batch_size * args.gradient_accumulation_steps * trainer.accelerator.num_processes
        ),
        "optimizer_cls_and_kwargs": trainer.optimizer_cls_and_kwargs,
        "samplers": [sampler.arguments() for sampler in samplers],
        "reward_funcs": trainer.scorer.names,
        # With the chat template and the tokenizer
        "prompt of the first problem": [
            digest(builder.encode([trainer.problems[0]], sampler.prompt_column, few_shot=True)) for sampler in samplers
        ],
        # With the few-shot examples of every problem, which a function may choose
        "prompts": _prompts_digest(builder, trainer.problems, samplers),
        "prompts of the evaluation": {
            name: _prompts_digest(builder, dataset, samplers[:1]) for name, dataset in evaluation.items()
        },
        "train_dataset": digest(trainer.problems),
        "eval_dataset": {name: digest(dataset) for name, dataset in evaluation.items()},
        "eos tokens": builder.tokenizer.convert_ids_to_tokens(sorted(params.eos_token_ids)),
        "frozen weights": frozen_weights_digest(trainer.model),
        **_adapter_settings(trainer.model),
        **_quantization_settings(trainer.model),
    }
    return json.loads(json.dumps(settings, default=_plain))  # as they come back from the file


def digest(rows: Iterable[Any]) -> str:
    """A hash of rows of whatever JSON can hold."""
    found = hashlib.blake2b(digest_size=8)
    for row in rows:
        found.update(json.dumps(row, default=str, sort_keys=True).encode())
    return found.hexdigest()


def _prompts_digest(builder: PromptBuilder, dataset: Dataset, samplers: Sequence[Sampler]) -> str:
    columns = dict.fromkeys(sampler.prompt_column for sampler in samplers)
    return digest([as_text(builder.render(row, column, few_shot=True)) for column in columns] for row in dataset)


def _adapter_settings(model: PreTrainedModel) -> dict[str, Any]:
    configs: dict[str, Any] = model.peft_config if is_peft_model(model) else {}
    return {
        f"{name} of the adapter {adapter}": value
        for adapter, config in configs.items()
        for name, value in config.to_dict().items()
        if name not in ORIGIN
    }


def _quantization_settings(model: PreTrainedModel) -> dict[str, Any]:
    config = getattr(model.config, "quantization_config", None)
    if config is None:
        return {}
    values = config if isinstance(config, dict) else config.to_dict()
    return {f"{name} of the quantization": value for name, value in values.items() if not name.startswith("_")}


def _plain(value: Any) -> Any:
    """For JSON. The order of a set is another one in every process."""
    return sorted(value) if isinstance(value, set) else str(value)
