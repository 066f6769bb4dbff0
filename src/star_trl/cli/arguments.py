# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The arguments of the commands, besides those of [`~star_trl.STaRConfig`] and [`~trl.ModelConfig`]."""

import json
import re
from dataclasses import dataclass, field, fields
from typing import Any

from trl import ModelConfig

from ..star_config import STaRConfig
from .lookup import SAMPLERS
from .parser import StarParser


# Fields of TRL and transformers that `--help` shows. `--help_all` shows the others as well.
COMMON = (
    "model_name_or_path dtype output_dir resume_from_checkpoint learning_rate lr_scheduler_type warmup_steps "
    "weight_decay per_device_train_batch_size gradient_accumulation_steps max_length packing gradient_checkpointing "
    "bf16 use_cpu use_peft lora_r lora_alpha load_in_4bit logging_steps report_to disable_tqdm save_steps "
    "save_strategy save_total_limit load_best_model_at_end metric_for_best_model push_to_hub hub_model_id seed"
).split()


@dataclass
class TaskArguments:
    """
    The task of the model, and how its answers are scored.

    Args:
        dataset_name (`str`, *optional*):
            Problems to train on: a dataset of the hub, a folder, a file (`.json`, `.jsonl`, `.parquet`, `.csv`), or
            `file.py:function`, a function that maps a split to its rows.
        dataset_config (`str`, *optional*):
            Configuration of the dataset, as in `datasets.load_dataset`.
        dataset_train_split (`str`, *optional*, defaults to `"train"`):
            Split to train on, such as `train[:1000]`.
        dataset_test_split (`str`, *optional*):
            Split to evaluate on. Without it and without `test_dataset_name` there is no evaluation.
        test_dataset_name (`str`, *optional*):
            Problems to evaluate on, if they are not a split of `dataset_name`.
        column_mapping (`dict[str, str]`, *optional*):
            Columns to make. It maps `prompt`, `hinted_prompt`, `answer` and others to a column of the dataset, or to a
            text with columns in braces, such as `"Q: {question}\\nA:"`.
        formatting_function (`str`, *optional*):
            Function that maps a row to a problem, in place of `column_mapping`: a dotted path, or `file.py:name`.
        few_shot_examples (`str`, *optional*):
            Examples with `prompt`, `completion` and `hinted_prompt`: a file (`.json`, `.jsonl`, `.yaml`, `.parquet`,
            `.csv`), a folder with `prompts.txt` and `prompts_answer_key.txt`, or the path of a list or of a function
            that maps a problem to its examples.
        num_few_shot (`int`, *optional*):
            Number of few-shot examples to use. All by default.
        chat (`bool`, *optional*, defaults to `False`):
            Whether to turn text prompts into messages.
        instruction (`str`, *optional*):
            Text after the question in these messages.
        reward_funcs (`list[str]`, *optional*):
            Reward functions: names in `star_trl.rewards`, TRL's, dotted paths, or reward models.
        samplers (`list[str]`, *optional*):
            Samplers: names (`rationale`, `rationalization`, ...) or dotted paths. In YAML they may also be mappings of
            a `name` and arguments. The default is the trainer's.
    """

    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "Problems to train on: a dataset of the hub, a folder, a file (.json, .jsonl, .parquet, .csv), or "
            "`file.py:function`, a function that maps a split to its rows."
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration of the dataset, as in `datasets.load_dataset`."}
    )
    dataset_train_split: str = field(default="train", metadata={"help": "Split to train on, such as `train[:1000]`."})
    dataset_test_split: str | None = field(
        default=None,
        metadata={"help": "Split to evaluate on. Without it and `test_dataset_name` there is no evaluation."},
    )
    test_dataset_name: str | None = field(
        default=None,
        metadata={"help": "Problems to evaluate on, if they are not a split of `dataset_name`."},
    )
    column_mapping: dict[str, str] | str | None = field(
        default=None,
        metadata={
            "help": "Columns to make. It maps `prompt`, `hinted_prompt`, `answer` and others to a column of the "
            "dataset, or to a text with columns in braces, such as `Q: {question}\\nA:`."
        },
    )
    formatting_function: str | None = field(
        default=None,
        metadata={
            "help": "Function that maps a row to a problem, in place of `column_mapping`: a dotted path, or "
            "`file.py:name`."
        },
    )
    few_shot_examples: str | None = field(
        default=None,
        metadata={
            "help": "Examples with `prompt`, `completion` and `hinted_prompt`: a file (.json, .jsonl, .yaml, "
            ".parquet, .csv), a folder with prompts.txt and prompts_answer_key.txt, or the path of a list or of a "
            "function that maps a problem to its examples."
        },
    )
    num_few_shot: int | None = field(
        default=None, metadata={"help": "Number of few-shot examples to use. All by default."}
    )
    chat: bool = field(default=False, metadata={"help": "Whether to turn text prompts into messages."})
    instruction: str | None = field(default=None, metadata={"help": "Text after the question in these messages."})
    reward_funcs: list[str] | None = field(
        default=None,
        metadata={
            "help": "Reward functions: names in `star_trl.rewards`, TRL's, dotted paths, or reward models; in YAML "
            "also mappings of a `name` and arguments."
        },
    )
    samplers: list[str] | None = field(
        default=None,
        metadata={
            "help": f"Samplers: names ({', '.join(SAMPLERS)}) or dotted paths; in YAML also mappings of a `name` and "
            "arguments. The default is the trainer's."
        },
    )

    def __post_init__(self):
        if isinstance(self.column_mapping, str):
            self.column_mapping = json.loads(self.column_mapping)
        if self.column_mapping is not None and self.formatting_function is not None:
            raise ValueError("`column_mapping` and `formatting_function` both make the problems. Set one of them.")
        if self.instruction is not None and not self.chat:
            raise ValueError(
                "`instruction` is put into messages, but `chat` is false. Set `chat: true`, or leave it out."
            )
        # A list with one entry may be given without the list.
        for name in ("reward_funcs", "samplers"):
            if isinstance(getattr(self, name), (str, dict)):
                setattr(self, name, [getattr(self, name)])


