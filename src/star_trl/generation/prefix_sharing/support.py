# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Check whether a model can share a prefix, by its configuration and by a trial run."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from ..engine import GenerationRequest, SamplingParams
from ..model_state import base_model, evaluation_mode, has_prompt_learning
from ..token_sampler import WARPER_FIELDS
from .cache import SharedPrefixCache
from .forward import PrefixForward


# Layers whose attention is fully described by a causal mask and a window.
EXPRESSIBLE_LAYERS = frozenset({"full_attention", "sliding_attention", "attention"})
# Rotary embeddings that depend on the longest sequence of the batch.
BATCH_DEPENDENT_ROPE = frozenset({"dynamic", "longrope"})


class PrefixSupport:
    """
    Finds out what keeps a model from sharing a prefix. Each model is tried once: a few tokens after a short prefix
    must give the same logits as without sharing.
    """

    def __init__(self) -> None:
        self._tried: WeakKeyDictionary[PreTrainedModel, str | None] = WeakKeyDictionary()

    def missing(
        self, model: PreTrainedModel, requests: Sequence[GenerationRequest], params: SamplingParams
    ) -> str | None:
        """
        Args:
            model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
                Model to sample from.
            requests (`Sequence[GenerationRequest]`):
                What to complete.
            params ([`SamplingParams`]):
                How to sample.

        Returns:
            `str`, *optional*: why the prefix cannot be shared, or None if it can.
        """
        # Warpers look at one step alone, the other fields at the tokens so far
        history = sorted(params.generation_kwargs.keys() - WARPER_FIELDS)
        if history:
            return f"`generation_kwargs` {history} need `generate`"
        if has_prompt_learning(model):
            return "the adapter puts learned vectors in front of the prompt"
        base = base_model(model)
        if base not in self._tried:
            self._tried[base] = why_not_declared(base) or why_not_tried(base, requests[0].prompt_ids)
        return self._tried[base]


def why_not_declared(model: PreTrainedModel) -> str | None:
    """Returns why the model's class and configuration rule out a shared prefix, or None."""
    name = type(model).__name__
    if model.config.is_encoder_decoder:
        return f"{name} has an encoder"
    if not model._can_set_attn_implementation():
        return f"{name} does not use the attention interface of transformers"
    settings = model.config.get_text_config().to_dict()
    layers = sorted(set(settings.get("layer_types") or ()) - EXPRESSIBLE_LAYERS)
    if layers:
        return f"{name} has layers of type {layers}"
    rope = settings.get("rope_parameters") or {}
    # One set of parameters, or one for each type of layer
    parameter_sets = [rope, *(nested for nested in rope.values() if isinstance(nested, dict))]
    kinds = sorted({parameters.get("rope_type", "default") for parameters in parameter_sets} & BATCH_DEPENDENT_ROPE)
    if kinds:
        return f"{name} has rotary embeddings of type {kinds}"
    return None


def why_not_tried(model: PreTrainedModel, prompt_ids: list[int]) -> str | None:
    """
    Returns why a trial run rules out a shared prefix, or None. `prompt_ids` are tokens that the model may well see.
    """
    name = type(model).__name__
    # A long and a short row after a prefix: wrong positions, masks or rows all change the logits
    ids = torch.tensor(trial_tokens(prompt_ids), device=model.device)[None]
    try:
        long, short = trial_logits(model, ids)
        with evaluation_mode(model):
            if ignores_positions(model, ids):
                raise TrialError("ignores `position_ids`")
            expected = [model(input_ids=ids[:, :end], use_cache=False).logits[0, -1] for end in (12, 7)]
    except TrialError as error:
        return f"{name} {error}"
    except Exception as error:
        return f"{name} cannot be run with a prefix apart: {error}"
    difference = max(relative_difference(a, b) for a, b in zip((long, short), expected, strict=True))
    if not difference < tolerance(model):
        return f"{name} gives other logits with a prefix apart (relative difference {difference:.1e})"
    return None


def trial_tokens(token_ids: list[int]) -> list[int]:
    """Returns 12 tokens of a text, different ones as far as it has them: equal tokens would hide a wrong mask."""
    return (list(dict.fromkeys(token_ids)) * 12)[-12:]


class TrialError(RuntimeError):
    """Reason against a shared prefix that a trial run found."""


class RecordingCache(SharedPrefixCache):
    """Records the window that each attention layer asks for."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.windows: list[int | None] = []

    def masks(self, window: int | None):
        self.windows.append(window)
        return super().masks(window)


def trial_logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """
    Returns the logits after 12 and after 7 of the 12 tokens, of which the first 4 are the prefix. Shape `(2,
    vocabulary)`.
    """
    forward, device = PrefixForward(model), model.device
    cache = RecordingCache(num_rows=1, capacity=4)
    cache.begin_prefill(slice(0, 1), 0, 4, device)
    forward(cache, ids[:, :4])
    config = model.config.get_text_config()
    if len(cache.layers) != config.num_hidden_layers or len(cache.windows) != config.num_hidden_layers:
        raise TrialError(
            f"has {config.num_hidden_layers} layers, but wrote {len(cache.layers)} of them to the cache and called "
            f"the attention function {len(cache.windows)} times"
        )
    settings = config.to_dict()
    types = settings.get("layer_types") or ["sliding_attention"] * config.num_hidden_layers
    windowed = [kind == "sliding_attention" and bool(settings.get("sliding_window")) for kind in types]
    if [window is not None for window in cache.windows] != windowed:
        raise TrialError("does not tell its attention function about its sliding windows")

    cache = RecordingCache(num_rows=2, capacity=8, prefix=cache.as_prefix(4))
    cache.begin_prefill(slice(0, 2), 0, 7, device)
    forward(cache, ids[:, 4:11].expand(2, -1))
    lengths = torch.tensor([7, 2])
    cache.begin_decode(lengths, device)
    return forward(cache, ids[0, 4 + lengths][:, None])


def ignores_positions(model: PreTrainedModel, ids: torch.Tensor) -> bool:
    """
    Returns whether a model gives the same logits for other positions. In low precision, a comparison with the expected
    logits alone might not show it.
    """
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    # Without a mask, gaps between positions stand for the borders of packed sequences
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    logits, stretched = (model(**given, position_ids=factor * positions).logits for factor in (1, 2))
    return torch.equal(logits, stretched)


def tolerance(model: PreTrainedModel) -> float:
    """
    Returns the largest relative difference of logits that rounding explains. Wrong attention changes the logits by
    about as much as they vary.
    """
    exact = all(parameter.dtype in (torch.float32, torch.float64) for parameter in model.parameters())
    return 1e-3 if exact and not torch.is_autocast_enabled(model.device.type) else 0.2


def relative_difference(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """
    Returns the distance between two vectors of logits of shape `(vocabulary,)`, relative to the spread of the expected
    ones.
    """
    logits, expected = logits.double(), expected.double()
    return float((logits - expected).norm() / (expected - expected.mean()).norm())
