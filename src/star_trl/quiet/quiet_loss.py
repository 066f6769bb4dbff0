# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The loss of Quiet-STaR."""

import torch

from .quiet_model import QuietSTaROutput


def quiet_star_loss(
    output: QuietSTaROutput,
    num_items: torch.Tensor | int,
    base_weight: float = 1.0,
    policy_weight: float = 1.0,
    clamp_reward: bool = True,
) -> torch.Tensor:
    r"""
    Algorithm 1 of the [paper](https://huggingface.co/papers/2403.09629): the negative log-likelihood of the text
    without thoughts and with them, and REINFORCE for the thoughts. The reward of a thought is the log-likelihood that
    it adds to the true tokens ahead, minus the mean over the thoughts of the same position:

    $$ \mathcal{L} = \frac{1}{N} \sum_j \Big[ \beta \, \ell_j + \frac{1}{K} \sum_{k=1}^{K} \big(
       \ell^\text{talk}_{j,k} - \lambda \max(r_{j,k}, 0) \log p(T_{j,k} \mid X_{:j}) \big) \Big] $$

    \(K\) is the number of thoughts at each position, and \(\ell^\text{talk}\) the mean over the true tokens ahead. At
    the end of a text, where fewer tokens are ahead, the missing ones count as 0.

    Args:
        output ([`QuietSTaROutput`]):
            What the model predicts.
        num_items (`torch.Tensor` or `int`):
            Number \(N\) of labels that the sums are divided by.
        base_weight (`float`, *optional*, defaults to `1.0`):
            \(\beta\).
        policy_weight (`float`, *optional*, defaults to `1.0`):
            \(\lambda\).
        clamp_reward (`bool`, *optional*, defaults to `True`):
            Whether negative rewards count as 0, as in the paper.

    Returns:
        `torch.Tensor`: The loss, a scalar.
    """
    num_thoughts, num_true_tokens = output.nll_with_thoughts.shape[1], output.nll_with_thoughts.shape[3]
    loss = base_weight * output.nll.sum()
    loss = loss + output.nll_with_thoughts.sum() / (num_thoughts * num_true_tokens)
    if policy_weight and output.thought_logprobs is not None:
        loss = loss + policy_weight * policy_loss(output, clamp_reward)
    return loss / torch.as_tensor(num_items).clamp(min=1)


def policy_loss(output: QuietSTaROutput, clamp_reward: bool) -> torch.Tensor:
    """Returns the REINFORCE loss, summed over all positions and averaged over the thoughts of each."""
    rewards = output.rewards()
    if rewards.shape[1] > 1:
        rewards = rewards - rewards.mean(dim=1, keepdim=True)
    if clamp_reward:
        rewards = rewards.clamp(min=0)
    return -(rewards * output.thought_logprobs).mean(dim=1).sum()
