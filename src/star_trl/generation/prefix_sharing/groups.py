# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Grouping of prompts that begin with the same tokens."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, count
from operator import ne
from typing import cast

from ...token_ids import TokenIds, as_list


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


def group_by_prefix(prompts: Sequence[list[int] | TokenIds]) -> list[PrefixGroup]:
    """
    Splits prompts into groups with a long common prefix, such as the few-shot prompts of several difficulties.

    Args:
        prompts (`list[list[int] | TokenIds]`):
            Token ids of the prompts.

    Returns:
        `list[PrefixGroup]`: every prompt in exactly one group. Prompts without a long prefix in common are one group.
    """
    if not prompts:
        return []
    own, length = _without_head(prompts)
    order = sorted(range(len(own)), key=own.__getitem__)
    # In sorted order, a run of prompts shares as much as those two neighbours in it that share the least
    shared = [shared_length(own[a], own[b]) for a, b in zip(order, order[1:], strict=False)]
    return [PrefixGroup(group.indices, length + group.prefix_length) for group in _split(own, order, shared)]


def _split(prompts: Sequence[array], order: list[int], shared: list[int]) -> list[PrefixGroup]:
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


def num_distinct(prompts: Sequence[list[int] | TokenIds]) -> int:
    """Returns the number of tokens of prompts where those that several prompts begin with count once."""
    if not prompts:
        return 0
    own, length = _without_head(prompts)
    # What all of them begin with would be compared again and again.
    common = shared_length(min(own), max(own))
    ordered = sorted(ids[common:] for ids in own)
    shared = sum(shared_length(a, b) for a, b in zip(ordered, ordered[1:], strict=False))
    return length + common + sum(map(len, ordered)) - shared


def _without_head(prompts: Sequence[list[int] | TokenIds]) -> tuple[list[array], int]:
    """
    Returns prompts as arrays, which take a ninth of the memory of lists, and the number of tokens that are left out:
    those of a head that all of them hold together.
    """
    heads = {id(prompt.head) if isinstance(prompt, TokenIds) else None for prompt in prompts}
    if len(heads) == 1 and isinstance(prompts[0], TokenIds):
        return [array("I", cast(TokenIds, prompt).own) for prompt in prompts], len(prompts[0].head)
    return [array("I", as_list(prompt)) for prompt in prompts], 0


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns the length of the common prefix of two prompts."""
    shorter = min(len(first), len(second))
    if first[:shorter] == second[:shorter]:
        return shorter
    return next(compress(count(), map(ne, first, second)))
