# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Proposal distributions: which problems to sample for, conditioned on what, and how."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from .generation.engine import FinishReason
from .ledger import Ledger


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """
    What one completion is conditioned on.

    Args:
        problem (`int`):
            Index of the problem in the dataset.
        sample_index (`int`):
            Which of the `num_generations` completions of the problem this is.
        input_ids (`list[int]`):
            Token ids of the prompt, few-shot examples included.
        seed (`int`):
            Seed of the completion's own random stream.
        columns (`dict[str, Any]`):
            The problem's row.
        begun ([`Completion`], *optional*):
            A completion that paused, with what a tool added to it. Generation goes on behind it, and yields the whole.
    """

    problem: int
    sample_index: int
    input_ids: list[int]
    seed: int
    columns: dict[str, Any] = field(repr=False)
    begun: "Completion | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """
    What a sampler yields for a prompt.

    Args:
        prompt ([`Prompt`]):
            The prompt that the sampler was given.
        token_ids (`list[int]`):
            Token ids after the prompt, as sampled, ending with EOS unless cut by the length limit.
        loss_mask (`list[bool]`):
            For each token, whether it is trained on: `False` for tokens that the model did not write, such as a
            tool's result.
        finish_reason (`"eos"`, `"stop"`, `"length"` or `"pause"`):
            What ended it. One that was cut (`"length"`) or not gone on with (`"pause"`) is never kept.
        logprobs (`list[float]`, *optional*):
            Log-probability of each token, on request; 0 for those that the model did not write.
        hint_shown (`bool`, *optional*, defaults to `False`):
            Whether the sampler wants the hint to stay in the training prompt.
        answer (`Any`, *optional*):
            What to score against, from a sampler with `supplies_answer`. `None` where it has none to offer.
    """

    prompt: Prompt
    token_ids: list[int]
    loss_mask: list[bool]
    finish_reason: FinishReason
    logprobs: list[float] | None = None
    hint_shown: bool = False
    answer: Any = None


class Generate(Protocol):
    """
    What a sampler generates with: the current model under the sampler's settings.

    Called with prompts, it yields a [`Completion`] for each as it finishes, in any order. Keyword arguments replace
    fields of [`~star_trl.generation.SamplingParams`] for this call (`stop_strings`, `max_new_tokens`, ...).

    With `pause_between`, completions come back with the finish reason `"pause"` where a tool is to be called. To go on
    with one, generate for `replace(completion.prompt, begun=completion)`; `max_new_tokens` holds for the whole of it.
    """

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, prompts: Sequence[Prompt], **overrides: Any) -> Iterator[Completion]: ...


@dataclass(kw_only=True)
class LoopState:
    """
    What a sampler knows when it chooses its problems.

    Args:
        iteration (`int`):
            Outer iteration, counted from 1.
        problems ([`~datasets.Dataset`]):
            The training problems.
        candidates (`list[int]`):
            Indices of the problems of this iteration: `num_problems_per_iteration` of them, without those that are
            few-shot examples.
        solved (`set[int]`):
            Problems of this iteration that an earlier sampler solved, that is, has a kept sample of.
        rng (`random.Random`):
            Random numbers that depend only on the seed, the iteration and the sampler.
        ledger ([`~star_trl.ledger.Ledger`]):
            All samples so far.
    """

    iteration: int
    problems: Dataset
    candidates: list[int]
    solved: set[int]
    rng: random.Random
    ledger: Ledger


class Sampler:
    """
    A proposal distribution. Subclass it, and give the trainer a list of them: they run in that order, and each sees
    what the earlier ones solved.

    Attributes:
        name (`str`):
            Where a sample comes from, in the ledger and in the metrics.
        prompt_column (`str`, defaults to `"prompt"`):
            Column of the problems, and of the few-shot examples, that the model is conditioned on. What it is
            *trained* on is always `"prompt"`.
        supplies_answer (`bool`, defaults to `False`):
            Whether samples are scored against the `answer` of the completion in place of the problem's, which then
            need not exist. An evaluation always uses the problem's.
        compares_samples (`bool`, defaults to `True`):
            Whether `sample` looks at several samples of a problem together. A run that is resumed then makes all of a
            problem's samples again where some are missing, and otherwise only those.
        num_generations (`int`, *optional*), temperature (`float`, *optional*), top_p (`float`, *optional*),
        top_k (`int`, *optional*):
            Replace the values of [`STaRConfig`] where they are set.
    """

    name: str
    prompt_column: str = "prompt"
    supplies_answer: bool = False
    compares_samples: bool = True
    num_generations: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    def select(self, state: LoopState) -> list[int]:
        """Indices of the problems that it proposes for. By default all of this iteration's."""
        return state.candidates

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        """
        Completions for the prompts. Override it to call a tool in the middle, to vote, to mark samples.

        Args:
            prompts (`list[Prompt]`):
                `num_generations` prompts for each selected problem.
            generate ([`Generate`]):
                Generates with the current model.

        Returns:
            `Iterable[Completion]`: Yielded as they finish; they are scored and recorded as they come.
        """
        yield from generate(prompts)


