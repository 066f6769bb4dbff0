# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The settings that a run's weights and samples depend on, besides the weights that it starts from."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, cast

from accelerate.utils import is_peft_model
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from trl import SFTTrainer

from ..fine_tuning.original_weights import frozen_weights_digest
from ..generation.policy import eos_token_ids
from ..ledger.messages import as_text
from ..output_dir import finite
from ..samplers import Sampler
from ..star_config import STaRConfig
from ..task.checks import named_datasets
from ..task.prompting import PromptBuilder
from ..task.rows import read_rows
from ..task.task import Task


# Settings that are stored as digests, which say nothing to a reader
DIGESTS = ("tokenizer", "chat template", "prompts", "prompts of the evaluation", "frozen weights")
# Fields of a model's configuration that only describe its origin, or its use in generation
ORIGIN_OF_MODEL = (
    "_name_or_path",
    "architectures",
    "dtype",
    "quantization_config",
    "torch_dtype",
    "transformers_version",
    "use_cache",
)
# Fields of an adapter's configuration that only describe its origin
ORIGIN = ("base_model_name_or_path", "revision", "auto_mapping", "inference_mode", "peft_version")


def run_settings(task: Task, args: STaRConfig, trainer: SFTTrainer) -> dict[str, Any]:
    """
    Returns the settings that must be the same when a run is resumed, as `star_state.json` stores them.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task.
        args ([`STaRConfig`]):
            Configuration.
        trainer ([`~trl.SFTTrainer`]):
            The trainer, for the model and the optimizer.

    Returns:
        `dict[str, Any]`: Settings by name. Long values are replaced by digests.
    """
    samplers, builder, model = task.samplers, task.prompt_builder, cast(PreTrainedModel, trainer.model)
    evaluation = named_datasets(trainer.eval_dataset)
    eos = eos_token_ids(model.generation_config, builder.tokenizer)
    # A stream is read as far as the run goes, which may be further when it is resumed.
    size = args.num_problems_per_iteration or len(task.problems)
    problems = task.problems.take(min(size, len(task.problems))) if task.is_stream else task.problems
    settings = {
        **args.compared_settings,
        "sequences per optimizer step": (
            args.train_batch_size * args.gradient_accumulation_steps * trainer.accelerator.num_processes
        ),
        "optimizer_cls_and_kwargs": trainer.optimizer_cls_and_kwargs,
        "samplers": [sampler.arguments() for sampler in samplers],
        "reward_funcs": task.scorer.names,
        "tokenizer": _tokenizer_digest(builder.tokenizer),
        "chat template": digest([builder.tokenizer.chat_template]),
        # Covers the few-shot examples of every problem, which a function may choose
        "prompts": _prompts_digest(builder, problems, samplers),
        "prompts of the evaluation": {
            name: _prompts_digest(builder, dataset, samplers[:1]) for name, dataset in evaluation.items()
        },
        # A function's examples are compared by the prompts.
        "few-shot examples": [digest([example]) for example in builder.fixed_examples],
        "number of problems": {
            name: len(dataset) for name, dataset in {"train_dataset": problems, **evaluation}.items()
        },
        "train_dataset": digest(read_rows(problems)),
        "eval_dataset": {name: digest(read_rows(dataset)) for name, dataset in evaluation.items()},
        "eos tokens": builder.tokenizer.convert_ids_to_tokens(sorted(eos)),
        "frozen weights": frozen_weights_digest(model),
        **({"stream": _stream_digests(task.problems, size, args.num_iterations)} if task.is_stream else {}),
        **_model_settings(model),
        **_adapter_settings(model),
        **_quantization_settings(model),
    }
    return finite(json.loads(json.dumps(settings, default=_plain)))  # as they are read back from the file


