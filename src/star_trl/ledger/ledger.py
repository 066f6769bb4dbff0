# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The append-only store of every sample, kept or not."""

import json
import os
from collections.abc import Collection, Iterable, KeysView, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from urllib.parse import quote, unquote

from datasets import Dataset

from ..output_dir import encodable, iteration_dir, iterations, writing
from .sample import FEATURES, Sample, as_dict, as_line, from_line, problem_of
from .seals import check_seals, read_seals, shards


# What the names of the ledgers begin with that hold the samples of probe problems. Their temperature follows.
PROBE = "probe-"


class Ledger:
    """
    Stores the samples of a run as JSON lines under `<output_dir>/iteration-NNN/`. Each process appends to a shard of
    its own. Reading merges the shards, however many processes wrote them. The samples of the iteration that was read
    last are kept in memory, with those that are appended to it. Reading it again parses the lines of others only.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        process_index (`int`, *optional*, defaults to `0`):
            Index of this process.
        num_processes (`int`, *optional*, defaults to `1`):
            Number of processes that append.
        name (`str`, *optional*, defaults to `"samples"`):
            Name of the shards: `"samples"`, or the prefix of the metrics for the samples of an evaluation.
        samplers (`list[str]`, *optional*, defaults to `()`):
            Names of the run's samplers. Samples are read in this order of samplers. Samples of other samplers follow,
            in alphabetical order. Without them [`~Ledger.check_asked`] does nothing.
        num_problems (`int`, *optional*):
            Number of problems. A sample of a problem beyond them is refused.
        vocab_size (`int`, *optional*):
            Number of tokens of the model. A sample with a token id beyond them is refused.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        process_index: int = 0,
        num_processes: int = 1,
        name: str = "samples",
        samplers: Sequence[str] = (),
        num_problems: int | None = None,
        vocab_size: int | None = None,
    ):
        self.output_dir = Path(output_dir)
        self._positions = {sampler: position for position, sampler in enumerate(samplers)}
        self._name = name
        self._num_problems = num_problems
        self._vocab_size = vocab_size
        self._shard_name = f"{quote(name, safe='')}-{process_index:05d}-of-{num_processes:05d}.jsonl"
        self._sizes: dict[Path, int] = {}  # bytes of whole lines of the shards that were appended to or read
        self._forget()

    def _forget(self, iteration: int | None = None) -> None:
        self._iteration = iteration
        self._samples: dict[tuple[str, int, int], Sample] = {}
        self._in_order: list[Sample] | None = None  # unless there are new ones
        self._read_up_to: dict[Path, tuple[int, int]] = {}  # bytes and lines of each shard

    def iteration_dir(self, iteration: int) -> Path:
        """Returns the folder of an iteration."""
        return iteration_dir(self.output_dir, iteration)

    def append(self, samples: Sequence[Sample]) -> None:
        """
        Appends samples of one iteration to this process's shard; they are on disk when it returns. They must not be
        changed afterwards, since this process does not read them back.

        Raises:
            `RuntimeError`: If samples that were appended before are gone.
            [`~star_trl.output_dir.DiskFull`]: If there is no room for them.
        """
        if not samples:
            return
        path = self.iteration_dir(samples[0].iteration) / self._shard_name
        self._check_size(path)
        lines = list(map(as_line, samples))
        with writing(path):
            if path not in self._sizes:
                path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab") as shard:
                start = shard.tell()
                shard.writelines(lines)
                shard.flush()
                os.fsync(shard.fileno())
                self._sizes[path] = end = shard.tell()
        offset, number = self._read_up_to.get(path, (0, 0))
        if samples[0].iteration == self._iteration and start == offset and all(map(self._reads_the_same, samples)):
            self._keep(samples)
            self._read_up_to[path] = end, number + len(samples)

    def _reads_the_same(self, sample: Sample) -> bool:
        """Whether reading the line of a sample gives an equal one, so that it need not be read."""
        # `extra` may hold types that JSON does not have.
        return not sample.extra and problem_of(sample, self._iteration, self._num_problems, self._vocab_size) is None

    def _keep(self, samples: Iterable[Sample]) -> None:
        """Keeps samples of the iteration in memory."""
        self._samples.update((sample.key, sample) for sample in samples)
        self._in_order = None

    def forget_sizes(self) -> None:
        """
        Forgets how much was on disk so far, which must not become less. A run calls it when the sampling of an
        iteration begins, since the run before may have been deleted.
        """
        self._sizes.clear()

    def check_sizes(self, iteration: int) -> None:
        """
        Checks that an iteration still has all samples that were appended or read since [`~Ledger.forget_sizes`].

        Raises:
            `RuntimeError`: If a shard is gone, or has become smaller.
        """
        for path in self._sizes:
            if path.parent == self.iteration_dir(iteration):
                self._check_size(path)

    def _check_size(self, path: Path) -> None:
        size, known = path.stat().st_size if path.exists() else 0, self._sizes.get(path, 0)
        if size < known:
            raise RuntimeError(
                f"{path.resolve()} has {size} bytes, but {known} were written: it was deleted or cut while the run "
                "was in progress. Resume the run, and the samples that are lost are made again."
            )

    def drop_torn_line(self, iteration: int) -> None:
        """Removes a last line that a crash left unfinished, so that the next sample is not appended to it."""
        path = self.iteration_dir(iteration) / self._shard_name
        size = path.stat().st_size if path.exists() else 0
        if size:  # an empty file cannot be mapped
            with open(path, "rb") as shard, mmap(shard.fileno(), 0, access=ACCESS_READ) as content:
                whole = content.rfind(b"\n") + 1
            if whole < size:
                os.truncate(path, whole)

    def read(self, iteration: int) -> list[Sample]:
        """
        Reads the samples of one iteration from all processes. They are sorted by sampler, problem and sample index,
        so the order is the same in every process. A last line that a crash left unfinished is ignored.

        Raises:
            `ValueError`: If a line is not a sample. The message names its file and number.
        """
        self._read_new(iteration)
        if self._in_order is None:
            self._in_order = sorted(self._samples.values(), key=self._rank)
        return self._in_order.copy()

    def keys(self, iteration: int) -> KeysView[tuple[str, int, int]]:
        """
        Returns a view of the keys of an iteration's samples, in any order. Appended samples join it when they are
        read, unless another iteration has been read before.
        """
        self._read_new(iteration)
        return self._samples.keys()

    def _read_new(self, iteration: int) -> None:
        """Reads the samples of an iteration that are not in memory, and forgets those of other iterations."""
        paths = shards(self.output_dir, iteration, self._name)
        changed = any(path not in paths or path.stat().st_size < size for path, (size, _) in self._read_up_to.items())
        if iteration != self._iteration or changed:
            self._forget(iteration)
        for path in paths:
            self._read_shard(path)

    def read_latest(self, iteration: int, count: int) -> list[Sample]:
        """Reads the samples of an iteration and of those before it, `count` iterations in all, the latest first."""
        numbers = range(max(1, iteration - count + 1), iteration + 1)
        # The latest is read last, so that it is the one in memory.
        by_iteration = [self.read(number) for number in numbers]
        return [sample for samples in reversed(by_iteration) for sample in samples]

    def _read_shard(self, path: Path) -> None:
        """Reads the lines of a shard that were not read before."""
        offset, number = self._read_up_to.get(path, (0, 0))
        # Read as bytes, since an unfinished line may end inside a character.
        with open(path, "rb") as shard:
            shard.seek(offset)
            for line in shard:
                if line.endswith(b"\n"):
                    offset, number = offset + len(line), number + 1
                    self._keep([self._parse(line, path, number)])
                    self._read_up_to[path] = (offset, number)
        self._sizes[path] = max(offset, self._sizes.get(path, 0))

    def _parse(self, line: bytes, path: Path, number: int) -> Sample:
        try:
            return from_line(line, self._iteration, self._num_problems, self._vocab_size)
        except ValueError as error:
            raise ValueError(
                f"Line {number} of {path} is not a sample ({error}): it was written by another version, or is "
                "damaged. Delete the line, and the sample is made again when the run is resumed."
            ) from error

    def check_asked(self, iteration: int, sampler: str, asked: Collection[tuple[int, int]]) -> None:
        """
        Checks that an iteration in progress has only samples that its run asks for: of its samplers, and no more of a
        problem than a sampler draws. A finished iteration has a seal, and is not checked: a sampler may change its
        `num_generations` from one iteration to the next.

        Args:
            iteration (`int`):
                Outer iteration.
            sampler (`str`):
                Name of the sampler that samples now.
            asked (`Collection[tuple[int, int]]`):
                Problems and sample indices that it is asked for. Its samples of other problems are not checked.

        Raises:
            `ValueError`: If another sample is there. The message names its file and line.
        """
        problems = {problem for problem, _ in asked}
        for sample in self.read(iteration) if self._positions else []:
            name, problem, index = sample.key
            if name not in self._positions:
                wrong = f"`sampler` is {name!r:.80}, expected one of {list(self._positions)}"
            elif name == sampler and problem in problems and (problem, index) not in asked:
                wrong = f"`sample_index` is {index}, but `{sampler}` draws fewer completions of problem {problem}"
            else:
                continue
            path, number = self._place(sample)
            raise ValueError(
                f"Line {number} of {path} is not a sample of this run ({wrong}): it was written by another run, or is "
                "damaged. Delete the line, and resume the run."
            )

    def _place(self, sample: Sample) -> tuple[Path, int]:
        """Returns the file and the number of the line that a sample was read from."""
        for path in self._read_up_to:
            with open(path, "rb") as shard:
                for number, line in enumerate(shard, 1):
                    if line.endswith(b"\n") and self._parse(line, path, number).key == sample.key:
                        place = path, number
        return place

    def _rank(self, sample: Sample) -> tuple[int, tuple[str, int, int]]:
        return self._positions.get(sample.sampler, len(self._positions)), sample.key

    def iterations(self) -> list[int]:
        """Returns the iterations that have a folder, in order."""
        return iterations(self.output_dir)


def ledger_names(output_dir: str | os.PathLike) -> set[str]:
    """Returns the names of the ledgers in an output directory, those of probes excepted."""
    shards = Path(output_dir).glob("iteration-*/*-?????-of-?????.jsonl")
    names = {unquote(shard.name[: -len("-00000-of-00000.jsonl")]) for shard in shards}
    return {name for name in names if not name.startswith(PROBE)}


def read_samples(output_dir: str | os.PathLike, name: str = "samples") -> list[Sample]:
    """Reads the samples of a run like [`load_ledger`], but as a list of [`Sample`]."""
    seals = read_seals(output_dir)
    check_seals(output_dir, seals, [key for key in seals if key.split("/", 1)[1] == name])
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
    Loads the samples of a run as a dataset.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        name (`str`, *optional*, defaults to `"samples"`):
            `"samples"` for the samples of the training problems, `"eval"` for those of the evaluations. With several
            evaluation sets `"eval_<name>"`. `"probe-<temperature>"` for those of the probe problems of B-STaR.

    Returns:
        [`~datasets.Dataset`]: One row per sample, sorted by iteration, sampler, problem and sample index, with the
        columns of [`Sample`]. `rewards` is a list of `{"name", "value"}`, and `extra` a JSON object as text, so that
        the features are the same for every run.

    Raises:
        `FileNotFoundError`: If there are no samples under `output_dir`.
        `ValueError`: If a finished iteration does not have the samples that it ended with, or a line is not a sample.
    """
    rows = []
    for sample in read_samples(output_dir, name):
        row = as_dict(sample)
        row["rewards"] = [{"name": name, "value": value} for name, value in sample.rewards.items()]
        row["extra"] = encodable(json.dumps(sample.extra, ensure_ascii=False))
        row["completion"] = encodable(sample.completion)
        rows.append(row)
    return Dataset.from_list(rows, features=FEATURES)
