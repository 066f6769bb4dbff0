# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Rocq, formerly Coq."""

import math
import re
import secrets
from collections.abc import Sequence

from .checker import Attempt, Checker, NoProof, Verdict, in_blocks, shorten, source, verdict


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
            *tactics, rest = self._sentences(in_blocks(completion))
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
                raise NoProof(f"no tactic: {shorten(tactic)}.")
        if self._nothing.fullmatch(rest) is None:
            raise NoProof(f"no period behind: {shorten(rest)}")
        return "".join(f"{tactic}.\n" for tactic in tactics) + rest

    def _sentences(self, text: str) -> list[str]:
        """Returns the sentences without comments and final periods, and what follows the last one."""
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
        # A random mark, so that no proof can name another one of the same file
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
            [*self.command, "-q", "Solution.v"], source(lines, "Solution.v"), "Solution.vo", len(kept)
        )
        if result.returncode or compiled is None:
            verdicts[proved[0]] = self._alone(kept, result)
            return verdicts

        # The statements are read before any of the proofs. A proof might have switched off checks for everyone who
        # loads it.
        lines = [header]
        for number, attempt in enumerate(kept):
            lines += [f"Module Type T{number}.", attempt.statement, f"Admitted.\nEnd T{number}."]
        lines.append("Require Solution.\nSet Guard Checking.\nSet Positivity Checking.\nSet Universe Checking.")
        for number, attempt in enumerate(kept):
            lines.append(f"Module C{number} <: T{number} := Solution.{mark}S{number}.")
            lines.append(f'Goal True. idtac "{mark}". Abort.')
            lines.append(f"Print Assumptions Solution.{mark}S{number}.{attempt.name}.")
        files = {**source(lines, "Check.v"), "Solution.vo": compiled}
        result, _ = self.run([*self.command, "-q", "Check.v"], files, None, len(kept))
        assumptions = result.stdout.split(f"{mark}\n")[1:]
        if result.returncode or len(assumptions) != len(kept):
            verdicts[proved[0]] = self._alone(kept, result, "not the statement: ")
            return verdicts
        for number, said in zip(proved, assumptions, strict=True):
            if not self._is_closed(said):
                verdicts[number] = verdict(f"not proved without assumptions: {said}")
        return verdicts

    def _try(self, attempts: Sequence[Attempt], mark: str) -> list[Verdict]:
        """
        Returns which attempts have no error. This is only a first selection: those without an error are compiled.
        """
        lines = [attempts[0].header, f"Set Silent.\nSet Default Timeout {math.ceil(self.timeout)}."]
        for number, attempt in enumerate(attempts):
            lines += [f"Module Type T{number}.", attempt.statement, f"Admitted.\nEnd T{number}.\nCheck {mark}."]
            lines += [f"Module {mark}S{number}.", attempt.statement, "Proof.", attempt.proof, "Qed.\nAbort All."]
            lines.append(f"End {mark}S{number}.\nCheck {mark}.")
        # The interactive program: `rocq repl` for `rocq compile`, and `coqtop` for `coqc`
        *before, program = self.command
        folder, slash, name = program.rpartition("/")
        interactive = "repl" if name == "compile" else folder + slash + name.replace("coqc", "coqtop")
        result, _ = self.run([*before, interactive, "-q"], source(lines, ""), None, len(attempts))
        # An error is printed with its line. The marks are errors too, and show which attempt the other errors belong
        # to.
        parts = re.split(rf"> Check {mark}\.\n.*?current\s+environment\.", result.stderr, flags=re.DOTALL)[:-1]
        if len(parts) != 2 * len(attempts) or result.reason is not None or result.returncode:
            return [self._alone(attempts, result)]
        errors = [re.search(r"^Error:(.*?)(?=^\S+ < |\Z)", part, re.DOTALL | re.MULTILINE) for part in parts]
        for attempt, error in zip(attempts, errors[::2], strict=True):
            if error is not None:
                raise ValueError(f"Not a theorem: {attempt.statement} {shorten(error[1])}")
        return [Verdict() if error is None else verdict(error[1]) for error in errors[1::2]]

    def _is_closed(self, assumptions: str) -> bool:
        """Whether `Print Assumptions` reports no axioms, or only allowed ones."""
        first, *others = [line for line in assumptions.splitlines() if line and not line[0].isspace()] or [""]
        if first == "Closed under the global context":
            return not others
        names = [re.match(r"(\S+)(?: :|\Z)", line) for line in others]
        return first == "Axioms:" and bool(names) and all(name and name[1] in self.allowed for name in names)
