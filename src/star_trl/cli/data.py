# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Loading of the problems and few-shot examples that the command line names."""

import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import yaml
from datasets import Dataset

from ..few_shot import as_messages, read_prompts
from ..task.prompting import FewShotExamples
from ..user_input import nearest
from .arguments import TaskArguments
from .errors import UsageError
from .lookup import load_object


BUILDERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv"}


def load_problems(args: TaskArguments, test: bool) -> Dataset | None:
    """
    Loads the problems to train or to evaluate on.

    Args:
        args ([`TaskArguments`]):
            Arguments that name them.
        test (`bool`):
            Whether to load the problems to evaluate on.

    Returns:
        [`~datasets.Dataset`] or `None`: The problems; `None` if there are none to evaluate on.

    Raises:
        `UsageError`: If they cannot be loaded, or a column is missing.
    """
    if not test and args.dataset_name is None:
        raise UsageError("`dataset_name` is missing: it names the problems. A dataset of the hub or a file is fine.")
    if test and args.test_dataset_name is None and args.dataset_test_split is None:
        return None
    name = args.test_dataset_name if test and args.test_dataset_name is not None else args.dataset_name
    split = (args.dataset_test_split if test else args.dataset_train_split) or "train"
    assert name is not None
    rows = _load(name, args.dataset_config, split, is_own_file=name == args.test_dataset_name)
    problems = _formatted(rows, args, name)
    if args.chat and isinstance(problems[0]["prompt"], str):
        problems = problems.map(as_messages, fn_kwargs={"instruction": args.instruction})
    return problems


def _load(name: str, config: str | None, split: str, is_own_file: bool) -> Dataset:
    if ".py:" in name:
        rows = load_object(name, "dataset_name")(split)
        return rows if isinstance(rows, Dataset) else Dataset.from_list(list(rows))
    path = Path(name)
    if path.suffix in BUILDERS and not path.is_file():
        raise UsageError(f"There is no file {name} in {Path.cwd()}.")
    if path.is_file():
        if path.suffix not in BUILDERS:
            raise UsageError(f"{name} is no dataset that can be read. Files end with {', '.join(BUILDERS)}.")
        first, bracket, rest = split.partition("[")
        if not is_own_file and first != "train":
            raise UsageError(
                f"{name} is one file, whose rows are the split `train`, but the split `{split}` is asked for. Name "
                "the file with the other problems as `test_dataset_name`."
            )
        return datasets.load_dataset(BUILDERS[path.suffix], data_files=str(path), split=f"train{bracket}{rest}")
    try:
        return datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError) as error:  # not found, no network, unknown configuration or split, ...
        raise UsageError(f"The dataset {name!r} ({config=}, {split=}) cannot be loaded: {error}") from error


def _formatted(rows: Dataset, args: TaskArguments, name: str) -> Dataset:
    if args.formatting_function is not None:
        function = load_object(args.formatting_function, "formatting_function")
        try:
            first = function(rows[0])
        except KeyError as error:
            raise UsageError(
                f"formatting_function: {args.formatting_function} reads the column {error}, which {name} does not "
                f"have. It has {', '.join(rows.column_names)}."
            ) from error
        if not isinstance(first, dict) or "prompt" not in first:
            raise UsageError(
                f"formatting_function: {args.formatting_function} must make a dict with a `prompt` of a row, but made "
                f"{first!r}."
            )
        return rows.map(function, remove_columns=rows.column_names)
    if isinstance(args.column_mapping, dict):
        for source in args.column_mapping.values():
            _check_columns(source, rows.column_names, name)
        return rows.map(_map_columns, fn_kwargs={"mapping": args.column_mapping})
    if "prompt" not in rows.column_names:
        raise UsageError(
            f"{name} has no column `prompt`; it has {', '.join(rows.column_names)}. Say what the problems are with "
            '`column_mapping` (`prompt: "Q: {question}\\nA:"`) or `formatting_function`.'
        )
    return rows


def _fields(text: str) -> list[str]:
    """Returns the names in the braces of a text."""
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def _check_columns(source: Any, columns: Iterable[str], name: str) -> None:
    for column in _fields(str(source)) or [str(source)]:
        if column not in columns:
            raise UsageError(
                f"column_mapping: {name} has no column `{column}`; it has {', '.join(columns)}."
                f"{nearest(column, columns)} New columns stand on the left, and on the right columns of the dataset."
            )


def _map_columns(row: dict[str, Any], mapping: dict[str, str]) -> dict[str, Any]:
    return {new: source.format(**row) if _fields(source) else row[source] for new, source in mapping.items()}


def load_few_shot(args: TaskArguments) -> FewShotExamples | None:
    """
    Loads the few-shot examples.

    Args:
        args ([`TaskArguments`]):
            Arguments that name them.

    Returns:
        `list[dict]` or `Callable`: For the trainer.

    Raises:
        `UsageError`: If they cannot be read.
    """
    if args.few_shot_examples is None or args.num_few_shot == 0:
        return None
    path, examples = Path(args.few_shot_examples), None
    try:
        if path.is_dir():
            examples = read_prompts(path)
        elif path.suffix in (".yaml", ".yml"):
            examples = yaml.safe_load(path.read_text(encoding="utf-8"))
        elif path.suffix in BUILDERS:
            if not path.is_file():
                raise FileNotFoundError(f"no file {path} in {Path.cwd()}")
            examples = datasets.load_dataset(BUILDERS[path.suffix], data_files=str(path), split="train").to_list()
        else:
            examples = load_object(args.few_shot_examples, "few_shot_examples")
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise error if isinstance(error, UsageError) else UsageError(f"few_shot_examples: {error}") from error
    if callable(examples):
        return _chosen(examples, args)
    if not isinstance(examples, list) or not all(isinstance(example, dict) for example in examples):
        raise UsageError(f"few_shot_examples: {path} holds no list of examples, but a {type(examples).__name__}.")
    return _as_asked(examples, args)


def _as_asked(examples: list[dict[str, Any]], args: TaskArguments) -> list[dict[str, Any]]:
    examples = examples[: args.num_few_shot]
    if not args.chat:
        return examples
    return [
        as_messages(example, args.instruction) if isinstance(example.get("prompt"), str) else example
        for example in examples
    ]


def _chosen(function: Callable, args: TaskArguments) -> Callable:
    return lambda problem: _as_asked(list(function(problem)), args)
