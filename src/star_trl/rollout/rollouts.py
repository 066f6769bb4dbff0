# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Turns problems into prompts and their completions into scored samples."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, cast

from accelerate.utils import gather_object
from datasets import Dataset
from transformers import GenerationConfig, PreTrainedModel, TrainerState

from ..distributed import own_part
from ..generation.answers import exit_is_an_error
from ..generation.engine import SamplingParams
from ..generation.policy import Policy, eos_token_ids
from ..generation.prefix_sharing.groups import num_distinct
from ..ledger.ledger import Ledger
from ..ledger.sample import Sample
from ..samplers import Completion, Prompt, Sampler
from ..seeds import seed_of
from ..star_config import STaRConfig, as_dict
from ..task.task import Task
from .completions import check_completions
from .generator import Generator
from .scoring import BATCH_SIZE, CompletionScorer


class Progress(Protocol):
    """Follows the completions of one sampler."""

    def generated(self) -> None:
        """Called when a completion is finished."""

    def scored(self, samples: Sequence[Sample]) -> None:
        """Called when a group of completions is scored and recorded."""


# Takes the number of samples to come and a title.
Follow = Callable[[int, str], AbstractContextManager[Progress]]


class Rollouts:
    """
    Samples completions of the current model with samplers, scores them and records them as they finish.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task.
        args ([`STaRConfig`]):
            Configuration.
        policy ([`~star_trl.generation.policy.Policy`]):
            The current model and its engine.
        state (`Callable[[], TrainerState]`):
            Returns the trainer's current state, for the reward functions.
        follow (`Follow`):
            Follows the completions, to show the progress or to end the run early.
        evaluation (`bool`, *optional*, defaults to `False`):
            Whether the samples evaluate a model. The true answers then count, even where a sampler supplies others.

    Attributes:
        scoring ([`CompletionScorer`]):
            Scores the completions, and holds the metrics that reward functions log with `log_metric`.
        prompt_tokens (`int`):
            Number of tokens of this process's training prompts so far. What several prompts of a sampler begin with
            counts once.
    """

    def __init__(
        self,
        task: Task,
        args: STaRConfig,
        policy: Policy,
        state: Callable[[], TrainerState],
        follow: Follow,
        evaluation: bool = False,
    ):
        self.task = task
        self.args = args
        self.policy = policy
        self.state = state
        self.follow = follow
        self.evaluation = evaluation
        self.prompt_tokens = 0
        batch_size = min(BATCH_SIZE, args.generation_batch_size or BATCH_SIZE)
        self.scoring = CompletionScorer(
            task.scorer, task.prompt_builder.tokenizer, batch_size, evaluation, args.unfinished
        )

    def prompts(self, sampler: Sampler, dataset: Dataset, problems: Sequence[int], iteration: int) -> list[Prompt]:
        """
        Builds this process's prompts of a sampler for some problems.

        Args:
            sampler ([`Sampler`]):
                The sampler.
            dataset ([`~datasets.Dataset`]):
                All problems.
            problems (`list[int]`):
                Indices of the problems to sample.
            iteration (`int`):
                Outer iteration, counted from 1.

        Returns:
            `list[Prompt]`: `num_generations` adjacent prompts for each problem.
        """
        problems = own_part(problems, self.policy.accelerator)
        rows = dataset.select(problems).to_list()
        few_shot = self.args.samples_few_shot(iteration)
        tools = [sampler.tools_of(row) for row in rows]
        builder, column = self.task.prompt_builder, sampler.prompt_column
        all_ids = builder.encode_problems(dataset, problems, column, few_shot, tools)
        if not self.evaluation:
            self.prompt_tokens += num_distinct(all_ids)
        return [
            Prompt(
                problem=problem,
                sample_index=index,
                input_ids=cast(list[int], input_ids),
                seed=seed_of(self.args.seed, iteration, sampler.name, problem, index),
                columns=row,
            )
            for problem, row, input_ids in zip(problems, rows, all_ids, strict=True)
            for index in range(sampler.num_generations or self.args.num_generations)
        ]

    def sample(
        self,
        sampler: Sampler,
        prompts: list[Prompt],
        iteration: int,
        ledger: Ledger | None = None,
        title: str | None = None,
    ) -> Iterator[Sample]:
        """
        Completes and scores prompts, and records the samples as they finish.

        Args:
            sampler ([`Sampler`]):
                The sampler.
            prompts (`list[Prompt]`):
                This process's prompts.
            iteration (`int`):
                Outer iteration of the samples.
            ledger ([`~star_trl.ledger.Ledger`], *optional*):
                Ledger that records the samples. Prompts that have a sample in it are left out.
            title (`str`, *optional*):
                Title of the progress. The iteration and the sampler by default.

        Returns:
            `Iterator[Sample]`: The new samples, in any order.

        Raises:
            `ValueError`: If the ledger of a run has samples that the run does not ask for.
        """

        def unrecorded(recorded: Collection[tuple]) -> list[Prompt]:
            return [
                prompt for prompt in prompts if (sampler.name, prompt.problem, prompt.sample_index) not in recorded
            ]

        recorded: Collection[tuple] = ()
        if ledger is not None:
            ledger.drop_torn_line(iteration)
            recorded = ledger.keys(iteration)
            ledger.check_asked(iteration, sampler.name, {(prompt.problem, prompt.sample_index) for prompt in prompts})
        missing = unrecorded(recorded)
        if sampler.compares_samples:
            open_problems = {prompt.problem for prompt in missing}
            missing = [prompt for prompt in prompts if prompt.problem in open_problems]
        title = title or f"iteration {iteration}, {'evaluation' if self.evaluation else sampler.name}"
        with (
            self.generator(sampler, self.args.samples_few_shot(max(iteration, 1))) as generate,
            self.follow(len(missing), title) as progress,
        ):
            vocab_size = generate.model.config.get_text_config().vocab_size
            with exit_is_an_error(f"The sampler `{sampler.name}`"):
                completions = sampler.sample(missing, generate)
            completions = check_completions(completions, missing, sampler, self.args.max_completion_length, vocab_size)
            followed = _followed(completions, progress)
            for group in self.scoring(followed, sampler, iteration, self.state()):
                if ledger is not None:
                    ledger.append([sample for sample in group if sample.key not in recorded])
                yield from group
                progress.scored(group)
        if ledger is not None:
            if lost := unrecorded(ledger.keys(iteration)):
                raise RuntimeError(
                    f"{len(lost)} of the {len(prompts)} samples of `{sampler.name}` that were recorded in "
                    f"{ledger.iteration_dir(iteration).resolve()} are gone: a file was deleted or cut while the run "
                    "was in progress. Resume the run, and the samples are made again."
                )

    def collect(
        self,
        sampler: Sampler,
        dataset: Dataset,
        problems: Sequence[int],
        iteration: int,
        ledger: Ledger | None = None,
        title: str | None = None,
    ) -> list[Sample]:
        """
        Samples some problems.

        Args:
            sampler ([`Sampler`]):
                The sampler.
            dataset ([`~datasets.Dataset`]):
                All problems.
            problems (`list[int]`):
                Indices of the problems to sample.
            iteration (`int`):
                Outer iteration of the samples. The prompts of iteration 0 are those of iteration 1.
            ledger ([`~star_trl.ledger.Ledger`], *optional*):
                Ledger that records the samples.
            title (`str`, *optional*):
                Title of the progress. The iteration and the sampler by default.

        Returns:
            `list[Sample]`: The samples of all processes, in the order of the problems. With a ledger, all that it
            holds of the iteration.
        """
        self.scoring.drop_metrics()  # left over from calls whose metrics nobody read
        prompts = self.prompts(sampler, dataset, problems, max(iteration, 1))
        samples = list(self.sample(sampler, prompts, iteration, ledger, title))
        if ledger is not None:
            return ledger.read(iteration)
        return sorted(gather_object(samples), key=lambda sample: sample.key)

    @contextmanager
    def generator(self, sampler: Sampler, few_shot: bool = True) -> Iterator[Generator]:
        """
        Yields the generator of a sampler. It is usable while the context is open.

        Args:
            sampler ([`Sampler`]):
                The sampler, for its settings.
            few_shot (`bool`, *optional*, defaults to `True`):
                Whether prompts that the sampler makes itself begin with the few-shot examples.
        """
        builder = self.task.prompt_builder
        with self.policy() as model:
            params = self._sampling_params(sampler, model.generation_config)
            yield Generator(
                self.policy.engine,
                model,
                builder.tokenizer,
                params,
                lambda rows, column: builder.encode(rows, column, few_shot, list(map(sampler.tools_of, rows))),
                builder.encode_results,
                self._max_prompt_length(model),
            )

    def _max_prompt_length(self, model: PreTrainedModel) -> int | None:
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        limits = [limit for limit in (context, self.args.max_length) if limit is not None]
        return min(limits) - self.args.max_completion_length if limits else None

    def _sampling_params(self, sampler: Sampler, config: GenerationConfig) -> SamplingParams:
        """Returns a sampler's sampling parameters. Its own settings override those of the configuration."""
        return SamplingParams(
            max_new_tokens=self.args.max_completion_length,
            eos_token_ids=eos_token_ids(config, self.task.prompt_builder.tokenizer),
            temperature=sampler.setting("temperature", self.args),
            top_p=sampler.setting("top_p", self.args),
            top_k=sampler.setting("top_k", self.args),
            min_p=self.args.min_p,
            stop_strings=tuple(self.args.stop_strings or ()),
            generation_kwargs=as_dict(self.args.generation_kwargs),
            logprobs=self.args.needs_logprobs,
        )


def _followed(completions: Iterable[Completion], progress: Progress) -> Iterator[Completion]:
    for completion in completions:
        progress.generated()
        yield completion
