# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star-trl train`."""

from ...ledger.selection import NothingSurvives
from ...output_dir import DiskFull
from ...run.run_lock import RunInUse
from ...run.state import CannotResume
from ...task.data_mistakes import HintsForgotten
from ..arguments import make_parser
from ..errors import UsageError, run
from ..setup import build_trainer
from .dry_run import dry_run


def main(argv: list[str]) -> None:
    """Trains, or with `--dry_run` shows what a training would do."""
    (task, train_args, args, model_args), _ = make_parser("train").parse(argv)
    if train_args.dry_run:
        dry_run(task, args, model_args, train_args.dry_run_problems)
        return
    trainer = build_trainer(task, args, model_args)
    if args.use_cpu and args.bf16:
        trainer.accelerator.print(
            "The model computes in bf16. `--bf16 false` computes in the precision of its weights."
        )
    resume = args.resume_from_checkpoint
    try:
        trainer.train(resume_from_checkpoint={"true": True, "false": None}.get(str(resume).lower(), resume))
    except FileExistsError as error:  # a run already exists there
        flags = "`--resume_from_checkpoint true`, `--output_dir` or `--overwrite_output_dir`"
        raise UsageError(f"{error} On the command line: {flags}.") from error
    except (HintsForgotten, NothingSurvives, CannotResume, RunInUse, DiskFull) as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"What was finished is saved in {args.output_dir}. The same command with `--resume_from_checkpoint true` "
            "continues."
        ) from None
    trainer.save_model(args.output_dir)
    report = " and the report in `report.html`" if args.html_report else ""
    trainer.accelerator.print(
        f"The model is in {args.output_dir}, the samples are in its folders `iteration-*`{report}."
    )
    if args.push_to_hub:
        trainer.push_to_hub(dataset_name=task.dataset_name)
    trainer.end()


if __name__ == "__main__":
    run(main, "train")
