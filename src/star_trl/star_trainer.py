# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset, IterableDataset
from transformers import (
    BitsAndBytesConfig,
    DefaultFlowCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    TrainerCallback,
    set_seed,
)
from transformers.trainer_utils import TrainOutput

from .distributed import connect, get_logger
from .fine_tuning.gradient_view import training_weights
from .fine_tuning.inner_trainer import InnerTrainer, forget_training, num_parameters
from .fine_tuning.original_weights import OriginalWeights, keep_stored_layout
from .fine_tuning.prefix_tree import why_no_trees
from .fine_tuning.sequences import training_sequences
from .fine_tuning.token_references import token_references
from .fine_tuning.weighted_sft import WeightedSFTTrainer
from .generation import Engine
from .generation.answers import exit_is_an_error
from .generation.make_engine import make_engine
from .generation.model_state import has_prompt_learning
from .generation.policy import Policy, check_sharding, place
from .ledger.accuracy import accuracy_metrics
from .ledger.ledger import Ledger
from .ledger.metrics import reward_metrics, sampling_metrics, selection_metrics
from .ledger.sample import Sample
from .ledger.selection import NothingSurvives, choose_samples
from .monitoring.diagnosis import (
    signs_in_samples,
    signs_of_chance,
    signs_of_repetition,
    signs_of_too_few,
    why_nothing_survives,
)
from .monitoring.iteration_table import IterationTable
from .monitoring.progress import follow_sampling, show_fine_tuning, show_line, show_progress, undisturbed
from .monitoring.rationales import doubt_metrics, doubts, signs_of_doubt, write_doubts
from .monitoring.sample_table import completions_table, log_samples
from .monitoring.trackers import outlive_trackers
from .output_dir import writing
from .publishing.hub import HubPushes, push_model
from .publishing.model_card import ModelCards
from .report.live import LiveReport
from .rewards.calling import RewardCaller
from .rewards.scoring import RewardFunc, Scorer
from .rollout.curriculum import Curriculum
from .rollout.probes import Probes
from .rollout.rollouts import Rollouts
from .run.inner_run import Length, inner_arguments, inner_run
from .run.old_objects import old_objects_uncollected
from .run.outer_run import Observer, OuterRun
from .run.phase_times import PhaseTimes
from .run.termination import Termination
from .samplers import LoopState, Sampler
from .samplers.checks import (
    check_columns,
    check_draws,
    check_kinds,
    check_samplers,
    connect_rollout_func,
    samplers_of_grpo,
)
from .samplers.greedy import GreedySampler
from .samplers.rollout_func import RolloutFunc
from .seeds import seed_of
from .star_config import STaRConfig, as_dict
from .task.checks import (
    check_dataset,
    check_eos_token,
    check_problems,
    check_prompts,
    check_wrong_hints,
    named_datasets,
)
from .task.conversations import prepare_conversations, with_prompts
from .task.data_mistakes import (
    HintsForgotten,
    hints_are_forgotten,
    signs_in_problems,
    signs_of_missing_hints,
    signs_of_overlap,
)
from .task.prompting import FewShotExamples, PromptBuilder
from .task.streams import read_stream, read_streams
from .task.task import Task, evaluation_sets
from .tools.environments import EnvironmentFactory
from .user_input import OTHER_ARGUMENTS, check_model_path, explain_unknown


if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel


logger = get_logger(__name__)


