# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The append-only store of every sample, kept or not."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from datasets import Dataset, Features, List, Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """
    One scored completion: a line of the ledger.

    Args:
        iteration (`int`):
            Outer iteration, counted from 1.
        problem_id (`int`):
            Index of the problem in the training dataset.
        sampler (`str`):
            Name of the sampler that proposed it.
        sample_index (`int`):
            Which of the sampler's completions of the problem it is.
        prompt (`str`):
            The problem's prompt without the hint and without few-shot examples; messages as JSON.
        hint_shown (`bool`):
            Whether the hint stays in the training prompt, by the sampler's choice.
        completion (`str`):
            The completion's text, without special tokens.
        completion_ids (`list[int]`):
            Token ids of the completion as it is trained on, with EOS unless it was cut.
        loss_mask (`list[bool]`):
            For each of these tokens, whether it is trained on.
        finish_reason (`str`):
            `"eos"`, `"stop"`, `"length"`, or `"pause"` where the sampler did not go on with a completion.
        rewards (`dict[str, float | None]`):
            Reward by function; `None` where the function does not apply.
        reward (`float` or `None`):
            Weighted sum of the rewards that apply; `None` if none does.
        kept (`bool`):
            Whether it passed the filter: not cut, and every deciding reward function that applies reaches its
            threshold. Duplicates and the cap per problem are applied later, when the training set is built.
        drop_reason (`str`, *optional*):
            Why it was not kept: `"truncated"` (cut by `max_completion_length`, or not gone on with), `"unverified"`
            (no deciding reward function applies), `"error"` (a reward function failed) or `"wrong"`.
        logprob (`float`, *optional*):
            Log-probability of the completion under the model at temperature 1, behind the prompt that it was drawn
            with, in nats; only where `sample_weighting` or `sample_preference` asks for it. Tokens that a tool put
            in, and an EOS that stands in for a stop string, are not in it.
        extra (`dict[str, Any]`):
            What the sampler recorded about it, and reward functions with `log_extra`; under `"error"` what these
            failed with.
    """

    iteration: int
    problem_id: int
    sampler: str
    sample_index: int
    prompt: str
    hint_shown: bool
    completion: str
    completion_ids: list[int]
    loss_mask: list[bool]
    finish_reason: str
    rewards: dict[str, float | None]
    reward: float | None
    kept: bool
    drop_reason: str | None = None
    logprob: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int, int]:
        """What identifies it within its iteration: sampler, problem and sample index."""
        return self.sampler, self.problem_id, self.sample_index

    @property
    def truncated(self) -> bool:
        """Whether it was cut before its end."""
        return self.finish_reason in ("length", "pause")


FEATURES = Features(
    {
        "iteration": Value("int64"),
        "problem_id": Value("int64"),
        "sampler": Value("string"),
        "sample_index": Value("int64"),
        "prompt": Value("string"),
        "hint_shown": Value("bool"),
        "completion": Value("string"),
        "completion_ids": List(Value("int64")),
        "loss_mask": List(Value("bool")),
        "finish_reason": Value("string"),
        "rewards": List({"name": Value("string"), "value": Value("float64")}),
        "reward": Value("float64"),
        "kept": Value("bool"),
        "drop_reason": Value("string"),
        "logprob": Value("float64"),
        "extra": Value("string"),
    }
)


class Ledger:
    """
    The samples of a run, as JSON lines under `<output_dir>/iteration-NNN/`. Each process appends to a shard of its
    own; reading merges the shards, however many processes wrote them.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        process_index (`int`, *optional*, defaults to `0`):
            Index of this process.
        num_processes (`int`, *optional*, defaults to `1`):
            Number of processes that append.
        name (`str`, *optional*, defaults to `"samples"`):
            What the shards are called: `"samples"`, or the prefix of the metrics for those of an evaluation.
        samplers (`list[str]`, *optional*, defaults to `()`):
            Names of the samplers in their order, which their samples are then in. Those of others come behind them,
            in the order of the alphabet.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        process_index: int = 0,
        num_processes: int = 1,
        name: str = "samples",
        samplers: Sequence[str] = (),
    ):
        self.output_dir = Path(output_dir)
        self._positions = {sampler: position for position, sampler in enumerate(samplers)}
        self._name = quote(name, safe="")
        self._shard_name = f"{self._name}-{process_index:05d}-of-{num_processes:05d}.jsonl"

    def iteration_dir(self, iteration: int) -> Path:
        return self.output_dir / f"iteration-{iteration:03d}"

    def append(self, samples: Sequence[Sample]) -> None:
        """Appends samples of one iteration to this process's shard; they are on disk when it returns."""
        if not samples:
            return
        path = self.iteration_dir(samples[0].iteration) / self._shard_name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as shard:
            for sample in samples:
                shard.write(json.dumps(asdict(sample), ensure_ascii=False, default=str) + "\n")
            shard.flush()
            os.fsync(shard.fileno())

    def drop_torn_line(self, iteration: int) -> None:
        """Cuts off a last line that a crash left unfinished, so that the next one does not continue it."""
        path = self.iteration_dir(iteration) / self._shard_name
        if path.exists():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(path, whole)

    def read(self, iteration: int) -> list[Sample]:
        """
        Samples of one iteration, from all processes, sorted by sampler, problem and sample index, and so in the same
        order in every process. A last line that a crash left unfinished is not among them.

        Raises:
            `ValueError`: If a line is not a sample, with its file and number.
        """
        samples = {}
        for path in sorted(self.iteration_dir(iteration).glob(f"{self._name}-?????-of-?????.jsonl")):
            # As bytes, since an unfinished line may end inside a character.
            with open(path, "rb") as shard:
                for number, line in enumerate(shard, start=1):
                    if line.endswith(b"\n"):
                        sample = _parse(line, path, number)
                        samples[sample.key] = sample
        return sorted(samples.values(), key=self._rank)

    def _rank(self, sample: Sample) -> tuple[int, tuple[str, int, int]]:
        return self._positions.get(sample.sampler, len(self._positions)), sample.key

    def iterations(self) -> list[int]:
        """Iterations that have a folder, in order."""
        names = (re.fullmatch(r"iteration-(\d+)", path.name) for path in self.output_dir.glob("iteration-*"))
        return sorted(int(name[1]) for name in names if name)


