# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What stands before and after a sampler: its prompts and parameters, and the scores of its completions."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from transformers import GenerationConfig, PreTrainedTokenizerBase, TrainerState

from .generation import SamplingParams
from .generator import seed_of
from .ledger import Sample
from .prompting import PromptBuilder, as_completion, as_text
from .rewards.scoring import Score, Scorer
from .samplers import Completion, Prompt, Sampler
from .star_config import STaRConfig, as_dict


# Completions are scored and recorded in groups of at most this size: large enough for reward functions that work on
# batches, small enough that a crash loses little.
SCORING_BATCH_SIZE = 64


class Proposals:
    """
    Turns problems into prompts, and completions into scored samples.

    Args:
        args ([`STaRConfig`]):
            Configuration.
        builder ([`PromptBuilder`]):
            Builds the prompts.
        scorer ([`Scorer`]):
            Scores the completions.
    """

    def __init__(self, args: STaRConfig, builder: PromptBuilder, scorer: Scorer):
        self.args = args
        self.builder = builder
        self.scorer = scorer
        self.tokenizer: PreTrainedTokenizerBase = builder.tokenizer
        # What reward functions gave to `log_metric`, in sampling (False) and in evaluations (True), by name.
        self._logged: dict[bool, dict[str, list[float]]] = {False: defaultdict(list), True: defaultdict(list)}

    def prompts(
        self, sampler: Sampler, dataset: Dataset, problems: Sequence[int], iteration: int, greedy: bool = False
    ) -> list[Prompt]:
        """
        The prompts of a sampler.

        Args:
            sampler ([`Sampler`]):
                The sampler.
            dataset ([`~datasets.Dataset`]):
                All problems.
            problems (`list[int]`):
                Indices of those to propose for.
            iteration (`int`):
                Outer iteration, counted from 1.
            greedy (`bool`, *optional*, defaults to `False`):
                Whether one completion per problem is wanted whatever the settings.

        Returns:
            `list[Prompt]`: `num_generations` prompts for each problem, next to each other.
        """
        num_generations = 1 if greedy else sampler.num_generations or self.args.num_generations
        rows = dataset.select(problems).to_list()
        all_ids = self.builder.encode(rows, sampler.prompt_column, self.args.samples_few_shot(iteration))
        return [
            Prompt(
                problem=problem,
                sample_index=index,
                input_ids=input_ids,
                seed=seed_of(self.args.seed, iteration, sampler.name, problem, index),
                columns=row,
            )
            for problem, row, input_ids in zip(problems, rows, all_ids, strict=True)
            for index in range(num_generations)
        ]

    def sampling_params(self, sampler: Sampler, config: GenerationConfig, greedy: bool = False) -> SamplingParams:
        """
        How a sampler draws tokens: its own settings over those of the configuration.

        Args:
            sampler ([`Sampler`]):
                The sampler.
            config ([`~transformers.GenerationConfig`]):
                The model's generation configuration, for its EOS tokens.
            greedy (`bool`, *optional*, defaults to `False`):
                Whether to decode greedily whatever the settings.
        """
        eos = config.eos_token_id
        eos_token_ids = [] if eos is None else [eos] if isinstance(eos, int) else eos
        return SamplingParams(
            max_new_tokens=self.args.max_completion_length,
            eos_token_ids=frozenset([*eos_token_ids, self.tokenizer.eos_token_id]),
            temperature=0.0 if greedy else sampler.setting("temperature", self.args),
            top_p=sampler.setting("top_p", self.args),
            top_k=sampler.setting("top_k", self.args),
            min_p=self.args.min_p,
            stop_strings=tuple(self.args.stop_strings or ()),
            generation_kwargs=as_dict(self.args.generation_kwargs),
            logprobs=not greedy and self.args.needs_logprobs,
        )

    def scored(
        self,
        completions: Iterable[Completion],
        sampler: Sampler,
        iteration: int,
        trainer_state: TrainerState,
        evaluation: bool = False,
    ) -> Iterator[list[Sample]]:
        """
        Scores completions in groups as they come.

        Args:
            completions (`Iterable[Completion]`):
                What the sampler yields.
            sampler ([`Sampler`]):
                The sampler.
            iteration (`int`):
                Outer iteration.
            trainer_state ([`~transformers.TrainerState`]):
                Passed to the reward functions.
            evaluation (`bool`, *optional*, defaults to `False`):
                Whether the true answers count, whatever the sampler supplies, and `log_metric` makes metrics of an
                evaluation.

        Returns:
            `Iterator[list[Sample]]`: One list per group. Where the sampler fails, what it completed before comes
            first, and then the exception.
        """
        completions = iter(completions)
        size = min(SCORING_BATCH_SIZE, self.args.generation_batch_size or SCORING_BATCH_SIZE)
        failure = None
        while failure is None:
            group: list[Completion] = []
            try:
                group.extend(islice(completions, size))
            except Exception as error:
                failure = error
            if not group:
                break
            yield self._score(group, sampler, iteration, trainer_state, evaluation)
        if failure is not None:
            raise failure

    def pop_metrics(self, evaluation: bool = False) -> dict[str, float]:
        """
        Means, over all processes, of what reward functions gave to `log_metric` since the last call. Every process
        must call it.

        Args:
            evaluation (`bool`, *optional*, defaults to `False`):
                Whether those of evaluations are wanted, and not those of sampling.
        """
        sums: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        own = {name: (sum(values), len(values)) for name, values in self._logged[evaluation].items()}
        for part in gather_object([own]):
            for name, (total, count) in part.items():
                sums[name] += total
                counts[name] += count
        self.drop_metrics(evaluation)
        return {name: sums[name] / counts[name] for name in sums}

    def drop_metrics(self, evaluation: bool) -> None:
        """Forgets this process's part of what [`~Proposals.pop_metrics`] would return."""
        self._logged[evaluation].clear()

    def _score(
        self,
        completions: list[Completion],
        sampler: Sampler,
        iteration: int,
        trainer_state: TrainerState,
        evaluation: bool,
    ) -> list[Sample]:
        rows = [completion.prompt.columns for completion in completions]
        texts = self.tokenizer.batch_decode(
            [completion.token_ids for completion in completions], skip_special_tokens=True
        )
        columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "completion")}
        if sampler.supplies_answer and not evaluation:
            columns["answer"] = [completion.answer for completion in completions]
        if "answer" in columns:
            columns.setdefault("solution", columns["answer"])
        extras: dict[str, list] = {}
        scores = self.scorer(
            prompts=[row["prompt"] for row in rows],
            completions=[as_completion(text, row["prompt"]) for text, row in zip(texts, rows, strict=True)],
            completion_ids=[completion.token_ids for completion in completions],
            trainer_state=trainer_state,
            log_extra=lambda column, values: extras.update({column: list(values)}),
            log_metric=lambda name, value: self._logged[evaluation][name].append(_as_float(name, value)),
            **columns,
        )
        return [
            _sample(
                completions[row],
                text,
                scores[row],
                sampler,
                iteration,
                {**completions[row].extra, **{column: values[row] for column, values in extras.items()}},
            )
            for row, text in enumerate(texts)
        ]


