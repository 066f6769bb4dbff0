# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Iterative RPO and SPIN: the loop of STaR, with pairs and DPOTrainer in place of kept samples and SFTTrainer."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ClassVar

from accelerate.utils import is_peft_model
from datasets import Dataset
from transformers import PreTrainedModel

from ..fine_tuning.inner_trainer import InnerTrainer
from ..fine_tuning.logprobs import PolicyLogprobs
from ..generation.model_state import has_prompt_learning
from ..generation.policy import eos_token_ids
from ..ledger.sample import Sample
from ..rewards.scoring import RewardFunc
from ..samplers import RationaleSampler, Sampler
from ..seeds import seed_of
from ..star_config import STaRConfig
from ..star_trainer import STaRTrainer
from ..user_input import nearest
from .pair_trainer import PairTrainer, of_iteration, pair_arguments
from .pairs import DrawnPairs, draw_pairs, pair_rows, repair, solution_samples, unpair
from .preference_config import IterativeRPOConfig, SPINConfig


class IterativeRPOTrainer(STaRTrainer):
    """
    Trainer of Iterative RPO, introduced in [Iterative Reasoning Preference
    Optimization](https://huggingface.co/papers/2404.19733).

    The model draws several completions of each problem. Right and wrong ones of the same problem become pairs, and
    [`~trl.DPOTrainer`] trains the model on them, with a term that keeps the right ones likely. The model that an
    iteration starts from, which is that of the iteration before, is its reference. Problems without a right or
    without a wrong completion are left out.

    Sampling, the ledger, evaluation, resuming, the report and the model card are those of [`STaRTrainer`].

    Example:

    ```python
    from datasets import Dataset
    from star_trl.preference import IterativeRPOConfig, IterativeRPOTrainer
    from star_trl.rewards import exact_match_reward

    trainer = IterativeRPOTrainer(
        model="Qwen/Qwen3-0.6B-Base",
        args=IterativeRPOConfig(output_dir="out", num_generations=8, stop_strings=["\\n\\n"]),
        reward_funcs=exact_match_reward,
        train_dataset=Dataset.from_list([{"prompt": "Q: 2 + 3?\\nA:", "answer": "5"}, ...]),
    )
    trainer.train()
    ```

    Args:
        model (`str`, [`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Model to train.
        args ([`IterativeRPOConfig`], *optional*):
            Configuration.
        reward_funcs (`RewardFunc`, `str`, `nn.Module` or a list of them):
            Reward functions that decide which completions are right, as in [`STaRTrainer`].
        samplers (`list[Sampler]`, *optional*):
            Proposal distributions. The default is `[RationaleSampler()]`, since both completions of a pair are the
            model's own in the paper. Completions of a sampler with hints are paired under the prompt without the hint.
        kwargs (`dict[str, Any]`):
            Further arguments of [`STaRTrainer`]: `few_shot_examples`, `train_dataset`, `eval_dataset`,
            `processing_class`, `peft_config`, `quantization_config`, `callbacks`, `optimizer_cls_and_kwargs`.

    Raises:
        `TypeError`: If `args` is not an [`IterativeRPOConfig`].
        `ValueError`: If no pair can come about, the solutions do not fit, or the model is trained with FSDP, DeepSpeed
            or an adapter that [`~trl.DPOTrainer`] cannot train.
    """

    args: IterativeRPOConfig

    _tag_names = ["trl", "star-trl", "iterative-rpo"]
    _name = "Iterative RPO"
    _paper = {
        "title": "Iterative Reasoning Preference Optimization",
        "id": "2404.19733",
        "citation": """@inproceedings{pang2024iterative,
    title     = {{Iterative Reasoning Preference Optimization}},
    author    = {Richard Yuanzhe Pang and Weizhe Yuan and Kyunghyun Cho and He He and Sainbayar Sukhbaatar and
                 Jason Weston},
    year      = 2024,
    booktitle = {Advances in Neural Information Processing Systems 37},
}""",
    }
    _method = (
        "[Iterative RPO](https://huggingface.co/papers/2404.19733), by star-trl, an extension of\n"
        "[TRL](https://github.com/huggingface/trl): it wrote several completions of each problem, and learned to "
        "prefer the right ones to\nthe wrong ones of the same problem, repeatedly."
    )
    _config: ClassVar[type[IterativeRPOConfig]] = IterativeRPOConfig
    _self_play = False

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: IterativeRPOConfig | None = None,
        reward_funcs: RewardFunc | str | list[RewardFunc | str] | None = None,
        samplers: list[Sampler] | None = None,
        **kwargs: Any,
    ):
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = self._config(f"{name.rstrip('/').split('/')[-1] or 'model'}-{self._name.replace(' ', '-')}")
        if not isinstance(args, self._config):
            raise TypeError(
                f"`args` is a `{type(args).__name__}`, but `{type(self).__name__}` needs a `{self._config.__name__}`. "
                f"Import it from `star_trl.preference`."
            )
        samplers = [RationaleSampler()] if samplers is None else samplers
        given = any(kwargs.get(name) for name in ("tools", "environment_factory", "rollout_func"))
        if given or any(sampler.makes_prompts for sampler in samplers):
            raise ValueError(
                "The completions of a pair have to follow the same prompt, but tools, environments and rollout "
                "functions make a prompt for every completion. Leave `tools`, `environment_factory` and "
                "`rollout_func` out, or use `STaRTrainer`."
            )
        draws = sum(sampler.num_generations or args.num_generations for sampler in samplers)
        if draws < 2 and args.solution_column is None:
            raise ValueError(
                "A pair needs a right and a wrong completion of a problem, but one is drawn. Set `num_generations` to "
                "2 or more, and a `temperature`, or name a `solution_column`."
            )
        self._dpo_args = pair_arguments(args, args.beta)
        super().__init__(model=model, args=args, reward_funcs=reward_funcs, samplers=samplers, **kwargs)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                f"{self._name} trains on one device or with DDP. The outer and the inner trainer share the model, "
                "which FSDP and DeepSpeed would wrap twice. Leave them out, or train an adapter."
            )
        adapters: dict[str, Any] = self.model.peft_config if is_peft_model(self.model) else {}
        if has_prompt_learning(self.model) or set(adapters) - {"default"}:
            found = {name: type(config).__name__ for name, config in adapters.items()}
            raise ValueError(
                f"{self._name} trains one adapter, named 'default', that changes layers, such as LoRA, but the model "
                f"has {found}. Give `peft_config=LoraConfig(...)`."
            )
        self.solutions: dict[int, Sample] = {}
        if args.solution_column is not None:
            columns = self.task.problems.column_names
            if args.solution_column not in columns:
                raise ValueError(
                    f"`train_dataset` has no column `{args.solution_column}`, which `solution_column` names; its "
                    f"columns are {columns}.{nearest(args.solution_column, columns)}"
                )
            eos = eos_token_ids(self.model.generation_config, self.task.prompt_builder.tokenizer)
            self.solutions = solution_samples(self.task, args, args.solution_column, eos)
        self._pair_trainer: PairTrainer | None = None

    @property
    def _origin_of_data(self) -> str:  # type: ignore[override]
        if self._self_play:
            return "The chosen completions are the dataset's solutions, the rejected ones the model's own."
        written = "What was trained on was written by the model itself"
        return f"{written}, and by the authors of the dataset's solutions." if self.solutions else f"{written}."

    @property
    def loss_settings(self) -> dict[str, Any]:
        args = self.args
        pairs = "all" if args.max_pairs_per_problem is None else f"at most {args.max_pairs_per_problem}"
        return {
            "loss": f"DPO, beta {args.beta:g}" + (f", and {args.rpo_alpha:g} NLL of chosen" if args.rpo_alpha else ""),
            "pairs of a problem": pairs,
        }

    def draw(self, samples: Sequence[Sample], iteration: int) -> DrawnPairs:
        """Draws the pairs of an iteration from samples, kept or not. The same samples give the same pairs."""
        seed = seed_of(self.args.seed, iteration, "pairs")
        return draw_pairs(samples, self.args.max_pairs_per_problem, seed, self.solutions, self._self_play)

    def choose(self, samples: Sequence[Sample], iteration: int) -> tuple[list[Sample], Counter[str]]:
        """Draws pairs, and returns their samples, chosen and rejected in turn."""
        drawn = self.draw(samples, iteration)
        self.outer_run.record(drawn.metrics)
        return unpair(drawn.pairs), drawn.dropped

    def why_nothing_is_chosen(self, samples: Sequence[Sample], dropped: Counter[str], iteration: int) -> str:
        counts = self.draw(samples, iteration).metrics
        found = ", ".join(f"{count:,} {reason}" for reason, count in dropped.most_common()) or "none"
        return (
            f"No problem of iteration {iteration} has a pair: {counts['problems_without_right']:,.0f} have no right "
            f"completion, and {counts['problems_without_wrong']:,.0f} no wrong one. The samples: {found}. Draw more "
            "with `num_generations` and a higher `temperature`, add solutions with `solution_column`, or take other "
            "problems."
        )

    def make_training_set(self, selected: Sequence[Sample], iteration: int, args: STaRConfig) -> Dataset:
        logprobs = PolicyLogprobs(self.task, self.args, self.policy)

        def reference(samples: Sequence[Sample]) -> list[float]:
            # An EOS in place of a stop string counts here, since it is trained on.
            return logprobs([replace(sample, finish_reason="eos") for sample in samples])

        # The reference is the model that the training starts from.
        start = self.keep_original_weights().put_in(self.model) if self.args.reset_model else nullcontext()
        with start:
            return pair_rows(repair(selected), self.task, args, reference)

    def inner_trainer(self, train_dataset: Dataset, args: STaRConfig) -> InnerTrainer:
        dpo_args = of_iteration(self._dpo_args, args)
        if self._pair_trainer is None:
            self._pair_trainer = PairTrainer(
                model=self.model,
                args=dpo_args,
                rpo_alpha=self.args.rpo_alpha,
                train_dataset=train_dataset,
                processing_class=self.processing_class,
            )
            self._pair_trainer.optimizer_cls_and_kwargs = self.optimizer_cls_and_kwargs
        self._pair_trainer.args = dpo_args
        self._pair_trainer.train_dataset = train_dataset
        return self._pair_trainer


