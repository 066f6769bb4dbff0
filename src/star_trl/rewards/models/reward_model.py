# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

from typing import Any

from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from ..text import CompletionLike
from .model_reward import ModelReward


class RewardModel(ModelReward):
    r"""
    Scores completions with a reward model: a sequence classification model with one label, such as
    [`~trl.RewardTrainer`] trains. Its input is the same as in [`~trl.GRPOTrainer`]: the prompt and the completion, or
    its own chat template over both, without few-shot examples and hints.

    A model or a model id among the `reward_funcs` becomes a `RewardModel`. Its scores have their own scale, so a
    `reward_threshold` must be given if nothing else decides.

    Args:
        model (`str` or `nn.Module`):
            Model id, path, or a model of Transformers. Its padding token is set to the tokenizer's.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Its tokenizer. Loaded from the model's name by default.
        batch_size (`int`, *optional*, defaults to `8`):
            Texts in one forward pass.

    Raises:
        `TypeError`: If the model is not a model of Transformers.
        `ValueError`: If the model does not have one label or a trained head, if it is sharded, or if the tokenizer or
            its padding token is missing.

    Example:
    ```python
    from star_trl import STaRConfig, STaRTrainer
    from star_trl.rewards import RewardModel, exact_match_reward

    trainer = STaRTrainer(
        model="Qwen/Qwen3-0.6B",
        args=STaRConfig(output_dir="out", reward_threshold=[1.0, 0.5]),
        reward_funcs=[exact_match_reward, RewardModel("Skywork/Skywork-Reward-V2-Qwen3-0.6B", batch_size=32)],
        train_dataset=problems,
    )
    ```
    """

    auto_class = AutoModelForSequenceClassification
    num_labels = 1

    def __init__(
        self,
        model: str | nn.Module,
        processing_class: PreTrainedTokenizerBase | None = None,
        batch_size: int = 8,
    ):
        super().__init__(model, processing_class, batch_size)
        # The model's score is that of the last token that is not padding. The model finds it by this id.
        self.model.config.get_text_config().pad_token_id = self.processing_class.pad_token_id

    def __call__(self, prompts: list[CompletionLike], completions: list[CompletionLike], **kwargs: Any) -> list[float]:
        """
        Scores completions.

        Args:
            prompts (`list[str]` or `list[list[dict]]`):
                Prompts, as text or as messages.
            completions (`list[str]` or `list[list[dict]]`):
                Their completions, in the same form.
            **kwargs:
                Other columns, not used.

        Returns:
            `list[float]`: One score per completion.
        """
        texts = [self._text(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        return [logits.item() for logits in self._logits(self._encode(texts))]

    def _text(self, prompt: Any, completion: Any) -> str:
        if isinstance(prompt, str):
            return prompt + completion
        text: Any = self.processing_class.apply_chat_template(prompt + completion, tokenize=False)
        return text