def ledger_names(output_dir: str | os.PathLike) -> set[str]:
    """Names of the ledgers in an output directory."""
    shards = Path(output_dir).glob("iteration-*/*-?????-of-?????.jsonl")
    return {unquote(shard.name[: -len("-00000-of-00000.jsonl")]) for shard in shards}


def _parse(line: bytes, path: Path, number: int) -> Sample:
    try:
        return Sample(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Line {number} of {path} is not a sample ({error}): it was written by another version, or is damaged. "
            "Delete the line, and the sample is made again when the run is resumed."
        ) from error


def read_samples(output_dir: str | os.PathLike, name: str = "samples") -> list[Sample]:
    """As [`load_ledger`], as a list of [`Sample`]."""
    ledger = Ledger(output_dir, name=name)
    samples = [sample for iteration in ledger.iterations() for sample in ledger.read(iteration)]
    if not samples:
        raise FileNotFoundError(
            f"No samples under {Path(output_dir).resolve()}: expected `iteration-*/{name}-*.jsonl`. Give the "
            "`output_dir` of a run."
        )
    return samples


def load_ledger(output_dir: str | os.PathLike, name: str = "samples") -> Dataset:
    """
    The samples of a run as a dataset.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        name (`str`, *optional*, defaults to `"samples"`):
            `"eval"` for the samples of the evaluations in place of those of the training problems; with several
            evaluation sets `"eval_<name>"`.

    Returns:
        [`~datasets.Dataset`]: One row per sample, sorted by iteration, sampler, problem and sample index, with the
        columns of [`Sample`]. `rewards` is a list of `{"name", "value"}`, and `extra` a JSON object as text, so that
        the features are the same for every run.

    Raises:
        `FileNotFoundError`: If there are no samples under `output_dir`.
    """
    rows = []
    for sample in read_samples(output_dir, name):
        row = asdict(sample)
        row["rewards"] = [{"name": name, "value": value} for name, value in sample.rewards.items()]
        row["extra"] = json.dumps(sample.extra, ensure_ascii=False)
        rows.append(row)
    return Dataset.from_list(rows, features=FEATURES)
