# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,peft,quantization]"]
# ///
r"""
GSM8K with Python as a tool, as START uses it: the model writes programs while it reasons, and reads what they print.
Problems that it fails are tried again with a hint in the middle of its reasoning, "Wait, maybe using Python here is a
good idea.", and then with the answer as a hint. A few-shot completion, whose output block is written by the tool:

    A: The bakery makes 7 trays of 24 rolls, and 95 of them are gone.
    ```python
    made = 7 * 24
    print(made - 95)
    ```
    ```output
    73
    ```
    #### 73

```bash
# One GPU of 24 GB
python examples/datasets/tools.py --output_dir runs/tools

# A model that thinks first and has no examples: only the hint tells it of Python
python examples/datasets/tools.py --output_dir runs/tools-think --model_name_or_path Qwen/Qwen3-0.6B --chat \
    --num_few_shot 0 --chat_template_kwargs '{"enable_thinking": true}' --max_completion_length 4096

# From end to end on a CPU, with a model that has to be told the answer
python examples/from_scratch/dataset_model.py tools --data_dir path/to/gsm8k --output_dir runs/tiny-tools
python examples/datasets/tools.py --output_dir runs/tools-tiny --model_name_or_path runs/tiny-tools \
    --data_dir path/to/gsm8k --max_train_problems 100 --max_eval_problems 20 --num_iterations 1 --initial_steps 10 \
    --use_cpu --bf16 false --gradient_checkpointing false --report_to none
```

`docs/tools.md` says what a program of the model can do, and what not.
"""

from dataclasses import replace
from pathlib import Path

from datasets import Dataset

import gsm8k
from paper_runs import main
from star_trl import HintInferSampler, Sampler, ToolSampler, load_ledger
from star_trl.tools import python_tool


# Places before the model turns to another approach, ends its thought or says its answer
PLACES = r"(?=\b(?:Wait|Alternatively)\b|</think>|\n####)"
HINT = "\nWait, maybe using Python here is a good idea."


def equip(samplers: list[Sampler]) -> list[Sampler]:
    """
    Returns samplers for rationales with Python, then for those with the hint (for unsolved problems), then for
    rationalizations.
    """
    tool = python_tool()
    first, *others = (ToolSampler(sampler, tool) for sampler in samplers)
    return [first, HintInferSampler(first, HINT, after=PLACES), *others]


def report_calls(output_dir: Path, problems: Dataset) -> None:
    """Prints how many of the kept samples call Python, by iteration and sampler."""
    kept = load_ledger(output_dir).filter(lambda row: row["kept"], load_from_cache_file=False)
    calls: dict[tuple[int, str], list[int]] = {}
    for sample in kept.select_columns(["iteration", "sampler", "completion"]):
        count = sample["completion"].count("```output")
        calls.setdefault((sample["iteration"], sample["sampler"]), []).append(count)
    for (iteration, sampler), counts in sorted(calls.items()):
        share = sum(map(bool, counts)) / len(counts)
        print(f"iteration {iteration}, {sampler}: {len(counts)} kept, {share:.1%} of them with Python")


DOMAIN = replace(
    gsm8k.DOMAIN,
    name="tools",
    instruction="Solve the problem step by step. You can run Python: write a ```python block that prints what you "
    'want to know, and its output follows. End with a line "#### <number>".',
    defaults={"max_completion_length": 400, "max_inner_steps": 7912},
    paper={},
    equip=equip,
    report=report_calls,
)

if __name__ == "__main__":
    main(DOMAIN)
