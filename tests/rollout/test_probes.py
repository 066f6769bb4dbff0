# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The temperature and the reward threshold that are chosen before each iteration (B-STaR)."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from star_trl import MajorityVoteSampler, RationaleSampler, RationalizationSampler, load_history, load_ledger
from star_trl.ledger.metrics import query_effect
from star_trl.ledger.selection import at_threshold
from star_trl.preference import IterativeRPOConfig
from star_trl.report import write_report
from star_trl.rewards import exact_match_reward
from star_trl.rollout.probes import Balance
from support.samples import make_sample
from support.scripted_engine import ScriptedEngine
from support.sums import last_question
from support.tiny_models import ON_A_CPU, build_model


def drawn(problem, *draws):
    """Samples of a problem, each as (kept, reward)."""
    return [
        make_sample(problem_id=problem, sample_index=i, kept=kept, reward=reward, completion_ids=[i], loss_mask=[True])
        for i, (kept, reward) in enumerate(draws)
    ]


def test_the_query_effect():
    selected = [
        *drawn(0, *[(True, 1.0)] * 6),  # more than enough: 1
        *drawn(1, (True, 1.0), (True, 1.0), (False, 1.0)),  # 2/4 * 2/3
        *drawn(2, (False, 1.0)),
    ]
    assert query_effect(selected, num_problems=5, num_wanted=4) == pytest.approx((1 + 2 / 4 * 2 / 3) / 5)
    assert query_effect([], num_problems=5, num_wanted=4) == 0


def test_a_threshold_selects_by_the_reward_alone():
    samples = [
        *drawn(0, (True, 1.5), (True, 1.0), (False, 1.2), (False, 0.2)),
        make_sample(kept=False, drop_reason="truncated", reward=2.0),
        make_sample(kept=False, drop_reason="unverified", reward=None),
    ]
    assert [sample.drop_reason for sample in at_threshold(samples, 1.2)] == [
        None,
        "threshold",
        None,
        "wrong",
        "truncated",
        "unverified",
    ]


def quality_reward(completions, **kwargs):
    return [float("neat" in completion) for completion in completions]


SETTINGS = {
    "samplers": [RationaleSampler(num_generations=4)],
    "reward_funcs": [exact_match_reward, quality_reward],
    "reward_threshold": [1.0, None],
    "reward_weights": [1.0, 0.5],
    "adaptive_temperatures": [0.5, 1.0, 1.5],
    "adaptive_thresholds": [0.5, 1.0, 1.5],
    "num_probe_problems": 3,
    "num_wanted_per_problem": 4,
}


def test_the_settings_with_the_greatest_effect_are_chosen(make_trainer):
    trainer = make_trainer(**SETTINGS)
    probes = trainer.probes
    assert len(probes.problems) == 3
    first, second, _ = probes.problems
    # 0.5: 2/4 * 2/3 at the threshold 0.5, and 2/4 at 1.0; 1/4 at 1.5. The third problem has none.
    probes.ledger("probe-0.5").append(drawn(first, (True, 1.5), (True, 1.0), (False, 0.5), (False, 0.0)))
    # 1.0: 3/4 * 3/4 and 1/4 at the threshold 0.5, 2/4 at 1.0, 2/4 at 1.5
    right = [make_sample(problem_id=second, reward=0.5, completion_ids=[9], loss_mask=[True])]
    probes.ledger("probe-1.0").append(
        [*drawn(first, (True, 1.5), (True, 1.5), (True, 0.5), (False, 0.5)), *right, replace(right[0], sample_index=1)]
    )
    assert probes.best(1) == Balance(temperature=1.0, threshold=0.5, effect=pytest.approx((9 / 16 + 1 / 4) / 3))
    # Of equal ones the first: at 1.5, which has no samples, all are 0.
    probes.temperatures = [1.5]
    assert probes.best(1) == Balance(temperature=1.5, threshold=0.5, effect=0)


