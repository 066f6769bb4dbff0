# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The floating-point operations that an iteration is estimated to take."""

import pytest
import torch
from transformers import TrainerCallback

from star_trl import RationaleSampler
from star_trl.fine_tuning.inner_trainer import num_parameters
from star_trl.report import write_report
from support.sums import solve_easy_and_hinted
from support.tiny_models import build_model


class Crash(Exception):
    pass


class CrashAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Crash


@pytest.fixture
def make(make_trainer, tokenizer, problems, tmp_path):
    def make(answer=solve_easy_and_hinted, name="out", **changes):
        return make_trainer(
            answer,
            model=build_model(tokenizer),
            output_dir=str(tmp_path / name),
            num_iterations=1,
            initial_steps=6,
            save_steps=2,
            eval_dataset=problems,
            **changes,
        )

    return make


def test_parameters_times_tokens(make, monkeypatch):
    trainer = make()
    trained = []
    compute_loss = trainer.compute_loss

    def count(model, inputs, *args, **kwargs):
        trained.append(inputs["input_ids"].numel())
        return compute_loss(model, inputs, *args, **kwargs)

    monkeypatch.setattr(trainer, "compute_loss", count)
    trainer.train()
    # All but the embeddings of the input
    parameters = sum(each.numel() for name, each in trainer.model.named_parameters() if "embed_tokens" not in name)
    rollouts, samples = trainer.rollouts, trainer.ledger.read(1)
    tokens = sum(len(sample.completion_ids) for sample in samples)
    for sampler in trainer.task.samplers:
        asked = {sample.problem_id for sample in samples if sample.sampler == sampler.name}
        prompts = rollouts.prompts(sampler, trainer.task.problems, sorted(asked), 1)
        tokens += len({tuple(each.input_ids[:end]) for each in prompts for end in range(1, len(each.input_ids) + 1)})
    row = trainer.outer_run.history[1]
    assert row["flops/sample"] == 2 * parameters * tokens
    assert row["flops/fine_tune"] == 6 * parameters * sum(trained)
    text = write_report(trainer.args.output_dir).read_text()
    assert "<h3>Compute</h3>" in text


def partition(model):
    """Leaves parameters as DeepSpeed ZeRO-3 does: empty but for one, which is gathered at the moment."""
    for number, parameter in enumerate(model.parameters()):
        parameter.ds_numel = parameter.numel()
        if number != 2:
            parameter.data = torch.empty(0)


def test_parameters_that_zero_3_partitions_count(make, monkeypatch):
    trainer, recorded = make(), {}
    parameters = trainer.model.num_parameters(exclude_embeddings=True)
    record_samples = trainer._record_samples

    def record_partitioned(*arguments):
        partition(trainer.model)
        record_samples(*arguments)

    monkeypatch.setattr(trainer, "_record_samples", record_partitioned)
    monkeypatch.setattr(trainer.outer_run, "record", recorded.update)
    samples = trainer.sample(1)
    assert 0 < trainer.model.num_parameters(exclude_embeddings=True) < parameters == num_parameters(trainer.model)
    tokens = trainer.rollouts.prompt_tokens + sum(len(sample.completion_ids) for sample in samples)
    assert recorded["flops/sample"] == 2 * parameters * tokens
    assert trainer.floating_point_ops({"input_ids": torch.zeros(2, 5)}) == 6 * parameters * 10


def test_prompts_of_probes_and_of_several_draws_count(make):
    settings = {"samplers": [RationaleSampler(num_generations=2)], "temperature": 0.5, "num_probe_problems": 4}
    once = make(name="once", **settings)
    once.sample(1)
    probing = make(name="probing", adaptive_temperatures=[0.5], **settings)
    probing.sample(1)
    # The answers do not depend on the temperature, and the prompts are the same.
    tokens = [trainer.rollouts.prompt_tokens for trainer in (once, probing)]
    assert tokens[1] == 2 * tokens[0]
    assert probing.probes.completion_tokens(1) == sum(len(sample.completion_ids) for sample in once.ledger.read(1))


def test_a_run_that_is_interrupted_counts_the_same(make):
    whole = make(name="whole")
    whole.train()
    calls = 0

    def crash(prompt):
        nonlocal calls
        calls += 1
        if calls == 8:  # of four samples of the original model, and six of the iteration
            raise Crash
        return solve_easy_and_hinted(prompt)

    with pytest.raises(Crash):
        make(crash, generation_batch_size=1).train()
    with pytest.raises(Crash):
        make(callbacks=[CrashAt(5)]).train(resume_from_checkpoint=True)  # after a checkpoint at step 4
    resumed = make()
    resumed.train(resume_from_checkpoint=True)
    for name in ("flops/sample", "flops/fine_tune"):
        assert resumed.outer_run.history[1][name] == whole.outer_run.history[1][name] > 0