@dataclass
class TrainArguments:
    """
    Arguments of `star-trl train`.

    Args:
        dry_run (`bool`, *optional*, defaults to `False`):
            Whether to show prompts, count tokens and estimate times, and stop before training.
        dry_run_problems (`int`, *optional*, defaults to `16`):
            Number of problems that the dry run samples for to measure the time.
    """

    dry_run: bool = field(
        default=False,
        metadata={"help": "Show prompts, count tokens and estimate times, and stop before training."},
    )
    dry_run_problems: int = field(
        default=16, metadata={"help": "Number of problems that the dry run samples for to measure the time."}
    )

    def __post_init__(self):
        if self.dry_run_problems < 1:
            raise ValueError(f"`dry_run_problems` must be at least 1, got {self.dry_run_problems}.")


@dataclass
class OutputArguments:
    """
    Arguments of `star-trl evaluate` and `star-trl generate`.

    Args:
        output_file (`str`, *optional*):
            File to write the result to as well: the metrics as JSON, or the completions as JSON lines.
    """

    output_file: str | None = field(
        default=None,
        metadata={"help": "File that the metrics (JSON) or the completions (JSON lines) are written to."},
    )


def make_parser(command: str) -> StarParser:
    """Returns the parser of `train`, `evaluate` or `generate`."""
    own: Any = TrainArguments if command == "train" else OutputArguments
    groups = {
        "the task": [each.name for each in fields(TaskArguments)],
        "the command": [each.name for each in fields(own)],
        **_own_groups(),
        "TRL and transformers": COMMON,
    }
    return StarParser([TaskArguments, own, STaRConfig, ModelConfig], prog=f"star-trl {command}", groups=groups)


def _own_groups() -> dict[str, list[str]]:
    """Returns the groups of fields in the docstring of [`~star_trl.STaRConfig`]. Those of vLLM are left out."""
    groups: dict[str, list[str]] = {}
    lines = re.finditer(
        r"^ +(?:> Parameters that control (?P<group>.*)|(?P<name>\w+) \(`.*)$", STaRConfig.__doc__ or "", re.M
    )
    for line in lines:
        if line["group"]:
            own = groups[line["group"]] = []
        elif not line["name"].startswith("vllm_"):
            own.append(line["name"])
    return groups