class DrawingEngine(ScriptedEngine):
    """Draws by seed and temperature: at 0.5 the same right words, at 1.0 others each time, at 1.5 no right answer."""

    def __init__(self, tokenizer, ends_after=None):
        super().__init__(tokenizer, self.draw)
        self.temperatures = []
        self.ends_after = ends_after

    def generate(self, model, requests, params):
        for index in reversed(range(len(requests))):
            if len(self.temperatures) == self.ends_after:
                raise InterruptedError
            self.temperatures.append(params.temperature)
            self.random = random.Random(f"{requests[index].seed}")
            (output,) = super().generate(model, [requests[index]], params)
            yield replace(output, index=index)

    def draw(self, prompt):
        question = last_question(prompt)
        a, b = map(int, question.split("?")[0].split("+"))
        if self.temperatures[-1] <= 0.5:
            return f" The only way.\n{a + b}"
        right = self.temperatures[-1] == 1.0 and self.random.random() < 0.9
        return f" A {self.random.choice(['neat', 'long'])} way {self.random.random():.3f}.\n{a + b if right else 0}"


@pytest.fixture
def make_probing(make_trainer, tokenizer, problems):
    def make(ends_after=None, **changes):
        arguments = {**SETTINGS, "eval_dataset": problems, "generation_batch_size": 2, **changes}
        trainer = make_trainer(model=build_model(tokenizer), **arguments)
        trainer.engine = DrawingEngine(tokenizer, ends_after)
        return trainer

    return make


def test_an_iteration_samples_and_selects_as_chosen(make_probing):
    trainer = make_probing(num_iterations=1, samplers=[*SETTINGS["samplers"], RationalizationSampler(temperature=0.2)])
    trainer.train()
    # Greedy evaluations; three probes of three problems, four times; four problems, four times, as chosen
    begin, probes, end = [0.0] * 4, [0.5] * 12 + [1.0] * 12 + [1.5] * 12, [1.0] * 16
    assert trainer.engine.temperatures[:56] == begin + probes + end
    assert set(trainer.engine.temperatures[56:]) <= {0.0, 0.2}
    row = trainer.outer_run.history[1]
    samples = trainer.ledger.read(1)
    threshold = row["probe/threshold"]
    assert row["probe/temperature"] == 1.0 and threshold in (0.5, 1.0)
    assert row["probe/effect"] == trainer.probes.best(1).effect > 0.25  # that of the temperature 0.5
    assert row["samples/selected"] == sum(sample.reward >= threshold for sample in samples)
    # The probes are the same draws as those of the iteration.
    probed = load_ledger(trainer.args.output_dir, "probe-1.0")
    assert set(probed["completion"]) < {sample.completion for sample in samples}
    trainer.create_model_card()
    card = (Path(trainer.args.output_dir) / "README.md").read_text()
    assert "| temperature | one of 0.5, 1, 1.5, by probes |" in card
    assert "| reward of what is trained on | one of 0.5, 1, 1.5, by probes |" in card
    text = write_report(trainer.args.output_dir).read_text()
    assert "<h3>Temperature and threshold</h3>" in text and "probe-1.0" not in text


def test_only_a_temperature_or_only_a_threshold(make_probing, tmp_path):
    trainer = make_probing(adaptive_thresholds=None, num_iterations=1, output_dir=str(tmp_path / "temperature"))
    trainer.train()
    row = trainer.outer_run.history[1]
    assert row["probe/temperature"] == 1.0 and "probe/threshold" not in row
    assert row["samples/selected"] == sum(sample.kept for sample in trainer.ledger.read(1))
    trainer = make_probing(adaptive_temperatures=None, temperature=0.5, num_iterations=1)
    trainer.train()
    # All are right, have the reward 1.0 and the same words, so that one of four counts.
    row = trainer.outer_run.history[1]
    assert (row["probe/temperature"], row["probe/threshold"], row["probe/effect"]) == (0.5, 0.5, 1 / 4)