def _as_float(name: str, value: Any) -> float:
    """The value of a metric, which may be a scalar of NumPy or torch, that `metrics.json` could not hold."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises the last one
        raise TypeError(
            f"`log_metric` takes one number, but a reward function gave it {value!r:.80} "
            f"(`{type(value).__name__}`) for the metric `{name}`. Give the mean over the completions, for example."
        ) from error


def _sample(
    completion: Completion, text: str, score: Score, sampler: Sampler, iteration: int, extra: dict[str, Any]
) -> Sample:
    if completion.finish_reason in ("length", "pause"):
        drop_reason: str | None = "truncated"
    elif score.error is not None:
        drop_reason = "error"
    elif not score.verified:
        drop_reason = "unverified"
    else:
        drop_reason = None if score.passed else "wrong"
    prompt = completion.prompt.columns["prompt"]
    return Sample(
        iteration=iteration,
        problem_id=completion.prompt.problem,
        sampler=sampler.name,
        sample_index=completion.prompt.sample_index,
        prompt=as_text(prompt),
        hint_shown=completion.hint_shown,
        completion=text,
        completion_ids=completion.token_ids,
        loss_mask=completion.loss_mask,
        finish_reason=completion.finish_reason,
        rewards=score.rewards,
        reward=score.reward,
        kept=drop_reason is None,
        drop_reason=drop_reason,
        logprob=None if completion.logprobs is None else sum(completion.logprobs),
        extra=extra if score.error is None else {**extra, "error": score.error},
    )
