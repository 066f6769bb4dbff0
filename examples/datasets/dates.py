# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
Calendar arithmetic, and the file to copy for a dataset of your own. `docs/add_a_dataset.md` goes through it. The
problems are made on the spot. A problem with its hint, and a few-shot completion:

    Q: What day is 12 days after 2023-10-24? (2023-11-05)
    A: October has 31 days, so 2023-10-31 is 7 days after 2023-10-24. That leaves 12-7 = 5 days, which lead to
    2023-11-05. The answer is 2023-11-05.

```bash
python examples/datasets/dates.py --output_dir runs/dates
python examples/datasets/dates.py --output_dir runs/dates --runs all
```
"""

import datetime
import random
import re
from typing import Any

from domain import Domain
from paper_runs import main
from star_trl.rewards.text import CompletionLike, completion_text


NUM_PROBLEMS = {"train": 2000, "eval": 300}
FIRST_DAY = datetime.date(1990, 1, 1)
DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
CONCLUSION = re.compile(r"The answer is (\d{4}-\d{2}-\d{2})\.\Z")


def load(split: str, data_dir: str | None) -> list[dict]:
    """Draws problems at random. Those of the evaluation begin in other years than those of the training."""
    if data_dir is not None:
        raise ValueError("The dates are made on the spot. Leave `data_dir` out.")
    rng = random.Random(split)
    first = FIRST_DAY if split == "train" else datetime.date(2024, 1, 1)
    days = 34 * 365 if split == "train" else 3 * 365
    rows: dict[str, dict] = {}
    while len(rows) < NUM_PROBLEMS[split]:
        day, distance = first + datetime.timedelta(rng.randrange(days)), rng.randrange(2, 60)
        after = rng.random() < 0.5
        question = f"What day is {distance} days {'after' if after else 'before'} {day}?"
        row = make_problem(question, str(day + datetime.timedelta(distance if after else -distance)))
        rows[row["prompt"]] = row
    return list(rows.values())


def make_problem(question: str, answer: str) -> dict:
    """Makes one row."""
    return {
        "prompt": f"Q: {question}\nA:",
        "hinted_prompt": f"Q: {question} ({answer})\nA:",
        "answer": answer,
        "direct": f" The answer is {answer}.",
    }


def make_example(question: str, rationale: str, answer: str) -> dict:
    """Makes a few-shot example: a row, and the completion that solves it."""
    problem = make_problem(question, answer)
    return {**problem, "completion": f" {rationale}{problem['direct']}"}


def date_reward(completions: list[CompletionLike], answer: list[str], **kwargs: Any) -> list[float]:
    """1.0 if the last date of the completion is the right one, else 0.0."""
    found = [DATE.findall(completion_text(completion)) for completion in completions]
    return [float(dates[-1:] == [right]) for dates, right in zip(found, answer, strict=True)]


def strict_date_reward(completions: list[CompletionLike], answer: list[str], **kwargs: Any) -> list[float]:
    """1.0 if the completion ends with `The answer is <date>.` and the date is right, else 0.0."""
    found = [CONCLUSION.search(completion_text(completion).strip()) for completion in completions]
    return [float(match is not None and match[1] == right) for match, right in zip(found, answer, strict=True)]


EXAMPLES = [
    make_example(
        "What day is 12 days after 2023-10-24?",
        "October has 31 days, so 2023-10-31 is 7 days after 2023-10-24. That leaves 12-7 = 5 days, which lead to "
        "2023-11-05.",
        "2023-11-05",
    ),
    make_example(
        "What day is 9 days after 2019-05-03?",
        "May has 31 days and 3+9 = 12 is not more than 31, so it is still May: 2019-05-12.",
        "2019-05-12",
    ),
    make_example(
        "What day is 20 days before 2021-08-11?",
        "11 days before 2021-08-11 is the last day of July, 2021-07-31. That leaves 20-11 = 9 days, and 31-9 = 22.",
        "2021-07-22",
    ),
    make_example(
        "What day is 45 days after 2022-12-20?",
        "2022-12-31 is 11 days after 2022-12-20, and 45-11 = 34 days are left. January has 31 days, so 2023-01-31 "
        "is 31 days later, and 34-31 = 3 days lead to 2023-02-03.",
        "2023-02-03",
    ),
    make_example(
        "What day is 4 days before 2024-03-02?",
        "2 days before 2024-03-02 is the last day of February, which in the leap year 2024 has 29 days: "
        "2024-02-29. That leaves 4-2 = 2 days, and 29-2 = 27.",
        "2024-02-27",
    ),
    make_example(
        "What day is 30 days before 1998-11-15?",
        "15 days before 1998-11-15 is 1998-10-31. That leaves 30-15 = 15 days, and 31-15 = 16.",
        "1998-10-16",
    ),
]

DOMAIN = Domain(
    name="dates",
    load=load,
    direct_pattern=r"The answer is [-\d]+\.",
    instruction='Work it out step by step, and end with "The answer is YYYY-MM-DD."',
    direct_instruction='Answer with the date alone, as "The answer is YYYY-MM-DD."',
    reward_funcs=[date_reward, strict_date_reward],
    defaults={"max_completion_length": 128},
    examples=EXAMPLES,
)

if __name__ == "__main__":
    main(DOMAIN)
