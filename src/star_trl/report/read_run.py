# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Reads what the report shows from an output directory: the metrics of the iterations, and the samples in columns."""

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any

from ..ledger.ledger import Ledger, ledger_names
from ..ledger.messages import HINTED_PROMPT, turns_of
from ..ledger.paired_groups import GroupResult, paired_groups
from ..ledger.sample import Sample
from ..ledger.seals import Seal, check_seals, seals_in, shards
from ..output_dir import RATIONALES_NAME, STATE_NAME, damaged, iteration_dir, load_history, read_json
from ..seeds import seed_of
from .stored_prompts import read_prompts


TRAINING = "samples"  # the ledger of the training problems; the others are evaluations
# Settings that the page needs to show prompts, training sequences and groups
SETTINGS = (
    "few_shot_iterations",
    "few_shot_train",
    "sample_weighting",
    "loss_normalization",
    "distillation",
    "eval_group_column",
)
NOTHING_STORED: dict[str, Any] = {"group": None, "answer": None, "prompts": {}, "examples": {}}

# Number of samples by `(value, kept)`, for each quantity and iteration
Counts = dict[str, dict[int, Counter]]


@dataclass
class Run:
    """
    The data of a run that the report shows.

    Args:
        name (`str`):
            Name of the output directory.
        history (`list[dict[str, Any]]`):
            Metrics of each complete iteration, as in its `metrics.json`.
        planned_iterations (`int`, *optional*):
            `num_iterations`, once the run has reached its first iteration.
        settings (`dict[str, Any]`):
            Settings of [`STaRConfig`] that the page needs.
        inner_steps (`dict[int, int]`):
            Optimizer steps of each iteration.
        counts (`dict[str, dict[int, Counter]]`):
            For `"reward"`, `"length"` and `"lines"`, and each iteration, the number of samples of the training
            problems by `(value, kept)`.
        evaluated (`dict[str, dict[str, int]]`):
            Number of problems by the name of an evaluation set and by their group, with all of them under `""`.
        paired (`dict[str, dict[int, list[GroupResult]]]`):
            For each evaluation set of paired problems, how the groups compare in its first and its last evaluation, by
            iteration.
        columns (`dict[str, Any]`):
            The samples to browse and their problems, in the form that the page reads.
    """

    name: str
    history: list[dict[str, Any]]
    planned_iterations: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    inner_steps: dict[int, int] = field(default_factory=dict)
    counts: Counts = field(default_factory=dict)
    evaluated: dict[str, dict[str, int]] = field(default_factory=dict)
    paired: dict[str, dict[int, list[GroupResult]]] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def samplers(self) -> list[str]:
        """Names of the samplers, in their order."""
        keys = (key for row in self.history for key in row if key.endswith("/solved"))
        return list(dict.fromkeys(key.removesuffix("/solved") for key in keys))

    @property
    def warnings(self) -> list[str]:
        """Warnings to show above the numbers, without duplicates."""
        found = (row.get("fallback_warnings", []) for row in self.history)
        lists = (warnings for warnings in found if isinstance(warnings, list))
        return list(dict.fromkeys(str(warning) for warnings in lists for warning in warnings))

    @property
    def group_column(self) -> str:
        """Name of the column whose values are the groups."""
        return self.settings.get("eval_group_column") or ""


