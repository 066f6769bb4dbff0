# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checks what a sampler yields, before it is scored and recorded."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..generation.answers import problem_of_tokens, without_exit
from ..samplers import Completion, Prompt, Sampler


def check_completions(
    completions: Iterable[Completion], prompts: Sequence[Prompt], sampler: Sampler, max_length: int, vocab_size: int
) -> Iterator[Completion]:
    """
    Yields the completions of a sampler, and checks that there is one for each prompt.

    Args:
        completions (`Iterable[Completion]`):
            Completions of the sampler.
        prompts (`list[Prompt]`):
            Prompts that it was given.
        sampler ([`Sampler`]):
            The sampler, for the messages.
        max_length (`int`):
            Maximum number of tokens of a completion.
        vocab_size (`int`):
            Number of tokens of the model.

    Raises:
        `RuntimeError`: If a prompt has no completion, several or a wrong one, or if the sampler calls `sys.exit`.
    """
    unanswered = {(prompt.problem, prompt.sample_index) for prompt in prompts}
    for completion in without_exit(completions, f"The sampler `{sampler.name}`"):
        if not isinstance(completion, Completion):
            raise RuntimeError(
                f"The sampler `{sampler.name}` yielded a `{type(completion).__name__}`, but must yield objects of "
                "`Completion`."
            )
        key = completion.prompt.problem, completion.prompt.sample_index
        if key not in unanswered:
            raise RuntimeError(
                f"The sampler `{sampler.name}` yielded a completion of problem {key[0]} with sample index {key[1]}, "
                "which it was not asked for, or twice. It must yield one completion for each prompt, with that prompt."
            )
        unanswered.remove(key)
        problem = _problem(completion, max_length, vocab_size)
        if problem is not None:
            raise RuntimeError(
                f"The sampler `{sampler.name}` yielded a completion of problem {key[0]} with {problem}. Nothing of it "
                "is recorded. Correct the sampler or its engine, and resume the run."
            )
        yield completion
    if unanswered:
        number, index = min(unanswered)
        raise RuntimeError(
            f"The sampler `{sampler.name}` yielded {len(prompts) - len(unanswered)} completions for {len(prompts)} "
            f"prompts: the first one without a completion is that of problem {number} with sample index {index}. It "
            "must yield one for each prompt. `select` chooses the problems to leave out."
        )


def _problem(completion: Completion, max_length: int, vocab_size: int) -> str | None:
    """Returns what is wrong with a completion and what was expected, or `None` if nothing is."""
    token_ids, mask = completion.token_ids, completion.loss_mask
    problem = problem_of_tokens(token_ids, completion.finish_reason, completion.logprobs)
    if problem is not None:
        return problem
    if token_ids and max(token_ids) >= vocab_size:
        return f"the token id {max(token_ids)}, but the model has {vocab_size} tokens"
    # An EOS may take the place of a stop string that ends within a token, which stays.
    if len(token_ids) > max_length + (completion.finish_reason == "stop"):
        return f"{len(token_ids)} tokens, more than `max_completion_length={max_length}`"
    if type(mask) is not list or set(map(type, mask)) - {bool} or len(mask) != len(token_ids):
        return f"a `loss_mask` that is not a list of {len(token_ids)} bools, one for each token id: {_short(mask)}"
    if type(completion.hint_shown) is not bool:
        return f"`hint_shown={_short(completion.hint_shown)}`, but it must be a bool"
    if type(completion.extra) is not dict:
        return f"`extra={_short(completion.extra)}`, but it must be a dict"
    reason = why_not_json(completion.extra) if completion.extra else None
    return reason and f"`extra={_short(completion.extra)}`, which JSON cannot hold: {reason}"


def why_not_json(extra: dict[Any, Any]) -> str | None:
    """Returns why the ledger cannot hold a dict, or `None` if it can. Values of other types become text."""
    if odd := [key for key in extra if type(key) is not str]:
        return f"the key {_short(odd[0])} is no `str`"
    try:
        json.dumps(extra, default=str)
    except (TypeError, ValueError, RecursionError) as error:  # keys of inner dicts, circles
        return str(error)
    return None


def _short(value: Any) -> str:
    return f"{value!r:.80}"
