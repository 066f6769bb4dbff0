# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Computes log-probabilities of completions under the current model."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import PreTrainedModel
from trl.trainer.utils import pad, selective_log_softmax

from ..distributed import own_part
from ..generation.policy import Policy
from ..ledger.sample import Sample
from ..star_config import STaRConfig
from ..task.task import Task
from .prefix_tree import PrefixTree, TreeModel, cost, grow_tree, why_no_trees
from .sequences import training_prompts


# Number of sequences in one forward pass.
BATCH_SIZE = 8


class PolicyLogprobs:
    """
    Computes log-probabilities of samples under the current model, given the prompts that they are trained with.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task.
        args ([`STaRConfig`]):
            Configuration.
        policy ([`~star_trl.generation.policy.Policy`]):
            The current model.
    """

    def __init__(self, task: Task, args: STaRConfig, policy: Policy):
        self.task = task
        self.args = args
        self.policy = policy

    def __call__(self, samples: Sequence[Sample], few_shot: bool | None = None) -> list[float]:
        """
        Args:
            samples (`list[Sample]`):
                The samples, the same in every process.
            few_shot (`bool`, *optional*):
                Whether the few-shot examples precede the prompt. As in training by default.

        Returns:
            `list[float]`: One log-probability per sample, in nats. Every process gets all of them.
        """
        prompts = training_prompts(own_part(samples, self.policy.accelerator), self.task, self.args, few_shot)
        return _sums(self.of_tokens(samples, prompts), samples)

    def of_tokens(self, samples: Sequence[Sample], own_prompts: Sequence[list[int]]) -> list[list[float]]:
        """
        Computes the log-probability of every token of the completions.

        Args:
            samples (`list[Sample]`):
                The samples, the same in every process.
            own_prompts (`list[list[int]]`):
                Token ids to condition on, one list for each sample of this process.

        Returns:
            `list[list[float]]`: Log-probabilities in nats, one list per sample. Every process gets all of them.
        """
        accelerator = self.policy.accelerator
        own = own_part(samples, accelerator)
        with self.policy() as model:
            logprobs = token_logprobs(model, own_prompts, own, self.task.prompt_builder.tokenizer.pad_token_id)
        merged: list[list[float]] = [[] for _ in samples]
        for process, part in enumerate(gather_object([logprobs])):
            merged[process :: accelerator.num_processes] = part
        return merged


def sequence_logprobs(
    model: PreTrainedModel, prompts: Sequence[list[int]], samples: Sequence[Sample], pad_token_id: int
) -> list[float]:
    """
    Computes log-probabilities of completions given their prompts, in nats. Each is a sum over the tokens that the
    model sampled, without those that a tool inserted and without an EOS that replaces a stop string.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, in evaluation mode.
        prompts (`list[list[int]]`):
            Token ids to condition on, one list for each sample.
        samples (`list[Sample]`):
            The samples.
        pad_token_id (`int`):
            Padding token.

    Returns:
        `list[float]`: One sum per sample.
    """
    return _sums(token_logprobs(model, prompts, samples, pad_token_id), samples)


@torch.no_grad()
def token_logprobs(
    model: PreTrainedModel, prompts: Sequence[list[int]], samples: Sequence[Sample], pad_token_id: int
) -> list[list[float]]:
    """
    Computes the log-probability of every token of completions given their prompts, in nats.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, in evaluation mode.
        prompts (`list[list[int]]`):
            Token ids to condition on, one list for each sample.
        samples (`list[Sample]`):
            The samples.
        pad_token_id (`int`):
            Padding token.

    Returns:
        `list[list[float]]`: One list per sample.
    """
    # Sorted, so that sequences that begin with the same tokens meet in a forward pass.
    order = sorted(range(len(samples)), key=lambda index: (prompts[index], samples[index].completion_ids))
    found: list[list[float]] = [[] for _ in samples]
    for start in range(0, len(samples), BATCH_SIZE):
        indices = order[start : start + BATCH_SIZE]
        part = [samples[index] for index in indices]
        logprobs = _completion_logprobs(model, [prompts[index] for index in indices], part, pad_token_id)
        for index, sample, values in zip(indices, part, logprobs.tolist(), strict=True):
            found[index] = values[: sample.num_tokens]
    return found


