# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The outer run, which looks like one run of `Trainer`: one begin and end, checkpoints, the best model, resuming."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel, TrainerState
from transformers.trainer_utils import SaveStrategy, TrainOutput
from trl import SFTTrainer

from ..distributed import get_logger, raise_together
from ..fine_tuning.original_weights import OriginalWeights
from ..generation.policy import Policy
from ..ledger.ledger import Ledger
from ..ledger.sample import Sample
from ..ledger.seals import check_seals, seal, seal_key
from ..output_dir import METRICS_NAME, clear_run, write_json
from ..star_config import STaRConfig
from ..task.task import Task
from .best_model import BestModel
from .checkpoints import LAST_NAME, ResumeCheckpoints
from .manifest import damage, manifest
from .phase_times import ITERATION, PhaseTimes
from .run_lock import RunLock
from .settings import digest, run_settings
from .state import CannotResume, RunState


logger = get_logger(__name__)


class Observer:
    """
    Follows a run from the main process, and shows, writes or sends its results. It only reads the run, which does not
    depend on it. Every method does nothing by default.
    """

    @property
    def reads_checkpoints(self) -> bool:
        """Whether it is still reading a checkpoint. No checkpoint is deleted meanwhile."""
        return False

    def begin(self, run: "OuterRun") -> None:
        """Called when the run begins or is resumed."""

    def iteration_complete(self, run: "OuterRun", saved: int) -> None:
        """
        Called when an outer iteration is complete and on disk.

        Args:
            run ([`OuterRun`]):
                The run. Its `history` ends with the metrics of the iteration.
            saved (`int`):
                The iteration whose model `save_strategy` saves now; `0` for none.
        """

    def end(self, run: "OuterRun") -> None:
        """Called when the run has ended."""


