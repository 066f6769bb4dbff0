# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The manifest of a checkpoint: the size and the digest of every file, so that only whole checkpoints are loaded."""

from pathlib import Path
from typing import Any

import xxhash


Manifest = dict[str, dict[str, Any]]

# The model card is written again later, and nothing is loaded from it.
NOT_LOADED = ("README.md",)
BLOCK = 2**24


def sizes(directory: Path) -> Manifest:
    """Returns the size of each file in a folder, by its path within the folder."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.name not in NOT_LOADED)
    return {path.relative_to(directory).as_posix(): {"size": path.stat().st_size} for path in paths}


def manifest(directory: Path) -> Manifest:
    """Returns the size and the digest of each file in a folder, by its path within the folder."""
    return {name: {**file, "digest": _digest(directory / name)} for name, file in sizes(directory).items()}


def damage(directory: Path, expected: Manifest) -> str | None:
    """
    Returns what is wrong with the first file that is not as its manifest says, or `None` if all are whole. A file
    whose digest is not in the manifest is compared by its size alone.

    Args:
        directory (`Path`):
            Folder of the checkpoint.
        expected (`dict[str, dict[str, Any]]`):
            Its manifest.
    """
    if not directory.is_dir():
        return f"{directory.absolute()} is missing"
    for name, file in expected.items():
        path = directory / name
        if not path.is_file():
            return f"{path.absolute()} is missing"
        if path.stat().st_size != file["size"]:
            return f"{path.absolute()} has {path.stat().st_size} bytes in place of {file['size']}"
    # Files are read only if all have the right size.
    for name, file in expected.items():
        if "digest" in file and _digest(directory / name) != file["digest"]:
            return f"{(directory / name).absolute()} has other content than the run wrote"
    return None


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
