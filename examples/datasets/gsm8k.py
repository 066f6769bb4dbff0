# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
GSM8K, as in section 4.5 of the STaR paper. A problem with its hint, the final answer in parentheses, and a few-shot
completion with calculator marks:

    Q: Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips
    did Natalia sell altogether in April and May? (72)
    A: Natalia sold 48/2 = <<48/2=24>>24 clips in May.
    Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.
    #### 72

```bash
# A base model on one GPU of 24 GB. `examples/README.md` has LoRA, eight GPUs and chat models
python examples/datasets/gsm8k.py --output_dir runs/gsm8k

# All lines of the paper's table 2, with its data and few-shot examples from local files
python examples/datasets/gsm8k.py --output_dir runs/gsm8k-table --runs all \
    --data_dir path/to/gsm8k --prompts path/to/gsm8k
```

The calculator computes the marks while the model writes; `--calculator false` leaves them to the model.
"""

import json
from pathlib import Path

from datasets import Dataset, load_dataset

from domain import Domain
from paper_runs import main
from star_trl import load_ledger
from star_trl.rewards import numeric_reward, strict_numeric_reward


def load(split: str, data_dir: str | None) -> list[dict]:
    """Loads problems from the files of Cobbe et al. (2021), or from the hub."""
    split = {"train": "train", "eval": "test"}[split]
    if data_dir is not None:
        lines = (Path(data_dir) / f"{split}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
    else:
        rows = load_dataset("openai/gsm8k", "main", split=split)
    return [make_problem(row["question"], row["answer"]) for row in rows]


def make_problem(question: str, solution: str) -> dict:
    """Makes one row. It holds the final answer of the solution and the number of calculator steps."""
    question = " ".join(question.split())
    answer = solution.split("####")[1].strip()
    return {
        "prompt": f"Q: {question}\nA:",
        "hinted_prompt": f"Q: {question} ({answer})\nA:",
        "answer": answer,
        "steps": solution.count("<<"),
        "direct": f" #### {answer}",
    }


def format_row(row: dict) -> dict:
    """Turns a row of the hub into a problem, without its gold completion: the `formatting_function` of the recipes."""
    problem = make_problem(row["question"], row["answer"])
    del problem["direct"]
    return problem


def report_steps(output_dir: Path, problems: Dataset) -> None:
    """Prints how often a kept sample takes as many calculator steps as the reference solution (figure 6)."""
    reference = problems["steps"]
    differences: dict[int, list[int]] = {}
    for sample in load_ledger(output_dir).filter(lambda row: row["kept"], load_from_cache_file=False):
        difference = sample["completion"].count("<<") - reference[sample["problem_id"]]
        differences.setdefault(sample["iteration"], []).append(difference)
    print("Calculator steps of the kept samples against the reference solution (paper: 53 to 57% equal)")
    for iteration, values in sorted(differences.items()):
        fewer, equal = (sum(test) / len(values) for test in ([v < 0 for v in values], [v == 0 for v in values]))
        print(f"iteration {iteration}: {equal:.1%} equal, {fewer:.1%} fewer, {1 - equal - fewer:.1%} more")


DOMAIN = Domain(
    name="gsm8k",
    load=load,
    direct_pattern=r"#### .+",
    instruction='Solve the problem step by step, and end with a line "#### <number>".',
    direct_instruction='Answer with the number alone, as "#### <number>".',
    reward_funcs=[numeric_reward, strict_numeric_reward],
    defaults={"max_completion_length": 320, "max_inner_steps": 7912, "calculator": True},
    # Table 2
    paper={
        "few_shot_direct": "3.0%",
        "few_shot_cot": "3.1%",
        "direct_fine_tuned": "5.8% (100% used)",
        "star_without_rationalization": "10.1% (25.0% used)",
        "star": "10.7% (30.3% used)",
    },
    report=report_steps,
)

if __name__ == "__main__":
    main(DOMAIN)
