# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Completions in which the model calls a tool: generation pauses, the result is put in, and the model goes on."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from .base import Completion, Generate, Prompt, Sampler, WrappedSampler


# Most completions are only whole after a few rounds. What is whole is recorded, so that a crash loses little.
PROMPTS_AT_A_TIME = 1024


@dataclass(frozen=True, kw_only=True)
class Tool:
    """
    Something that a model calls by writing text.

    Args:
        run (`Callable[[str], str | None]`):
            From what the model wrote between `begin` and `end` to the result, or `None` where that is no call and the
            model is to go on by itself. What it gets is text of a model, which must not be evaluated without limits.
            It is called in several threads at a time.
        begin (`str`):
            Text with which a call begins.
        end (`str`):
            Text with which it ends. A call is what stands between the two.
        result (`str`, *optional*, defaults to `"{}"`):
            What is put in behind `end`, with the result in place of `{}`.
        max_calls (`int`, *optional*):
            Most calls in one completion. One that calls once more is given up: it is recorded and not kept. As many
            as fit into `max_completion_length` by default.
        max_result_characters (`int`, *optional*):
            Most characters of a result. Of a longer one the beginning and the end are put in.
        num_threads (`int`, *optional*):
            Number of calls that run at a time. One for each core by default.

    Raises:
        `ValueError`: If `begin` or `end` is empty, `result` does not say where the result goes, or a number is too
            small.

    Example:
    ```python
    >>> from star_trl.samplers import RationaleSampler, Tool, ToolSampler

    >>> words = {"cat": "gato", "dog": "perro"}
    >>> dictionary = Tool(run=words.get, begin="<look up>", end="</look up>", result="<found>{}</found>")
    >>> sampler = ToolSampler(RationaleSampler(), dictionary)
    ```
    """

    run: Callable[[str], str | None]
    begin: str
    end: str
    result: str = "{}"
    max_calls: int | None = None
    max_result_characters: int | None = None
    num_threads: int | None = None

    def __post_init__(self) -> None:
        if not self.begin or not self.end:
            raise ValueError(f"A tool is called between two texts, got begin={self.begin!r} and end={self.end!r}.")
        if self.result.count("{}") != 1:
            raise ValueError(f"`result` needs one {{}} where the tool's result goes, got {self.result!r}.")
        for name, least in (("max_calls", 0), ("max_result_characters", 1), ("num_threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")

    def shortened(self, result: str) -> str:
        """A result of at most `max_result_characters` characters, and a mark where some are left out."""
        if self.max_result_characters is None or len(result) <= self.max_result_characters:
            return result
        first = (self.max_result_characters + 1) // 2
        last = self.max_result_characters - first
        return f"{result[:first]} ... {result[len(result) - last :]}"


class ToolSampler(WrappedSampler):
    """
    Lets the model of a sampler call a tool: where it has written a call, generation stops, the result is put in, and
    the model goes on behind it; evaluation does the same. What is put in is not trained on.

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
    A [`Generate`] whose completions call a tool. The calls of many completions run at a time; none has an influence on
    another completion.

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

    def __call__(self, prompts: Sequence[Prompt], **overrides: Any) -> Iterator[Completion]:
        if "pause_between" in overrides:
            raise ValueError(
                f"A completion pauses for one tool, here for the one between {self.tool.begin!r} and "
                f"{self.tool.end!r}. Make one tool of two, which sees from the call what is meant."
            )
        overrides["pause_between"] = (self.tool.begin, self.tool.end)
        with ThreadPoolExecutor(self.tool.num_threads or os.cpu_count()) as pool:
            for start in range(0, len(prompts), PROMPTS_AT_A_TIME):
                yield from self._complete(prompts[start : start + PROMPTS_AT_A_TIME], pool, overrides)

    def _complete(
        self, prompts: Sequence[Prompt], pool: ThreadPoolExecutor, overrides: dict[str, Any]
    ) -> Iterator[Completion]:
        num_calls: Counter[tuple[int, int]] = Counter()
        pending = list(prompts)
        while pending:
            paused: list[tuple[Completion, Future[str | None]]] = []
            for completion in self.generate(pending, **overrides):
                key = completion.prompt.problem, completion.prompt.sample_index
                if completion.finish_reason != "pause" or num_calls[key] == self.tool.max_calls:
                    yield completion
                else:
                    # The tool works while the others are still being generated.
                    paused.append((completion, pool.submit(self._run, self._call(completion)[0])))
            pending = []
            for completion, future in paused:
                result = future.result()
                num_calls[completion.prompt.problem, completion.prompt.sample_index] += result is not None
                pending.append(replace(completion.prompt, begun=self._with_result(completion, result)))

    def compute(self, completion: Completion) -> Completion:
        """The completion with the result of its last call, if it is one."""
        return self._with_result(completion, self._run(self._call(completion)[0]))

    def _call(self, completion: Completion) -> tuple[str | None, str]:
        """What was written between the last `begin` and `end`, and behind them by the same token."""
        text = decode(self.tokenizer, completion.token_ids)
        end = text.rfind(self.tool.end)
        begin = text.rfind(self.tool.begin, 0, max(end, 0))
        if begin < 0:
            return None, ""
        return text[begin + len(self.tool.begin) : end], text[end + len(self.tool.end) :]

    def _run(self, call: str | None) -> str | None:
        result = None if call is None else self.tool.run(call)
        return None if result is None else self.tool.result.replace("{}", self.tool.shortened(result))

    def _with_result(self, completion: Completion, result: str | None) -> Completion:
        if result is None:
            return completion
        rest = self._call(completion)[1]
        kept, before = len(completion.token_ids), ""
        if rest.isspace() and result.startswith(rest):
            result = result[len(rest) :]  # such as the end of a line, which the model has written already
        elif rest:
            # The last token says more than the end of the call, such as `=$` for `=`. What it says up to there is put
            # in with the result.
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


def encode_behind(tokenizer: PreTrainedTokenizerBase, before: str, text: str) -> list[int]:
    """
    Token ids of a text that stands behind another one. Some tokenizers set a space before what stands first. What
    reads like a special token is text: a tool cannot end the completion, or the turn of a chat.
    """
    options: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True}
    first = tokenizer(before, **options)["input_ids"]
    both = tokenizer(before + text, **options)["input_ids"]
    if both[: len(first)] == first:
        return both[len(first) :]
    return tokenizer(text, **options)["input_ids"]


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    return cast(str, tokenizer.decode(token_ids, clean_up_tokenization_spaces=False))
