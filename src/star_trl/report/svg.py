# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Draws figures as inline SVG, each with a table of its numbers. They are readable on a phone without scaling."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from ..ledger.interval import confidence_interval
from .histogram import Histogram


WIDTH, HEIGHT = 400, 244
LEFT, TOP, BOTTOM = 44, 12, 48
# Classes of the style sheet. The same thing has the same color in all figures.
COLORS = ("c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7")
KEPT, NOT_KEPT = "c2", "off"
MAX_LINES = 8  # nobody can tell more apart; the table has them all
NO_COUNTS: Mapping[str, int | None] = {}

Format = Callable[[float], str]


def percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def whole_percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def interval(share: float, count: int | None) -> str:
    """Formats the 95% interval of a share, and the number of problems that it is of. Empty where that is not known."""
    if not count:
        return ""
    low, high = confidence_interval(share, count)
    return f"{100 * low:.0f}–{100 * high:.0f}%, n = {count:,}"


def number(value: float) -> str:
    """Formats a number with as many digits as it takes to tell values apart."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"


def short_number(value: float) -> str:
    """Formats a number for an axis, which has room for six characters."""
    if value < 10_000:
        return number(value)
    size, unit = next((size, unit) for size, unit in ((10**9, "G"), (10**6, "M"), (1000, "k")) if value >= size)
    return f"{value / size:g}{unit}"


def seconds(value: float) -> str:
    size, unit = time_unit(value)
    return f"{value / size:.3g} {unit}"


def time_unit(value: float) -> tuple[int, str]:
    """Returns the unit for a number of seconds: its size in seconds and its name."""
    return next((size, unit) for size, unit in ((3600, "h"), (60, "min"), (1, "s")) if value >= size or size == 1)


def flops_unit(value: float) -> tuple[float, str]:
    """Returns the unit for a number of floating-point operations: its size and its name."""
    sizes = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"))
    return next(((size, unit) for size, unit in sizes if value >= size), (1.0, "FLOP"))


def lines(
    title: str,
    note: str,
    iterations: Sequence[int],
    series: Mapping[str, Sequence[float | None]],
    base: float | None = None,
    colors: Sequence[str] = COLORS,
    counts: Mapping[str, int | None] = NO_COUNTS,
) -> str:
    """
    Draws shares over the iterations, with one line for each series. The first series is the most important one.

    Args:
        title (`str`):
            Title.
        note (`str`):
            Explanation of what is measured.
        iterations (`list[int]`):
            Iterations.
        series (`dict[str, list[float | None]]`):
            One share per iteration for each label; `None` where there is none.
        base (`float`, *optional*):
            Share to compare with, drawn as a dashed line.
        colors (`list[str]`, *optional*):
            Colors of the lines, which start over at the end.
        counts (`dict[str, int | None]`, *optional*):
            Number of problems that the shares of a series are of. With it, the first series has 95% intervals.
    """
    shown = dict(list(series.items())[:MAX_LINES])
    right = 16 + min(max(map(len, shown)), 16) * 7
    x = _scale(min(iterations), max(iterations), LEFT + 10, WIDTH - right)
    y = _scale(0, 1, HEIGHT - BOTTOM, TOP)
    parts = _grid({share / 4: f"{25 * share}%" for share in range(5)}, y, WIDTH - right + 8)
    parts += [_text(x(tick), HEIGHT - BOTTOM + 20, str(tick), "middle") for tick in _ticks(iterations)]
    parts.append(_axis_title("iteration", WIDTH - right + 8))
    if base is not None:
        ends = f'x1="{LEFT}" x2="{WIDTH - right + 8}" y1="{y(base):.1f}" y2="{y(base):.1f}"'
        parts.append(f'<line class="base" {ends}><title>base: {percent(base)}</title></line>')
    ends_at = {}
    for index, (label, values) in enumerate(shown.items()):
        points = [(iteration, value) for iteration, value in zip(iterations, values, strict=True) if value is not None]
        if not points:
            continue
        color = colors[index % len(colors)]
        ends_at[label] = y(points[-1][1])
        path = " ".join(f"{x(iteration):.1f},{y(value):.1f}" for iteration, value in points)
        parts.append(f'<polyline class="line {color}{"" if index else " main"}" points="{path}"/>')
        for iteration, value in points:
            of = interval(value, counts.get(label))
            tip = escape(f"{label}, iteration {iteration}: {percent(value)}{of and f' ({of})'}")
            if index == 0 and of:
                low, high = confidence_interval(value, counts[label] or 1)
                ends = f'x1="{x(iteration):.1f}" x2="{x(iteration):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"'
                parts.append(f'<line class="whisker {color}" {ends}/>')
            dot = f'cx="{x(iteration):.1f}" cy="{y(value):.1f}" r="{3 if index else 4}"'
            parts.append(f'<circle class="dot {color}" {dot}><title>{tip}</title></circle>')
    for label, at in _spread(ends_at).items():
        short = label if len(label) <= 16 else label[:15] + "…"
        color = colors[list(shown).index(label) % len(colors)]
        parts.append(_text(WIDTH - right + 12, at + 4, short, "start", f"label {color}"))
    legend = "" if base is None else '<li><span class="swatch base"></span>base model</li>'
    rows = [
        [str(iteration), *(_share(values[row], counts.get(label)) for label, values in series.items())]
        for row, iteration in enumerate(iterations)
    ]
    return _figure(title, note, parts, ["iteration", *series], rows, legend)


def _share(share: float | None, count: int | None) -> str:
    if share is None:
        return "–"
    of = interval(share, count)
    return f"{percent(share)} ({of})" if of else percent(share)


def bars(
    title: str,
    note: str,
    iterations: Sequence[int],
    parts_of: Mapping[str, Sequence[float]],
    form: Format = number,
    axis: Format = short_number,
    top: float | None = None,
    colors: Sequence[str] = COLORS,
) -> str:
    """
    Draws stacked bars of amounts, one bar per iteration.

    Args:
        title (`str`):
            Title.
        note (`str`):
            Explanation of what is measured.
        iterations (`list[int]`):
            Iterations.
        parts_of (`dict[str, list[float]]`):
            Amount of each part in each iteration.
        form (`Callable`, *optional*):
            Formats an amount.
        axis (`Callable`, *optional*):
            Formats an amount at the axis.
        top (`float`, *optional*):
            Upper end of the axis.
        colors (`list[str]`, *optional*):
            Colors of the parts, which start over at the end.
    """
    totals = [sum(values[row] for values in parts_of.values()) for row in range(len(iterations))]
    top = top or _round_up(max(totals))
    y = _scale(0, top, HEIGHT - BOTTOM, TOP + 12)
    step = (WIDTH - LEFT - 12) / len(iterations)
    width = min(step * 0.7, 52)
    drawn = _grid({top * share / 2: axis(top * share / 2) for share in range(3)}, y, WIDTH - 8)
    ticks = _ticks(iterations)
    for row, iteration in enumerate(iterations):
        middle, height = LEFT + 4 + step * (row + 0.5), 0.0
        for index, (label, values) in enumerate(parts_of.items()):
            if values[row]:
                tip = escape(f"{label}, iteration {iteration}: {form(values[row])}")
                place = _box(middle - width / 2, y(height + values[row]), width, y(height) - y(height + values[row]))
                drawn.append(f'<rect class="bar {colors[index % len(colors)]}" {place}><title>{tip}</title></rect>')
            height += values[row]
        if iteration in ticks:
            drawn.append(_text(middle, HEIGHT - BOTTOM + 20, str(iteration), "middle"))
            if len(iterations) <= 8:
                drawn.append(_text(middle, y(height) - 4, form(height), "middle"))
    drawn.append(_axis_title("iteration", WIDTH - 8))
    legend = _legend(list(parts_of), colors) if len(parts_of) > 1 else ""
    rows = [
        [str(iteration), *(form(values[row]) for values in parts_of.values())]
        for row, iteration in enumerate(iterations)
    ]
    return _figure(title, note, drawn, ["iteration", *parts_of], rows, legend)


def ridges(title: str, note: str, histogram: Histogram, unit: str) -> str:
    """
    Draws the histogram of one iteration, or of several ones below each other. In each bar, kept samples are below the
    others.

    Args:
        title (`str`):
            Title.
        note (`str`):
            Explanation of what is counted.
        histogram ([`Histogram`]):
            The histograms.
        unit (`str`):
            Title of the axis of the values.
    """
    iterations = _ticks(histogram.iterations)
    top = _round_up(histogram.highest)
    row_height = (HEIGHT - BOTTOM - TOP) / len(iterations)
    gap_above = 4 if len(iterations) > 1 else 0
    step = (WIDTH - LEFT - 12) / histogram.num_bins
    gap = 1 if histogram.num_bins > 8 else step * 0.2
    drawn = []
    if len(iterations) == 1:
        y = _scale(0, top, HEIGHT - BOTTOM, TOP)
        drawn += _grid({top * part / 2: f"{50 * top * part:.3g}%" for part in range(3)}, y, WIDTH - 8)
    for row, iteration in enumerate(iterations):
        floor = TOP + row_height * (row + 1)
        if len(iterations) > 1:
            drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 8}" y1="{floor:.1f}" y2="{floor:.1f}"/>')
            drawn.append(_text(LEFT - 8, floor - 4, f"{'it. ' if row == 0 else ''}{iteration}", "end"))
        for index, (kept, dropped) in enumerate(histogram.shares(iteration)):
            at = floor
            for label, share, color in (("kept", kept, KEPT), ("not kept", dropped, NOT_KEPT)):
                if share:
                    size = (row_height - gap_above) * share / top
                    at -= size
                    tip = f"iteration {iteration}, {histogram.label(index)}: {percent(share)} {label}"
                    place = _box(LEFT + 4 + step * index + gap / 2, at, step - gap, size)
                    drawn.append(f'<rect class="bar {color}" {place}><title>{tip}</title></rect>')
    floor = HEIGHT - BOTTOM
    drawn.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 8}" y1="{floor}" y2="{floor}"/>')
    for at_bin, label, anchor in histogram.ticks():
        x = LEFT + 4 + step * at_bin
        drawn.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 5}"/>')
        drawn.append(_text(x, floor + 20, label, anchor))
    drawn.append(_axis_title(unit, WIDTH - 8))
    legend = _legend(["kept", "not kept"], [KEPT, NOT_KEPT])
    if len(iterations) > 1:
        legend += f"<li>a row for each iteration, {100 * top:.3g}% of its samples high</li>"
    header = ["iteration", "samples", "kept", "mean", "5%", "median", "95%"]
    rows = [[str(iteration), *map(number, histogram.summary(iteration))] for iteration in histogram.iterations]
    return _figure(title, note, drawn, header, rows, legend)


def table(title: str, note: str, header: list[str], rows: list[list[str]]) -> str:
    """
    Returns a figure that is a table only.

    Args:
        title (`str`):
            Title.
        note (`str`):
            Explanation of what is measured.
        header (`list[str]`):
            Names of the columns.
        rows (`list[list[str]]`):
            The cells, as plain text.
    """
    return f"<figure>{_caption(title, note)}{_table(title, header, [list(map(escape, row)) for row in rows])}</figure>"


def _caption(title: str, note: str) -> str:
    return f"<figcaption><h3>{escape(title)}</h3><p>{escape(note)}</p></figcaption>"


def _table(title: str, header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _figure(title: str, note: str, parts: list[str], header: list[str], rows: list[list[str]], legend: str) -> str:
    return (
        f"<figure>{_caption(title, note)}"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}. The numbers are in the table.">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
        f"{f'<ul class=legend>{legend}</ul>' if legend else ''}"
        f'<details><summary>Numbers<span class="sr"> of {escape(title)}</span></summary>'
        f"{_table(title, header, rows)}</details></figure>"
    )


def _legend(labels: Sequence[str], colors: Sequence[str]) -> str:
    return "".join(
        f'<li><span class="swatch {colors[index % len(colors)]}"></span>{escape(label)}</li>'
        for index, label in enumerate(labels)
    )


def _grid(labels: Mapping[float, str], y: Callable[[float], float], right: float) -> list[str]:
    return [
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        + _text(LEFT - 6, y(value) + 4, label, "end")
        for value, label in labels.items()
    ]


def _axis_title(text: str, right: float) -> str:
    return _text((LEFT + right) / 2, HEIGHT - 8, text, "middle")


def _text(x: float, y: float, text: str, anchor: str, classes: str = "tick") -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float) -> str:
    return f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1
    return lambda value: start + (value - low) / span * (end - start)


def _round_up(value: float) -> float:
    """Rounds up to a number that suits the end of an axis."""
    if value <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(
        factor * magnitude for factor in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if factor * magnitude >= value
    )


def _ticks(iterations: Sequence[int], most: int = 8) -> list[int]:
    """Chooses at most `most` of the iterations, including the first and the last."""
    if len(iterations) <= most:
        return list(iterations)
    step = (len(iterations) - 1) / (most - 1)
    return [iterations[round(step * index)] for index in range(most)]


def _spread(positions: Mapping[str, float], distance: float = 14) -> dict[str, float]:
    """Moves labels apart that would overlap, and up if they would leave the plot."""
    spread: dict[str, float] = {}
    last = float("-inf")
    for label in sorted(positions, key=lambda label: positions[label]):
        last = spread[label] = max(positions[label], last + distance)
    limit = float(HEIGHT - BOTTOM)
    for label in reversed(list(spread)):
        limit = spread[label] = min(spread[label], limit)
        limit -= distance
    return spread
