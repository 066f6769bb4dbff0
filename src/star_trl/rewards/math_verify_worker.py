# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
The process in which math-verify runs: a script, since importing it as a module would import the package, and so torch.
It says `ready`, reads one JSON object per line (`gold`, `said`, `timeout`) and answers each with a line (`right`,
`error`). An expression that takes longer than its timeout ends it, and so does the end of its input.
"""

import faulthandler
import json
import logging
import os
import sys


# Importing SymPy takes a second, or minutes on a slow network disk.
IMPORT_TIMEOUT = 300


def main(memory_limit: int) -> None:
    devnull = open(os.devnull, "w")
    # What SymPy prints must not be taken for an answer.
    replies, sys.stdout = sys.stdout, devnull
    # The watchdog is a thread of its own without the GIL: it ends the process even within one huge multiplication,
    # where no signal handler of Python would run.
    faulthandler.dump_traceback_later(IMPORT_TIMEOUT, exit=True, file=devnull)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    except (ImportError, ValueError, OSError):
        pass  # Windows has no such limit, macOS has it and refuses it
    logging.disable()
    from math_verify import parse, verify
    from math_verify.parser import ExprExtractionConfig, LatexExtractionConfig

    # As in math-verify's own defaults, but a box comes first: what it holds is the answer.
    targets = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    faulthandler.cancel_dump_traceback_later()
    print("ready", file=replies, flush=True)

    for line in sys.stdin:
        request = json.loads(line)
        faulthandler.dump_traceback_later(request["timeout"], exit=True, file=devnull)
        right: bool | None = False
        failure = None
        try:
            gold = parse(request["gold"], targets, parsing_timeout=None, raise_on_error=True)
            said = parse(request["said"], targets, parsing_timeout=None, raise_on_error=True)
            right = None if not gold else verify(gold, said, timeout_seconds=None)
        except Exception as error:  # SymPy raises whatever it comes across
            failure = type(error).__name__
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({"right": right, "error": failure}), file=replies, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
