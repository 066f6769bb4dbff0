# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Training sequences are made in batches of samples."""

import pytest

from star_trl.fine_tuning import sequences
from star_trl.fine_tuning.sequences import training_sequences
from support.sums import solve_easy_and_hinted


def test_batches_do_not_change_them(make_trainer, monkeypatch):
    trainer = make_trainer(solve_easy_and_hinted, distillation="forward_kl", sample_weighting="uniform")
    selected, _ = trainer.choose(trainer.sample(1), 1)
    assert len(selected) > 2
    weights = [0.5 * number for number, _ in enumerate(selected)]
    references = [[-0.25 * number] * len(sample.completion_ids) for number, sample in enumerate(selected)]
    arguments = selected, trainer.task, trainer.args, weights, references
    whole = training_sequences(*arguments)
    monkeypatch.setattr(sequences, "BATCH_SIZE", 2)
    batches = training_sequences(*arguments)
    assert batches.features == whole.features
    assert repr(batches.to_list()) == repr(whole.to_list())  # NaN is not equal to itself


def test_the_longest_of_all_batches_is_named(make_trainer, monkeypatch):
    trainer = make_trainer(solve_easy_and_hinted)
    selected, _ = trainer.choose(trainer.sample(1), 1)
    longest = max(map(len, training_sequences(selected, trainer.task, trainer.args)["input_ids"]))
    monkeypatch.setattr(sequences, "BATCH_SIZE", 1)
    trainer.args.max_length = 1
    with pytest.raises(ValueError, match=f"A training sequence has {longest} tokens, more than `max_length=1`"):
        training_sequences(selected, trainer.task, trainer.args)
