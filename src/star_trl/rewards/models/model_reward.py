# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Base class of the reward functions that use a model."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl.trainer.utils import pad


class ModelReward:
    """
    Loads and checks a model and its tokenizer, and runs a classification model on token ids.

    Args:
        model (`str` or `nn.Module`):
            Model id, path, or a model of Transformers.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Its tokenizer. Loaded from the model's name by default.
        batch_size (`int`, *optional*, defaults to `8`):
            Sequences in one forward pass.

    Raises:
        `TypeError`: If the model is not a model of Transformers.
        `ValueError`: If the model's head is of the wrong kind or not trained, if the model is sharded, or if the
        tokenizer or its padding token is missing.
    """

    auto_class: Any  # loads the model
    num_labels: int | None = None  # of the head of a classification model
    model: Any  # a `PreTrainedModel`, or one that is wrapped by `torch.compile` or PEFT

    def __init__(
        self,
        model: str | nn.Module,
        processing_class: PreTrainedTokenizerBase | None = None,
        batch_size: int = 8,
    ):
        self.model = self._load(model) if isinstance(model, str) else model
        if not hasattr(self.model, "config"):
            raise TypeError(
                f"A reward model must be a model id, a path or a model of Transformers, got a {type(model).__name__}. "
                "Call any other model inside a function of (prompts, completions, **columns)."
            )
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        self.batch_size = batch_size
        path = self.model.config._name_or_path
        self.__name__ = path.rstrip("/").split("/")[-1] or type(self.model).__name__  # as in GRPO
        if self.num_labels is not None and self.model.config.num_labels != self.num_labels:
            raise ValueError(
                f"`{self.__name__}` has {self.model.config.num_labels} labels, but a {type(self).__name__} has "
                f"{self.num_labels}. Load it by {self.auto_class.__name__} with `num_labels={self.num_labels}`."
            )
        if any(hasattr(parameter, "ds_id") for parameter in self.model.parameters()):
            raise ValueError(
                f"`{self.__name__}` was loaded under DeepSpeed ZeRO-3, which has sharded it. Load it before the "
                "`STaRConfig` is made."
            )
        if processing_class is None:
            if not path:
                raise ValueError(f"`{self.__name__}` was not loaded from anywhere: give its `processing_class`.")
            processing_class = AutoTokenizer.from_pretrained(path)
        if processing_class.pad_token_id is None:
            raise ValueError(
                f"The tokenizer of `{self.__name__}` has no padding token, which batches need. Set the one that the "
                "model was trained with (`tokenizer.pad_token = tokenizer.eos_token` is common), and give the "
                f"tokenizer: `{type(self).__name__}(model, processing_class=tokenizer)`."
            )
        self.processing_class = processing_class
        self.model.eval()

    def _load(self, name: str) -> nn.Module:
        if self.num_labels is None:
            return self.auto_class.from_pretrained(name)
        model, info = self.auto_class.from_pretrained(
            name, num_labels=self.num_labels, output_loading_info=True, ignore_mismatched_sizes=True
        )
        # Without this check, a base model would be loaded with a random head and a warning.
        if untrained := [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]:
            raise ValueError(
                f"`{name}` is no model with a trained head of {self.num_labels} labels: its checkpoint lacks "
                f"{', '.join(sorted(untrained)[:3])}, or has another size of it."
            )
        return model

    def to(self, device: torch.device | str) -> "ModelReward":
        """Moves the model, unless it was loaded with a `device_map`."""
        if not hasattr(self.model, "hf_device_map"):
            self.model.to(device)
        return self

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self.processing_class(text=texts, add_special_tokens=False)["input_ids"]

    def _with_bos(self, ids: list[int]) -> list[int]:
        bos = self.processing_class.bos_token_id
        return ids if bos is None or ids[:1] == [bos] else [bos, *ids]

    def _prompt_text(self, prompt: Any) -> str:
        """Returns a prompt as text. Messages are turned into it by the chat template with the generation prompt."""
        if isinstance(prompt, str):
            return prompt
        text: Any = self.processing_class.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        return text

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yields the indices of the rows of each forward pass. Rows of similar length meet, to reduce padding."""
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    @torch.no_grad()
    def _logits(self, rows: Sequence[list[int]]) -> list[torch.Tensor]:
        """Returns the model's logits for each row of token ids, in float32 on the host."""
        logits: dict[int, torch.Tensor] = {}
        device = self.model.device
        # Sampling runs under autocast. A score must not depend on the precision that the policy is trained with.
        with torch.autocast(device.type, enabled=False):
            for indices in self._batches([len(row) for row in rows]):
                batch = [torch.tensor(rows[index]) for index in indices]
                input_ids = pad(batch, padding_value=self.processing_class.pad_token_id)
                attention_mask = pad([torch.ones_like(row) for row in batch])
                output = self.model(input_ids=input_ids.to(device), attention_mask=attention_mask.to(device))
                logits.update(zip(indices, output.logits.float().cpu(), strict=True))
        return [logits[index] for index in range(len(rows))]
