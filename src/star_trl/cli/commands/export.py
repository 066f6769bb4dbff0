# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star-trl export`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...ledger.export import preference_dataset, sft_dataset, verifier_dataset
from ..errors import UsageError
from ..parser import StarParser


WRITERS = {".jsonl": "to_json", ".json": "to_json", ".parquet": "to_parquet", ".csv": "to_csv"}


@dataclass
class ExportArguments:
    """
    Arguments of `star-trl export`.

    Args:
        output_dir (`str`, *optional*):
            Output directory of the run.
        output_file (`str`, *optional*):
            File to write the dataset to: a `.jsonl`, `.parquet` or `.csv` file.
        kind (`str`, *optional*, defaults to `"sft"`):
            `"sft"` (kept samples), `"preference"` (pairs of a right and a wrong completion) or `"verifier"` (every
            completion and whether it is right).
        iterations (`list[int]`, *optional*):
            Outer iterations whose samples are taken. All by default.
        samplers (`list[str]`, *optional*):
            Names of the samplers whose samples are taken. All by default.
        max_pairs_per_problem (`int`, *optional*, defaults to `8`):
            Maximum number of pairs of one problem.
        balanced (`bool`, *optional*, defaults to `False`):
            Whether a verifier's data have as many right as wrong completions of every problem.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the random choices.
    """

    output_dir: str | None = field(default=None, metadata={"help": "Output directory of the run."})
    output_file: str | None = field(
        default=None, metadata={"help": "File to write the dataset to: .jsonl, .parquet or .csv."}
    )
    kind: str = field(
        default="sft",
        metadata={
            "help": "What was kept (sft), pairs of a right and a wrong completion (preference), or every completion "
            "and whether it is right (verifier).",
            "choices": ["sft", "preference", "verifier"],
        },
    )
    iterations: list[int] | None = field(
        default=None, metadata={"help": "Outer iterations to take samples of. All by default."}
    )
    samplers: list[str] | None = field(
        default=None, metadata={"help": "Names of the samplers to take samples of. All by default."}
    )
    max_pairs_per_problem: int | None = field(default=8, metadata={"help": "Maximum number of pairs per problem."})
    balanced: bool = field(
        default=False,
        metadata={"help": "Whether a verifier's data have as many right as wrong completions of every problem."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of what is drawn."})


def main(argv: list[str]) -> None:
    """Writes the samples of a run as training data for other trainers."""
    (args,), _ = StarParser([ExportArguments], prog="star-trl export", launched=False).parse(argv)
    for name in ("output_dir", "output_file"):
        if getattr(args, name) is None:
            raise UsageError(f"`{name}` is missing. `star-trl export --output_dir runs/gsm8k --output_file sft.jsonl`")
    suffix = Path(args.output_file).suffix
    if suffix not in WRITERS:
        raise UsageError(f"`output_file` is {args.output_file!r}, but must end with {', '.join(WRITERS)}.")
    chosen: dict[str, Any] = {"iterations": args.iterations, "samplers": args.samplers}
    try:
        if args.kind == "sft":
            dataset = sft_dataset(args.output_dir, **chosen)
        elif args.kind == "preference":
            dataset = preference_dataset(
                args.output_dir, max_pairs_per_problem=args.max_pairs_per_problem, seed=args.seed, **chosen
            )
        else:
            dataset = verifier_dataset(args.output_dir, balanced=args.balanced, seed=args.seed, **chosen)
        Path(args.output_file).parent.mkdir(parents=True, exist_ok=True)
        getattr(dataset, WRITERS[suffix])(args.output_file)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    sys.stdout.write(f"{len(dataset)} rows ({', '.join(dataset.column_names)}): {args.output_file}\n")
