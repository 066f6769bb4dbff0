# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode

from star_trl.generation.policy import conversions_kept
from support.generation_models import make_model


class Conversions(TorchDispatchMode):
    """Lists the shapes that are converted to bf16."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") is torch.bfloat16:
            self.shapes.append(tuple(args[0].shape))
        return function(*args, **(kwargs or {}))


def test_frozen_weights_are_converted_once():
    model = get_peft_model(make_model(), LoraConfig(target_modules="all-linear")).eval()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    weights = {tuple(parameter.shape) for name, parameter in model.named_parameters() if name not in trained}
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), conversions_kept(model):
        logits = model(tokens).logits
        with Conversions() as conversions:
            assert torch.equal(model(tokens).logits, logits)
    assert weights.isdisjoint(conversions.shapes)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trained
