# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl"]
# ///
"""
Kills runs (SIGKILL) at random moments of every phase, and resumes them until they are done. Compares each result with
an uninterrupted run: the samples, and the weights bit by bit. Needs no GPU and no network.

```bash
python benchmarks/faults.py --runs 50
```

The last line is JSON: `runs`, `identical` (number of runs that ended like the uninterrupted one) and `regenerated_max`
(maximum number of completions that one kill cost, with a `generation_batch_size` of 8).
"""

import argparse
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from datasets import Dataset, disable_progress_bars
from safetensors.torch import load_file
from tqdm import tqdm

from star_trl import RationaleSampler, RationalizationSampler, STaRConfig, STaRTrainer, has_run, load_ledger
from star_trl.generation import Engine
from star_trl.run.outer_run import OuterRun


sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.tiny_models import ON_A_CPU, odd_length, save_model  # noqa: E402


PHASES = (
    "start",
    "sampling",
    "scoring",
    "selecting",
    "fine-tuning",
    "later epochs",
    "checkpoint",
    "saving",
    "evaluating",
    "end",
)
# Phases may be nested: later epochs and inner checkpoints are within fine-tuning. At the end of a phase, the outer one
# goes on.
BATCH_SIZE = 8
SAMPLES_PER_PROBLEM = 2


class Monitor:
    """Shared memory that holds the current phase of the process that runs."""

    def __init__(self):
        self._memory = mmap.mmap(-1, 1)
        self._stack = [0]

    @property
    def phase(self) -> str:
        return PHASES[self._memory[0]]

    def during(self, phase: str, function: Callable) -> Callable:
        """Wraps a function so that it records the phase while it runs."""

        def call(*args, **kwargs):
            self._stack.append(PHASES.index(phase))
            self._memory[0] = self._stack[-1]
            try:
                return function(*args, **kwargs)
            finally:
                self._stack.pop()
                self._memory[0] = self._stack[-1]

        call.__name__ = getattr(function, "__name__", phase)
        return call


class CountingEngine(Engine):
    """Logs every completion of an engine, with the model and the problem that it belongs to."""

    def __init__(self, trainer: STaRTrainer, log: Path):
        self.trainer, self.engine = trainer, trainer.engine
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def generate(self, model, requests, params):
        for output in self.engine.generate(model, requests, params):
            key = f"{self.trainer.iteration} {params.temperature} {requests[output.index].seed}\n"
            os.write(self.log, key.encode())
            yield output


def slow_odd_length(completions: list[str], **kwargs) -> list[float]:
    """A filter that half of the completions pass, and that is slow enough for a kill during it."""
    time.sleep(0.01)
    return odd_length(completions)


def during_later_epochs(trainer: STaRTrainer, monitor: Monitor) -> Callable:
    """Wraps the trainer's `training_step` so that it records the phase after the first epoch of an inner run."""
    first = trainer.training_step
    later = monitor.during("later epochs", first)
    return lambda *args: (later if trainer.state.epoch >= 1 else first)(*args)


def train(base_model: Path, output_dir: Path, log: Path, monitor: Monitor) -> None:
    """Runs or resumes two outer iterations."""
    problems = [
        {"prompt": f"Q: {number}?\nA:", "hinted_prompt": f"Q: {number}? (1)\nA:", "answer": "1"}
        for number in range(24)
    ]
    trainer = STaRTrainer(
        model=str(base_model),
        args=STaRConfig(
            output_dir=str(output_dir),
            num_iterations=2,
            initial_steps=30,  # four epochs
            save_steps=4,
            save_total_limit=1,
            learning_rate=1e-2,
            per_device_train_batch_size=4,
            max_completion_length=60,
            generation_batch_size=BATCH_SIZE,
            # Completions end at the first of these letters, so that they have different lengths.
            stop_strings=list("abcde"),
            **ON_A_CPU,
        ),
        reward_funcs=monitor.during("scoring", slow_odd_length),
        samplers=[
            RationaleSampler(num_generations=SAMPLES_PER_PROBLEM, temperature=1.0),
            RationalizationSampler(temperature=1.0),
        ],
        train_dataset=Dataset.from_list(problems),
        eval_dataset=Dataset.from_list(problems[:12]),
    )
    trainer.engine = CountingEngine(trainer, log)
    trainer.sample = monitor.during("sampling", trainer.sample)
    trainer.select = monitor.during("selecting", trainer.select)
    trainer.fine_tune = monitor.during("fine-tuning", trainer.fine_tune)
    trainer.evaluate = monitor.during("evaluating", trainer.evaluate)
    trainer.training_step = during_later_epochs(trainer, monitor)
    trainer._save_checkpoint = monitor.during("checkpoint", trainer._save_checkpoint)
    OuterRun.save_model = monitor.during("saving", OuterRun.save_model)
    OuterRun.end_iteration = monitor.during("end", OuterRun.end_iteration)
    trainer.train(resume_from_checkpoint=has_run(output_dir))


