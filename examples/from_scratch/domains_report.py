# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Draws the figure of `docs/domains.md` from the results of the synthetic examples in `docs/results/`.

```bash
python examples/from_scratch/domains_report.py
```
"""

from pathlib import Path

import matplotlib.pyplot as plt

from plots import accuracy_axes, draw_seeds
from runs import IMAGES, RESULTS, read_results


DOMAINS = {"sql": "text to SQL", "tools": "sums with a tool", "proofs": "propositional proofs"}
TITLES = {
    "star": "STaR",
    "without_rationalization": "without rationalization",
    "without_hint_infer": "without hint-infer",
    "without_tool": "hint-infer without the tool",
}


def draw(path: Path) -> None:
    """Draws one panel for each domain: accuracy on held-out problems, the mean of the seeds and their range."""
    figure, panels = plt.subplots(1, len(DOMAINS), figsize=(11, 3.6), sharey=True, layout="constrained")
    for panel, (domain, title) in zip(panels, DOMAINS.items(), strict=True):
        settings = read_results(RESULTS / f"synthetic_{domain}.json")
        for setting in sorted(settings, key=list(TITLES).index):
            runs = [[row["eval_accuracy"] for row in run] for run in settings[setting].values()]
            label = TITLES[setting] + (f" ({len(runs)} seeds)" if len(runs) > 1 else "")
            draw_seeds(panel, runs, label=label, linestyle="-" if setting == "star" else "--")
        accuracy_axes(panel, len(runs[0]), title, what="held-out problems" if panel is panels[0] else "")
        panel.legend(frameon=False, fontsize=9, loc="best")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(IMAGES / "domains.png")
