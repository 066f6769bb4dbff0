# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Runs of a tiny model in processes of their own, which `faults.py` breaks. Processes are forked, since importing
everything takes longer than a run.
"""

import fcntl
import json
import mmap
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import TrainerCallback

from star_trl import RationaleSampler, RationalizationSampler, STaRConfig, STaRTrainer, has_run, load_ledger
from star_trl.generation import Engine
from star_trl.run.outer_run import OuterRun


sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.tiny_models import ON_A_CPU, odd_length  # noqa: E402


# Phases may be nested: later epochs and inner checkpoints are within fine-tuning. At the end of a phase, the outer one
# goes on.
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
BATCH_SIZE = 4  # completions that are generated at a time
SAVE_STEPS = 3  # optimizer steps between two checkpoints
PATIENCE = 180.0  # seconds after which a process hangs
PIPE_BYTES = 2**20
POLL = 5e-4


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


@dataclass
class Process:
    """
    A process that runs a function.

    Args:
        pid (`int`):
            Its number.
        monitor ([`Monitor`]):
            Tells the phase that it is in.
    """

    pid: int
    monitor: Monitor
    _work: int
    _text: int
    code: int | None = None
    """Its exit code, negative for a signal."""
    error: str = ""
    """The class and the message of the exception that ended it."""
    work: set[str] = field(default_factory=set)
    """The completions and the optimizer steps that it has made."""
    text: str = ""
    """The text that it has printed."""

    @classmethod
    def start(cls, function: Callable[..., Any], *args: Any, **kwargs: Any) -> "Process":
        """Starts a process. The function gets its monitor and a function that notes work as well."""
        monitor, work, text = Monitor(), os.pipe(), os.pipe()
        for _, end in (work, text):
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # so that nothing need read meanwhile
        pid = os.fork()
        if pid:
            os.close(work[1])
            os.close(text[1])
            return cls(pid, monitor, work[0], text[0])

        # Pipes in place of files, which a limit on the size of files would concern.
        def note(kind: str, value: str) -> None:
            os.write(work[1], f"{json.dumps([kind, value])}\n".encode())

        code = 1
        # A shell lets programs in the background ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            os.dup2(text[1], 1)
            os.dup2(text[1], 2)
            function(*args, monitor=monitor, note=note, **kwargs)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException as error:
            note("error", f"{type(error).__name__}: {error}")
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def ended(self, wait: bool = False) -> bool:
        """Returns whether it has ended, and reads what it left."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, 0 if wait else os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                for line in _read(self._work).splitlines():
                    kind, value = json.loads(line)
                    if kind == "error":
                        self.error = value
                    else:
                        self.work.add(f"{kind} {value}")
                self.text = _read(self._text)
        return self.code is not None

    def wait(self) -> "Process":
        """Waits until it ends, and kills it if it hangs."""
        deadline = time.monotonic() + PATIENCE
        while not self.ended():
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                self.ended(wait=True)
                self.error = f"It hangs: no end within {PATIENCE:g} s, in the phase `{self.monitor.phase}`"
            time.sleep(0.005)
        return self

    def signal(self, number: int) -> None:
        if self.code is None:
            os.kill(self.pid, number)

    def reach(self, moment: "Moment") -> bool:
        """Waits for a moment. Returns `False` if the process ends before."""
        last, visits = None, 0
        while not self.ended():
            entered, last = self.monitor.phase == moment.phase and last != moment.phase, self.monitor.phase
            visits += entered
            if entered and visits == moment.visit:
                time.sleep(moment.delay)
                return not self.ended()
            time.sleep(POLL)
        return False

    def phases(self) -> dict[str, list[float]]:
        """Waits until it ends. Returns the seconds of every visit to each phase."""
        seconds: dict[str, list[float]] = {}
        last, since = self.monitor.phase, time.monotonic()
        while not self.ended():
            if self.monitor.phase != last:
                seconds.setdefault(last, []).append(time.monotonic() - since)
                last, since = self.monitor.phase, time.monotonic()
            time.sleep(POLL)
        return seconds


def _read(end: int) -> str:
    with os.fdopen(end, "rb") as pipe:
        return pipe.read().decode(errors="replace")


@dataclass(frozen=True)
class Moment:
    """
    A moment of a run.

    Args:
        phase (`str`):
            Phase.
        visit (`int`):
            How often the run has entered it.
        delay (`float`):
            Seconds since then.
    """

    phase: str
    visit: int
    delay: float

    @classmethod
    def draw(cls, seconds: dict[str, list[float]], rng: random.Random) -> "Moment":
        """Draws a moment, from the seconds of every visit to each phase."""
        phase = rng.choice([phase for phase in PHASES if phase in seconds])
        visit = rng.randint(1, len(seconds[phase]))
        return cls(phase, visit, rng.uniform(0, seconds[phase][visit - 1]))

    def __str__(self) -> str:
        return self.phase


