# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Chooses the figures of a run from the metrics of its iterations. What was not measured is left out."""

import math
from collections.abc import Iterator
from html import escape
from typing import Any

from ..ledger.metrics import accuracy_names
from .histogram import Histogram
from .read_run import Run
from .svg import (
    COLORS,
    KEPT,
    NOT_KEPT,
    bars,
    lines,
    number,
    percent,
    ridges,
    seconds,
    time_unit,
    whole_percent,
)


FATES = ("samples/selected", "samples/dropped_wrong")  # come first


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
        yield lines(
            f"Accuracy on {_set_name(key)}",
            f"Share that passes the filter, after each iteration. 0 is the base model.{evaluated}",
            iterations,
            series,
            _value(rows[0], key) if rows[0]["iteration"] == 0 else None,
            ["ink", *COLORS],
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
        yield lines(
            "Yield",
            "Share of a sampler's completions that are kept. That of rationalization says how well the hints work.",
            numbers,
            {name: _column(trained, f"{name}/yield") for name in run.samplers},
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
    for name, title, note in (
        ("reward", "Rewards", "Weighted sum of the reward functions, for the samples of the training problems."),
        ("length", "Length", "Tokens of the completions."),
        ("lines", "Steps of the rationales", "Lines of the completions that are not blank."),
    ):
        if run.counts[name]:
            yield ridges(title, note, Histogram(run.counts[name]))
    if run.inner_steps:
        note = "Steps of the optimizer in each iteration."
        yield bars(
            "Training steps", note, list(run.inner_steps), {"steps": list(run.inner_steps.values())}, colors=["c6"]
        )
    if rows:
        size, unit = time_unit(max(_amounts(rows, "seconds")))
        phases = {name: [value / size for value in values] for name, values in _phases(rows).items()}
        note = f"Wall-clock time of each iteration by phase, in {unit}."
        yield bars("Time", note, iterations, phases, colors=["c4", "c6", "c7", NOT_KEPT])


def summary(run: Run) -> str:
    """Returns the key numbers of a run as HTML."""
    facts: dict[str, str] = {}
    for key in accuracy_names(run.history):
        values = [(row["iteration"], value) for row in run.history if (value := _value(row, key)) is not None]
        if not values:
            continue
        where = "" if key == "eval_accuracy" else f" on {_set_name(key)}"
        best = max(values, key=lambda pair: pair[1])
        if values[0][0] == 0:
            facts[f"Accuracy{where}, base model"] = percent(values[0][1])
        facts[f"Accuracy{where}, iteration {values[-1][0]}"] = percent(values[-1][1])
        if best[1] > values[-1][1]:
            facts[f"Best{where}, iteration {best[0]}"] = percent(best[1])
    used = [value for row in run.history if (value := _value(row, "train_data_used")) is not None]
    if used:
        facts["Training data used"] = percent(used[-1])
    facts["Samples"] = number(run.columns["total"])
    if run.inner_steps:
        facts["Training steps"] = number(sum(run.inner_steps.values()))
    facts["Time"] = seconds(sum(_amounts(run.history, "seconds")))
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())


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


def _set_name(key: str) -> str:
    name = key.removesuffix("_accuracy")
    return "the evaluation set" if name == "eval" else name.removeprefix("eval_")


def _column(rows: list[dict[str, Any]], key: str) -> list[float | None]:
    return [_value(row, key) for row in rows]


def _amounts(rows: list[dict[str, Any]], key: str) -> list[float]:
    return [_value(row, key) or 0.0 for row in rows]


def _value(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None
