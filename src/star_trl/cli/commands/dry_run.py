# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Preview of a run: its prompts, where the loss applies, its tokens and its time, measured on a few problems."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, groupby, islice
from tempfile import TemporaryDirectory

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from transformers import PrinterCallback, TrainerCallback
from trl import ModelConfig

from ...fine_tuning.sequences import training_sequences
from ...ledger.sample import Sample
from ...monitoring.diagnosis import signs_of_repetition
from ...run.inner_run import Length, inner_arguments
from ...star_config import STaRConfig
from ...star_trainer import STaRTrainer
from ...task.checks import named_datasets
from ..arguments import TaskArguments
from ..errors import UsageError
from ..setup import build_trainer


NUM_SHOWN = 3
# The first step of a measurement warms up and is not counted.
NUM_STEPS = 4
# Number of characters to show of a part without loss, from its end.
MAX_CHARACTERS = 300
# Width of output that goes into a file.
WIDTH = 110


@dataclass(kw_only=True)
class Proposal:
    """Estimated work of one sampler in the first iteration: numbers of completions and mean numbers of tokens."""

    name: str
    measured: int
    kept: int
    completions: float
    prompt_tokens: float
    completion_tokens: float

    @property
    def new_tokens(self) -> float:
        return self.completions * self.completion_tokens


class StepTimes(TrainerCallback):
    """Records when each step of the fine-tuning ended."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Mean of all steps but the first."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def dry_run(task: TaskArguments, args: STaRConfig, model_args: ModelConfig, num_problems: int) -> None:
    """
    Shows what a run would do, in one process, and leaves no files behind.

    Args:
        task ([`TaskArguments`]):
            Problems, few-shot examples, rewards and samplers.
        args ([`STaRConfig`]):
            Configuration.
        model_args ([`~trl.ModelConfig`]):
            The model, adapters and quantization.
        num_problems (`int`):
            Number of problems to sample for, to measure the time.
    """
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDTH
    args.report_to, args.push_to_hub, args.disable_tqdm = [], False, True
    planned = copy.copy(args)
    args.num_probe_problems = 0  # their cost does not depend on the number of problems, by which the time is scaled
    with TemporaryDirectory() as args.output_dir:
        trainer = build_trainer(task, args, model_args)
        trainer.remove_callback(PrinterCallback)
        show_prompts(console, trainer)
        try:
            proposals, samples, seconds = measure_sampling(trainer, num_problems)
            show_completions(console, trainer, samples)
            show_training_sequence(console, trainer, samples)
            seconds_per_step = measure_fine_tuning(trainer, samples)
            shared = shared_tokens(trainer, samples)
        except torch.OutOfMemoryError as error:
            raise UsageError(f"One device has too little memory for this in one process: {error}") from error
        show_estimate(console, trainer, planned, proposals, seconds, seconds_per_step, shared)


def show_prompts(console: Console, trainer: STaRTrainer) -> None:
    """Prints the first problem's prompts whole, and those of a few more without the few-shot examples."""
    builder, columns = (
        trainer.task.prompt_builder,
        dict.fromkeys(sampler.prompt_column for sampler in trainer.task.samplers),
    )
    few_shot = trainer.args.samples_few_shot(1)
    for number, index in enumerate(trainer.candidates(1)[:NUM_SHOWN]):
        problem = trainer.task.problems[index]
        for column in columns:
            (alone,), (whole,) = (builder.encode([problem], column, shown) for shown in (False, few_shot))
            ids, kind = (alone, "shown without its few-shot examples") if number else (whole, "as the model sees it")
            console.rule(f"problem {index}, {column}, {len(whole)} tokens: {kind}", align="left")
            console.print(builder.tokenizer.decode(ids), soft_wrap=True)
        others = {name: value for name, value in problem.items() if name not in ("prompt", "hinted_prompt")}
        console.print(f"\n(for the reward functions: {others})\n", style="dim", soft_wrap=True)


