# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The command `star-trl`, modelled on TRL's `trl`."""

import importlib
import logging
import os
import subprocess
import sys
from argparse import ArgumentParser
from functools import partial
from pathlib import Path

from ..user_input import nearest
from .errors import UsageError, run


# Each is a module of `star_trl.cli.commands`.
COMMANDS = {
    "train": "Run STaR from a recipe (--config) and its changes; --dry_run shows what it would do",
    "evaluate": "Accuracy of a model",
    "generate": "Completions of a model as JSON lines",
    "report": "Write the report of a run anew",
    "export": "Samples of a run as SFT, preference or verifier data",
    "compare": "A page on which people rank rationales blindly, or a model does; the ranking and its test",
    "env": "Print the environment information",
}
LAUNCHED = ("train", "evaluate", "generate")

# TRL imports bitsandbytes, which warns on some CPUs that it could not download a kernel for 4-bit models.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def main(argv: list[str] | None = None) -> int:
    """
    The entry point of `star-trl`.

    Args:
        argv (`list[str]`, *optional*):
            The command line. `sys.argv` by default.

    Returns:
        `int`: The exit code.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = ArgumentParser(prog="star-trl", description="STaR, the Self-Taught Reasoner, for Hugging Face TRL.")
    subparsers = parser.add_subparsers(metavar="command", help="`star-trl <command> --help` shows every argument")
    for name, text in COMMANDS.items():
        subparsers.add_parser(name, help=text)
    if not argv or argv[0] not in COMMANDS:
        if argv and not argv[0].startswith("-"):
            sys.stderr.write(f"star-trl: error: there is no command `{argv[0]}`.{nearest(argv[0], COMMANDS)}\n")
            return 2
        parser.parse_args(argv)  # --help exits here
        parser.print_help()
        return 0
    command, rest = argv[0], argv[1:]
    run(
        _launched if command in LAUNCHED else partial(_script, command), command, argv if command in LAUNCHED else rest
    )
    return 0


def _script(command: str, argv: list[str]) -> None:
    """Runs a command in this process. The import takes seconds, in which Ctrl-C may come as well."""
    importlib.import_module(f"star_trl.cli.commands.{command}").main(argv)


def _launched(argv: list[str]) -> None:
    """Runs a command in this process, or in the processes that `accelerate launch` starts."""
    # Imported here, since `--help` and `report` need none of it and it takes seconds.
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from trl.cli.accelerate_config import resolve_accelerate_config_argument

    from .arguments import make_parser

    command, rest = argv[0], argv[1:]
    # Finds user errors before any process is started.
    (_, own, *_), launch_args = make_parser(command).parse(rest)
    if getattr(own, "dry_run", False) or _one_process(launch_args):
        _script(command, rest)
        return
    try:
        launch_args = resolve_accelerate_config_argument(launch_args)
    except ValueError as error:
        raise UsageError(str(error)) from error
    # As a module, so that Python looks for modules in the working directory and not in that of the scripts.
    module = ["--module", f"star_trl.cli.commands.{command}"]
    try:
        launch_command(launch_command_parser().parse_args([*launch_args, *module, *rest]))
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None
    except ChildFailedError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None


def _one_process(launch_args: list[str]) -> bool:
    """
    Returns whether the command runs in this process. This is so if there are no launch arguments, no configuration of
    accelerate and at most one device, or if a launcher has started this process. A signal, such as a scheduler's
    SIGTERM, then reaches the trainer itself.
    """
    import torch
    from accelerate.commands.config.config_args import default_config_file

    if "LOCAL_RANK" in os.environ:
        return True
    return not launch_args and not Path(default_config_file).is_file() and torch.accelerator.device_count() <= 1
