# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Shared parts of the examples in this folder: a dataset as a [`Domain`], its few-shot examples, and prompts for chat
models. `docs/add_a_dataset.md` goes through one example. `paper_runs.py` does the runs.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset

from star_trl import Sampler
from star_trl.few_shot import as_messages, read_prompts


PROMPTS = Path(__file__).parent / "prompts"


@dataclass(kw_only=True)
class DomainArguments:
    """
    Arguments of the examples, besides those of [`~star_trl.STaRConfig`] and [`~trl.ModelConfig`].

    Args:
        runs (`list[str]`, *optional*, defaults to `["star"]`):
            Which of `paper_runs.RUNS` to do, or `all`. Each has its own folder under `output_dir`. Finished runs are
            not repeated, and an interrupted one is resumed.
        data_dir (`str`, *optional*):
            Folder with the dataset's own files, to use instead of the hub.
        prompts (`str`, *optional*):
            Folder with the few-shot examples, `prompts.txt` and `prompts_answer_key.txt`, to use instead of the
            example's own. The files of the STaR authors have this form.
        num_few_shot (`int`, *optional*):
            Number of few-shot examples to use. All by default.
        chat (`bool`, *optional*, defaults to `False`):
            Whether to prompt with messages and the chat template.
        max_train_problems (`int`, *optional*), max_eval_problems (`int`, *optional*):
            Number of problems to use, from the first one on. All by default.
        p_show_hint (`float`, *optional*, defaults to `0.0`):
            Share of the rationalized samples that are trained on with the hint left in.
        calculator (`bool`, *optional*, defaults to `False`):
            Whether calculator marks (`<<48/2=24>>`) are computed.
    """

    runs: list[str] = field(default_factory=lambda: ["star"], metadata={"help": "Which runs to do, or `all`."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the dataset, in place of the hub."})
    prompts: str | None = field(default=None, metadata={"help": "Folder with other few-shot examples."})
    num_few_shot: int | None = field(default=None, metadata={"help": "Number of few-shot examples. All by default."})
    chat: bool = field(default=False, metadata={"help": "Prompt with messages and the chat template."})
    max_train_problems: int | None = field(default=None, metadata={"help": "Train on the first ones only."})
    max_eval_problems: int | None = field(default=None, metadata={"help": "Evaluate on the first ones only."})
    p_show_hint: float = field(default=0.0, metadata={"help": "Share of rationalized samples trained with the hint."})
    calculator: bool = field(default=False, metadata={"help": "Compute calculator marks."})


@dataclass(frozen=True, kw_only=True)
class Domain:
    """
    A dataset, how its rows become problems, and what decides whether an answer is right.

    Args:
        name (`str`):
            Its name.
        load (`Callable[[str, str | None], list[dict]]`):
            Maps `"train"` or `"eval"` and a folder (`None`: the hub) to rows with `prompt` and `hinted_prompt` as text
            (`"Q: ...\\nA:"`), `answer`, `direct` (the right completion without a rationale) and any others.
        direct_pattern (`str` or `Callable[[str], str]`):
            Finds the direct answer in a few-shot example's completion: a regular expression, or a function.
        instruction (`str`), direct_instruction (`str`):
            Instruction for a chat model after the question, with and without a rationale.
        reward_funcs (`list[Callable]`):
            The reward function that decides, and others that are only reported.
        defaults (`dict[str, Any]`):
            Defaults of the command line.
        examples (`list[dict[str, Any]]`, *optional*):
            Few-shot examples: rows of the form that `load` returns, with a `completion`. By default they are read from
            the folder `prompts/<name>` beside this file.
        paper (`dict[str, str]`, *optional*):
            What the paper reports, by run.
        equip (`Callable[[list[Sampler]], list[Sampler]]`, *optional*):
            Gives the samplers a tool.
        report (`Callable[[Path, Dataset], None]`, *optional*):
            Prints more about a run, from its folder and the training problems.
    """

    name: str
    load: Callable[[str, str | None], list[dict[str, Any]]]
    direct_pattern: str | Callable[[str], str]
    instruction: str
    direct_instruction: str
    reward_funcs: list[Callable]
    defaults: dict[str, Any]
    examples: list[dict[str, Any]] | None = None
    paper: dict[str, str] = field(default_factory=dict)
    equip: Callable[[list[Sampler]], list[Sampler]] | None = None
    report: Callable[[Path, Dataset], None] | None = None


# Suitable for one GPU of 24 GB and a model of 0.6 billion parameters. Each can be changed on the command line.
DEFAULTS = {
    "model_name_or_path": "Qwen/Qwen3-0.6B-Base",
    "learning_rate": 1e-5,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 10,
    "weight_decay": 0.0,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 16,
    "max_length": None,
    "logging_steps": 5,
    "save_total_limit": 1,
    # The first reward function decides what is kept, the second is only reported.
    "reward_threshold": [1.0, float("nan")],
    "reward_weights": [1.0, 0.0],
}


def read_examples(domain: Domain, folder: str | None = None) -> list[dict[str, str]]:
    """
    Returns the few-shot examples of a domain, or those of a folder in the form of [`~star_trl.few_shot.read_prompts`].

    Returns:
        `list[dict]`: With `prompt`, `hinted_prompt`, `completion`, and `direct`, the completion without the rationale.
    """
    if folder is None and domain.examples is not None:
        examples = domain.examples
    else:
        examples = read_prompts(Path(folder) if folder else PROMPTS / domain.name)
    return [{**example, "direct": direct_answer(domain, example["completion"])} for example in examples]


def direct_answer(domain: Domain, completion: str) -> str:
    """Returns a few-shot completion without its rationale."""
    if isinstance(domain.direct_pattern, str):
        return f" {re.findall(domain.direct_pattern, completion)[-1]}"
    return domain.direct_pattern(completion)


def first_line(row: dict[str, Any]) -> str:
    """Returns the question, without answer choices."""
    return " ".join(row["prompt"].removesuffix("\nA:").split("\n")[0].split())


def load_data(domain: Domain, args: DomainArguments, direct: bool) -> tuple[list[dict], list[dict], list[dict]]:
    """
    Loads few-shot examples, training problems and evaluation problems. Questions of the few-shot examples are left out
    of the training problems, even if their answer choices were changed, as in some of the authors' examples.

    Args:
        domain ([`Domain`]):
            The dataset.
        args ([`DomainArguments`]):
            Which data to load, how much of them, and in which form.
        direct (`bool`):
            Whether the answer is asked for without a rationale.
    """
    examples = read_examples(domain, args.prompts)[: args.num_few_shot]
    all_problems, held_out = (domain.load(split, args.data_dir) for split in ("train", "eval"))
    known = {first_line(example) for example in examples}
    problems = [row for row in all_problems if first_line(row) not in known]
    if os.environ.get("RANK", "0") == "0":  # only one process of a launcher prints
        left_out = len(all_problems) - len(problems)
        print(
            f"{domain.name}: {len(all_problems)} training problems, {left_out} of them left out as few-shot examples; "
            f"{len(held_out)} evaluation problems."
        )
    problems, held_out = problems[: args.max_train_problems], held_out[: args.max_eval_problems]
    if direct:
        examples = [{**example, "completion": example["direct"]} for example in examples]
    if args.chat:
        instruction = domain.direct_instruction if direct else domain.instruction
        examples, problems, held_out = (
            [with_messages(row, instruction) for row in rows] for rows in (examples, problems, held_out)
        )
    return examples, problems, held_out


def with_messages(row: dict[str, Any], instruction: str) -> dict[str, Any]:
    """Returns a row or a few-shot example for a chat model. Its direct completion is stripped of white space, too."""
    direct = {"direct": row["direct"].strip()} if "direct" in row else {}
    return {**as_messages(row, instruction), **direct}