def summed_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    samples: Sequence[Sample],
    masks: Sequence[list[bool]],
    pad_token_id: int,
) -> torch.Tensor:
    """
    Computes the log-probability of each completion given its prompt in one forward pass, summed over the tokens in its
    mask. Returns a tensor of shape (samples,).
    """
    logprobs = _completion_logprobs(model, prompts, samples, pad_token_id)
    summed = pad([torch.tensor(mask) for mask in masks], padding_value=False)
    return (logprobs * summed.to(logprobs.device)).sum(-1)


def _completion_logprobs(
    model: PreTrainedModel, prompts: Sequence[list[int]], samples: Sequence[Sample], pad_token_id: int
) -> torch.Tensor:
    """
    Returns the log-probabilities of the completions' tokens, padded on the right: (samples, longest completion).
    Tokens that several sequences begin with are computed once, if the model allows it.
    """
    # The last token of a prompt predicts the completion's first one, and is not shared.
    sequences = [prompt + sample.completion_ids for prompt, sample in zip(prompts, samples, strict=True)]
    tree = grow_tree(sequences, [len(prompt) - 1 for prompt in prompts])
    width = model.config.get_text_config().hidden_size
    saves = cost(len(tree), width) < cost(max(map(len, sequences)), width) * len(sequences)
    if saves and why_no_trees(model, sequences[0]) is None:
        return _logprobs_on_tree(model, tree, samples)
    return _logprobs_of_rows(model, sequences, samples, pad_token_id)


def _logprobs_on_tree(model: PreTrainedModel, tree: PrefixTree, samples: Sequence[Sample]) -> torch.Tensor:
    """Returns the log-probabilities of the completions' tokens, padded on the right: (samples, longest completion)."""
    lengths = [sample.num_tokens for sample in samples]
    parts = [path[-length - 1 : -1] for path, length in zip(tree.paths, lengths, strict=True)]
    input_ids, positions, ends, kept = (
        torch.tensor(values, device=model.device)
        for values in ([tree.input_ids], [tree.positions], [tree.ends], [index for part in parts for index in part])
    )
    logits = TreeModel(model, model.config, model.dtype, ends)(
        input_ids=input_ids, position_ids=positions, logits_to_keep=kept, use_cache=False
    ).logits[0]
    tokens = torch.tensor([token for sample in samples for token in sample.completion_ids], device=logits.device)
    return pad(list(selective_log_softmax(logits.float(), tokens).split(lengths)), padding_value=0)


def _logprobs_of_rows(
    model: PreTrainedModel, sequences: Sequence[list[int]], samples: Sequence[Sample], pad_token_id: int
) -> torch.Tensor:
    """Returns the log-probabilities of the completions' tokens, padded on the right: (samples, longest completion)."""
    # Padding on the left aligns the ends of all completions with the end of the logits that are kept.
    padded: dict[str, Any] = {"padding_side": "left"}
    rows = [torch.tensor(sequence) for sequence in sequences]
    input_ids = pad(rows, padding_value=pad_token_id, **padded).to(model.device)
    attention_mask = pad([torch.ones_like(row) for row in rows], padding_value=0, **padded).to(model.device)
    lengths = [sample.num_tokens for sample in samples]
    logits = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0),
        logits_to_keep=max(lengths) + 1,
        use_cache=False,
    ).logits
    logprobs = selective_log_softmax(logits[:, :-1].float(), input_ids[:, -max(lengths) :])
    return pad([row[-length:] for row, length in zip(logprobs, lengths, strict=True)], padding_value=0)


def _sums(logprobs: Sequence[list[float]], samples: Sequence[Sample]) -> list[float]:
    """Sums log-probabilities up over the tokens that the model drew."""
    return [
        sum((value for value, drawn in zip(values, drawn_tokens(sample), strict=True) if drawn), 0.0)
        for values, sample in zip(logprobs, samples, strict=True)
    ]


def drawn_tokens(sample: Sample) -> list[bool]:
    """Returns a mask of the tokens that the model drew, without a tool's and without EOS for a stop string."""
    return [*sample.loss_mask[:-1], False] if sample.finish_reason == "stop" else sample.loss_mask
