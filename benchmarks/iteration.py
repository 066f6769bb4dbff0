# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares one outer iteration of STaR (sampling, rationalization, fine-tuning, evaluation before and after) with what a
user of TRL would write by hand: `generate` with left-padded batches of 16, and `SFTTrainer` on the same sequences.

    python benchmarks/iteration.py                 # about twenty minutes on two cores
    python benchmarks/iteration.py --runs 1        # a first look
    python benchmarks/iteration.py --calculator    # completions call a tool, one and a half times on average
    python benchmarks/iteration.py --bf16          # both in bf16
    python benchmarks/iteration.py --bf16 --size 135M --problems 256 --alone  # only the share of the limit

Both decode greedily with the same prompts and must keep the same samples. The contestants of a run follow each other
directly, and the speedups are medians of the runs' ratios, so that other work on the machine affects both. The model
has random weights in fp32, and a quarter of its completions counts as right. In bf16, rounding decides between nearly
equal tokens, so that some samples differ. Where a completion calls a tool, `generate` ends, and is called again with
the result. The last line is JSON.
"""

import argparse
import copy
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from generation import (
    MAX_NEW_TOKENS,
    Workload,
    by_generate,
    hardware_limits,
    least_time,
    make_model,
    make_workload,
    numbers_of_weights,
    peak_resident_memory,
    small_model,
)
from star_trl import RationaleSampler, RationalizationSampler, Sampler, STaRConfig, STaRTrainer
from star_trl.ledger.ledger import Ledger
from star_trl.samplers import Tool, ToolSampler


NUM_PROBLEMS = 64
NUM_HELD_OUT = 32
PREFIX_LENGTH = 900
NUM_EXAMPLES = 6
HINT = "w7"
# Every 25th token of the vocabulary calls the tool, which always answers with the same token.
CALL, RESULT = 25, 7
TOOL = Tool(run=lambda call: f" w{RESULT}", begin="w", end="=")
TRAINING = {
    "max_steps": 4,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "learning_rate": 1e-5,
    "max_length": None,
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_strategy": "no",
}


@dataclass
class Task:
    """
    A model, its tokenizer, few-shot examples that precede every prompt, problems, held-out problems, whether the model
    computes in bf16, and whether it calls a tool.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    examples: list[dict[str, str]]
    problems: list[dict[str, str]]
    held_out: list[dict[str, str]]
    eos_token_ids: list[int]
    bf16: bool
    calculator: bool

    def calls(self, token: int) -> bool:
        return self.calculator and is_call(token)


@dataclass
class Outcome:
    """What one contestant did: the seconds of each phase and the samples that it kept."""

    seconds: dict[str, float] = field(default_factory=dict)
    kept: set[tuple[int, str, tuple[int, ...]]] = field(default_factory=set)
    completions: dict[str, list[list[int]]] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def model_of_135_million() -> PreTrainedModel:
    """Returns a model with the shape of SmolLM2-135M."""
    shape = {
        **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "tie_word_embeddings": True},
        **{"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
    }
    special = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    return make_model(LlamaConfig(**shape, **special, max_position_embeddings=4096))


SIZES = {"13M": small_model, "135M": model_of_135_million}


def is_call(token: int) -> bool:
    return token % CALL == 0


