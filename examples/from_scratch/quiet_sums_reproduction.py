# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
"""
Does thinking help, and what does it depend on? `quiet_sums.py` with other thoughts, rewards and data, and without
thoughts. The results are merged into `docs/results/quiet_sums.json`, from which the figure and the table of
`docs/quiet_star.md` are made. Settings that are done are left out.

```bash
make reproduce-quiet-sums SEED=0
python examples/from_scratch/quiet_sums_reproduction.py --setting quiet plain --seed 1
```
"""

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

import quiet_sums
from plots import draw_seeds, legend_beside
from runs import IMAGES, RESULTS, ROOT, merge_results, read_results, read_seeds
from star_trl.quiet import QuietSTaRConfig
from tables import fill_in, markdown_table, spread


RESULTS_FILE = RESULTS / "quiet_sums.json"
PAGE = ROOT / "docs" / "quiet_star.md"

NOISY = {"noise": 0.6, "max_steps": 120}
SLOW = {"learning_rate": 1e-4, "num_thoughts": 4, "eval_every": 40}
# More of the drawn thoughts are right at the start than with 60% noise.
LESS_NOISY = {"noise": 0.4, "max_steps": 300, "eval_every": 60, "mixing_learning_rate": None}
# Name: title, and what differs from the settings of `quiet_sums.py`
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "quiet": ("Quiet-STaR", {}),
    "plain": ("Without thoughts", {"plain": True, "max_steps": 240}),
    "other_start": ("Start token from `.`", {"start_text": "."}),
    "slow_head": ("Mixing head no faster than the model", {"mixing_learning_rate": None}),
    "no_policy": ("No policy loss", {"policy_weight": 0.0}),
    "thought_3": ("Thoughts of 3 tokens", {"num_thought_tokens": 3}),
    "thought_9": ("Thoughts of 9 tokens", {"num_thought_tokens": 9}),
    "true_1": ("1 true token", {"num_true_tokens": 1}),
    "signed": ("Signed reward", {"clamp_reward": False}),
    "noise": ("60% noise, policy weight 30", {**NOISY, "policy_weight": 30.0}),
    "noise_signed": (
        "60% noise, policy weight 30, signed reward",
        {**NOISY, "policy_weight": 30.0, "clamp_reward": False},
    ),
    "noise_weight_1": ("60% noise, policy weight 1", {**NOISY, "policy_weight": 1.0}),
    "noise_slow": (
        "60% noise, policy weight 3, 4 thoughts, learning rate 1e-4",
        {**NOISY, **SLOW, "policy_weight": 3.0},
    ),
    "noise_slow_no_policy": (
        "60% noise, no policy loss, 4 thoughts, learning rate 1e-4",
        {**NOISY, **SLOW, "policy_weight": 0.0},
    ),
    "noise_no_policy": ("60% noise, no policy loss", {**NOISY, "policy_weight": 0.0}),
    "less_noise": ("40% noise, policy weight 30, mixing head no faster", {**LESS_NOISY, "policy_weight": 30.0}),
    "less_noise_no_policy": ("40% noise, no policy loss, mixing head no faster", {**LESS_NOISY, "policy_weight": 0.0}),
}
OF_THE_EXAMPLE = ("noise", "eval_every", "plain")


def do_setting(name: str, seed: int, output_dir: Path) -> None:
    """Runs a setting, and merges what it did into the results."""
    _, changes = SETTINGS[name]
    args = quiet_sums.SumsArguments(**{key: value for key, value in changes.items() if key in OF_THE_EXAMPLE})
    settings = {key: value for key, value in changes.items() if key not in OF_THE_EXAMPLE}
    folder = output_dir / f"{name}-{seed}"
    quiet_args = QuietSTaRConfig(
        **{**quiet_sums.DEFAULTS, **settings, "output_dir": str(folder), "seed": seed, "logging_steps": 1000}
    )
    start = time.process_time()
    history = quiet_sums.run(args, quiet_args)
    merge_results(
        RESULTS_FILE, name, {f"seed {seed}": {"history": history, "cpu_seconds": time.process_time() - start}}
    )


def report() -> None:
    """Draws the figure and fills in the table."""
    runs = {name: [run["history"] for run in seeds] for name, seeds in read_seeds(RESULTS_FILE, SETTINGS).items()}
    groups = {
        title: {name: seeds for name, seeds in runs.items() if ("noise" in name) == noisy}
        for title, noisy in (
            ("All spelled-out documents are right", False),
            ("40 or 60% of the later spelled-out documents are noise", True),
        )
    }
    groups = {title: members for title, members in groups.items() if members}
    figure, panels = plt.subplots(
        1, len(groups), figsize=(6.5 * len(groups), 4.4), sharey=True, layout="constrained", squeeze=False
    )
    for panel, (title, members) in zip(panels[0], groups.items(), strict=True):
        # The runs without thoughts are longer, and nothing happens in them.
        longest = max((seeds[0][-1]["step"] for name, seeds in members.items() if name != "plain"), default=None)
        for number, (name, seeds) in enumerate(members.items()):
            key = "without thoughts" if name == "plain" else "with thoughts"
            curves = [[row[key] for row in history] for history in seeds]
            steps = [row["step"] for row in seeds[0]]
            draw_seeds(panel, curves, steps, label=SETTINGS[name][0].replace("`", '"'), color=f"C{number}")
        panel.set_title(title)
        if longest is not None:
            panel.set_xlim(-0.03 * longest, 1.03 * longest)
        panel.set_xlabel("training steps on terse text")
        panel.axhline(100 / quiet_sums.MODULUS, color="gray", linestyle=":", linewidth=1, label="chance")
        legend_beside(panel, fontsize="small")
    panels[0][0].set_ylabel("right answers, %")
    figure.savefig(IMAGES / "quiet_sums.png", dpi=120)
    plt.close(figure)
    rows = []
    for name, seeds in runs.items():
        first, last = [history[0] for history in seeds], [history[-1] for history in seeds]
        cells = [SETTINGS[name][0], str(len(seeds)), str(last[0]["step"])]
        columns = [
            (first, "right thoughts"),
            (last, "right thoughts"),
            (last, "with thoughts"),
            (last, "without thoughts"),
        ]
        cells += [spread([row[key] for row in end]) if key in end[0] else "" for end, key in columns]
        rows.append(cells)
    titles = "setting|seeds|steps|right thoughts at the start|at the end|right answers with thoughts|without"
    PAGE.write_text(fill_in(PAGE.read_text(), {"quiet_sums": markdown_table(titles.split("|"), rows)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="What to run.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the base model, the texts and the thoughts.")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/quiet-sums"), help="Where the runs go.")
    parser.add_argument("--report_only", action="store_true", help="Make the figure and the table again.")
    args = parser.parse_args()
    if not args.report_only:
        done = read_results(RESULTS_FILE)
        for name in args.setting:
            if f"seed {args.seed}" in done.get(name, {}):
                print(f"{name}, seed {args.seed}: done before")
                continue
            do_setting(name, args.seed, args.output_dir)
            print(f"{name}, seed {args.seed}: done", flush=True)
    report()


if __name__ == "__main__":
    main()
