# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
What is pushed to the hub: the model, its tokenizer and its card.

`Trainer` pushes the whole output directory. Here it holds the samples and the report, which show the training data, so
they stay where they are. So does `training_args.bin`, which may hold a token.
"""

import shutil
from concurrent.futures import Future, wait
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from accelerate.logging import get_logger
from huggingface_hub import CommitInfo, HfApi
from transformers.trainer_utils import HubStrategy

from .model_card import write_model_card


if TYPE_CHECKING:
    from .star_trainer import STaRTrainer


logger = get_logger(__name__)


class HubPushes:
    """
    Pushes the models of the outer iterations in the background. One that fails is a warning, and the run goes on.

    Args:
        trainer ([`STaRTrainer`]):
            The trainer.
    """

    def __init__(self, trainer: "STaRTrainer"):
        self.trainer = trainer
        self._jobs: list[Future] = []

    @property
    def in_progress(self) -> bool:
        """Whether the files of a checkpoint are still being read."""
        return any(not job.done() for job in self._jobs)

    def push(self, checkpoint: Path, iteration: int) -> None:
        """
        Begins to push the model of an outer iteration, from the main process. While the last push is in progress, only
        `hub_always_push` begins another one.

        Args:
            checkpoint (`Path`):
                Where the model is saved.
            iteration (`int`):
                Outer iteration, counted from 1.
        """
        trainer, args = self.trainer, self.trainer.args
        if args.hub_strategy == HubStrategy.END or (self.in_progress and not args.hub_always_push):
            return
        self._warn_of_failures()
        trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
        folders = [""]
        if args.hub_strategy == HubStrategy.ALL_CHECKPOINTS:
            folders.append(checkpoint.parent.name)
        for folder in folders:
            message = f"Training in progress, iteration {iteration}"
            self._jobs.append(_api().run_as_future(_upload, trainer, checkpoint, message, folder))

    def finish(self) -> None:
        """Waits for what is in progress."""
        if self.in_progress:
            logger.info("Waiting for the push to the hub to be finished.")
        wait(self._jobs)
        self._warn_of_failures()

    def _warn_of_failures(self) -> None:
        for job in self._jobs:
            if job.done() and (error := job.exception()) is not None:
                logger.warning(f"A push to the hub failed, and the run goes on: {error!r}.")
        self._jobs = [job for job in self._jobs if not job.done()]


def push_model(
    trainer: "STaRTrainer",
    commit_message: str | None,
    blocking: bool,
    token: str | None,
    revision: str | None,
    private: bool | None,
    card: dict[str, Any],
) -> "CommitInfo | Future | None":
    """
    Pushes the current model, as [`~transformers.Trainer.push_to_hub`] does, whose arguments these are. `card` are
    further arguments of the model card.
    """
    trainer.callback_handler.on_push_begin(trainer.args, trainer.state, trainer.control)
    if trainer.hub_model_id is None:  # called without `push_to_hub=True`
        trainer.init_hf_repo(token=token, private=private)
    folder = trainer.ledger.output_dir / "hub.tmp"
    if trainer.is_world_process_zero():
        shutil.rmtree(folder, ignore_errors=True)  # of a push that was interrupted
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(folder), _internal_call=True)
    if not trainer.is_world_process_zero():
        return None
    write_model_card(trainer, folder, **card)
    job = _api().run_as_future(_upload, trainer, folder, commit_message, "", token, revision)
    job.add_done_callback(lambda _: shutil.rmtree(folder))
    return job.result() if blocking else job


def _upload(
    trainer: "STaRTrainer",
    folder: Path,
    message: str | None,
    path_in_repo: str = "",
    token: str | None = None,
    revision: str | None = None,
) -> CommitInfo:
    return _api().upload_folder(
        repo_id=cast(str, trainer.hub_model_id),
        folder_path=folder,
        path_in_repo=path_in_repo,
        commit_message=message,
        token=token if token is not None else trainer.args.hub_token,
        revision=revision if revision is not None else trainer.args.hub_revision,
        ignore_patterns=["training_args.bin"],
    )


@cache
def _api() -> HfApi:
    # One for all, since its pushes in the background come one after the other.
    return HfApi(library_name="star-trl")
