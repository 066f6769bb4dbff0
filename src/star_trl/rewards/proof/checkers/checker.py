# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
The interface to a proof assistant: how a proof is read from a completion, and how its checker is run.

Two guards keep a model from passing off something else as a proof. `read` lets only tactics through, so that a proof
cannot declare, redefine, load or write anything. The compiled result is then checked by another process, in its own
folder, that has not read the proof: the theorem must have the type of the statement and rest on no axiom.
"""

import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ....sandbox.limited_process import LimitedResult


# Runs a program on files, given by name (`""` is its standard input), with time for a number of attempts. Returns the
# result, and the content of the wanted file if it exists afterwards.
Run = Callable[[list[str], dict[str, bytes], str | None, int], tuple[LimitedResult, bytes | None]]

_FENCED = re.compile(r"```[a-zA-Z0-9]*[ \t]*\n(.*?)```", re.DOTALL)


class NoProof(ValueError):
    """Raised if a completion holds something other than a proof. The message says what."""


class TryAlone(Exception):
    """Raised if some attempts cannot be judged together and have to be judged one by one."""


@dataclass(frozen=True)
class Attempt:
    """A proof of a theorem, in the form in which it is written to a file."""

    header: str
    statement: str
    name: str
    proof: str


@dataclass(frozen=True)
class Verdict:
    """Result of an attempt."""

    error: str | None = None
    """What the checker says; `None` if the theorem is proved."""
    limited: bool = False
    """Whether a limit ended the check."""


class Checker(ABC):
    """
    A proof assistant.

    Args:
        command (`list[str]`):
            The program that compiles a file, by its path.
        run (`Callable`):
            Runs a program with limits.
        timeout (`float`):
            Seconds for an attempt.
        axioms (`Sequence[str]`):
            Axioms that a proof may rest on.
    """

    install: str  # how to get it
    commands: tuple[list[str], ...]  # its names, of which the first one found is used
    axioms: tuple[str, ...]  # that a proof may rest on by default
    memory_bytes: int  # address space by default

    def __init__(self, command: list[str], run: Run, timeout: float, axioms: Sequence[str]):
        self.command = command
        self.run = run
        self.timeout = timeout
        self.allowed = frozenset(axioms)

    @abstractmethod
    def read_header(self, header: str) -> str:
        """
        Returns a header in the form in which it is written to files. Raises `ValueError` if it contains a definition.
        """

    @abstractmethod
    def read_theorem(self, theorem: str) -> tuple[str, str]:
        """Returns the statement and the name of a theorem. Raises `ValueError` if it is not a theorem."""

    @abstractmethod
    def read(self, completion: str, statement: str) -> str:
        """Returns the tactics of a completion, which may repeat the statement. Raises `NoProof`."""

    @abstractmethod
    def check(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        """
        Judges attempts with the same header, several in one file, since most of the time goes into starting a checker
        and loading its libraries. Raises `TryAlone` if several cannot be told apart, and `ValueError` if a statement
        is not valid.
        """

    @staticmethod
    def _alone(attempts: Sequence[Attempt], result: LimitedResult, message: str = "") -> Verdict:
        if len(attempts) > 1:
            raise TryAlone
        limit = result.reason or ("ended from outside" if result.returncode < 0 else None)
        if limit is not None:
            return Verdict(f"limit: {limit}", limited=True)
        return verdict(message + (result.stderr or result.stdout))


def in_blocks(text: str) -> str:
    """Returns the code in the fenced blocks, one block after the other, or the whole text if there are none."""
    return "\n".join(_FENCED.findall(text)) or text


def source(lines: list[str], name: str) -> dict[str, bytes]:
    return {name: "\n".join([*lines, ""]).encode(errors="replace")}


def shorten(text: str) -> str:
    return textwrap.shorten(text[:2000], 300, placeholder=" ...")  # it splits all of the text into words


def verdict(message: str) -> Verdict:
    if re.search(r"Timeout!|deterministic\) timeout", message):
        return Verdict("limit: time", limited=True)
    if re.search(r"[Oo]ut of memory|[Ss]tack overflow", message):
        return Verdict("limit: memory", limited=True)
    return Verdict(shorten(message))
