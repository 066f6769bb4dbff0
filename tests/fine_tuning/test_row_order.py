# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The order of the rows in an epoch that is resumed in its middle, as accelerate's data loaders give it."""

import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch.utils.data import DataLoader, RandomSampler
from transformers.trainer_pt_utils import BatchRebalanceSampler, LengthGroupedSampler

from star_trl.fine_tuning.row_order import StepSortedSampler, begin_at_epoch, seeded


ROWS = list(range(40))
LENGTHS = [1 + row % 5 for row in ROWS]


def make_loader(strategy: str, num_processes: int, seed: int = 0) -> DataLoader:
    """The first process's, made in the way of `Trainer`."""
    if strategy == "batch_rebalance":
        sampler = BatchRebalanceSampler(LENGTHS, 2 * num_processes, dp_size=num_processes, grad_accum=1)
        loader = DataLoader(ROWS, batch_sampler=seeded(sampler, seed))
    else:
        sampler = RandomSampler(ROWS) if strategy == "random" else LengthGroupedSampler(2, lengths=LENGTHS)
        loader = DataLoader(ROWS, batch_size=2, sampler=seeded(sampler, seed))
    prepared = prepare_data_loader(loader, num_processes=num_processes, process_index=0, use_seedable_sampler=True)
    if strategy == "batch_rebalance" and num_processes > 1:
        prepared.batch_sampler.num_processes = 1  # it has shared the rows out already
    return prepared


def batches(loader: DataLoader, epoch: int = 0) -> list[list[int]]:
    """Those of one epoch, in the way of `Trainer`."""
    torch.rand(1)  # whatever else draws random numbers
    loader.set_epoch(epoch)
    shared_out = getattr(loader.batch_sampler, "batch_sampler", None)
    if hasattr(shared_out, "set_epoch"):
        shared_out.set_epoch(epoch)
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("strategy", ["random", "group_by_length", "batch_rebalance"])
def test_a_resumed_epoch_has_its_own_order(strategy, num_processes):
    loader = make_loader(strategy, num_processes)
    orders = [batches(loader, epoch) for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    loader = make_loader(strategy, num_processes)
    begin_at_epoch(loader, 2)
    assert batches(skip_first_batches(loader, 3), 2) == orders[2][3:]


@pytest.mark.parametrize("strategy", ["random", "group_by_length", "batch_rebalance"])
def test_another_seed_is_another_order(strategy):
    assert batches(make_loader(strategy, 1, seed=0)) != batches(make_loader(strategy, 1, seed=1))


def test_rows_that_begin_alike_meet_within_their_step():
    """Four rows to a step: each step has the rows that it had, in the order of their tokens."""
    dataset = Dataset.from_dict({"input_ids": [[row % 3, row] for row in ROWS]})
    plain = seeded(RandomSampler(ROWS), 0)
    grouped = StepSortedSampler(seeded(RandomSampler(ROWS), 0), dataset, 4)
    for epoch in (0, 1):
        plain.set_epoch(epoch)
        grouped.set_epoch(epoch)
        steps = [list(rows) for rows in zip(*[iter(grouped)] * 4, strict=True)]
        assert [sorted(rows) for rows in steps] == [sorted(rows) for rows in zip(*[iter(plain)] * 4, strict=True)]
        assert all(rows == sorted(rows, key=lambda row: (row % 3, row)) for rows in steps)
