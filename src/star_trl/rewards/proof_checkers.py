# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
What is particular to a proof assistant: how a proof is read from a completion, and how its checker is asked.

Two things stand between a model and a proof that is none. `read` lets nothing but tactics through, so that a proof
cannot declare, redefine, load or write anything. And what was compiled is checked by another process, in a folder of
its own, that has not read the proof: the theorem has the type of the statement, and rests on no axiom.
"""

import json
import math
import re
import secrets
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..limited_process import LimitedResult


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


class Checker:
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

    def read_header(self, header: str) -> str:
        """A header as it is put into files. Raises `ValueError` if there is a definition in it."""
        raise NotImplementedError

    def read_theorem(self, theorem: str) -> tuple[str, str]:
        """Statement and name of a theorem. Raises `ValueError` if it is none."""
        raise NotImplementedError

    def read(self, completion: str, statement: str) -> str:
        """The tactics of a completion, which may repeat the statement. Raises `NoProof`."""
        raise NotImplementedError

    def check(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        """
        Judges attempts with the same header, several in one file: most of the time goes into starting a checker and
        loading its libraries. Raises `TryAlone` where several cannot be told apart, `ValueError` if a statement is
        none.
        """
        raise NotImplementedError

    @staticmethod
    def _alone(attempts: Sequence[Attempt], result: LimitedResult, message: str = "") -> Verdict:
        if len(attempts) > 1:
            raise TryAlone
        limit = result.reason or ("ended from outside" if result.returncode < 0 else None)
        if limit is not None:
            return Verdict(f"limit: {limit}", limited=True)
        return _verdict(message + (result.stderr or result.stdout))


class Coq(Checker):
    """Rocq, formerly Coq. `coqc` compiles, `coqtop` goes on after an error."""

    install = "apt-get install coq, brew install coq, or opam install coq"
    commands = (["coqc"], ["rocq", "compile"])
    axioms = ()
    memory_bytes = 2 * 1024**3

    _token = re.compile(r'"[^"]*"|"|\(\*|\*\)|\.(?=\s|\Z)|(?:[^"(*.]|\.(?!\s|\Z))+|.', re.DOTALL)
    _theorem = re.compile(r"(?:Theorem|Lemma|Fact|Remark|Corollary|Proposition|Property|Example)\s+([A-Za-z_][\w']*)")
    _no_definition = re.compile(r"(?:From|Require|Import|Export|Open|Close|Local Open|Local Close|Set|Unset)\b")
    # Bullets, braces and selectors of goals, and then a tactic. Commands begin with a capital letter or `#`.
    _before = r"(?:[-+*{}\s]|(?:\d+(?:\s*[-,]\s*\d+)*|all|par|!|\[\s*[\w']+\s*\])\s*:(?!=))*+"
    _tactic = re.compile(_before + r"[a-z_(\[]")
    _nothing = re.compile(_before)

    def read_header(self, header: str) -> str:
        *sentences, rest = self._sentences(header)
        for sentence in sentences:
            if self._no_definition.match(sentence) is None:
                raise ValueError(
                    f"A header holds Require, Import, Open Scope, Set and Unset only, got {sentence!r}. Put "
                    "definitions into a file of their own, compile it, and name its folder in COQPATH."
                )
        if rest:
            raise ValueError(f"Every sentence of a header ends with a period, {rest!r} does not.")
        return "".join(f"{sentence}.\n" for sentence in sentences)

    def read_theorem(self, theorem: str) -> tuple[str, str]:
        sentences = self._sentences(theorem)
        match = self._theorem.match(sentences[0])
        if match is None or len(sentences) != 2 or sentences[1]:
            raise ValueError(
                "A theorem is one sentence with a name and a final period, and without a proof, such as `Theorem t : "
                f"True.`, got {theorem!r}."
            )
        return f"{sentences[0]}.", match[1]

    def read(self, completion: str, statement: str) -> str:
        try:
            *tactics, rest = self._sentences(_in_blocks(completion))
        except ValueError as error:
            raise NoProof(str(error)) from None
        if tactics and f"{tactics[0]}." == statement:
            tactics.pop(0)
        if tactics and tactics[0] == "Proof":
            tactics.pop(0)
        if tactics and tactics[-1] in ("Qed", "Defined"):
            tactics.pop()
        if not tactics:
            raise NoProof("no tactic")
        for tactic in tactics:
            if self._tactic.match(tactic) is None:
                raise NoProof(f"no tactic: {_shorten(tactic)}.")
        if self._nothing.fullmatch(rest) is None:
            raise NoProof(f"no period behind: {_shorten(rest)}")
        return "".join(f"{tactic}.\n" for tactic in tactics) + rest

    def _sentences(self, text: str) -> list[str]:
        """Sentences without comments and final periods, and what follows the last one."""
        sentences, sentence, depth = [], "", 0
        for token in self._token.findall(text):
            if token == '"':
                raise ValueError("a string does not end")
            if token == "(*":
                depth += 1
                sentence += " "
            elif token == "*)" and depth:
                depth -= 1
            elif not depth and token == ".":
                sentences.append(sentence)
                sentence = ""
            elif not depth:
                sentence += token
        if depth:
            raise ValueError("a comment does not end")
        return [" ".join(sentence.split()) for sentence in [*sentences, sentence]]

    def check(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        # No proof can name another one of the same file
        mark = f"m{secrets.token_hex(6)}"
        verdicts = self._try(attempts, mark)
        proved = [number for number, verdict in enumerate(verdicts) if verdict.error is None]
        if not proved:
            return verdicts
        header, kept = attempts[0].header, [attempts[number] for number in proved]
        lines = [header]
        for number, attempt in enumerate(kept):
            lines += [f"Module {mark}S{number}.", attempt.statement, "Proof.", attempt.proof]
            lines.append(f"Qed.\nEnd {mark}S{number}.")
        result, compiled = self.run(
            [*self.command, "-q", "Solution.v"], _files(lines, "Solution.v"), "Solution.vo", len(kept)
        )
        if result.returncode or compiled is None:
            verdicts[proved[0]] = self._alone(kept, result)
            return verdicts

        # The statements are read before anything of the proofs is. A proof might have switched off checks for all
        # who load it.
        lines = [header]
        for number, attempt in enumerate(kept):
            lines += [f"Module Type T{number}.", attempt.statement, f"Admitted.\nEnd T{number}."]
        lines.append("Require Solution.\nSet Guard Checking.\nSet Positivity Checking.\nSet Universe Checking.")
        for number, attempt in enumerate(kept):
            lines.append(f"Module C{number} <: T{number} := Solution.{mark}S{number}.")
            lines.append(f'Goal True. idtac "{mark}". Abort.')
            lines.append(f"Print Assumptions Solution.{mark}S{number}.{attempt.name}.")
        files = {**_files(lines, "Check.v"), "Solution.vo": compiled}
        result, _ = self.run([*self.command, "-q", "Check.v"], files, None, len(kept))
        assumptions = result.stdout.split(f"{mark}\n")[1:]
        if result.returncode or len(assumptions) != len(kept):
            verdicts[proved[0]] = self._alone(kept, result, "not the statement: ")
            return verdicts
        for number, said in zip(proved, assumptions, strict=True):
            if not self._is_closed(said):
                verdicts[number] = _verdict(f"not proved without assumptions: {said}")
        return verdicts

    def _try(self, attempts: Sequence[Attempt], mark: str) -> list[Verdict]:
        """Which attempts have no error. It is not relied on: what has none is compiled."""
        lines = [attempts[0].header, f"Set Silent.\nSet Default Timeout {math.ceil(self.timeout)}."]
        for number, attempt in enumerate(attempts):
            lines += [f"Module Type T{number}.", attempt.statement, f"Admitted.\nEnd T{number}.\nCheck {mark}."]
            lines += [f"Module {mark}S{number}.", attempt.statement, "Proof.", attempt.proof, "Qed.\nAbort All."]
            lines.append(f"End {mark}S{number}.\nCheck {mark}.")
        # Where one types: `rocq repl` for `rocq compile`, and `coqtop` for `coqc`
        *before, program = self.command
        folder, slash, name = program.rpartition("/")
        interactive = "repl" if name == "compile" else folder + slash + name.replace("coqc", "coqtop")
        result, _ = self.run([*before, interactive, "-q"], _files(lines, ""), None, len(attempts))
        # An error is printed with its line. The marks are errors, and so tell whose the others are.
        parts = re.split(rf"> Check {mark}\.\n.*?current\s+environment\.", result.stderr, flags=re.DOTALL)[:-1]
        if len(parts) != 2 * len(attempts) or result.reason is not None or result.returncode:
            return [self._alone(attempts, result)]
        errors = [re.search(r"^Error:(.*?)(?=^\S+ < |\Z)", part, re.DOTALL | re.MULTILINE) for part in parts]
        for attempt, error in zip(attempts, errors[::2], strict=True):
            if error is not None:
                raise ValueError(f"Not a theorem: {attempt.statement} {_shorten(error[1])}")
        return [Verdict() if error is None else _verdict(error[1]) for error in errors[1::2]]

    def _is_closed(self, assumptions: str) -> bool:
        """Whether `Print Assumptions` has said that there are none, or only such as are allowed."""
        first, *others = [line for line in assumptions.splitlines() if line and not line[0].isspace()] or [""]
        if first == "Closed under the global context":
            return not others
        names = [re.match(r"(\S+)(?: :|\Z)", line) for line in others]
        return first == "Axioms:" and bool(names) and all(name and name[1] in self.allowed for name in names)


# Lean's words that begin commands, run programs or take the place of a proof; and those that search for theorems, and
# would find the other proofs of the same file.
_LEAN_WORDS = frozenset(
    """
    abbrev add_decl_doc alias attribute axiom builtin_dsimproc builtin_initialize builtin_simproc class constant
    declare_syntax_cat def deriving dsimproc elab elab_rules end example export extern import include inductive infix
    infixl infixr init_quot initialize instance irreducible_def lemma local macro macro_rules mutual namespace
    noncomputable notation notation3 omit opaque open partial postfix prefix private protected run_cmd run_elab
    run_meta scoped section set_option simproc structure syntax theorem universe unsafe variable
    by_elab run_tac implemented_by unsafeCast unsafeIO
    sorry admit stop native_decide bv_decide sorryAx ofReduceBool trustCompiler
    exact? apply? rw? rw_search hint
    """.split()
)


class Lean(Checker):
    """Lean 4. `lean` reports every error of a file, and compiles it if there is none."""

    install = "https://lean-lang.org/install, and name the libraries in LEAN_PATH (`lake env printenv LEAN_PATH`)"
    commands = (["lean"],)
    axioms = ("propext", "Classical.choice", "Quot.sound")
    memory_bytes = 32 * 1024**3  # the files of a library are mapped

    _token = re.compile(r"--[^\n]*|/-|-/|#?[^\W\d][\w'!?]*(?:\.[^\W\d][\w'!?]*)*|@\[|.", re.DOTALL)
    _theorem = re.compile(r"(?:theorem|lemma)\s+([^\s({\[:]+)")
    _no_definition = re.compile(r"(?:(?:import|open|set_option|universe)\b.*|--.*|)\Z")
    _ending = re.compile(r"\s*:=(?:\s*by)?(?:\s*sorry)?\s*\Z")

    def read_header(self, header: str) -> str:
        for line in header.splitlines():
            if self._no_definition.match(line) is None:
                raise ValueError(
                    f"A header holds import, open, set_option and universe only, got {line!r}. Put definitions into a "
                    "file of their own, compile it, and name its folder in LEAN_PATH."
                )
        return header

    def read_theorem(self, theorem: str) -> tuple[str, str]:
        statement = self._ending.sub("", theorem).strip()
        match = self._theorem.match(statement)
        if match is None:
            raise ValueError(f"A theorem begins with `theorem` and its name, got {theorem!r}.")
        return statement, match[1]

    def read(self, completion: str, statement: str) -> str:
        code = self._without_comments(_in_blocks(completion))
        repeated = re.match(r"\s*" + r"\s+".join(map(re.escape, statement.split())) + r"\s*:=", code)
        if repeated is not None:
            code = code[repeated.end() :]
        code = re.sub(r"\A\s*by\b", "", code)
        for token in self._token.findall(code):
            if token in _LEAN_WORDS or token == "@[" or re.match(r"#[a-z]", token):
                raise NoProof(f"no tactic: {token}")
        if not code.strip() or code.lstrip().startswith(":="):
            raise NoProof("no tactic")
        # Lines keep their columns among each other, which Lean reads
        return textwrap.indent(textwrap.dedent(code.strip("\n").rstrip()), "  ")

    def _without_comments(self, text: str) -> str:
        """The text with spaces in place of comments, so that the columns stay."""
        kept, depth = "", 0
        for token in self._token.findall(text):
            if token == "/-":
                depth += 1
            if depth or token.startswith("--"):
                kept += re.sub(r"[^\n]", " ", token)
            else:
                kept += token
            if token == "-/" and depth:
                depth -= 1
        if depth:
            raise NoProof("a comment does not end")
        return kept

    def check(self, attempts: Sequence[Attempt]) -> list[Verdict]:
        statements, starts = self._write("T", attempts, ["sorry"] * len(attempts))
        result, statement = self._compile("Statement", statements, len(attempts))
        for attempt, error in zip(attempts, self._errors(result, starts), strict=True):
            if error is not None:
                raise ValueError(f"Not a theorem: {attempt.statement} {_shorten(error)}")
        if statement is None:
            return [self._alone(attempts, result)]

        proofs = [f"by\n{attempt.proof}" for attempt in attempts]
        solution, starts = self._write("S", attempts, proofs)
        result, compiled = self._compile("Solution", solution, len(attempts))
        verdicts = [Verdict() if error is None else _verdict(error) for error in self._errors(result, starts)]
        proved = [number for number, verdict in enumerate(verdicts) if verdict.error is None]
        if result.reason is not None or (len(proved) == len(attempts) and compiled is None):
            return [self._alone(attempts, result)]
        if not proved:
            return verdicts
        kept = [attempts[number] for number in proved]
        if compiled is None:
            solution, _ = self._write("S", kept, [proofs[number] for number in proved], proved)
            result, compiled = self._compile("Solution", solution, len(kept))
            if compiled is None:
                verdicts[proved[0]] = self._alone(kept, result)
                return verdicts

        lines = ["import Statement", "import Solution"]
        for number, attempt in zip(proved, kept, strict=True):
            lines.append(f"theorem C{number} : type_of% @T{number}.{attempt.name} := @S{number}.{attempt.name}")
            lines.append(f"#print axioms C{number}")
        files = {**_files(lines, "Check.lean"), "Statement.olean": statement, "Solution.olean": compiled}
        result, _ = self.run([*self.command, "--json", "Check.lean"], files, None, len(kept))
        said = {message["pos"]["line"]: message["data"] for message in self._messages(result)}
        if result.returncode or len(said) != len(kept):
            verdicts[proved[0]] = self._alone(kept, result, "not the statement: ")
            return verdicts
        for line, number in zip(range(4, len(lines) + 1, 2), proved, strict=True):
            found = re.search(r"depends on axioms: \[(.*?)\]", said.get(line, ""), re.DOTALL)
            axioms = {name.strip() for name in found[1].split(",")} if found else set()
            if not (axioms <= self.allowed if found else "does not depend on any axioms" in said.get(line, "")):
                verdicts[number] = _verdict(f"not proved without assumptions: {said.get(line, '')}")
        return verdicts

    def _write(
        self, prefix: str, attempts: Sequence[Attempt], proofs: list[str], numbers: Sequence[int] | None = None
    ) -> tuple[list[str], list[int]]:
        """The lines of a file with a namespace for every theorem, and where each begins."""
        lines, starts = attempts[0].header.splitlines(), []
        for number, attempt, proof in zip(numbers or range(len(attempts)), attempts, proofs, strict=True):
            starts.append(len(lines) + 1)
            text = f"namespace {prefix}{number}\n{attempt.statement} := {proof}\nend {prefix}{number}"
            lines += text.split("\n")
        return lines, starts

    def _compile(self, name: str, lines: list[str], count: int) -> tuple[LimitedResult, bytes | None]:
        command = [*self.command, "--json", "-o", f"{name}.olean", f"{name}.lean"]
        result, compiled = self.run(command, _files(lines, f"{name}.lean"), f"{name}.olean", count)
        return result, compiled if result.returncode == 0 else None

    def _errors(self, result: LimitedResult, starts: list[int]) -> list[str | None]:
        """The first error of each theorem, by the line that it stands on."""
        errors: list[str | None] = [None] * len(starts)
        for message in self._messages(result):
            number = sum(start <= message["pos"]["line"] for start in starts) - 1
            if message["severity"] == "error" and errors[max(number, 0)] is None:
                errors[max(number, 0)] = message["data"]
        return errors

    @staticmethod
    def _messages(result: LimitedResult) -> list[dict[str, Any]]:
        return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


CHECKERS: dict[str, type[Checker]] = {"coq": Coq, "lean": Lean}


def _in_blocks(text: str) -> str:
    """The code between fences, one block behind the other; all of the text if there are none."""
    return "\n".join(_FENCED.findall(text)) or text


def _files(lines: list[str], name: str) -> dict[str, bytes]:
    return {name: "\n".join([*lines, ""]).encode(errors="replace")}


def _shorten(text: str) -> str:
    return textwrap.shorten(text, 300, placeholder=" ...")


def _verdict(message: str) -> Verdict:
    if re.search(r"Timeout!|deterministic\) timeout", message):
        return Verdict("limit: time", limited=True)
    if re.search(r"[Oo]ut of memory|[Ss]tack overflow", message):
        return Verdict("limit: memory", limited=True)
    return Verdict(_shorten(message))
