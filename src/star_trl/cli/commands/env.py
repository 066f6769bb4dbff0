# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star-trl env`."""

import sys

from trl.scripts.env import print_env

from ... import __version__
from ..errors import UsageError


def main(argv: list[str]) -> None:
    """Prints the versions of everything that matters, to be pasted into an issue."""
    if argv:
        raise UsageError(f"`star-trl env` takes no arguments, got {' '.join(argv)}.")
    print_env()
    sys.stdout.write(f"- star-trl version: {__version__}\n")
