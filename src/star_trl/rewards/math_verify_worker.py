# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
The process in which math-verify runs: a script, since importing it as a module would import the package, and so torch.
It says `ready`, reads one JSON object per line (`gold`, `said`, `timeout`) and answers each with a line (`right`,
`error`). An expression that takes longer than its timeout ends it, and so does the end of its input.
"""

import json
import logging
import os
import resource
import signal
import sys


# Importing SymPy takes a second, or minutes on a slow network disk.
IMPORT_TIMEOUT = 300


def end_after(seconds: float) -> None:
    """
    Ends this process after so many seconds; 0 calls it off. The signal has no handler in Python, so the kernel does it
    even within one huge multiplication. (faulthandler's watchdog does so too, but now and then crashes on the way.)
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a parent may have ignored it
    signal.setitimer(signal.ITIMER_REAL, seconds)


def main(memory_limit: int) -> None:
    devnull = open(os.devnull, "w")
    # What SymPy prints must not be taken for an answer.
    replies, sys.stdout = sys.stdout, devnull
    end_after(IMPORT_TIMEOUT)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    except (ValueError, OSError):
        pass  # macOS has it and refuses it
    logging.disable()
    from math_verify import parse, verify
    from math_verify.parser import ExprExtractionConfig, LatexExtractionConfig

    # As in math-verify's own defaults, but a box comes first: what it holds is the answer.
    targets = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    end_after(0)
    print("ready", file=replies, flush=True)

    for line in sys.stdin:
        request = json.loads(line)
        end_after(request["timeout"])
        right: bool | None = False
        failure = None
        try:
            gold = parse(request["gold"], targets, parsing_timeout=None, raise_on_error=True)
            said = parse(request["said"], targets, parsing_timeout=None, raise_on_error=True)
            right = None if not gold else verify(gold, said, timeout_seconds=None)
        except Exception as error:  # SymPy raises whatever it comes across
            failure = type(error).__name__
        end_after(0)
        print(json.dumps({"right": right, "error": failure}), file=replies, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
