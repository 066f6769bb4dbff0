# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Python as a tool. The model writes programs while it reasons, and each runs in its own process with limits."""

import os
import sys
import tempfile
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from ..sandbox.limited_process import LimitedResult, accepted_guards, run_limited
from .tool import Tool


# Paths that Python needs to run and to import installed packages. The user's own files, such as the right answers, are
# not among them.
READABLE = (sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime")
# One thread for numpy, since more threads would count as memory, and the same order of sets in every call.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
OUTPUT_BYTES = 2**16


def python_tool(
    seconds: float = 10.0,
    memory_bytes: int = 2**30,
    folder_bytes: int = 2**24,
    network: bool = False,
    readable: Sequence[str | os.PathLike] = (),
    begin: str = "```python",
    end: str = "\n```",
    result: str = "\n```output\n{}\n```\n",
    max_calls: int | None = 8,
    max_result_characters: int | None = 2000,
    num_threads: int | None = None,
    accept_missing_guards: Collection[str] = (),
) -> Tool:
    r"""
    Returns a tool for [`ToolSampler`] that runs the Python programs of the model, in the format of
    [ToRA](https://huggingface.co/papers/2309.17452), and inserts what they print:

        ```python
        print(6 * 7)
        ```
        ```output
        42
        ```

    Every program runs in its own process, in an empty folder that is removed afterwards, and knows nothing of earlier
    programs. `docs/tools.md` says what a program is kept from, and what not. Where the system lacks one of the guards
    that do this, the tool is refused.

    Args:
        seconds (`float`, *optional*, defaults to `10.0`):
            Wall-clock time of a program, including the start of its Python. On a busy machine, a program that needs
            nearly all of it is sometimes ended and sometimes not.
        memory_bytes (`int`, *optional*, defaults to 1 GiB):
            Its address space.
        folder_bytes (`int`, *optional*, defaults to 16 MiB):
            Size of the files that it writes: of each file and, if the system has namespaces, of all together.
        network (`bool`, *optional*, defaults to `False`):
            Whether it can use the network: IPv4 and IPv6, and no other sockets.
        readable (`Sequence[str | os.PathLike]`, *optional*):
            Files and folders that it can read besides the installation of Python.
        begin (`str`, *optional*):
            As in [`Tool`]. So are the following arguments.
        end (`str`, *optional*):
            Text with which a program ends.
        result (`str`, *optional*):
            Text to insert, with the output in place of `{}`.
        max_calls (`int`, *optional*, defaults to `8`):
            Maximum number of programs in one completion.
        max_result_characters (`int`, *optional*, defaults to `2000`):
            Maximum number of characters of an output.
        num_threads (`int`, *optional*):
            Number of programs that run at a time.
        accept_missing_guards (`Collection[str]`, *optional*):
            Guards without which programs are run all the same, where the system lacks them: `"namespaces"`,
            `"files"` (Landlock) and `"system calls"`. [`~star_trl.sandbox.MissingGuards`] says what is then open. A
            run can only be resumed with the same set.

    Returns:
        [`Tool`]: The tool.

    Raises:
        [`~star_trl.sandbox.MissingGuards`]: If the system lacks a guard that is not named in `accept_missing_guards`.
        `OSError`: If a program cannot be run, or the network cannot be blocked.
        `RuntimeError`: If a program does not print what it should.

    Example:
    ```python
    >>> from star_trl import RationaleSampler, ToolSampler, python_tool

    >>> tool = python_tool()
    >>> sampler = ToolSampler(RationaleSampler(), tool)
    >>> tool.run("\nprint(6 * 7)"), tool.run("\n1 / 0").splitlines()[-1]
    ('42', 'ZeroDivisionError: division by zero')
    ```
    """
    settings: dict[str, Any] = {
        "seconds": seconds,
        "memory_bytes": memory_bytes,
        "folder_bytes": folder_bytes,
        "network": network,
        "accept_missing_guards": accepted_guards(accept_missing_guards),
    }
    run = partial(_run, limits=settings, readable=[*READABLE, *readable])
    # Checked now, before a run spends hours
    said = run("\nprint(6 * 7)")
    if said != "42":
        raise RuntimeError(
            f"Python does not run with these limits: of `print(6 * 7)` came {said!r}. Raise the limits."
        )
    return Tool(
        run=run,
        begin=begin,
        end=end,
        result=result,
        max_calls=max_calls,
        max_result_characters=max_result_characters,
        num_threads=num_threads,
        settings=settings,
    )


def _run(call: str, limits: dict[str, Any], readable: Sequence[str | os.PathLike]) -> str:
    # The line of the opening fence may hold more, such as a version.
    program = call.partition("\n")[2]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        result = run_limited(
            # -P -s: nothing is imported from the working folder or from the user's site-packages.
            [sys.executable, "-P", "-s", "-B", "-X", "utf8", "-W", "ignore", "-"],
            input=program,
            cwd=folder,
            env=ENVIRONMENT,
            file_bytes=limits["folder_bytes"],
            max_processes=1,
            readable=readable,
            max_output_bytes=OUTPUT_BYTES,
            **limits,
        )
    return _said(result, limits["seconds"])


def _said(result: LimitedResult, seconds: float) -> str:
    """Returns what the model reads: the outputs and, if they do not show it, why the program ended."""
    parts = [result.stdout.rstrip(), result.stderr.rstrip()]
    if result.reason == "time":
        parts.append(f"Ended after {seconds:g} seconds.")
    elif result.reason == "output":
        parts.append("Ended: too much output.")
    elif result.returncode < 0:
        parts.append(f"Ended by signal {-result.returncode}.")
    return "\n".join(filter(None, parts))
