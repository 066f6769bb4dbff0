# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`star_state.json`: what is complete, and what the run was started from."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate.logging import get_logger


logger = get_logger(__name__)

STATE_NAME = "star_state.json"
REPORT_NAME, PROMPTS_NAME = "report.html", "prompts.json"  # go with the run that they show


@dataclass(kw_only=True)
class RunState:
    """
    State of a run between outer iterations.

    Args:
        base_weights (`str`):
            Digest of the weights that every iteration starts from.
        settings (`dict[str, Any]`):
            What weights and samples depend on: a run goes on only with the same.
        iteration (`int`, *optional*):
            Last complete outer iteration; `0` once the base model is evaluated, `None` before.
        checkpoint_iteration (`int`, *optional*):
            Iteration whose checkpoint holds the current model; `None` while that is the original one. One more than
            `iteration` where the model is fine-tuned and saved, but not evaluated yet.
        metrics (`dict[str, Any]`, *optional*):
            Metrics so far of the iteration in which that is so.
        best_iteration (`int`, *optional*):
            Iteration whose model has the best metric so far; `0` is the original model.
        best_metric (`float`, *optional*):
            That metric.
        history (`list[dict[str, Any]]`, *optional*):
            Metrics of each complete iteration, as in its `metrics.json`.
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
    trainer_state: dict[str, Any] = field(default_factory=dict)

    def save(self, output_dir: str | os.PathLike) -> None:
        """Replaces the file in one step, so that a crash leaves the old one or the new one."""
        write_json(Path(output_dir) / STATE_NAME, asdict(self))

    @classmethod
    def load(cls, output_dir: str | os.PathLike) -> "RunState":
        """
        Raises:
            `FileNotFoundError`: If there is no run in `output_dir`.
        """
        path = Path(output_dir) / STATE_NAME
        if not path.exists():
            raise FileNotFoundError(
                f"No run to resume in {path.parent.resolve()}: it has no {STATE_NAME}. Start with "
                "`train(resume_from_checkpoint=False)`, or give the `output_dir` of a run."
            )
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def check_same_run(self, base_weights: str, settings: dict[str, Any]) -> None:
        """
        Raises `ValueError`, naming the difference, if the samples on disk belong to another run. What only one of the
        two has recorded is not compared: it comes or goes with a version of this library or of those below it.

        Args:
            base_weights (`str`):
                Digest of the weights that the trainer was given.
            settings (`dict[str, Any]`):
                Settings of the trainer.
        """
        differences = [
            f"`{name}` was {self.settings[name]!r} and is {settings[name]!r}"
            for name in sorted(self.settings.keys() & settings.keys())
            if self.settings[name] != settings[name]
        ]
        if self.base_weights != base_weights:
            differences.append("the original model has other weights")
        if differences:
            raise ValueError(
                f"The run on disk cannot be resumed with these settings: {'; '.join(differences)}. Use the same "
                "settings, another `output_dir`, or `overwrite_output_dir=True` to start over."
            )
        unknown = sorted(self.settings.keys() ^ settings.keys())
        if unknown:
            logger.warning(
                "The run on disk was begun with other versions of the libraries, and what it was begun with is not "
                f"known of these settings, which are therefore not compared: {', '.join(unknown)}."
            )


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def clear_run(output_dir: str | os.PathLike, overwrite: bool) -> None:
    """
    Makes sure that no earlier run is in the output directory.

    Args:
        output_dir (`str` or `os.PathLike`):
            Output directory.
        overwrite (`bool`):
            Whether to delete what is found.

    Raises:
        `FileExistsError`: If there is an earlier run and `overwrite` is `False`.
    """
    found = [*Path(output_dir).glob("iteration-*"), *Path(output_dir).glob(STATE_NAME)]
    if found and not overwrite:
        raise FileExistsError(
            f"{Path(output_dir).resolve()} holds a run already ({', '.join(sorted(path.name for path in found)[:3])}"
            "). "
            "Continue it with `train(resume_from_checkpoint=True)`, choose another `output_dir`, or set "
            "`overwrite_output_dir=True` to delete it."
        )
    for path in [*found, *(Path(output_dir) / name for name in (REPORT_NAME, PROMPTS_NAME) if found)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
