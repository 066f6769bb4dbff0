# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints of the inner loop."""

import json
import shutil
from pathlib import Path

from transformers import Trainer

from ..output_dir import write_json


LAST_NAME = "last.json"


class ResumeCheckpoints:
    """
    The checkpoints from which an interrupted inner run is resumed. `Trainer` writes them. A file names the last one
    that every process has finished.

    Args:
        directory (`Path`):
            Folder of the checkpoints.
        trainer ([`~transformers.Trainer`]):
            The trainer.
        training_set (`str`):
            Digest of the training set. A checkpoint of another training set is not used.
    """

    def __init__(self, directory: Path, trainer: Trainer, training_set: str):
        self.directory = directory
        self.trainer = trainer
        self.facts = {"training_set": training_set, "num_processes": trainer.accelerator.num_processes}

    def last(self) -> str | None:
        """Returns the path of the last complete checkpoint from which this run can be resumed, or `None`."""
        path = self.directory / LAST_NAME
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if {name: found[name] for name in self.facts} == self.facts:
                return str(self.directory / f"checkpoint-{found['step']}")
        return None

    def complete(self, step: int) -> None:
        """Records that a checkpoint is complete, and deletes the others."""
        self.trainer.accelerator.wait_for_everyone()
        if self.trainer.is_world_process_zero():
            write_json(self.directory / LAST_NAME, {"step": step, **self.facts})
            for path in self.directory.glob("checkpoint-*"):
                if path.name != f"checkpoint-{step}":
                    shutil.rmtree(path)


def last_step(directory: Path) -> int | None:
    """Returns the step of the last complete checkpoint in a folder of [`ResumeCheckpoints`], or `None`."""
    path = directory / LAST_NAME
    return json.loads(path.read_text(encoding="utf-8"))["step"] if path.exists() else None
