# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Prepares tokenizers and datasets for conversations with tools."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from ..tools.environments import NO_PROMPT


def with_prompts(dataset: Any) -> Any:
    """Returns a dataset with an empty user message as the prompt of each row, unless it has prompts."""
    if not isinstance(dataset, Dataset) or "prompt" in dataset.column_names:
        return dataset
    return dataset.add_column("prompt", [NO_PROMPT] * len(dataset))


def prepare_conversations(processing_class: PreTrainedTokenizerBase | ProcessorMixin, problems: Dataset) -> str | None:
    """
    Makes a tokenizer parse calls of tools, as [`~trl.GRPOTrainer`] does.

    Args:
        processing_class ([`~transformers.PreTrainedTokenizerBase`]):
            The tokenizer. It gets the response template that belongs to its chat template, unless it has one.
        problems ([`~datasets.Dataset`]):
            The problems.

    Returns:
        `str` or `None`: TRL's chat template for training, where the tokenizer's own writes a turn in another way when
        a result follows it.

    Raises:
        `ValueError`: If the prompts are text, or if the chat template is unknown or cannot show calls and results.
    """
    import trl
    from trl.chat_template_utils import (  # takes seconds
        add_response_schema,
        get_training_chat_template,
        is_chat_template_prefix_preserving,
        supports_tool_calling,
    )

    if isinstance(problems[0]["prompt"], str):
        raise ValueError(
            "Tools and environments need prompts that are lists of messages, but the `prompt` of row 0 is text. Make "
            "it `[{'role': 'user', 'content': ...}]`."
        )
    own: Any = processing_class
    tokenizer: Any = processing_class.tokenizer if isinstance(processing_class, ProcessorMixin) else processing_class
    if not supports_tool_calling(processing_class):
        raise ValueError(
            "The chat template does not support tool calling: it must show the calls of an assistant's turn and turns "
            "of the role `tool`. Use a model that was made for tools, such as 'Qwen/Qwen3-0.6B', or set "
            "`chat_template_path` to a template with the model's own tokens, such as 'qwen3_instruct_2507.jinja' of "
            f"{Path(trl.__path__[0]) / 'chat_templates'} for `<|im_start|>` and `<|im_end|>`."
        )
    if all(getattr(tokenizer, name, None) is None for name in ("response_template", "response_schema")):
        add_response_schema(own)
    if is_chat_template_prefix_preserving(processing_class):
        return None
    return get_training_chat_template(processing_class)
