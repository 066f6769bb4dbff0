# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A scored completion, and its line in the ledger."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass, field, fields
from operator import attrgetter
from types import NoneType
from typing import Any

import numpy as np
import orjson
from datasets import Features, List, Value

from ..finish_reason import FINISH_REASONS
from ..output_dir import UNENCODABLE, as_null, finite
from ..token_ids import TOKEN_SIZE, as_bytes, from_bytes, packed_field


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """
    One scored completion, which is one line of the ledger.

    Args:
        iteration (`int`):
            Outer iteration, counted from 1.
        problem_id (`int`):
            Index of the problem in the training dataset.
        sampler (`str`):
            Name of the sampler that proposed it.
        sample_index (`int`):
            Index among the sampler's completions of the problem.
        prompt (`str`):
            The problem's prompt without the hint and without few-shot examples; messages as JSON. It ends with what an
            environment showed first.
        hint_shown (`bool`):
            Whether the hint stays in the training prompt, by the sampler's choice.
        completion (`str`):
            The completion's text, without special tokens.
        completion_ids (`list[int]`):
            Token ids of the completion as it is trained on, with EOS unless it was cut.
        loss_mask (`list[bool]`):
            Whether each of these tokens is trained on.
        finish_reason (`str`):
            `"eos"`, `"stop"`, `"length"`, or `"pause"` where the sampler did not continue a paused completion.
        rewards (`dict[str, float | None]`):
            Reward of each function by its name; `None` where the function does not apply.
        reward (`float` or `None`):
            Weighted sum of the rewards that apply; `None` if none does.
        kept (`bool`):
            Whether it passed the filter: it was not cut (with `mask_truncated_completions`), and the reward functions
            accept it. Duplicates and the cap per problem are applied later, when the training set is built.
        drop_reason (`str`, *optional*):
            Why it was not kept: `"truncated"` (cut by `max_completion_length`, or not continued after a pause),
            `"unverified"` (no deciding reward function applies), `"error"` (a reward function or an environment
            failed) or `"wrong"`.
        logprob (`float`, *optional*):
            Log-probability in nats of the completion given the prompt that it was drawn with, under the model at
            temperature 1. Recorded only where the configuration needs it. Tokens that a tool inserted, and an EOS that
            replaces a stop string, do not count.
        extra (`dict[str, Any]`):
            What the sampler recorded about it, and reward functions with `log_extra`. `"error"` holds the error of a
            reward function or an environment that failed, and `"messages"` the turns of a conversation with tools.
    """

    iteration: int
    problem_id: int
    sampler: str
    sample_index: int
    prompt: str
    hint_shown: bool
    completion: str
    completion_ids: list[int]
    loss_mask: list[bool]
    finish_reason: str
    rewards: dict[str, float | None]
    reward: float | None
    kept: bool
    drop_reason: str | None = None
    logprob: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int, int]:
        """Sampler, problem and sample index, which identify the sample within its iteration."""
        return self.sampler, self.problem_id, self.sample_index

    @property
    def token_bytes(self) -> bytes:
        """The token ids of the completion as [`~star_trl.token_ids.as_bytes`] packs them."""
        return _held_ids(self)

    @property
    def num_tokens(self) -> int:
        """Number of tokens of the completion."""
        return len(self.token_bytes) // TOKEN_SIZE

    @property
    def num_trained(self) -> int:
        """Number of its tokens that are trained on."""
        return _held_mask(self).count(True)


def _packed_ids(ids: Any) -> Any:
    try:
        return as_bytes(ids) if isinstance(ids, (list, tuple)) else ids
    except (TypeError, OverflowError):  # no token ids, as `problem_of` will say
        return ids


def _packed_mask(mask: Any) -> Any:
    is_mask = isinstance(mask, (list, tuple)) and mask.count(True) + mask.count(False) == len(mask)
    return bytes(mask) if is_mask else mask


# Lists would take 44 bytes a token in place of 5.
_held_ids = packed_field(
    Sample, "completion_ids", _packed_ids, lambda held: from_bytes(held) if type(held) is bytes else held
)
_held_mask = packed_field(
    Sample, "loss_mask", _packed_mask, lambda held: list(map(bool, held)) if type(held) is bytes else held
)

FIELDS = tuple(each.name for each in fields(Sample))
NUMBER = (float, int, NoneType)
_number_types = frozenset(NUMBER)
# Types of the fields as JSON reads them, but for the two lists
TYPES: dict[str, tuple[type, ...]] = {
    "iteration": (int,),
    "problem_id": (int,),
    "sampler": (str,),
    "sample_index": (int,),
    "prompt": (str,),
    "hint_shown": (bool,),
    "completion": (str,),
    "finish_reason": (str,),
    "rewards": (dict,),
    "reward": NUMBER,
    "kept": (bool,),
    "drop_reason": (str, NoneType),
    "logprob": NUMBER,
    "extra": (dict,),
}
_values = attrgetter(*TYPES)
_tokens = FIELDS.index("completion_ids")  # where the two lists stand
_right_types: set[tuple[type, ...]] = set()  # those of all fields that were found right, since each check takes time
_encode_strictly = json.JSONEncoder(ensure_ascii=False, default=str, allow_nan=False).encode


