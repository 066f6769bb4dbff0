# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
What `test_distributed.py` runs in several processes: `main`, or `distributed_run.py BACKEND BASE_MODEL OUTPUT_DIR`.
"""

import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import astuple
from datetime import timedelta
from pathlib import Path

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import LlamaForCausalLM, TrainerCallback

from star_trl import RationaleSampler, STaRConfig, STaRTrainer, has_run
from star_trl.fine_tuning.inner_trainer import num_parameters
from star_trl.fine_tuning.original_weights import OriginalWeights, frozen_weights_digest, weights_digest
from star_trl.generation import GenerationRequest, PrefixSharingEngine, SamplingParams
from star_trl.generation.policy import whole_parameters
from star_trl.preference import IterativeRPOConfig, IterativeRPOTrainer
from star_trl.quiet import QuietSTaRConfig, QuietSTaRTrainer


sys.path.append(str(Path(__file__).parents[1]))
from support.sums import EXAMPLES, PROBLEMS  # noqa: E402
from support.tiny_models import ON_A_CPU, build_model, build_tokenizer, odd_length  # noqa: E402


def survives(completions, log_metric=lambda name, value: None, **kwargs):
    log_metric("rank", torch.distributed.get_rank())
    return [1.0] * len(completions)


def killed(completions, **kwargs):
    """Kills one process when it scores its first completions."""
    if torch.distributed.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return survives(completions)


def survives_slowly(completions, **kwargs):
    """Keeps one process longer than the timeout of the collectives in the first phase."""
    if torch.distributed.get_rank() == 1 and not survives_slowly.waited:
        survives_slowly.waited = True
        time.sleep(1.5 * TIMEOUT.total_seconds())
    return survives(completions)


def odd_length_then_killed(completions, **kwargs):
    """Kills one process in its second group, which is that of the second probe."""
    odd_length_then_killed.calls += 1
    if odd_length_then_killed.calls == 2:
        killed(completions)
    return odd_length(completions)


class EndOneProcess(TrainerCallback):
    """
    By a crash or by a signal, in the fine-tuning of the second iteration, after its first checkpoint and in the second
    epoch.
    """

    def __init__(self, how: str):
        self.how = how

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == NUM_STEPS + 7 and torch.distributed.get_rank() == 1:
            if self.how == "crash":
                raise RuntimeError("crash")
            os.kill(os.getpid(), signal.SIGTERM)


class CheckStart(TrainerCallback):
    """Every outer iteration starts from the original weights, bit for bit, and with empty moments."""

    def __init__(self):
        self.original = None
        self.checked = 0

    def on_step_begin(self, args, state, control, model, optimizer, **kwargs):
        if state.global_step % NUM_STEPS or args.initial_steps != NUM_STEPS:
            return
        while hasattr(optimizer, "optimizer"):  # accelerate's and DeepSpeed's wrappers
            optimizer = optimizer.optimizer
        moments = [values["exp_avg"] for values in optimizer.state.values() if "exp_avg" in values]
        assert not any(moment.any() for moment in moments)
        assert weights_digest(model) == self.original
        self.checked += 1


NUM_STEPS = 8  # two epochs in two processes
TIMEOUT = timedelta(seconds=8)
survives_slowly.waited = False
odd_length_then_killed.calls = 0
odd_length_then_killed.__name__ = odd_length.__name__  # a run that is resumed must have the same rewards


def train(backend: str, base_model: str, output_dir: Path) -> None:
    """Two outer iterations of a model that really generates, and how its weights were at the start of each."""
    resumed = has_run(output_dir)  # before the processes meet, after which it may appear
    # Completions end at the first of these letters, so that they are short and of different lengths.
    stop_strings = list("abcdefghijklmnopqrstuvwxyz0123456789")
    weighted = backend == "weighted"
    check_start = CheckStart()
    if backend == "slow":
        # On a CPU, `ddp_timeout` does not reach the process group.
        torch.distributed.init_process_group("gloo", timeout=TIMEOUT)
    trainer = STaRTrainer(
        model=base_model,
        args=STaRConfig(
            output_dir=str(output_dir),
            num_iterations=2,
            # Of 15 sequences the last step would have 3, which processes fill up differently.
            initial_steps=3 if weighted else NUM_STEPS,
            step_growth=1.0,
            save_steps=6,
            learning_rate=1e-2,
            per_device_train_batch_size=4 // int(os.environ["WORLD_SIZE"]) if weighted else 2,
            sample_weighting="advantage" if weighted else "uniform",
            loss_normalization="problems" if weighted else "tokens",
            gradient_view_samples=5 if weighted else 0,
            max_completion_length=100,
            max_length=None,
            stop_strings=stop_strings,
            **{**ON_A_CPU, "gradient_checkpointing": True},
        ),
        reward_funcs={"slow": survives_slowly, "weighted": odd_length, "killed": killed}.get(backend, survives),
        samplers=[RationaleSampler(num_generations=3, temperature=1.0)],
        few_shot_examples=EXAMPLES,
        # Five problems do not divide evenly.
        train_dataset=Dataset.from_list([*PROBLEMS, {**PROBLEMS[0], "prompt": "Q: 3+3?\nA:"}]),
        eval_dataset=Dataset.from_list(PROBLEMS),
        callbacks=[check_start, *([EndOneProcess(backend)] if backend in ("crash", "sigterm") else [])],
    )
    check_start.original = original = weights_digest(trainer.model)
    trainer.train(resume_from_checkpoint=resumed)
    assert check_start.checked == (0 if weighted or resumed else 2)
    trained = weights_digest(trainer.model)
    trainer.keep_original_weights().restore(trainer.model)
    restored = weights_digest(trainer.model)
    assert trained != original and restored == original
    assert trainer.model.is_gradient_checkpointing
    if trainer.is_world_process_zero():
        kind = str(trainer.accelerator.distributed_type)
        (output_dir / "done.json").write_text(json.dumps({"backend": kind, "weights": trained}))


def probes(base_model: str, output_dir: Path, reward_func: Callable) -> None:
    """Two iterations that choose their temperature and their threshold."""
    resumed = has_run(output_dir)
    trainer = STaRTrainer(
        model=base_model,
        args=STaRConfig(
            output_dir=str(output_dir),
            num_iterations=2,
            initial_steps=3,
            step_growth=1.0,
            learning_rate=1e-2,
            per_device_train_batch_size=4 // int(os.environ["WORLD_SIZE"]),
            # The first of each are worse: the same completion again and again, and every wrong one.
            adaptive_temperatures=[0.01, 1.0],
            adaptive_thresholds=[0.0, 1.0],
            num_probe_problems=3,
            num_generations=4,
            generation_batch_size=4,
            max_completion_length=100,
            stop_strings=list("abcdefghijklmnopqrstuvwxyz0123456789"),
            **ON_A_CPU,
        ),
        reward_funcs=reward_func,
        samplers=[RationaleSampler()],
        train_dataset=Dataset.from_list(PROBLEMS),
    )
    trainer.train(resume_from_checkpoint=resumed)
    choices = gather_object([[astuple(trainer.probes.best(iteration)) for iteration in (1, 2)]])
    assert all(choice == choices[0] for choice in choices)
    if trainer.is_world_process_zero():
        (output_dir / "done.json").write_text(json.dumps({"choices": choices[0]}))


def pairs(base_model: str, output_dir: Path) -> None:
    """One iteration of Iterative RPO, with two pairs in a step whatever the number of processes."""
    trainer = IterativeRPOTrainer(
        model=base_model,
        args=IterativeRPOConfig(
            output_dir=str(output_dir),
            num_iterations=1,
            initial_steps=3,
            num_generations=6,
            temperature=1.0,
            learning_rate=1e-2,
            per_device_train_batch_size=2 // int(os.environ["WORLD_SIZE"]),
            max_completion_length=100,
            stop_strings=list("abcdefghijklmnopqrstuvwxyz0123456789"),
            **ON_A_CPU,
        ),
        reward_funcs=odd_length,
        train_dataset=Dataset.from_list(PROBLEMS),
    )
    trainer.train()
    if trainer.is_world_process_zero():
        (output_dir / "done.json").write_text(json.dumps({"pairs": trainer.outer_run.history[-1]["pairs"]}))


def quiet(base_model: str, output_dir: Path) -> None:
    """Steps of Quiet-STaR with four texts each, whatever the number of processes. The thoughts are left no choice."""
    trainer = QuietSTaRTrainer(
        model=base_model,
        args=QuietSTaRConfig(
            output_dir=str(output_dir),
            num_thought_tokens=2,
            num_true_tokens=2,
            thought_temperature=1e-4,
            mixing_learning_rate=1.0,
            learning_rate=0.1,
            optim="sgd",
            max_grad_norm=0.0,
            max_steps=3,
            per_device_train_batch_size=4 // int(os.environ["WORLD_SIZE"]),
            **ON_A_CPU,
        ),
        # Texts of different lengths: the processes have different numbers of labels.
        train_dataset=Dataset.from_list([{"text": f"{10**number}+1={10**number + 1}."} for number in range(12)]),
    )
    trainer.train()
    trainer.save_model()
    if trainer.is_world_process_zero():
        (output_dir / "done.json").write_text("{}")


def fsdp2(output_dir: Path) -> None:
    """The engine on a model that FSDP 2 shards: each process generates another number of completions."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    tokenizer = build_tokenizer()
    whole, sharded = build_model(tokenizer).eval(), build_model(tokenizer)
    for layer in sharded.model.layers:
        fully_shard(layer)
    fully_shard(sharded)
    assert num_parameters(sharded) == num_parameters(whole)
    original = OriginalWeights(sharded)
    digest = weights_digest(whole)
    assert weights_digest(sharded) == digest
    # Each process keeps half of the weights for the reset.
    assert original.num_bytes < 0.6 * OriginalWeights(whole).num_bytes

    prompts = [tokenizer(f"Q: {number}+{number}?\nA:")["input_ids"] for number in range(1 if rank else 7)]
    requests = [GenerationRequest(prompt_ids=prompt, seed=number) for number, prompt in enumerate(prompts)]
    params = SamplingParams(max_new_tokens=5 + 10 * rank, eos_token_ids=frozenset(), temperature=1.0)

    def complete(model: LlamaForCausalLM) -> list[list[int]]:
        outputs = PrefixSharingEngine(tokenizer, batch_size=2).generate(model, requests, params)
        return [output.token_ids for output in sorted(outputs, key=lambda output: output.index)]

    for _ in range(2):
        sharded.eval()
        with whole_parameters(sharded):
            completions = complete(sharded)
        assert completions == complete(whole)
        assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())
        # It still trains, and the reset brings the original weights back to every shard.
        sharded.train()
        optimizer = torch.optim.SGD(sharded.parameters(), lr=1.0)
        ids = torch.tensor([prompts[0]])
        sharded(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        assert weights_digest(sharded) != digest
        original.restore(sharded)
        assert weights_digest(sharded) == digest
    assert frozen_weights_digest(sharded.requires_grad_(False)) == frozen_weights_digest(whole.requires_grad_(False))
    if rank == 0:
        output_dir.mkdir()
        (output_dir / "done.json").write_text("{}")


def main(backend: str, base_model: str, output_dir: str) -> None:
    if backend == "fsdp2":
        fsdp2(Path(output_dir))
    elif backend.startswith("probes"):
        probes(base_model, Path(output_dir), odd_length_then_killed if backend == "probes killed" else odd_length)
    elif backend == "pairs":
        pairs(base_model, Path(output_dir))
    elif backend == "quiet":
        quiet(base_model, Path(output_dir))
    else:
        train(backend, base_model, Path(output_dir))
    # All is checked. Gloo's threads sometimes abort a process that ends in the usual way, after it has destroyed its
    # process group as well.
    torch.distributed.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    gc.freeze()  # as in tests/conftest.py
    main(*sys.argv[1:])
