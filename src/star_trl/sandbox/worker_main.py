# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
The script that a [`Worker`] runs. It is not run as a module, since that would import the package, and with it torch.
The script prints `ready`, and then answers each line, a JSON object, with another one. A request that takes longer
than its `timeout` ends the process, and so does the end of the input.
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
    Ends this process after a number of seconds; 0 cancels it. The signal has no handler in Python, so the kernel ends
    the process even within one huge multiplication. (faulthandler's watchdog does so too, but now and then crashes on
    the way.)
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a parent may have ignored it
    signal.setitimer(signal.ITIMER_REAL, seconds)


def main(path: str, memory_limit: int) -> None:
    devnull = open(os.devnull, "w")
    # Output of a library must not be taken for an answer.
    replies, sys.stdout = sys.stdout, devnull
    end_after(LOAD_TIMEOUT)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    except (ValueError, OSError):
        pass  # macOS has the limit, but refuses it
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