class RunReader:
    """
    Reads a run. Reading it again, after more iterations, reads the samples of the new ones only.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory.
        max_samples (`int`):
            Maximum number of samples to browse. If there are more, some problems are left out at random, so that the
            others keep their whole history.
        ledger ([`~star_trl.ledger.Ledger`], *optional*):
            Ledger of a run in progress. It holds the samples of the latest iteration, which are not read again.
    """

    def __init__(self, output_dir: str | os.PathLike, max_samples: int, ledger: Ledger | None = None):
        self.path = Path(output_dir).resolve()
        self._ledger = ledger or Ledger(self.path)
        self._shown = _Shown(max_samples)
        self._total = 0
        self._counts: Counts = defaultdict(lambda: defaultdict(Counter))
        self._evaluated: dict[str, set[int]] = {}  # problems of the last evaluation of each set
        # Whether a problem was solved and the completion, for the first and the last evaluation of each set
        self._answers: dict[str, dict[int, dict[int, tuple[bool, str]]]] = defaultdict(dict)
        self._done: set[tuple[str, int]] = set()
        self._checked: set[str] = set()

    def read(self) -> Run:
        """
        Reads what is on disk. Iterations that were read before are taken to be complete.

        Raises:
            `FileNotFoundError`: If there is no run.
            `ValueError`: If a file is damaged, or a finished iteration does not have the samples that it ended with.
        """
        path = self.path
        ledgers = sorted(ledger_names(path), key=lambda name: (name != TRAINING, name))
        run = Run(path.name, load_history(path), counts=self._counts)
        if not ledgers and not run.history:
            raise FileNotFoundError(f"No run in {path}: it has no `iteration-*`. Give the `output_dir` of a run.")
        seals: dict[str, Seal] = {}
        if (path / STATE_NAME).exists():
            found = read_json(path / STATE_NAME)
            seals = seals_in(found, path / STATE_NAME)
            settings, state = (found.get(name, {}) for name in ("settings", "trainer_state"))
            if not isinstance(settings, dict) or not isinstance(state, dict):
                raise damaged(path / STATE_NAME, "`settings` and `trainer_state` must be objects")
            run.settings = {name: settings.get(name) for name in SETTINGS}
            run.planned_iterations = state.get("num_train_epochs")
            try:
                run.inner_steps = _inner_steps(state.get("log_history", []))
                for number in (run.planned_iterations, run.settings["few_shot_iterations"]):
                    if not isinstance(number, (int, float, NoneType)):
                        raise TypeError(f"{number!r:.80} is no number")
            except (TypeError, ValueError, KeyError) as error:
                raise damaged(path / STATE_NAME, f"its settings or logs have another form: {error!r}") from error
        check_seals(path, seals, [key for key in seals if key not in self._checked])
        self._checked.update(seals)
        for name in ledgers:
            ledger = self._ledger if name == TRAINING else Ledger(path, name=name)
            for iteration in ledger.iterations():
                # Not that of the original model: the ledger of the run would forget the samples that it holds.
                if (name, iteration) not in self._done and shards(path, iteration, name):
                    self._add(name, iteration, ledger.read(iteration))
                    self._done.add((name, iteration))
        self._shown.sort()
        prompts = read_prompts(path)
        run.evaluated = {
            name: _by_group(numbers, prompts["problems"].get(name, [])) for name, numbers in self._evaluated.items()
        }
        for name, pairs in prompts["pairs"].items():
            groups = [row["group"] for row in prompts["problems"][name]]
            run.paired[name] = {
                iteration: found
                for iteration, answers in self._answers.get(name, {}).items()
                if (found := paired_groups(answers, pairs, groups))
            }
        run.columns = {
            "sets": ledgers,
            "total": self._total,
            "settings": run.settings,
            # The reward from which the samples of an iteration were selected, where it was chosen by probes
            "thresholds": {
                row["iteration"]: row["probe/threshold"] for row in run.history if "probe/threshold" in row
            },
            **_columns(self._shown.columns, ledgers, prompts),
        }
        return run

    def _add(self, ledger: str, iteration: int, samples: list[Sample]) -> None:
        self._total += len(samples)
        doubts = _read_doubts(self.path, iteration) if ledger == TRAINING else {}
        self._shown.add(ledger, samples, doubts)
        if ledger == TRAINING and samples:
            _count(self._counts, iteration, samples)
        elif samples:
            self._evaluated[ledger] = {sample.problem_id for sample in samples}
            answers = self._answers[ledger]
            for between in list(answers)[1:]:
                del answers[between]
            answers[iteration] = {sample.problem_id: (sample.kept, sample.completion) for sample in samples}


