# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Tools that a model calls by writing text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Tool:
    """
    A tool that a model calls by writing text.

    Args:
        run (`Callable[[str], str | None]`):
            Turns the text between `begin` and `end` into the result, or into `None` if it is no call and the model is
            to continue without a result. The text was written by a model and must not be evaluated without limits. The
            function is called in several threads at a time.
        begin (`str`):
            Text with which a call begins.
        end (`str`):
            Text with which a call ends. The call is the text between the two.
        result (`str`, *optional*, defaults to `"{}"`):
            Text to insert after `end`, with the result in place of `{}`.
        max_calls (`int`, *optional*):
            Maximum number of calls in one completion. A completion with one call more is given up: it is recorded and
            not kept. By default as many as fit into `max_completion_length`.
        max_result_characters (`int`, *optional*):
            Maximum number of characters of a result. Of a longer one, the beginning and the end are inserted.
        num_threads (`int`, *optional*):
            Number of calls that run at a time. One for each core by default.
        settings (`Mapping[str, Any]`, *optional*):
            Anything else that results depend on, such as limits, in a form that JSON can hold. A run can only be
            resumed with the same settings.

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
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.begin or not self.end:
            raise ValueError(f"A tool is called between two texts, got begin={self.begin!r} and end={self.end!r}.")
        if self.result.count("{}") != 1:
            raise ValueError(f"`result` needs one {{}} where the tool's result goes, got {self.result!r}.")
        for name, least in (("max_calls", 0), ("max_result_characters", 1), ("num_threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")

    def arguments(self) -> dict[str, Any]:
        """Returns what the samples of a run depend on. A run can only be resumed with the same values."""
        names = ("begin", "end", "result", "max_calls", "max_result_characters")
        return {**{name: getattr(self, name) for name in names}, **self.settings}

    def shortened(self, result: str) -> str:
        """Returns a result of at most `max_result_characters` characters, with a mark where some are left out."""
        if self.max_result_characters is None or len(result) <= self.max_result_characters:
            return result
        first = (self.max_result_characters + 1) // 2
        last = self.max_result_characters - first
        return f"{result[:first]} ... {result[len(result) - last :]}"
