# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What the tokens of the training set are compared with, and which samples a teacher teaches on."""

import math

import pytest
import torch

from star_trl.fine_tuning.token_references import token_references
from support.samples import make_sample


@pytest.mark.parametrize("setting", [{"sample_weighting": "teacher"}, {"distillation": "jensen_shannon"}])
def test_a_teacher_teaches_where_nothing_succeeds(make_trainer, setting):
    """The samples that failed are trained on, those that could not be judged are not."""

    def rewards(completions, **kwargs):
        return [None if completion.endswith("9") else 0.0 for completion in completions]

    trainer = make_trainer(
        lambda prompt: " I think.\n9" if "7+1" in prompt else " I think.\n0", reward_funcs=rewards, **setting
    )
    assert [sampler.name for sampler in trainer.task.samplers] == ["rationale"]
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    assert trainer.outer_run.history[-1]["samples/selected"] == 3
    assert any(not torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


def test_an_eos_in_place_of_a_stop_string_is_compared_with_nothing(make_trainer):
    trainer = make_trainer(lambda prompt: " One.\n\n3", sample_weighting="teacher", few_shot_examples=None)
    samples = trainer.sample(1)
    assert {sample.finish_reason for sample in samples} == {"stop"}
    found = token_references(trainer.task, trainer.args, trainer.policy, trainer.keep_original_weights(), samples)
    assert all(math.isnan(values[-1]) and not any(map(math.isnan, values[:-1])) for values in found)
    tool = make_sample(completion_ids=[2, 3, 1], loss_mask=[True, False, True])
    (values,) = token_references(trainer.task, trainer.args, trainer.policy, trainer.keep_original_weights(), [tool])
    assert [math.isnan(value) for value in values] == [False, True, False]
