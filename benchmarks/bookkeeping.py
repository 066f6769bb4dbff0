# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Measures what a run does besides computing with the model: prompts, scores, the ledger, the training set and the
report. The engine answers at once, half of the problems are solved, and each iteration fine-tunes for one step.

    python benchmarks/bookkeeping.py                                        # 100,000 problems, about a minute
    python benchmarks/bookkeeping.py --num_examples 20 --num_iterations 20  # about six minutes
    python benchmarks/bookkeeping.py --problems 20000 --profile             # the functions that take the time

The last line is JSON: CPU seconds of each phase, by iteration, and the peak memory.
"""

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from generation import peak_resident_memory
from star_trl import STaRConfig, STaRTrainer
from star_trl.generation import Engine, GenerationOutput


PROMPT_LENGTH = 50
COMPLETION_LENGTH = 70
EXAMPLE_LENGTH = 50
VOCABULARY = 1000


class InstantEngine(Engine):
    """Answers at once with tokens that depend on the request's position."""

    tokens = [*range(2, VOCABULARY), *range(2, COMPLETION_LENGTH + 1)]

    def generate(self, model, requests, params) -> Iterator[GenerationOutput]:
        for index in range(len(requests)):
            start = index % (VOCABULARY - 2)
            tokens = [*self.tokens[start : start + COMPLETION_LENGTH - 1], 1]
            yield GenerationOutput(index=index, token_ids=tokens, finish_reason="eos")


def reward(completions: list[str], number: list[int], **columns: Any) -> list[float]:
    return [float(value % 2) for value in number]


def words(start: int, length: int) -> str:
    return " ".join(f"w{2 + (start * 7 + position * 13) % (VOCABULARY - 2)}" for position in range(length))


def make_trainer(folder: str, args: argparse.Namespace) -> STaRTrainer:
    backend = Tokenizer(WordLevel({f"w{index}": index for index in range(VOCABULARY)}, unk_token="w2"))
    backend.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="w0", eos_token="w1")
    config = LlamaConfig(
        **{"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "max_position_embeddings": 4096, "bos_token_id": None, "eos_token_id": 1},
        pad_token_id=0,
    )
    problems = [
        {"prompt": text, "hinted_prompt": f"{text} w7", "answer": "w7", "number": index}
        for index in range(args.problems)
        for text in [words(index, PROMPT_LENGTH)]
    ]
    examples = [
        {"prompt": words(-number, EXAMPLE_LENGTH // 2), "completion": f" {words(-number, EXAMPLE_LENGTH // 2)}"}
        for number in range(1, args.num_examples + 1)
    ]
    trainer = STaRTrainer(
        model=LlamaForCausalLM(config),
        args=STaRConfig(
            output_dir=folder,
            num_iterations=args.num_iterations,
            initial_steps=1,
            step_growth=1.0,
            per_device_train_batch_size=2,
            max_completion_length=128,
            max_length=None,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        ),
        reward_funcs=reward,
        few_shot_examples=[{**example, "hinted_prompt": example["prompt"]} for example in examples] or None,
        train_dataset=Dataset.from_list(problems),
        processing_class=tokenizer,
    )
    trainer.engine = InstantEngine()
    return trainer


def clocked(seconds: dict[str, list[float]], name: str, function: Callable) -> Callable:
    """Records the CPU seconds of each call of a function."""

    def call(*args, **kwargs):
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.setdefault(name, []).append(round(time.process_time() - start, 2))

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=100_000)
    parser.add_argument("--num_examples", type=int, default=0, help="few-shot examples of 50 tokens each")
    parser.add_argument("--num_iterations", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="print the functions that take the most time")
    args = parser.parse_args()
    logging.set_verbosity_error()
    disable_progress_bars()
    torch.set_num_threads(1)
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        trainer = make_trainer(folder, args)
        seconds = {"setup": [round(time.process_time() - start, 2)]}
        for name in ("sample", "select", "fine_tune"):
            setattr(trainer, name, clocked(seconds, name, getattr(trainer, name)))
        trainer.outer_run.end_iteration = clocked(seconds, "end_iteration", trainer.outer_run.end_iteration)
        before = peak_resident_memory()
        if args.profile:
            profile.enable()
        trainer.train()
        profile.disable()
    if args.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
    peak = peak_resident_memory()
    print(json.dumps({**seconds, "peak_mib": round(peak), "peak_mib_before": round(before)}))


if __name__ == "__main__":
    main()
