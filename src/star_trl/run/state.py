# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star_state.json`, which stores what is complete and what the run was started from."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from transformers import TrainerState

from ..distributed import get_logger
from ..ledger.seals import Seal, seals_in
from ..output_dir import STATE_NAME, WAYS_OUT, damaged, read_json, state_is_lost, write_json
from .manifest import Manifest
from .settings import describe_differences


logger = get_logger(__name__)


class CannotResume(ValueError):
    """Raised when the run on disk cannot be resumed. The message says why, and what to do."""


class NoRunToResume(CannotResume, FileNotFoundError):
    """Raised when there is no run to resume."""


# Types of the fields as JSON reads them
TYPES: dict[str, tuple[type, ...]] = {
    "base_weights": (str,),
    "settings": (dict,),
    "iteration": (int, NoneType),
    "checkpoint_iteration": (int, NoneType),
    "metrics": (dict,),
    "best_iteration": (int, NoneType),
    "best_metric": (float, int, NoneType),
    "history": (list,),
    "checkpoints": (dict,),
    "trainer_state": (dict,),
}


def _is_manifest(files: Any) -> bool:
    return isinstance(files, dict) and all(isinstance(file, dict) and "size" in file for file in files.values())


@dataclass(kw_only=True)
class RunState:
    """
    State of a run between outer iterations.

    Args:
        base_weights (`str`):
            Digest of the weights that every iteration starts from.
        settings (`dict[str, Any]`):
            Settings that weights and samples depend on. A run is resumed only with the same ones.
        iteration (`int`, *optional*):
            Last complete outer iteration; `0` once the base model is evaluated, `None` before.
        checkpoint_iteration (`int`, *optional*):
            Iteration whose checkpoint holds the current model; `None` while that is the original one. It is one more
            than `iteration` while a model is fine-tuned and saved, but not evaluated yet.
        metrics (`dict[str, Any]`, *optional*):
            Metrics so far of an iteration whose model is saved, but not evaluated yet.
        best_iteration (`int`, *optional*):
            Iteration whose model has the best metric so far; `0` is the original model.
        best_metric (`float`, *optional*):
            Best metric so far.
        history (`list[dict[str, Any]]`, *optional*):
            Metrics of each complete iteration, as in its `metrics.json`.
        ledgers (`dict[str, dict[str, Any]]`, *optional*):
            Seals of the ledgers of finished iterations, by `iteration/name`.
        checkpoints (`dict[str, dict]`, *optional*):
            Manifests of the checkpoints, by iteration.
        trainer_state (`dict[str, Any]`, *optional*):
            The outer [`~transformers.TrainerState`].
    """

    base_weights: str
    settings: dict[str, Any]
    iteration: int | None = None
    checkpoint_iteration: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    best_iteration: int | None = None
    best_metric: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    ledgers: dict[str, Seal] = field(default_factory=dict)
    checkpoints: dict[str, Manifest] = field(default_factory=dict)
    trainer_state: dict[str, Any] = field(default_factory=dict)

    def save(self, output_dir: str | os.PathLike) -> None:
        """Replaces the file atomically, so that a crash leaves either the old or the new one."""
        write_json(Path(output_dir) / STATE_NAME, asdict(self))

    @classmethod
    def load(cls, output_dir: str | os.PathLike) -> "RunState":
        """
        Loads the state of a run.

        Raises:
            [`NoRunToResume`]: If there is no run in `output_dir`, or its state is lost.
            [`CannotResume`]: If the state is damaged.
        """
        path = Path(output_dir) / STATE_NAME
        if (message := state_is_lost(output_dir)) is not None:
            raise NoRunToResume(message)
        if not path.exists():
            raise NoRunToResume(
                f"No run to resume in {path.parent.resolve()}: it has no {STATE_NAME}. Start with "
                "`train(resume_from_checkpoint=False)`, or give the `output_dir` of a run."
            )
        try:
            content = read_json(path)
            state = cls(**content)
            seals_in(content, path)
            for name, types in TYPES.items():
                value = getattr(state, name)
                if type(value) not in types:
                    raise damaged(path, f"`{name}` is {value!r:.80}")
            if not all(isinstance(row, dict) and type(row.get("iteration")) is int for row in state.history):
                raise damaged(path, "`history` must hold an object with a whole number `iteration` for each iteration")
            if not all(_is_manifest(files) for files in state.checkpoints.values()):
                raise damaged(path, "`checkpoints` must hold a `size` for each file")
            try:
                TrainerState(**state.trainer_state)
            except TypeError as error:
                raise damaged(path, f"`trainer_state` is of another form: {error}") from error
            return state
        except ValueError as error:
            raise CannotResume(str(error)) from error
        except TypeError as error:  # fields are missing, or of a newer version
            raise CannotResume(
                f"{path.resolve()} is not the state of a run ({error}). {WAYS_OUT[STATE_NAME]}"
            ) from error

    def check_same_run(self, base_weights: str, settings: dict[str, Any]) -> None:
        """
        Raises [`CannotResume`] with the differences if the samples on disk belong to another run. A setting that only
        one of the two has is not compared, since it comes or goes with a version of this library or its dependencies.

        Args:
            base_weights (`str`):
                Digest of the weights that the trainer was given.
            settings (`dict[str, Any]`):
                Settings of the trainer.
        """
        differences = describe_differences(self.settings, settings)
        if self.base_weights != base_weights:
            differences.append("the original model has other weights")
        if differences:
            raise CannotResume(
                f"The run on disk cannot be resumed with these settings: {'; '.join(differences)}. Use the same "
                "settings, another `output_dir`, or `overwrite_output_dir=True` to start over."
            )
        unknown = sorted(self.settings.keys() ^ settings.keys())
        if unknown:
            logger.warning(
                "The run on disk was begun with other versions of the libraries, and what it was begun with is not "
                f"known of these settings, which are therefore not compared: {', '.join(unknown)}."
            )
