# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star-trl report`."""

import sys
from dataclasses import dataclass, field

from ...report import write_report
from ..errors import UsageError
from ..parser import StarParser


@dataclass
class ReportArguments:
    """
    Arguments of `star-trl report`.

    Args:
        output_dir (`str`, *optional*):
            Output directory of the run.
        max_samples (`int`, *optional*, defaults to `100000`):
            Maximum number of samples that the report shows.
    """

    output_dir: str | None = field(default=None, metadata={"help": "Output directory of the run."})
    max_samples: int = field(default=100_000, metadata={"help": "Maximum number of samples that the report shows."})


def main(argv: list[str]) -> None:
    """Rewrites the report of a run."""
    (args,), _ = StarParser([ReportArguments], prog="star-trl report", launched=False).parse(argv)
    if args.output_dir is None:
        raise UsageError("`output_dir` is missing. `star-trl report --output_dir runs/gsm8k`")
    try:
        path = write_report(args.output_dir, max_samples=args.max_samples)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    sys.stdout.write(f"{path}\n")
