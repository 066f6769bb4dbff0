# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from statistics import fmean
from typing import Any

from torch import nn
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerBase

from ..text import CompletionLike, completion_text
from .model_reward import ModelReward


_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "mean": fmean,
    "last": itemgetter(-1),
}


class ProcessRewardModel(ModelReward):
    r"""
    Scores the steps of a rationale with a process reward model ([Uesato et al.,
    2022](https://huggingface.co/papers/2211.14275)): a token classification model with two labels, in the format of
    the `PRMTrainer` that TRL had. The prompt (with BOS, if the tokenizer has it) and every step are tokenized
    separately. Each step is followed by the separator, whose last token carries the label: 1 if the step is correct.
    Messages are turned into a prompt by the chat template with the generation prompt.

    The probability of label 1 is the step's score. All scores are recorded in the ledger (`<name>_steps`).

    Args:
        model (`str` or `nn.Module`):
            Model id, path, or a model of Transformers.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Its tokenizer. Loaded from the model's name by default.
        step_separator (`str`, *optional*, defaults to `"\n"`):
            Text between the steps of a completion. It also follows each step in the model's input. Blank steps are
            left out.
        aggregate (`str`, *optional*, defaults to `"min"`):
            How to aggregate the steps' scores: `"min"`, `"product"`, `"mean"` or `"last"`.
        batch_size (`int`, *optional*, defaults to `8`):
            Completions in one forward pass.

    Raises:
        `TypeError`: If the model is not a model of Transformers.
        `ValueError`: If the model does not have two labels or a trained head, if it is sharded, if the tokenizer or
            its padding token is missing, or if the separator or the aggregate does not exist.

    Example:
    ```python
    from star_trl import STaRConfig, STaRTrainer
    from star_trl.rewards import ProcessRewardModel, exact_match_reward

    trainer = STaRTrainer(
        model="Qwen/Qwen3-0.6B-Base",
        args=STaRConfig(output_dir="out", reward_threshold=[1.0, 0.5]),
        reward_funcs=[exact_match_reward, ProcessRewardModel("path/to/prm")],
        train_dataset=problems,
    )
    ```
    """

    auto_class = AutoModelForTokenClassification
    num_labels = 2

    def __init__(
        self,
        model: str | nn.Module,
        processing_class: PreTrainedTokenizerBase | None = None,
        step_separator: str = "\n",
        aggregate: str = "min",
        batch_size: int = 8,
    ):
        if aggregate not in _AGGREGATES:
            raise ValueError(f"`aggregate` must be one of {', '.join(_AGGREGATES)}, got {aggregate!r}.")
        super().__init__(model, processing_class, batch_size)
        self.step_separator = step_separator
        self.aggregate = aggregate
        (self._separator_ids,) = self._encode([step_separator])
        if not self._separator_ids:
            raise ValueError(
                f"`step_separator={step_separator!r}` has no token in the tokenizer of `{self.__name__}`, so that no "
                "step has an end. Give the separator that the model was trained with."
            )

    def __call__(
        self,
        prompts: list[CompletionLike],
        completions: list[CompletionLike],
        log_extra: Callable[[str, list], None] | None = None,
        **kwargs: Any,
    ) -> list[float]:
        """
        Scores completions.

        Args:
            prompts (`list[str]` or `list[list[dict]]`):
                Prompts, as text or as messages.
            completions (`list[str]` or `list[list[dict]]`):
                Their completions, in the same form.
            log_extra (`Callable`, *optional*):
                Given by the trainer.
            **kwargs:
                Other columns, not used.

        Returns:
            `list[float]`: One aggregate per completion, between 0 and 1; 0.0 for a completion without a step.
        """
        rows, ends = [], []
        for prompt, completion in zip(prompts, completions, strict=True):
            ids, ends_of_steps = self._with_bos(self._encode([self._prompt_text(prompt)])[0]), []
            steps = [step for step in completion_text(completion).split(self.step_separator) if step.strip()]
            for step_ids in self._encode(steps) if steps else []:
                ids = ids + step_ids + self._separator_ids
                ends_of_steps.append(len(ids) - 1)
            rows.append(ids)
            ends.append(ends_of_steps)
        scores = [
            logits[ends_of_steps].softmax(-1)[:, 1].tolist()
            for logits, ends_of_steps in zip(self._logits(rows), ends, strict=True)
        ]
        if log_extra is not None:
            log_extra(f"{self.__name__}_steps", scores)
        return [_AGGREGATES[self.aggregate](steps) if steps else 0.0 for steps in scores]
