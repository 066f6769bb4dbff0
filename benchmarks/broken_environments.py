# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Measures what a hostile or slow environment does to a run: one iteration of STaR with hints in the game of
`examples/from_scratch/key_and_door.py`, with 32 environments at a time and 3 seconds for each call. The slow
environment sleeps in every call. The others misbehave in every eighth problem, and are the game in the rest.

    python benchmarks/broken_environments.py --output_dir runs/environments
    python benchmarks/broken_environments.py --output_dir runs/environments --environments fast slow

Merges the results into `docs/results/broken_environments.json` as each run ends, and fills in the table of
`docs/from_grpo.md`. Wall seconds are given because calls wait for their limit. They are those of one run, and depend
on what else the machine does. The last line is JSON: the results.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from star_trl import EnvironmentSampler, RationaleSampler, RationalizationSampler, STaRConfig


sys.path.append(str(Path(__file__).parents[1] / "examples" / "from_scratch"))
import runs  # noqa: E402
import tables  # noqa: E402
from key_and_door import CONFIG, KeyAndDoor, make_base_model, make_problems, make_trainer  # noqa: E402


RESULTS = runs.RESULTS / "broken_environments.json"
PAGE = runs.RESULTS.parent / "from_grpo.md"
NUM_PROBLEMS, EVERY = 64, 8
NUM_STEPS = 20
MAX_ENVIRONMENTS = 32
TIMEOUT = 3.0  # seconds that a call may take
SLEEP = 0.2  # seconds that a call of the slow environment takes
ENORMOUS = 10_000_000  # characters

# Is given the name of a call, and returns what the environment says before its answer.
Fault = Callable[[str], str]


class BrokenGame(KeyAndDoor):
    """The game, which has a fault in the problems that are `faulty`."""

    def __init__(self, fault: Fault):
        self.fault = fault

    def reset(self, faulty: bool, hint: bool = False, **row: Any) -> str:
        self.is_faulty = faulty
        return self._fault_in("reset") + super().reset(hint=hint, **row)

    def go(self, direction: str) -> str:
        return self._fault_in("go") + super().go(direction)

    go.__doc__ = KeyAndDoor.go.__doc__  # shown to the model

    def get_reward(self) -> float:
        self._fault_in("get_reward")
        return super().get_reward()

    def _fault_in(self, call: str) -> str:
        return self.fault(call) if self.is_faulty else ""


class AsyncBrokenGame(BrokenGame):
    """The same, with a coroutine function as its tool. Those of all environments share an event loop."""

    async def go(self, direction: str) -> str:
        return super().go(direction)

    go.__doc__ = KeyAndDoor.go.__doc__


def no_fault(call: str) -> str:
    return ""


def sleep(call: str) -> str:
    time.sleep(SLEEP)
    return ""


def fail(where: str, call: str) -> str:
    if call == where:
        raise RuntimeError("no connection")
    return ""


def hang(where: str, call: str) -> str:
    if call == where:
        threading.Event().wait()
    return ""


def say_too_much(call: str) -> str:
    return "x" * ENORMOUS if call == "go" else ""


# For each environment: what makes it, and which of the problems are faulty (every one, or every eighth)
ENVIRONMENTS: dict[str, tuple[Callable[[], BrokenGame], int]] = {
    "fast": (partial(BrokenGame, no_fault), EVERY),
    "slow, 0.2 s in every call": (partial(BrokenGame, sleep), 1),
    "its tool raises": (partial(BrokenGame, partial(fail, "go")), EVERY),
    "`reset` raises": (partial(BrokenGame, partial(fail, "reset")), EVERY),
    "`get_reward` raises": (partial(BrokenGame, partial(fail, "get_reward")), EVERY),
    "its tool hangs": (partial(BrokenGame, partial(hang, "go")), EVERY),
    "`reset` hangs": (partial(BrokenGame, partial(hang, "reset")), EVERY),
    "its coroutine blocks the event loop": (partial(AsyncBrokenGame, partial(hang, "go")), EVERY),
    "its tool returns 10 MB": (partial(BrokenGame, say_too_much), EVERY),
}


def measure(base_model: str, environment: Callable[[], BrokenGame], every: int, **changes: Any) -> dict[str, Any]:
    """Runs an iteration. Returns its times, its size on disk, and what became of the samples."""
    rows = make_problems(0, NUM_PROBLEMS)
    problems = Dataset.from_list([{**row, "faulty": number % every == 0} for number, row in enumerate(rows)])
    limits: dict[str, Any] = {
        "max_environments": MAX_ENVIRONMENTS,
        "timeout": TIMEOUT,
        "max_turns": CONFIG["max_tool_calling_iterations"],
    }
    samplers = [
        EnvironmentSampler(RationaleSampler(), environment, **limits),
        EnvironmentSampler(RationalizationSampler(), environment, hint=True, **limits),
    ]
    settings = {**CONFIG, "num_iterations": 1, "initial_steps": NUM_STEPS, **changes}
    with tempfile.TemporaryDirectory() as folder:
        config = STaRConfig(**settings, output_dir=folder, save_strategy="no", html_report=False, seed=0)
        trainer = make_trainer(base_model, config, problems, samplers=samplers, environment_factory=None)
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        samples = trainer.ledger.read(1)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    faulty = [sample for sample in samples if problems[sample.problem_id]["faulty"]]
    return {
        "conversations": len(samples),
        "faulty": len(faulty),
        "kept": sum(sample.kept for sample in samples),
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "megabytes": round(size / 1e6, 1),
        "outcomes_of_faulty": Counter(sample.drop_reason or "kept" for sample in faulty),
        "errors": Counter(str(sample.extra["error"])[:100] for sample in samples if "error" in sample.extra),
        "iterations": len(trainer.outer_run.history) - 1,  # the base model is iteration 0
    }


def make_table(results: dict[str, dict[str, Any]]) -> str:
    """Returns the table of `docs/from_grpo.md`."""
    titles = [
        "environment",
        "conversations",
        "of which faulty",
        "what became of the faulty ones",
        "recorded reason",
        "wall s",
        "CPU s",
        "MB on disk",
    ]
    rows = []
    for name, found in results.items():
        outcomes = ", ".join(f"{count} {reason}" for reason, count in found["outcomes_of_faulty"].items())
        errors = "<br>".join(error.replace("`", r"\`") for error in found["errors"])
        numbers = (f"{found[key]:g}" for key in ("wall_seconds", "cpu_seconds", "megabytes"))
        rows.append([name, str(found["conversations"]), str(found["faulty"]), outcomes, errors, *numbers])
    return tables.markdown_table(titles, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="Where the base model goes.")
    parser.add_argument("--environments", nargs="+", choices=ENVIRONMENTS, default=list(ENVIRONMENTS), help="Which.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    base_model = str(make_base_model(args.output_dir / "key_and_door"))
    for name in args.environments:
        runs.merge_results(RESULTS, "one iteration", {name: measure(base_model, *ENVIRONMENTS[name])})
    results = runs.read_results(RESULTS)["one iteration"]
    PAGE.write_text(tables.fill_in(PAGE.read_text(), {"broken_environments": make_table(results)}))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
