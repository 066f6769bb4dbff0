# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The interface between the loop and a proposal distribution."""

import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..generation.engine import FinishReason
from ..ledger.ledger import Ledger
from ..star_config import STaRConfig
from ..token_ids import as_list, packed_field
from ..tools.tool import Tool


# Under this name in `extra`, samplers record the token ids of a prompt that no chat template made.
PROMPT_IDS = "prompt_ids"


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
            Token ids of the prompt, few-shot examples included. Reading them may make a new list: what is appended to
            it is lost.
        seed (`int`):
            Seed of the completion's own random stream.
        columns (`dict[str, Any]`):
            The problem's row.
        begun ([`Completion`], *optional*):
            A completion that paused, with what a tool added to it. Generation continues after it and yields the
            whole completion.
    """

    problem: int
    sample_index: int
    input_ids: list[int]
    seed: int
    columns: dict[str, Any] = field(repr=False)
    begun: "Completion | None" = None


held_input_ids = packed_field(Prompt, "input_ids", lambda ids: ids, as_list)


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
            For each token, whether it is trained on. `False` for tokens that the model did not write, such as a tool's
            result.
        finish_reason (`"eos"`, `"stop"`, `"length"` or `"pause"`):
            What ended it. A completion that was not continued (`"pause"`) is never kept, and one that was cut
            (`"length"`) only with `mask_truncated_completions=False`.
        logprobs (`list[float]`, *optional*):
            Log-probability of each token, on request. 0 for tokens that the model did not write.
        hint_shown (`bool`, *optional*, defaults to `False`):
            Whether the sampler wants the hint to stay in the training prompt.
        answer (`Any`, *optional*):
            Answer to score against, from a sampler with `supplies_answer`. `None` if it has none.
        extra (`dict[str, Any]`, *optional*):
            Further data that the sampler records, in the ledger's `extra`.
        messages (`list[dict]`, *optional*):
            The turns of a conversation: those of the model and those of its tools. Reward functions get them as the
            completion, and the ledger's `extra` has them.
        environment (`Any`, *optional*):
            The environment that the completion was made in, for reward functions that take `environments`.
        rewards (`dict[str, float | None]`, *optional*):
            Rewards that the environment gave, by their names among the trainer's reward functions.
        error (`str`, *optional*):
            What went wrong, for a completion that could not be finished. It is recorded with this error, and neither
            scored nor kept.
    """

    prompt: Prompt
    token_ids: list[int]
    loss_mask: list[bool]
    finish_reason: FinishReason
    logprobs: list[float] | None = None
    hint_shown: bool = False
    answer: Any = None
    extra: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] | None = None
    environment: Any = field(default=None, repr=False)
    rewards: dict[str, float | None] = field(default_factory=dict)
    error: str | None = None


class Pauses(Protocol):
    """Continues completions that pause while others are still being generated. See [`Generate`]."""

    def begin(self, completion: Completion) -> "Future[Any] | None":
        """
        Begins to work out what follows a completion, such as the result of a tool, in another thread. Returns None for
        a completion that ends where it paused.
        """

    def end(self, completion: Completion, result: Any) -> Completion | None:
        """
        Returns the completion with what follows, for the result of the future, or None for one that ends where it
        paused.
        """


class Generate(Protocol):
    """
    Generates completions for a sampler, with the current model and the sampler's settings.

    Called with prompts, it yields a [`Completion`] for each as it finishes, in any order. Keyword arguments replace
    fields of [`~star_trl.generation.SamplingParams`] for this call (`stop_strings`, `max_new_tokens`, ...).
    `max_new_tokens` may not be more than `max_completion_length`.

    With `pause_between`, a completion comes back with the finish reason `"pause"` where a tool is to be called. To
    continue it, generate for `replace(completion.prompt, begun=completion)`. `max_new_tokens` then holds for the whole
    completion. With `pauses` as well, completions are continued without coming back, and the engine goes on with the
    others until the result is there.
    """

    tokenizer: PreTrainedTokenizerBase

    def __call__(
        self, prompts: Sequence[Prompt], pauses: Pauses | None = None, **overrides: Any
    ) -> Iterator[Completion]: ...


