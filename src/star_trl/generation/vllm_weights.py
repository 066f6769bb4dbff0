# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The weights of a model, under the names and in the forms in which vLLM loads them."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils import is_peft_available

from .model_state import base_model, has_prompt_learning


if is_peft_available():
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict
    from peft.tuners.tuners_utils import BaseTunerLayer

# Ranks that vLLM reserves memory for
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def dtype_of(model: PreTrainedModel) -> torch.dtype:
    """Returns the type that the model computes in: that of its weights, or that of autocast."""
    device = base_model(model).device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else base_model(model).dtype


def rank_of_adapter(model: nn.Module) -> int | None:
    """
    Returns the rank to reserve in vLLM for the adapter of a model, or None where vLLM cannot load it: the model has no
    adapter, or it is more than low-rank matrices beside linear layers.

    Raises:
        `ValueError`: The adapter puts learned vectors before the prompt.
    """
    if has_prompt_learning(model):
        raise ValueError(
            "The adapter puts learned vectors before the prompt, which vLLM cannot do. Train a LoRA adapter, or leave "
            "out `use_vllm`."
        )
    if not is_peft_available() or not isinstance(model, PeftModel):
        return None
    config = model.active_peft_config
    if not isinstance(config, LoraConfig) or len(model.active_adapters) != 1:
        return None
    more = config.use_dora or config.bias != "none" or config.modules_to_save or config.trainable_token_indices
    # vLLM takes one scale for all layers, and has the layers only once.
    uneven = config.rank_pattern or config.alpha_pattern or config.layer_replication or config.target_parameters
    linear = all(
        isinstance(layer.get_base_layer(), nn.Linear) for layer in model.modules() if isinstance(layer, BaseTunerLayer)
    )
    if more or uneven or not linear or config.r > RANKS[-1]:
        return None
    return min(rank for rank in RANKS if rank >= config.r)


def check_original_weights(model: "PeftModel", where: str) -> None:
    """
    Raises `ValueError` if the adapter of a model was initialized by a method that changes the weights beside it
    (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA), so that it fits no copy of the original weights.

    Args:
        model ([`~peft.PeftModel`]):
            Model with a LoRA adapter.
        where (`str`):
            What holds the original weights, for the message.
    """
    method = model.active_peft_config.init_lora_weights
    if str(method).lower().startswith(("pissa", "olora", "corda", "loftq", "lora_ga")):
        raise ValueError(
            f"The adapter has `init_lora_weights={method!r}`, which changes the weights of the model as well, but "
            f"{where} the original ones. Together they are another policy. Set `init_lora_weights` to True or "
            "'gaussian', or leave out `use_vllm`."
        )


def save_adapter(model: "PeftModel", folder: Path) -> None:
    """
    Saves the active adapter of a model. Its parameters are read one by one, since under FSDP 2 `state_dict` would
    shard them again.

    Args:
        model ([`~peft.PeftModel`]):
            Model with an adapter of a [`rank_of_adapter`], its parameters whole.
        folder (`Path`):
            Folder to save to. It is created.
    """
    name = model.active_adapter
    state = get_peft_model_state_dict(model, dict(model.named_parameters()), adapter_name=name)
    folder.mkdir(parents=True)
    save_file(
        {key: tensor.detach().contiguous() for key, tensor in state.items()}, folder / "adapter_model.safetensors"
    )
    model.peft_config[name].save_pretrained(str(folder))


def checkpoint_weights(model: PreTrainedModel, merge: bool = True) -> Iterator[tuple[str, torch.Tensor]]:
    """
    Yields the weights of a model with their names in a checkpoint: its parameters and its persistent buffers. Tied
    weights are yielded once.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Model, its parameters whole.
        merge (`bool`, *optional*, defaults to `True`):
            Whether an adapter is merged into copies of the weights, or left out. The model stays as it is, to the bit.

    Yields:
        `tuple[str, torch.Tensor]`: name and weight.
    """
    if is_peft_available() and isinstance(model, PeftModel):
        named = dict(_without_adapter_parameters(model, _merged_weights(model) if merge else {}))
    else:
        named = dict(named_weights(model))
    # transformers fuses the experts of some models and renames some modules when it loads them.
    yield from revert_weight_conversion(base_model(model), named).items()


def named_weights(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """
    Yields what `state_dict` contains, with its names: parameters and persistent buffers. Each is yielded once. Under
    FSDP 2 `state_dict` would shard them again.
    """
    for name, parameter in model.named_parameters():
        yield name, parameter.data
    # torch says in no public way which buffers are persistent.
    persistent = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in module._buffers.keys() - module._non_persistent_buffers_set
    }
    for name, buffer in model.named_buffers():
        if name in persistent:
            yield name, buffer


def _merged_weights(model: "PeftModel") -> dict[str, torch.Tensor]:
    """Returns what the parameters of the layers with an adapter become when it is merged."""
    merged: dict[str, torch.Tensor] = {}
    for name, layer in model.named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        parameters = dict(layer.get_base_layer().named_parameters(recurse=False))
        before = {key: parameter.detach().clone() for key, parameter in parameters.items()}
        layer.merge(adapter_names=model.active_adapters)
        merged |= {f"{name}.base_layer.{key}": parameter.detach().clone() for key, parameter in parameters.items()}
        layer.unmerge()
        # Adding and subtracting the update rounds twice.
        for key, parameter in parameters.items():
            parameter.data.copy_(before[key])
    return merged


def _without_adapter_parameters(
    model: "PeftModel", merged: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)]
    # Buffers of adapters are under the second names, such as VeRA's projections.
    of_adapters = tuple(
        f"{name}.{attribute}."
        for name, layer in layers
        for attribute in (*layer.adapter_layer_names, *layer.other_param_names)
    )
    trained_whole = f".modules_to_save.{model.active_adapter}."
    for name, weight in named_weights(model):
        of_other_adapter = ".modules_to_save." in name and trained_whole not in name
        if name.startswith(of_adapters) or ".original_module." in name or of_other_adapter:
            continue
        plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(trained_whole, ".")
        yield plain, merged.get(name, weight)
