# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Lean 4."""

import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from ....sandbox.limited_process import LimitedResult
from .checker import Attempt, Checker, NoProof, Verdict, in_blocks, shorten, source, verdict


# Lean's words that begin commands, run programs or take the place of a proof, and those that search for theorems and
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
    memory_bytes = 32 * 1024**3  # the files of a library are mapped into memory

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
        code = self._without_comments(in_blocks(completion))
        repeated = re.match(r"\s*" + r"\s+".join(map(re.escape, statement.split())) + r"\s*:=", code)
        if repeated is not None:
            code = code[repeated.end() :]
        code = re.sub(r"\A\s*by\b", "", code)
        for token in self._token.findall(code):
            if token in _LEAN_WORDS or token == "@[" or re.match(r"#[a-z]", token):
                raise NoProof(f"no tactic: {token}")
        if not code.strip() or code.lstrip().startswith(":="):
            raise NoProof("no tactic")
        # Lines keep their relative columns, which matter to Lean
        return textwrap.indent(textwrap.dedent(code.strip("\n").rstrip()), "  ")

    def _without_comments(self, text: str) -> str:
        """Returns the text with spaces in place of comments, so that the columns stay the same."""
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
                raise ValueError(f"Not a theorem: {attempt.statement} {shorten(error)}")
        if statement is None:
            return [self._alone(attempts, result)]

        proofs = [f"by\n{attempt.proof}" for attempt in attempts]
        solution, starts = self._write("S", attempts, proofs)
        result, compiled = self._compile("Solution", solution, len(attempts))
        verdicts = [Verdict() if error is None else verdict(error) for error in self._errors(result, starts)]
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
        files = {**source(lines, "Check.lean"), "Statement.olean": statement, "Solution.olean": compiled}
        result, _ = self.run([*self.command, "--json", "Check.lean"], files, None, len(kept))
        said = {message["pos"]["line"]: message["data"] for message in self._messages(result)}
        if result.returncode or len(said) != len(kept):
            verdicts[proved[0]] = self._alone(kept, result, "not the statement: ")
            return verdicts
        for line, number in zip(range(4, len(lines) + 1, 2), proved, strict=True):
            found = re.search(r"depends on axioms: \[(.*?)\]", said.get(line, ""), re.DOTALL)
            axioms = {name.strip() for name in found[1].split(",")} if found else set()
            if not (axioms <= self.allowed if found else "does not depend on any axioms" in said.get(line, "")):
                verdicts[number] = verdict(f"not proved without assumptions: {said.get(line, '')}")
        return verdicts

    def _write(
        self, prefix: str, attempts: Sequence[Attempt], proofs: list[str], numbers: Sequence[int] | None = None
    ) -> tuple[list[str], list[int]]:
        """Returns the lines of a file with a namespace for every theorem, and the line where each begins."""
        lines, starts = attempts[0].header.splitlines(), []
        for number, attempt, proof in zip(numbers or range(len(attempts)), attempts, proofs, strict=True):
            starts.append(len(lines) + 1)
            text = f"namespace {prefix}{number}\n{attempt.statement} := {proof}\nend {prefix}{number}"
            lines += text.split("\n")
        return lines, starts

    def _compile(self, name: str, lines: list[str], count: int) -> tuple[LimitedResult, bytes | None]:
        command = [*self.command, "--json", "-o", f"{name}.olean", f"{name}.lean"]
        result, compiled = self.run(command, source(lines, f"{name}.lean"), f"{name}.olean", count)
        return result, compiled if result.returncode == 0 else None

    def _errors(self, result: LimitedResult, starts: list[int]) -> list[str | None]:
        """Returns the first error of each theorem, found by its line."""
        errors: list[str | None] = [None] * len(starts)
        for message in self._messages(result):
            number = sum(start <= message["pos"]["line"] for start in starts) - 1
            if message["severity"] == "error" and errors[max(number, 0)] is None:
                errors[max(number, 0)] = message["data"]
        return errors

    @staticmethod
    def _messages(result: LimitedResult) -> list[dict[str, Any]]:
        # A limit may end Lean in the middle of a message. A line without a line feed is therefore not complete.
        *lines, _ = result.stdout.split("\n")
        return [json.loads(line) for line in lines if line.startswith("{")]
