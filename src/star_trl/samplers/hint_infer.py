# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Hints that are put into the model's own reasoning, and taken out again before it is trained on."""

import random
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from .base import Completion, Generate, LoopState, Prompt, Sampler, WrappedSampler
from .tool import PROMPTS_AT_A_TIME, decode, encode_behind


class HintInferSampler(WrappedSampler):
    """
    Hint-infer of START ([Li et al., 2025](https://huggingface.co/papers/2503.04625)): the model reasons, a hint to use
    a tool is put into what it wrote, and it goes on behind that. It proposes for the problems that no earlier sampler
    solved.

    The sampler first completes its prompts as ever. Of a completion that has called no tool, a beginning is kept: up
    to a place that `after` describes, drawn at random where there are several, or, where there is none, all of it but
    its end. Behind it comes the hint, and behind that the model writes anew. Then the token ids of the hint are taken
    out. What is left are the ids that the model sampled, those behind the hint under its influence, so this is an
    off-policy proposal, as rationalization is. The ledger's `extra` says where the hint was.

    Args:
        sampler ([`Sampler`]):
            The sampler with its tool, whose prompts and settings it has.
        hint (`str`):
            The hint. The beginning of the call is not part of it: it is for the model to write, and to be trained on.
        after (`str`, *optional*, defaults to `r"(?=\\\\b(?:Wait|Alternatively)\\\\b|</think>)"`):
            Regular expression; the hint is put behind what it matches. The default matches the empty text before two
            words at which a model turns to another approach, and before the end of its thought.
        keep_hint (`bool`, *optional*, defaults to `False`):
            Whether the hint stays in the completion and is trained on, so that the model learns to say it itself.

    Example:
    ```python
    >>> from star_trl import HintInferSampler, RationaleSampler, ToolSampler, python_tool

    >>> sampler = ToolSampler(RationaleSampler(), python_tool())
    >>> samplers = [sampler, HintInferSampler(sampler, "\\nWait, maybe using Python here is a good idea.")]
    >>> [sampler.name for sampler in samplers]
    ['rationale', 'hint_infer']
    ```
    """

    def __init__(
        self,
        sampler: Sampler,
        hint: str,
        after: str = r"(?=\b(?:Wait|Alternatively)\b|</think>)",
        keep_hint: bool = False,
    ):
        super().__init__(sampler)
        if not hint:
            raise ValueError("`hint` is empty. Say what the model is to do, such as 'Maybe Python helps here.'")
        self.name = "hint_infer"
        self.hint = hint
        self.after = re.compile(after)
        self.keep_hint = keep_hint

    @property
    def on_policy(self) -> bool:
        return False

    def select(self, state: LoopState) -> list[int]:
        return [problem for problem in self.sampler.select(state) if problem not in state.solved]

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterator[Completion]:
        size = max(1, len(prompts)) if self.compares_samples else PROMPTS_AT_A_TIME
        for start in range(0, len(prompts), size):
            begun = []
            for completion in self.sampler.sample(prompts[start : start + size], generate):
                hinted = self._hinted(completion, generate.tokenizer)
                if hinted is None:
                    yield completion
                else:
                    begun.append(replace(completion.prompt, begun=hinted))
            yield from map(self._without_hint, self.sampler.sample(begun, generate))

    def _hinted(self, completion: Completion, tokenizer: PreTrainedTokenizerBase) -> Completion | None:
        """The beginning of a completion with the hint, to go on with; `None` where it is to stay as it is."""
        if not all(completion.loss_mask):
            return None  # it has called its tool
        length = self._place(completion, tokenizer)
        if length is None:
            return None
        before = decode(tokenizer, completion.token_ids[:length])
        hint = encode_behind(tokenizer, before[-1:], self.hint)
        logprobs = completion.logprobs
        return replace(
            completion,
            token_ids=completion.token_ids[:length] + hint,
            loss_mask=[True] * length + [self.keep_hint] * len(hint),
            finish_reason="pause",
            logprobs=None if logprobs is None else logprobs[:length] + [0.0] * len(hint),
            extra={**completion.extra, "hint": self.hint, "hint_position": length, "hint_tokens": len(hint)},
        )

    def _place(self, completion: Completion, tokenizer: PreTrainedTokenizerBase) -> int | None:
        """Number of token ids before the hint; one that reaches beyond the place is before it."""
        text = decode(tokenizer, completion.token_ids)
        places = [match.end() for match in self.after.finditer(text)]
        if not places:
            # Before its last token, which ends it, unless there is none
            return len(completion.token_ids) - 1 if completion.finish_reason in ("eos", "stop") else None
        # Keyed by the sample, so that it does not depend on the order in which completions finish
        before = text[: random.Random(f"{completion.prompt.seed} hint").choice(places)]
        counts = range(len(completion.token_ids) + 1)
        return bisect_left(
            counts, True, key=lambda count: decode(tokenizer, completion.token_ids[:count]).startswith(before)
        )

    def _without_hint(self, completion: Completion) -> Completion:
        if self.keep_hint:
            return completion
        first = completion.extra["hint_position"]
        behind = first + completion.extra["hint_tokens"]
        logprobs = completion.logprobs
        return replace(
            completion,
            token_ids=completion.token_ids[:first] + completion.token_ids[behind:],
            loss_mask=completion.loss_mask[:first] + completion.loss_mask[behind:],
            logprobs=None if logprobs is None else logprobs[:first] + logprobs[behind:],
        )
