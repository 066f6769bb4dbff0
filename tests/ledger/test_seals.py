# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Samples of finished iterations that are lost or changed are noticed."""

import pytest
import torch

from star_trl import load_ledger
from star_trl.ledger import Ledger
from star_trl.ledger.export import sft_dataset
from star_trl.ledger.seals import seal
from star_trl.report import write_report
from support.samples import make_sample
from support.sums import solve_easy_and_hinted


def delete(shard):
    shard.unlink()


def zero(shard):
    shard.write_bytes(bytes(shard.stat().st_size))


def cut(shard):
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])


def change(shard):
    shard.write_text(shard.read_text().replace(" Let me count.", " Let us count."))


def repeat(shard):
    lines = shard.read_text().splitlines(keepends=True)
    shard.write_text("".join([*lines, lines[0]]))


DAMAGES = [delete, zero, cut, change, repeat]
SETTINGS = {"sample_iterations": 3}


@pytest.fixture
def shard(make_trainer, model):
    """The samples of the first of two finished iterations."""
    original = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=2, **SETTINGS)
    trainer.train()
    model.load_state_dict(original)
    (shard,) = trainer.ledger.output_dir.glob("iteration-001/samples-*")
    return shard


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_of_a_finished_iteration_is_refused(make_trainer, shard, damage):
    output_dir = shard.parents[1]
    found = load_ledger(output_dir)
    damage(shard)
    message = (
        r"iteration-001/samples-\*.jsonl of a finished iteration has .*`trainer.sample\(1\)`"
        r".*delete `\"1/samples\"` from `ledgers`.*start over"
    )
    with pytest.raises(ValueError, match=message):
        make_trainer(solve_easy_and_hinted, num_iterations=3, **SETTINGS).train(resume_from_checkpoint=True)
    for read in (load_ledger, sft_dataset, write_report):
        with pytest.raises(ValueError, match=message):
            read(output_dir)
    assert len(found) == 12


def test_lost_samples_are_sampled_again_as_the_message_says(make_trainer, model, shard, tmp_path):
    """The run then goes on as if nothing had been lost."""
    original = {name: value.clone() for name, value in model.state_dict().items()}
    whole = make_trainer(solve_easy_and_hinted, num_iterations=3, output_dir=str(tmp_path / "whole"), **SETTINGS)
    whole.train()
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(original)

    shard.unlink()
    make_trainer(solve_easy_and_hinted, **SETTINGS).sample(1)
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=3, **SETTINGS)
    trainer.train(resume_from_checkpoint=True)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert load_ledger(shard.parents[1]).to_list() == load_ledger(tmp_path / "whole").to_list()


def test_samples_that_are_lost_during_the_run_end_it(make_trainer):
    """They would be missing in the training set of the next iteration."""

    def answer(prompt):
        for shard in trainer.ledger.output_dir.glob("iteration-001/samples-*"):
            if trainer.iteration == 2:
                shard.unlink()
        return solve_easy_and_hinted(prompt)

    trainer = make_trainer(answer, num_iterations=4, **SETTINGS)
    with pytest.raises(ValueError, match=r"iteration-001/samples-\*.jsonl .* 0 whole samples in place of 6"):
        trainer.train()
    assert trainer.iteration == 2


def test_a_lost_evaluation_does_not_keep_a_run_from_going_on(make_trainer, model, problems):
    original = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, eval_dataset={"test/a": problems})
    trainer.train()
    (shard,) = trainer.ledger.output_dir.glob("iteration-001/eval*")
    shard.unlink()
    with pytest.raises(ValueError, match="0 whole samples in place of 4 .*without which the run can be resumed"):
        load_ledger(trainer.args.output_dir, "eval_test/a")
    model.load_state_dict(original)
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=2, eval_dataset={"test/a": problems})
    trainer.train(resume_from_checkpoint=True)
    assert trainer.iteration == 2


def test_a_seal_does_not_depend_on_the_processes(tmp_path):
    samples = [make_sample(problem_id=number) for number in range(4)]
    Ledger(tmp_path / "one").append(samples)
    for process in range(2):
        Ledger(tmp_path / "two", process, 2).append(samples[process::2][::-1])
    assert seal(tmp_path / "one", 1) == seal(tmp_path / "two", 1)
    assert seal(tmp_path / "one", 1)["samples"] == 4
