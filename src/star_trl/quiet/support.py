# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Which models can think behind every token in parallel."""

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from ..fine_tuning.prefix_tree import MASKED_ATTENTION
from ..generation.model_state import base_model, evaluation_mode, has_prompt_learning
from ..generation.prefix_sharing.support import relative_difference, tolerance, why_not_declared
from .thought_head import ThoughtHead
from .thoughts import decode, think


def why_no_thoughts(model: PreTrainedModel) -> str | None:
    """
    Returns why a model does not think in parallel as it would one token after the other, or None if it does. The model
    is tried on a few tokens.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The model, not wrapped and not sharded.
    """
    if has_prompt_learning(model):
        return "the adapter puts learned vectors in front of the text"
    base = base_model(model)
    if any(getattr(module, "gradient_checkpointing", False) for module in base.modules()):
        return "gradient checkpointing is on (`model.gradient_checkpointing_disable()` turns it off)"
    name, attention = type(base).__name__, base.config._attn_implementation
    if attention not in MASKED_ATTENTION:
        return f"the attention implementation {attention!r} takes no mask of thoughts (`sdpa` does)"
    return why_not_declared(base) or _why_not_tried(base, name)


def longest_text(model: PreTrainedModel, num_thought_tokens: int, num_true_tokens: int) -> int | None:
    """
    Returns the number of tokens that a text may have, or None if there is no limit. Text and thought together have to
    fit into a window of attention, which thoughts do not move, and into learned position embeddings.
    """
    config = base_model(model).config.get_text_config()
    limits = []
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        limits.append(config.sliding_window)
    if not getattr(config, "rope_parameters", None) and getattr(config, "max_position_embeddings", None):
        limits.append(config.max_position_embeddings)
    return min(limits) - num_thought_tokens - num_true_tokens - 1 if limits else None


def _why_not_tried(model: PreTrainedModel, name: str) -> str | None:
    vocab_size = model.config.get_text_config().vocab_size
    ids = torch.tensor([[number % vocab_size for number in (3, 5, 4, 6, 3)]], device=model.device)
    embed: Any = model.get_input_embeddings()
    head = ThoughtHead(embed.weight.shape[1], embedding_scale=1.0).to(model.device)
    try:
        with evaluation_mode(model), torch.no_grad():
            head.begin_as(*embed(ids[0, :2]).float())
            cache = DynamicCache()
            hidden = decode(model, input_ids=ids, attention_mask=None, cache=cache)
            logits = model.get_output_embeddings()(hidden)
            if not relative_difference(logits[0], model(input_ids=ids, use_cache=False).logits[0]) < tolerance(model):
                return f"{name} does more than a matrix product to turn hidden states into logits"
            thoughts = think(model, head, cache, ids, 2, lambda hidden, number: ids, num_thought_tokens=1)
            difference = 0.0
            for position in (0, 3):
                thought = [head.start[None], embed(ids[0, position : position + 1]), head.end[None]]
                true = embed(ids[0, position + 1 : position + 2])
                text = torch.cat([embed(ids[0, : position + 1]), *(part.to(model.dtype) for part in thought), true])
                one_by_one = decode(model, inputs_embeds=text[None], cache=DynamicCache())[0, -2:]
                parallel = torch.stack([states[0, position] for states in thoughts.after])
                difference = max(difference, relative_difference(parallel, one_by_one))
    except Exception as error:
        return f"{name} cannot be run with thoughts: {error}"
    if not difference < tolerance(model):
        return f"{name} gives other hidden states in parallel (relative difference {difference:.1e})"
    return None
