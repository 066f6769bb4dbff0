# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Chooses the figures of a run from the metrics of its iterations. What was not measured is left out."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from html import escape
from typing import Any

from ..ledger.metrics import accuracy_names
from ..ledger.paired_groups import GroupResult, paired_cells
from .histogram import Histogram
from .read_run import Run
from .svg import (
    COLORS,
    KEPT,
    NOT_KEPT,
    bars,
    flops_unit,
    interval,
    lines,
    number,
    percent,
    ridges,
    seconds,
    table,
    time_unit,
    whole_percent,
)


FATES = ("samples/selected", "samples/dropped_wrong")  # come first
EXPLORATION = re.compile(r"/(?:pass@|best_of_)\d+$")
# Metrics of kept samples that are doubtful, with what the page says of them
DOUBTS = {"kept/no_rationale": "no rationale", "kept/not_derived": "not derived"}


def figures(run: Run) -> Iterator[str]:
    """Yields the figures as HTML."""
    rows = run.history
    iterations = [row["iteration"] for row in rows]
    trained = [row for row in rows if row["iteration"] and "train_data_used" in row]
    numbers = [row["iteration"] for row in trained]
    evaluated, sampled = _few_shot_notes(run)
    for key in accuracy_names(rows):
        # `accuracy/<group>`, where `accuracy` may be that of one of several evaluation sets
        groups = dict.fromkeys(name for row in rows for name in row if name.startswith(f"{key}/"))
        labels = {name: f"{run.group_column} {name.removeprefix(f'{key}/')}".strip() for name in groups}
        series = {"all": _column(rows, key), **{labels[name]: _column(rows, name) for name in groups}}
        counts = run.evaluated.get(key.removesuffix("_accuracy"), {})
        interval = " The bars are 95% intervals." if counts else ""
        if len(rows) > 1:
            yield lines(
                f"Accuracy on {_set_name(key)}",
                f"Share that passes the filter, after each iteration. 0 is the base model.{interval}{evaluated}",
                iterations,
                series,
                _value(rows[0], key) if rows[0]["iteration"] == 0 else None,
                ["ink", *COLORS],
                {"all": counts.get(""), **{labels[name]: counts.get(name.removeprefix(f"{key}/")) for name in groups}},
            )
    for name, by_iteration in run.paired.items():
        if by_iteration:
            yield table(
                f"Groups in pairs, on {_set_name(f'{name}_accuracy')}",
                f"Problems that differ in {run.group_column or 'the group'} only. The difference in accuracy, in "
                "points, and the share of pairs with the same answer are to the first group. Brackets are 95% "
                "intervals. Iteration 0 is the base model.",
                ["group", "iteration", "difference", "accuracy", "same answer", "problems", "most frequent answers"],
                list(_group_rows(by_iteration)),
            )
    if trained and run.samplers:
        yield bars(
            "Training data used",
            f"Share of the iteration's problems with a kept sample, by the sampler that solved it first.{sampled}",
            numbers,
            {name: _amounts(trained, f"{name}/solved") for name in run.samplers},
            percent,
            whole_percent,
            top=1,
        )
        if len(trained) > 1:
            yield lines(
                "Yield",
                "Share of a sampler's completions that are kept. That of rationalization says how well hints work.",
                numbers,
                {name: _column(trained, f"{name}/yield") for name in run.samplers},
            )
            explored = dict.fromkeys(name for row in trained for name in row if EXPLORATION.search(name))
            if explored:
                yield lines(
                    "Exploration and exploitation",
                    "Share of the problems with a right answer among k completions (pass@k), and of those whose "
                    "completion with the highest reward is right (best of k).",
                    numbers,
                    {re.sub(r"/best_of_(\d+)$", r"/best of \1", name): _column(trained, name) for name in explored},
                )
        probed = [row for row in trained if "probe/effect" in row]
        if probed:
            yield table(
                "Temperature and threshold",
                "Those with the greatest query effect on the probe problems, before each iteration.",
                ["iteration", "temperature", "threshold", "query effect"],
                [
                    [
                        str(row["iteration"]),
                        *(_cell(row, f"probe/{key}") for key in ("temperature", "threshold", "effect")),
                    ]
                    for row in probed
                ],
            )
        fates = dict.fromkeys(name for row in trained for name in row if name.startswith("samples/"))
        yield bars(
            "What became of the samples",
            "Selected for training, or dropped, and why.",
            numbers,
            {
                name.removeprefix("samples/").removeprefix("dropped_"): _amounts(trained, name)
                for name in sorted(fates, key=lambda name: FATES.index(name) if name in FATES else len(FATES))
            },
            colors=[KEPT, NOT_KEPT, "c3", "c4", "c5", "c6", "c7"],
        )
        if any(_doubtful(row) for row in trained):
            yield bars(
                "Kept does not mean sound",
                "Kept samples that are only an answer, those in which no calculation leads to the answer, and the "
                "others. They may be wrong in their steps as well.",
                numbers,
                {
                    "no doubt found": [max(_num_kept(run, row) - _doubtful(row), 0) for row in trained],
                    **{name: _amounts(trained, key) for key, name in DOUBTS.items()},
                },
                colors=[KEPT, "c1", "c7"],
            )
    for name, title, note, unit in (
        ("reward", "Rewards", "Weighted sum of the reward functions, for the training samples.", "reward"),
        ("length", "Length", "Tokens of the completions of the training samples.", "tokens"),
        ("lines", "Steps of the rationales", "Lines of these completions that are not blank.", "lines"),
    ):
        if run.counts[name]:
            yield ridges(title, note, Histogram(run.counts[name]), unit)
    if len(run.inner_steps) > 1:
        note = "Steps of the optimizer in each iteration."
        yield bars(
            "Training steps", note, list(run.inner_steps), {"steps": list(run.inner_steps.values())}, colors=["c6"]
        )
    flops = _flops(trained)
    if any(map(any, flops.values())):
        size, unit = flops_unit(max(map(sum, zip(*flops.values(), strict=True))))
        yield bars(
            "Compute",
            f"Estimate of the floating-point operations of each iteration, in {unit}: 2 for each parameter and token "
            "that is sampled, and 6 for each that is trained on. Evaluations are not counted.",
            numbers,
            {name: [value / size for value in values] for name, values in flops.items()},
            colors=["c4", "c6"],
        )
    if rows:
        size, unit = time_unit(max(_amounts(rows, "seconds")))
        phases = {name: [value / size for value in values] for name, values in _phases(rows).items()}
        note = f"Wall-clock time of each iteration by phase, in {unit}."
        yield bars("Time", note, iterations, phases, colors=["c4", "c6", "c7", NOT_KEPT])


