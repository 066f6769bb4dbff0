# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Checks what an engine answers, before it is used or recorded. The ledger would keep a wrong answer for good. The checks
of tokens are a few passes in C over each list, which is negligible beside generation.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ..finish_reason import FINISH_REASONS
from ..rewards.calling import SUCCESS
from .engine import GenerationOutput, GenerationRequest, SamplingParams, check_index
from .stopping import StopStrings


Item = TypeVar("Item")


def check_outputs(
    outputs: Iterable[GenerationOutput],
    requests: Sequence[GenerationRequest],
    params: SamplingParams,
    stop_strings: StopStrings,
    engine: object,
) -> Iterator[GenerationOutput]:
    """
    Yields the outputs of an engine, and checks that there is one for each request.

    Args:
        outputs (`Iterable[GenerationOutput]`):
            Outputs of the engine.
        requests (`list[GenerationRequest]`):
            The requests. Those of completions that went on after a pause are replaced by the latest ones.
        params ([`~star_trl.generation.SamplingParams`]):
            Sampling parameters.
        stop_strings ([`~star_trl.generation.StopStrings`]):
            Stop strings and pauses of these parameters.
        engine (`object`):
            The engine, for the messages.

    Raises:
        `RuntimeError`: If a request has no output, several or a wrong one, or if the engine calls `sys.exit`.
    """
    answered: set[int] = set()
    for output in without_exit(outputs, f"The engine `{type(engine).__name__}`"):
        check_output(output, requests, params, stop_strings, engine)
        check_index(output.index, len(requests), answered, engine)
        yield output
    if len(answered) < len(requests):
        first = min(set(range(len(requests))) - answered)
        raise RuntimeError(
            f"The engine `{type(engine).__name__}` answered {len(answered)} of {len(requests)} requests: the first "
            f"one without an output is {first}. It must yield one output for each request."
        )


def check_output(
    output: GenerationOutput,
    requests: Sequence[GenerationRequest],
    params: SamplingParams,
    stop_strings: StopStrings,
    engine: object,
) -> None:
    """
    Checks one output of an engine. The arguments are those of [`check_outputs`].

    Raises:
        `RuntimeError`: If it is not a possible answer to its request.
    """
    problem: str | None
    if not isinstance(output, GenerationOutput):
        problem = f"a `{type(output).__name__}`, but must yield objects of `GenerationOutput`"
    else:
        check_index(output.index, len(requests), set(), engine)
        problem = problem_of_tokens(output.token_ids, output.finish_reason, output.logprobs)
        limit = requests[output.index].limit(params)
        if problem is None and len(output.token_ids) > limit:
            problem = f"{len(output.token_ids)} token ids, but the request allows {limit} (`max_new_tokens`)"
        if problem is None:
            problem = problem_of_end(output, params, stop_strings)
    if problem is not None:
        raise RuntimeError(f"The engine `{type(engine).__name__}` gave {problem}.")


def problem_of_end(output: GenerationOutput, params: SamplingParams, stop_strings: StopStrings) -> str | None:
    """Returns why an output cannot have ended for the reason that the engine gives, or `None` if it can have."""
    reason, token_ids = output.finish_reason, output.token_ids
    if reason == "eos" and token_ids[-1] not in params.eos_token_ids:
        return (
            f"`finish_reason='eos'`, but its last token id is {token_ids[-1]}, which is not among the EOS token ids "
            f"{sorted(params.eos_token_ids)}. The token ids must include the EOS token"
        )
    if reason == "pause" and params.pause_between is None:
        return "`finish_reason='pause'`, but the request does not ask for pauses (`pause_between`)"
    # The last token may write more than the end of the pause, but the pause is not complete without it.
    if reason == "pause" and (
        stop_strings.reason(token_ids) != "pause" or stop_strings.reason(token_ids[:-1]) is not None
    ):
        return (
            f"`finish_reason='pause'`, but its text does not end with a pause between the texts {params.pause_between}"
        )
    return None


def problem_of_tokens(token_ids: Any, finish_reason: Any, logprobs: Any) -> str | None:
    """Returns what is wrong with the tokens of a completion and what was expected, or `None` if nothing is."""
    if type(finish_reason) is not str or finish_reason not in FINISH_REASONS:
        return f"`finish_reason={finish_reason!r}`, but it must be one of {sorted(FINISH_REASONS)}"
    if type(token_ids) is not list:
        return f"`token_ids` of type `{type(token_ids).__name__}`, but they must be a list of ints (`.tolist()`)"
    if others := set(map(type, token_ids)) - {int}:
        return f"token ids of type `{others.pop().__name__}`, but they must be Python ints (`.tolist()`)"
    if not token_ids and finish_reason in ("eos", "stop"):
        return f"no token ids with `finish_reason={finish_reason!r}`, but they must include what ended the completion"
    if token_ids and min(token_ids) < 0:
        return f"the token id {min(token_ids)}, but token ids are not negative"
    if logprobs is not None:
        if type(logprobs) is not list or set(map(type, logprobs)) - {float, int} or len(logprobs) != len(token_ids):
            return f"`logprobs` that are not a list of {len(token_ids)} floats, one for each token id"
        if not math.isfinite(sum(logprobs)):
            return "`logprobs` that are not finite: the model's logits are NaN or infinite for a token that was drawn"
    return None


def without_exit(items: Iterable[Item], what: str) -> Iterator[Item]:
    """Yields what an iterable yields. [`exit_is_an_error`] holds for what it does meanwhile."""
    with exit_is_an_error(what):
        yield from items


@contextmanager
def exit_is_an_error(what: str) -> Iterator[None]:
    """
    Turns `sys.exit()` and `sys.exit(0)` in the code of a user into an error. They would end the run in the middle, and
    the program would seem to have succeeded. Other exit codes pass, as they may be those of a signal handler.
    """
    try:
        yield
    except SystemExit as error:
        if error.code not in SUCCESS:
            raise
        raise RuntimeError(
            f"{what} called `sys.exit({error.code!r})`, which would end the run in the middle. Raise an error instead."
        ) from error
