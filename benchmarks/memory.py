# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Measures the memory of a run over ten outer iterations: whether it grows, what the reset costs, and whether the memory
of training is freed before the next generation.

    python benchmarks/memory.py             # about three minutes on two cores

The last line is JSON. `model_mb`, `optimizer_mb` and `reset_mb` are sizes, the last of the copy of the original
weights. `tensors_while_generating_mb` is the size of all tensors that are alive when the last generation begins.
`tensor_growth_mb` and `resident_growth_mb` are the growth per iteration of these tensors and of the resident memory,
which the allocator blurs (slopes, without the first three iterations). With `--lora` the same for an adapter.
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
from pathlib import Path

import psutil
import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from transformers import TrainerCallback

from star_trl import RationaleSampler, STaRConfig, STaRTrainer


sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.tiny_models import ON_A_CPU, odd_length, save_model  # noqa: E402


MB = 2**20


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / MB


def tensors_mb() -> float:
    """Returns the size of all tensors that are alive, counting shared memory once."""
    storages = {
        thing.untyped_storage().data_ptr(): thing.untyped_storage().nbytes()
        for thing in gc.get_objects()
        if isinstance(thing, torch.Tensor)
    }
    return sum(storages.values()) / MB


class Watch(TrainerCallback):
    """Records the resident memory in every outer iteration, and the size of the optimizer's states."""

    def __init__(self):
        self.begin, self.end, self.training, self.tensors = [], [], [], []
        self.optimizer_mb = 0.0

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.begin.append(resident_mb())
        self.tensors.append(tensors_mb())

    def on_step_end(self, args, state, control, optimizer, **kwargs):
        states = [tensor for values in optimizer.state.values() for tensor in values.values() if tensor.dim()]
        self.optimizer_mb = sum(tensor.nbytes for tensor in states) / MB
        if state.global_step % 5 == 0:
            self.training.append(resident_mb())

    def on_epoch_end(self, args, state, control, **kwargs):
        self.end.append(resident_mb())


def slope(values: list[float]) -> float:
    return statistics.linear_regression(range(len(values)), values).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--lora", action="store_true", help="Train an adapter.")
    args = parser.parse_args()
    disable_progress_bars()
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        shape = {"intermediate_size": 1280, "num_hidden_layers": 8, "num_attention_heads": 8}
        save_model(Path(folder) / "base", hidden_size=512, max_position_embeddings=2048, **shape)
        trainer = STaRTrainer(
            model=str(Path(folder) / "base"),
            args=STaRConfig(
                output_dir=str(Path(folder) / "out"),
                num_iterations=args.iterations,
                initial_steps=5,
                step_growth=1.0,
                save_total_limit=1,
                per_device_train_batch_size=4,
                max_completion_length=32,
                stop_strings=["ab", "xy", "#"],
                **ON_A_CPU,
            ),
            reward_funcs=odd_length,
            samplers=[RationaleSampler(temperature=1.0)],
            train_dataset=Dataset.from_list([{"prompt": f"Q: {number}?\nA:"} for number in range(64)]),
            peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM") if args.lora else None,
            callbacks=[watch],
        )
        trainer.train()

    print("iteration   tensors (MB)   resident (MB)   training (MB)   end (MB)")
    rows = zip(watch.tensors, watch.begin, watch.training, watch.end, strict=True)
    for number, row in enumerate(rows, start=1):
        print(f"{number:9} {row[0]:14.1f} {row[1]:15.0f} {row[2]:15.0f} {row[3]:10.0f}")
    figures = {
        "model_mb": sum(parameter.nbytes for parameter in trainer.model.parameters()) / MB,
        "optimizer_mb": watch.optimizer_mb,
        "reset_mb": trainer.keep_original_weights().num_bytes / MB,
        "tensors_while_generating_mb": watch.tensors[-1],
        "tensor_growth_mb": slope(watch.tensors[3:]),
        "resident_growth_mb": slope(watch.end[3:]),
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
