# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import pytest

from star_trl import RationaleSampler, RationalizationSampler
from star_trl.ledger import Sample
from star_trl.ledger.selection import select_samples
from support.samples import make_sample


def sample(index: int, length: int, logprob: float, problem: int = 0) -> Sample:
    return make_sample(
        problem_id=problem,
        sample_index=index,
        completion=f"text {index}",
        completion_ids=[index] * length,
        loss_mask=[True] * length,
        logprob=logprob,
    )


SAMPLES = [
    sample(0, 5, -3.0),
    sample(1, 2, -9.0),
    sample(2, 9, -1.0),
    sample(3, 2, -2.0),
    sample(4, 1, -5.0, problem=1),
]


@pytest.mark.parametrize(
    ("preference", "indices"), [("first", [0, 1, 4]), ("shortest", [1, 3, 4]), ("most_likely", [2, 3, 4])]
)
def test_which_samples_stay_under_a_cap(preference, indices):
    selected, dropped = select_samples(SAMPLES, 2, preference)
    assert [sample.sample_index for sample in selected] == indices  # in their order, whatever their rank
    assert dropped == {"cap": 2}


def test_a_random_choice_is_the_same_every_time_and_not_the_first():
    many = [sample(index, 3, 0.0, problem) for problem in range(20) for index in range(4)]
    selected, _ = select_samples(many, 1, "random")
    assert selected == select_samples(list(reversed(many)), 1, "random")[0][::-1]
    assert {sample.sample_index for sample in selected} == {0, 1, 2, 3}


def test_a_random_choice_depends_on_the_seed():
    many = [sample(index, 3, 0.0, problem) for problem in range(20) for index in range(4)]
    assert select_samples(many, 1, "random", seed=1)[0] != select_samples(many, 1, "random", seed=2)[0]


def test_the_seed_of_a_run_is_that_of_its_random_choices(make_trainer, tmp_path):
    """Of samples that are the same."""

    def selected(seed):
        trainer = make_trainer(
            output_dir=str(tmp_path / f"{seed}"), seed=seed, max_samples_per_problem=1, sample_preference="random"
        )
        trainer.ledger.append([sample(index, 3, 0.0, problem) for problem in range(4) for index in range(20)])
        return [chosen.sample_index for chosen in trainer.select(1)]

    assert selected(1) == selected(1) != selected(2)


def test_all_draws_stay_where_they_count():
    twice = [SAMPLES[0], SAMPLES[0]]
    assert len(select_samples(twice)[0]) == 1
    assert len(select_samples(twice, all_draws=True)[0]) == 2


def test_the_most_likely_samples_are_trained_on(make_trainer):
    """The log-probabilities are those of the engine, here of a model with random weights."""
    trainer = make_trainer(
        samplers=[RationaleSampler(num_generations=4, temperature=1.0)],
        reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
        stop_strings=list("abcdefgh"),
        max_completion_length=100,
        max_samples_per_problem=1,
        sample_preference="most_likely",
    )
    samples = [sample for sample in trainer.sample(1) if sample.kept]
    selected = {sample.problem_id: sample for sample in trainer.select(1)}
    assert len(selected) == 4 and all(sample.logprob <= 0 for sample in samples)
    for sample in samples:
        assert sample.logprob <= selected[sample.problem_id].logprob
    assert any(sample.sample_index > 0 for sample in selected.values())


@pytest.mark.parametrize("settings", [{"max_samples_per_problem": 1}, {}], ids=["cap", "duplicates"])
def test_the_samples_of_the_first_sampler_stay(make_trainer, settings):
    """First in the list of samplers, and not in the alphabet."""
    trainer = make_trainer(
        lambda prompt: " All the same.\n9",
        samplers=[RationalizationSampler(), RationaleSampler()],
        reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
        **settings,
    )
    assert len(trainer.sample(1)) == 8
    assert [(sample.problem_id, sample.sampler) for sample in trainer.select(1)] == [
        (problem, "rationalization") for problem in range(4)
    ]


def test_a_preference_without_a_cap_is_an_error(make_args):
    with pytest.raises(ValueError, match="`max_samples_per_problem=None` keeps them all"):
        make_args(sample_preference="shortest")
