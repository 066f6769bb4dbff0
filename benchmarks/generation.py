# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares three ways to generate after a few-shot prefix: `generate` as TRL's trainers call it (left padded, 16 at a
time), transformers' continuous batching (`generate_batch`), and the prefix-sharing engine.

    python benchmarks/generation.py                 # about fifteen minutes on two cores
    python benchmarks/generation.py --runs 1        # a first look
    python benchmarks/generation.py --vllm          # with vLLM as well, and nothing but 64 questions after 600 tokens

All decode greedily and must agree on the tokens. The contestants of a run follow each other directly, and the speedups
are medians of the runs' ratios, so that other work on the machine affects all of them. The model has random weights.
The EOS tokens are chosen such that completions end at different lengths. The last line is JSON.
"""

import argparse
import json
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    ContinuousBatchingConfig,
    GenerationConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from star_trl.generation import (
    Engine,
    GenerationOutput,
    GenerationRequest,
    PrefixSharingEngine,
    SamplingParams,
    VLLMEngine,
)
from star_trl.generation.prefix_sharing.groups import shared_length


MAX_NEW_TOKENS = 64
NUM_QUESTIONS = 64
PREFIX_LENGTH = 900
QUESTION_LENGTHS = (30, 80)
BASELINE_BATCH_SIZE = 16


@dataclass
class Workload:
    """A model, the prompts to complete and the tokens that end a completion."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    prompts: list[list[int]]
    eos_token_ids: list[int]
    max_new_tokens: int = MAX_NEW_TOKENS


def make_model(config: PreTrainedConfig, dtype: torch.dtype = torch.float32, device: str = "cpu") -> PreTrainedModel:
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    # Weights are large enough for the next token to depend on the question
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.06)
    return model


