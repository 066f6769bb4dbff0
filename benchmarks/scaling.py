# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares one outer iteration in one process and in two (DDP over gloo, one thread each). Two independent copies of the
single process show how far the machine itself scales: they share its memory and its caches, but wait for nothing.

    python benchmarks/scaling.py            # about six minutes on two cores, which should have nothing else to do

The last line is JSON: `same_samples`, `generation_vs_copies` (the rate of generation by two processes, as a share of
that of the two copies), `generation_efficiency` and `iteration_efficiency` (two processes against twice the rate of
one). All are medians of the runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.tiny_models import ON_A_CPU, odd_length, save_model  # noqa: E402


NUM_PROBLEMS = 1024
SEQUENCES_PER_STEP = 16


def train(base_model: Path, output_dir: Path) -> None:
    """Runs in each process."""
    import torch
    from datasets import Dataset

    from star_trl import RationaleSampler, STaRConfig, STaRTrainer

    torch.set_num_threads(1)
    num_processes = int(os.environ.get("WORLD_SIZE", 1))
    letters = "abcdefghijklmnopqrstuvwxyz"
    trainer = STaRTrainer(
        model=str(base_model),
        args=STaRConfig(
            output_dir=str(output_dir),
            num_iterations=1,
            initial_steps=3,
            per_device_train_batch_size=SEQUENCES_PER_STEP // num_processes,
            max_completion_length=64,
            max_length=None,
            stop_strings=["ab", "xy", "#"],
            **ON_A_CPU,
        ),
        reward_funcs=odd_length,
        samplers=[RationaleSampler(temperature=1.0)],
        few_shot_examples=[{"prompt": f"Q: {letters}?\nA:", "completion": f" {letters}\n"} for _ in range(10)],
        train_dataset=Dataset.from_list([{"prompt": f"Q: {number}?\nA:"} for number in range(NUM_PROBLEMS)]),
    )
    trainer.train()


def start(base_model: Path, output_dir: Path, num_processes: int) -> subprocess.Popen:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    worker = [__file__, "--base_model", str(base_model), "--output_dir", str(output_dir)]
    with open(output_dir.with_suffix(".log"), "w") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *(launcher if num_processes > 1 else []), *worker]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def run(base_model: Path, output_dirs: list[Path], num_processes: int = 1) -> list[dict]:
    """Returns the metrics of runs that go on at the same time."""
    for process in [start(base_model, output_dir, num_processes) for output_dir in output_dirs]:
        process.wait()
    for output_dir in output_dirs:
        if not (output_dir / "iteration-001" / "metrics.json").exists():
            sys.exit(output_dir.with_suffix(".log").read_text())
    return [json.loads((path / "iteration-001" / "metrics.json").read_text()) for path in output_dirs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--base_model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output_dir", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.output_dir is not None:
        return train(args.base_model, args.output_dir)

    from star_trl import load_ledger

    ratios: dict[str, list[float]] = {
        "generation_vs_copies": [],
        "generation_efficiency": [],
        "iteration_efficiency": [],
    }
    same_samples = True
    print(f"{'run':>3}  {'':12} {'sample (s)':>10} {'fine-tune (s)':>13} {'iteration (s)':>13}")
    with tempfile.TemporaryDirectory() as folder:
        shape = {"intermediate_size": 960, "num_hidden_layers": 6, "num_attention_heads": 6}
        save_model(Path(folder) / "base", hidden_size=384, max_position_embeddings=2048, **shape)
        for number in range(args.runs):
            root = Path(folder) / str(number)
            root.mkdir()
            (one,) = run(Path(folder) / "base", [root / "one"])
            (two,) = run(Path(folder) / "base", [root / "two"], num_processes=2)
            copies = run(Path(folder) / "base", [root / "copy-1", root / "copy-2"])
            rows = {"one process": one, "two": two, "a copy": copies[0], "other copy": copies[1]}
            for name, metrics in rows.items():
                times = [metrics[f"seconds{phase}"] for phase in ("/sample", "/fine_tune", "")]
                print(f"{number + 1:3}  {name:12} {times[0]:10.1f} {times[1]:13.1f} {times[2]:13.1f}", flush=True)
            copy = statistics.mean(metrics["seconds/sample"] for metrics in copies)
            ratios["generation_vs_copies"].append(copy / (2 * two["seconds/sample"]))
            ratios["generation_efficiency"].append(one["seconds/sample"] / (2 * two["seconds/sample"]))
            ratios["iteration_efficiency"].append(one["seconds"] / (2 * two["seconds"]))
            same_samples &= load_ledger(root / "one").to_list() == load_ledger(root / "two").to_list()
    medians = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    print(json.dumps({"same_samples": same_samples, **medians}))


if __name__ == "__main__":
    main()