def measure_sampling(trainer: STaRTrainer, num_problems: int) -> tuple[list[Proposal], list[Sample], float]:
    """
    Samples for a few problems, as the first iteration does. Returns estimates for all problems, the samples and the
    seconds.
    """
    total = len(trainer.candidates(1))
    trainer.args.num_problems_per_iteration = min(num_problems, total)
    scale = total / trainer.args.num_problems_per_iteration
    start = time.perf_counter()
    samples = trainer.sample(1)
    seconds = time.perf_counter() - start
    proposals = []
    for sampler in trainer.task.samplers:
        own = [sample for sample in samples if sample.sampler == sampler.name]
        ids = sorted({sample.problem_id for sample in own})
        prompts = trainer.rollouts.prompts(sampler, trainer.task.problems, ids, 1)
        proposals.append(
            Proposal(
                name=sampler.name,
                measured=len(own),
                kept=sum(sample.kept for sample in own),
                completions=len(own) * scale,
                prompt_tokens=sum(len(prompt.input_ids) for prompt in prompts) / max(len(prompts), 1),
                completion_tokens=sum(sample.num_tokens for sample in own) / max(len(own), 1),
            )
        )
    return proposals, samples, seconds


def show_completions(console: Console, trainer: STaRTrainer, samples: Sequence[Sample]) -> None:
    """Prints the first completions of each sampler, and whether they were kept."""
    for sampler in trainer.task.samplers:
        for sample in [sample for sample in samples if sample.sampler == sampler.name][:NUM_SHOWN]:
            result = "kept" if sample.kept else sample.drop_reason
            console.rule(f"problem {sample.problem_id}, {sampler.name}: {result}", align="left")
            console.print(f"{sample.completion}\n", soft_wrap=True)


def show_training_sequence(console: Console, trainer: STaRTrainer, samples: Sequence[Sample]) -> None:
    """Prints a training sequence, and for each part whether it is trained on."""
    sample = next((sample for sample in samples if sample.kept), samples[0])
    (row,) = training_sequences([sample], trainer.task, trainer.args)
    kind = "kept" if sample.kept else f"not kept ({sample.drop_reason}), but shown for its form"
    title = f"a training sequence of {len(row['input_ids'])} tokens: problem {sample.problem_id}, {kind}"
    console.rule(title, align="left")
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    for trained, part in groupby(pairs, key=lambda pair: pair[1] != -100):
        ids = [token for token, _ in part]
        text = str(trainer.task.prompt_builder.tokenizer.decode(ids))
        if not trained and len(text) > MAX_CHARACTERS:
            text = f"[...]{text[-MAX_CHARACTERS:]}"
        for line in text.split("\n"):
            console.print(f"{'loss' if trained else '':>4} | {line}", style="" if trained else "dim", soft_wrap=True)
        console.print(f"     ({len(ids)} tokens {'with' if trained else 'without'} loss)", style="dim")


def measure_fine_tuning(trainer: STaRTrainer, samples: Sequence[Sample]) -> float:
    """
    Returns the seconds of an optimizer step. It trains on all samples, right or wrong, since only their lengths
    matter.
    """
    args = trainer.args
    args.initial_steps, args.step_growth, args.step_increment, args.max_inner_steps = NUM_STEPS, 1.0, None, None
    args.sample_weighting, args.loss_normalization, args.gradient_view_samples = "uniform", "tokens", 0
    times = StepTimes()
    trainer.add_callback(times)
    batch_size = args.per_device_train_batch_size * args.gradient_accumulation_steps
    trainer.fine_tune(list(islice(cycle(samples), NUM_STEPS * batch_size)), 1)
    return times.seconds


def shared_tokens(trainer: STaRTrainer, samples: Sequence[Sample]) -> float:
    """Returns the share of a batch's tokens that `shared_prefix_train` does not compute again."""
    batch = list(islice(cycle(samples), trainer.args.per_device_train_batch_size))
    rows = list(training_sequences(batch, trainer.task, trainer.args))
    computed = trainer.data_collator(rows)["input_ids"].numel()
    return max(1 - computed / sum(len(row["input_ids"]) for row in rows), 0.0)


