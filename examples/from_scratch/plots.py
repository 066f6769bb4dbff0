# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Shared functions for the figures of this folder."""

from collections.abc import Sequence
from statistics import mean

from matplotlib.axes import Axes


def accuracy_axes(axes: Axes, iterations: int, title: str = "", what: str = "") -> None:
    """
    Labels a panel of accuracy over outer iterations.

    Args:
        axes ([`~matplotlib.axes.Axes`]):
            The panel.
        iterations (`int`):
            Number of iterations, including the base model's.
        title (`str`, *optional*):
            Its title.
        what (`str`, *optional*):
            What was right, such as `"held-out sums"`. Panels to the right of another one omit it.
    """
    axes.set(title=title, xlabel="outer iteration (0: base model)", ylim=(-3, 103), xticks=range(iterations))
    if what:
        axes.set_ylabel(f"accuracy on {what} (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)


def legend_beside(axes: Axes, **style) -> None:
    """Puts the legend to the right of a panel whose lines end at the top."""
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), **style)


def draw_seeds(axes: Axes, runs: Sequence[Sequence[float]], steps: Sequence[int] | None = None, **style) -> None:
    """
    Draws the mean of several runs in percent, and their range, over the iterations that all of them have, or over
    `steps`.
    """
    by_iteration = [[100 * value for value in values] for values in zip(*runs, strict=False)]
    steps = range(len(by_iteration)) if steps is None else steps
    (line,) = axes.plot(steps, [mean(values) for values in by_iteration], marker="o", **style)
    if len(runs) > 1:
        low, high = ([bound(values) for values in by_iteration] for bound in (min, max))
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
