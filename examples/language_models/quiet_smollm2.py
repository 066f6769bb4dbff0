# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples,language,peft]"]
# ///
"""
Quiet-STaR (Zelikman et al., 2024, arXiv 2403.09629) with a pretrained model on a CPU: SmolLM2 with 135 million
parameters, an adapter, and word problems that are written out as plain text:

    Q: A baker made 24 rolls and sold 15 of them. How many rolls are left?
    A: 24 - 15 = 9

How likely are held-out texts with thoughts and without them? TRL's `SFTTrainer` with the same adapter, on the same
texts and in as many steps, is the baseline. The results are merged into `docs/results/quiet_smollm2.json`, from which
the tables of `docs/quiet_smollm2.md` are made. An interrupted run goes on from its last checkpoint.

```bash
python examples/language_models/quiet_smollm2.py --output_dir runs/quiet-smollm2 --data_dir path/to/files
```
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer


import cpu_settings  # isort: skip  # noqa: F401  (it makes the next ones importable)
import word_problems
from runs import ON_A_CPU, RESULTS, ROOT, merge_results, read_results
from smollm2 import make_smollm2
from star_trl.quiet import QuietSTaRConfig, QuietSTaRModel, QuietSTaRTrainer, write_thought_page
from tables import fill_in, markdown_table


RESULTS_FILE = RESULTS / "quiet_smollm2.json"
PAGE = ROOT / "docs" / "quiet_smollm2.md"

# Longer texts are left out. A thought costs as much as the text that it stands behind.
MAX_TOKENS = 40
NUM_TEXTS = 64
HELD_OUT = 46
PARTS = ("question", "equation", "answer")
# The tokens that thoughts help most, and as many that they help least
NUM_SHOWN = 8
# Tokens of the text in front of a shown one
NUM_BEFORE = 8

CONFIG: dict[str, Any] = {
    **ON_A_CPU,
    "max_steps": 32,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 8,
    "learning_rate": 3e-4,
    "lr_scheduler_type": "constant",
    "logging_steps": 2,
    "save_steps": 2,
    "save_total_limit": 1,
    "disable_tqdm": True,
}
THOUGHTS: dict[str, Any] = {
    "num_thought_tokens": 4,
    "num_true_tokens": 2,
    "num_thoughts": 2,
    # The default of 100 belongs to a learning rate of 1e-6.
    "embedding_scale": 1.0,
}
LORA: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}


def load_texts(split: str, data_dir: str | None, tokenizer: PreTrainedTokenizerBase, number: int) -> list[list[str]]:
    """Returns the parts of so many word problems: question, equation and answer."""
    texts: list[list[str]] = []
    for row in word_problems.load(split, data_dir):
        parts = [row["prompt"], f" {row['equation']} =", f" {row['answer']}"]
        if row["source"] == "held out" and len(tokenizer("".join(parts))["input_ids"]) <= MAX_TOKENS:
            texts.append(parts)
    if len(texts) < number:
        raise ValueError(
            f"The split {split!r} has {len(texts)} texts of at most {MAX_TOKENS} tokens, and {number} are needed. "
            "Give other data with `--data_dir`."
        )
    return texts[:number]


def train(
    name: str, model_path: Path, texts: Dataset, seed: int, output_dir: Path
) -> tuple[SFTTrainer, dict[str, Any]]:
    """Trains with thoughts (`"quiet"`) or without (`"plain"`). Returns the trainer and what the results keep of it."""
    shared = {**CONFIG, "output_dir": str(output_dir), "seed": seed}
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    set_seed(seed)  # of the adapter's initial weights
    given: dict[str, Any] = {
        "train_dataset": texts,
        "processing_class": AutoTokenizer.from_pretrained(model_path),
        "peft_config": LoraConfig(**LORA),
    }
    if name == "quiet":
        trainer: SFTTrainer = QuietSTaRTrainer(model, QuietSTaRConfig(**shared, **THOUGHTS), **given)
    else:
        trainer = SFTTrainer(model, SFTConfig(**shared), **given)
    checkpoint = get_last_checkpoint(output_dir) if output_dir.exists() else None
    start, first_step = time.process_time(), 0 if checkpoint is None else int(checkpoint.rsplit("-", 1)[1])
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds, steps = time.process_time() - start, trainer.state.global_step - first_step
    keys = ("step", "loss", "nll", "nll_with_thoughts", "reward", "mixing_weight")
    history = [{key: row[key] for key in keys if key in row} for row in trainer.state.log_history if "loss" in row]
    return trainer, {"history": history, "cpu_seconds_per_step": seconds / steps if steps else None}


@torch.no_grad()
def judge(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns the negative log-likelihood of every token but the first of each text."""
    logits = model.eval()(**inputs).logits[:, :-1]
    return cross_entropy(logits.transpose(1, 2), inputs["input_ids"][:, 1:], reduction="none")