def _read_doubts(output_dir: Path, iteration: int) -> dict[tuple, str]:
    """Returns what is doubtful about the kept samples of an iteration, by their keys."""
    path = iteration_dir(output_dir, iteration) / RATIONALES_NAME
    if not path.exists():
        return {}
    try:
        return {tuple(key): doubt for doubt, keys in read_json(path).items() for key in keys}
    except TypeError as error:
        raise damaged(path, f"lists of the keys of samples are expected: {error}") from error


def _by_group(numbers: set[int], stored: list[dict[str, Any]]) -> dict[str, int]:
    """Counts the problems of an evaluation set, all of them under `""`, and those of each group."""
    groups = Counter(stored[number]["group"] for number in numbers if number < len(stored))
    return {"": len(numbers), **{group: count for group, count in groups.items() if group is not None}}


# Fields that few samples have
RARE = ("hint_shown", "logprob", "untrained", "doubt", "hinted_prompt", "turns", "extra")


def _rare_fields(sample: Sample, doubt: str | None) -> dict[str, Any] | None:
    """Returns those of the fields `RARE` that a sample has, or None if it has none."""
    fields: dict[str, Any] = {
        "hint_shown": sample.hint_shown or None,
        "logprob": sample.logprob,
        "untrained": sample.num_tokens - sample.num_trained or None,
        "doubt": doubt,
    }
    if sample.extra:
        turns, shown = turns_of(sample.extra), dict(sample.extra)
        if turns is not None:  # shown as a conversation, behind the prompt that the model saw
            hinted_prompt = shown.pop(HINTED_PROMPT, None)
            del shown["messages"]
            fields["hinted_prompt"] = None if hinted_prompt is None else str(hinted_prompt)
            fields["turns"] = json.dumps(turns, ensure_ascii=False)
        fields["extra"] = json.dumps(shown, ensure_ascii=False) if shown else None
    return {name: value for name, value in fields.items() if value is not None} or None


def _columns(shown: Mapping[str, Sequence], ledgers: list[str], prompts: dict[str, Any]) -> dict[str, Any]:
    numbers = {name: number for number, name in enumerate(ledgers)}
    problems: list[dict[str, Any]] = []
    number_of: list[int] = []  # the number of each sample's problem
    other_prompts: dict[int, str] = {}  # those that differ from that of the problem's first sample, by the sample
    before = None
    for number, (*key, prompt) in enumerate(zip(shown["set"], shown["id"], shown["prompt"], strict=True)):
        if key != before:
            before, (ledger, problem_id), first_prompt = key, key, prompt
            stored = prompts["problems"].get(ledger, [])
            more = stored[problem_id] if problem_id < len(stored) else NOTHING_STORED
            problems.append({"set": numbers[ledger], "id": problem_id, "prompt": prompt, **more})
        elif prompt != first_prompt:
            other_prompts[number] = prompt
        number_of.append(len(problems) - 1)
    codes = {name: _codes(shown[name]) for name in ("sampler", "drop_reason", "finish_reason")}
    rewards = list(dict.fromkeys(chain.from_iterable(shown["rewards"])))
    rare = [(number, fields) for number, fields in enumerate(shown["rare"]) if fields is not None]
    return {
        "names": {name: list(code) for name, code in codes.items()},
        "rewards": rewards,
        "columns": prompts["columns"],
        "examples": prompts["examples"],
        "problems": {name: [problem[name] for problem in problems] for name in (problems[0] if problems else [])},
        "samples": {
            "problem": number_of,
            **{name: shown[name] for name in ("iteration", "index", "reward", "tokens", "completion")},
            **{name: [code[value] for value in shown[name]] for name, code in codes.items()},
            "rewards": [[own.get(name) for own in shown["rewards"]] for name in rewards],
            "prompt": other_prompts,
            # By the sample's number
            **{name: {number: fields[name] for number, fields in rare if name in fields} for name in RARE},
        },
    }


def _codes(values: Iterable[Any]) -> dict[Any, int]:
    """Returns a number for each distinct value."""
    return {value: number for number, value in enumerate(dict.fromkeys(values))}


