# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
"""
Makes the figures and tables of `docs/arithmetic_paper.md` from `docs/results/arithmetic.json`. The text of the page is
written by hand. Only the parts between `<!-- table: NAME -->` and `<!-- end -->` are replaced.

```bash
python examples/from_scratch/arithmetic_report.py
```
"""

from pathlib import Path
from statistics import mean

import matplotlib.pyplot as plt

from arithmetic_reproduction import BASELINES, RESULTS, SETTINGS, TRAINED_DIGITS
from plots import accuracy_axes, draw_seeds, legend_beside
from runs import read_seeds
from tables import fill_in, markdown_table, spread


DOCS = RESULTS.parents[1]
TITLES = {**{name: setting.title for name, setting in SETTINGS.items()}, **BASELINES}


def overall(iteration: dict) -> float:
    """Mean accuracy over one to five digits, with the same weight for each number of digits."""
    return mean(iteration["accuracy"][str(digits)] for digits in range(1, TRAINED_DIGITS + 1))


def draw_by_digits(runs: dict[str, list[dict]], settings: list[str], path: Path) -> None:
    """
    Draws accuracy by digits over the iterations, one panel for each setting: the mean of the seeds, and their range.
    """
    settings = [name for name in settings if name in runs]
    if not settings:
        return
    figure, panels = plt.subplots(
        1, len(settings), figsize=(1 + 5 * len(settings), 4.2), sharey=True, layout="constrained", squeeze=False
    )
    shown = sorted({int(digits) for name in settings for digits in runs[name][0]["iterations"][0]["accuracy"]})
    colors = plt.get_cmap("viridis")
    for panel, name in zip(panels[0], settings, strict=True):
        for digits in shown:
            curves = [
                [row["accuracy"].get(str(digits), float("nan")) for row in run["iterations"]] for run in runs[name]
            ]
            trained = digits <= SETTINGS[name].trained_digits
            label = f"{digits} digit{'s' if digits > 1 else ''}{'' if trained else ', never trained on'}"
            style = {"linestyle": "-" if trained else ":", "color": colors((digits - 1) / len(shown))}
            draw_seeds(panel, curves, label=label, **style)
        what = "held-out sums" if panel is panels[0][0] else ""
        accuracy_axes(panel, min(len(run["iterations"]) for run in runs[name]), TITLES[name], what)
    legend_beside(panels[0][-1])
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_settings(runs: dict[str, list[dict]], path: Path) -> None:
    """Draws accuracy over one to five digits by iteration, one line for each setting, and the baselines as levels."""
    figure, axes = plt.subplots(figsize=(9.5, 4.8), layout="constrained")
    longest = 0
    for number, (name, seeds) in enumerate((name, seeds) for name, seeds in runs.items() if name in SETTINGS):
        length = min(len(run["iterations"]) for run in seeds)
        longest = max(longest, length)
        means = [100 * mean(overall(run["iterations"][row]) for run in seeds) for row in range(length)]
        style = "-" if number < 10 else "--"
        axes.plot(range(length), means, style, marker="o", markersize=4, color=f"C{number % 10}", label=TITLES[name])
    for style, name in zip((":", "-."), BASELINES, strict=True):
        if name in runs:
            level = 100 * mean(overall(run["iterations"][-1]) for run in runs[name])
            axes.axhline(level, linestyle=style, color="0.4", label=TITLES[name])
    accuracy_axes(axes, longest, what="sums of 1 to 5 digits")
    legend_beside(axes, fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def accuracy_table(runs: dict[str, list[dict]]) -> str:
    """Table of the last iteration of every setting."""
    rows = []
    for name, seeds in runs.items():
        last = [run["iterations"][-1] for run in seeds]

        def cell(digits: int, last: list[dict] = last) -> str:
            return spread([row["accuracy"][str(digits)] for row in last])

        steps = sum(row["steps"] for row in seeds[0]["iterations"])
        cells = [TITLES[name], str(len(seeds)), str(last[0]["iteration"]), f"{steps:,}"]
        cells += [cell(digits) for digits in range(1, 6)] + [spread([overall(row) for row in last])]
        rows.append(cells + [cell(digits) for digits in range(6, 9)])
    return markdown_table("setting|seeds|iterations|steps|1|2|3|4|5|1-5|6|7|8".split("|"), rows)


def iterations_table(runs: dict[str, list[dict]], settings: list[str]) -> str:
    """Table of the accuracy after every iteration, and of what was kept in it."""
    rows = []
    for name in settings:
        for seeds in zip(*(run["iterations"] for run in runs.get(name, [])), strict=False):
            cells = [TITLES[name], str(seeds[0]["iteration"])]
            cells += [spread([row["accuracy"][str(digits)] for row in seeds]) for digits in range(1, 6)]
            used = [row["train_data_used"] for row in seeds if "train_data_used" in row]
            rows.append([*cells, spread([overall(row) for row in seeds]), spread(used) if used else ""])
    return markdown_table("setting|iteration|1|2|3|4|5|1-5|training problems used".split("|"), rows)


def copying_table(runs: dict[str, list[dict]], setting: str) -> str:
    """
    Table of how often the last model of a setting copies the numbers correctly, and adds them correctly (first seed).
    """
    last = runs[setting][0]["iterations"][-1]
    shown = {"numbers copied": last["operands_copied"], "sum right": last["accuracy"]}
    rows = [[title, *(f"{values[digits]:.0%}" for digits in last["accuracy"])] for title, values in shown.items()]
    return markdown_table(["digits", *last["accuracy"]], rows)


def scratchpads_table(runs: dict[str, list[dict]]) -> str:
    """Table of how many kept samples have the right answer, the true scratchpad and the layout of the examples."""
    rows = []
    for name, seeds in runs.items():
        iterations = seeds[0]["iterations"][1:]
        for iteration in (iterations[0], iterations[-1]) if len(iterations) > 1 else iterations:
            for sampler, values in iteration["samplers"].items():
                if "kept" in values:
                    shares = [values[key] for key in ("right_answer", "true_scratchpad", "examples_layout")]
                    cells = [TITLES[name], sampler, str(iteration["iteration"]), f"{values['yield']:.1%}"]
                    rows.append([*cells, f"{values['kept']:,}", *(f"{share:.1%}" for share in shares)])
    titles = "setting|sampler|iteration|yield|kept|right answer|true scratchpad|examples' layout"
    return markdown_table(titles.split("|"), rows)


def main() -> None:
    runs = read_seeds(RESULTS, TITLES)
    images = DOCS / "images"
    draw_by_digits(runs, ["rationalization", "no_rationalization"], images / "arithmetic_figure_4.png")
    figure_5 = [name for name in ("digits_added", "digits_added_hinted") if name in runs]
    draw_by_digits(runs, figure_5, images / "arithmetic_figure_5.png")
    draw_settings(runs, images / "arithmetic_settings.png")
    page = DOCS / "arithmetic_paper.md"
    tables = {
        "last": accuracy_table(runs),
        "figure_4": iterations_table(runs, ["rationalization", "no_rationalization"]),
        "scratchpads": scratchpads_table(runs),
        "copying": copying_table(runs, "rationalization"),
    }
    page.write_text(fill_in(page.read_text(), tables))
    print(f"Figures in {images}, tables in {page}")


if __name__ == "__main__":
    main()
