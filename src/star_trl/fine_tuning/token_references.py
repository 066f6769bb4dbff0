# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Computes what the loss compares the tokens of the training set with. `token_terms.py` has the formulas."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

from transformers import PreTrainedModel

from ..distributed import own_part
from ..generation.policy import Policy
from ..ledger.sample import Sample
from ..star_config import STaRConfig
from ..task.task import Task
from .logprobs import PolicyLogprobs, drawn_tokens
from .original_weights import OriginalWeights
from .sequences import sampling_prompts, teacher_prompts


def token_references(
    task: Task,
    args: STaRConfig,
    policy: Policy,
    original_weights: OriginalWeights,
    selected: Sequence[Sample],
) -> list[list[float]] | None:
    """
    Computes what `sample_weighting` compares the log-probability of every token with.

    - With a teacher: its log-probability of the token, behind the hinted prompt. With `wrong_hint_column`, the
      difference of its log-probabilities behind the right and the wrong hint.
    - With `"clipped_ratio"`: the log-probability with which the token was drawn, under the model that sampled and
      behind the prompt that it sampled with, at temperature 1.
    - With `"policy_shaping"`: 0 for samples that were drawn with another prompt than they are trained on, and none for
      the others. LUFFY takes the probability of another policy as 1.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task.
        args ([`STaRConfig`]):
            Configuration.
        policy ([`~star_trl.generation.policy.Policy`]):
            The model that sampled.
        original_weights ([`OriginalWeights`]):
            Weights of the original model.
        selected (`list[Sample]`):
            Samples that are trained on.

    Returns:
        `list[list[float]]` or `None`: One list per sample, with NaN for the tokens that the model did not draw. `None`
        if tokens are not compared with anything.
    """
    if not args.weighs_tokens:
        return None
    logprobs = PolicyLogprobs(task, args, policy)
    own = own_part(selected, policy.accelerator)
    if args.sample_weighting == "policy_shaping":
        on_policy = {sampler.name: sampler.on_policy for sampler in task.samplers}
        found = [
            [math.nan if on_policy[sample.sampler] or sample.hint_shown else 0.0] * sample.num_tokens
            for sample in selected
        ]
    elif args.sample_weighting == "clipped_ratio":
        found = logprobs.of_tokens(selected, sampling_prompts(own, task, args))
    else:
        model = cast(PreTrainedModel, policy.trainer.model)
        with original_weights.put_in(model) if args.teacher_model == "original" else nullcontext():
            found = logprobs.of_tokens(selected, teacher_prompts(own, task, args))
            if args.wrong_hint_column is not None:
                wrong = logprobs.of_tokens(selected, teacher_prompts(own, task, args, args.wrong_hint_column))
                found = [
                    [value - other for value, other in zip(values, others, strict=True)]
                    for values, others in zip(found, wrong, strict=True)
                ]
    return [
        [value if drawn else math.nan for value, drawn in zip(values, drawn_tokens(sample), strict=True)]
        for values, sample in zip(found, selected, strict=True)
    ]