def describe_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """
    Describes how the settings of a run on disk differ from others. A setting that only one of the two has is not
    compared.

    Args:
        old (`dict[str, Any]`):
            Settings on disk, from [`run_settings`].
        new (`dict[str, Any]`):
            The other settings.
    """
    differing = [name for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    prompts_differ = any(name.startswith("prompts") for name in differing)
    # An example may differ in a key that no prompt shows, which is no difference of the runs.
    examples = _examples_differ(old, new) if prompts_differ else []
    problems = _problems_differ(old, new, differing) or _streams_differ(old, new)
    if examples or problems:  # which explain why the prompts differ
        differing = [name for name in differing if not name.startswith("prompts")]
    explained = ("few-shot examples", "number of problems", "stream", *_DATASETS)
    others = [name for name in differing if name not in explained]
    return [
        *problems,
        *examples,
        *(
            f"`{name}` differs" if name in DIGESTS else f"`{name}` was {old[name]!r} and is {new[name]!r}"
            for name in others
        ),
    ]


def _examples_differ(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    if not all("few-shot examples" in settings for settings in (old, new)):
        return []
    before, after = old["few-shot examples"], new["few-shot examples"]
    if len(before) != len(after):
        return [f"there were {len(before)} few-shot examples, now {len(after)}"]
    changed = [number for number, pair in enumerate(zip(before, after, strict=True), start=1) if pair[0] != pair[1]]
    return [f"few-shot example {number} differs" for number in changed]


def _problems_differ(old: dict[str, Any], new: dict[str, Any], differing: list[str]) -> list[str]:
    digests = [
        {"train_dataset": settings.get("train_dataset"), **settings.get("eval_dataset", {})} for settings in (old, new)
    ]
    counts = [settings.get("number of problems", {}) for settings in (old, new)]
    found = []
    for name in sorted(digests[0].keys() | digests[1].keys()) if set(differing) & set(_DATASETS) else []:
        before, after = (each.get(name) for each in digests)
        if before == after:
            continue
        numbers = [each.get(name) for each in counts]
        if before is None or after is None:
            found.append(f"`{name}` is {'new' if before is None else 'missing'}")
        elif None not in numbers and numbers[0] != numbers[1]:
            found.append(f"`{name}` had {numbers[0]:,} problems, now {numbers[1]:,}")
        else:
            found.append(f"`{name}` has other problems, or the same in another order")
    return found


def _streams_differ(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    # One of the runs may have more iterations than the other.
    pairs = zip(old.get("stream", []), new.get("stream", []), strict=False)
    changed = [number for number, (before, after) in enumerate(pairs, start=1) if before != after]
    return [f"the stream `train_dataset` has other problems for iteration {changed[0]}"] if changed else []


_DATASETS = ("train_dataset", "eval_dataset")


def digest(rows: Iterable[Any]) -> str:
    """Returns a hash of rows that JSON can hold."""
    found = hashlib.blake2b(digest_size=8)
    for row in rows:
        found.update(json.dumps(row, default=str, sort_keys=True).encode())
    return found.hexdigest()


def _stream_digests(problems: Dataset, size: int, num_iterations: int) -> list[str]:
    """Returns a hash of the problems of each iteration. A stream begins again where it ends."""
    places = [range(first, first + size) for first in range(0, size * num_iterations, size)]
    return [digest(read_rows(problems.select([place % len(problems) for place in each]))) for each in places]


def _prompts_digest(builder: PromptBuilder, dataset: Dataset, samplers: Sequence[Sampler]) -> str:
    columns = dict.fromkeys(sampler.prompt_column for sampler in samplers)
    rows = read_rows(dataset)
    return digest([as_text(builder.render(row, column, few_shot=True)) for column in columns] for row in rows)


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a hash of what turns text into token ids. The padding and truncation of the last call do not count."""
    if not tokenizer.is_fast:
        return digest([tokenizer.get_vocab()])
    state = json.loads(cast(PreTrainedTokenizerFast, tokenizer).backend_tokenizer.to_str())
    return digest([{name: value for name, value in state.items() if name not in ("padding", "truncation")}])


def _model_settings(model: PreTrainedModel) -> dict[str, Any]:
    """Returns the configuration of the model, such as its dropout. A quantization is compared by itself."""
    values = model.config.to_dict().items()
    return {f"{name} of the model": value for name, value in values if name not in ORIGIN_OF_MODEL}


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
    """Converts a value for JSON. Sets are sorted, since their order differs between processes."""
    return sorted(value) if isinstance(value, set) else str(value)
