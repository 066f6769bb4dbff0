# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
LegalBench (Guha et al., 2023, arXiv 2308.11462): three of its tasks whose answer is one of a few labels, in the form
of CommonsenseQA. The hub's `nguha/legalbench` has a configuration for each, with the columns `text`, `answer` (the
label) and `index`. Some have more columns, which are not used. A problem with its hint, and a completion:

    Q: Is this evidence hearsay? To prove that the floor was wet, the witness testifies that she slipped on it herself.
    Answer Choices:
    (a) Yes
    (b) No (CORRECT)
    A: She tells what she felt herself, and repeats no statement. Therefore, the answer is No (b).

LegalBench is made for evaluation: its training splits hold a handful of rows for prompts. This example therefore
divides the *test* rows and takes three of four for training. A model trained this way has no score on LegalBench. What
it writes is no legal advice: see `docs/medicine_and_law.md`.

```bash
python examples/datasets/legalbench.py --output_dir runs/legalbench
python examples/datasets/legalbench.py --output_dir runs/legalbench --runs all
```
"""

import json
from dataclasses import replace
from pathlib import Path

from datasets import load_dataset

import commonsense_qa
from commonsense_qa import make_problem
from paper_runs import main


# The question before the text, and the labels
QUESTIONS = {
    "hearsay": ("Is this evidence hearsay?", ["Yes", "No"]),
    "overruling": ("Does this sentence overrule an earlier decision?", ["Yes", "No"]),
    "abercrombie": (
        "What kind of trademark is it?",
        ["generic", "descriptive", "suggestive", "arbitrary", "fanciful"],
    ),
}


def load(split: str, data_dir: str | None) -> list[dict]:
    """Loads problems from the hub, or from files such as `hearsay.jsonl` with the same columns."""
    problems = []
    for name, (question, labels) in QUESTIONS.items():
        if data_dir is not None:
            rows = list(map(json.loads, (Path(data_dir) / f"{name}.jsonl").read_text().splitlines()))
        else:
            # As Parquet: the repository itself is a script, which `datasets` no longer runs
            rows = load_dataset("nguha/legalbench", data_dir=name, split="test", revision="refs/convert/parquet")
        for number, row in enumerate(rows):
            if (number % 4 == 3) == (split == "eval"):
                letter = "abcde"[labels.index(row["answer"])]
                problems.append(make_problem(f"{question} {row['text']}", labels, letter))
    return problems


DOMAIN = replace(
    commonsense_qa.DOMAIN,
    name="legalbench",
    load=load,
    instruction=commonsense_qa.DOMAIN.instruction.replace("Explain your choice", "Apply the rule"),
    defaults={"max_completion_length": 128},
    paper={},
)

if __name__ == "__main__":
    main(DOMAIN)
