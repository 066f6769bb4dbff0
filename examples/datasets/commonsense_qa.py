# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
CommonsenseQA, as in section 4.4 of the STaR paper. A problem with its hint, ` (CORRECT)`, and a few-shot completion:

    Q: What do people use to absorb extra ink from a fountain pen?
    Answer Choices:
    (a) shirt pocket
    (b) calligrapher's hand
    (c) inkwell
    (d) desk drawer
    (e) blotter (CORRECT)
    A: The answer must be used to absorb extra ink. Blotters are designed to absorb liquids. Therefore, the answer is
    blotter (e).

```bash
# A base model on one GPU of 24 GB. `examples/README.md` has LoRA, eight GPUs and chat models
python examples/datasets/commonsense_qa.py --output_dir runs/csqa

# All lines of the paper's table 1, with its data and few-shot examples from local files
python examples/datasets/commonsense_qa.py --output_dir runs/csqa-table --runs all \
    --data_dir path/to/commonsense_qa --prompts path/to/commonsense_qa
```
"""

import json
from pathlib import Path

from datasets import load_dataset

from domain import Domain
from paper_runs import main
from star_trl.rewards import multiple_choice_reward, strict_multiple_choice_reward


FILES = {"train": "train_rand_split.jsonl", "eval": "dev_rand_split.jsonl"}


def load(split: str, data_dir: str | None) -> list[dict]:
    """
    Loads problems from the files of Talmor et al. (2019), or from the hub. The test set has no answers, so dev is
    used.
    """
    if data_dir is not None:
        lines = (Path(data_dir) / FILES[split]).read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [
            make_problem(
                row["question"]["stem"],
                [choice["text"] for choice in row["question"]["choices"]],
                row["answerKey"],
            )
            for row in rows
        ]
    rows = load_dataset("tau/commonsense_qa", split={"train": "train", "eval": "validation"}[split])
    return [make_problem(row["question"], row["choices"]["text"], row["answerKey"]) for row in rows]


def make_problem(question: str, choices: list[str], answer_key: str) -> dict:
    """Makes one row. The hint follows the right choice and is nowhere else."""
    answer = answer_key.lower()

    def prompt(hint: str) -> str:
        labeled = zip("abcde", choices, strict=False)
        lines = [f"({label}) {text}{hint if label == answer else ''}" for label, text in labeled]
        return "\n".join([f"Q: {' '.join(question.split())}", "Answer Choices:", *lines, "A:"])

    return {
        "prompt": prompt(""),
        "hinted_prompt": prompt(" (CORRECT)"),
        "answer": answer,
        "choices": choices,
        "direct": f" ({answer}).",
    }


def format_row(row: dict) -> dict:
    """Turns a row of the hub into a problem, without its gold completion: the `formatting_function` of the recipes."""
    problem = make_problem(row["question"], row["choices"]["text"], row["answerKey"])
    del problem["direct"]
    return problem


DOMAIN = Domain(
    name="commonsense_qa",
    load=load,
    direct_pattern=r"\([a-e]\)\.",
    instruction='Explain your choice in two or three sentences, and end with "Therefore, the answer is <choice> '
    '(<letter>)."',
    direct_instruction='Answer with the letter of the right choice alone, as "(<letter>)."',
    reward_funcs=[multiple_choice_reward, strict_multiple_choice_reward],
    defaults={"max_completion_length": 96},
    # Table 1, and section 5 for the runs without few-shot prompts in training
    paper={
        "few_shot_direct": "20.9%",
        "few_shot_cot": "36.6%",
        "direct_fine_tuned": "60.0% (100% used)",
        "star_without_rationalization": "68.8% (69.7% used)",
        "star": "72.5% (86.7% used)",
        "star_without_rationalization_zero_shot_train": "60.9%",
        "star_zero_shot_train": "69.9%",
    },
)

if __name__ == "__main__":
    main(DOMAIN)
