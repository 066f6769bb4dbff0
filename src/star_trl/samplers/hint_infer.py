# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Hints that are inserted into the model's own reasoning and removed before it is trained on."""

import random
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from .base import Completion, Generate, LoopState, Prompt, Sampler, WrappedSampler
from .tool import decode, encode_behind


# Number of prompts that are begun before the first of them go on with the hint.
PROMPTS_AT_A_TIME = 1024


class HintInferSampler(WrappedSampler):
    """
    Hint-infer of START ([Li et al., 2025](https://huggingface.co/papers/2503.04625)). The model reasons, a hint to use
    a tool is inserted into what it wrote, and it continues after the hint. The sampler proposes for the problems that
    no earlier sampler solved.

    The sampler first completes its prompts as usual. If a completion has called no tool, it is cut at a place that
    matches `after`, drawn at random if there are several. If there is none, only the token that ends the completion is
    cut. The hint is appended, and the model continues after it. Then the token ids of the hint are removed. The
    remaining ids were all sampled by the model, those after the hint under its influence. This is therefore an
    off-policy proposal, as rationalization is. The ledger's `extra` says where the hint was.

    Args:
        sampler ([`Sampler`]):
            The sampler with its tool. Its prompts and settings are used.
        hint (`str`):
            The hint. It must not contain the beginning of the call, which the model is to write and to be trained on.
        after (`str`, *optional*, defaults to `r"(?=\\\\b(?:Wait|Alternatively)\\\\b|</think>)"`):
            Regular expression; the hint is inserted after its match. The default matches the empty text before two
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
        """
        Returns the beginning of a completion with the hint, to be continued, or `None` if it is to stay as it is.
        """
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
        """
        Returns the number of token ids before the hint. A token that reaches beyond the place counts as before it.
        """
        text = decode(tokenizer, completion.token_ids)
        places = [match.end() for match in self.after.finditer(text)]
        if not places:
            # Before the last token, which ends the completion, unless there is none
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