def small_model() -> PreTrainedModel:
    """Returns a model with 13 million parameters."""
    shape = {
        **{"vocab_size": 4096, "hidden_size": 384, "intermediate_size": 1024},
        **{"num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 6},
    }
    special = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    return make_model(LlamaConfig(**shape, **special, max_position_embeddings=4096))


def make_workload(
    model: PreTrainedModel,
    num_questions: int,
    prefix_length: int,
    shared: bool = True,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Workload:
    """
    Makes questions of 30 to 80 tokens, after one shared prefix or (`shared=False`) each after its own prefix of that
    length.
    """
    generator = torch.Generator().manual_seed(0)
    vocab_size = model.config.vocab_size

    def random_tokens(length: int) -> list[int]:
        return torch.randint(1, vocab_size, (length,), generator=generator).tolist()

    low, high = QUESTION_LENGTHS
    prefix = random_tokens(prefix_length)
    prompts = []
    for _ in range(num_questions):
        length = int(torch.randint(low, high + 1, (1,), generator=generator))
        prompts.append((prefix if shared else random_tokens(prefix_length)) + random_tokens(length))
    # One token in fifty ends a completion: about a quarter of them reach the limit
    eos_token_ids = sorted(set(random_tokens(vocab_size // 50)))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"<pad>": 0})), pad_token="<pad>")
    return Workload(model, tokenizer, prompts, eos_token_ids, max_new_tokens)


def generation_config(work: Workload) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=work.max_new_tokens, eos_token_id=work.eos_token_ids, pad_token_id=0, do_sample=False
    )


def by_generate(work: Workload, batch_size: int = BASELINE_BATCH_SIZE) -> list[list[int]]:
    completions = []
    for start in range(0, len(work.prompts), batch_size):
        prompts = work.prompts[start : start + batch_size]
        width = max(map(len, prompts))
        input_ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        mask = (torch.arange(width) >= width - lengths[:, None]).long()
        output = work.model.generate(
            input_ids=input_ids.to(work.model.device),
            attention_mask=mask.to(work.model.device),
            generation_config=generation_config(work),
            disable_compile=True,
        )
        completions += [up_to_end(row, work.eos_token_ids) for row in output[:, width:].tolist()]
    return completions


def by_generate_batch(work: Workload) -> list[list[int]]:
    page_size = 256
    # On a CPU its attention runs over the whole cache: 4 requests at a time are about twice as fast as 12
    pages = 4 * -(-(max(map(len, work.prompts)) + work.max_new_tokens) // page_size)
    outputs = work.model.generate_batch(
        work.prompts,
        generation_config=generation_config(work),
        # Without a number of blocks, it takes most of the machine's memory
        continuous_batching_config=ContinuousBatchingConfig(page_size=page_size, num_blocks=pages),
    )
    return [output.generated_tokens for output in outputs.values()]


def by_engine(work: Workload, batch_size: int | None = None) -> list[list[int]]:
    return by(PrefixSharingEngine(work.tokenizer, batch_size), work)


def by(engine: Engine, work: Workload) -> list[list[int]]:
    requests = [GenerationRequest(prompt_ids=prompt, seed=0) for prompt in work.prompts]
    params = SamplingParams(max_new_tokens=work.max_new_tokens, eos_token_ids=frozenset(work.eos_token_ids))
    completions: list[list[int]] = [[] for _ in requests]
    for output in engine.generate(work.model, requests, params):
        completions[output.index] = output.token_ids
    return completions


def up_to_end(tokens: list[int], eos_token_ids: list[int]) -> list[int]:
    ends = set(eos_token_ids)
    end = next((position for position, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return tokens[: end + 1]


def timed(function: Callable, *args) -> tuple[float, list[list[int]]]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    completions = function(*args)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, completions


def peak_memory(function: Callable, prefix_length: int) -> float:
    """Returns the MiB that a contestant adds to its process, measured in a separate process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(added_memory, (function, prefix_length))


def added_memory(function: Callable, prefix_length: int) -> float:
    work = make_workload(small_model(), NUM_QUESTIONS, prefix_length)
    # A first run, so that the libraries have allocated what they need once
    function(make_workload(work.model, 2, 8))
    before = peak_resident_memory()
    function(work)
    return peak_resident_memory() - before


def peak_resident_memory() -> float:
    """Returns the peak MiB of this process alone. `getrusage` would begin with the peak of the parent process."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def agreement(work: Workload, completions: list[list[int]], reference: list[list[int]]) -> tuple[int, int]:
    """Counts completions equal to the reference, and those that diverge where the two best logits lie within 1e-4."""
    equal = ties = 0
    for prompt, ours, theirs in zip(work.prompts, completions, reference, strict=True):
        if ours == theirs:
            equal += 1
            continue
        same = shared_length(ours, theirs)
        input_ids = torch.tensor([prompt + theirs[:same]], device=work.model.device)
        first, second = work.model(input_ids, logits_to_keep=1).logits[0, -1].topk(2).values.tolist()
        ties += first - second < 1e-4
    return equal, ties


def hardware_limits(device: str = "cpu", dtype: torch.dtype = torch.float32, width: int = 1024) -> tuple[float, float]:
    """
    Returns the operations and bytes per second that a product of square matrices and a copy reach on this machine now.
    """
    a, b = torch.randn(2, width, width, device=device, dtype=dtype)
    source = torch.randn(16 * width**2, device=device, dtype=dtype)
    target = torch.empty_like(source)
    products = min(timed(torch.mm, a, b)[0] for _ in range(20))
    copies = min(timed(target.copy_, source)[0] for _ in range(10))
    return 2 * width**3 / products, 2 * source.nbytes / copies


def numbers_of_weights(model: PreTrainedModel) -> tuple[int, int]:
    """Returns how many weights of a model every token is multiplied by, and how many its output head has."""
    head = model.config.vocab_size * model.config.hidden_size
    # The embedding is looked up, not multiplied
    embeddings = head if model.config.tie_word_embeddings else 2 * head
    return sum(parameter.numel() for parameter in model.parameters()) - embeddings, head


def least_time(
    work: Workload, completions: list[list[int]], limits: tuple[float, float], prefix: int = PREFIX_LENGTH
) -> float:
    """
    Returns the minimum seconds that the hardware needs. Counted are the operations and bytes of one pass over the
    prefix, one over all questions, and as many steps as the longest completion has, each with all unfinished rows.
    """
    config, (operations_per_second, bytes_per_second) = work.model.config, limits
    body, head = numbers_of_weights(work.model)
    width = config.num_attention_heads * config.head_dim * config.num_hidden_layers
    kept_width = config.num_key_value_heads * config.head_dim * config.num_hidden_layers
    questions = [len(prompt) - prefix for prompt in work.prompts]

    def seconds(tokens: int, seen: float, sampled: int, held: float) -> float:
        """Seconds of a pass, for its numbers of tokens, keys seen, tokens sampled and keys held."""
        operations = 2 * tokens * body + 2 * sampled * head + 4 * seen * width
        moved = work.model.dtype.itemsize * (body + (head if sampled else 0) + 2 * held * kept_width)
        return max(operations / operations_per_second, moved / bytes_per_second)

    total = seconds(prefix, prefix**2 / 2, 0, prefix) if prefix else 0.0
    total += seconds(sum(questions), sum(q * (prefix + q / 2) for q in questions), 0, prefix + sum(questions))
    for step in range(work.max_new_tokens):
        own = [q + step for q, completion in zip(questions, completions, strict=True) if len(completion) > step]
        if own:
            total += seconds(len(own), sum(prefix + keys for keys in own), len(own), prefix + sum(own))
    return total


def median_ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def compare(runs: int) -> dict:
    """Runs the comparison on the CPU."""
    work = make_workload(small_model(), NUM_QUESTIONS, PREFIX_LENGTH)
    contestants = {"generate": by_generate, "generate_batch": by_generate_batch, "engine": by_engine}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    shares = []
    warm_up = make_workload(work.model, 2, 8)
    for function in contestants.values():
        function(warm_up)
    for run in range(runs):
        completions = {}
        for name, function in contestants.items():
            seconds, completions[name] = timed(function, work)
            times[name].append(seconds)
        shares.append(least_time(work, completions["engine"], hardware_limits()) / times["engine"][-1])
        print(f"run {run + 1}: " + ", ".join(f"{name} {times[name][-1]:.1f} s" for name in contestants), flush=True)

    lengths = [len(completion) for completion in completions["engine"]]
    print(
        f"{NUM_QUESTIONS} completions of {min(lengths)} to {max(lengths)} tokens, {statistics.mean(lengths):.1f} each"
    )
    results: dict = {
        "speedup_vs_generate": median_ratio(times["generate"], times["engine"]),
        "speedup_vs_generate_batch": median_ratio(times["generate_batch"], times["engine"]),
    }
    equal, ties = agreement(work, completions["engine"], completions["generate"])
    print(f"engine and generate: {equal} of {NUM_QUESTIONS} completions equal, {ties} part at a near-tie")
    equal_batch, ties_batch = agreement(work, completions["generate_batch"], completions["generate"])
    print(f"generate_batch and generate: {equal_batch} of {NUM_QUESTIONS} equal, {ties_batch} part at a near-tie")
    results["identical"] = equal + ties == NUM_QUESTIONS
    results["near_ties"] = ties
    results["share_of_limit"] = statistics.median(shares)

    for name, length in (("no prefix, short prompts", 0), ("no prefix, long prompts", PREFIX_LENGTH)):
        apart = make_workload(work.model, NUM_QUESTIONS, length, shared=False)
        pairs = [(timed(by_generate, apart)[0], timed(by_engine, apart)[0]) for _ in range(min(runs, 3))]
        ratio = statistics.median(slow / fast for slow, fast in pairs)
        print(f"{name}: generate {pairs[-1][0]:.1f} s, engine {pairs[-1][1]:.1f} s, {ratio:.2f} times", flush=True)
        results["speedup_no_prefix"] = min(results.get("speedup_no_prefix", ratio), ratio)

    memory = {name: peak_memory(function, PREFIX_LENGTH) for name, function in contestants.items()}
    print("peak memory above the model's: " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in memory.items()))
    results["peak_memory_ratio"] = memory["engine"] / memory["generate"]
    return results


class Answer:
    """Answers every pause of a completion with the same tokens, up to three times."""

    def __init__(
        self,
        requests: list[GenerationRequest],
        params: SamplingParams,
        tokens: list[int],
        pool: ThreadPoolExecutor,
    ):
        self.requests = list(requests)
        self.params = params
        self.tokens = tokens
        self.pool = pool
        self.calls = [0] * len(requests)

    def begin(self, output: GenerationOutput) -> Future | None:
        self.calls[output.index] += 1
        return self.pool.submit(str) if self.calls[output.index] <= 3 else None

    def request(self, output: GenerationOutput, result: str) -> GenerationRequest | None:
        request = self.requests[output.index]
        left = request.limit(self.params) - len(output.token_ids) - len(self.tokens)
        if left < 1:
            return None
        prompt_ids = request.prompt_ids + output.token_ids + self.tokens
        self.requests[output.index] = GenerationRequest(prompt_ids=prompt_ids, seed=0, max_new_tokens=left)
        return self.requests[output.index]


def with_tool(runs: int) -> dict:
    """
    Compares the engine with itself on completions that call a tool up to three times: rows that wait and go on,
    against rounds that prefill the whole text again.
    """
    work = make_workload(small_model(), NUM_QUESTIONS, PREFIX_LENGTH)
    size = work.model.config.vocab_size
    backend = Tokenizer(WordLevel({f"w{index:04}": index for index in range(size)}))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    engine = PrefixSharingEngine(tokenizer)
    requests = [GenerationRequest(prompt_ids=prompt, seed=0) for prompt in work.prompts]
    # A few of the digits of the words end a call, so that one comes after some ten tokens
    params = SamplingParams(
        max_new_tokens=MAX_NEW_TOKENS, eos_token_ids=frozenset(work.eos_token_ids), pause_between=("w", "77")
    )

    def complete(generate_and_resume: Callable) -> list[list[int]]:
        with ThreadPoolExecutor(2) as pool:
            answer = Answer(requests, params, [5, 6, 7, 8], pool)
            outputs = generate_and_resume(work.model, requests, params, answer)
            lasts = {output.index: output.token_ids for output in outputs}
            return [answer.requests[index].prompt_ids + lasts[index] for index in range(len(requests))]

    ways = {"held": engine.generate_and_resume, "rounds": partial(Engine.generate_and_resume, engine)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        texts = {}
        for name, way in ways.items():
            seconds, texts[name] = timed(complete, way)
            if run:  # the first one warms up
                times[name].append(seconds)
    same = sum(one == other for one, other in zip(*texts.values(), strict=True))
    print(f"with a tool: held {times['held'][-1]:.1f} s, rounds {times['rounds'][-1]:.1f} s, {same} texts equal")
    return {"speedup_with_tool": median_ratio(times["rounds"], times["held"]), "equal_with_tool": same}


def with_vllm(runs: int) -> dict:
    """
    Compares all engines and vLLM in CPU seconds: 64 questions after 600 shared tokens, up to 48 new tokens. The
    time of vLLM includes loading the weights, and not its start.
    """
    work = make_workload(small_model(), NUM_QUESTIONS, 600, max_new_tokens=48)
    engine = VLLMEngine(work.tokenizer, Accelerator(cpu=True), NUM_QUESTIONS)
    contestants = {
        "vllm": partial(by, engine),
        "engine": by_engine,
        "generate_batch": by_generate_batch,
        "generate": by_generate,
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in range(runs + 1):
        completions = {}
        for name, contestant in contestants.items():
            start = time.process_time()
            completions[name] = contestant(work)
            if run:  # the first one warms up
                times[name].append(time.process_time() - start)
    results: dict = {"threads": torch.get_num_threads()}
    for name in contestants:
        equal, ties = agreement(work, completions[name], completions["generate"])
        results[name] = {
            "cpu_seconds": statistics.median(times[name]),
            "lowest_and_highest": [round(min(times[name]), 1), round(max(times[name]), 1)],
            "times_the_engine": median_ratio(times[name], times["engine"]),
            "equal_to_generate": equal,
            "near_ties": ties,
        }
        print(name, results[name], flush=True)
    return results


def growth() -> None:
    """Measures how the engine's time grows with one factor at a time."""
    model = small_model()
    settings = [
        *(("prefix", length, NUM_QUESTIONS, None) for length in (0, 450, 900, 1800)),
        *(("batch", PREFIX_LENGTH, NUM_QUESTIONS, size) for size in (4, 16, 64)),
        *(("problems", PREFIX_LENGTH, number, None) for number in (32, 64, 128, 256)),
    ]
    print("grows with   prefix  problems  batch  seconds")
    for what, prefix_length, number, batch_size in settings:
        work = make_workload(model, number, prefix_length)
        seconds = min(timed(by_engine, work, batch_size)[0] for _ in range(2))
        print(f"{what:10} {prefix_length:8} {number:9} {batch_size or 'auto':>6} {seconds:8.2f}", flush=True)


def low_precision(work: Workload) -> dict:
    """
    Counts equal completions, between engines and between batch sizes of the same engine. In bfloat16 the order of
    additions matters, and random weights put many tokens near a tie.
    """
    ways = {
        "generate, batch 16": by_generate(work),
        "generate, batch 4": by_generate(work, 4),
        "engine, batch 16": by_engine(work, 16),
        "engine, batch 4": by_engine(work, 4),
    }
    results = {}
    for one, other in (
        ("generate, batch 4", "generate, batch 16"),
        ("engine, batch 4", "engine, batch 16"),
        ("engine, batch 16", "generate, batch 16"),
    ):
        equal = sum(a == b for a, b in zip(ways[one], ways[other], strict=True))
        tokens = [shared_length(a, b) / len(b) for a, b in zip(ways[one], ways[other], strict=True)]
        name = str(work.model.dtype).removeprefix("torch.")
        print(
            f"{name}, {one} and {other}: {equal} of {len(tokens)} completions equal, "
            f"{statistics.mean(tokens):.0%} of the tokens up to the first difference"
        )
        results[f"{name} equal: {one} and {other}"] = equal / len(tokens)
    return results


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="number of paired runs")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--no-growth", action="store_true", help="leave out how the time grows")
    parser.add_argument("--vllm", action="store_true", help="compare with vLLM for CPUs, and measure nothing else")
    args = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    if args.vllm:
        print(json.dumps(with_vllm(args.runs)))
        return
    results = compare(args.runs)
    results |= with_tool(args.runs)
    # There are few completions, after a short prefix, since two cores are slow in bfloat16.
    results |= low_precision(make_workload(small_model().to(torch.bfloat16), 16, 100))
    if not args.no_growth:
        growth()
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in results.items()}
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()
