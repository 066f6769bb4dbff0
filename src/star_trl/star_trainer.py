# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import json
import os
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
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
    TrainerState,
    set_seed,
)
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import SaveStrategy, TrainOutput, speed_metrics
from trl import SFTTrainer
from trl.models import unwrap_model_for_generation

from .evaluation import GroupedAccuracy
from .generation import GenerateEngine, SamplingParams
from .generator import Generator, seed_of
from .inner_run import inner_run
from .iteration_metrics import sampling_metrics, selection_metrics
from .ledger import Ledger, Sample
from .problems import check_problems
from .progress import STaRProgressCallback, generation_bar, print_iterations
from .prompting import FewShotExamples, PromptBuilder, as_completion
from .rewards.scoring import RewardFunc, Scorer
from .run_state import RunState, clear_run, write_json
from .samplers import Completion, LoopState, Prompt, RationaleSampler, RationalizationSampler, Sampler
from .selection import select_samples
from .star_config import STaRConfig
from .weights import OriginalWeights


if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel


logger = get_logger(__name__)

# Completions are scored and recorded in groups of this size: large enough for reward functions that work on batches,
# small enough that a crash loses little.
SCORING_BATCH_SIZE = 64


class STaRTrainer(SFTTrainer):
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
        reward_funcs (`RewardFunc` or `list[RewardFunc]`):
            Reward functions that decide what is kept, in the calling convention of [`~trl.GRPOTrainer`]:
            `reward_func(prompts, completions, completion_ids, **columns)` returns one `float` or `None` ("does not
            apply") per completion. `columns` are the dataset's other columns (`solution` defaults to `answer`),
            `trainer_state`, `log_extra` and `log_metric`. Coroutine functions are awaited together.
        samplers (`list[Sampler]`, *optional*):
            Proposal distributions, run in this order; each sees what the earlier ones solved. The default is
            `[RationaleSampler(), RationalizationSampler()]`, without the second where the problems have no
            `hinted_prompt`.
        few_shot_examples (`list[dict]`, [`~datasets.Dataset`] or `Callable[[dict], list[dict]]`, *optional*):
            Examples with `prompt`, `completion` and, for rationalization, `hinted_prompt`; or a function that
            chooses them for a problem. Problems that are among their own examples are left out of sampling.
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
        reward_funcs: RewardFunc | list[RewardFunc] | None = None,
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
        self.scorer = Scorer(reward_funcs, args.reward_weights, args.reward_threshold)
        self.samplers = self._check_samplers(samplers, args, train_dataset)
        eval_datasets = eval_dataset if isinstance(eval_dataset, dict) else {None: eval_dataset}
        self._check_datasets(train_dataset, eval_datasets, args)
        if eval_dataset is not None:
            args.eval_strategy = "epoch"  # what callbacks read: there is an evaluation after every outer iteration

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
        # The default flow makes logs, evaluations and checkpoints from inner steps; the inner run has its own.
        self.remove_callback(DefaultFlowCallback)
        if not args.disable_tqdm:
            self.remove_callback(DEFAULT_PROGRESS_CALLBACK)
            self.add_callback(STaRProgressCallback)

        self.problems = train_dataset
        self.iteration = 0
        self.tokenizer = getattr(self.processing_class, "tokenizer", self.processing_class)
        self.prompt_builder = PromptBuilder(self.tokenizer, few_shot_examples, args.chat_template_kwargs)
        self.engine = GenerateEngine(self.tokenizer, args.generation_batch_size)
        self.ledger = Ledger(args.output_dir, self.accelerator.process_index, self.accelerator.num_processes)
        self._original_weights: OriginalWeights | None = None
        self._run: RunState | None = None
        self._iteration_metrics: dict[str, Any] = {}
        self._reward_metrics: dict[str, list[float]] = defaultdict(list)
        self._check_prompts(self.problems, [sampler.prompt_column for sampler in self.samplers])
        for dataset in eval_datasets.values():
            if dataset is not None:
                self._check_prompts(dataset, [self.samplers[0].prompt_column])

    # The loop

    def train(self, resume_from_checkpoint: bool | str | None = None) -> TrainOutput:  # type: ignore[override]
        """
        Runs the outer loop (Algorithm 1 of the STaR paper).

        Args:
            resume_from_checkpoint (`bool` or `str`, *optional*):
                `True`, or the path of the run, to go on where the run in `output_dir` stopped: complete iterations
                are not repeated, and neither are recorded samples.

        Returns:
            [`~transformers.trainer_utils.TrainOutput`]: Sum of the inner steps, last training loss, last metrics.

        Raises:
            `FileExistsError`: If `output_dir` holds a run already and neither resuming nor overwriting is asked for.
            `RuntimeError`: If no sample of the first iteration survives, so that there is nothing to train on.
        """
        run = self._begin_run(resume_from_checkpoint)
        if run.iteration is None:
            self._begin_iteration(0)
            self._end_iteration(self.evaluate() if self.eval_dataset is not None else {})
        for iteration in range(run.iteration + 1, self.args.num_iterations + 1):
            if self.control.should_training_stop:
                break
            self._begin_iteration(iteration)
            self.sample(iteration)
            selected = self.select(iteration)
            if selected:
                self.fine_tune(selected, iteration)
            self._end_iteration(self.evaluate() if self.eval_dataset is not None else {})
        return self._end_run()

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
        self.ledger.drop_torn_line(iteration)
        recorded = {sample.key for sample in self.ledger.read(iteration)}
        samples: list[Sample] = []
        num_new_tokens = 0
        candidates = self._candidates(iteration)
        solved: set[int] = set()
        with self._generation_model() as model:
            for sampler in self.samplers:
                state = LoopState(
                    iteration=iteration,
                    problems=self.problems,
                    candidates=candidates,
                    solved=solved,
                    rng=random.Random(seed_of(self.args.seed, iteration, sampler.name)),
                    ledger=self.ledger,
                )
                prompts = [
                    prompt
                    for prompt in self._prompts(sampler, sampler.select(state), self.problems, iteration)
                    if (sampler.name, prompt.problem, prompt.sample_index) not in recorded
                ]
                generate = Generator(self.engine, model, self.tokenizer, self._sampling_params(sampler))
                new = self._scored(sampler.sample(prompts, generate), sampler.name, iteration, self.ledger.append)
                for sample in self._bar(new, len(prompts), f"iteration {iteration}, {sampler.name}"):
                    num_new_tokens += len(sample.completion_ids)
                self.accelerator.wait_for_everyone()
                samples = self.ledger.read(iteration)
                solved = {sample.problem_id for sample in samples if sample.kept}
        seconds = time.time() - start_time
        self._record(
            {
                **sampling_metrics(samples, [sampler.name for sampler in self.samplers], len(candidates)),
                **{name: sum(values) / len(values) for name, values in self._reward_metrics.items()},
                "seconds/sample": seconds,
                "tokens_per_second": sum(gather_object([num_new_tokens])) / seconds,
            }
        )
        self._reward_metrics.clear()
        return samples

    def select(self, iteration: int) -> list[Sample]:
        """
        Chooses the samples to train on: D_n and D_n^rat of the paper, from the last `sample_iterations` iterations.

        Args:
            iteration (`int`):
                Outer iteration, counted from 1.

        Returns:
            `list[Sample]`: The samples, the latest iteration's first.

        Raises:
            `RuntimeError`: If nothing survives and no earlier iteration has been trained.
        """
        oldest = max(1, iteration - self.args.sample_iterations + 1)
        samples = [sample for number in range(iteration, oldest - 1, -1) for sample in self.ledger.read(number)]
        selected, dropped = select_samples(samples, self.args.max_samples_per_problem)
        self._record(selection_metrics(len(selected), dropped))
        if not selected:
            found = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "no sample at all"
            example = f" The first one ends: {samples[0].completion[-200:]!r}." if samples else ""
            message = f"No sample of iteration {iteration} survives the filter: {found}.{example}"
            if iteration == 1:
                raise RuntimeError(
                    f"{message} There is nothing to train on. Look at the samples with "
                    f"`load_ledger({str(self.args.output_dir)!r})`: does the prompt ask for the form that the reward "
                    "functions expect, do the few-shot examples show it, and is `max_completion_length` long enough?"
                )
            logger.warning(f"{message} The model stays the one of iteration {self.iteration}, and the run ends here.")
            self.control.should_training_stop = True
        return selected

    def fine_tune(self, selected: Sequence[Sample], iteration: int) -> TrainOutput:
        """
        Fine-tunes on the selected samples: the original model, or with `reset_model=False` the current one.
        Optimizer and learning rate schedule start over.

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
        if self.args.reset_model:
            self._weights().restore(self.model)
        self.optimizer = self.lr_scheduler = None
        set_seed(self.args.seed)
        train_dataset = self._prepare_dataset(
            self.training_sequences(selected), self.processing_class, self.args, self.args.packing, None, "train"
        )
        with inner_run(self, train_dataset, self.args.inner_steps(iteration)):
            output = super().train()
        self.iteration = iteration
        self._record({"train_loss": output.training_loss, "seconds/fine_tune": time.time() - start_time})
        return output

    @torch.no_grad()
    def evaluate(
        self,
        eval_dataset: Dataset | dict[str, Dataset] | str | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """
        Generates greedily, one completion per problem, with the first sampler's prompt, and scores them like samples.

        Args:
            eval_dataset ([`~datasets.Dataset`], `dict[str, Dataset]` or `str`, *optional*):
                Problems, several sets of them, or the name of one. The trainer's own by default.
            ignore_keys (`list[str]`, *optional*):
                Not used; kept for the signature of [`~transformers.Trainer`].
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`):
                Prefix of the metrics.

        Returns:
            `dict[str, float]`: `eval_accuracy` (share that passes the filter), `eval_accuracy/<value>` for the values
            of `eval_group_column`, `eval_rewards/<name>` (mean), `eval_completion_length` (mean, in tokens),
            `eval_clipped_ratio` and the usual speed metrics. A set of several puts its name after the prefix.
        """
        if eval_dataset is None:
            eval_dataset = self.eval_dataset
        if isinstance(eval_dataset, str):
            metric_key_prefix = f"{metric_key_prefix}_{eval_dataset}"
            eval_dataset = self.eval_dataset[eval_dataset]
        if isinstance(eval_dataset, dict):
            return {
                key: value
                for name, dataset in eval_dataset.items()
                for key, value in self.evaluate(dataset, ignore_keys, f"{metric_key_prefix}_{name}").items()
            }
        if eval_dataset is not self.eval_dataset:
            self._check_datasets(None, {None: eval_dataset}, self.args)
            self._check_prompts(eval_dataset, [self.samplers[0].prompt_column])

        start_time = time.time()
        sampler = self.samplers[0]
        prompts = self._prompts(sampler, range(len(eval_dataset)), eval_dataset, max(self.iteration, 1), 1)
        with self._generation_model() as model:
            generate = Generator(self.engine, model, self.tokenizer, self._sampling_params(sampler, greedy=True))
            scored = self._scored(generate(prompts), sampler.name, self.iteration)
            samples = list(self._bar(scored, len(prompts), f"evaluation after iteration {self.iteration}"))
        samples = sorted(gather_object(samples), key=lambda sample: sample.key)
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in self._accuracy(samples, eval_dataset).items()}
        metrics.update(speed_metrics(metric_key_prefix, start_time, num_samples=len(samples)))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def training_sequences(self, selected: Sequence[Sample]) -> Dataset:
        """
        Token ids and labels of the samples: the sampled ids behind the hint-free prompt, or behind the hinted one
        where the sampler left the hint in. The loss is on what the model wrote.

        Args:
            selected (`list[Sample]`):
                Samples to train on.

        Returns:
            [`~datasets.Dataset`]: `input_ids` and `labels`, one row per sample, neither padded nor packed.

        Raises:
            `ValueError`: If a sequence is longer than `max_length`.
        """
        problems = self.problems.select([sample.problem_id for sample in selected]).to_list()
        input_ids: list[list[int]] = [[] for _ in selected]
        for hint_shown, column in ((False, "prompt"), (True, "hinted_prompt")):
            rows = [row for row, sample in enumerate(selected) if sample.hint_shown == hint_shown]
            prompts = self.prompt_builder.encode([problems[row] for row in rows], column, self.args.few_shot_train)
            for row, prompt_ids in zip(rows, prompts, strict=True):
                input_ids[row] = prompt_ids
        labels = []
        for row, sample in enumerate(selected):
            completion_labels = [
                token if trained else -100
                for token, trained in zip(sample.completion_ids, sample.loss_mask, strict=True)
            ]
            labels.append([-100] * len(input_ids[row]) + completion_labels)
            input_ids[row] = input_ids[row] + sample.completion_ids
        longest = max(map(len, input_ids))
        if self.args.max_length is not None and longest > self.args.max_length:
            raise ValueError(
                f"A training sequence has {longest} tokens, more than `max_length={self.args.max_length}`, and would be "
                f"cut. Set `max_length={longest}` or more (or None without packing)."
            )
        return Dataset.from_dict({"input_ids": input_ids, "labels": labels})