class SPINTrainer(IterativeRPOTrainer):
    """
    Trainer of SPIN, introduced in [Self-Play Fine-Tuning Converts Weak Language Models to Strong Language
    Models](https://huggingface.co/papers/2401.01335).

    The model learns to prefer the dataset's own solution of a problem to what it wrote itself in the iteration before.
    No reward decides. Otherwise it is [`IterativeRPOTrainer`].

    Args:
        model (`str`, [`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Model to train.
        args ([`SPINConfig`], *optional*):
            Configuration.
        reward_funcs (`RewardFunc`, `str`, `nn.Module` or a list of them, *optional*):
            Reward functions for the metrics, which an `eval_dataset` needs. They do not decide what is trained on.
        samplers (`list[Sampler]`, *optional*):
            Proposal distributions. The default is `[RationaleSampler()]`.
        kwargs (`dict[str, Any]`):
            Further arguments, as in [`IterativeRPOTrainer`].

    Raises:
        `TypeError`: If `args` is not a [`SPINConfig`].
        `ValueError`: As [`IterativeRPOTrainer`], and if there is an `eval_dataset` without `reward_funcs`.
    """

    args: SPINConfig

    _tag_names = ["trl", "star-trl", "spin"]
    _name = "SPIN"
    _paper = {
        "title": "Self-Play Fine-Tuning Converts Weak Language Models to Strong Language Models",
        "id": "2401.01335",
        "citation": """@inproceedings{chen2024selfplay,
    title     = {{Self-Play Fine-Tuning Converts Weak Language Models to Strong Language Models}},
    author    = {Zixiang Chen and Yihe Deng and Huizhuo Yuan and Kaixuan Ji and Quanquan Gu},
    year      = 2024,
    booktitle = {International Conference on Machine Learning},
}""",
    }
    _method = (
        "[SPIN](https://huggingface.co/papers/2401.01335), by star-trl, an extension of\n"
        "[TRL](https://github.com/huggingface/trl): it wrote completions of problems, and learned to prefer the "
        "dataset's solutions to\nits own completions, repeatedly."
    )
    _config: ClassVar[type[IterativeRPOConfig]] = SPINConfig
    _self_play = True

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: SPINConfig | None = None,
        reward_funcs: RewardFunc | str | list[RewardFunc | str] | None = None,
        samplers: list[Sampler] | None = None,
        **kwargs: Any,
    ):
        if reward_funcs is None and kwargs.get("eval_dataset"):
            raise ValueError(
                "An `eval_dataset` is evaluated with `reward_funcs`, which are None. Give them, or leave the "
                "`eval_dataset` out."
            )
        if (
            reward_funcs is None
            and args is not None
            and (args.num_kept_per_iteration or args.problem_order != "random" or args.probes)
        ):
            raise ValueError(
                "`num_kept_per_iteration`, `problem_order='adaptive'` and `adaptive_temperatures` count right "
                "completions, but without `reward_funcs` none is judged. Give `reward_funcs`, or leave the "
                "settings out."
            )
        super().__init__(model, args, not_judged if reward_funcs is None else reward_funcs, samplers, **kwargs)
        self.task.scorer.warns_of_none = reward_funcs is not None


def not_judged(prompts: list, completions: list, **kwargs: Any) -> list[None]:
    """Reward function that applies to no completion, for SPIN without one."""
    return [None] * len(completions)
