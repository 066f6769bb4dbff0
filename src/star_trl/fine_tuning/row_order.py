# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The order of the rows in fine-tuning. It depends on a seed and the epoch alone."""

from collections.abc import Iterator, Sized
from itertools import islice
from typing import cast

import torch
from accelerate.data_loader import DataLoaderShard
from datasets import Dataset
from torch.utils.data import RandomSampler, Sampler
from transformers.trainer_pt_utils import BatchRebalanceSampler, LengthGroupedSampler

from .shared_beginnings import select_input_ids


class EpochSampler(Sampler[int]):
    """
    Draws the order of every epoch with a generator of its own, so that a run that is resumed inside an epoch draws the
    same order again. [`~transformers.Trainer`]'s samplers draw it from the current global random state.

    Args:
        sampler ([`~torch.utils.data.RandomSampler`] or `LengthGroupedSampler`):
            Sampler that draws from its `generator`.
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


class StepSortedSampler(Sampler[int]):
    """
    Sorts the rows of each optimizer step by their tokens, so that rows that begin with the same tokens meet in a
    batch. Each step sees the same rows as without it. There is one exception: with several processes, accelerate
    completes the last step of an epoch with the first rows of the epoch, and sorting changes which rows those are.

    Args:
        sampler ([`~torch.utils.data.Sampler`]):
            Sampler that decides the steps.
        dataset ([`~datasets.Dataset`]):
            The rows, with `input_ids`.
        rows_per_step (`int`):
            Number of rows in an optimizer step, over all processes.
    """

    def __init__(self, sampler: Sampler[int], dataset: Dataset, rows_per_step: int):
        self.sampler = sampler
        self.dataset = select_input_ids(dataset)
        self.rows_per_step = rows_per_step

    def __len__(self) -> int:
        return len(cast(Sized, self.sampler))

    def __iter__(self) -> Iterator[int]:
        order = iter(self.sampler)
        while step := list(islice(order, self.rows_per_step)):
            tokens = dict(zip(step, self.dataset[step]["input_ids"], strict=True))
            yield from sorted(step, key=tokens.__getitem__)

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the beginning of an epoch."""
        if isinstance(self.sampler, EpochSampler):
            self.sampler.set_epoch(epoch)


def seeded(sampler: Sampler | None, seed: int) -> Sampler | None:
    """
    Makes the order of one of [`~transformers.Trainer`]'s samplers depend on a seed and the epoch.

    Args:
        sampler ([`~torch.utils.data.Sampler`], *optional*):
            The sampler. One that draws nothing, as for `train_sampling_strategy="sequential"`, is returned unchanged.
        seed (`int`):
            Seed of the order.
    """
    if isinstance(sampler, BatchRebalanceSampler):  # its order already depends on the epoch
        sampler.seed = seed
    elif isinstance(sampler, (RandomSampler, LengthGroupedSampler)):
        return EpochSampler(sampler, seed)
    return sampler


def begin_at_epoch(loader: DataLoaderShard, epoch: int) -> None:
    """
    Makes a data loader begin with the order of an epoch. When a run is resumed inside an epoch, this must happen
    before batches are skipped: `Trainer` sets the epoch of the loader that skips them, and accelerate does not pass it
    on to every sampler.

    Args:
        loader (`DataLoaderShard`):
            The data loader, as accelerate prepared it.
        epoch (`int`):
            The epoch, counted from 0.
    """
    loader.set_epoch(epoch)
    # With several processes, accelerate wraps the batch sampler to split its batches, and does not set its epoch.
    shared_out = getattr(loader.batch_sampler, "batch_sampler", None)
    if isinstance(shared_out, BatchRebalanceSampler):
        shared_out.set_epoch(epoch)
