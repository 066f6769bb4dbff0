# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,language]"]
# ///
"""
Makes the figure and the tables of `docs/word_problems.md` from `docs/results/word_problems.json`. The text of the page
is written by hand. Only the parts between `<!-- table: NAME -->` and `<!-- end -->` are replaced.

```bash
python examples/language_models/word_problems_report.py
```
"""

from collections.abc import Iterable

import matplotlib.pyplot as plt


from word_problems_reproduction import CONFIG, RESULTS, RUNS, SETTINGS  # isort: skip  (it makes the next ones importable)
from plots import accuracy_axes, draw_seeds, legend_beside
from runs import read_seeds
from tables import fill_in, markdown_table, spread


DOCS = RESULTS.parents[1]
SOURCES = ("held out", "SVAMP")
# Settings with a filter, behind the same without it
FILTERS = (
    "star_zero_shot_train",
    "derived_rationalizations",
    "derived_samples",
    "operation_few_shot_train",
    "operation_derived",
)
# The first iteration of the first setting, which has the paper's hint, is compared with those of the others.
HINTS = ("star_zero_shot_train", *(name for name in SETTINGS if name.startswith("hint_")))
# Its first iteration is also compared with those of other learning rates and numbers of steps.
SEARCH = ("star_zero_shot_train", *(name for name in SETTINGS if name.startswith(("learning_rate_", "steps_"))))
# These have tables of their own: runs of one iteration, and runs whose accuracy counts derived answers only
APART = tuple(
    name
    for name in (*HINTS, *SEARCH, *FILTERS)
    if SETTINGS[name].config.get("num_iterations", CONFIG["num_iterations"]) == 1 or "derived" in name
)

Runs = dict[str, list[list[dict]]]


def draw(runs: Runs) -> None:
    """Draws the accuracy by iteration: lines for STaR, levels for the baselines."""
    figure, panels = plt.subplots(1, len(SOURCES), figsize=(12, 4.4), sharey=True, layout="constrained")
    for panel, source in zip(panels, SOURCES, strict=True):
        longest = 0
        for number, name in enumerate(name for name in SETTINGS if name in runs and name not in APART):
            curves = [[row["accuracy"][source] for row in run] for run in runs[name]]
            style = {"label": SETTINGS[name].title, "color": f"C{number}"}
            if len(curves[0]) > 1:
                longest = max(longest, len(curves[0]))
                draw_seeds(panel, curves, **style)
            else:
                level = 100 * sum(curve[0] for curve in curves) / len(curves)
                panel.axhline(level, linestyle=":", **style)
        what = "word problems" if source == SOURCES[0] else ""
        accuracy_axes(panel, longest, source, what)
        panel.autoscale(axis="y")
        panel.set_ylim(bottom=0)
    legend_beside(panels[-1], fontsize="small")
    figure.savefig(DOCS / "images" / "word_problems.png", dpi=120)
    plt.close(figure)


def shares(rows: Iterable[dict], sampler: str, key: str) -> str:
    """Formats a sampler's share in several seeds. Empty where there is none."""
    values = [row["samplers"][sampler][key] for row in rows if key in row["samplers"].get(sampler, {})]
    return spread(values) if values else ""


def table_2(runs: Runs) -> str:
    """Table of the last iteration of every setting."""
    rows = []
    for name, seeds in runs.items():
        if name in APART:
            continue
        last = [run[-1] for run in seeds]
        used = [row["train_data_used"] for row in last if "train_data_used" in row]
        rows.append(
            [
                SETTINGS[name].title,
                str(len(seeds)),
                str(last[0]["iteration"]),
                str(last[0]["steps"]),
                *(spread([row["accuracy"][source] for row in last]) for source in SOURCES),
                spread([row["derived"] for row in last]),
                spread(used) if used else "",
                shares(last, "rationale", "solved"),
                shares(last, "rationalization", "solved"),
            ]
        )
    titles = "setting|seeds|iterations|steps of the last|held out|SVAMP|derived|problems used"
    titles += "|by rationales|by rationalization"
    return markdown_table(titles.split("|"), rows)


def iterations_table(runs: Runs) -> str:
    """Table of every iteration of STaR: accuracy, and the quality of what was kept."""
    rows = []
    for name, setting in SETTINGS.items():
        if RUNS[setting.run].train != "star" or name in APART:
            continue
        for seeds in zip(*runs.get(name, []), strict=False):
            cells = [SETTINGS[name].title, str(seeds[0]["iteration"])]
            cells += [spread([row["accuracy"][source] for row in seeds]) for source in SOURCES]
            for sampler in ("rationale", "rationalization"):
                cells += [shares(seeds, sampler, key) for key in ("solved", "derived", "steps_equal", "copied")]
            rows.append(cells)
    titles = ["setting", "iteration", *SOURCES]
    titles += [
        f"{sampler}: {title}"
        for sampler in ("rationales", "rationalizations")
        for title in ("solved", "derived", "steps equal", "copied")
    ]
    return markdown_table(titles, rows)


