# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Metrics of the policy-gradient view (section 3.1 of the STaR paper). The samples of an iteration give estimates of J,
of the importance weights of the proposals, and of each sampler's share of the gradient. See sample_weights.py for the
formulas.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import TypeVar, cast

import torch
from transformers import PreTrainedModel

from ..distributed import own_part
from ..generation.policy import Policy
from ..ledger.sample import Sample
from ..samplers.checks import draws_from_model
from ..seeds import seed_of
from ..star_config import STaRConfig
from ..task.task import Task
from .logprobs import PolicyLogprobs, summed_logprobs
from .original_weights import OriginalWeights
from .sample_weights import sample_weights
from .sequences import training_prompts


T = TypeVar("T")


def training_weights(
    task: Task,
    args: STaRConfig,
    policy: Policy,
    selected: Sequence[Sample],
    samples: Sequence[Sample],
    iteration: int,
    original_weights: OriginalWeights,
) -> tuple[list[float] | None, dict[str, float]]:
    """
    Computes the weights of the selected samples in the loss, and the metrics of the policy-gradient view.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task.
        args ([`STaRConfig`]):
            Configuration.
        policy ([`~star_trl.generation.policy.Policy`]):
            The model that sampled.
        selected (`list[Sample]`):
            Samples that are trained on.
        samples (`list[Sample]`):
            All samples of the iterations that are trained on.
        iteration (`int`):
            Outer iteration.
        original_weights ([`OriginalWeights`]):
            Weights of the model that every iteration starts from.

    Returns:
        `tuple`: The weights, None for equal ones, and the metrics.
    """
    weights: list[float] | None = None
    metrics: dict[str, float] = {}
    if args.weighted:
        weights, metrics = sample_weights(selected, samples, args, PolicyLogprobs(task, args, policy))
    if args.gradient_view_samples:
        own = [sample for sample in samples if sample.iteration == iteration]
        view = GradientView(task, args, policy, original_weights, own, iteration)
        metrics = {**metrics, **view.metrics(selected, weights or [1.0] * len(selected))}
    return weights, metrics


