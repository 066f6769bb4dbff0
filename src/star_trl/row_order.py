# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The order in which fine-tuning goes through its rows: a function of a seed and the epoch, and of nothing else."""

from collections.abc import Iterator

import torch
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import RandomSampler, Sampler
from transformers.trainer_pt_utils import BatchRebalanceSampler, LengthGroupedSampler


class EpochSampler(Sampler[int]):
    """
    Draws the order of every epoch with a generator of its own, so that a run that is resumed inside an epoch draws the
    same order again. [`~transformers.Trainer`]'s samplers draw it from the global random state of that moment.

    Args:
        sampler ([`~torch.utils.data.RandomSampler`] or `LengthGroupedSampler`):
            Draws from its `generator`.
        seed (`int`):
            Seed of the order.
    """

    def __init__(self, sampler: RandomSampler | LengthGroupedSampler, seed: int):
        self.sampler = sampler
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        self.sampler.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the beginning of an epoch."""
        self.epoch = epoch


def seeded(sampler: Sampler | None, seed: int) -> Sampler | None:
    """
    One of [`~transformers.Trainer`]'s samplers with an order that depends on a seed and the epoch.

    Args:
        sampler ([`~torch.utils.data.Sampler`], *optional*):
            The sampler. One that draws nothing, as for `train_sampling_strategy="sequential"`, comes back as it is.
        seed (`int`):
            Seed of the order.
    """
    if isinstance(sampler, BatchRebalanceSampler):  # whose order depends on the epoch already
        sampler.seed = seed
    elif isinstance(sampler, (RandomSampler, LengthGroupedSampler)):
        return EpochSampler(sampler, seed)
    return sampler


def begin_at_epoch(loader: DataLoaderShard, epoch: int) -> None:
    """
    Makes a data loader begin with the order of an epoch. For one that is resumed inside an epoch, this has to come
    before the batches are skipped: `Trainer` names the epoch to the loader that skips them, and accelerate does not
    pass it on to every sampler.

    Args:
        loader (`DataLoaderShard`):
            The data loader, as accelerate prepared it.
        epoch (`int`):
            The epoch, counted from 0.
    """
    loader.set_epoch(epoch)
    # Among several processes accelerate shares the batches of a batch sampler out, and does not reach this one.
    shared_out = getattr(loader.batch_sampler, "batch_sampler", None)
    if isinstance(shared_out, BatchRebalanceSampler):
        shared_out.set_epoch(epoch)