class ChatGenerate(Generate, Protocol):
    """
    What a sampler that makes its prompts itself generates with: the [`Generate`] of a run.

    Attributes:
        eos_token_ids (`frozenset[int]`):
            Token ids that end a completion.
        max_prompt_length (`int`, *optional*):
            Number of tokens of a prompt that a whole completion fits behind, in the model and in training.
        max_completion_length (`int`):
            Maximum number of tokens of a completion.
    """

    eos_token_ids: frozenset[int]
    max_prompt_length: int | None
    max_completion_length: int

    def encode(self, rows: Sequence[dict[str, Any]], column: str) -> list[list[int]]:
        """Returns the token ids of the prompts of rows, with the few-shot examples of the iteration."""

    def encode_results(self, messages: list[dict[str, Any]]) -> list[int]:
        """Returns the token ids of results of tools, and of the beginning of the turn that follows them."""


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
            Problems of this iteration that an earlier sampler solved, which means that one of its samples is kept.
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
            Name of the samples' source, in the ledger and in the metrics.
        prompt_column (`str`, defaults to `"prompt"`):
            Column of the problems, and of the few-shot examples, that the model is conditioned on. What it is
            *trained* on is always `"prompt"`.
        supplies_answer (`bool`, defaults to `False`):
            Whether samples are scored against the `answer` of the completion instead of the problem's, which then need
            not exist. An evaluation always uses the problem's.
        converses (`bool`, defaults to `False`):
            Whether the model calls tools by turns of a conversation, in its chat template.
        makes_prompts (`bool`, defaults to `False`):
            Whether its samples have prompts of their own, in the ledger, and not those of the problems.
        adds_columns (`bool`, defaults to `False`):
            Whether its completions come with columns for the reward functions that the problems do not have.
        reward_names (`tuple[str, ...]`, defaults to `()`):
            Names of the rewards that its completions come with.
        max_environments (`int`, *optional*):
            Number of completions after which they are scored, so that their environments can be used again.
        compares_samples (`bool`, defaults to `True`):
            Whether `sample` looks at several samples of a problem together. If so, a resumed run makes all of a
            problem's samples again when some are missing. If not, it makes only the missing ones.
        num_generations (`int`, *optional*):
            Completions per problem. If set, this and the next three replace the values of [`STaRConfig`].
        temperature (`float`, *optional*):
            Sampling temperature.
        top_p (`float`, *optional*):
            Nucleus sampling.
        top_k (`int`, *optional*):
            Top-k sampling.
    """

    name: str
    prompt_column: str = "prompt"
    supplies_answer: bool = False
    converses: bool = False
    makes_prompts: bool = False
    adds_columns: bool = False
    reward_names: tuple[str, ...] = ()
    max_environments: int | None = None
    compares_samples: bool = True
    num_generations: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    @property
    def shown_column(self) -> str:
        """
        Column of the rows that its prompts are made of: `prompt_column`, or `"hinted_prompt"` where an environment
        gives the hint that the problems do not have.
        """
        return self.prompt_column

    @property
    def on_policy(self) -> bool:
        """Whether it draws from the model given the prompt that is trained on. No sampler that uses a hint does."""
        return self.prompt_column == "prompt"

    def setting(self, name: str, args: STaRConfig) -> Any:
        """Returns `temperature`, `top_p` or `top_k`: its own value, or that of the configuration if it has none."""
        own = getattr(self, name)
        return getattr(args, name) if own is None else own

    def arguments(self) -> dict[str, Any]:
        """
        Returns the arguments that it was made with, if they are numbers, texts, a tool or another sampler, and its
        settings. A run can only be resumed with the same values.
        """
        settings = ("prompt_column", "num_generations", "temperature", "top_p", "top_k")
        names = [*inspect.signature(type(self)).parameters, *settings]
        values = {name: getattr(self, name, None) for name in names}
        return {
            "name": self.name,
            **{
                name: value.arguments() if isinstance(value, (Sampler, Tool)) else value
                for name, value in values.items()
                if isinstance(value, (bool, int, float, str, Sampler, Tool))
            },
        }

    def select(self, state: LoopState) -> list[int]:
        """Returns the indices of the problems that it proposes for. By default all of this iteration's."""
        return state.candidates

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        """
        Returns completions for the prompts. Override it to call a tool midway, to vote or to mark samples.

        Args:
            prompts (`list[Prompt]`):
                `num_generations` prompts for each selected problem.
            generate ([`Generate`]):
                Generates with the current model.

        Returns:
            `Iterable[Completion]`: The completions. Yield them as they finish: they are scored and recorded as they
            come.
        """
        yield from generate(prompts)

    def tools_of(self, row: dict[str, Any]) -> list[Callable] | None:
        """Returns the tools that the chat template shows the model for a problem."""
        return None

    def scored(self, completions: Sequence[Completion]) -> None:
        """Called when completions have been scored. Nothing needs their environments any more."""


class WrappedSampler(Sampler):
    """
    A sampler that modifies another one and has its name, prompts and settings. Override `select` or `sample`.

    Args:
        sampler ([`Sampler`]):
            The sampler.
    """

    def __init__(self, sampler: Sampler):
        self.sampler = sampler
        self.name = sampler.name
        self.prompt_column = sampler.prompt_column
        self.supplies_answer = sampler.supplies_answer
        self.converses = sampler.converses
        self.makes_prompts = sampler.makes_prompts
        self.adds_columns = sampler.adds_columns
        self.reward_names = sampler.reward_names
        self.max_environments = sampler.max_environments
        self.compares_samples = sampler.compares_samples
        self.num_generations = sampler.num_generations
        self.temperature = sampler.temperature
        self.top_p = sampler.top_p
        self.top_k = sampler.top_k

    @property
    def shown_column(self) -> str:
        return self.sampler.shown_column

    @property
    def on_policy(self) -> bool:
        return self.sampler.on_policy

    def select(self, state: LoopState) -> list[int]:
        return self.sampler.select(state)

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        return self.sampler.sample(prompts, generate)

    def tools_of(self, row: dict[str, Any]) -> list[Callable] | None:
        return self.sampler.tools_of(row)

    def scored(self, completions: Sequence[Completion]) -> None:
        self.sampler.scored(completions)