class GradientView:
    """
    Computes metrics of an iteration under the model that sampled, from `gradient_view_samples` samples of each
    sampler, chosen at random.

    Args:
        task ([`~star_trl.task.task.Task`]):
            The task.
        args ([`STaRConfig`]):
            Configuration.
        policy ([`~star_trl.generation.policy.Policy`]):
            The model that sampled.
        original_weights ([`OriginalWeights`]):
            Weights of the model that every iteration starts from.
        samples (`list[Sample]`):
            All samples of the iteration.
        iteration (`int`):
            Outer iteration.
    """

    def __init__(
        self,
        task: Task,
        args: STaRConfig,
        policy: Policy,
        original_weights: OriginalWeights,
        samples: Sequence[Sample],
        iteration: int,
    ):
        self.task = task
        self.args = args
        self.policy = policy
        self.policy_logprobs = PolicyLogprobs(task, args, policy)
        self.original_weights = original_weights
        self.iteration = iteration
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self.samples[sample.sampler].append(sample)
        self.rng = random.Random(seed_of(args.seed, iteration, "gradient view"))

    def metrics(self, selected: Sequence[Sample], weights: Sequence[float]) -> dict[str, float]:
        """
        Computes all metrics.

        Args:
            selected (`list[Sample]`):
                Samples that are trained on.
            weights (`list[float]`):
                Weights of these samples in the loss.

        Returns:
            `dict[str, float]`: `policy_gradient/objective/<sampler>`, `/log_ratio/<sampler>`,
            `/importance_weight/<sampler>`, `/share/<sampler>`, `/share_of_samples/<sampler>` and `/kl`.
        """
        values = {**self.proposals(), **self.shares(selected, weights)}
        plain = next((sampler for sampler in self.task.samplers if sampler.on_policy), None)
        if plain is not None:
            values.update(self.kl(plain.name))
        return {f"policy_gradient/{name}": value for name, value in values.items()}

    def proposals(self) -> dict[str, float]:
        """
        Estimates J for each sampler, on the problems that it proposed for. On-policy, this is the share of kept
        samples. Off-policy, it is the importance-weighted share; the importance weights M(r, y | x) / q(r, y | x, y*)
        of the kept samples are returned as well.
        """
        values: dict[str, float] = {}
        for sampler in self.task.samplers:
            drawn, name = self.samples[sampler.name], sampler.name
            kept = self._some([sample for sample in drawn if sample.kept and sample.logprob is not None])
            if sampler.on_policy:
                if drawn:
                    values[f"objective/{name}"] = mean(sample.kept for sample in drawn)
            elif kept:
                logprobs = self.policy_logprobs(kept)
                ratios = [logprob - (sample.logprob or 0.0) for logprob, sample in zip(logprobs, kept, strict=True)]
                values[f"log_ratio/{name}"] = mean(ratios)
                if draws_from_model(sampler, self.args):
                    weight = torch.tensor(ratios, dtype=torch.float64).exp().mean().item()
                    values[f"importance_weight/{name}"] = weight
                    values[f"objective/{name}"] = weight * mean(sample.kept for sample in drawn)
        return values

    def kl(self, sampler: str) -> dict[str, float]:
        """Estimates KL(M_{n-1} || M) in nats per completion: the mean log-ratio of completions that M_{n-1} drew."""
        drawn = self._some([sample for sample in self.samples[sampler] if sample.logprob is not None])
        if not drawn:
            return {}
        few_shot = self.args.samples_few_shot(self.iteration)  # the prompts that they were drawn with
        with self.original_weights.put_in(cast(PreTrainedModel, self.policy.trainer.model)):
            logprobs = self.policy_logprobs(drawn, few_shot)
        return {"kl": mean((sample.logprob or 0.0) - logprob for sample, logprob in zip(drawn, logprobs, strict=True))}

    def shares(self, selected: Sequence[Sample], weights: Sequence[float]) -> dict[str, float]:
        """
        Computes the share of each sampler in the gradient of the training set, <g_k, g> / <g, g> with g = sum_k g_k,
        and in its samples. The shares add up to 1. A sampler whose gradient opposes the sum has a negative share.
        """
        groups: dict[str, list[tuple[Sample, float]]] = defaultdict(list)
        for sample, weight in zip(selected, weights, strict=True):
            groups[sample.sampler].append((sample, weight))
        gradients = {name: self._gradient(group) for name, group in groups.items()}
        total = sum(gradients.values())
        assert isinstance(total, torch.Tensor)
        length = total.dot(total).item()
        values = {f"share_of_samples/{name}": len(group) / len(selected) for name, group in groups.items()}
        if length:
            values.update({f"share/{name}": part.dot(total).item() / length for name, part in gradients.items()})
        return values

    def _gradient(self, group: list[tuple[Sample, float]]) -> torch.Tensor:
        """
        Estimates the gradient of the samples' weighted log-likelihood from some of them. All parameters are in one
        vector.
        """
        some = self._some(group)
        own = own_part(some, self.policy.accelerator)
        prompts = training_prompts([sample for sample, _ in own], self.task, self.args)
        size = self.args.per_device_train_batch_size
        with self.policy(gradients=True) as model, torch.enable_grad():
            parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
            total = torch.zeros(sum(map(torch.numel, parameters)), device=model.device)
            for start in range(0, len(own), size):
                part, part_weights = zip(*own[start : start + size], strict=True)
                logprobs = summed_logprobs(
                    model,
                    prompts[start : start + size],
                    part,
                    [sample.loss_mask for sample in part],
                    self.task.prompt_builder.tokenizer.pad_token_id,
                )
                weights = torch.tensor(part_weights, device=logprobs.device)
                # Not `backward`, which would trigger the gradient hooks of wrappers.
                gradients = torch.autograd.grad((logprobs * weights).sum(), parameters, materialize_grads=True)
                total += torch.cat([gradient.flatten().float() for gradient in gradients])
        return self.policy.accelerator.reduce(total) * (len(group) / len(some))

    def _some(self, samples: list[T]) -> list[T]:
        return self.rng.sample(samples, min(self.args.gradient_view_samples, len(samples)))