def make_task(
    prefix_length: int,
    model: PreTrainedModel,
    bf16: bool = False,
    calculator: bool = False,
    num_problems: int = NUM_PROBLEMS,
) -> Task:
    """
    Makes problems of 30 to 80 words, one token each, behind few-shot examples of `prefix_length` tokens in all.
    """
    work = make_workload(model, num_problems + NUM_HELD_OUT, prefix_length)
    words = [f"w{index}=" if is_call(index) else f"w{index}" for index in range(model.config.vocab_size)]
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="w1"))
    backend.pre_tokenizer = WhitespaceSplit()
    end = words[work.eos_token_ids[0]]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=words[0], eos_token=end)
    model.generation_config.eos_token_id = work.eos_token_ids

    def text(ids: list[int]) -> str:
        return " ".join(words[index] for index in ids)

    prefix, size = work.prompts[0][:prefix_length], prefix_length // (2 * NUM_EXAMPLES)
    parts = [text(prefix[start : start + size]) for start in range(0, prefix_length, size)] if prefix_length else []
    examples = [
        {"prompt": prompt, "completion": f" {completion}", "hinted_prompt": prompt}
        for prompt, completion in zip(parts[::2], parts[1::2], strict=True)
    ]
    questions = [text(prompt[prefix_length:]) for prompt in work.prompts]
    rows = [{"prompt": question, "hinted_prompt": f"{question} {HINT}"} for question in questions]
    problems, held_out = rows[:num_problems], rows[num_problems:]
    return Task(model, tokenizer, examples, problems, held_out, work.eos_token_ids, bf16, calculator)


def is_right(completion_ids: list[int]) -> bool:
    return completion_ids[0] % 4 == 0


def reward(completion_ids: list[list[int]], **columns) -> list[float]:
    return [float(is_right(ids)) for ids in completion_ids]


def by_hand(task: Task) -> Outcome:
    """Runs the loop with `generate` and `SFTTrainer`."""
    outcome = Outcome()
    prefix = "\n\n".join(example["prompt"] + example["completion"] for example in task.examples)
    stops = [*task.eos_token_ids, *filter(task.calls, range(task.model.config.vocab_size))]

    def generate(problems: list[dict[str, str]], column: str) -> list[tuple[list[int], list[int]]]:
        texts = ["\n\n".join(filter(None, [prefix, problem[column]])) for problem in problems]
        prompts = task.tokenizer(texts)["input_ids"]
        completions: list[list[int]] = [[] for _ in prompts]
        unfinished = list(range(len(prompts)))
        while unfinished:
            rest = max(MAX_NEW_TOKENS - len(completions[index]) for index in unfinished)
            begun = [prompts[index] + completions[index] for index in unfinished]
            work = Workload(task.model, task.tokenizer, begun, stops, rest)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=task.bf16):
                written = by_generate(work)
            for index, tokens in zip(unfinished, written, strict=True):
                result = [RESULT] if task.calls(tokens[-1]) and not ended(tokens, task) else []
                completions[index] = (completions[index] + tokens + result)[:MAX_NEW_TOKENS]
            unfinished = [
                index
                for index in unfinished
                if len(completions[index]) < MAX_NEW_TOKENS and not ended(completions[index], task)
            ]
        return list(zip(prompts, completions, strict=True))

    def clock(name: str, start: float) -> float:
        outcome.seconds[name] = outcome.seconds.get(name, 0.0) + time.perf_counter() - start
        return time.perf_counter()

    start = time.perf_counter()
    generate(task.held_out, "prompt")
    start = clock("evaluation", start)
    sequences = []

    def sample(indices: list[int], column: str, sampler: str) -> list[int]:
        failed = []
        written = generate([task.problems[index] for index in indices], column)
        plain = task.tokenizer(
            ["\n\n".join(filter(None, [prefix, task.problems[index]["prompt"]])) for index in indices]
        )["input_ids"]
        for index, prompt, (_, completion) in zip(indices, plain, written, strict=True):
            if ended(completion, task) and is_right(completion):
                outcome.kept.add((index, sampler, tuple(completion)))
                sequences.append((prompt, completion))
            else:
                failed.append(index)
        return failed

    failed = sample(list(range(len(task.problems))), "prompt", "rationale")
    sample(failed, "hinted_prompt", "rationalization")
    start = clock("sampling", start)
    rows = [
        {
            "input_ids": prompt + completion,
            # What the tool has written carries no loss
            "completion_mask": [0] * len(prompt) + [1] + [int(not task.calls(token)) for token in completion[:-1]],
        }
        for prompt, completion in sequences
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=task.model,
            args=SFTConfig(output_dir=folder, **{**TRAINING, "bf16": task.bf16}),
            train_dataset=Dataset.from_list(rows),
            processing_class=task.tokenizer,
        )
        trainer.train()
    start = clock("fine-tuning", start)
    generate(task.held_out, "prompt")
    clock("evaluation", start)
    return outcome