FEATURES = Features(
    {
        "iteration": Value("int64"),
        "problem_id": Value("int64"),
        "sampler": Value("string"),
        "sample_index": Value("int64"),
        "prompt": Value("string"),
        "hint_shown": Value("bool"),
        "completion": Value("string"),
        "completion_ids": List(Value("int64")),
        "loss_mask": List(Value("bool")),
        "finish_reason": Value("string"),
        "rewards": List({"name": Value("string"), "value": Value("float64")}),
        "reward": Value("float64"),
        "kept": Value("bool"),
        "drop_reason": Value("string"),
        "logprob": Value("float64"),
        "extra": Value("string"),
    }
)


def as_line(sample: Sample) -> bytes:
    """Returns the line of a sample in the ledger."""
    ids, mask = _held_ids(sample), _held_mask(sample)
    # `extra` may hold types that orjson writes in another way, as a sampler or a reward function gave them.
    if not sample.extra and type(ids) is type(mask) is bytes:
        values = list(_values(sample))
        values[_tokens:_tokens] = np.frombuffer(ids, np.uint32), np.frombuffer(mask, bool)
        fields = dict(zip(FIELDS, values, strict=True))
        with suppress(orjson.JSONEncodeError):  # such as for a character that UTF-8 does not have
            return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
    fields = as_dict(sample)
    try:
        text = _encode_strictly(fields)
    except ValueError:  # infinity or NaN, in what a reward function logged
        text = _encode_strictly(finite(fields))
    return f"{text}\n".encode("utf-8", UNENCODABLE)


def _decode(line: bytes) -> Any:
    """Reads a line with what orjson cannot read: whole numbers of any size, and infinity or NaN as null."""
    return json.loads(line, parse_constant=as_null)


def as_dict(sample: Sample) -> dict[str, Any]:
    """Returns the fields of a sample."""
    # `dataclasses.asdict` copies every list of tokens, which took half of the time of sampling with a fast engine.
    return {name: getattr(sample, name) for name in FIELDS}


def from_line(line: bytes, iteration: int | None, num_problems: int | None, vocab_size: int | None) -> Sample:
    """
    Reads a line of the ledger. The other arguments are those of [`problem_of`].

    Raises:
        `ValueError`: If it is not a sample. The message says what is wrong with it.
    """
    for decode in (orjson.loads, _decode):
        try:
            sample = Sample(**decode(line))
            problem = problem_of(sample, iteration, num_problems, vocab_size)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            problem = str(error)
        # `extra` may hold whole numbers that orjson would round.
        if problem is None and (decode is _decode or not sample.extra):
            return sample
    raise ValueError(problem)


def problem_of(sample: Sample, iteration: int | None, num_problems: int | None, vocab_size: int | None) -> str | None:
    """
    Returns what is wrong with a sample that was read and what was expected, or `None` if nothing is.

    Args:
        sample ([`Sample`]):
            The sample.
        iteration (`int`, *optional*):
            Iteration whose folder it is in.
        num_problems (`int`, *optional*):
            Number of problems.
        vocab_size (`int`, *optional*):
            Number of tokens of the model.
    """
    types_found = tuple(map(type, _values(sample)))
    if types_found not in _right_types:
        for name, types in TYPES.items():
            value = getattr(sample, name)
            if type(value) not in types:
                expected = " or ".join("null" if each is NoneType else each.__name__ for each in types)
                return f"`{name}` is {value!r:.80}, expected {expected}"
        _right_types.add(types_found)
    if sample.iteration != iteration:
        return f"`iteration` is {sample.iteration}, expected {iteration} in this folder"
    end = 2**63 if num_problems is None else num_problems
    if not 0 <= sample.problem_id < end:
        return f"`problem_id` is {sample.problem_id}, expected 0 to {end - 1}"
    if not 0 <= sample.sample_index < 2**63:
        return f"`sample_index` is {sample.sample_index}, expected 0 or more"
    ids, mask = _held_ids(sample), _held_mask(sample)
    if type(ids) is not bytes:
        return f"`completion_ids` is {ids!r:.80}, expected a list of token ids"
    if vocab_size is not None and (highest := np.frombuffer(ids, np.uint32).max(initial=0)) >= vocab_size:
        return f"`completion_ids` has {highest}, but the model has {vocab_size} tokens"
    if type(mask) is not bytes or len(mask) != sample.num_tokens:
        return f"`loss_mask` is not {sample.num_tokens} times true or false, once for each token id"
    if sample.finish_reason not in FINISH_REASONS:
        return f"`finish_reason` is {sample.finish_reason!r:.80}, expected one of {sorted(FINISH_REASONS)}"
    if not _number_types.issuperset(map(type, sample.rewards.values())):
        return f"`rewards` is {sample.rewards!r:.80}, expected a number or null for each name"
    numbers = [*sample.rewards.values(), sample.reward, sample.logprob]
    if not all(map(math.isfinite, filter(None, numbers))):
        return f"`rewards`, `reward` or `logprob` is infinite: {numbers!r:.80}"
    if sample.kept != (sample.drop_reason is None):
        return f"`kept` is {sample.kept} with `drop_reason` {sample.drop_reason!r:.80}, expected a reason if not kept"
    return None
