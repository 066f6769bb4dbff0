# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Changes that an engine makes to a model while it runs and reverts afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from torch import nn
from transformers import PreTrainedModel
from transformers.utils import is_peft_available


if is_peft_available():
    from peft import PeftModel


def base_model(model: nn.Module) -> PreTrainedModel:
    """Returns the transformers model inside a PEFT model (its adapter layers stay active), or the model itself."""
    if is_peft_available() and isinstance(model, PeftModel):
        return cast(PreTrainedModel, model.get_base_model())
    return cast(PreTrainedModel, model)


def has_prompt_learning(model: nn.Module) -> bool:
    """Whether a PEFT adapter puts learned vectors in front of the prompt (prompt tuning, prefix tuning, ...)."""
    return is_peft_available() and isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Puts a model in evaluation mode. Afterwards, the modules that were in training mode return to it."""
    training = [module for module in model.modules() if module.training] if model.training else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
