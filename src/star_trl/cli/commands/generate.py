# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star-trl generate`."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...ledger.sample import Sample
from ..arguments import make_parser
from ..errors import run
from ..setup import build_evaluator


FIELDS = "problem_id sample_index prompt completion finish_reason rewards reward kept".split()


def main(argv: list[str]) -> None:
    """
    Writes what the first sampler draws for the problems, with its own settings, as JSON lines. They go to
    `output_file`, or else to the standard output. Problems that are few-shot examples are left out. Without
    `reward_funcs` nothing is scored, and no answers are needed.
    """
    (task, output, args, model_args), _ = make_parser("generate").parse(argv)
    with TemporaryDirectory() as folder:
        args.output_dir = folder
        trainer, problems = build_evaluator(task, args, model_args)
        samples = trainer.sample_problems(problems, sampler=trainer.task.samplers[0])
        if trainer.is_world_process_zero():
            num_problems = len({sample.problem_id for sample in samples})
            lines = [json.dumps(_row(sample, bool(task.reward_funcs)), ensure_ascii=False) for sample in samples]
            if output.output_file is None:
                sys.stdout.write("\n".join([*lines, ""]))
            else:
                Path(output.output_file).parent.mkdir(parents=True, exist_ok=True)
                Path(output.output_file).write_text("\n".join([*lines, ""]), encoding="utf-8")
                sys.stdout.write(f"{len(lines)} completions of {num_problems} problems: {output.output_file}\n")
        trainer.end()


def _row(sample: Sample, scored: bool) -> dict[str, Any]:
    fields = FIELDS if scored else FIELDS[:5]
    return {name: getattr(sample, name) for name in fields}


if __name__ == "__main__":
    run(main, "generate")
