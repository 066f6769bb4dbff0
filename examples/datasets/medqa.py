# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
MedQA (Jin et al., 2020, arXiv 2009.13081): questions of the United States Medical Licensing Examination with four
choices, in the form of CommonsenseQA. The hub's `GBaker/MedQA-USMLE-4-options` has 10,178 questions for training and
1,273 in the test, with the columns `question`, `options` (a dict from A to D), `answer_idx` (the letter), `answer`
(its text), `meta_info` and `metamap_phrases`; the last two are not used. A problem with its hint, and a completion:

    Q: A child who eats almost no fruit or vegetables has bleeding gums. Which vitamin does the child lack?
    Answer Choices:
    (a) Vitamin A
    (b) Vitamin C (CORRECT)
    (c) Vitamin D
    (d) Vitamin K
    A: Bleeding gums without fruit and vegetables are scurvy. Therefore, the answer is Vitamin C (b).

What a model writes for these questions is no medical advice: see `docs/medicine_and_law.md`.

```bash
python examples/datasets/medqa.py --output_dir runs/medqa
python examples/datasets/medqa.py --output_dir runs/medqa --runs all
```
"""

import json
from dataclasses import replace
from pathlib import Path

from datasets import load_dataset

import commonsense_qa
from commonsense_qa import make_problem
from paper_runs import main


SPLITS = {"train": "train", "eval": "test"}


def load(split: str, data_dir: str | None) -> list[dict]:
    """Loads problems from the hub, or from `train.jsonl` and `test.jsonl` with the same columns."""
    if data_dir is not None:
        rows = map(json.loads, (Path(data_dir) / f"{SPLITS[split]}.jsonl").read_text().splitlines())
    else:
        rows = load_dataset("GBaker/MedQA-USMLE-4-options", split=SPLITS[split])
    return [make_problem(row["question"], [row["options"][key] for key in "ABCD"], row["answer_idx"]) for row in rows]


DOMAIN = replace(commonsense_qa.DOMAIN, name="medqa", load=load, defaults={"max_completion_length": 160}, paper={})

if __name__ == "__main__":
    main(DOMAIN)