def start(base_model: Path, output_dir: Path, log: Path) -> tuple[int, Monitor]:
    """
    Starts a run in a separate process. The process is forked, since importing everything would take longer than the
    run.
    """
    monitor = Monitor()
    process = os.fork()
    if process:
        return process, monitor
    code = 1
    try:
        with open(log.with_suffix(".out"), "w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            train(base_model, output_dir, log, monitor)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def phase_seconds(process: int, monitor: Monitor) -> dict[str, list[float]]:
    """Returns the seconds of every visit of a run to each phase."""
    seconds: dict[str, list[float]] = {}
    last, since = monitor.phase, time.time()
    while os.waitpid(process, os.WNOHANG)[0] == 0:
        if monitor.phase != last:
            seconds.setdefault(last, []).append(time.time() - since)
            last, since = monitor.phase, time.time()
        time.sleep(2e-4)
    return seconds


def kill_in(phase: str, visit: int, delay: float, process: int, monitor: Monitor) -> bool:
    """Kills a run some seconds after it enters a phase for the n-th time. Returns `False` if the run ends before."""
    last = None
    while os.waitpid(process, os.WNOHANG)[0] == 0:
        entered, last = monitor.phase == phase and last != phase, monitor.phase
        visit -= entered
        if entered and visit == 0:
            time.sleep(delay)
            if os.waitpid(process, os.WNOHANG)[0]:
                return False
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return True
        time.sleep(2e-4)
    return False


def outcome(output_dir: Path) -> tuple[list[dict], dict[str, torch.Tensor]]:
    weights = load_file(output_dir / "iteration-002" / "checkpoint" / "model.safetensors")
    return [load_ledger(output_dir, name).to_list() for name in ("samples", "eval")], weights


def same(left: tuple, right: tuple) -> bool:
    return left[0] == right[0] and all(torch.equal(tensor, right[1][name]) for name, tensor in left[1].items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=50, help="Number of runs.")
    parser.add_argument("--kills", type=int, default=3, help="Most kills of a run.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the moments.")
    args = parser.parse_args()
    disable_progress_bars()
    torch.set_num_threads(1)
    # The default lock is shared with forked processes, and a killed process would never release it.
    tqdm.set_lock(threading.RLock())

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        save_model(root / "base", hidden_size=32, max_position_embeddings=2048)
        process, monitor = start(root / "base", root / "whole", root / "whole.log")
        seconds = phase_seconds(process, monitor)
        if not (root / "whole" / "iteration-002" / "metrics.json").exists():
            sys.exit(f"The uninterrupted run failed:\n{(root / 'whole.out').read_text()}")
        expected = outcome(root / "whole")
        samples = len((root / "whole.log").read_text().splitlines())
        print(f"Uninterrupted: {samples} completions. Visits and seconds by phase:")
        for phase in PHASES:
            visits = seconds.get(phase, [])
            print(f"  {phase:12} {len(visits):4} visits {sum(visits):6.2f} s")

        targets = [phase for phase in PHASES if phase in seconds]
        rng = random.Random(args.seed)
        identical, killed, regenerated = 0, Counter(), []
        for number in range(args.runs):
            output_dir = root / f"run-{number}"
            logs: list[set[str]] = []
            planned = rng.randint(1, args.kills)
            kills = 0
            for attempt in range(100):
                log = root / f"run-{number}-{attempt}.log"
                process, monitor = start(root / "base", output_dir, log)
                if kills < planned:
                    phase = targets[(number + attempt) % len(targets)]
                    visit = rng.randint(1, len(seconds[phase]))
                    delay = rng.uniform(0, seconds[phase][visit - 1])
                    if kill_in(phase, visit, delay, process, monitor):
                        kills += 1
                        killed[phase] += 1
                        logs.append(set(log.read_text().splitlines()) if log.exists() else set())
                        continue
                else:
                    os.waitpid(process, 0)
                logs.append(set(log.read_text().splitlines()))
                break
            done = (output_dir / "iteration-002" / "metrics.json").exists()
            if done and same(outcome(output_dir), expected):
                identical += 1
            else:
                print(f"run {number} differs:\n{log.with_suffix('.out').read_text()[-2000:]}")
            # Completions of one attempt that a later attempt generates again
            regenerated += [len(log & set().union(*logs[index + 1 :])) for index, log in enumerate(logs[:-1])]
            print(f"run {number + 1}: {kills} kills, {identical} identical so far", flush=True)

    print("Kills by phase: " + ", ".join(f"{phase} {killed[phase]}" for phase in PHASES))
    print(
        f"Completions made again, per kill: {sorted(regenerated, reverse=True)[:10]} ..., mean "
        f"{sum(regenerated) / max(len(regenerated), 1):.2f}, in flight at most {BATCH_SIZE} at a time"
    )
    print(
        json.dumps(
            {
                "runs": args.runs,
                "identical": identical,
                "kills": sum(killed.values()),
                "regenerated_max": max(regenerated, default=0),
            }
        )
    )


if __name__ == "__main__":
    main()
