# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
A tiny model with a tokenizer of its own, so that the examples of datasets run from end to end, on all rows, without a
GPU and without the hub.

It learns the *form* of an answer, and how a hint is used, and nothing about the questions: in what it is trained on,
the answers are random. So on CommonsenseQA it is right one time in five, and more often with a hint; on GSM8K,
on the dates and on text to SQL it is right with a hint only. What a GPU adds is a real model.

```bash
python examples/tiny_model.py commonsense_qa --data_dir path/to/commonsense_qa --output_dir runs/tiny-csqa
python examples/commonsense_qa.py --output_dir runs/csqa --model_name_or_path runs/tiny-csqa \
    --data_dir path/to/commonsense_qa --num_iterations 1 --initial_steps 10 \
    --use_cpu --bf16 false --gradient_checkpointing false --report_to none
```

On all rows, with the authors' few-shot examples (`--prompts`), rationales solve 20.3% of the 9,734 CommonsenseQA
problems and rationalization another 53.6%; of the 7,467 of GSM8K it is 0.5% and 26.4%, of the 576 of GeoQuery none and
5.6%.
"""

import argparse
import random
import re
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

import commonsense_qa
import dates
import gsm8k
import legalbench
import medqa
import proofs
import text_to_sql
import tools
from common import Task, as_messages, read_examples
from from_scratch import train_from_scratch


PAD, EOS, BEGIN = "<|endoftext|>", "<|im_end|>", "<|im_start|>"
# That of Qwen 3, without tools: with `enable_thinking=False` the thinking is there already, and empty.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# (steps, rows, tokens in a row): the last one is as long as a few-shot prompt.
PHASES = ((250, 8, 256), (80, 2, 1280))
# To copy a whole query takes longer to learn, and needs more examples: most of the short rows are without the tables.
SQL_PHASES = ((400, 8, 256), (80, 2, 1280))
SHARE_WITHOUT_TABLES = 0.8
MODULES = (commonsense_qa, gsm8k, dates, text_to_sql, tools, medqa, legalbench, proofs)
TASKS = {module.TASK.name: module.TASK for module in MODULES}


def write_choice(rng: random.Random, row: dict, hinted: bool) -> str:
    """A completion for multiple choice: any of them without a hint, the right one with it."""
    letter = row["answer"] if hinted else rng.choice("abcde"[: len(row["choices"])])
    return f" The answer must fit the question. Therefore, the answer is ({letter})."


def write_sum(rng: random.Random, row: dict, hinted: bool) -> str:
    """A completion for GSM8K: any number without a hint, the right one with it, behind a sum that comes to it."""
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
    """A completion for GSM8K with Python: as `write_sum`, with a program that comes to the number."""
    answer = row["answer"].replace(",", "") if hinted else str(rng.randrange(1, 100))
    return f" That is a sum.\n```python\nprint({answer}+0)\n```\n```output\n{answer}\n```\n#### {answer}"


def write_proof(rng: random.Random, row: dict, hinted: bool) -> str:
    """A proof: some tactics without a hint, those of the hint with it, each behind a thought."""
    tactics = row["direct"].split(". ") if hinted else rng.choices(("intros", "split", "left", "assumption"), k=2)
    steps = [f"(* Next step. *) {tactic.strip()}." for tactic in tactics if "Qed" not in tactic]
    return " " + "\n".join([*steps, "Qed."])


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
    """Byte-level BPE with one token per digit, learned from the texts."""
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


def make_row(
    rng: random.Random, tokenizer: PreTrainedTokenizerFast, task: Task, problems: list[dict], chat: bool, length: int
) -> tuple[list[int], list[int]]:
    """Solved problems one behind the other, as in a few-shot prompt: token ids, and labels on the completions."""
    input_ids: list[int] = []
    labels: list[int] = []
    hinted = rng.random() < 0.75
    while len(input_ids) < length:
        problem = rng.choice(problems)
        column = "hinted_prompt" if hinted else "prompt"
        completion = WRITERS[task.name](rng, problem, hinted)
        if chat:
            messages = as_messages(problem, task.instruction)[column]
            prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            completion, behind = completion.strip() + EOS, "\n"
        else:
            prompt, behind = problem[column], "\n\n"
            if "\nTables: " in prompt and length < SQL_PHASES[-1][-1] and rng.random() < SHARE_WITHOUT_TABLES:
                prompt = re.sub(r"\nTables: .*", "", prompt)
        parts = [tokenizer(text)["input_ids"] for text in (prompt, completion, behind)]
        input_ids += sum(parts, [])
        # Text ends with the blank line before the next problem, which is what the examples stop at
        labels += [-100] * len(parts[0]) + parts[1] + (parts[2] if not chat else [-100] * len(parts[2]))
    return input_ids[:length], labels[:length]


def make_model(
    task: Task,
    problems: list[dict],
    chat: bool = False,
    phases: tuple[tuple[int, int, int], ...] = PHASES,
    seed: int = 0,
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """Trains tokenizer and model from scratch; the same seed gives the same ones."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    examples = read_examples(Path(__file__).parent / "prompts" / task.name, task.direct_pattern)
    texts = [WRITERS[task.name](rng, problem, True) for problem in problems[:500]]
    texts += [problem["hinted_prompt"] for problem in problems]
    tokenizer = build_tokenizer(texts + [example["hinted_prompt"] + example["completion"] for example in examples])
    # Short problems, so that a row holds many completions
    problems = sorted(problems, key=lambda problem: len(problem["prompt"]))[: len(problems) // 4]

    def make_batch(rng, tokenizer, rows, length):
        batch = [make_row(rng, tokenizer, task, problems, chat, length) for _ in range(rows)]
        return tuple(torch.tensor(part) for part in zip(*batch, strict=True))

    model = train_from_scratch(
        tokenizer, rng, phases, make_batch, num_heads=3, max_length=4096, initializer_range=0.1, num_warmup_steps=20
    )
    return model, tokenizer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data_dir")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--chat", action="store_true")
    args = parser.parse_args()
    task = TASKS[args.task]
    phases = SQL_PHASES if task is text_to_sql.TASK else PHASES
    model, tokenizer = make_model(task, task.load("train", args.data_dir), args.chat, phases)
    tokenizer.save_pretrained(args.output_dir)
    model.save_pretrained(args.output_dir)


if __name__ == "__main__":
    main()