def ended(completion: list[int], task: Task) -> bool:
    return completion[-1] in task.eos_token_ids


def by_star_trl(task: Task) -> Outcome:
    """Runs `STaRTrainer`. Its seconds are those of the whole `train()`, by its own account of the phases."""
    outcome = Outcome()
    samplers: list[Sampler] = [RationaleSampler(), RationalizationSampler()]
    if task.calculator:
        samplers = [ToolSampler(sampler, TOOL) for sampler in samplers]
    with tempfile.TemporaryDirectory() as folder:
        settings = {key: value for key, value in TRAINING.items() if key not in ("max_steps", "save_strategy")}
        trainer = STaRTrainer(
            model=task.model,
            args=STaRConfig(
                output_dir=folder,
                num_iterations=1,
                initial_steps=TRAINING["max_steps"],
                max_completion_length=MAX_NEW_TOKENS,
                html_report=False,
                save_strategy="no",
                **{**settings, "bf16": task.bf16},
            ),
            reward_funcs=reward,
            samplers=samplers,
            few_shot_examples=task.examples or None,
            train_dataset=Dataset.from_list(task.problems),
            eval_dataset=Dataset.from_list(task.held_out),
            processing_class=task.tokenizer,
        )
        task.model.generation_config.eos_token_id = task.eos_token_ids  # trainers leave the tokenizer's alone
        start = time.perf_counter()
        trainer.train()
        total = time.perf_counter() - start
        logs = {key: value for entry in trainer.state.log_history for key, value in entry.items()}
        evaluations = [entry["eval_runtime"] for entry in trainer.state.log_history if "eval_runtime" in entry]
        outcome.seconds = {
            "evaluation": sum(evaluations),
            "sampling": logs["seconds/sample"],
            "fine-tuning": logs["seconds/fine_tune"],
        }
        outcome.seconds["other"] = total - outcome.total
        samples = Ledger(folder).read(1)
        outcome.kept = {
            (sample.problem_id, sample.sampler, tuple(sample.completion_ids)) for sample in samples if sample.kept
        }
        for sampler in ("rationale", "rationalization"):
            outcome.completions[sampler] = [each.completion_ids for each in samples if each.sampler == sampler]
    return outcome


CONTESTANTS: dict[str, Callable[[Task], Outcome]] = {"by hand": by_hand, "star-trl": by_star_trl}


def fresh(task: Task) -> Task:
    """Gives the task a model of its own. In bf16, a second `SFTTrainer` on the same one would compute in fp32."""
    return replace(task, model=copy.deepcopy(task.model))


def task_of(prefix_length: int, args: argparse.Namespace) -> Task:
    return make_task(prefix_length, SIZES[args.size](), args.bf16, args.calculator, args.problems)


def added_memory(contestant: str, prefix_length: int, args: argparse.Namespace) -> float:
    task = task_of(prefix_length, args)
    before = peak_resident_memory()
    CONTESTANTS[contestant](task)
    return peak_resident_memory() - before


def least_sampling(task: Task, outcome: Outcome, prefix_length: int, limits: tuple[float, float]) -> float:
    """Returns the minimum seconds for the samples of both samplers."""
    seconds = 0.0
    for completions in outcome.completions.values():
        lengths = [len(problem["prompt"].split()) for problem in task.problems][: len(completions)]
        prompts = [[0] * (prefix_length + length) for length in lengths]
        work = Workload(task.model, task.tokenizer, prompts, task.eos_token_ids)
        seconds += least_time(work, completions, limits, prefix_length)
    return seconds


