# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Pushes the model, its tokenizer and its card to the hub.

`Trainer` pushes the whole output directory. Here the samples and the report in it are not pushed, since they show the
training data. `training_args.bin` is not pushed either, since it may hold a token.
"""

import shutil
from concurrent.futures import Future, wait
from functools import cache
from pathlib import Path
from typing import Any, cast

from huggingface_hub import CommitInfo, HfApi
from transformers import Trainer
from transformers.trainer_utils import HubStrategy

from ..distributed import get_logger
from ..run.outer_run import Observer, OuterRun
from .model_card import ModelCards


logger = get_logger(__name__)


class HubPushes(Observer):
    """
    Pushes the models of the outer iterations in the background. A failed push logs a warning, and the run continues.
    """

    def __init__(self) -> None:
        self._jobs: list[Future] = []

    @property
    def reads_checkpoints(self) -> bool:
        return any(not job.done() for job in self._jobs)

    def iteration_complete(self, run: OuterRun, saved: int) -> None:
        """
        Starts to push the model of an outer iteration. While the previous push is in progress, another one is started
        only with `hub_always_push`.
        """
        trainer, args = run.trainer, run.args
        if not saved or args.hub_strategy == HubStrategy.END or (self.reads_checkpoints and not args.hub_always_push):
            return
        checkpoint = run.checkpoint_dir(saved)
        self._warn_of_failures()
        trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
        folders = [""]
        if args.hub_strategy == HubStrategy.ALL_CHECKPOINTS:
            folders.append(checkpoint.parent.name)
        for folder in folders:
            message = f"Training in progress, iteration {saved}"
            self._jobs.append(_api().run_as_future(_upload, trainer, checkpoint, message, folder))

    def end(self, run: OuterRun) -> None:
        """Waits for the pushes in progress."""
        if self.reads_checkpoints:
            logger.info("Waiting for the push to the hub to be finished.")
        wait(self._jobs)
        self._warn_of_failures()

    def _warn_of_failures(self) -> None:
        for job in self._jobs:
            if job.done() and (error := job.exception()) is not None:
                logger.warning(f"A push to the hub failed, and the run goes on: {error!r}.")
        self._jobs = [job for job in self._jobs if not job.done()]


def push_model(
    run: OuterRun,
    cards: ModelCards,
    commit_message: str | None,
    blocking: bool,
    token: str | None,
    revision: str | None,
    private: bool | None,
    card: dict[str, Any],
) -> "CommitInfo | Future | None":
    """
    Pushes the current model like [`~transformers.Trainer.push_to_hub`], which has the same arguments. `card` holds
    further arguments of the model card.
    """
    trainer = run.trainer
    trainer.callback_handler.on_push_begin(trainer.args, trainer.state, trainer.control)
    if trainer.hub_model_id is None:  # called without `push_to_hub=True`
        trainer.init_hf_repo(token=token, private=private)
    folder = run.ledger.output_dir / "hub.tmp"
    if trainer.is_world_process_zero():
        shutil.rmtree(folder, ignore_errors=True)  # left over from an interrupted push
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(folder), _internal_call=True)
    if not trainer.is_world_process_zero():
        return None
    cards.write(run, folder, **card)
    job = _api().run_as_future(_upload, trainer, folder, commit_message, "", token, revision)
    job.add_done_callback(lambda _: shutil.rmtree(folder))
    return job.result() if blocking else job


def _upload(
    trainer: Trainer,
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
    # A single instance, since its background pushes run one after the other.
    return HfApi(library_name="star-trl")
