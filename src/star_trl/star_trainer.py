# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import (
    BitsAndBytesConfig,
    DefaultFlowCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    TrainerCallback,
    set_seed,
)
from transformers.trainer_utils import TrainOutput, speed_metrics

from .checks import check_examples, check_lengths, check_problems, check_samplers, check_sharding, named_datasets
from .diagnosis import signs_in_samples, signs_of_chance
from .evaluation import accuracy_metrics
from .generation.model_state import has_prompt_learning
from .generator import make_engine, seed_of
from .gradient_view import GradientView
from .hub import push_model
from .inner_run import inner_arguments, inner_run
from .iteration_metrics import sampling_metrics, selection_metrics
from .ledger import Ledger, Sample
from .model_card import write_model_card
from .outer_run import OuterRun
from .policy import place
from .progress import show_progress, undisturbed
from .prompting import FewShotExamples, PromptBuilder
from .proposals import Proposals
from .rewards.calling import RewardCaller
from .rewards.scoring import RewardFunc, Scorer
from .row_order import seeded
from .sample_tables import log_samples
from .samplers import LoopState, Sampler
from .sampling_trainer import SamplingTrainer
from .selection import NothingSurvives, select_samples
from .star_config import STaRConfig, as_dict
from .termination import Termination
from .trackers import outlive_trackers
from .training_set import training_sequences
from .weighting import sample_weights
from .weights import OriginalWeights


if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel


logger = get_logger(__name__)


