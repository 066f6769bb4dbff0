# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Grouping of prompts that begin with the same tokens."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, count
from operator import ne
from typing import Any

from ...token_ids import TokenIds


# A separate group must save this many tokens of prefill, since its rows are not batched with those of the others.
MIN_TOKENS_SAVED = 8192
# Neighbours in sorted order stay together if they share this many tokens more than all prompts do.
MIN_TOKENS_MORE = 32


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """
    Prompts with a common prefix.

    Args:
        indices (`list[int]`):
            Positions of the prompts.
        prefix_length (`int`):
            Number of tokens that all of them begin with. At least one token of each prompt follows.
    """

    indices: list[int]
    prefix_length: int


def group_by_prefix(prompts: Sequence[Any]) -> list[PrefixGroup]:
    """
    Splits prompts into groups with a long common prefix, such as the few-shot prompts of several difficulties.

    Args:
        prompts (`Sequence[list[int] | array]`):
            Token ids of the prompts.

    Returns:
        `list[PrefixGroup]`: every prompt in exactly one group. Prompts without a long prefix in common are one group.
    """
    if not prompts:
        return []
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    # In sorted order, a run of prompts shares as much as those two neighbours in it that share the least
    shared = [shared_length(prompts[a], prompts[b]) for a, b in zip(order, order[1:], strict=False)]
    return _split(prompts, order, shared)


def _split(prompts: Sequence[Any], order: list[int], shared: list[int]) -> list[PrefixGroup]:
    common = min([*shared, *(len(prompts[index]) - 1 for index in order)])
    groups, rest = [], []
    start = 0
    for end in range(1, len(order) + 1):
        if end < len(order) and shared[end - 1] >= common + MIN_TOKENS_MORE:
            continue
        run, within = order[start:end], shared[start : end - 1]
        if len(run) == len(order):
            return [PrefixGroup(order, common)]
        # Equal prompts are prefilled once in any case
        different = sum(prompts[a] != prompts[b] for a, b in zip(run, run[1:], strict=False))
        if within and different * (min(within) - common) >= MIN_TOKENS_SAVED:
            groups += _split(prompts, run, within)
        else:
            rest += run
        start = end
    if rest:
        groups.append(PrefixGroup(rest, common))
    return groups


def num_distinct(prompts: Sequence[TokenIds]) -> int:
    """Returns the number of tokens of prompts where those that several prompts begin with count once."""
    if not prompts:
        return 0
    head = prompts[0].head
    if all(prompt.head is head for prompt in prompts):
        return len(head) + _num_distinct([array("I", prompt.own) for prompt in prompts])
    return _num_distinct([array("I", prompt.tolist()) for prompt in prompts])


def _num_distinct(prompts: Sequence[Any]) -> int:
    # What all of them begin with would be compared again and again.
    common = shared_length(min(prompts), max(prompts))
    ordered = sorted(prompt[common:] for prompt in prompts)
    shared = sum(shared_length(a, b) for a, b in zip(ordered, ordered[1:], strict=False))
    return common + sum(map(len, ordered)) - shared


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns the length of the common prefix of two prompts."""
    shorter = min(len(first), len(second))
    if first[:shorter] == second[:shorter]:
        return shorter
    return next(compress(count(), map(ne, first, second)))
