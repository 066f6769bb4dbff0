# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Makes a tiny base model for an example of `datasets/`, with a tokenizer of its own. The example then runs from end to
end, on all rows, without a GPU and without the hub.

The model learns the *form* of an answer and how a hint is used, and nothing about the questions, since its training
data have random answers. On CommonsenseQA it is therefore right one time in five, and more often with a hint. On
GSM8K, on the dates and on text to SQL it is right only with a hint. A GPU makes a real model possible.

```bash
python examples/from_scratch/dataset_model.py commonsense_qa --data_dir path/to/commonsense_qa \
    --output_dir runs/tiny-csqa
python examples/datasets/commonsense_qa.py --output_dir runs/csqa --model_name_or_path runs/tiny-csqa \
    --data_dir path/to/commonsense_qa --num_iterations 1 --initial_steps 10 \
    --use_cpu --bf16 false --gradient_checkpointing false --report_to none
```

With the authors' few-shot examples (`--prompts`), on all rows, rationales solve 20.3% of the 9,734 CommonsenseQA
problems and rationalization another 53.6%. Of the 7,467 problems of GSM8K they solve 0.5% and 26.4%, of the 576 of
GeoQuery none and 5.6%.
"""

import argparse
import random
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from base_model import Piece, make_base_model
from star_trl.few_shot import as_messages


DATASETS = Path(__file__).parents[1] / "datasets"
sys.path.append(str(DATASETS))
from domain import Domain, read_examples  # noqa: E402


PAD, EOS, BEGIN = "<|endoftext|>", "<|im_end|>", "<|im_start|>"
# The chat template of Qwen 3, without tools: with `enable_thinking=False`, it adds an empty thought.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# (steps, rows, tokens in a row). The rows of the last phase are as long as a few-shot prompt.
PHASES = ((250, 8, 256), (80, 2, 1280))
# Copying a whole query takes longer to learn and more examples, so this share of the short rows is without the tables.
SQL_PHASES = ((400, 8, 256, 0.8), (80, 2, 1280))


def write_choice(rng: random.Random, row: dict, hinted: bool) -> str:
    """A completion for multiple choice: any of them without a hint, the right one with it."""
    letter = row["answer"] if hinted else rng.choice("abcde"[: len(row["choices"])])
    return f" The answer must fit the question. Therefore, the answer is ({letter})."


def write_sum(rng: random.Random, row: dict, hinted: bool) -> str:
    """A completion for GSM8K: any number without a hint, the right one with it, after a sum that results in it."""
    answer = row["answer"].replace(",", "") if hinted else str(rng.randrange(1, 100))
    return f" That is {answer}+0 = <<{answer}+0={answer}>>{answer}.\n#### {answer}"


def write_date(rng: random.Random, row: dict, hinted: bool) -> str:
    """A completion for dates: any date without a hint, the right one with it."""
    answer = row["answer"] if hinted else f"2024-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
    return f" That leads to {answer}. The answer is {answer}."


def write_query(rng: random.Random, row: dict, hinted: bool) -> str:
    """A completion for text to SQL: any column of any table without a hint, the right query with it."""
    table, columns = rng.choice(re.findall(r"(\w+)\(([^)]*)\)", row["prompt"].split("\nTables:")[1]))
    query = row["answer"] if hinted else f"SELECT {rng.choice(columns.split(', '))} FROM {table}"
    return f" I look into the tables.\nSQL: {query}"


def write_program(rng: random.Random, row: dict, hinted: bool) -> str:
    """A completion for GSM8K with Python: as `write_sum`, with a program that computes the number."""
    answer = row["answer"].replace(",", "") if hinted else str(rng.randrange(1, 100))
    return f" That is a sum.\n```python\nprint({answer}+0)\n```\n```output\n{answer}\n```\n#### {answer}"


def write_proof(rng: random.Random, row: dict, hinted: bool) -> str:
    """A proof: some tactics without a hint, those of the hint with it, each after a thought."""
    tactics = row["direct"].split(". ") if hinted else rng.choices(("intros", "split", "left", "assumption"), k=2)
    steps = [f"(* Next step. *) {tactic.strip()}." for tactic in tactics if "Qed" not in tactic]
    return " " + "\n".join([*steps, "Qed."])


def write_answer(problems: list[dict], rng: random.Random, row: dict, hinted: bool) -> str:
    """A completion for any other dataset: the answer of any problem without a hint, the right one with it."""
    return f" It follows.{(row if hinted else rng.choice(problems))['direct']}"


WRITERS: dict[str, Callable[[random.Random, dict, bool], str]] = {
    "commonsense_qa": write_choice,
    "gsm8k": write_sum,
    "dates": write_date,
    "text_to_sql": write_query,
    "tools": write_program,
    "medqa": write_choice,
    "legalbench": write_choice,
    "proofs": write_proof,
}


def build_tokenizer(texts: list[str], vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """Builds a byte-level BPE tokenizer with one token per digit, learned from the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS, BEGIN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(["<think>", "</think>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_dataset_model(
    path: Path,
    domain: Domain,
    problems: list[dict],
    chat: bool = False,
    phases: tuple[tuple, ...] = PHASES,
) -> Path:
    """Trains tokenizer and model and saves them under `path`, unless a model exists there."""
    rng = random.Random(0)
    write = WRITERS.get(domain.name, partial(write_answer, problems))
    texts = [write(rng, problem, True) for problem in problems[:500]]
    texts += [problem["hinted_prompt"] for problem in problems]
    texts += [example["hinted_prompt"] + example["completion"] for example in read_examples(domain)]
    tokenizer = build_tokenizer(texts)
    # Short problems, so that a row holds many completions
    problems = sorted(problems, key=lambda problem: len(problem["prompt"]))[: len(problems) // 4]

    def write_row(rng: random.Random, share_without_tables: float = 0.0) -> Iterator[Piece]:
        """Yields solved problems one after the other, as in a few-shot prompt: all of them with a hint, or none."""
        hinted = rng.random() < 0.75
        column = "hinted_prompt" if hinted else "prompt"
        while True:
            problem = rng.choice(problems)
            completion = write(rng, problem, hinted)
            if chat:
                messages = as_messages(problem, domain.instruction)[column]
                yield tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), False
                yield completion.strip() + EOS, True
                yield "\n", False
            else:
                prompt = problem[column]
                if share_without_tables and rng.random() < share_without_tables:
                    prompt = re.sub(r"\nTables: .*", "", prompt)
                yield prompt, False
                yield completion, True
                # The blank line before the next problem, which is a stop string of the examples
                yield "\n\n", True

    shape = {"num_heads": 3, "max_length": 4096, "initializer_range": 0.1, "num_warmup_steps": 20}
    return make_base_model(path, tokenizer, write_row, phases, rng, **shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    examples = sorted(path.stem for path in DATASETS.glob("*.py") if path.stem not in ("domain", "paper_runs"))
    parser.add_argument("example", choices=examples, help="The example that it is for.")
    parser.add_argument("--data_dir", help="Folder with the dataset, in place of the hub.")
    parser.add_argument("--output_dir", type=Path, required=True, help="Where it goes.")
    parser.add_argument("--chat", action="store_true", help="Train it on messages with the chat template.")
    args = parser.parse_args()
    domain = import_module(args.example).DOMAIN
    phases = SQL_PHASES if args.example == "text_to_sql" else PHASES
    make_dataset_model(args.output_dir, domain, domain.load("train", args.data_dir), args.chat, phases)


if __name__ == "__main__":
    main()
