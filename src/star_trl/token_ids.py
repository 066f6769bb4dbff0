# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Holds token ids in little memory. A list takes 36 bytes a token, and every garbage collection visits each one. Bytes
take 4, and no garbage collection visits them.
"""

from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any


TOKEN_SIZE = 4


def as_bytes(ids: Iterable[int]) -> bytes:
    """Packs token ids. Raises `TypeError` or `OverflowError` for other values."""
    return array("I", ids).tobytes()


def from_bytes(packed: bytes) -> list[int]:
    """Returns token ids as a list."""
    return array("I", packed).tolist()


class TokenIds:
    """
    Token ids of a prompt, at 4 bytes a token. What several prompts begin with is held once.

    Args:
        own (`Iterable[int]`):
            The tokens, without those that several prompts begin with.
        head (`list[int]`, *optional*):
            Tokens before them, the same list for all prompts that begin with it.
    """

    __slots__ = ("head", "own")

    def __init__(self, own: Iterable[int], head: Sequence[int] = ()):
        self.own = as_bytes(own)
        self.head = head

    def __len__(self) -> int:
        return len(self.head) + len(self.own) // TOKEN_SIZE

    def tolist(self) -> list[int]:
        return [*self.head, *from_bytes(self.own)]


def packed_field(
    owner: type, name: str, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """
    Makes a dataclass hold a field in another form than it is given in, and returns a function that reads this form.

    Args:
        owner (`type`):
            The dataclass, which must have slots.
        name (`str`):
            Name of the field.
        pack (`Callable`):
            Turns a value into the form that is held.
        unpack (`Callable`):
            Turns it back whenever the field is read.
    """
    slot = owner.__dict__[name]
    setattr(
        owner, name, property(lambda self: unpack(slot.__get__(self)), lambda self, v: slot.__set__(self, pack(v)))
    )
    return slot.__get__


def hashable(ids: list[int] | TokenIds) -> Hashable:
    """Returns what is equal for equal token ids, if they are held in the same way."""
    return (id(ids.head), ids.own) if isinstance(ids, TokenIds) else as_bytes(ids)


def as_list(ids: list[int] | TokenIds) -> list[int]:
    """Returns token ids as a list."""
    return ids.tolist() if isinstance(ids, TokenIds) else ids