class RationaleSampler(Sampler):
    """
    Rationale generation: proposes from M(r, y | x) for every problem (Algorithm 1, line 3, of the STaR paper).

    Args:
        num_generations (`int`, *optional*):
            Completions per problem. As in [`STaRConfig`] by default, and so are the following.
        temperature (`float`, *optional*):
            Sampling temperature.
        top_p (`float`, *optional*):
            Cumulative probability of the most likely tokens to keep.
        top_k (`int`, *optional*):
            Number of most likely tokens to keep.
    """

    name = "rationale"
    compares_samples = False

    def __init__(
        self,
        num_generations: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
    ):
        self.num_generations = num_generations
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k


class RationalizationSampler(RationaleSampler):
    """
    Rationalization: proposes from M(r, y | x, y*), with the answer as a hint, for the problems that no earlier
    sampler solved (Algorithm 1, lines 4 and 6). The samples are trained on behind the prompt without the hint.

    Args:
        p (`float`, *optional*, defaults to `1.0`):
            Share of the unsolved problems, chosen at random in each iteration, that it proposes for.
        p_show_hint (`float`, *optional*, defaults to `0.0`):
            Share of its samples that are trained on with the hint left in the prompt, so that the model does not
            forget what a hint is for. They are marked `hint_shown` in the ledger. The authors' code has this option.
        num_generations (`int`, *optional*), temperature (`float`, *optional*), top_p (`float`, *optional*), top_k
        (`int`, *optional*):
            As in [`RationaleSampler`].

    Raises:
        `ValueError`: If `p` or `p_show_hint` is not between 0 and 1.
    """

    name = "rationalization"
    prompt_column = "hinted_prompt"

    def __init__(
        self,
        p: float = 1.0,
        p_show_hint: float = 0.0,
        num_generations: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
    ):
        super().__init__(num_generations=num_generations, temperature=temperature, top_p=top_p, top_k=top_k)
        for name, value in (("p", p), ("p_show_hint", p_show_hint)):
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` is a share and must lie between 0 and 1, got {value}.")
        self.p = p
        self.p_show_hint = p_show_hint

    def select(self, state: LoopState) -> list[int]:
        unsolved = [problem for problem in state.candidates if problem not in state.solved]
        return [problem for problem in unsolved if state.rng.random() < self.p]

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        for completion in generate(prompts):
            # Keyed by the sample, so that it does not depend on the order in which completions finish.
            show_hint = random.Random(f"{completion.prompt.seed} show hint").random() < self.p_show_hint
            yield replace(completion, hint_shown=show_hint)


class MajorityVoteSampler(RationaleSampler):
    """
    Bootstrapping without ground truth: several rationales for every problem, scored against the answer that most of
    them end with (section 5 of the STaR paper; self-consistency, Wang et al. 2022, as pseudo-labels).

    Args:
        extract_answer (`Callable[[str], str | None]`):
            Finds the answer in the text of a completion; `None` where there is none, which casts no vote. Completions
            cut by the length limit cast none either. Of answers with as many votes, the one whose first sample has
            the lowest index wins.
        num_generations (`int`, *optional*, defaults to `8`):
            Completions per problem: the number of votes.
        temperature (`float`, *optional*, defaults to `0.7`):
            Sampling temperature.
        top_p (`float`, *optional*):
            Cumulative probability of the most likely tokens to keep. As in [`STaRConfig`] by default.
        top_k (`int`, *optional*):
            Number of most likely tokens to keep. As in [`STaRConfig`] by default.
    """

    name = "majority_vote"
    supplies_answer = True
    compares_samples = True

    def __init__(
        self,
        extract_answer: Callable[[str], str | None],
        num_generations: int = 8,
        temperature: float = 0.7,
        top_p: float | None = None,
        top_k: int | None = None,
    ):
        super().__init__(num_generations=num_generations, temperature=temperature, top_p=top_p, top_k=top_k)
        self.extract_answer = extract_answer

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        missing = Counter(prompt.problem for prompt in prompts)
        completions: dict[int, list[Completion]] = defaultdict(list)
        for completion in generate(prompts):
            problem = completion.prompt.problem
            completions[problem].append(completion)
            missing[problem] -= 1
            if not missing[problem]:
                voters = completions.pop(problem)
                answer = self._vote(voters, generate.tokenizer)
                yield from (replace(voter, answer=answer) for voter in voters)

    def _vote(self, voters: list[Completion], tokenizer: PreTrainedTokenizerBase) -> str | None:
        # In the order of the samples, not of their end, so that ties are the same in every run.
        whole = [voter for voter in voters if voter.finish_reason not in ("length", "pause")]
        if not whole:  # of which `batch_decode` makes one empty text
            return None
        whole.sort(key=lambda voter: voter.prompt.sample_index)
        texts = tokenizer.batch_decode([voter.token_ids for voter in whole], skip_special_tokens=True)
        votes = Counter(answer for answer in map(self.extract_answer, texts) if answer is not None)
        return votes.most_common(1)[0][0] if votes else None
