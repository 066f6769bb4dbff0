# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
What a [`Worker`] runs: a script, since importing it as a module would import the package, and so torch. It says
`ready`, and then answers each line, a JSON object, with another. A request that takes longer than its `timeout` ends
the process, and so does the end of the input.
"""

import json
import os
import resource
import runpy
import signal
import sys


# Importing SymPy takes a second, or minutes on a slow network disk.
LOAD_TIMEOUT = 300


def end_after(seconds: float) -> None:
    """
    Ends this process after so many seconds; 0 calls it off. The signal has no handler in Python, so the kernel does it
    even within one huge multiplication. (faulthandler's watchdog does so too, but now and then crashes on the way.)
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a parent may have ignored it
    signal.setitimer(signal.ITIMER_REAL, seconds)


def main(path: str, memory_limit: int) -> None:
    devnull = open(os.devnull, "w")
    # What a library prints must not be taken for an answer.
    replies, sys.stdout = sys.stdout, devnull
    end_after(LOAD_TIMEOUT)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    except (ValueError, OSError):
        pass  # macOS has it and refuses it
    answer = runpy.run_path(path)["load"]()
    end_after(0)
    print("ready", file=replies, flush=True)

    for line in sys.stdin:
        request = json.loads(line)
        end_after(request.pop("timeout"))
        reply = json.dumps(answer(**request))
        end_after(0)
        print(reply, file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
