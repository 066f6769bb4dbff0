# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A trainer that samples from the model that it trains."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from accelerate.utils import gather_object
from datasets import Dataset

from .checks import check_draws, check_problems
from .generation import Engine
from .generator import Generator
from .ledger import Ledger, Sample
from .policy import policy
from .progress import sampling_progress
from .prompting import PromptBuilder
from .proposals import Proposals
from .samplers import Prompt, Sampler
from .termination import Termination
from .training_set import training_prompts
from .weighted_sft import WeightedSFTTrainer
from .weighting import sequence_logprobs


T = TypeVar("T")


class SamplingTrainer(WeightedSFTTrainer):
    """
    [`WeightedSFTTrainer`] that proposes, scores and records samples of its model. A subclass sets the attributes.

    Attributes:
        problems ([`~datasets.Dataset`]):
            The training problems.
        samplers (`list[Sampler]`):
            Proposal distributions.
        iteration (`int`):
            The outer iteration that the current model is the result of.
        engine ([`~star_trl.generation.Engine`]):
            What generates.
        prompt_builder ([`PromptBuilder`]):
            Builds the prompts.
        proposals ([`Proposals`]):
            What stands before and after a sampler.
        termination ([`Termination`]):
            Whether SIGTERM came.
    """

    problems: Dataset
    samplers: list[Sampler]
    iteration: int
    engine: Engine
    prompt_builder: PromptBuilder
    proposals: Proposals
    termination: Termination

    @property
    def prompt_columns(self) -> dict[str, str]:
        """The column that each sampler is conditioned on, by the sampler's name."""
        return {sampler.name: sampler.prompt_column for sampler in self.samplers}

    def sample_problems(
        self, dataset: Dataset, ledger: Ledger | None = None, sampler: Sampler | None = None
    ) -> list[Sample]:
        """
        What the first sampler writes for some problems, as in an evaluation: greedily, one completion each, with the
        tools that it calls. Or what a sampler given here draws with its own settings, such as several completions of
        each at a temperature. An answer that a sampler supplies does not take the place of the true one. Problems that
        are among their own few-shot examples are left out, as in training.

        Args:
            dataset ([`~datasets.Dataset`]):
                Problems.
            ledger ([`~star_trl.ledger.Ledger`], *optional*):
                Where the samples are recorded. What it has already is not made again. By default nothing is recorded.
            sampler ([`Sampler`], *optional*):
                What to draw with in place of the first sampler, decoded greedily.

        Returns:
            `list[Sample]`: The scored samples, from all processes, in the order of the problems: one per problem, or
            `num_generations` of the sampler.

        Raises:
            `ValueError`: If a sampler given here is to draw several completions greedily, or reads a column that the
            problems lack.
        """
        greedy, iteration = sampler is None, max(self.iteration, 1)
        if sampler is not None:
            check_draws(sampler, self.args)
            check_problems(dataset, "dataset", ["prompt", sampler.prompt_column])
        sampler = sampler or self.samplers[0]
        self.proposals.drop_metrics(evaluation=True)  # of calls whose metrics nobody asked for
        own = self.own_part(self.prompt_builder.without_examples(dataset))
        prompts = self.proposals.prompts(sampler, dataset, own, iteration, greedy)
        samples = list(self.propose(sampler, prompts, self.iteration, ledger, evaluation=True, greedy=greedy))
        if ledger is not None:
            return ledger.read(self.iteration)
        return sorted(gather_object(samples), key=lambda sample: sample.key)

    @contextmanager
    def generator(self, sampler: Sampler, greedy: bool = False) -> Iterator[Generator]:
        """
        What a sampler generates with, while the context is open.

        Args:
            sampler ([`Sampler`]):
                The sampler, for its settings.
            greedy (`bool`, *optional*, defaults to `False`):
                Whether to decode greedily whatever the settings.
        """
        with policy(self) as model:
            params = self.proposals.sampling_params(sampler, model.generation_config, greedy)
            yield Generator(self.engine, model, self.prompt_builder.tokenizer, params)

    def propose(
        self,
        sampler: Sampler,
        prompts: list[Prompt],
        iteration: int,
        ledger: Ledger | None = None,
        evaluation: bool = False,
        greedy: bool = False,
    ) -> Iterator[Sample]:
        """
        Completes and scores prompts, and records the samples as they come.

        Args:
            sampler ([`Sampler`]):
                What proposes.
            prompts (`list[Prompt]`):
                This process's prompts.
            iteration (`int`):
                Outer iteration that the samples are of.
            ledger ([`~star_trl.ledger.Ledger`], *optional*):
                Where they are recorded. Prompts that it has a sample of are left out.
            evaluation (`bool`, *optional*, defaults to `False`):
                Whether the true answers count, whatever the sampler supplies, and what reward functions give to
                `log_metric` is kept apart from the metrics of the iteration.
            greedy (`bool`, *optional*, defaults to `False`):
                Whether to decode greedily whatever the settings.

        Returns:
            `Iterator[Sample]`: The new samples, in any order.
        """
        recorded: set[tuple] = set()
        if ledger is not None:
            ledger.drop_torn_line(iteration)
            recorded = {sample.key for sample in ledger.read(iteration)}
        missing = [prompt for prompt in prompts if (sampler.name, prompt.problem, prompt.sample_index) not in recorded]
        if sampler.compares_samples:
            open_problems = {prompt.problem for prompt in missing}
            missing = [prompt for prompt in prompts if prompt.problem in open_problems]
        name = "evaluation" if evaluation else sampler.name
        with (
            self.generator(sampler, greedy) as generate,
            sampling_progress(self, len(missing), f"iteration {iteration}, {name}") as show,
        ):
            completions = sampler.sample(missing, generate)
            for group in self.proposals.scored(completions, sampler, iteration, self.state, evaluation):
                if ledger is not None:
                    ledger.append([sample for sample in group if sample.key not in recorded])
                show(group)
                yield from group
                self.termination.exit_if_requested()

    def policy_logprobs(self, samples: Sequence[Sample], few_shot: bool | None = None) -> list[float]:
        """
        Log-probabilities of samples, in nats, under the current model, behind the prompts that they are trained
        behind.

        Args:
            samples (`list[Sample]`):
                The samples, the same in every process.
            few_shot (`bool`, *optional*):
                Whether the few-shot examples stand before the prompt. As in training by default.

        Returns:
            `list[float]`: One per sample, from all processes.
        """
        own = self.own_part(samples)
        prompts = training_prompts(own, self.problems, self.prompt_builder, self.args, self.prompt_columns, few_shot)
        with policy(self) as model:
            logprobs = sequence_logprobs(model, prompts, own, self.prompt_builder.tokenizer.pad_token_id)
        merged = [0.0] * len(samples)
        for process, part in enumerate(gather_object([logprobs])):
            merged[process :: self.accelerator.num_processes] = part
        return merged

    def own_part(self, things: Sequence[T]) -> Sequence[T]:
        """This process's part of some problems or samples."""
        return things[self.accelerator.process_index :: self.accelerator.num_processes]