class WatchedEngine(Engine):
    """Notes the completions of an engine, and changes one of them."""

    def __init__(self, trainer: STaRTrainer, note: Callable[[str, str], None], change: Callable, number: int):
        self.trainer, self.engine, self.note = trainer, trainer.engine, note
        self.change, self.left = change, number

    def generate(self, model, requests, params):
        for output in self.engine.generate(model, requests, params):
            seed = requests[output.index].seed
            self.left -= 1
            if self.left == 0:
                output = self.change(output)
            if output is not None:
                self.note("completion", f"{self.trainer.iteration} {params.temperature} {seed}")
                yield output


class WatchedSteps(TrainerCallback):
    """Notes the optimizer steps."""

    def __init__(self, note: Callable[[str, str], None]):
        self.note = note

    def on_step_end(self, args, state, control, **kwargs):
        self.note("step", str(state.global_step))


def slow_odd_length(completions: list[str], **kwargs) -> list[float]:
    """A filter that half of the completions pass, and that is slow enough for a fault during it."""
    time.sleep(0.01)
    return odd_length(completions)


def train(
    base_model: Path,
    output_dir: Path,
    iterations: int = 2,
    resume: bool | None = None,
    overwrite: bool = False,
    change_output: Callable = lambda output: output,
    change_sampling: Callable = lambda completions: completions,
    reward: Callable = slow_odd_length,
    number: int = 0,
    *,
    monitor: Monitor,
    note: Callable[[str, str], None],
) -> None:
    """
    Runs or resumes some outer iterations.

    Args:
        base_model (`Path`):
            The model.
        output_dir (`Path`):
            Output directory.
        iterations (`int`, *optional*, defaults to `2`):
            Number of outer iterations.
        resume (`bool`, *optional*):
            Whether to resume. By default if there is a run.
        overwrite (`bool`, *optional*, defaults to `False`):
            Whether to delete the run that is there.
        change_output (`Callable`):
            Changes one output of the engine; `number` says which one.
        change_sampling (`Callable`):
            Changes the completions of the first sampler.
        reward (`Callable`):
            Reward function.
        number (`int`, *optional*, defaults to `0`):
            Number of the output that is changed.
        monitor ([`Monitor`]):
            Told the phase of the run.
        note (`Callable[[str, str], None]`):
            Told the work that the run does.
    """
    problems = [
        {"prompt": f"Q: {number}?\nA:", "hinted_prompt": f"Q: {number}? (1)\nA:", "answer": "1"}
        for number in range(10)
    ]

    class ChangedSampler(RationaleSampler):
        def sample(self, prompts, generate):
            return change_sampling(super().sample(prompts, generate))

    def score(completions, **kwargs):
        return reward(completions, **kwargs)

    trainer = STaRTrainer(
        model=str(base_model),
        args=STaRConfig(
            output_dir=str(output_dir),
            num_iterations=iterations,
            initial_steps=11,  # several epochs
            save_steps=SAVE_STEPS,
            save_total_limit=2,
            sample_iterations=2,
            learning_rate=1e-2,
            per_device_train_batch_size=2,
            max_completion_length=32,
            generation_batch_size=BATCH_SIZE,
            # Completions end at the first of these letters, so that they have different lengths.
            stop_strings=list("abcde"),
            overwrite_output_dir=overwrite,
            reward_retries=0,
            **ON_A_CPU,
        ),
        reward_funcs=monitor.during("scoring", score),
        samplers=[
            ChangedSampler(num_generations=2, temperature=1.0),
            RationalizationSampler(temperature=1.0),
        ],
        train_dataset=Dataset.from_list(problems),
        eval_dataset=Dataset.from_list(problems[:6]),
        callbacks=[WatchedSteps(note)],
    )
    trainer.engine = WatchedEngine(trainer, note, change_output, number)
    trainer.sample = monitor.during("sampling", trainer.sample)
    trainer.select = monitor.during("selecting", trainer.select)
    trainer.fine_tune = monitor.during("fine-tuning", trainer.fine_tune)
    trainer.evaluate = monitor.during("evaluating", trainer.evaluate)
    first, later = trainer.training_step, monitor.during("later epochs", trainer.training_step)
    trainer.training_step = lambda *args: (later if trainer.state.epoch >= 1 else first)(*args)
    trainer._save_checkpoint = monitor.during("checkpoint", trainer._save_checkpoint)
    OuterRun.save_model = monitor.during("saving", OuterRun.save_model)
    OuterRun.end_iteration = monitor.during("end", OuterRun.end_iteration)
    trainer.train(resume_from_checkpoint=has_run(output_dir) if resume is None else resume)


def outcome(output_dir: Path, iterations: int) -> tuple[list[dict], list[dict], dict[str, torch.Tensor]]:
    """
    Returns the samples of a run, those of its evaluations, and the weights that it has come to. Raises if they are
    damaged.
    """
    weights = load_file(output_dir / f"iteration-{iterations:03d}" / "checkpoint" / "model.safetensors")
    return load_ledger(output_dir).to_list(), load_ledger(output_dir, "eval").to_list(), weights


def same(left: tuple, right: tuple) -> bool:
    """Returns whether two outcomes are the same, bit for bit."""
    weights = left[2].keys() == right[2].keys() and all(
        torch.equal(tensor, right[2][name]) for name, tensor in left[2].items()
    )
    return left[:2] == right[:2] and weights
