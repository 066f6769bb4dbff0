# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
What is particular to a proof assistant: how a proof is read from a completion, and how its checker is asked.

Two things stand between a model and a proof that is none. `read` lets nothing but tactics through, so that a proof
cannot declare, redefine, load or write anything. And what was compiled is checked by another process, in a folder of
its own, that has not read the proof: the theorem has the type of the statement, and rests on no axiom.
"""

import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...limited_process import LimitedResult


# Runs a program on files, by name (`""` is its standard input), with time for so many attempts. Gives the result, and
# the file of the name that is wanted, if there is one afterwards.
Run = Callable[[list[str], dict[str, bytes], str | None, int], tuple[LimitedResult, bytes | None]]

_FENCED = re.compile(r"```[a-zA-Z0-9]*[ \t]*\n(.*?)```", re.DOTALL)


class NoProof(ValueError):
    """What a completion has in place of a proof."""


class TryAlone(Exception):
    """Some attempts cannot be judged together, and have to be one by one."""


@dataclass(frozen=True)
class Attempt:
    """A proof of a theorem, as it is put into a file."""

    header: str
    statement: str
    name: str
    proof: str


@dataclass(frozen=True)
class Verdict:
    """What came of an attempt."""

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
    commands: tuple[list[str], ...]  # its names, the first one that is found is taken
    axioms: tuple[str, ...]  # that a proof may rest on by default
    memory_bytes: int  # address space by default

    def __init__(self, command: list[str], run: Run, timeout: float, axioms: Sequence[str]):
        self.command = command
        self.run = run
        self.timeout = timeout
        self.allowed = frozenset(axioms)

    @abstractmethod
    def read_header(self, header: str) -> str:
        """A header as it is put into files. Raises `ValueError` if there is a definition in it."""

    @abstractmethod
    def read_theorem(self, theorem: str) -> tuple[str, str]:
        """Statement and name of a theorem. Raises `ValueError` if it is none."""

    @abstractmethod
    def read(self, completion: str, statement: str) -> str:
        """The tactics of a completion, which may repeat the statement. Raises `NoProof`."""

    @abstractmethod
    def check(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        """
        Judges attempts with the same header, several in one file: most of the time goes into starting a checker and
        loading its libraries. Raises `TryAlone` where several cannot be told apart, `ValueError` if a statement is
        none.
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
    """The code between fences, one block behind the other; all of the text if there are none."""
    return "\n".join(_FENCED.findall(text)) or text


def source(lines: list[str], name: str) -> dict[str, bytes]:
    return {name: "\n".join([*lines, ""]).encode(errors="replace")}


def shorten(text: str) -> str:
    return textwrap.shorten(text, 300, placeholder=" ...")


def verdict(message: str) -> Verdict:
    if re.search(r"Timeout!|deterministic\) timeout", message):
        return Verdict("limit: time", limited=True)
    if re.search(r"[Oo]ut of memory|[Ss]tack overflow", message):
        return Verdict("limit: memory", limited=True)
    return Verdict(shorten(message))
