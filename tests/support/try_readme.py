# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Runs the Python code of the README with a tiny model, in an environment that has nothing but the wheel (`make dist`).
The model has learned the README's own example and problem by heart, so that some of what it writes is right.
"""

import os
import re
import sys
import tempfile
from pathlib import Path


os.environ.setdefault("HF_HUB_OFFLINE", "1")
README = Path(__file__).parents[2] / "README.md"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

import star_trl  # noqa: E402
from support.tiny_models import build_model, build_tokenizer  # noqa: E402


EXAMPLE = "Q: Ann has 1 pear and finds 1. How many?\nA: She has 1, and 1 more makes 2.\n2\n\n"
PROBLEM = "Q: Tom has 3 apples and buys 2. How many?\nA: He has 3, and 2 more makes 5.\n5\n\n"


def save_model(path: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Trains a model on the texts of the README and saves it."""
    model = build_model(tokenizer, hidden_size=64)
    ids = tokenizer(EXAMPLE + PROBLEM, return_tensors="pt").input_ids
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def main() -> None:
    installed = Path(star_trl.__file__)
    if "site-packages" not in installed.parts:
        raise SystemExit(f"star_trl was imported from {installed}, and not from an installed wheel.")
    text = README.read_text(encoding="utf-8")
    for line in (EXAMPLE + PROBLEM).splitlines():
        if line.startswith("Q: ") and line not in text.replace("\\nA:", "\n"):
            raise SystemExit(f"The README no longer has the problem {line!r}, which the model has learned.")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = code.replace("HuggingFaceTB/SmolLM2-135M", "model")
    code = code.replace(
        'output_dir="out"', 'output_dir="out", initial_steps=2, use_cpu=True, bf16=False, report_to="none"'
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        save_model("model", build_tokenizer())
        exec(compile(code, str(README), "exec"), {})
        last = star_trl.load_history("out")[-1]["iteration"]
        kept = [row["completion"] for row in star_trl.load_ledger("out") if row["kept"]]
        os.chdir("/")
    if last != 2 or not kept:
        raise SystemExit(f"The README's run ended with iteration {last} in place of 2, and kept {kept}.")
    sys.stdout.write(f"The README's code ran with star-trl {star_trl.__version__} from {installed.parent}\n")


if __name__ == "__main__":
    main()