class STaRTrainer(SamplingTrainer):
    """
    Trainer for the Self-Taught Reasoner (STaR), introduced in [STaR: Bootstrapping Reasoning With
    Reasoning](https://huggingface.co/papers/2203.14465).

    The model writes rationales, the correct ones are kept, the failed problems are tried again with the answer as a
    hint, the original model is fine-tuned on what survived, and the loop repeats.

    Example:

    ```python
    from datasets import Dataset
    from star_trl import STaRConfig, STaRTrainer
    from star_trl.rewards import exact_match_reward

    problems = Dataset.from_list(
        [{"prompt": "Q: 2 + 3?\\nA:", "hinted_prompt": "Q: 2 + 3? (5)\\nA:", "answer": "5"}, ...]
    )
    trainer = STaRTrainer(
        model="Qwen/Qwen3-0.6B-Base",
        args=STaRConfig(output_dir="out", stop_strings=["\\n\\n"]),
        reward_funcs=exact_match_reward,
        few_shot_examples=[
            {"prompt": "Q: 1 + 1?\\nA:", "hinted_prompt": "Q: 1 + 1? (2)\\nA:", "completion": " One and one.\\n2"}
        ],
        train_dataset=problems,
    )
    trainer.train()
    ```

    Args:
        model (`str`, [`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Model to train: a model id, a path or a loaded model, as in [`~trl.SFTTrainer`].
        args ([`STaRConfig`], *optional*):
            Configuration.
        reward_funcs (`RewardFunc`, `str`, `nn.Module` or a list of them):
            Reward functions that decide what is kept, in the calling convention of [`~trl.GRPOTrainer`]:
            `reward_func(prompts, completions, completion_ids, **columns)` returns one `float` or `None` ("does not
            apply") per completion. `columns` are the dataset's other columns (`solution` defaults to `answer`),
            `trainer_state`, `log_extra` and `log_metric`. Coroutine functions are awaited together. A reward model,
            or its id, becomes a [`~star_trl.rewards.RewardModel`].
        samplers (`list[Sampler]`, *optional*):
            Proposal distributions, run in this order; each sees what the earlier ones solved. The default is
            `[RationaleSampler(), RationalizationSampler()]`, without the second where the problems have no
            `hinted_prompt`.
        few_shot_examples (`list[dict]`, [`~datasets.Dataset`] or `Callable[[dict], list[dict]]`, *optional*):
            Examples with `prompt`, `completion` and, for rationalization, `hinted_prompt`; or a function that
            chooses them for a problem. Problems that are among their own examples are not sampled or evaluated on.
        train_dataset ([`~datasets.Dataset`]):
            Problems: `prompt` (text or messages), `hinted_prompt` for rationalization, `answer` and whatever else
            the reward functions read.
        eval_dataset ([`~datasets.Dataset`] or `dict[str, Dataset]`, *optional*):
            Held-out problems. The model is evaluated by generating before the first outer iteration and after each.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Tokenizer. Loaded from the model's name by default.
        peft_config ([`~peft.PeftConfig`], *optional*):
            Adapter to train in place of the model.
        quantization_config ([`~transformers.BitsAndBytesConfig`], *optional*):
            Quantization of a model that is loaded from a model id.
        callbacks (`list[TrainerCallback]`, *optional*):
            Callbacks. They see one run, whose step is the sum of the inner steps and whose epoch is the outer
            iteration.
        optimizer_cls_and_kwargs (`tuple[type[torch.optim.Optimizer], dict[str, Any]]`, *optional*):
            Optimizer class and arguments, in place of `optim`. An optimizer instance is not taken, since it starts
            over in every outer iteration.

    Attributes:
        engine ([`~star_trl.generation.Engine`]):
            What generates.
        iteration (`int`):
            The outer iteration that the current model is the result of; `0` for the original model.

    Raises:
        `TypeError`: If a dataset is not a [`~datasets.Dataset`].
        `ValueError`: If a dataset, the samplers, the rewards, the few-shot examples or the lengths do not fit
            together. The message names what was found and the fix.
    """

    args: STaRConfig
    model: PreTrainedModel
    processing_class: PreTrainedTokenizerBase | ProcessorMixin

    _tag_names = ["trl", "star"]
    _name = "STaR"
    _paper = {
        "title": "STaR: Bootstrapping Reasoning With Reasoning",
        "id": "2203.14465",
        "citation": """@inproceedings{zelikman2022star,
    title     = {{STaR: Bootstrapping Reasoning With Reasoning}},
    author    = {Eric Zelikman and Yuhuai Wu and Jesse Mu and Noah D. Goodman},
    year      = 2022,
    booktitle = {Advances in Neural Information Processing Systems 35},
}""",
    }

    def __init__(
        self,
        model: "str | PreTrainedModel | PeftModel",
        args: STaRConfig | None = None,
        reward_funcs: RewardFunc | str | list[RewardFunc | str] | None = None,
        samplers: list[Sampler] | None = None,
        few_shot_examples: FewShotExamples | Dataset | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        peft_config: "PeftConfig | None" = None,
        quantization_config: BitsAndBytesConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
    ):
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = STaRConfig(f"{name.rstrip('/').split('/')[-1] or 'model'}-STaR")
        if reward_funcs is None:
            raise ValueError("`reward_funcs` is required: they decide which samples are kept.")
        if train_dataset is None:
            raise ValueError("`train_dataset` is required: it holds the problems.")
        if args.load_best_model_at_end and eval_dataset is None:
            raise ValueError(
                "`load_best_model_at_end=True` needs an `eval_dataset`: without one no model is measured after its "
                "training. Give an `eval_dataset`, or leave `load_best_model_at_end` out."
            )
        call = RewardCaller(args.reward_timeout, args.reward_retries)
        self.scorer = Scorer(reward_funcs, args.reward_weights, args.reward_threshold, call)
        check_problems(train_dataset, "train_dataset", ["prompt"])
        self.samplers, without_hints = check_samplers(samplers, args, "hinted_prompt" in train_dataset.column_names)
        if without_hints:
            logger.info("The problems have no `hinted_prompt`, so rationalization is left out.")
        self._check_dataset(train_dataset, "train_dataset", args, self.samplers)
        for name, dataset in named_datasets(eval_dataset).items():
            self._check_dataset(dataset, name, args, self.samplers[:1])
        if eval_dataset is not None:
            # What callbacks such as EarlyStoppingCallback look for: there is an evaluation in every outer iteration.
            args.eval_strategy = "epoch"

        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            quantization_config=quantization_config,
            peft_config=peft_config,
        )
        check_sharding(self.accelerator, args)
        if args.weighted and has_prompt_learning(self.model):
            raise ValueError(
                f"`sample_weighting={args.sample_weighting!r}` and `loss_normalization={args.loss_normalization!r}` "
                "weigh the tokens of a sequence, but the adapter puts learned vectors in front of it, which have no "
                "weight. Leave them at 'uniform' and 'tokens', or use another adapter, such as LoRA."
            )
        self.scorer.to(self.accelerator.device)
        outlive_trackers(self.callback_handler.callbacks, args.report_to)
        # The default flow logs, evaluates and saves by inner steps; the inner run gets one of its own.
        self.remove_callback(DefaultFlowCallback)
        show_progress(self)

        self.problems = train_dataset
        self.iteration = 0
        tokenizer = self.processing_class
        if isinstance(tokenizer, ProcessorMixin):
            tokenizer = tokenizer.tokenizer
        self.engine = make_engine(args, tokenizer, self.accelerator)
        self.prompt_builder = PromptBuilder(tokenizer, few_shot_examples, as_dict(args.chat_template_kwargs))
        self.proposals = Proposals(args, self.prompt_builder, self.scorer)
        self.ledger = Ledger(
            str(args.output_dir),
            self.accelerator.process_index,
            self.accelerator.num_processes,
            samplers=[sampler.name for sampler in self.samplers],
        )
        self.termination = Termination()
        self._original_weights: OriginalWeights | None = None
        self.outer_run: OuterRun | None = None
        self._candidates = self._check_prompts(train_dataset, "train_dataset", self.samplers)
        for name, dataset in named_datasets(eval_dataset).items():
            self._check_prompts(dataset, name, self.samplers[:1])

    def train(self, resume_from_checkpoint: bool | str | None = None) -> TrainOutput:  # type: ignore[override]
        """
        Runs the outer loop (Algorithm 1 of the STaR paper).

        Args:
            resume_from_checkpoint (`bool` or `str`, *optional*):
                `True`, or the run's `output_dir`, to go on where the run there stopped: complete iterations are not
                repeated, and neither are recorded samples and steps before the last checkpoint.

        Returns:
            [`~transformers.trainer_utils.TrainOutput`]: Sum of the inner steps, last training loss, last metrics.

        Raises:
            `FileExistsError`: If `output_dir` holds a run already and neither resuming nor overwriting is asked for.
            [`~star_trl.selection.NothingSurvives`]: If no sample of the first iteration is kept.
            `SystemExit`: With the code 75, after SIGTERM, once what is finished is saved.
        """
        self.outer_run = run = OuterRun(self)
        with self.termination, undisturbed(self):
            first = run.begin(resume_from_checkpoint)
            for iteration in range(first, self.args.num_iterations + 1):
                run.begin_iteration(iteration)
                if iteration > self.iteration:  # not where a resumed run has this iteration's model already
                    self.sample(iteration)
                    selected = self.select(iteration)
                    if selected:
                        self.fine_tune(selected, iteration)
                run.end_iteration(run.evaluate())
                if self.control.should_training_stop:
                    break
            return run.end()

    def sample(self, iteration: int) -> list[Sample]:
        """
        Lets every sampler propose, scores the completions and records them in the ledger.

        Args:
            iteration (`int`):
                Outer iteration, counted from 1. Samples of it that the ledger already has are not made again.

        Returns:
            `list[Sample]`: All samples of the iteration, from all processes.
        """
        start_time = time.time()
        candidates = self.candidates(iteration)
        samples: list[Sample] = []
        earlier: set[str] = set()
        num_new_tokens = 0
        for sampler in self.samplers:
            state = LoopState(
                iteration=iteration,
                problems=self.problems,
                candidates=candidates,
                # Not by this sampler itself, in a run that was interrupted or in a process that is ahead.
                solved={sample.problem_id for sample in samples if sample.kept and sample.sampler in earlier},
                rng=random.Random(seed_of(self.args.seed, iteration, sampler.name)),
                ledger=self.ledger,
            )
            own = self.own_part(sampler.select(state))
            prompts = self.proposals.prompts(sampler, self.problems, own, iteration)
            for sample in self.propose(sampler, prompts, iteration, self.ledger):
                num_new_tokens += len(sample.completion_ids)
            samples = self.ledger.read(iteration)
            earlier.add(sampler.name)
        self._warn(signs_in_samples(samples, self.samplers, self.problems, candidates))
        if iteration == 1 and self.eval_dataset is None and not self.samplers[0].supplies_answer:
            first = [sample.kept for sample in samples if sample.sampler == self.samplers[0].name]
            if first:
                self._warn(signs_of_chance(sum(first) / len(first), self.problems.select(candidates)))
        seconds = time.time() - start_time
        self._record(
            {
                **sampling_metrics(samples, [sampler.name for sampler in self.samplers], len(candidates)),
                **self.proposals.pop_metrics(),
                "seconds/sample": seconds,
                "tokens_per_second": sum(gather_object([num_new_tokens])) / seconds,
            }
        )
        log_samples(self, samples, iteration)
        return samples

    def select(self, iteration: int) -> list[Sample]:
        """
        Chooses the samples to train on: D_n and D_n^rat of the paper, from the last `sample_iterations` iterations.

        Args:
            iteration (`int`):
                Outer iteration, counted from 1.

        Returns:
            `list[Sample]`: The samples, the latest iteration's first. Where nothing survives, there is a warning, and
            the run ends with the model of the iteration before.

        Raises:
            [`~star_trl.selection.NothingSurvives`]: If no sample of the first iteration is kept.
        """
        samples = self._pool(iteration)
        if self.args.sample_weighting == "advantage":
            # Of these the failed ones are trained on as well.
            failed = ("wrong", "truncated")
            samples = [
                replace(sample, drop_reason=None) if sample.drop_reason in failed else sample for sample in samples
            ]
        selected, dropped = select_samples(
            samples,
            self.args.max_samples_per_problem,
            self.args.sample_preference,
            all_draws=self.args.counts_draws,
            seed=self.args.seed,
        )
        self._record(selection_metrics(len(selected), dropped))
        if not selected:
            found = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "no sample at all"
            example = f" The first one ends with {samples[0].completion[-200:]!r}." if samples else ""
            message = f"No sample of iteration {iteration} survives the filter: {found}.{example}"
            if iteration == 1:
                raise NothingSurvives(
                    f"{message} There is nothing to train on. Look at the samples with "
                    f"`load_ledger({self.args.output_dir!r})`: does the prompt ask for the form that the reward "
                    "functions expect, do the few-shot examples show it, and is `max_completion_length` long enough?"
                )
            logger.warning(f"{message} The run ends with the model of iteration {self.iteration}.")
            self.control.should_training_stop = True
        return selected

    def fine_tune(self, selected: Sequence[Sample], iteration: int) -> TrainOutput:
        """
        Fine-tunes on the selected samples: the original model, or with `reset_model=False` the current one. The
        optimizer and its schedule start over.

        Args:
            selected (`list[Sample]`):
                Samples to train on.
            iteration (`int`):
                Outer iteration, counted from 1.

        Returns:
            [`~transformers.trainer_utils.TrainOutput`]: What the inner loop returns.

        Raises:
            `ValueError`: If a training sequence is longer than `max_length`.
        """
        start_time = time.time()
        weights = self._weights(selected, iteration) if self.args.weighted else None
        if self.args.gradient_view_samples:
            self._record(GradientView(self, iteration).metrics(selected, weights or [1.0] * len(selected)))
        sequences = training_sequences(
            selected, self.problems, self.prompt_builder, self.args, self.prompt_columns, weights
        )
        checkpoints = self.outer_run.resume_checkpoints(selected, iteration) if self.outer_run is not None else None
        args = inner_arguments(self.args, iteration, checkpoints)
        prepared = self.prepare_sequences(sequences, args)
        original_weights = self.keep_original_weights()
        if self.args.reset_model:
            original_weights.restore(self.model)
        self._free_optimizer()
        if self.is_deepspeed_enabled:
            # Training anew takes the last run's DeepSpeed engine apart, so that it must not be wrapped again.
            self.model_wrapped = self.model
        set_seed(args.seed)
        checkpoint = checkpoints.last() if checkpoints is not None else None
        with inner_run(self, prepared, args, checkpoints, self.termination) as inner:
            output = super().train(resume_from_checkpoint=checkpoint)
        if inner.interrupted:
            self.termination.exit_if_requested(together=True)
        self._free_optimizer()
        self.iteration = iteration
        self._record({"train_loss": output.training_loss, "seconds/fine_tune": time.time() - start_time})
        if self.outer_run is not None:
            self.outer_run.save_model()
        return output

    def evaluate(
        self,
        eval_dataset: Dataset | dict[str, Dataset] | str | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """
        Lets the first sampler generate greedily, one completion per problem, and scores it against the true answer.
        Problems that are among their own few-shot examples are left out, as in training.
        The prompts are those of the iteration that made the model: with the few-shot examples up to iteration
        `few_shot_iterations`. The next iteration's samples are this model's as well, but behind that one's prompts.

        Args:
            eval_dataset ([`~datasets.Dataset`], `dict[str, Dataset]` or `str`, *optional*):
                Problems, several sets of them, or the name of one of the trainer's. The trainer's own by default.
            ignore_keys (`list[str]`, *optional*):
                Not used; kept for the signature of [`~transformers.Trainer`].
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`):
                Prefix of the metrics. The name of one of several sets is put after it.

        Returns:
            `dict[str, float]`: `eval_accuracy` (share that passes the filter), `eval_accuracy/<value>` for each value
            of `eval_group_column`, `eval_rewards/<name>` (means), `eval_completion_length` (mean, in tokens),
            `eval_clipped_ratio`, `eval_<name>` for what reward functions give to `log_metric` (means), and speed
            metrics.

        Raises:
            `ValueError`: If there is no evaluation set, or it does not fit.
        """
        is_own = eval_dataset is None
        if isinstance(eval_dataset, str):
            if not isinstance(self.eval_dataset, dict) or eval_dataset not in self.eval_dataset:
                raise ValueError(f"The trainer has no evaluation set named {eval_dataset!r}. Give the dataset itself.")
            eval_dataset = {eval_dataset: self.eval_dataset[eval_dataset]}
        elif eval_dataset is None:
            eval_dataset = self.eval_dataset  # checked when the trainer was made
        else:
            for name, dataset in named_datasets(eval_dataset).items():
                self._check_dataset(dataset, name, self.args, self.samplers[:1])
                self._check_prompts(dataset, name, self.samplers[:1])
        if eval_dataset is None:
            raise ValueError("There is nothing to evaluate on. Give `eval_dataset` here or to the trainer.")
        if not isinstance(eval_dataset, dict):
            return self._evaluate_problems(eval_dataset, metric_key_prefix, is_own)
        metrics: dict[str, float] = {}
        for name, dataset in eval_dataset.items():
            metrics.update(self._evaluate_problems(dataset, f"{metric_key_prefix}_{name}", is_own))
        return metrics

    def _evaluate_problems(self, dataset: Dataset, prefix: str, is_own: bool) -> dict[str, float]:
        start_time = time.time()
        # Within a run the samples are recorded, so that an evaluation that is interrupted goes on.
        ledger = self.outer_run.evaluation_ledger(prefix) if is_own and self.outer_run is not None else None
        samples = self.sample_problems(dataset, ledger)
        metrics = accuracy_metrics(samples, dataset, self.args.eval_group_column)
        # What reward functions log comes last, but does not take the place of the others.
        metrics = {**metrics, **self.proposals.pop_metrics(evaluation=True), **metrics}
        if self.iteration == 0:
            self._warn(signs_of_chance(metrics["accuracy"], dataset))
        metrics = {f"{prefix}_{name}": value for name, value in metrics.items()}
        metrics.update(speed_metrics(prefix, start_time, num_samples=len(samples)))
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _free_optimizer(self) -> None:
        """Its states, so that the memory for training and that for generating do not add up."""
        self.optimizer = self.lr_scheduler = None
        self.callback_handler.optimizer = self.callback_handler.lr_scheduler = None
        if not self.is_deepspeed_enabled:  # whose engine generates as well
            self.accelerator.free_memory()

    def _weights(self, selected: Sequence[Sample], iteration: int) -> list[float]:
        weights, metrics = sample_weights(selected, self._pool(iteration), self.args, self.policy_logprobs)
        self._record(metrics)
        return weights

    def _pool(self, iteration: int) -> list[Sample]:
        """All samples of the iterations that are trained on, the latest first."""
        oldest = max(1, iteration - self.args.sample_iterations + 1)
        return [sample for number in range(iteration, oldest - 1, -1) for sample in self.ledger.read(number)]

    def candidates(self, iteration: int) -> list[int]:
        """Indices of the problems of an outer iteration, without those that are few-shot examples."""
        wanted = self.args.num_problems_per_iteration
        if wanted is None or wanted >= len(self._candidates):
            return list(self._candidates)
        return sorted(random.Random(seed_of(self.args.seed, iteration)).sample(self._candidates, wanted))

    def _record(self, metrics: dict[str, float]) -> None:
        if self.outer_run is not None and metrics:
            self.outer_run.record(metrics)

    @staticmethod
    def _warn(messages: Iterable[str]) -> None:
        for message in messages:
            logger.warning(message)

    def keep_original_weights(self) -> OriginalWeights:
        """A copy of the weights that every iteration starts from, made when it is first asked for."""
        if self._original_weights is None:
            place(self)
            self._original_weights = OriginalWeights(self.model)
        return self._original_weights

    def _check_dataset(self, dataset: Any, name: str, args: STaRConfig, samplers: Sequence[Sampler]) -> None:
        check_problems(dataset, name, ["prompt", *(sampler.prompt_column for sampler in samplers)])
        supplied = name == "train_dataset" and all(sampler.supplies_answer for sampler in samplers)
        self.scorer.check_columns([*dataset.column_names, *(["answer"] if supplied else [])])
        if name != "train_dataset" and args.eval_group_column is not None:
            check_problems(dataset, name, [args.eval_group_column])

    def _check_prompts(self, dataset: Dataset, name: str, samplers: Sequence[Sampler]) -> list[int]:
        columns = [sampler.prompt_column for sampler in samplers]
        is_trained = name == "train_dataset"
        check_lengths(dataset, name, columns, self.prompt_builder, self.args, self.model.config, is_trained)
        return check_examples(dataset, name, self.prompt_builder)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        super().save_model(output_dir, _internal_call)
        write_model_card(self, output_dir or str(self.args.output_dir))

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ):
        return push_model(self, commit_message, blocking, token, revision, private, kwargs)

    def create_model_card(  # type: ignore[override]  # the signature of TRL's trainers
        self,
        model_name: str | None = None,
        dataset_name: str | None = None,
        tags: str | list[str] | None = None,
    ) -> None:
        write_model_card(self, str(self.args.output_dir), model_name=model_name, dataset_name=dataset_name, tags=tags)

    def _get_train_sampler(self, train_dataset=None):
        # Private in `Trainer`, which gives the seeds to none of its samplers.
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return seeded(super()._get_train_sampler(train_dataset), seed)

    def _prepare_dataset(self, dataset, *args, **kwargs):
        # Private in SFTTrainer, whose `__init__` would take problems for prompt-completion data and tokenize them.
        # The training sequences are prepared in `fine_tune`.
        return dataset
