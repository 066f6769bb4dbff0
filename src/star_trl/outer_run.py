# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The outer run as `Trainer`'s users know a run: one begin and one end, checkpoints, the best model, resuming."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.logging import get_logger
from accelerate.utils import broadcast_object_list
from transformers import TrainerState
from transformers.trainer_utils import SaveStrategy, TrainOutput

from .hub import HubPushes
from .inner_run import ResumeCheckpoints
from .ledger import Ledger, Sample
from .model_card import write_model_card
from .progress import IterationTable
from .report.live import LiveReport
from .run_settings import digest, run_settings
from .run_state import RunState, clear_run, write_json
from .waiting import wait_for_all


if TYPE_CHECKING:
    from .star_trainer import STaRTrainer


logger = get_logger(__name__)


class OuterRun:
    """
    Begins, records and ends the outer iterations of a trainer.

    What the first process does alone (writing the state, the report and the card, deleting old files) can take long.
    The others wait for it with patience, and not in the next collective, which would time out.

    Args:
        trainer ([`STaRTrainer`]):
            The trainer.

    Attributes:
        state ([`RunState`]):
            What is complete.
        in_progress (`bool`):
            Whether it has not come to its end yet.
    """

    def __init__(self, trainer: "STaRTrainer"):
        self.trainer = trainer
        self.state = RunState(base_weights=trainer.keep_original_weights().digest, settings=run_settings(trainer))
        self.in_progress = True
        self._report = LiveReport(trainer)
        self._table = IterationTable(trainer)
        self._pushes = HubPushes(trainer)
        self._metrics: dict[str, Any] = {}
        self._evaluates = False
        self._start_time = time.time()

    def begin(self, resume_from_checkpoint: bool | str | None) -> int:
        """
        Begins the run, or goes on with the one in the output directory.

        Returns:
            `int`: The first iteration to do; `0` is the evaluation of the original model.

        Raises:
            `FileExistsError`: If there is a run and neither resuming nor overwriting is asked for.
            `FileNotFoundError`: If there is none to resume.
            `ValueError`: If the run there is another one, or cannot be resumed, or the best metric is unknown.
        """
        trainer, args = self.trainer, self.trainer.args
        self._check_best_metric()
        trainer.state = TrainerState(
            is_local_process_zero=trainer.is_local_process_zero(),
            is_world_process_zero=trainer.is_world_process_zero(),
            max_steps=self._planned_steps(),
            num_train_epochs=args.num_iterations,
            train_batch_size=args.train_batch_size,
            epoch=0,
        )
        trainer.control.should_training_stop = False
        # A script may look for a run while the first process begins one.
        (resume_from_checkpoint,) = broadcast_object_list([resume_from_checkpoint])
        if resume_from_checkpoint:
            self._resume(resume_from_checkpoint)
        else:
            if trainer.is_world_process_zero():
                clear_run(trainer.ledger.output_dir, args.overwrite_output_dir)
                self.state.save(trainer.ledger.output_dir)
            wait_for_all()
            self._load(0)  # a trainer that was trained before starts over, too
        self._report.begin()
        wait_for_all()
        trainer.control = trainer.callback_handler.on_train_begin(args, trainer.state, trainer.control)
        if self._at_plateau() or self._nothing_survived():
            return args.num_iterations + 1
        return 0 if self.state.iteration is None else self.state.iteration + 1

    def begin_iteration(self, iteration: int) -> None:
        """Begins an outer iteration, which callbacks see as an epoch. Iteration 0 is the evaluation of the base."""
        self._metrics = {"iteration": iteration, **self.state.metrics}
        self._start_time = time.time()
        trainer = self.trainer
        trainer.state.epoch = max(iteration - 1, 0)
        if iteration:
            trainer.control = trainer.callback_handler.on_epoch_begin(trainer.args, trainer.state, trainer.control)

    def record(self, metrics: dict[str, float]) -> None:
        """Logs metrics of the iteration and keeps them for its `metrics.json`."""
        self._metrics.update(metrics)
        self.trainer.log(dict(metrics))

    def save_model(self) -> None:
        """Saves the fine-tuned model, so that an evaluation that is interrupted does not cost it."""
        trainer, state = self.trainer, self.state
        if trainer.args.save_strategy == SaveStrategy.NO:
            return
        directory = self.checkpoint_dir(trainer.iteration)
        unfinished = directory.with_name("checkpoint.tmp")
        if trainer.is_world_process_zero():
            shutil.rmtree(unfinished, ignore_errors=True)
        wait_for_all()
        trainer.save_model(str(unfinished), _internal_call=True)  # which does not push to the hub
        wait_for_all()
        state.checkpoint_iteration = trainer.iteration
        state.metrics = self._metrics
        state.trainer_state = asdict(trainer.state)
        if trainer.is_world_process_zero():
            shutil.rmtree(directory, ignore_errors=True)
            unfinished.rename(directory)
            state.save(trainer.ledger.output_dir)
            shutil.rmtree(self._resume_dir(trainer.iteration), ignore_errors=True)
        wait_for_all()

    def end_iteration(self, eval_metrics: dict[str, float]) -> None:
        """Writes down what is complete, notes the best model, drops the others and stops at a plateau."""
        trainer, state, iteration = self.trainer, self.state, self._metrics["iteration"]
        trainer.state.epoch = iteration
        metrics = {**self._metrics, **eval_metrics, "seconds": time.time() - self._start_time}
        if trainer.engine.fallback_warnings:
            metrics["fallback_warnings"] = list(trainer.engine.fallback_warnings)
        new_best = self._note_best(metrics)
        has_checkpoint = iteration > 0 and state.checkpoint_iteration == iteration
        # Which may be the one before: its checkpoint, the last one until now, is still there.
        to_save = new_best if trainer.args.save_strategy == SaveStrategy.BEST else iteration
        is_save = 0 < to_save <= (state.checkpoint_iteration or 0)
        if is_save:
            trainer.control = trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)
        if iteration:
            trainer.control = trainer.callback_handler.on_epoch_end(trainer.args, trainer.state, trainer.control)
        state.iteration = iteration
        state.metrics = {}
        state.history.append(metrics)
        state.trainer_state = asdict(trainer.state)
        if trainer.is_world_process_zero():
            write_json(trainer.ledger.iteration_dir(iteration) / "metrics.json", metrics)
            if has_checkpoint:
                write_model_card(trainer, self.checkpoint_dir(iteration), trainer.ledger.output_dir)
            state.save(trainer.ledger.output_dir)
            if is_save and trainer.args.push_to_hub:
                self._pushes.push(self.checkpoint_dir(to_save), to_save)
            self._prune()
            self._table.update(state.history)
            self._report.update()
        wait_for_all()
        if self._at_plateau():
            logger.info(
                f"No improvement since the model of iteration {state.best_iteration}: stopping after {iteration}."
            )
            trainer.control.should_training_stop = True

    def end(self) -> TrainOutput:
        """Loads the best model where that is asked for, and tells the callbacks that the run is over."""
        trainer = self.trainer
        if trainer.args.load_best_model_at_end and self.state.best_iteration is not None:
            logger.info(f"Loading the model of iteration {self.state.best_iteration}, the best one.")
            self._load(self.state.best_iteration)
        trainer.control = trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
        self.in_progress = False
        if trainer.is_world_process_zero():
            self._pushes.finish()
            self._prune()
            if trainer.args.save_strategy != SaveStrategy.NO:
                write_model_card(trainer, trainer.ledger.output_dir)
            self._table.end(self.state.history)
        wait_for_all()
        last = self.state.history[-1]
        return TrainOutput(trainer.state.global_step, last.get("train_loss", float("nan")), last)

    def checkpoint_dir(self, iteration: int) -> Path:
        """Where the model of an iteration is saved."""
        return self.trainer.ledger.iteration_dir(iteration) / "checkpoint"

    def resume_checkpoints(self, selected: Sequence[Sample], iteration: int) -> ResumeCheckpoints | None:
        """What an iteration's fine-tuning is resumed from until its model is saved; None where nothing is saved."""
        if not self.in_progress or self.trainer.args.save_strategy == SaveStrategy.NO:
            return None
        training_set = digest((sample.iteration, *sample.key) for sample in selected)
        return ResumeCheckpoints(self._resume_dir(iteration), self.trainer, training_set)

    def evaluate(self) -> dict[str, float]:
        """Evaluates the iteration's model, and records the samples, so that one that is interrupted goes on."""
        if self.trainer.eval_dataset is None:
            return {}
        self._evaluates = True
        try:
            return self.trainer.evaluate()
        finally:
            self._evaluates = False

    def evaluation_ledger(self, name: str) -> Ledger | None:
        """Where the samples of an evaluation are recorded; None for one that is not the run's own."""
        accelerator = self.trainer.accelerator
        if not self._evaluates:
            return None
        return Ledger(self.trainer.ledger.output_dir, accelerator.process_index, accelerator.num_processes, name)

    def _resume_dir(self, iteration: int) -> Path:
        return self.trainer.ledger.iteration_dir(iteration) / "fine-tuning"

    def _resume(self, resume_from_checkpoint: bool | str) -> None:
        trainer, output_dir = self.trainer, str(self.trainer.args.output_dir)
        if (
            isinstance(resume_from_checkpoint, str)
            and Path(resume_from_checkpoint).resolve() != Path(output_dir).resolve()
        ):
            raise ValueError(
                f"`resume_from_checkpoint={resume_from_checkpoint!r}` is not the run's `output_dir` ({output_dir!r}). "
                "Its ledger and its checkpoints belong together: set `output_dir` to that path, or give True."
            )
        found = RunState.load(output_dir)
        found.check_same_run(self.state.base_weights, self.state.settings)
        found.settings = self.state.settings  # with those that an older version did not record
        self.state = found
        current = found.checkpoint_iteration or 0
        trained = [metrics["iteration"] for metrics in found.history if "train_loss" in metrics]
        last = max(trained, default=0)
        if current < last or (current and not self.checkpoint_dir(current).exists()):
            raise ValueError(
                f"Iteration {max(last, current)} is complete, but its checkpoint is not in {output_dir}, so the "
                "run cannot go on from it. Checkpoints must not be deleted by hand, and resuming needs a "
                "`save_strategy` other than 'no'."
            )
        self._load(current)
        if found.trainer_state:
            names = ("max_steps", "num_train_epochs", "is_local_process_zero", "is_world_process_zero")
            own = {name: getattr(trainer.state, name) for name in names}
            trainer.state = TrainerState(**{**found.trainer_state, **own})

    def _at_plateau(self) -> bool:
        best, last, patience = self.state.best_iteration, self.state.iteration, self.trainer.args.patience
        if patience is None or best is None or last is None:
            return False
        return self._measured(last) - best >= patience

    def _nothing_survived(self) -> bool:
        """Whether the last iteration had nothing to train on, which ended the run."""
        return bool(self.state.history) and self.state.history[-1].get("samples/selected") == 0

    def _note_best(self, metrics: dict[str, Any]) -> int:
        """The iteration whose model these metrics show to be the best so far; 0 for none, or the original model."""
        trainer, state, name = self.trainer, self.state, self._best_metric_name()
        value = metrics.get(name)
        if value is None:
            if self._needs_best() and metrics["iteration"] == 0 and trainer.eval_dataset is not None:
                found = sorted(name for name in metrics if name.startswith("eval_"))
                raise ValueError(
                    f"`metric_for_best_model={trainer.args.metric_for_best_model!r}` is no metric of the evaluation. "
                    f"Set it to one of {found}."
                )
            return 0
        greater_is_better = trainer.eval_dataset is None or trainer.args.greater_is_better
        best = state.best_metric
        if best is not None and not (value > best if greater_is_better else value < best):
            return 0
        measured = self._measured(metrics["iteration"])
        # A metric is logged before the next model is trained, at the step of the one that it measures.
        logged = (int(entry["step"]) for entry in reversed(trainer.state.log_history) if name in entry)
        state.best_iteration, state.best_metric = measured, value
        trainer.state.best_metric = value
        trainer.state.best_global_step = next(logged, trainer.state.global_step)
        trainer.state.best_model_checkpoint = str(self.checkpoint_dir(measured)) if measured else None
        return measured

    def _measured(self, iteration: int) -> int:
        """
        The iteration whose model the metric of an iteration measures. Without an evaluation set that is the model that
        sampled, so that the last model of a run is never measured.
        """
        return iteration if self.trainer.eval_dataset is not None else iteration - 1

    def _prune(self) -> None:
        """Deletes old checkpoints, but never the best one, nor the last one, which resuming needs."""
        if self._pushes.in_progress:  # which may read one of them
            return
        existing = [number for number in self.trainer.ledger.iterations() if self.checkpoint_dir(number).exists()]
        limit = self.trainer.args.save_total_limit or len(existing)
        if self.trainer.args.save_strategy == SaveStrategy.BEST:
            limit = 1
        needed = {self.state.checkpoint_iteration, self.state.best_iteration}
        removable = [number for number in existing if number not in needed]
        for number in removable[: max(len(existing) - limit, 0)]:
            shutil.rmtree(self.checkpoint_dir(number))

    def _load(self, iteration: int) -> None:
        """Puts the weights of a saved iteration, or with 0 the original ones, into the model."""
        if iteration:
            # Private in `Trainer`, but it alone knows how each kind of model (adapter, sharded file) is loaded.
            self.trainer._load_from_checkpoint(str(self.checkpoint_dir(iteration)))
        else:
            self.trainer.keep_original_weights().restore(self.trainer.model)
        self.trainer.iteration = iteration

    def _needs_best(self) -> bool:
        args = self.trainer.args
        return bool(args.load_best_model_at_end or args.patience or args.save_strategy == SaveStrategy.BEST)

    def _best_metric_name(self) -> str:
        if self.trainer.eval_dataset is None:
            return f"{self.trainer.samplers[0].name}/solved"
        return f"eval_{(self.trainer.args.metric_for_best_model or 'accuracy').removeprefix('eval_')}"

    def _check_best_metric(self) -> None:
        """Raises `ValueError` where the best iteration matters, but several evaluation sets leave open which one."""
        trainer, args = self.trainer, self.trainer.args
        if self._needs_best() and isinstance(trainer.eval_dataset, dict):
            names = [f"eval_{name}_" for name in trainer.eval_dataset]
            if not self._best_metric_name().startswith(tuple(names)):
                raise ValueError(
                    f"`metric_for_best_model={args.metric_for_best_model!r}` is no metric of the evaluation sets "
                    f"{sorted(trainer.eval_dataset)}. Set it to one of theirs, such as '{names[0]}accuracy'."
                )

    def _planned_steps(self) -> int:
        args = self.trainer.args
        steps = [args.inner_steps(iteration) for iteration in range(1, args.num_iterations + 1)]
        return sum(max(args.max_steps, 0) if number is None else number for number in steps)
