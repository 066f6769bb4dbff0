# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Completions in which the model calls a tool. Generation pauses, the result is inserted, and the model continues."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from ..generation.answers import exit_is_an_error
from ..tools.tool import Tool
from .base import Completion, Generate, Pauses, Prompt, Sampler, WrappedSampler


class ToolSampler(WrappedSampler):
    """
    Lets the model of a sampler call a tool. Where the model has written a call, generation stops, the result is
    inserted, and the model continues after it. Evaluation does the same. The inserted text is not trained on.

    Args:
        sampler ([`Sampler`]):
            The sampler, which keeps its name, its prompts and its settings.
        tool ([`Tool`]):
            The tool.
    """

    def __init__(self, sampler: Sampler, tool: Tool):
        super().__init__(sampler)
        self.tool = tool

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterable[Completion]:
        return self.sampler.sample(prompts, WithTool(generate, self.tool))


class WithTool:
    """
    A [`Generate`] whose completions call a tool. The calls of many completions run at the same time, and no completion
    affects another.

    Args:
        generate ([`Generate`]):
            What generates.
        tool ([`Tool`]):
            The tool.
    """

    def __init__(self, generate: Generate, tool: Tool):
        self.generate = generate
        self.tool = tool
        self.tokenizer: PreTrainedTokenizerBase = generate.tokenizer

    def __call__(
        self, prompts: Sequence[Prompt], pauses: Pauses | None = None, **overrides: Any
    ) -> Iterator[Completion]:
        if pauses is not None or "pause_between" in overrides:
            raise ValueError(
                f"A completion pauses for one tool, here for the one between {self.tool.begin!r} and "
                f"{self.tool.end!r}. Make one tool of two, which sees from the call what is meant."
            )
        overrides["pause_between"] = (self.tool.begin, self.tool.end)
        pool = ThreadPoolExecutor(self.tool.num_threads or os.cpu_count())
        try:
            yield from self.generate(prompts, pauses=_Calls(self, pool), **overrides)
        finally:
            # Calls that have not begun are dropped, so that an error or a signal ends the program soon.
            pool.shutdown(cancel_futures=True)

    def compute(self, completion: Completion) -> Completion:
        """Returns the completion with the result of its last call, if it is a call."""
        return self.with_result(completion, self.run(self.call(completion)[0]))

    def call(self, completion: Completion) -> tuple[str | None, str]:
        """Returns the text between the last `begin` and `end`, and what the last token wrote after them."""
        text = decode(self.tokenizer, completion.token_ids)
        end = text.rfind(self.tool.end)
        begin = text.rfind(self.tool.begin, 0, max(end, 0))
        if begin < 0:
            return None, ""
        return text[begin + len(self.tool.begin) : end], text[end + len(self.tool.end) :]

    def run(self, call: str | None) -> str | None:
        with exit_is_an_error(f"The tool between {self.tool.begin!r} and {self.tool.end!r}"):
            result = None if call is None else self.tool.run(call)
        return None if result is None else self.tool.result.replace("{}", self.tool.shortened(result))

    def with_result(self, completion: Completion, result: str | None) -> Completion:
        if result is None:
            return completion
        rest = self.call(completion)[1]
        kept, before = len(completion.token_ids), ""
        if rest.isspace() and result.startswith(rest):
            result = result[len(rest) :]  # such as a line break that the model has already written
        elif rest:
            # The last token holds more than the end of the call, such as `=$` for `=`. Its part up to the end of the
            # call is inserted with the result.
            kept -= 1
            written = decode(self.tokenizer, completion.token_ids[:kept])
            text = decode(self.tokenizer, completion.token_ids)
            before = text[len(written) : len(text) - len(rest)]
        put_in = encode_behind(self.tokenizer, self.tool.end, before + result)
        return replace(
            completion,
            token_ids=completion.token_ids[:kept] + put_in,
            loss_mask=completion.loss_mask[:kept] + [False] * len(put_in),
            logprobs=None if completion.logprobs is None else completion.logprobs[:kept] + [0.0] * len(put_in),
        )


class _Calls:
    """
    The calls of the completions of one sampling.

    Args:
        completions ([`WithTool`]):
            What reads and answers the calls.
        pool (`ThreadPoolExecutor`):
            Runs the tool.
    """

    def __init__(self, completions: WithTool, pool: ThreadPoolExecutor):
        self.completions = completions
        self.pool = pool
        self.counts: Counter[tuple[int, int]] = Counter()

    def begin(self, completion: Completion) -> "Future[str | None] | None":
        if self.counts[_key(completion)] == self.completions.tool.max_calls:
            return None
        return self.pool.submit(self.completions.run, self.completions.call(completion)[0])

    def end(self, completion: Completion, result: str | None) -> Completion:
        self.counts[_key(completion)] += result is not None
        return self.completions.with_result(completion, result)


def _key(completion: Completion) -> tuple[int, int]:
    return completion.prompt.problem, completion.prompt.sample_index


def encode_behind(tokenizer: PreTrainedTokenizerBase, before: str, text: str) -> list[int]:
    """
    Returns the token ids of a text that follows another one. Some tokenizers add a space before the first text.
    Special tokens in the text are read as plain text, so that a tool cannot end the completion or the turn of a chat.
    """
    options: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True}
    first = tokenizer(before, **options)["input_ids"]
    both = tokenizer(before + text, **options)["input_ids"]
    if both[: len(first)] == first:
        return both[len(first) :]
    return tokenizer(text, **options)["input_ids"]


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    return cast(str, tokenizer.decode(token_ids, clean_up_tokenization_spaces=False))
