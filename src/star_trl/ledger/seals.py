# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
The seal of a finished iteration: how many samples its ledger has, and a digest of them. `star_state.json` stores it.
Samples that are lost or changed later are noticed by it.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import xxhash

from ..output_dir import STATE_NAME, damaged, iteration_dir, read_json


Seal = dict[str, Any]


def seal(output_dir: str | os.PathLike, iteration: int, name: str = "samples") -> Seal:
    """
    Returns the seal of the samples on disk. It depends neither on their order nor on how many processes wrote them.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        iteration (`int`):
            Outer iteration.
        name (`str`, *optional*, defaults to `"samples"`):
            Name of the ledger.

    Returns:
        `dict[str, Any]`: `samples`, their number, and `digest`.
    """
    count = total = 0
    for path in shards(output_dir, iteration, name):
        with open(path, "rb") as shard:
            for line in shard:
                if line.endswith(b"\n"):
                    count += 1
                    total += xxhash.xxh3_128_intdigest(line)
    return {"samples": count, "digest": f"{total % 2**128:032x}"}


def shards(output_dir: str | os.PathLike, iteration: int, name: str) -> list[Path]:
    """Returns the shards of a ledger's iteration, in order."""
    return sorted(iteration_dir(output_dir, iteration).glob(f"{quote(name, safe='')}-?????-of-?????.jsonl"))


def seal_key(iteration: int, name: str) -> str:
    """Returns the key of a seal in `star_state.json`, such as `1/samples`."""
    return f"{iteration}/{name}"


def read_seals(output_dir: str | os.PathLike) -> dict[str, Seal]:
    """Reads the seals of a run. There are none without a state, or in that of an older version."""
    path = Path(output_dir) / STATE_NAME
    return seals_in(read_json(path), path) if path.exists() else {}


def seals_in(state: dict[str, Any], path: Path) -> dict[str, Seal]:
    """Returns the seals in a state. Raises `ValueError` with its path if they are not seals."""
    seals = state.get("ledgers", {})
    if not isinstance(seals, dict) or not all(
        re.fullmatch(r"\d+/.+", key) and isinstance(each, dict) and each.keys() >= {"samples", "digest"}
        for key, each in seals.items()
    ):
        raise damaged(path, "`ledgers` must hold `samples` and `digest` for each `iteration/name`")
    return seals


def check_seals(output_dir: str | os.PathLike, seals: dict[str, Seal], keys: Iterable[str] | None = None) -> None:
    """
    Checks that finished iterations still have the samples that they ended with.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory of the run.
        seals (`dict[str, Seal]`):
            Seals of the run.
        keys (`Iterable[str]`, *optional*):
            Keys of the seals to check. All by default.

    Raises:
        `ValueError`: If samples are missing or changed. The message names the files and how to get the samples back.
    """
    for key in seals if keys is None else keys:
        number, name = key.split("/", 1)
        expected, found = seals[key], seal(output_dir, int(number), name)
        if found != expected:
            raise ValueError(_what_is_lost(Path(output_dir), int(number), name, expected, found))


def _what_is_lost(output_dir: Path, iteration: int, name: str, expected: Seal, found: Seal) -> str:
    ledger = iteration_dir(output_dir.resolve(), iteration) / f"{quote(name, safe='')}-*.jsonl"
    files = ", ".join(path.name for path in shards(output_dir, iteration, name)) or "none"
    if found["samples"] == expected["samples"]:
        lost = f"{found['samples']} samples as before, but not the same ones"
    else:
        lost = f"{found['samples']} whole samples in place of {expected['samples']}"
    message = (
        f"The ledger {ledger} of a finished iteration has {lost} (files found: {files}). A file was deleted, cut or "
        "changed. Put the files back from a copy."
    )
    if name != "samples":
        return f"{message} They hold the samples of an evaluation, without which the run can be resumed."
    model = "the original model"
    if iteration > 1:
        model = f"`model={str(iteration_dir(output_dir, iteration - 1) / 'checkpoint')!r}`, if that still exists"
    return (
        f"{message} Or sample them again: delete these files, make a trainer with the same arguments and {model}, "
        f"call `trainer.sample({iteration})`, and resume the run as before. Samples that are drawn with vLLM or on "
        f'another device may differ. If they differ, delete `"{seal_key(iteration, name)}"` from `ledgers` in '
        f"{STATE_NAME}. Otherwise start over with "
        "`overwrite_output_dir=True`."
    )