def show_estimate(
    console: Console,
    trainer: STaRTrainer,
    args: STaRConfig,
    proposals: Sequence[Proposal],
    seconds: float,
    seconds_per_step: float,
    shared: float,
) -> None:
    """Prints the tokens and the time of an iteration."""
    num_problems = len(trainer.candidates(1))  # the number that was measured
    scale = proposals[0].completions / proposals[0].measured
    table = Table(title="Iteration 1 samples, for all problems", box=box.SIMPLE_HEAD)
    for title in ("sampler", "completions", "prompt tokens", "completion tokens", "new tokens", "kept, measured"):
        table.add_column(title, justify="left" if title == "sampler" else "right")
    for proposal in proposals:
        table.add_row(
            proposal.name,
            f"{proposal.completions:,.0f}",
            f"{proposal.prompt_tokens:,.0f}",
            f"{proposal.completion_tokens:,.0f}",
            f"{proposal.new_tokens:,.0f}",
            f"{proposal.kept} of {proposal.measured}",
        )
    console.print(table)

    sampling = seconds * scale
    tokens_per_second = sum(proposal.new_tokens for proposal in proposals) / sampling
    num_held_out = sum(map(len, named_datasets(trainer.eval_dataset).values()))
    evaluation = num_held_out * proposals[0].completion_tokens / tokens_per_second
    lengths = [_length(args, iteration, proposals) for iteration in range(1, args.num_iterations + 1)]
    steps = [length.steps for length in lengths]
    table = Table(title="Time, in one process", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("iteration 1", justify="right")
    table.add_column(f"all {args.num_iterations}", justify="right")
    table.add_column("")
    tuning = [number * seconds_per_step for number in steps]
    count = args.num_iterations
    rows = [
        ("sampling", sampling, sampling * count, f"{tokens_per_second:,.0f} new tokens per second"),
        (
            "fine-tuning",
            tuning[0],
            sum(tuning),
            f"{_epochs(lengths[0])}, {sum(steps):,} in all, {seconds_per_step:.2g} s each"
            + (f"; {shared:.0%} of the tokens are shared and computed once" if shared else ""),
        ),
        ("evaluation", evaluation, evaluation * (count + 1), f"{num_held_out:,} problems; the original model as well"),
    ]
    rows.append(("together", sum(row[1] for row in rows), sum(row[2] for row in rows), ""))
    for name, one, every, note in rows:
        table.add_row(name, _duration(one), _duration(every), note)
    console.print(table)
    first = lengths[0]
    repetition = signs_of_repetition(first.epochs, 1, _epochs(first)) if first.num_samples else []
    for warning in [*trainer.engine.fallback_warnings, *repetition]:
        console.print(f"Warning: {warning}", style="yellow", soft_wrap=True)
    console.print(
        f"Measured on {num_problems} problems and {NUM_STEPS} steps, the warm-up included in sampling: with larger "
        "batches it is faster. N processes share the sampling and the evaluation; a step takes each of them as long.",
        soft_wrap=True,
    )
    precision = trainer.accelerator.mixed_precision
    if precision == "no":
        precision = str(trainer.model.dtype).removeprefix("torch.")
    console.print(f"The model computes in {precision}.")
    if torch.cuda.is_available():
        console.print(f"Most GPU memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB.")
    console.print("Nothing was trained or written.")


def _length(args: STaRConfig, iteration: int, proposals: Sequence[Proposal]) -> Length:
    """
    Returns the length of an iteration's fine-tuning. The number of samples is estimated from the share of right ones
    that was measured.
    """
    kept = round(sum(proposal.completions * proposal.kept / max(proposal.measured, 1) for proposal in proposals))
    return Length(inner_arguments(args, iteration, None), kept, kept, num_processes=1)


def _epochs(length: Length) -> str:
    """Describes the steps of the first iteration, also in epochs over the samples that it may keep."""
    if not length.num_samples or length.args.packing:
        return f"{length.steps:,} steps"
    return f"{length.steps:,} steps = {length.epochs:.2g} epochs over about {length.num_samples:,} samples"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
