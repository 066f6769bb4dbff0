# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints of the inner loop."""

import shutil
from pathlib import Path

from accelerate.utils import broadcast_object_list
from transformers import Trainer

from ..distributed import get_logger, raise_together
from ..output_dir import read_json, write_json
from .manifest import damage, manifest, sizes


logger = get_logger(__name__)


LAST_NAME = "last.json"


class ResumeCheckpoints:
    """
    The checkpoints from which an interrupted inner run is resumed. `Trainer` writes them. A file names the last one
    that every process has finished, with its manifest. `Trainer` itself would go on with a new optimizer where the
    file of the old one is missing.

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
        """
        Returns the path of the last whole checkpoint from which this run can be resumed, or `None`. All processes must
        call it together.
        """
        with raise_together():  # reading a large checkpoint takes longer than a collective waits
            found = [self._last_whole() if self.trainer.is_world_process_zero() else None]
        return broadcast_object_list(found)[0]

    def _last_whole(self) -> str | None:
        path = self.directory / LAST_NAME
        if not path.exists():
            return None
        try:
            found = read_json(path)
            directory = self.directory / f"checkpoint-{found['step']}"
            if {name: found[name] for name in self.facts} != self.facts:
                return None
            # That of an older version has no manifest.
            problem = damage(directory, found.get("files", {}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{path.absolute()} is damaged ({error!r})"
        if problem is not None:
            logger.warning(f"The fine-tuning begins anew, since its checkpoint is not whole: {problem}.")
            return None
        return str(directory)

    def complete(self, step: int) -> None:
        """Records that a checkpoint is complete, and deletes the others."""
        self.trainer.accelerator.wait_for_everyone()
        with raise_together():  # reading a large checkpoint takes longer than a collective waits
            if self.trainer.is_world_process_zero():
                directory = self.directory / f"checkpoint-{step}"
                # The checkpoint counts at once. After SIGTERM, the time may not suffice for its digests.
                for files in (sizes, manifest):
                    write_json(self.directory / LAST_NAME, {"step": step, **self.facts, "files": files(directory)})
                for path in self.directory.glob("checkpoint-*"):
                    if path != directory:
                        shutil.rmtree(path)
