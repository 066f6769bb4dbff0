# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""User errors, and how the commands report them."""

import os
import sys
from collections.abc import Callable


# Exit code of a program that SIGINT ends: 128 and the number of the signal.
INTERRUPTED = 130


class UsageError(ValueError):
    """A user error that the message explains. The command shows it without a traceback."""


def run(main: Callable[[list[str]], None], command: str, argv: list[str] | None = None) -> None:
    """Runs a command. A user error or Ctrl-C is reported by its message alone, with exit code 2 or 130."""
    try:
        main(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        if os.environ.get("RANK", "0") == "0":  # only one process of a launcher prints
            sys.stderr.write(f"star-trl {command}: error: {error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt as error:
        if os.environ.get("RANK", "0") == "0":
            text = f"star-trl {command}: interrupted. {error}".rstrip()
            sys.stderr.write(f"\n{text}\n")
        raise SystemExit(INTERRUPTED) from None