class _Shown:
    """
    Collects at most `max_samples` samples. If there are more, it keeps those of some problems only. The ranks of the
    problems are random but always the same. A problem that is left out once is left out for good, so that the others
    keep their whole history.

    Attributes:
        columns (`dict[str, tuple]`):
            What is shown of the samples, one tuple for each field. The token ids are left out, so that all samples of
            a run fit in memory. Unlike a list, a tuple of numbers or texts is left out of later garbage collections.
    """

    def __init__(self, max_samples: int):
        self.max_samples = max_samples
        self.columns: dict[str, tuple] = {}
        self._end = math.inf  # ranks from here on are left out
        self.add(TRAINING, [], {})

    def add(self, ledger: str, samples: Sequence[Sample], doubts: Mapping[tuple, str]) -> None:
        if self._end < math.inf:
            numbers = {sample.problem_id for sample in samples}
            taken = {number for number in numbers if seed_of(ledger, number) < self._end}
            samples = [sample for sample in samples if sample.problem_id in taken]
        new: dict[str, list] = {
            "set": [ledger] * len(samples),
            "id": [sample.problem_id for sample in samples],
            "prompt": [sample.prompt for sample in samples],
            "iteration": [sample.iteration for sample in samples],
            "index": [sample.sample_index for sample in samples],
            "sampler": [sample.sampler for sample in samples],
            "drop_reason": [sample.drop_reason for sample in samples],
            "finish_reason": [sample.finish_reason for sample in samples],
            "reward": [sample.reward for sample in samples],
            "rewards": [sample.rewards for sample in samples],
            "tokens": [sample.num_tokens for sample in samples],
            "completion": [sample.completion for sample in samples],
            "rare": [_rare_fields(sample, doubts.get(sample.key)) for sample in samples],
        }
        for name, values in new.items():
            self.columns[name] = (*self.columns.get(name, ()), *values)
        if len(self.columns["id"]) > self.max_samples:
            problems = list(zip(self.columns["set"], self.columns["id"], strict=True))
            ranks = {problem: seed_of(*problem) for problem in set(problems)}
            left = self.max_samples
            for rank, size in sorted(Counter(map(ranks.__getitem__, problems)).items()):
                left -= size
                if left < 0:
                    self._end = rank
                    break
            self._take(number for number, problem in enumerate(problems) if ranks[problem] < self._end)

    def sort(self) -> None:
        """
        Makes samples of a problem adjacent, so that its history is a slice, and similar texts compress well. Those of
        the training problems come first.
        """
        fields = [self.columns[name] for name in ("set", "id", "iteration", "sampler", "index")]
        keys = [(key[0] != TRAINING, *key) for key in zip(*fields, strict=True)]
        self._take(sorted(range(len(keys)), key=keys.__getitem__))

    def _take(self, numbers: Iterable[int]) -> None:
        """Keeps the samples with these numbers, in their order."""
        order = list(numbers)
        self.columns = {name: tuple(map(values.__getitem__, order)) for name, values in self.columns.items()}


def _count(counts: Counts, iteration: int, samples: Sequence[Sample]) -> None:
    kept = [sample.kept for sample in samples]
    rewards = ((sample.reward, sample.kept) for sample in samples if sample.reward is not None)
    counts["reward"][iteration].update(rewards)
    counts["length"][iteration].update(zip((sample.num_tokens for sample in samples), kept, strict=True))
    counts["lines"][iteration].update(zip((_num_lines(sample.completion) for sample in samples), kept, strict=True))


def _num_lines(text: str) -> int:
    """Returns the number of lines that are not empty."""
    return sum(map(bool, map(str.strip, text.splitlines())))


def _inner_steps(log_history: list[dict[str, Any]]) -> dict[int, int]:
    """
    Returns the number of steps of each inner run. Each one logs its `train_runtime` at its last step, counted over the
    whole run.
    """
    steps, before = {}, 0
    for entry in log_history:
        if "train_runtime" in entry:
            steps[round(entry["epoch"])] = entry["step"] - before
            before = entry["step"]
    return steps