class OuterRun:
    """
    Begins, records and ends the outer iterations of a trainer. It is idle before a run begins and after it ends.

    The first process does some work alone: it writes the state, calls the observers and deletes old files. This can
    take long. The other processes therefore wait in `raise_together`, and not in the next collective, which would time
    out. If the first process finds that the run cannot go on, all of them raise its error.

    Args:
        trainer ([`~trl.SFTTrainer`]):
            The trainer, whose state, callbacks and model it manages.
        task ([`~star_trl.task.task.Task`]):
            The task.
        ledger ([`~star_trl.ledger.ledger.Ledger`]):
            Ledger that records the samples of the training problems.
        policy ([`~star_trl.generation.policy.Policy`]):
            The current model and its engine.
        original_weights (`Callable[[], OriginalWeights]`):
            Returns the weights of the model that every iteration starts from.
        observers (`list[Observer]`):
            Observers of the run, called in this order.

    Attributes:
        args ([`STaRConfig`]):
            Configuration.
        state ([`RunState`]):
            State of the run between outer iterations.
        iteration (`int`):
            The outer iteration that produced the trainer's model; `0` for the original model.
        in_progress (`bool`):
            Whether the run has begun and not yet ended.
        times ([`PhaseTimes`]):
            Measures the phases of an iteration.
    """

    def __init__(
        self,
        trainer: SFTTrainer,
        task: Task,
        ledger: Ledger,
        policy: Policy,
        original_weights: Callable[[], OriginalWeights],
        observers: list[Observer],
    ):
        self.trainer = trainer
        self.task = task
        self.args = cast(STaRConfig, trainer.args)
        self.ledger = ledger
        self.policy = policy
        self.observers = observers
        self.iteration = 0
        self.in_progress = False
        self.best = BestModel(task, self.args)
        self.lock = RunLock(ledger.output_dir)
        self.state = RunState(base_weights="", settings={})
        self._original_weights = original_weights
        self._metrics: dict[str, Any] = {}
        self._evaluates = False
        self.times = PhaseTimes()
        trainer.add_callback(self.times)

    @property
    def history(self) -> list[dict[str, Any]]:
        """Metrics of each complete iteration."""
        return self.state.history

    @contextmanager
    def owning_directory(self) -> Iterator[None]:
        """
        Makes the first process the owner of the output directory while the context is open.

        Raises:
            [`~star_trl.run.run_lock.RunInUse`]: If another run is in progress there.
        """
        with raise_together():
            if self.trainer.is_world_process_zero():
                self.lock.acquire()
        try:
            yield
        finally:
            self.times.leave()
            self.lock.release()

    def begin(self, resume_from_checkpoint: bool | str | None) -> int:
        """
        Begins the run, or resumes the one in the output directory.

        Returns:
            `int`: The first iteration to do; `0` is the evaluation of the original model.

        Raises:
            `FileExistsError`: If there is a run and neither resuming nor overwriting is requested.
            [`~star_trl.run.state.CannotResume`]: If the run there was started with other settings or weights, or
                cannot be resumed. If there is none, it is a `FileNotFoundError` as well.
            `ValueError`: If the best metric is unknown.
        """
        trainer, args = self.trainer, self.args
        self.state = RunState(
            base_weights=self._original_weights().digest, settings=run_settings(self.task, args, trainer)
        )
        self.in_progress = True
        self.best.check_metric()
        trainer.state = TrainerState(
            is_local_process_zero=trainer.is_local_process_zero(),
            is_world_process_zero=trainer.is_world_process_zero(),
            max_steps=self._planned_steps(),
            num_train_epochs=args.num_iterations,
            train_batch_size=args.train_batch_size,
            epoch=0,
        )
        trainer.control.should_training_stop = False
        # A script may look for a run while the first process begins one, so the first process decides for all.
        (resume_from_checkpoint,) = broadcast_object_list([resume_from_checkpoint])
        if resume_from_checkpoint:
            self._resume(resume_from_checkpoint)
        else:
            with raise_together():
                if trainer.is_world_process_zero():
                    clear_run(self.ledger.output_dir, args.overwrite_output_dir)
                    self.state.save(self.ledger.output_dir)
            self._load(0)  # a trainer that was trained before starts over, too
        with raise_together():
            self._tell("begin")
        trainer.control = trainer.callback_handler.on_train_begin(args, trainer.state, trainer.control)
        if self.best.is_at_plateau(self.state) or self._nothing_survived():
            return args.num_iterations + 1
        return 0 if self.state.iteration is None else self.state.iteration + 1

    def where_it_goes_on(self, first: int, num_problems: int) -> str:
        """
        Describes where a resumed run continues.

        Args:
            first (`int`):
                The first iteration to do, from [`~OuterRun.begin`].
            num_problems (`int`):
                Number of problems of that iteration.
        """
        if first > self.args.num_iterations:
            return f"iteration {self.state.iteration} was the last one: nothing is left to do"
        if first == 0 or self.iteration == first:
            ledgers = [Ledger(self.ledger.output_dir, name=name) for name in self.task.evaluation_sets]
            done = sum(len(ledger.read(first)) for ledger in ledgers)
            return f"iteration {first}: {done:,} problems evaluated" + (", the model is trained" if first else "")
        if (self._resume_dir(first) / LAST_NAME).exists():
            return f"iteration {first}: sampled, fine-tuning"
        done = len({sample.problem_id for sample in self.ledger.read(first)})
        return f"iteration {first}: {done:,} of {num_problems:,} problems sampled"

    def begin_iteration(self, iteration: int) -> None:
        """Begins an outer iteration, which callbacks see as an epoch. Iteration 0 evaluates the original model."""
        with raise_together():
            self.lock.check()
        self._metrics = {"iteration": iteration, **self.state.metrics}
        trainer = self.trainer
        self.times.begin_iteration(self.ledger.iteration_dir(iteration), trainer.is_world_process_zero())
        trainer.state.epoch = max(iteration - 1, 0)
        if iteration:
            trainer.control = trainer.callback_handler.on_epoch_begin(self.args, trainer.state, trainer.control)

    def record(self, metrics: dict[str, float]) -> None:
        """Logs metrics of the iteration and keeps them for its `metrics.json`. An idle run ignores them."""
        if self.in_progress and metrics:
            self._metrics.update(metrics)
            self.trainer.log(dict(metrics))

    def check_earlier_samples(self, iteration: int) -> None:
        """
        Checks the samples of the finished iterations that an iteration needs: that it trains on as well, or that set
        the order of its problems.

        Raises:
            `ValueError`: If one of them does not have the samples that it ended with.
            `RuntimeError`: If the output directory was deleted or replaced.
        """
        with raise_together():
            self.lock.check()
            if self.trainer.is_world_process_zero():
                seals = self.state.ledgers
                adaptive = self.args.problem_order == "adaptive"
                earlier = range(1 if adaptive else iteration - self.args.sample_iterations + 1, iteration)
                keys = (seal_key(number, "samples") for number in earlier)
                check_seals(self.ledger.output_dir, seals, [key for key in keys if key in seals])

    def save_model(self) -> None:
        """Saves the fine-tuned model, so that it survives an interrupted evaluation."""
        trainer, state = self.trainer, self.state
        if not self.in_progress or self.args.save_strategy == SaveStrategy.NO:
            return
        directory = self.checkpoint_dir(self.iteration)
        unfinished = directory.with_name("checkpoint.tmp")
        with raise_together():
            self.lock.check()
            if trainer.is_world_process_zero():
                shutil.rmtree(unfinished, ignore_errors=True)
        with raise_together():
            trainer.save_model(str(unfinished), _internal_call=True)  # does not push to the hub
        with raise_together():
            self._seal(self.iteration, "samples")
            state.checkpoint_iteration = self.iteration
            state.metrics = self._metrics
            state.trainer_state = asdict(trainer.state)
            if trainer.is_world_process_zero():
                state.checkpoints[str(self.iteration)] = manifest(unfinished)
                shutil.rmtree(directory, ignore_errors=True)
                unfinished.rename(directory)
                state.save(self.ledger.output_dir)
                shutil.rmtree(self._resume_dir(self.iteration), ignore_errors=True)

    def end_iteration(self, eval_metrics: dict[str, float]) -> None:
        """Records the iteration as complete, notes the best model, deletes old ones and stops at a plateau."""
        with raise_together():
            self.lock.check()
        trainer, state, iteration = self.trainer, self.state, self._metrics["iteration"]
        trainer.state.epoch = iteration
        metrics = {**self._metrics, **eval_metrics, "seconds": self.times.stop(ITERATION)}
        if self.policy.engine.fallback_warnings:
            metrics["fallback_warnings"] = list(self.policy.engine.fallback_warnings)
        new_best = self._note_best(metrics)
        # The best model may be the previous one. Its checkpoint, the last one until now, still exists.
        saved = new_best if self.args.save_strategy == SaveStrategy.BEST else iteration
        if saved > (state.checkpoint_iteration or 0):
            saved = 0  # it has no checkpoint
        if saved:
            trainer.control = trainer.callback_handler.on_save(self.args, trainer.state, trainer.control)
        if iteration:
            trainer.control = trainer.callback_handler.on_epoch_end(self.args, trainer.state, trainer.control)
        with raise_together():
            for name in [*(["samples"] if iteration else []), *self.task.evaluation_sets]:
                self._seal(iteration, name)
            state.iteration = iteration
            state.metrics = {}
            state.history.append(metrics)
            state.trainer_state = asdict(trainer.state)
            if trainer.is_world_process_zero():
                write_json(self.ledger.iteration_dir(iteration) / METRICS_NAME, metrics)
                state.save(self.ledger.output_dir)
            self.times.end_iteration()
            self._tell("iteration_complete", saved)
            self._prune()
        if self.best.is_at_plateau(self.state):
            logger.info(
                f"No improvement since the model of iteration {state.best_iteration}: stopping after {iteration}."
            )
            trainer.control.should_training_stop = True

    def end(self) -> TrainOutput:
        """Loads the best model if `load_best_model_at_end` is set, and tells the callbacks that the run is over."""
        trainer = self.trainer
        if self.args.load_best_model_at_end and self.state.best_iteration is not None:
            logger.info(f"Loading the model of iteration {self.state.best_iteration}, the best one.")
            self._load(self.state.best_iteration)
        trainer.control = trainer.callback_handler.on_train_end(self.args, trainer.state, trainer.control)
        self.in_progress = False
        with raise_together():
            self._tell("end")
            self._prune()
        last = self.history[-1]
        loss = last.get("train_loss")
        return TrainOutput(trainer.state.global_step, float("nan") if loss is None else loss, last)

    def _seal(self, iteration: int, name: str) -> None:
        """Notes how many samples a finished ledger of an iteration has, and which ones."""
        key = seal_key(iteration, name)
        if self.trainer.is_world_process_zero() and key not in self.state.ledgers:
            self.state.ledgers[key] = seal(self.ledger.output_dir, iteration, name)

    def _tell(self, event: str, *arguments: Any) -> None:
        """Calls a method of the observers in the main process."""
        if self.trainer.is_world_process_zero():
            for observer in self.observers:
                getattr(observer, event)(self, *arguments)

    def checkpoint_dir(self, iteration: int) -> Path:
        """Returns the folder of an iteration's model."""
        return self.ledger.iteration_dir(iteration) / "checkpoint"

    def resume_checkpoints(self, selected: Sequence[Sample], iteration: int) -> ResumeCheckpoints | None:
        """Returns the checkpoints of an iteration's fine-tuning, or None where nothing is saved."""
        if not self.in_progress or self.args.save_strategy == SaveStrategy.NO:
            return None
        training_set = digest((sample.iteration, *sample.key) for sample in selected)
        return ResumeCheckpoints(self._resume_dir(iteration), self.trainer, training_set)

    @contextmanager
    def recording_evaluations(self) -> Iterator[None]:
        """Records the samples of an evaluation while the context is open, so that it can be resumed."""
        self._evaluates = True
        try:
            yield
        finally:
            self._evaluates = False

    def evaluation_ledger(self, name: str) -> Ledger | None:
        """Returns the ledger of an evaluation, or None for an evaluation that is not part of the run."""
        accelerator = self.trainer.accelerator
        if not self._evaluates:
            return None
        problems = self.task.evaluation_sets.get(name)
        return Ledger(
            self.ledger.output_dir,
            accelerator.process_index,
            accelerator.num_processes,
            name,
            samplers=[self.task.samplers[0].name],
            num_problems=None if problems is None else len(problems),
            vocab_size=cast(PreTrainedModel, self.trainer.model).config.get_text_config().vocab_size,
        )

    def _resume_dir(self, iteration: int) -> Path:
        return self.ledger.iteration_dir(iteration) / "fine-tuning"

    def _resume(self, resume_from_checkpoint: bool | str) -> None:
        trainer, output_dir = self.trainer, str(self.args.output_dir)
        if (
            isinstance(resume_from_checkpoint, str)
            and Path(resume_from_checkpoint).resolve() != Path(output_dir).resolve()
        ):
            raise CannotResume(
                f"`resume_from_checkpoint={resume_from_checkpoint!r}` is not the run's `output_dir` ({output_dir!r}). "
                "Its ledger and its checkpoints belong together: set `output_dir` to that path, or give True."
            )
        with raise_together():
            found = RunState.load(output_dir)
            found.check_same_run(self.state.base_weights, self.state.settings)
            if trainer.is_world_process_zero():
                # Evaluations are over once their metrics are in the history, and nothing reads their samples again.
                try:
                    check_seals(output_dir, found.ledgers, [key for key in found.ledgers if key.endswith("/samples")])
                except ValueError as error:
                    raise CannotResume(str(error)) from error
        found.settings = self.state.settings  # with those that an older version did not record
        self.state = found
        current = found.checkpoint_iteration or 0
        trained = [metrics["iteration"] for metrics in found.history if "train_loss" in metrics]
        last = max(trained, default=0)
        if current < last or (current and not self.checkpoint_dir(current).exists()):
            raise CannotResume(
                f"Iteration {max(last, current)} is complete, but its checkpoint is not in {output_dir}, so the "
                "run cannot go on from it. Checkpoints must not be deleted by hand, and resuming needs a "
                "`save_strategy` other than 'no'."
            )
        self._load(current)
        if found.trainer_state:
            names = ("max_steps", "num_train_epochs", "is_local_process_zero", "is_world_process_zero")
            own = {name: getattr(trainer.state, name) for name in names}
            trainer.state = TrainerState(**{**found.trainer_state, **own})

    def _nothing_survived(self) -> bool:
        """Returns whether the last iteration had nothing to train on, which ended the run."""
        return bool(self.state.history) and self.state.history[-1].get("samples/selected") == 0

    def _note_best(self, metrics: dict[str, Any]) -> int:
        """
        Notes whether these metrics are the best so far. Returns the iteration of the model that they measure if so,
        and 0 otherwise or for the original model.
        """
        trainer, state, name = self.trainer, self.state, self.best.metric
        if not self.best.improves(metrics, state.best_metric):
            return 0
        measured, value = self.best.measured(metrics["iteration"]), metrics[name]
        # A metric is logged before the next model is trained, at the step of the one that it measures.
        logged = (int(entry["step"]) for entry in reversed(trainer.state.log_history) if name in entry)
        state.best_iteration, state.best_metric = measured, value
        trainer.state.best_metric = value
        trainer.state.best_global_step = next(logged, trainer.state.global_step)
        trainer.state.best_model_checkpoint = str(self.checkpoint_dir(measured)) if measured else None
        return measured

    def _prune(self) -> None:
        """Deletes old checkpoints, but never the best one or the last one, which resuming needs."""
        if not self.trainer.is_world_process_zero() or any(observer.reads_checkpoints for observer in self.observers):
            return
        existing = [number for number in self.ledger.iterations() if self.checkpoint_dir(number).exists()]
        limit = self.args.save_total_limit or len(existing)
        if self.args.save_strategy == SaveStrategy.BEST:
            limit = 1
        needed = {self.state.checkpoint_iteration, self.state.best_iteration}
        removable = [number for number in existing if number not in needed]
        for number in removable[: max(len(existing) - limit, 0)]:
            shutil.rmtree(self.checkpoint_dir(number))
            self.state.checkpoints.pop(str(number), None)

    def _load(self, iteration: int) -> None:
        """Loads the weights of a saved iteration into the model, or the original weights for 0."""
        if iteration:
            with raise_together():
                self._check_checkpoint(iteration)
            # Private in `Trainer`, but it alone knows how each kind of model (adapter, sharded file) is loaded.
            self.trainer._load_from_checkpoint(str(self.checkpoint_dir(iteration)))
        else:
            self._original_weights().restore(cast(PreTrainedModel, self.trainer.model))
        self.iteration = iteration

    def _check_checkpoint(self, iteration: int) -> None:
        """Raises [`CannotResume`] if a file of an iteration's checkpoint is missing or damaged."""
        files = self.state.checkpoints.get(str(iteration))  # that of an older version has no manifest
        if files is None or not self.trainer.is_world_process_zero():
            return
        problem = damage(self.checkpoint_dir(iteration), files)
        if problem is not None:
            raise CannotResume(
                f"The model of iteration {iteration} cannot be loaded: {problem}. Put the file back from a copy, or "
                "start over with `overwrite_output_dir=True`, which deletes the run."
            )

    def _planned_steps(self) -> int:
        args = self.args
        steps = [args.inner_steps(iteration) for iteration in range(1, args.num_iterations + 1)]
        return sum(max(args.max_steps, 0) if number is None else number for number in steps)
