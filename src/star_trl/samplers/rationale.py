# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The proposals of the STaR paper: rationale generation and rationalization."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .base import Completion, Generate, LoopState, Prompt, Sampler


class RationaleSampler(Sampler):
    """
    Rationale generation: proposes from M(r, y | x) for every problem (Algorithm 1, line 3, of the STaR paper).

    Args:
        num_generations (`int`, *optional*):
            Completions per problem. This and the following arguments default to those of [`STaRConfig`].
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
    Rationalization: proposes from M(r, y | x, y*), with the answer as a hint, for the problems that no earlier sampler
    solved (Algorithm 1, lines 4 and 6). The samples are trained on with the prompt without the hint.

    Args:
        p (`float`, *optional*, defaults to `1.0`):
            Share of the unsolved problems that it proposes for, chosen at random in each iteration.
        p_show_hint (`float`, *optional*, defaults to `0.0`):
            Share of its samples that are trained on with the hint left in the prompt, so that the model does not
            forget what a hint is for. They are marked `hint_shown` in the ledger. The authors' code has this option.
        prompt_column (`str`, *optional*, defaults to `"hinted_prompt"`):
            Column of the problems, and of the few-shot examples, with the hint. With another one, the sampler's name
            says so: `"rationalization_operands"` for the column `operands_prompt`. Several of these samplers in a list
            try hints in that order until one suffices.
        num_generations (`int`, *optional*):
            As in [`RationaleSampler`], like the rest.
        temperature (`float`, *optional*):
            Sampling temperature.
        top_p (`float`, *optional*):
            Nucleus sampling.
        top_k (`int`, *optional*):
            Top-k sampling.

    Raises:
        `ValueError`: If `p` or `p_show_hint` is not between 0 and 1.
    """

    name = "rationalization"
    prompt_column = "hinted_prompt"

    def __init__(
        self,
        p: float = 1.0,
        p_show_hint: float = 0.0,
        prompt_column: str | None = None,
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
        if prompt_column not in (None, self.prompt_column):
            self.prompt_column = prompt_column
            self.name = f"{self.name}_{prompt_column.removesuffix('_prompt')}"

    def select(self, state: LoopState) -> list[int]:
        unsolved = [problem for problem in state.candidates if problem not in state.solved]
        return [problem for problem in unsolved if state.rng.random() < self.p]

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        for completion in generate(prompts):
            yield replace(completion, hint_shown=True) if self._shows_hint(completion.prompt) else completion

    def _shows_hint(self, prompt: Prompt) -> bool:
        if not self.p_show_hint:
            return False
        # Keyed by the sample, so that it does not depend on the order in which completions finish.
        return random.Random(f"{prompt.seed} show hint").random() < self.p_show_hint
