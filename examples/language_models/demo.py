# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[language]"]
# ///
"""
Three outer iterations of STaR with a pretrained language model, on a CPU and offline: `make demo-language`. SmolLM2
with 135 million parameters (`smollm2.py`) solves word problems (`story_problems.py`) with a calculator, learns from
what it solved, and is evaluated on problems with other wordings. The hint is the equation without its result, with
which it solves most of the problems that it has failed.

```bash
python examples/language_models/demo.py --output_dir runs/demo-language
```
"""

from pathlib import Path

from datasets import Dataset
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers import HfArgumentParser


from cpu_settings import SETTINGS  # isort: skip  (it makes the next ones importable)
from hints import DERIVED_RATIONALIZATIONS, DERIVED_RATIONALIZATIONS_CONFIG, add_hints, hinted_examples
from smollm2 import make_smollm2
from star_trl import (
    CalculatorSampler,
    RationaleSampler,
    RationalizationSampler,
    STaRConfig,
    STaRTrainer,
    load_history,
    load_ledger,
)
from story_problems import draw_problems


SHOWN = 4
HINTS = {"hinted_prompt": "operation"}

DEMO_SETTINGS = {
    **SETTINGS,
    "eval_group_column": None,
    "num_iterations": 3,
    "initial_steps": 32,  # about an epoch, since a second one overfits
    **DERIVED_RATIONALIZATIONS_CONFIG,
    "overwrite_output_dir": True,
}


def make_dataset(split: str, number: int) -> Dataset:
    """Returns so many problems of each wording."""
    rows = [add_hints(row, HINTS, row["answer"], row["equation"]) for row in draw_problems(split, number)]
    return Dataset.from_list(rows).remove_columns("direct")


def report(output_dir: Path) -> None:
    """Prints the accuracy before and after, and completions of both models side by side."""
    console = Console(width=120)
    before, *_, after = load_history(output_dir)
    pairs: dict[int, dict[int, dict]] = {}
    for row in load_ledger(str(output_dir), "eval"):
        if row["iteration"] in (0, after["iteration"]):
            pairs.setdefault(row["problem_id"], {})[row["iteration"]] = row
    differ = [pair for pair in pairs.values() if len({row["kept"] for row in pair.values()}) == 2]
    gained = sum(pair[after["iteration"]]["kept"] for pair in differ)
    console.print(
        f"Accuracy on {len(pairs)} problems with other wordings: {before['eval_accuracy']:.0%} before, "
        f"{after['eval_accuracy']:.0%} after iteration {after['iteration']} "
        f"({gained} gained, {len(differ) - gained} lost)"
    )
    table = Table(box=box.HORIZONTALS, show_lines=True, title="Problems on which the models differ")
    for title in ("problem", "before", "after"):
        table.add_column(title, ratio=1)
    for pair in differ[:SHOWN]:
        cells = [f"{row['completion'].strip()}\n[{'right' if row['kept'] else 'wrong'}]" for row in pair.values()]
        table.add_row(*map(escape, [pair[0]["prompt"].removesuffix("\nA:"), *cells]))
    console.print(table)
    print(f"Every sample: {output_dir / 'report.html'}")


def main() -> None:
    parser = HfArgumentParser([STaRConfig])
    parser.set_defaults(**DEMO_SETTINGS)
    (args,) = parser.parse_args_into_dataclasses()
    output_dir = Path(args.output_dir)
    trainer = STaRTrainer(
        model=str(make_smollm2(output_dir.parent / "smollm2")),
        args=args,
        reward_funcs=DERIVED_RATIONALIZATIONS,
        samplers=[CalculatorSampler(RationaleSampler()), CalculatorSampler(RationalizationSampler())],
        few_shot_examples=hinted_examples(HINTS),
        train_dataset=make_dataset("train", 4),
        eval_dataset=make_dataset("eval", 4),
    )
    trainer.train()
    report(output_dir)


if __name__ == "__main__":
    main()
