# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Rewards for formal proofs, by the checker of a proof assistant."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from ...sandbox.limited_process import LimitedResult, run_limited
from ..text import CompletionLike, after_thinking, completion_text
from .checkers import CHECKERS, Attempt, NoProof, TryAlone, Verdict


FILE_BYTES = 256 * 1024**2
OUTPUT_BYTES = 8 * 1024**2
# Environment variables that a checker may see: where it is and where its libraries are.
ENVIRONMENT = (
    "PATH HOME COQPATH COQLIB ROCQPATH ROCQLIB OCAMLPATH OPAM_SWITCH_PREFIX LEAN_PATH ELAN_HOME ELAN_TOOLCHAIN"
)


class ProofCheckReward:
    r"""
    1.0 if a completion proves the theorem of its problem, by the checker of a proof assistant, else 0.0. The
    completion consists of tactics. They are in fenced blocks with text between them, or without fences and with
    comments, as in the interleaved thoughts and tactics of Lean-STaR ([Lin et al.,
    2024](https://huggingface.co/papers/2407.10040)). The completion may repeat the statement, and may contain `Proof.`
    and `Qed.`

    The checker must accept the whole file. The theorem must have the type of the statement and rest only on the
    allowed axioms. Only tactics are let through, so `Admitted`, `Axiom`, a notation or a second theorem is refused.
    What was compiled is checked again by a process that has not read the proof. Everything is run by
    [`~star_trl.sandbox.run_limited`]. The ledger holds the checker's message (`proof_error`), and the metrics the
    share of the completions that were ended by a limit (`proof/limited`). A proof is never checked twice, whatever its
    comments are.

    Args:
        checker (`str`, *optional*, defaults to `"coq"`):
            `"coq"` (Rocq) or `"lean"` (Lean 4).
        command (`list[str]`, *optional*):
            The program that compiles a file, such as `["rocq", "compile"]`. By default the one that is found.
        header (`str`, *optional*, defaults to `""`):
            Text at the top of every file: `Require`, `Import`, `Open Scope`, or `import` and `open`. A column `header`
            replaces it.
        allowed_axioms (`Sequence[str]`, *optional*):
            Axioms that a proof may rest on, in the form that the checker prints. None by default for Rocq; `propext`,
            `Classical.choice` and `Quot.sound` for Lean.
        timeout (`float`, *optional*, defaults to `10.0`):
            Seconds for a proof.
        memory_bytes (`int`, *optional*):
            Address space of the checker. 2 GiB by default for Rocq, 32 GiB for Lean.
        max_processes (`int`, *optional*, defaults to `1`):
            Maximum number of processes of the checker at a time. 1 is enough for `coqc` and `lean`, but not for
            `lake`, which starts another one.
        batch_size (`int`, *optional*, defaults to `16`):
            Number of proofs that are checked in one file. Those that cannot be judged together are judged one by one.
        num_workers (`int`, *optional*):
            Number of checkers that run at a time. One for each core by default.
        network (`bool`, *optional*, defaults to `False`):
            Whether a checker may use the network.
        accept_missing_guards (`Collection[str]`, *optional*):
            Guards without which a checker is run all the same, as in [`~star_trl.sandbox.run_limited`].

    Raises:
        `FileNotFoundError`: If there is no checker.
        [`~star_trl.sandbox.MissingGuards`]: If the system lacks a guard that is not named in `accept_missing_guards`.
        `OSError`: If it cannot be run with limits here.
        `ValueError`: If `checker` or the header is not valid.

    Example:
    ```python
    from star_trl.rewards import ProofCheckReward

    reward = ProofCheckReward(header="From Coq Require Import Lia.")
    theorem = "Theorem swap : forall A B : Prop, A /\ B -> B /\ A."
    proof = "(* Take the pair apart. *) intros A B [a b]. (* Both are there. *) split; assumption. Qed."
    reward([proof, "Admitted."], theorem=[theorem] * 2)  # [1.0, 0.0]
    ```
    """

    __name__ = "proof_check_reward"

    def __init__(
        self,
        checker: str = "coq",
        command: Sequence[str] | None = None,
        header: str = "",
        allowed_axioms: Sequence[str] | None = None,
        timeout: float = 10.0,
        memory_bytes: int | None = None,
        max_processes: int = 1,
        batch_size: int = 16,
        num_workers: int | None = None,
        network: bool = False,
        accept_missing_guards: Collection[str] = (),
    ):
        if checker not in CHECKERS:
            raise ValueError(f"`checker` must be one of {', '.join(CHECKERS)}, got {checker!r}.")
        kind = CHECKERS[checker]
        found = [
            [path, *rest]
            for program, *rest in ([list(command)] if command is not None else kind.commands)
            if (path := shutil.which(program)) is not None
        ]
        if not found:
            names = " or ".join([command[0]] if command is not None else [name for name, *_ in kind.commands])
            raise FileNotFoundError(f"ProofCheckReward needs {names}, which is not there. Install it: {kind.install}.")
        self._limited = partial(
            run_limited,
            env={name: os.environ[name] for name in ENVIRONMENT.split() if name in os.environ}
            | {"LEAN_PATH": os.pathsep.join([".", os.environ.get("LEAN_PATH", "")])},
            memory_bytes=memory_bytes or kind.memory_bytes,
            file_bytes=FILE_BYTES,
            max_processes=max_processes,
            max_output_bytes=OUTPUT_BYTES,
            network=network,
            accept_missing_guards=accept_missing_guards,
        )
        self._checker = kind(found[0], self._run, timeout, kind.axioms if allowed_axioms is None else allowed_axioms)
        self._header = self._checker.read_header(header)
        self.timeout = timeout
        self.batch_size = batch_size
        self.num_workers = num_workers or os.cpu_count() or 1
        self._verdicts: dict[bytes, Verdict] = {}
        version, _ = self._run([*found[0], "--version"], {}, None, 1)
        if version.returncode:
            raise OSError(f"{' '.join(found[0])} does not run: {version.stderr or version.reason}")

    def __call__(
        self,
        completions: list[CompletionLike],
        theorem: list[str | None],
        header: list[str | None] | None = None,
        log_extra: Callable[[str, list], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """
        Checks proofs.

        Args:
            completions (`list[str]` or `list[list[dict]]`):
                Completions, as text or as messages. Text before `</think>` does not count.
            theorem (`list[str | None]`):
                Statements, such as `"Theorem t : True."`, or `"theorem t : True := by"` for Lean. `None` means that
                the function does not apply.
            header (`list[str | None]`, *optional*):
                Headers that replace the header of the reward.
            log_extra (`Callable`, *optional*):
                Given by the trainer.
            log_metric (`Callable`, *optional*):
                Given by the trainer.
            **kwargs:
                Other columns, not used.

        Returns:
            `list[float | None]`: One reward per completion.

        Raises:
            `ValueError`: If a theorem is not valid, by its form or for the checker, or a header holds definitions.
        """
        verdicts: list[Verdict | None] = []
        attempts: list[Attempt | None] = []
        headers = header or [None] * len(completions)
        for completion, text, own_header in zip(completions, theorem, headers, strict=True):
            verdict = attempt = None
            if text is not None:
                statement, name = self._checker.read_theorem(text)
                top = self._header if own_header is None else self._checker.read_header(own_header)
                try:
                    proof = self._checker.read(after_thinking(completion_text(completion)), statement)
                    attempt = Attempt(top, statement, name, proof)
                except NoProof as error:
                    verdict = Verdict(str(error))
            verdicts.append(verdict)
            attempts.append(attempt)
        self._judge([attempt for attempt in attempts if attempt is not None])
        outcomes = [
            self._verdicts[_key(attempt)] if attempt is not None else verdict
            for attempt, verdict in zip(attempts, verdicts, strict=True)
        ]
        if log_extra is not None:
            log_extra("proof_error", [outcome.error if outcome is not None else None for outcome in outcomes])
        if log_metric is not None and outcomes:
            log_metric("proof/limited", sum(o is not None and o.limited for o in outcomes) / len(outcomes))
        return [None if outcome is None else float(outcome.error is None) for outcome in outcomes]

    def _judge(self, attempts: list[Attempt]) -> None:
        """Checks the attempts that have not been checked before, with several checkers at a time."""
        new = {key: attempt for attempt in attempts if (key := _key(attempt)) not in self._verdicts}
        batches = []
        for _, group in groupby(sorted(new.values(), key=lambda attempt: attempt.header), lambda a: a.header):
            same_header = list(group)
            batches += [
                same_header[start : start + self.batch_size] for start in range(0, len(same_header), self.batch_size)
            ]
        with ThreadPoolExecutor(self.num_workers) as executor:
            for batch, verdicts in zip(batches, executor.map(self._check, batches), strict=True):
                self._verdicts.update(zip(map(_key, batch), verdicts, strict=True))

    def _check(self, batch: list[Attempt]) -> list[Verdict]:
        try:
            return self._checker.check(batch)
        except TryAlone:
            return [verdict for attempt in batch for verdict in self._checker.check([attempt])]

    def _run(
        self, command: list[str], files: dict[str, bytes], wanted: str | None, count: int
    ) -> tuple[LimitedResult, bytes | None]:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                if name:
                    (Path(folder) / name).write_bytes(content)
            typed = files.get("", b"").decode()
            result = self._limited(command, input=typed, cwd=folder, seconds=self.timeout * count)
            path = Path(folder) / (wanted or "")
            return result, path.read_bytes() if path.is_file() and not path.is_symlink() else None


def _key(attempt: Attempt) -> bytes:
    parts = (attempt.header, attempt.statement, attempt.proof)
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).digest()