def summary(run: Run) -> str:
    """Returns the key numbers of a run as HTML."""
    facts: list[tuple[str, str, str]] = []  # name, value, what it is of
    for key in accuracy_names(run.history):
        values = [(row["iteration"], value) for row in run.history if (value := _value(row, key)) is not None]
        if not values:
            continue
        where = "" if key == "eval_accuracy" else f" on {_set_name(key)}"
        best = max(values, key=lambda pair: pair[1])
        shown = {f"Accuracy{where}, iteration {values[-1][0]}": values[-1][1]}
        if values[0][0] == 0:
            shown = {f"Accuracy{where}, base model": values[0][1], **(shown if len(values) > 1 else {})}
        if best[1] > values[-1][1]:
            shown[f"Best{where}, iteration {best[0]}"] = best[1]
        count = run.evaluated.get(key.removesuffix("_accuracy"), {}).get("")
        facts += [(name, percent(value), interval(value, count)) for name, value in shown.items()]
    trained = [row for row in run.history if _value(row, "train_data_used") is not None]
    if trained:
        facts.append(("Training data used", percent(trained[-1]["train_data_used"]), ""))
        doubtful, kept = _doubtful(trained[-1]), _num_kept(run, trained[-1])
        if doubtful:
            parts = ", ".join(f"{count:.0f} {name}" for key, name in DOUBTS.items() if (count := trained[-1].get(key)))
            facts.append((f"Doubtful of {kept:,} kept", number(doubtful), parts))
    facts.append(("Samples", number(run.columns["total"]), ""))
    if run.inner_steps:
        facts.append(("Training steps", number(sum(run.inner_steps.values())), ""))
    flops = sum(map(sum, _flops(trained).values()))
    if flops:
        size, unit = flops_unit(flops)
        facts.append(("Compute", f"{flops / size:.3g} {unit}", ""))
    facts.append(("Time", seconds(sum(_amounts(run.history, "seconds"))), ""))
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}{f' <small>{escape(of)}</small>' if of else ''}</dd></div>"
        for name, value, of in facts
    )


def _group_rows(by_iteration: dict[int, list[GroupResult]]) -> Iterator[list[str]]:
    groups = dict.fromkeys(result.group for results in by_iteration.values() for result in results)
    for group in groups:
        for iteration, results in by_iteration.items():
            for each in (result for result in results if result.group == group):
                low, high = each.accuracy_interval
                accuracy = f"{percent(each.accuracy)} ({whole_percent(low)} to {whole_percent(high)})"
                answers = ", ".join(f"{answer} ({count})" for answer, count in each.answers)
                difference, same = paired_cells(each)
                yield [group, str(iteration), difference, accuracy, same, str(each.problems), answers]


def _doubtful(row: dict[str, Any]) -> float:
    """Returns the number of kept samples of an iteration that are doubtful."""
    return sum(_value(row, key) or 0.0 for key in DOUBTS)


def _num_kept(run: Run, row: dict[str, Any]) -> int:
    counter: Counter = run.counts["length"].get(row["iteration"], Counter())
    return sum(count for (_, kept), count in counter.items() if kept)


def _few_shot_notes(run: Run) -> tuple[str, str]:
    """Returns notes on the accuracy and on the samples, once iterations have sampled without few-shot examples."""
    last = run.settings.get("few_shot_iterations")
    if not last or not run.history or run.history[-1]["iteration"] <= last:
        return "", ""
    return (
        f" The prompts have few-shot examples up to iteration {last}: its model was evaluated with them, and sampled "
        f"without them in iteration {last + 1}.",
        f" Iterations after {last} sample without the few-shot examples.",
    )


def _phases(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    phases = {
        "sampling": _amounts(rows, "seconds/sample"),
        "fine-tuning": _amounts(rows, "seconds/fine_tune"),
        "evaluation": [sum(_value(row, key) or 0.0 for key in row if key.endswith("_runtime")) for row in rows],
    }
    known = [sum(parts) for parts in zip(*phases.values(), strict=True)]
    rest = [max(total - part, 0.0) for total, part in zip(_amounts(rows, "seconds"), known, strict=True)]
    return {**phases, "other": rest}


def _flops(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    return {"sampling": _amounts(rows, "flops/sample"), "fine-tuning": _amounts(rows, "flops/fine_tune")}


def _set_name(key: str) -> str:
    name = key.removesuffix("_accuracy")
    return "the evaluation set" if name == "eval" else name.removeprefix("eval_")


def _cell(row: dict[str, Any], key: str) -> str:
    value = _value(row, key)
    return "-" if value is None else number(value)


def _column(rows: list[dict[str, Any]], key: str) -> list[float | None]:
    return [_value(row, key) for row in rows]


def _amounts(rows: list[dict[str, Any]], key: str) -> list[float]:
    return [_value(row, key) or 0.0 for row in rows]


def _value(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None
