# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Draws what the synthetic examples of the domains wrote to `docs/results/`, for `docs/domains.md`."""

import json
from pathlib import Path
from statistics import mean

import matplotlib


matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402


DOCS = Path(__file__).parent.parent / "docs"
DOMAINS = {"sql": "text to SQL", "tools": "sums with a tool", "proofs": "propositional proofs"}
TITLES = {
    "star": "STaR",
    "without_rationalization": "without rationalization",
    "without_hint_infer": "without hint-infer",
    "without_tool": "hint-infer without the tool",
}


def draw(path: Path) -> None:
    """One panel for each domain: accuracy on held-out problems, the mean of the seeds and their range."""
    figure, panels = plt.subplots(1, len(DOMAINS), figsize=(11, 3.6), sharey=True, layout="constrained")
    for panel, (domain, title) in zip(panels, DOMAINS.items(), strict=True):
        settings = json.loads((DOCS / "results" / f"synthetic_{domain}.json").read_text())
        for setting in sorted(settings, key=list(TITLES).index):
            runs = settings[setting].values()
            length = min(map(len, runs))
            by_iteration = [[100 * run[iteration]["eval_accuracy"] for run in runs] for iteration in range(length)]
            label = TITLES[setting] + (f" ({len(runs)} seeds)" if len(runs) > 1 else "")
            style = {"linestyle": "-" if setting == "star" else "--", "marker": "o", "label": label}
            (line,) = panel.plot(range(length), [mean(values) for values in by_iteration], **style)
            low, high = ([bound(values) for values in by_iteration] for bound in (min, max))
            panel.fill_between(range(length), low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        panel.set(title=title, xlabel="outer iteration (0: base model)", ylim=(-3, 103), xticks=range(length))
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", alpha=0.3)
        panel.legend(frameon=False, fontsize=9, loc="best")
    panels[0].set_ylabel("accuracy on held-out problems (%)")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(DOCS / "images" / "domains.png")