def least_fine_tuning(task: Task, outcome: Outcome, prefix_length: int, limits: tuple[float, float]) -> float:
    """
    Returns the minimum seconds for the steps, whose rows share the prefix. A backward pass has twice the operations of
    a forward pass. The head is counted where there is a label.
    """
    config = task.model.config
    body, head = numbers_of_weights(task.model)
    width = config.num_attention_heads * config.head_dim * config.num_hidden_layers
    rows = [(len(task.problems[index]["prompt"].split()), len(ids)) for index, _, ids in outcome.kept]
    prompt, completion = (statistics.mean(values) for values in zip(*rows, strict=True))
    per_step = TRAINING["per_device_train_batch_size"]
    own = prompt + completion
    tokens = prefix_length + per_step * own
    seen = prefix_length**2 / 2 + per_step * own * (prefix_length + own / 2)
    operations = 2 * tokens * body + 2 * per_step * completion * head + 4 * seen * width
    return 3 * TRAINING["max_steps"] * operations / limits[0]


def speedups(pairs: list[tuple[Outcome, Outcome]]) -> dict:
    return {
        "speedup": statistics.median(slow.total / fast.total for slow, fast in pairs),
        **{
            f"speedup {phase}": statistics.median(slow.seconds[phase] / fast.seconds[phase] for slow, fast in pairs)
            for phase in ("sampling", "fine-tuning", "evaluation")
        },
        "same samples kept": all(slow.kept == fast.kept for slow, fast in pairs),
    }


def compare(prefix_length: int, args: argparse.Namespace) -> dict:
    contestants = {"star-trl": by_star_trl} if args.alone else CONTESTANTS
    task = task_of(prefix_length, args)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contestants}
    shares: dict[str, list[float]] = {"sampling": [], "fine-tuning": []}
    for run in range(args.runs):
        for name, contestant in contestants.items():
            outcomes[name].append(contestant(fresh(task)))
        operations, moved = hardware_limits(dtype=torch.bfloat16 if args.bf16 else torch.float32)
        limits = (operations, moved * (2 if args.bf16 else 1))  # each number has half of the bytes that are counted
        ours = outcomes["star-trl"][-1]
        least = {
            "sampling": least_sampling(task, ours, prefix_length, limits),
            "fine-tuning": least_fine_tuning(task, ours, prefix_length, limits),
        }
        for phase, seconds in least.items():
            shares[phase].append(seconds / ours.seconds[phase])
        for name in contestants:
            phases = ", ".join(f"{phase} {value:.1f} s" for phase, value in outcomes[name][-1].seconds.items())
            print(
                f"prefix {prefix_length}, run {run + 1}, {name}: {outcomes[name][-1].total:.1f} s ({phases})",
                flush=True,
            )
    results = {f"share of limit {phase}": statistics.median(values) for phase, values in shares.items()}
    results["kept"] = len(outcomes["star-trl"][0].kept)
    if not args.alone:
        results |= speedups(list(zip(outcomes["by hand"], outcomes["star-trl"], strict=True)))
    for name in contestants:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[f"peak memory, {name} (MiB)"] = pool.apply(added_memory, (name, prefix_length, args))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="number of paired runs")
    parser.add_argument("--prefix", type=int, nargs="+", default=[PREFIX_LENGTH, 0], help="lengths of the prefix")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--bf16", action="store_true", help="compute in bf16")
    parser.add_argument("--calculator", action="store_true", help="let completions call a tool")
    parser.add_argument("--alone", action="store_true", help="run star-trl alone")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds, for a machine with other work")
    parser.add_argument("--problems", type=int, default=NUM_PROBLEMS, help="number of training problems")
    parser.add_argument("--size", choices=SIZES, default="13M", help="number of parameters")
    args = parser.parse_args()
    logging.set_verbosity_error()
    disable_progress_bars()
    torch.set_num_threads(args.threads)
    if args.cpu_time:
        # The clocks that the trainers and this script read
        time.perf_counter = time.monotonic = time.time = time.process_time
    results = {}
    for prefix_length in args.prefix:
        for name, value in compare(prefix_length, args).items():
            results[f"{name}, prefix {prefix_length}"] = round(value, 3) if isinstance(value, float) else value
    print(json.dumps(results))


if __name__ == "__main__":
    main()