@pytest.mark.parametrize("ends_after", [9, 21, 45, 70])  # in the first and the second probe, after them, and later
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(make_probing, tmp_path, ends_after):
    whole = make_probing(output_dir=str(tmp_path / "whole"))
    whole.train()
    killed = make_probing(ends_after)
    with pytest.raises(InterruptedError):
        killed.train()
    resumed = make_probing()
    resumed.train(resume_from_checkpoint=True)
    for iteration in (1, 2):
        assert resumed.ledger.read(iteration) == whole.ledger.read(iteration)
        for temperature in SETTINGS["adaptive_temperatures"]:
            name = f"probe-{temperature}"
            assert resumed.probes.ledger(name).read(iteration) == whole.probes.ledger(name).read(iteration)
        rows = [trainer.outer_run.history[iteration] for trainer in (resumed, whole)]
        for key in ("probe/temperature", "probe/threshold", "probe/effect", "samples/selected", "train_loss"):
            assert rows[0][key] == rows[1][key]
    # A draw or two that were not recorded are made again.
    again = len(killed.engine.temperatures) + len(resumed.engine.temperatures) - len(whole.engine.temperatures)
    assert 0 <= again <= 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adaptive_temperatures": []}, r"`adaptive_temperatures` must be different finite numbers .*, got \[\]"),
        ({"adaptive_temperatures": [0.5, 0.5]}, "must be different finite numbers"),
        ({"adaptive_temperatures": [0.0, 0.5]}, "`adaptive_temperatures` must be positive"),
        ({"adaptive_temperatures": 0.5}, "`adaptive_temperatures` must be of type"),
        ({"adaptive_thresholds": [float("nan")]}, "`adaptive_thresholds` must be different finite numbers"),
        (
            {"adaptive_thresholds": [1.0], "distillation": "reverse_kl"},
            "`adaptive_thresholds=.*` chooses which samples are trained on, but .* all of them are",
        ),
        ({"num_probe_problems": 0}, "`num_probe_problems` must be at least 1, got 0"),
        ({"num_wanted_per_problem": 0}, "`num_wanted_per_problem` must be at least 1, got 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(make_args, settings, message):
    with pytest.raises(ValueError, match=message):
        make_args(**settings)


def test_what_does_not_go_with_probes_is_refused(make_trainer, tmp_path):
    with pytest.raises(ValueError, match=r"adaptive_temperatures=\[0.5, 1.0\]. Set `temperature=1.0`"):
        make_trainer(adaptive_temperatures=[0.5, 1.0], temperature=1.0, sample_weighting="importance")
    with pytest.raises(ValueError, match="`adaptive_thresholds=.*` cannot be used with pairs"):
        IterativeRPOConfig(output_dir=str(tmp_path), adaptive_thresholds=[1.0], **ON_A_CPU)
    # Other samplers draw at the temperature of the configuration.
    with pytest.raises(ValueError, match="The sampler `rationalization` draws 4 completions per problem at temper"):
        make_trainer(adaptive_temperatures=[0.5], num_generations=4)


def test_a_rollout_func_draws_as_it_likes(make_trainer):
    def rollout_func(prompts, trainer):
        raise AssertionError

    with pytest.raises(ValueError, match="a `rollout_func` draws as it likes"):
        make_trainer(adaptive_temperatures=[0.5, 1.0], samplers=None, rollout_func=rollout_func)


def test_probes_are_judged_as_the_samples_of_the_iteration(make_probing, problems):
    voting = MajorityVoteSampler(lambda text: text.split("\n")[-1], num_generations=3)
    trainer = make_probing(samplers=[voting], train_dataset=problems.select_columns(["prompt"]), num_iterations=1)
    trainer.train()
    assert load_history(trainer.args.output_dir)[-1]["probe/effect"] > 0


def test_a_threshold_that_nothing_reaches_is_named(make_probing):
    with pytest.raises(RuntimeError, match=r"are right, but do not reach .* `adaptive_thresholds=\[9.0\]`"):
        make_probing(adaptive_temperatures=[0.5], adaptive_thresholds=[9.0]).train()