def filters_table(runs: Runs) -> str:
    """Table of the filters: what is kept, and what it does to the accuracy."""
    rows = []
    for name in FILTERS:
        for seeds in zip(*runs.get(name, []), strict=False):
            if seeds[0]["iteration"]:
                cells = [SETTINGS[name].title, str(seeds[0]["iteration"])]
                cells += [
                    shares(seeds, sampler, key)
                    for sampler in ("rationale", "rationalization")
                    for key in ("solved", "derived")
                ]
                cells += [spread([row["accuracy"][source] for row in seeds]) for source in SOURCES]
                rows.append([*cells, *(spread([row[key] for row in seeds]) for key in ("right", "derived"))])
    titles = "setting|iteration|rationales: solved|derived|rationalizations: solved|derived|held out|SVAMP"
    titles += "|right in all|derived in all"
    return markdown_table(titles.split("|"), rows)


def hints_table(runs: Runs) -> str:
    """Table of the hints after one iteration. Each tier has a row of its own."""
    rows = []
    for name in HINTS:
        first = [run[1] for run in runs.get(name, []) if len(run) > 1]  # in a run of one row, nothing was kept
        if not first:
            continue
        title = "Hint: behind the question (the paper's)" if name == HINTS[0] else SETTINGS[name].title
        rows.append([title, "", "", "", *(spread([row["accuracy"][source] for row in first]) for source in SOURCES)])
        for sampler in first[0]["samplers"]:
            if sampler != "rationale":
                cells = [shares(first, sampler, key) for key in ("yield", "derived", "steps_equal")]
                if len(first[0]["samplers"]) > 2:
                    rows.append([f"- {sampler.replace('_', ' ')}", *cells, "", ""])
                else:
                    rows[-1][1:4] = cells
    return markdown_table(["hint", "yield", "derived", "steps equal", *SOURCES], rows)


def search_table(runs: Runs) -> str:
    """Table of learning rates and numbers of gradient steps after one iteration."""
    rows = []
    for name in SEARCH:
        first = [run[1] for run in runs.get(name, []) if len(run) > 1]
        if first:
            rate = SETTINGS[name].config.get("learning_rate", CONFIG["learning_rate"])
            accuracies = (spread([row["accuracy"][source] for row in first]) for source in SOURCES)
            rows.append([f"{rate:g}", str(first[0]["steps"]), *accuracies, spread([row["derived"] for row in first])])
    return markdown_table(["learning rate", "steps", *SOURCES, "derived"], rows)


def precision_table(runs: Runs, in_fp32: Runs) -> str:
    """Table of the settings that were run in both precisions, with the first seed of each."""
    rows = []
    for name in [name for name in SETTINGS if name in runs and name in in_fp32]:
        for number, (half, full) in enumerate(zip(runs[name][0], in_fp32[name][0], strict=False)):
            accuracies = [spread([run["accuracy"][source]]) for source in SOURCES for run in (full, half)]
            rows.append([SETTINGS[name].title, str(number), *accuracies])
    titles = [f"{source}, {precision}" for source in SOURCES for precision in ("fp32", "bf16")]
    return markdown_table(["setting", "iteration", *titles], rows)


def main() -> None:
    by_precision: dict[bool, Runs] = {True: {}, False: {}}
    for name, seeds in read_seeds(RESULTS, SETTINGS).items():
        for run in seeds:
            by_precision[bool(run.get("bf16"))].setdefault(name, []).append(run["iterations"])
    # Settings that were not run in bf16 are shown in fp32
    either = by_precision[False] | by_precision[True]
    runs = {name: either[name] for name in SETTINGS if name in either}
    draw(runs)
    page = DOCS / "word_problems.md"
    tables = {
        "table_2": table_2(runs),
        "iterations": iterations_table(runs),
        "filters": filters_table(runs),
        "hints": hints_table(runs),
        "search": search_table(runs),
        "precision": precision_table(by_precision[True], by_precision[False]),
    }
    page.write_text(fill_in(page.read_text(), tables))
    print(f"Figure in {DOCS / 'images'}, tables in {page}")


if __name__ == "__main__":
    main()