@explain_unknown(OTHER_ARGUMENTS, is_setting=STaRConfig.__dataclass_fields__.__contains__)
class STaRTrainer(WeightedSFTTrainer):
    """
    Trainer for the Self-Taught Reasoner (STaR), introduced in [STaR: Bootstrapping Reasoning With
    Reasoning](https://huggingface.co/papers/2203.14465).

    The model writes rationales, and the correct ones are kept. Failed problems are tried again with the answer as a
    hint. The original model is fine-tuned on the samples that were kept, and the loop repeats.

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
            `samplers` (the name of each completion's sampler), `trainer_state`, `log_extra` and `log_metric`.
            Coroutine functions are awaited together. A reward model, or its id, becomes a
            [`~star_trl.rewards.RewardModel`].
        samplers (`list[Sampler]`, *optional*):
            Proposal distributions, run in this order. Each sees which problems the earlier ones solved. The default
            is `[RationaleSampler(), RationalizationSampler()]`; the second is left out, with a warning, where the
            problems have no `hinted_prompt`.
        few_shot_examples (`list[dict]`, [`~datasets.Dataset`] or `Callable[[dict], list[dict]]`, *optional*):
            Examples with `prompt`, `completion` and, for rationalization, `hinted_prompt`; or a function that
            chooses them for a problem. Problems that are among their own examples are not sampled or evaluated on.
        train_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Problems: `prompt` (text or messages), `hinted_prompt` for rationalization, `answer` and whatever else
            the reward functions read. Each iteration takes the next `num_problems_per_iteration` problems of an
            `IterableDataset`, from its beginning again when it ends.
        eval_dataset ([`~datasets.Dataset`], [`~datasets.IterableDataset`] or a `dict` of them, *optional*):
            Held-out problems. The model is evaluated by generating before the first outer iteration and after each,
            on the first `num_problems_per_iteration` problems of an `IterableDataset`.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Tokenizer. Loaded from the model's name by default.
        reward_processing_classes ([`~transformers.PreTrainedTokenizerBase`] or a list of them, *optional*):
            Tokenizers of the reward models among `reward_funcs`, one for each reward function. Those of other
            functions are ignored. Loaded from the names of the models by default.
        peft_config ([`~peft.PeftConfig`], *optional*):
            Adapter to train in place of the model.
        quantization_config ([`~transformers.BitsAndBytesConfig`], *optional*):
            Quantization of a model that is loaded from a model id.
        callbacks (`list[TrainerCallback]`, *optional*):
            Callbacks. They see a single run: its step is the sum of the inner steps, and its epoch is the outer
            iteration.
        optimizer_cls_and_kwargs (`tuple[type[torch.optim.Optimizer], dict[str, Any]]`, *optional*):
            Optimizer class and arguments, in place of `optim`. An optimizer instance is not accepted, since the
            optimizer is created anew in every outer iteration.
        tools (`list[Callable]`, *optional*):
            Functions that the model may call in its turns, as in [`~trl.GRPOTrainer`]. The samplers become
            [`EnvironmentSampler`], as with `environment_factory`.
        rollout_func (`Callable`, *optional*):
            Function that makes the completions, as in [`~trl.GRPOTrainer`]. It becomes a [`RolloutSampler`].
        environment_factory (`Callable[[], Any]` or `dict[str, Callable[[], Any]]`, *optional*):
            Makes the environments that the model acts in, as in [`~trl.GRPOTrainer`]. If their `reset` takes `hint`,
            and problems have no `hinted_prompt`, the environment gives the hint of rationalization.

    Attributes:
        task ([`~star_trl.task.task.Task`]):
            The task: problems, samplers, rewards and prompts.
        engine ([`~star_trl.generation.Engine`]):
            Generates the completions. May be replaced.
        ledger ([`~star_trl.ledger.ledger.Ledger`]):
            All samples of the training problems.
        iteration (`int`):
            The outer iteration that produced the current model; `0` for the original model.

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
    # What the model card says about the method
    _method = (
        "[STaR, the Self-Taught Reasoner](https://huggingface.co/papers/2203.14465), by star-trl, an extension of\n"
        "[TRL](https://github.com/huggingface/trl): it wrote rationales for problems, those that led to right answers "
        "were kept,\nand the model was fine-tuned on them, repeatedly."
    )
    _origin_of_data = "What was trained on was written by the model itself."

    def __init__(
        self,
        model: "str | PreTrainedModel | PeftModel",
        args: STaRConfig | None = None,
        reward_funcs: RewardFunc | str | list[RewardFunc | str] | None = None,
        samplers: list[Sampler] | None = None,
        few_shot_examples: FewShotExamples | Dataset | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Dataset | IterableDataset | dict[str, Dataset | IterableDataset] | None = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        reward_processing_classes: PreTrainedTokenizerBase | list[PreTrainedTokenizerBase | None] | None = None,
        peft_config: "PeftConfig | None" = None,
        quantization_config: BitsAndBytesConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        tools: list[Callable] | None = None,
        rollout_func: RolloutFunc | None = None,
        environment_factory: EnvironmentFactory | Mapping[str, EnvironmentFactory] | None = None,
    ):
        if isinstance(model, str):
            check_model_path(model)
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = STaRConfig(f"{name.rstrip('/').split('/')[-1] or 'model'}-STaR")
        if train_dataset is None:
            raise ValueError("`train_dataset` is required: it holds the problems.")
        check_kinds(samplers)
        is_stream = isinstance(train_dataset, IterableDataset)
        train_dataset = read_stream(train_dataset, "train_dataset", args)
        eval_dataset = read_streams(eval_dataset, args)
        if environment_factory:  # whose `reset` may give the prompt
            train_dataset = with_prompts(train_dataset)
            if isinstance(eval_dataset, dict):
                eval_dataset = {name: with_prompts(dataset) for name, dataset in eval_dataset.items()}
            elif eval_dataset is not None:
                eval_dataset = with_prompts(eval_dataset)
        if isinstance(train_dataset, Dataset):
            has_hints = "hinted_prompt" in train_dataset.column_names
            samplers = samplers_of_grpo(samplers, tools, environment_factory, rollout_func, args, has_hints)
        environment_rewards = list(dict.fromkeys(name for each in samplers or () for name in each.reward_names))
        if reward_funcs is None and not environment_rewards:
            raise ValueError(
                "No reward source provided. Give `reward_funcs`, which decide which samples are kept, or an "
                "`environment_factory` whose environments have a method `get_reward`."
            )
        if args.load_best_model_at_end and not eval_dataset:
            raise ValueError(
                "`load_best_model_at_end=True` needs an `eval_dataset`: without one no model is measured after its "
                "training. Give an `eval_dataset`, or leave `load_best_model_at_end` out."
            )
        if args.metric_for_best_model not in (None, "accuracy") and not eval_dataset:
            raise ValueError(
                f"`metric_for_best_model={args.metric_for_best_model!r}` is a metric of an evaluation, but there is "
                "no `eval_dataset`. Give one, or leave `metric_for_best_model` out."
            )
        if processing_class is not None and args.eos_token is None:
            check_eos_token(processing_class)
        call = RewardCaller(args.reward_timeout, args.reward_retries)
        scorer = Scorer(
            [] if reward_funcs is None else reward_funcs,
            args.reward_weights,
            args.reward_threshold,
            call,
            reward_processing_classes,
            environment_rewards,
            with_environments=any(each.converses for each in samplers or ()),
        )
        check_problems(train_dataset, "train_dataset", ["prompt", *args.teacher_columns])
        check_wrong_hints(train_dataset, args)
        samplers, without_hints = check_samplers(samplers, args, "hinted_prompt" in train_dataset.column_names)
        check_columns(samplers, train_dataset.column_names)
        check_dataset(train_dataset, "train_dataset", samplers, scorer)
        for name, dataset in named_datasets(eval_dataset).items():
            check_dataset(dataset, name, samplers[:1], scorer, args.eval_group_column)
        signs = list(args.ignored_settings)
        if without_hints:
            signs += signs_of_missing_hints(train_dataset)
        signs += signs_in_problems(train_dataset, "train_dataset", samplers, scorer)
        for name, dataset in named_datasets(eval_dataset).items():
            signs += signs_in_problems(dataset, name, [GreedySampler(samplers[0])], scorer)
            signs += signs_of_overlap(train_dataset, dataset, name, samplers)
        for sign in signs:
            logger.warning(sign)
        if eval_dataset:
            # Callbacks such as EarlyStoppingCallback check this. The model is evaluated in every outer iteration.
            args.eval_strategy = "epoch"

        if not isinstance(model, str):
            forget_training(model)
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
        keep_stored_layout(self.model)
        connect(self.accelerator)
        check_sharding(self.accelerator, args)
        if args.weighted and has_prompt_learning(self.model):
            raise ValueError(
                f"`sample_weighting={args.sample_weighting!r}`, `loss_normalization={args.loss_normalization!r}` and "
                f"`distillation={args.distillation!r}` weigh the tokens of a sequence, but the adapter puts learned "
                "vectors in front of it, which have no weight. Leave them at 'uniform', 'tokens' and None, or use "
                "another adapter, such as LoRA."
            )
        scorer.to(self.accelerator.device)
        outlive_trackers(self.callback_handler.callbacks, args.report_to)
        # The default flow logs, evaluates and saves by inner steps. The inner run gets an instance of its own.
        self.remove_callback(DefaultFlowCallback)
        show_progress(self)

        check_eos_token(self.processing_class)
        tokenizer = self.processing_class
        if isinstance(tokenizer, ProcessorMixin):
            tokenizer = tokenizer.tokenizer
        template_kwargs = as_dict(args.chat_template_kwargs)
        if any(sampler.converses for sampler in samplers):
            template = prepare_conversations(self.processing_class, train_dataset)
            template_kwargs = {**({} if template is None else {"chat_template": template}), **template_kwargs}
        connect_rollout_func(samplers, self)
        builder = PromptBuilder(tokenizer, few_shot_examples, template_kwargs)
        config = self.model.config
        for name, dataset in named_datasets(eval_dataset).items():
            check_prompts(dataset, name, samplers[:1], builder, args, config)
        self.task = Task(
            problems=train_dataset,
            evaluation_sets=evaluation_sets(eval_dataset),
            samplers=samplers,
            scorer=scorer,
            prompt_builder=builder,
            candidates=check_prompts(train_dataset, "train_dataset", samplers, builder, args, config, is_trained=True),
            is_stream=is_stream,
        )
        self.policy = Policy(self, make_engine(args, tokenizer, self.accelerator))
        self.termination = Termination()
        follow = partial(follow_sampling, self, self._after_samples)
        self.rollouts = Rollouts(self.task, args, self.policy, lambda: self.state, follow)
        self.evaluations = Rollouts(self.task, args, self.policy, lambda: self.state, follow, evaluation=True)
        make_ledger = partial(
            Ledger,
            str(args.output_dir),
            self.accelerator.process_index,
            self.accelerator.num_processes,
            samplers=[sampler.name for sampler in samplers],
            num_problems=len(train_dataset),
            vocab_size=config.get_text_config().vocab_size,
        )
        self.ledger = make_ledger()
        self.probes = Probes(self.task, args, self.rollouts, make_ledger)
        self.curriculum = Curriculum(
            args,
            self.task.candidates,
            self.ledger,
            samplers[0].num_generations or args.num_generations,
            len(train_dataset) if is_stream else None,
        )
        self._hints_are_forgotten = without_hints and hints_are_forgotten(train_dataset, few_shot_examples)
        self._original_weights: OriginalWeights | None = None
        self.model_cards = ModelCards()
        observers: list[Observer] = [
            self.model_cards,
            *([HubPushes()] if args.push_to_hub else []),
            IterationTable([sampler.name for sampler in samplers]),
            *([LiveReport()] if args.html_report else []),
        ]
        self.outer_run = OuterRun(self, self.task, self.ledger, self.policy, self.keep_original_weights, observers)

    @property
    def engine(self) -> Engine:
        return self.policy.engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self.policy.engine = engine

    @property
    def iteration(self) -> int:
        return self.outer_run.iteration

    @property
    def _logs(self) -> dict[str, Any]:
        # The completions table of `GRPOTrainer`, which callbacks of its users read under this name.
        return completions_table(self.ledger, self.task)

    def train(self, resume_from_checkpoint: bool | str | None = None) -> TrainOutput:  # type: ignore[override]
        """
        Runs the outer loop (Algorithm 1 of the STaR paper).

        Args:
            resume_from_checkpoint (`bool` or `str`, *optional*):
                `True`, or the run's `output_dir`, to continue the run where it stopped. Complete iterations, recorded
                samples and steps before the last checkpoint are not repeated.

        Returns:
            [`~transformers.trainer_utils.TrainOutput`]: Sum of the inner steps, last training loss, last metrics.

        Raises:
            `FileExistsError`: If `output_dir` holds a run already and neither resuming nor overwriting is requested.
            [`~star_trl.task.data_mistakes.HintsForgotten`]: If the few-shot examples have a `hinted_prompt`, but the
                problems have none.
            [`~star_trl.ledger.selection.NothingSurvives`]: If no sample of the first iteration is kept.
            [`~star_trl.run.run_lock.RunInUse`]: If another run is in progress in `output_dir`.
            `SystemExit`: With exit code 75 after SIGTERM, once the finished work is saved.
        """
        if self._hints_are_forgotten:  # an evaluation needs no hints
            raise HintsForgotten(self.task.problems)
        run = self.outer_run
        # An engine of DeepSpeed from an earlier call is torn down in this one, and must be collected then.
        collection = nullcontext() if self.is_deepspeed_enabled else old_objects_uncollected()
        with self.termination, undisturbed(self), run.owning_directory(), collection:
            first = run.begin(resume_from_checkpoint)
            if resume_from_checkpoint and self.is_world_process_zero():
                place_in_run = run.where_it_goes_on(first, len(self.candidates(first)))
                show_line(self, f"Resuming the run in {self.args.output_dir}: {place_in_run}.")
            for iteration in range(first, self.args.num_iterations + 1):
                run.begin_iteration(iteration)
                if iteration > self.iteration:  # a resumed run may have this iteration's model already
                    self.sample(iteration)
                    if selected := self.select(iteration):
                        self.fine_tune(selected, iteration)
                    del selected  # or they would stay in memory during the next sampling
                with run.recording_evaluations():
                    metrics = self.evaluate() if self.task.evaluation_sets else {}
                run.end_iteration(metrics)
                if self.control.should_training_stop:
                    break
            return run.end()

    def sample(self, iteration: int) -> list[Sample]:
        """
        Lets every sampler propose, scores the completions and records them in the ledger.

        Args:
            iteration (`int`):
                Outer iteration, counted from 1. Samples that the ledger already holds are not generated again.

        Returns:
            `list[Sample]`: All samples of the iteration, from all processes.
        """
        self.outer_run.times.start("sample")
        self.ledger.forget_sizes()
        if self.args.problem_order == "adaptive":
            self.outer_run.check_earlier_samples(iteration)
        self.rollouts.prompt_tokens = 0
        samplers = self.task.samplers
        if self.args.probes:
            samplers, metrics = self.probes.samplers(iteration)
            self.outer_run.record(metrics)
        sampled: list[int] = []
        samples: list[Sample] = []
        for number, candidates in enumerate(self.curriculum.rounds(iteration)):
            sampled += candidates
            stream = (iteration, number) if number else (iteration,)
            earlier: set[str] = set()
            for sampler in samplers:
                state = LoopState(
                    iteration=iteration,
                    problems=self.task.problems,
                    candidates=candidates,
                    # By earlier samplers only: a resumed run, or a process that is ahead, has samples of this one.
                    solved={sample.problem_id for sample in samples if sample.kept and sample.sampler in earlier},
                    rng=random.Random(seed_of(self.args.seed, *stream, sampler.name)),
                    ledger=self.ledger,
                )
                with exit_is_an_error(f"The sampler `{sampler.name}`"):
                    problems = sampler.select(state)
                self.ledger.keys(iteration)  # frees the samples of another iteration, which `select` may have read
                prompts = self.rollouts.prompts(sampler, self.task.problems, problems, iteration)
                for _ in self.rollouts.sample(sampler, prompts, iteration, self.ledger):
                    pass  # recorded in the ledger, with those from before an interruption
                samples = self.ledger.read(iteration)
                earlier.add(sampler.name)
        self._record_samples(samples, sampled, iteration, self.outer_run.times.stop("sample"))
        return samples

    def select(self, iteration: int) -> list[Sample]:
        """
        Chooses the samples to train on: D_n and D_n^rat of the paper, from the last `sample_iterations` iterations.

        Args:
            iteration (`int`):
                Outer iteration, counted from 1.

        Returns:
            `list[Sample]`: The selected samples, those of the latest iteration first. If none survives, a warning is
            logged and the run ends with the model of the previous iteration.

        Raises:
            [`~star_trl.ledger.selection.NothingSurvives`]: If no sample of the first iteration is kept.
            `ValueError`: If samples of an earlier iteration are lost.
            `RuntimeError`: If samples of this iteration are lost.
        """
        self.outer_run.check_earlier_samples(iteration)
        samples = self.ledger.read_latest(iteration, self.args.sample_iterations)
        self.ledger.check_sizes(iteration)
        selected, dropped = self.choose(samples, iteration)
        num_selected = len({(sample.iteration, sample.key) for sample in selected})
        self.outer_run.record(selection_metrics(num_selected, dropped))
        if not selected:
            message = self.why_nothing_is_chosen(samples, dropped, iteration)
            if iteration == 1:
                raise NothingSurvives(
                    f"{message} There is nothing to train on. Every sample is in "
                    f"`load_ledger({self.args.output_dir!r})`."
                )
            logger.warning(f"{message} The run ends with the model of iteration {self.iteration}.")
            self.control.should_training_stop = True
        return selected

    # The seam of the inner loop: a trainer that learns in another way from the samples overrides these.

    @property
    def loss_settings(self) -> dict[str, Any]:
        """The settings of the loss by their names in the model card."""
        return {
            "weights of the samples": self.args.sample_weighting,
            "divergence from the model with the hint, as the loss": self.args.distillation,
            "the model with the hint": f"the {self.args.teacher_model} one" if self.args.has_teacher else None,
            "what the loss is divided by": self.args.loss_normalization,
        }

    def choose(self, samples: Sequence[Sample], iteration: int) -> tuple[list[Sample], Counter[str]]:
        """
        Chooses the samples to train on.

        Args:
            samples (`list[Sample]`):
                All samples of the last `sample_iterations` iterations, kept or not.
            iteration (`int`):
                Outer iteration, counted from 1.

        Returns:
            `tuple[list[Sample], Counter[str]]`: The chosen samples, and the number of the others by reason.
        """
        threshold = self.probes.best(iteration).threshold if self.args.adaptive_thresholds else None
        return choose_samples(samples, self.args, threshold)

    def why_nothing_is_chosen(self, samples: Sequence[Sample], dropped: Counter[str], iteration: int) -> str:
        """Explains why [`~STaRTrainer.choose`] returned no sample, and what to do."""
        return why_nothing_survives(samples, dropped, iteration, self.task, self.args)

    def make_training_set(self, selected: Sequence[Sample], iteration: int, args: STaRConfig) -> Dataset:
        """
        Makes the rows of the inner loop. The model is still the one that sampled.

        Args:
            selected (`list[Sample]`):
                The samples from [`~STaRTrainer.choose`].
            iteration (`int`):
                Outer iteration, counted from 1.
            args ([`STaRConfig`]):
                Arguments of the inner loop, with its seed.

        Returns:
            [`~datasets.Dataset`]: The rows, prepared for the trainer of [`~STaRTrainer.inner_trainer`]. They are whole
            when they are read. The table behind them holds what several prompts begin with once, and the column
            `beginning` (`hinted_beginning` for a teacher's rows) says which row has which.
        """
        original_weights = self.keep_original_weights()
        samples = self.ledger.read_latest(iteration, self.args.sample_iterations)
        weights, metrics = training_weights(
            self.task, self.args, self.policy, selected, samples, iteration, original_weights
        )
        self.outer_run.record(metrics)
        references = token_references(self.task, self.args, self.policy, original_weights, selected)
        sequences = training_sequences(selected, self.task, self.args, weights, references)
        takes_trees = args.shared_prefix_train and self._takes_trees(sequences[0]["input_ids"])
        return self.prepare_sequences(sequences, args, takes_trees)

    def inner_trainer(self, train_dataset: Dataset, args: STaRConfig) -> InnerTrainer:
        """
        Returns the trainer that runs the inner loop: this one, which is an [`~trl.SFTTrainer`]. Another one must train
        the same model object, and have its arguments and its dataset already.

        Args:
            train_dataset ([`~datasets.Dataset`]):
                The rows from [`~STaRTrainer.make_training_set`].
            args ([`STaRConfig`]):
                Arguments of the inner loop.
        """
        return self

    def fine_tune(self, selected: Sequence[Sample], iteration: int) -> TrainOutput:
        """
        Fine-tunes the original model, or with `reset_model=False` the current one, on the selected samples. The
        optimizer and its schedule start over.

        Args:
            selected (`list[Sample]`):
                Samples to train on.
            iteration (`int`):
                Outer iteration, counted from 1.

        Returns:
            [`~transformers.trainer_utils.TrainOutput`]: Output of the inner loop.

        Raises:
            `ValueError`: If a training sequence is longer than `max_length`.
        """
        self.outer_run.times.start("fine_tune")
        original_weights = self.keep_original_weights()
        checkpoints = self.outer_run.resume_checkpoints(selected, iteration)
        args = inner_arguments(self.args, iteration, checkpoints)
        prepared = self.make_training_set(selected, iteration, args)
        length = Length(args, len(selected), len(prepared), self.accelerator.num_processes)
        show_fine_tuning(self, iteration, length)
        for sign in signs_of_repetition(length.epochs, iteration, str(length)):
            logger.warning(sign)
        if self.args.reset_model:
            original_weights.restore(self.model)
        inner = self.inner_trainer(prepared, args)
        inner.free_optimizer()
        if self.is_deepspeed_enabled:
            # A new training run tears down the previous DeepSpeed engine, so that engine must not be wrapped again.
            self.model_wrapped = self.model
        set_seed(args.seed)
        checkpoint = checkpoints.last() if checkpoints is not None else None
        if checkpoint is not None:
            show_line(self, f"The fine-tuning continues after step {checkpoint.rpartition('-')[2]}.")
        if args.distillation is not None and args.teacher_model == "original":
            self.teacher_weights = original_weights.on_device(self.accelerator.device)
        with inner_run(self, prepared, args, checkpoints, self.termination, inner) as run:
            train = super().train if inner is self else inner.train
            output = train(resume_from_checkpoint=checkpoint)
        self.teacher_weights = None
        if run.interrupted:
            self.termination.exit_if_requested(together=True)
        inner.free_optimizer()
        self.outer_run.iteration = iteration
        seconds = self.outer_run.times.stop("fine_tune")
        flops = output.metrics["total_flos"]
        self.outer_run.record(
            {"train_loss": output.training_loss, "seconds/fine_tune": seconds, "flops/fine_tune": flops}
        )
        self.outer_run.save_model()
        return output

    def evaluate(
        self,
        eval_dataset: Dataset | IterableDataset | dict[str, Dataset | IterableDataset] | str | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """
        Evaluates the model. The first sampler generates one completion per problem greedily, and each is scored
        against the true answer. Problems that are among their own few-shot examples are left out, as in training.

        The prompts are those of the iteration that trained the model. They have the few-shot examples up to iteration
        `few_shot_iterations`. The same model writes the samples of the next iteration, but with that iteration's
        prompts.

        Args:
            eval_dataset ([`~datasets.Dataset`], `dict[str, Dataset]` or `str`, *optional*):
                Problems, several sets of them, or the name of one of the trainer's evaluation sets. All of the
                trainer's by default.
            ignore_keys (`list[str]`, *optional*):
                Not used; kept for the signature of [`~transformers.Trainer`].
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`):
                Prefix of the metrics. With several sets, the name of the set follows it.

        Returns:
            `dict[str, float]`: `eval_accuracy` (share that passes the filter), `eval_accuracy/<value>` for each value
            of `eval_group_column`, `eval_reward`, `eval_reward_std`, `eval_rewards/<name>/mean` and
            `eval_rewards/<name>/std` (as in [`~trl.GRPOTrainer`]), `eval_completion_length` (mean, in tokens),
            `eval_clipped_ratio`, `eval_<name>` for each metric that reward functions log with `log_metric` (means),
            and speed metrics.

        Raises:
            `ValueError`: If there is no evaluation set, or it does not fit.
        """
        is_own = eval_dataset is None
        if isinstance(eval_dataset, str):
            name = f"eval_{eval_dataset}"
            if not isinstance(self.eval_dataset, dict) or name not in self.task.evaluation_sets:
                raise ValueError(f"The trainer has no evaluation set named {eval_dataset!r}. Give the dataset itself.")
            sets = {name: self.task.evaluation_sets[name]}
        elif eval_dataset is None:
            sets = self.task.evaluation_sets  # checked when the trainer was made
        else:
            eval_dataset = read_streams(eval_dataset, self.args)
            samplers, builder = self.task.samplers[:1], self.task.prompt_builder
            for name, dataset in named_datasets(eval_dataset).items():
                check_dataset(dataset, name, samplers, self.task.scorer, self.args.eval_group_column)
                check_prompts(dataset, name, samplers, builder, self.args, self.model.config)
            sets = evaluation_sets(eval_dataset)
        if not sets:
            raise ValueError("There is nothing to evaluate on. Give `eval_dataset` here or to the trainer.")
        all_metrics: dict[str, float] = {}
        for name, dataset in sets.items():
            prefix = f"{metric_key_prefix}{name.removeprefix('eval')}"
            # Within a run the samples are recorded, so that an interrupted evaluation can be resumed.
            ledger = self.outer_run.evaluation_ledger(prefix) if is_own else None
            times = PhaseTimes() if ledger is None else self.outer_run.times
            times.start(prefix)
            sampler = GreedySampler(self.task.samplers[0])
            problems = self.task.prompt_builder.without_examples(dataset)
            title = "evaluation" if ledger is None else None
            samples = self.evaluations.collect(sampler, dataset, problems, self.iteration, ledger, title)
            metrics = accuracy_metrics(samples, dataset, self.args.eval_group_column)
            # Metrics that reward functions log come last, and never overwrite the others.
            metrics = {**metrics, **self.evaluations.scoring.pop_metrics(), **metrics}
            # Outside of a run the model may be a trained one.
            if self.outer_run.in_progress and self.iteration == 0:
                for sign in signs_of_chance(samples, dataset, self.args):
                    logger.warning(sign)
            metrics = {f"{prefix}_{name}": value for name, value in metrics.items()}
            # `speed_metrics` of transformers takes the time of day, which may be set back meanwhile.
            seconds = max(times.stop(prefix), 1e-9)
            metrics[f"{prefix}_runtime"] = round(seconds, 4)
            metrics[f"{prefix}_samples_per_second"] = round(len(samples) / seconds, 3)
            self.log(dict(metrics))
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            all_metrics.update(metrics)
        return all_metrics

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Raises `NotImplementedError`: the model is not run on labels, but generates."""
        raise NotImplementedError(
            "`predict` of transformers runs a model on labels, which problems do not have. Use `evaluate(dataset)` "
            "for the accuracy and other metrics, or `sample_problems(dataset)` for the completions with their rewards."
        )

    def sample_problems(
        self, dataset: Dataset, ledger: Ledger | None = None, sampler: Sampler | None = None
    ) -> list[Sample]:
        """
        Samples completions of some problems as in an evaluation: with the first sampler and its tools, greedily, one
        completion each. A `sampler` given here draws with its own settings instead, such as several completions per
        problem at a temperature. Samples are scored against the true answer even where a sampler supplies another.
        Problems that are among their own few-shot examples are left out, as in training.

        Args:
            dataset ([`~datasets.Dataset`]):
                Problems.
            ledger ([`~star_trl.ledger.Ledger`], *optional*):
                Ledger that records the samples. Samples that it already holds are not generated again. By default
                nothing is recorded.
            sampler ([`Sampler`], *optional*):
                Sampler to use in place of the first one with greedy decoding.

        Returns:
            `list[Sample]`: The scored samples from all processes, in the order of the problems: one per problem, or
            the sampler's `num_generations`.

        Raises:
            `ValueError`: If `sampler` would draw several completions greedily or reads a column that the problems
                lack, or if a prompt and its completion do not fit into the model's context.
        """
        if sampler is None:
            sampler = GreedySampler(self.task.samplers[0])
        else:
            check_draws(sampler, self.args)
            check_problems(dataset, "dataset", ["prompt", sampler.prompt_column])
        builder = self.task.prompt_builder
        problems = check_prompts(dataset, "dataset", [sampler], builder, self.args, self.model.config)
        return self.evaluations.collect(sampler, dataset, problems, self.iteration, ledger, "sampling")

    def _after_samples(self) -> None:
        """Called when a group of samples is recorded."""
        self.outer_run.times.tick()
        self.termination.exit_if_requested()

    def candidates(self, iteration: int) -> list[int]:
        """Indices of the problems of an outer iteration, without those that are few-shot examples."""
        return self.curriculum.candidates(iteration)

    def _record_samples(self, samples: list[Sample], candidates: list[int], iteration: int, seconds: float) -> None:
        """Records metrics and tables of an iteration's samples, and logs warnings."""
        task = self.task
        signs = signs_in_samples(samples, task.samplers, task.problems, candidates)
        signs += signs_of_too_few(samples, len(candidates), self.args.num_kept_per_iteration)
        if iteration == 1 and not task.evaluation_sets and not task.samplers[0].supplies_answer:
            first = [sample for sample in samples if sample.sampler == task.samplers[0].name]
            signs += signs_of_chance(first, task.problems, self.args)
        found = doubts(samples, task)
        signs += signs_of_doubt(found, sum(sample.kept for sample in samples))
        for sign in signs:
            logger.warning(sign)
        if self.is_world_process_zero():
            write_doubts(str(self.args.output_dir), iteration, found)
        num_tokens = sum(sample.num_tokens for sample in samples)
        if self.args.probes:
            num_tokens += self.probes.completion_tokens(iteration)
        prompt_tokens = sum(gather_object([self.rollouts.prompt_tokens]))
        # As `Trainer.floating_point_ops`, which counts twice as much for the backward pass as for the forward pass.
        flops = 2 * num_parameters(self.model) * (prompt_tokens + num_tokens)
        self.outer_run.record(
            {
                **({"samples/problems": len(candidates)} if self.args.num_kept_per_iteration else {}),
                **sampling_metrics(samples, [sampler.name for sampler in task.samplers], len(candidates)),
                **reward_metrics([sample for sample in samples if sample.sampler == task.samplers[0].name]),
                **doubt_metrics(found),
                **self.rollouts.scoring.pop_metrics(),
                "seconds/sample": seconds,
                "tokens_per_second": num_tokens / max(seconds, 1e-9),  # a clock has steps
                "flops/sample": flops,
            }
        )
        if self.args.log_completions and self.is_world_process_zero():
            log_samples(task, self.args, samples, iteration, self.state.global_step)

    def _takes_trees(self, token_ids: list[int]) -> bool:
        with self.policy() as model:
            reasons = gather_object([why_no_trees(model, token_ids)])
        # Processes that disagreed would train on rows in different orders.
        reason = next(filter(None, reasons), None)
        if reason is not None and self.task.prompt_builder.has_examples:
            message = "Fine-tuning computes the few-shot examples again for every training sequence"
            logger.warning_once(f"{message}: {reason}.")
        return reason is None

    def keep_original_weights(self) -> OriginalWeights:
        """Returns a copy of the weights that every iteration starts from. The first call makes it."""
        if self._original_weights is None:
            place(self)
            self._original_weights = OriginalWeights(self.model)
        return self._original_weights

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        with writing(output_dir or str(self.args.output_dir)):
            super().save_model(output_dir, _internal_call)
        self.model_cards.write(self.outer_run, output_dir or str(self.args.output_dir))

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ):
        return push_model(self.outer_run, self.model_cards, commit_message, blocking, token, revision, private, kwargs)

    def create_model_card(  # type: ignore[override]  # the signature of TRL's trainers
        self,
        model_name: str | None = None,
        dataset_name: str | None = None,
        tags: str | list[str] | None = None,
    ) -> None:
        names = {"model_name": model_name, "dataset_name": dataset_name, "tags": tags}
        self.model_cards.write(self.outer_run, str(self.args.output_dir), **names)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        # Private in Trainer, which writes the optimizer in it.
        with writing(str(self.args.output_dir)):
            super()._save_checkpoint(*args, **kwargs)
