# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
Calendar arithmetic: a third dataset, written by going through `docs/add_a_dataset.md`. The problems are made on the
spot. One with its hint, and a few-shot completion:

    Q: What day is 12 days after 2023-10-24? (2023-11-05)
    A: October has 31 days, so 2023-10-31 is 7 days after 2023-10-24. That leaves 12-7 = 5 days, which lead to
    2023-11-05. The answer is 2023-11-05.

```bash
python examples/dates.py --output_dir runs/dates
python examples/dates.py --output_dir runs/dates --runs all
```
"""

import datetime
import random
import re
from typing import Any

from baselines import main
from common import Task
from star_trl.rewards.text import CompletionLike, completion_text


NUM_PROBLEMS = {"train": 2000, "eval": 300}
FIRST_DAY = datetime.date(1990, 1, 1)
DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
CONCLUSION = re.compile(r"The answer is (\d{4}-\d{2}-\d{2})\.\Z")


def load(split: str, data_dir: str | None) -> list[dict]:
    """Problems drawn at random; those of the evaluation begin in other years than those of the training."""
    if data_dir is not None:
        raise ValueError("The dates are made on the spot. Leave `data_dir` out.")
    rng = random.Random(split)
    first = FIRST_DAY if split == "train" else datetime.date(2024, 1, 1)
    days = 34 * 365 if split == "train" else 3 * 365
    rows: dict[str, dict] = {}
    while len(rows) < NUM_PROBLEMS[split]:
        row = make_problem(first + datetime.timedelta(rng.randrange(days)), rng.randrange(2, 60), rng.random() < 0.5)
        rows[row["prompt"]] = row
    return list(rows.values())


def make_problem(day: datetime.date, distance: int, after: bool) -> dict:
    """One row: a day, so many days before or after it, and which one that is."""
    answer = str(day + datetime.timedelta(distance if after else -distance))
    question = f"What day is {distance} days {'after' if after else 'before'} {day}?"
    return {
        "prompt": f"Q: {question}\nA:",
        "hinted_prompt": f"Q: {question} ({answer})\nA:",
        "answer": answer,
        "direct": f" The answer is {answer}.",
    }


def date_reward(completions: list[CompletionLike], answer: list[str], **kwargs: Any) -> list[float]:
    """1.0 where the last date of the completion is the right one, else 0.0."""
    found = [DATE.findall(completion_text(completion)) for completion in completions]
    return [float(dates[-1:] == [right]) for dates, right in zip(found, answer, strict=True)]


def strict_date_reward(completions: list[CompletionLike], answer: list[str], **kwargs: Any) -> list[float]:
    """1.0 where the completion ends with `The answer is <date>.` and the date is right, else 0.0."""
    found = [CONCLUSION.search(completion_text(completion).strip()) for completion in completions]
    return [float(match is not None and match[1] == right) for match, right in zip(found, answer, strict=True)]


TASK = Task(
    name="dates",
    load=load,
    direct_pattern=r"The answer is [-\d]+\.",
    instruction='Work it out step by step, and end with "The answer is YYYY-MM-DD."',
    direct_instruction='Answer with the date alone, as "The answer is YYYY-MM-DD."',
    reward_funcs=[date_reward, strict_date_reward],
    defaults={"max_completion_length": 128},
)

if __name__ == "__main__":
    main(TASK)
