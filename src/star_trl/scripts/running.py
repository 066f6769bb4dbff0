# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""How the commands end."""

import os
import sys
from collections.abc import Callable

from .parser import UsageError


def run(main: Callable[[list[str]], None], command: str, argv: list[str] | None = None) -> None:
    """Runs a command; a mistake of the user's is explained by its message alone, and the exit code is 2."""
    try:
        main(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        if os.environ.get("RANK", "0") == "0":  # of the processes of a launcher, one
            sys.stderr.write(f"star-trl {command}: error: {error}\n")
        raise SystemExit(2) from None
