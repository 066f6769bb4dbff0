# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Trains a language model to think before every token of plain text."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from datasets import Dataset, IterableDataset
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTTrainer

from ..fine_tuning.inner_trainer import forget_training
from .quiet_config import QuietSTaRConfig
from .quiet_loss import quiet_star_loss
from .quiet_model import QuietSTaRModel, has_head


class QuietSTaRTrainer(SFTTrainer):
    """
    Trainer of Quiet-STaR (Zelikman et al., 2024, [Quiet-STaR: Language Models Can Teach Themselves to Think Before
    Speaking](https://huggingface.co/papers/2403.09629)).

    A model thinks behind every token of a text, at all of them in parallel. Thoughts that make the text more likely
    become more likely themselves. No answers and no rewards are needed.

    A step takes `num_thought_tokens + num_true_tokens + 2` forward passes over the text. All but the first are over
    `num_thoughts` copies of it. The backward pass needs the activations of all of them, and for each a copy of all
    keys and values so far, so memory grows with the square of their number.

    Args:
        model (`str`, [`~transformers.PreTrainedModel`], [`~peft.PeftModel`] or [`QuietSTaRModel`]):
            The model, its name on the hub, or its folder. A [`QuietSTaRModel`] and a folder that one was saved in keep
            their head.
        args ([`QuietSTaRConfig`], *optional*):
            Configuration.
        train_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Texts, or prompts with completions, as for [`~trl.SFTTrainer`]. With completions, the tokens of the
            completion alone are labels.
        eval_dataset ([`~datasets.Dataset`], [`~datasets.IterableDataset`] or `dict`, *optional*):
            The same to evaluate on. The metrics give the likelihood of the labels with and without thoughts.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Tokenizer. Defaults to that of the model.
        **kwargs:
            `peft_config`, `quantization_config`, `callbacks`, `optimizers`, `data_collator`, `formatting_func` as for
            [`~trl.SFTTrainer`].

    Raises:
        `ValueError`: If the model cannot think in parallel, or the arguments contain what Quiet-STaR cannot do.

    Example:
    ```python
    from datasets import load_dataset
    from star_trl.quiet import QuietSTaRConfig, QuietSTaRTrainer

    trainer = QuietSTaRTrainer(
        model="HuggingFaceTB/SmolLM2-135M",
        args=QuietSTaRConfig(output_dir="quiet", max_length=256),
        train_dataset=load_dataset("open-web-math/open-web-math", split="train[:1000]"),
    )
    trainer.train()
    ```
    """

    _tag_names = ["trl", "star-trl", "quiet-star"]
    _name = "Quiet-STaR"
    _paper = {
        "title": "Quiet-STaR: Language Models Can Teach Themselves to Think Before Speaking",
        "id": "2403.09629",
        "citation": """@misc{zelikman2024quietstar,
    title         = {{Quiet-STaR: Language Models Can Teach Themselves to Think Before Speaking}},
    author        = {Eric Zelikman and Georges Harik and Yijia Shao and Varuna Jayasiri and Nick Haber and
                     Noah D. Goodman},
    year          = 2024,
    eprint        = {2403.09629},
    archivePrefix = {arXiv},
}""",
    }

    args: QuietSTaRConfig
    model: QuietSTaRModel

    def __init__(
        self,
        model: str | PreTrainedModel | QuietSTaRModel,
        args: QuietSTaRConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Dataset | IterableDataset | dict[str, Dataset | IterableDataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        **kwargs: Any,
    ):
        args = QuietSTaRConfig("quiet-star") if args is None else args
        for name in ("compute_loss_func", "compute_metrics", "preprocess_logits_for_metrics"):
            if kwargs.get(name) is not None:
                raise ValueError(f"`{name}` cannot be used with Quiet-STaR, whose loss and metrics are fixed.")
        if isinstance(model, str):
            init_kwargs: dict[str, Any] = {"trust_remote_code": args.trust_remote_code}
            init_kwargs.update(cast(dict[str, Any], args.model_init_kwargs or {}))
            where = {name: init_kwargs[name] for name in ("revision", "token", "subfolder") if name in init_kwargs}
            if has_head(model, **where):
                if kwargs.get("quantization_config") is not None:
                    init_kwargs["quantization_config"] = kwargs.pop("quantization_config")
                processing_class = processing_class or AutoTokenizer.from_pretrained(model, **where)
                model = QuietSTaRModel.from_pretrained(model, **init_kwargs)
                args = copy.copy(args)
                args.model_init_kwargs = None  # the model is loaded
        quiet = model if isinstance(model, QuietSTaRModel) else None
        if quiet is not None:
            _compare(quiet, args)
        if not isinstance(model, str):
            forget_training(model)
        super().__init__(
            model=cast(str | PreTrainedModel, model) if quiet is None else quiet.model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                "Quiet-STaR trains on one device or with DDP. FSDP and DeepSpeed gather a layer's weights when it is "
                "called as a part of the whole model, and thoughts call the decoder alone."
            )
        if self._is_vision_dataset or self.aux_loss_enabled:
            raise ValueError("Quiet-STaR trains on text, and without the auxiliary loss of a router of experts.")
        if quiet is None:
            quiet = QuietSTaRModel.make(
                cast(PreTrainedModel, self.model),
                self._tokenizer,
                num_thought_tokens=args.num_thought_tokens,
                num_true_tokens=args.num_true_tokens,
                start_text=args.start_text,
                end_text=args.end_text,
                embedding_scale=args.embedding_scale,
            )
        longest = quiet.longest_text
        if longest is not None and (args.max_length is None or args.max_length > longest):
            raise ValueError(
                f"`max_length` is {args.max_length}, but the attention or the positions of this model take texts of "
                f"at most {longest} tokens with their thoughts. Set `max_length` to {longest} or less."
            )
        quiet.head.to(self.model.device)
        if self.optimizer is not None:
            given = {id(weight) for group in self.optimizer.param_groups for weight in group["params"]}
            if not all(id(weight) in given for weight in quiet.head.parameters()):
                raise ValueError(
                    "The optimizer in `optimizers` does not have the weights of the head. Make the model with "
                    "`QuietSTaRModel.make` and the optimizer from it, or give `optimizer_cls_and_kwargs`."
                )
            if args.mixing_learning_rate is not None:
                raise ValueError(
                    "`mixing_learning_rate` has no effect on the optimizer in `optimizers`. Give the weights of the "
                    "mixing head a parameter group of their own there, and leave `mixing_learning_rate` out."
                )
        # After `SFTTrainer` has loaded the model and added the adapter
        self.model = self.model_wrapped = quiet

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        given = self.optimizer is not None
        optimizer = super().create_optimizer(model)
        if self.args.mixing_learning_rate is not None and not given:
            mixing = {id(weight) for weight in self.model.head.mixing.parameters()}
            for group in list(optimizer.param_groups):
                own = [weight for weight in group["params"] if id(weight) in mixing]
                group["params"] = [weight for weight in group["params"] if id(weight) not in mixing]
                if own:
                    optimizer.add_param_group({**group, "params": own, "lr": self.args.mixing_learning_rate})
        return optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ):
        training = self.model.training
        output = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs.get("attention_mask"),
            labels=inputs["labels"],
            num_thoughts=self.args.num_thoughts if training else 1,
            temperature=self.args.thought_temperature if training else 0.0,
        )
        loss = quiet_star_loss(
            output,
            output.labeled[..., 0].sum() if num_items_in_batch is None else num_items_in_batch,
            self.args.base_weight,
            self.args.policy_weight,
            self.args.clamp_reward,
        )
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # DDP averages the gradients
        self._record(output, inputs)
        return (loss, output) if return_outputs else loss

    @torch.no_grad()
    def _record(self, output: Any, inputs: dict[str, Any]) -> None:
        mode = "train" if self.model.training else "eval"
        labeled = output.labeled[..., 0]
        with_thoughts = output.nll_with_thoughts[..., 0].mean(dim=1)
        sums = torch.stack(
            [
                output.nll.sum(),
                with_thoughts.sum(),
                (output.nll.neg().exp() * labeled).sum(),
                (with_thoughts.neg().exp() * labeled).sum(),
                (output.rewards().mean(dim=1)).sum(),
                (output.mixing_weights[..., 0].mean(dim=1) * labeled).sum(),
                labeled.sum(),
                inputs["input_ids"].new_tensor(inputs["input_ids"].numel())
                if inputs.get("attention_mask") is None
                else inputs["attention_mask"].sum(),
            ]
        )
        *values, count, tokens = self.accelerator.gather(sums[None]).sum(dim=0).tolist()
        names = ("nll", "nll_with_thoughts", "probability", "probability_with_thoughts", "reward", "mixing_weight")
        for name, value in zip(names, values, strict=True):
            self._metrics[mode][name].append(value / max(count, 1))
        if mode == "train":
            self._total_train_tokens += int(tokens)
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("`predict` has no logits to return. Use `evaluate`, or call the model on the texts.")

    # Files: the language model as usual, and the head beside it

    @contextmanager
    def _language_model_alone(self) -> Iterator[QuietSTaRModel]:
        """`Trainer` saves and loads `self.model`."""
        quiet: QuietSTaRModel = self.model
        self.model = quiet.model  # type: ignore[assignment]
        try:
            yield quiet
        finally:
            self.model = quiet

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = str(output_dir or self.args.output_dir)
        with self._language_model_alone() as quiet:
            super()._save(folder)
        if self.args.should_save:
            quiet.save_head(folder)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # `Trainer` copies the files that it knows to the repository.
        if self.is_world_process_zero():
            self.model.save_head(str(self.args.output_dir))
        super()._push_from_checkpoint(checkpoint_folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with self._language_model_alone() as quiet:
            super()._load_from_checkpoint(resume_from_checkpoint)
        quiet.load_head(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))


def _compare(quiet: QuietSTaRModel, args: QuietSTaRConfig) -> None:
    """Refuses settings that a trained model does not have."""
    for name in ("num_thought_tokens", "num_true_tokens"):
        if getattr(args, name) != getattr(quiet, name):
            raise ValueError(
                f"`{name}` is {getattr(args, name)} in `args`, but {getattr(quiet, name)} in the model. Set the same "
                "number in both."
            )
