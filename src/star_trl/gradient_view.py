# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
The numbers of the policy-gradient view (section 3.1 of the STaR paper): what the samples of an iteration say about J,
about the proposals, and about where the gradient comes from. See weighting.py for the formulas.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING, TypeVar

import torch

from .checks import draws_from_model
from .generator import seed_of
from .ledger import Sample
from .policy import policy
from .training_set import training_prompts
from .weighting import summed_logprobs


if TYPE_CHECKING:
    from .star_trainer import STaRTrainer


T = TypeVar("T")


class GradientView:
    """
    Computes metrics of an iteration under the model that sampled, from `gradient_view_samples` samples of each
    sampler, chosen at random.

    Args:
        trainer ([`STaRTrainer`]):
            The trainer, whose model is the one that sampled.
        iteration (`int`):
            Outer iteration.
    """

    def __init__(self, trainer: "STaRTrainer", iteration: int):
        self.trainer = trainer
        self.iteration = iteration
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        for sample in trainer.ledger.read(iteration):
            self.samples[sample.sampler].append(sample)
        self.rng = random.Random(seed_of(trainer.args.seed, iteration, "gradient view"))

    def metrics(self, selected: Sequence[Sample], weights: Sequence[float]) -> dict[str, float]:
        """
        All the numbers.

        Args:
            selected (`list[Sample]`):
                Samples that are trained on.
            weights (`list[float]`):
                Their weights in the loss.

        Returns:
            `dict[str, float]`: `policy_gradient/objective/<sampler>`, `/log_ratio/<sampler>`,
            `/importance_weight/<sampler>`, `/share/<sampler>`, `/share_of_samples/<sampler>` and `/kl`.
        """
        values = {**self.proposals(), **self.shares(selected, weights)}
        plain = next((sampler for sampler in self.trainer.samplers if sampler.on_policy), None)
        if plain is not None:
            values.update(self.kl(plain.name))
        return {f"policy_gradient/{name}": value for name, value in values.items()}

    def proposals(self) -> dict[str, float]:
        """
        For each sampler the estimate of J on the problems that it proposed for: the solved share on-policy, the
        importance-weighted one off-policy, and there the weights M(r, y | x) / q(r, y | x, y*) of what it kept.
        """
        values: dict[str, float] = {}
        for sampler in self.trainer.samplers:
            drawn, name = self.samples[sampler.name], sampler.name
            kept = self._some([sample for sample in drawn if sample.kept and sample.logprob is not None])
            if sampler.on_policy:
                if drawn:
                    values[f"objective/{name}"] = mean(sample.kept for sample in drawn)
            elif kept:
                logprobs = self.trainer.policy_logprobs(kept)
                ratios = [logprob - (sample.logprob or 0.0) for logprob, sample in zip(logprobs, kept, strict=True)]
                values[f"log_ratio/{name}"] = mean(ratios)
                if draws_from_model(sampler, self.trainer.args):
                    weight = torch.tensor(ratios, dtype=torch.float64).exp().mean().item()
                    values[f"importance_weight/{name}"] = weight
                    values[f"objective/{name}"] = weight * mean(sample.kept for sample in drawn)
        return values

    def kl(self, sampler: str) -> dict[str, float]:
        """KL(M_{n-1} || M), in nats per completion: the mean log-ratio of what the model itself drew."""
        drawn = self._some([sample for sample in self.samples[sampler] if sample.logprob is not None])
        if not drawn:
            return {}
        few_shot = self.trainer.args.samples_few_shot(self.iteration)  # as they were drawn
        with self.trainer.keep_original_weights().put_in(self.trainer.model):
            logprobs = self.trainer.policy_logprobs(drawn, few_shot)
        return {"kl": mean((sample.logprob or 0.0) - logprob for sample, logprob in zip(drawn, logprobs, strict=True))}

    def shares(self, selected: Sequence[Sample], weights: Sequence[float]) -> dict[str, float]:
        """
        Share of each sampler in the gradient of the training set, <g_k, g> / <g, g> with g = sum_k g_k, and in its
        samples. The shares add up to 1; one is negative where a sampler pulls the other way.
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
        """Of the weighted log-likelihood of the samples, estimated from some of them; all parameters in one vector."""
        trainer = self.trainer
        some = self._some(group)
        own = trainer.own_part(some)
        prompts = training_prompts(
            [sample for sample, _ in own],
            trainer.problems,
            trainer.prompt_builder,
            trainer.args,
            trainer.prompt_columns,
        )
        size = trainer.args.per_device_train_batch_size
        with policy(trainer) as model, torch.enable_grad():
            parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
            total = torch.zeros(sum(map(torch.numel, parameters)), device=model.device)
            for start in range(0, len(own), size):
                part, part_weights = zip(*own[start : start + size], strict=True)
                logprobs = summed_logprobs(
                    model,
                    prompts[start : start + size],
                    part,
                    [sample.loss_mask for sample in part],
                    trainer.prompt_builder.tokenizer.pad_token_id,
                )
                weights = torch.tensor(part_weights, device=logprobs.device)
                # Not `backward`, which would set off what wrappers do with gradients.
                gradients = torch.autograd.grad((logprobs * weights).sum(), parameters, materialize_grads=True)
                total += torch.cat([gradient.flatten().float() for gradient in gradients])
        return trainer.accelerator.reduce(total) * (len(group) / len(some))

    def _some(self, samples: list[T]) -> list[T]:
        return self.rng.sample(samples, min(self.trainer.args.gradient_view_samples, len(samples)))