@torch.no_grad()
def judge_tokens(
    held_out: list[list[str]],
    tokenizer: PreTrainedTokenizerBase,
    base: PreTrainedModel,
    plain: PreTrainedModel,
    quiet: QuietSTaRModel,
) -> list[dict[str, Any]]:
    """
    Returns a row for every token of the texts but the first: where it stands, the greedy thought before it, and its
    negative log-likelihood under the model itself, the one that was trained without thoughts, and the one that was
    trained with thoughts, when it does not think and when it does.
    """
    quiet.eval()
    rows = []
    size = CONFIG["per_device_eval_batch_size"]
    for first in range(0, len(held_out), size):
        texts = held_out[first : first + size]
        joined = ["".join(parts) for parts in texts]
        inputs = tokenizer(joined, padding=True, padding_side="right", return_tensors="pt")
        output = quiet(**inputs)
        columns = {
            "base": judge(base, inputs),
            "plain": judge(plain, inputs),
            "quiet": output.nll,
            "thinking": output.nll_with_thoughts[:, 0, :, 0],
            "weight": output.mixing_weights[:, 0, :, 0],
        }
        for number, parts in enumerate(texts):
            ends = [len(tokenizer("".join(parts[: end + 1]))["input_ids"]) for end in range(len(parts))]
            ids = inputs["input_ids"][number, : ends[-1]]
            for position in range(len(ids) - 1):
                rows.append(
                    {
                        "text": first + number,
                        "part": next(part for part, end in zip(PARTS, ends, strict=True) if position + 1 < end),
                        "before": tokenizer.decode(ids[max(0, position + 1 - NUM_BEFORE) : position + 1]),
                        "thought": tokenizer.decode(output.thought_ids[number, 0, position]),
                        "token": tokenizer.decode(ids[position + 1]),
                        **{name: values[number, position].item() for name, values in columns.items()},
                    }
                )
    return rows


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the means by part of the text, and the tokens that thoughts help most and least."""
    parts = {"all": rows, **{part: [row for row in rows if row["part"] == part] for part in PARTS}}
    by_gain = sorted(rows, key=lambda row: row["thinking"] - row["quiet"])
    return {
        "parts": {
            part: {
                "tokens": len(members),
                **{name: mean(row[name] for row in members) for name in ("base", "plain", "quiet", "thinking")},
                "weight": mean(row["weight"] for row in members),
                "fall_by_thinking": difference(members, "quiet", "thinking"),
                "fall_against_plain": difference(members, "plain", "thinking"),
            }
            for part, members in parts.items()
        },
        "most": by_gain[:NUM_SHOWN],
        "least": by_gain[-NUM_SHOWN:][::-1],
    }


def difference(rows: list[dict[str, Any]], first: str, second: str) -> list[float]:
    """Returns the mean difference of two columns and its standard error, with texts as the units that were drawn."""
    by_text: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        by_text[row["text"]].append(row[first] - row[second])
    whole = mean(value for values in by_text.values() for value in values)
    deviations = [sum(values) - whole * len(values) for values in by_text.values()]
    number = len(deviations)
    error = (sum(value**2 for value in deviations) * number / max(number - 1, 1)) ** 0.5 / len(rows)
    return [whole, error]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Trains with and without thoughts, and returns what the results keep. The page of a held-out text is written."""
    model_path = make_smollm2(args.model)
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    texts = ["".join(parts) for parts in load_texts("train", args.data_dir, tokenizer, NUM_TEXTS)]
    held_out = load_texts("eval", args.data_dir, tokenizer, HELD_OUT)
    trained, kept = {}, {}
    for name in ("plain", "quiet"):
        dataset = Dataset.from_dict({"text": texts})
        trainer, kept[name] = train(name, model_path, dataset, args.seed, args.output_dir / f"{name}-{args.seed}")
        trained[name] = trainer.model
        print(f"{name}: trained", flush=True)
    base = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    rows = judge_tokens(held_out, tokenizer, base, trained["plain"], trained["quiet"])
    text = "".join(held_out[0])
    write_thought_page(trained["quiet"], tokenizer, text, args.output_dir / "thoughts.html", num_positions=MAX_TOKENS)
    return {"held_out": len(held_out), **kept, **summarize(rows)}


# The page


def in_code(text: str) -> str:
    """Formats tokens for a cell of a table."""
    shown = repr(text)[1:-1].replace("`", "'").replace("|", "\\|")
    return f"`{shown}`"


def with_error(value: list[float]) -> str:
    return f"{value[0]:+.3f} ± {value[1]:.3f}"


def report() -> None:
    """Fills in the tables of the page."""
    seeds = read_results(RESULTS_FILE).get("word_problems", {})
    parts, shown = [], []
    for seed, result in sorted(seeds.items()):
        for part, row in result["parts"].items():
            likelihoods = [f"{row[name]:.3f}" for name in ("base", "plain", "quiet", "thinking")]
            falls = [with_error(row["fall_by_thinking"]), with_error(row["fall_against_plain"])]
            parts.append([seed, part, str(row["tokens"]), *likelihoods, *falls])
    for group in ("most", "least"):
        for row in seeds.get("seed 0", {}).get(group, []):
            names = ("plain", "quiet", "thinking")
            probabilities = [f"{torch.tensor(-row[name]).exp().item():.1%}" for name in names]
            shown.append([group, *(in_code(row[name]) for name in ("before", "thought", "token")), *probabilities])
    tables = {
        "parts": markdown_table(
            ["", "part", "tokens", "SmolLM2", "fine-tuned", "Quiet-STaR, no thoughts", "Quiet-STaR, thoughts"]
            + ["fall by thinking", "fall against fine-tuned"],
            parts,
        ),
        "tokens": markdown_table(
            ["helped", "text so far", "thought", "next token", "fine-tuned", "no thoughts", "thoughts"], shown
        ),
    }
    PAGE.write_text(fill_in(PAGE.read_text(), tables))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data_dir", help="Folder with train.csv. Without it, the problems come from the hub.")
    parser.add_argument("--model", type=Path, default=Path("runs/smollm2"), help="SmolLM2. It is made if missing.")
    parser.add_argument(
        "--seed", type=int, default=0, help="Seed of the adapter, of the texts' order and of thoughts."
    )
    parser.add_argument("--output_dir", type=Path, default=Path("runs/quiet-smollm2"), help="Where the runs go.")
    parser.add_argument("--report_only", action="store_true", help="Make the tables again.")
    args = parser.parse_args()
    if not args.report_only:
        merge_results(RESULTS_FILE, "word_problems", {f"seed {args.seed}": run(args)})
    report()


if __name__ == "__main__":
    main()
