# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star-trl evaluate`."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PrinterCallback

from ..arguments import make_parser
from ..errors import UsageError, run
from ..setup import build_evaluator


def main(argv: list[str]) -> None:
    """Evaluates a model as `train` does: greedily, one completion per problem. Prints the metrics as JSON."""
    (task, output, args, model_args), _ = make_parser("evaluate").parse(argv)
    if not task.reward_funcs:
        raise UsageError("`reward_funcs` is missing: they decide what is right, such as `exact_match_reward`.")
    with TemporaryDirectory() as folder:  # the run in `output_dir` is not touched
        args.output_dir = folder
        trainer, problems = build_evaluator(task, args, model_args)
        trainer.remove_callback(PrinterCallback)  # which would print the metrics as well
        metrics = trainer.evaluate(problems)
        if trainer.is_world_process_zero():
            text = json.dumps(metrics, indent=2)
            sys.stdout.write(f"{text}\n")
            if output.output_file is not None:
                Path(output.output_file).parent.mkdir(parents=True, exist_ok=True)
                Path(output.output_file).write_text(f"{text}\n", encoding="utf-8")
        trainer.end()


if __name__ == "__main__":
    run(main, "evaluate")
