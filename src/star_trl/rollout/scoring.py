# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Turns completions into scored samples."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any

from accelerate.utils import gather_object
from transformers import PreTrainedTokenizerBase, TrainerState

from ..finish_reason import FinishReason
from ..ledger.messages import as_completion, as_text
from ..ledger.sample import Sample
from ..rewards.calling import own_copy
from ..rewards.scoring import Score, Scorer
from ..samplers import Completion, Sampler
from .completions import why_not_json


# Completions are scored and recorded in groups of at most this size. It is large enough for reward functions that work
# on batches, and small enough that a crash loses little.
BATCH_SIZE = 64


class CompletionScorer:
    """
    Turns completions into samples with rewards.

    Args:
        scorer ([`~star_trl.rewards.scoring.Scorer`]):
            Calls the reward functions and decides what is kept.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        batch_size (`int`, *optional*, defaults to `64`):
            Maximum number of completions that are scored together.
        true_answers (`bool`, *optional*, defaults to `False`):
            Whether the problems' answers count even where a sampler supplies its own, as in an evaluation.
        unfinished (`Collection[str]`, *optional*, defaults to `("length", "pause")`):
            Finish reasons of completions that are dropped whatever their reward.
    """

    def __init__(
        self,
        scorer: Scorer,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int = BATCH_SIZE,
        true_answers: bool = False,
        unfinished: Collection[FinishReason] = ("length", "pause"),
    ):
        self.scorer = scorer
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.true_answers = true_answers
        self.unfinished = unfinished
        # Values that reward functions logged with `log_metric`, by name.
        self._logged: dict[str, list[float]] = defaultdict(list)

    def __call__(
        self, completions: Iterable[Completion], sampler: Sampler, iteration: int, trainer_state: TrainerState
    ) -> Iterator[list[Sample]]:
        """
        Scores completions in groups as they arrive.

        Args:
            completions (`Iterable[Completion]`):
                Completions of the sampler.
            sampler ([`Sampler`]):
                The sampler.
            iteration (`int`):
                Outer iteration.
            trainer_state ([`~transformers.TrainerState`]):
                Passed to the reward functions.

        Returns:
            `Iterator[list[Sample]]`: One list per group. If the sampler fails, the completions before the failure are
            scored first, and then its exception is raised.
        """
        completions = iter(completions)
        size = min(self.batch_size, sampler.max_environments or self.batch_size)
        failure = None
        while failure is None:
            group: list[Completion] = []
            try:
                group.extend(islice(completions, size))
            except Exception as error:
                failure = error
            if not group:
                break
            yield self._score(group, sampler, iteration, trainer_state)
        if failure is not None:
            raise failure

    def pop_metrics(self) -> dict[str, float]:
        """
        Returns the means, over all processes, of the values that reward functions logged with `log_metric` since the
        last call. Every process must call it.
        """
        sums: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        own = {name: (sum(values), len(values)) for name, values in self._logged.items()}
        for part in gather_object([own]):
            for name, (total, count) in part.items():
                sums[name] += total
                counts[name] += count
        self.drop_metrics()
        return {name: sums[name] / counts[name] for name in sums}

    def drop_metrics(self) -> None:
        """Discards this process's values that [`~CompletionScorer.pop_metrics`] would average."""
        self._logged.clear()

    def _score(
        self, completions: list[Completion], sampler: Sampler, iteration: int, trainer_state: TrainerState
    ) -> list[Sample]:
        failed = [completion for completion in completions if completion.error is not None]
        completions = [completion for completion in completions if completion.error is None]
        samples = self._score_finished(completions, sampler, iteration, trainer_state) if completions else []
        for completion in failed:
            nothing: dict[str, float | None] = dict.fromkeys(self.scorer.names)
            score = Score(rewards=nothing, reward=None, passed=False, verified=False, error=completion.error)
            text = str(self.tokenizer.decode(completion.token_ids, skip_special_tokens=True))
            samples.append(_sample(completion, text, score, sampler, iteration, completion.extra, self.unfinished))
        sampler.scored([*completions, *failed])
        return samples

    def _score_finished(
        self, completions: list[Completion], sampler: Sampler, iteration: int, trainer_state: TrainerState
    ) -> list[Sample]:
        rows = [completion.prompt.columns for completion in completions]
        texts = self.tokenizer.decode([completion.token_ids for completion in completions], skip_special_tokens=True)
        columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "completion")}
        if sampler.supplies_answer and not self.true_answers:
            columns["answer"] = [completion.answer for completion in completions]
        if "answer" in columns:
            columns.setdefault("solution", columns["answer"])
        if self.scorer.with_environments:
            columns["environments"] = [completion.environment for completion in completions]
            columns["environment_rewards"] = [completion.rewards for completion in completions]
        logged: dict[str, Any] = {}
        scores = self.scorer(
            prompts=[row["prompt"] for row in rows],
            completions=[
                as_completion(text, completion.prompt.columns["prompt"])
                if completion.messages is None
                else completion.messages
                for text, completion in zip(texts, completions, strict=True)
            ],
            completion_ids=[completion.token_ids for completion in completions],
            samplers=[sampler.name] * len(rows),
            trainer_state=trainer_state,
            # A function may use its list again.
            log_extra=lambda column, values: logged.update({column: own_copy(values)}),
            log_metric=lambda name, value: self._logged[name].append(_as_float(name, value)),
            **columns,
        )
        # Checked here, since an error within the reward function would only have it called again without `log_extra`.
        extras = {column: _as_column(column, values, len(rows)) for column, values in logged.items()}
        return [
            _sample(
                completions[row],
                text,
                scores[row],
                sampler,
                iteration,
                {**completions[row].extra, **{column: values[row] for column, values in extras.items()}},
                self.unfinished,
            )
            for row, text in enumerate(texts)
        ]


def _as_column(column: str, values: Any, count: int) -> list:
    """Returns what a reward function logs for each completion as a list."""
    try:
        found = None if isinstance(values, (str, bytes, dict)) else list(values)
    except TypeError:  # also that of a tensor without dimensions
        found = None
    if found is None or len(found) != count:
        raise TypeError(
            f"`log_extra` takes a list with one value for each of the {count} completions, but a reward function gave "
            f"it {values!r:.80} (`{type(values).__name__}`) for the column `{column}`."
        )
    for value in found:
        if reason := why_not_json({column: value}):
            raise TypeError(f"`log_extra` cannot record {value!r:.80} for the column {column!r}: {reason}.")
    return found


def _as_float(name: str, value: Any) -> float:
    """Returns the value of a metric as a float. `metrics.json` could not hold a scalar of NumPy or torch."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises the last one
        raise TypeError(
            f"`log_metric` takes one number, but a reward function gave it {value!r:.80} "
            f"(`{type(value).__name__}`) for the metric `{name}`. Give the mean over the completions, for example."
        ) from error


def _sample(
    completion: Completion,
    text: str,
    score: Score,
    sampler: Sampler,
    iteration: int,
    extra: dict[str, Any],
    unfinished: Collection[FinishReason],
) -> Sample:
    if completion.messages is not None:
        extra = {**extra, "messages": completion.messages}
    if completion.error is not None:
        drop_reason: str | None = "error"
    elif completion.finish_reason in unfinished:
        drop_reason = "truncated"
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
