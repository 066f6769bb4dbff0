# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Warnings of runs that will not get anywhere."""

import logging

import pytest
from datasets import Dataset

from star_trl import NothingSurvives, RationaleSampler, RationalizationSampler
from star_trl.monitoring.diagnosis import chance_level, signs_in_samples, signs_of_chance
from support.samples import make_sample
from support.sums import PROBLEMS, solve_easy_and_hinted


def problems_with(*answers, **columns):
    return Dataset.from_dict({"answer": list(answers), **columns})


def sample_of(problem, sampler="rationale", kept=True, **changes):
    return make_sample(problem_id=problem, sampler=sampler, kept=kept, **{"completion": "I do not know.", **changes})


@pytest.mark.parametrize(
    ("problems", "chance"),
    [
        (problems_with(*"abcdefgh"), 0.0),
        (problems_with("yes", "no", "yes"), 0.5),
        (problems_with(*"aaaa"), 1.0),
        (problems_with(*"abcd", choices=[["x", "y"]] * 4), 0.5),
        (problems_with(*"abcd", choices=[["x", "y"]] * 2 + [["x", "y", "z", "w"]] * 2), 0.375),
        (problems_with(*"aaab", choices=[list("abcde")] * 4), 2 / 3),
        (problems_with(1, 1, 2), 0.5),
        (problems_with("a"), 0.0),
        (Dataset.from_dict({"prompt": ["Q"]}), 0.0),
        (problems_with("a", choices=[{"text": ["x", "y"], "label": ["A", "B"]}]), 0.0),
    ],
)
def test_chance_level(problems, chance):
    assert chance_level(problems) == pytest.approx(chance)


def measured(right, total, problems, make_args, **changes):
    """Warnings where the first ones of the samples are right."""
    samples = [sample_of(problem, kept=problem < right, **changes) for problem in range(total)]
    return signs_of_chance(samples, problems, make_args())


@pytest.mark.parametrize(("right", "warned"), [(0, True), (20, True), (27, True), (28, False), (100, False)])
def test_an_accuracy_has_to_be_above_chance_by_its_interval(make_args, right, warned):
    problems = problems_with(*map(str, range(100)), choices=[list("abcde")] * 100)
    messages = measured(right, 100, problems, make_args)
    assert bool(messages) == warned
    assert all(f"{right}.0% of 100 problems (95% interval " in message for message in messages)
    assert all("chance (20.0%)" in message for message in messages)


def test_the_interval_is_wilsons(make_args):
    problems = problems_with(*["yes", "no"] * 50)
    (message,) = measured(50, 100, problems, make_args)
    assert "50.0% of 100 problems (95% interval 40.4% to 59.6%)" in message


@pytest.mark.parametrize(
    "problems",
    [
        problems_with(*["yes", "no"] * 10),  # 20 problems are too few to tell
        problems_with(*map(str, range(100))),  # nothing to guess
        problems_with(*["8"] * 6, *map(str, range(10, 70))),  # an answer of 6 problems is no class
        problems_with(*["7", "8"] * 20).rename_column("answer", "sum"),
    ],
)
def test_where_nothing_is_said_of_chance(make_args, problems):
    assert not measured(0, len(problems), problems, make_args)


def test_completions_that_are_cut_are_named_instead_of_chance(make_args):
    problems = problems_with(*["yes", "no"] * 50)
    (message,) = measured(0, 100, problems, make_args, drop_reason="truncated", finish_reason="length")
    assert "100 of 100 completions were cut" in message and "`max_completion_length=32`. Set it higher" in message
    assert "chance" not in message
    messages = measured(
        0,
        100,
        problems,
        make_args,
        drop_reason="truncated",
        completion=" 5\n\nQ: 1+1?\nA: 2\n\nQ: 2+2?",
        prompt="Q: 2+3?",
    )
    assert "100 of them go on with another question" in messages[0] and "max_completion" not in messages[0]


def test_rationalization_that_yields_nothing():
    samplers = [RationaleSampler(), RationalizationSampler()]
    problems = problems_with(*"abcd")
    samples = [sample_of(0), sample_of(1, kept=False), sample_of(1, "rationalization", kept=False)]
    (message,) = signs_in_samples(samples, samplers, problems, range(4))
    assert "None of 1 samples of `rationalization` is kept" in message and "I do not know." in message
    samples.append(sample_of(2, "rationalization"))
    assert not signs_in_samples(samples, samplers, problems, range(4))
    assert not signs_in_samples([sample_of(0, kept=False)], samplers, problems, range(4))  # no hints, no warning


@pytest.mark.parametrize(
    ("kept", "warned"),
    [
        (range(0, 40), True),  # all yes, of 40 yes and 60 no
        (range(20, 50), True),  # 20 yes and 10 no: 67%
        (range(22, 58), False),  # 18 yes and 18 no
        (range(40, 100), True),  # all no
        (range(0, 100), False),
        (range(0, 19), False),  # too few to tell
    ],
)
def test_an_answer_that_dominates(kept, warned):
    problems = problems_with(*["yes"] * 40, *["no"] * 60)
    samples = [sample_of(problem) for problem in kept]
    messages = signs_in_samples(samples, [RationaleSampler()], problems, range(100))
    assert bool(messages) == warned
    if warned:
        assert f"The answer {'no' if kept == range(40, 100) else 'yes'!r}" in messages[0]


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, logger="star_trl")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def many_problems():
    """Fifteen times the four sums with other names, of which half have the answer 3."""
    return Dataset.from_list(
        [
            {"prompt": f"Q{number}: {row['prompt']}", "answer": "3" if number % 2 else "5", "number": number}
            for number, row in enumerate(15 * PROBLEMS)
        ]
    )


ONLY_RATIONALES = {"samplers": [RationaleSampler()], "few_shot_examples": None, "num_iterations": 1}


def test_the_trainer_warns_before_training(make_trainer, many_problems, warnings):
    trainer = make_trainer(
        lambda prompt: "3", eval_dataset=many_problems, train_dataset=many_problems.select([1]), **ONLY_RATIONALES
    )
    trainer.evaluate()  # the model may be a trained one
    assert not [message for message in warnings() if "chance" in message]
    trainer.train()
    assert len([message for message in warnings() if "right on 50.0% of 60 problems" in message]) == 1


def test_without_an_evaluation_set_it_looks_at_the_first_samples(make_trainer, many_problems, warnings):
    make_trainer(lambda prompt: "3", train_dataset=many_problems, **ONLY_RATIONALES).train()
    assert [message for message in warnings() if "right on 50.0% of 60 problems" in message]


def test_the_trainer_warns_of_hints_that_do_not_help(make_trainer, problems, warnings):
    make_trainer(lambda prompt: "3", num_iterations=1).train()
    assert [message for message in warnings() if "None of 3 samples of `rationalization`" in message]


def test_a_run_that_goes_well_warns_of_nothing(make_trainer, problems, warnings):
    held_out = Dataset.from_list([{**PROBLEMS[0], "prompt": "Q: 2+1?\nA:"}])
    make_trainer(solve_easy_and_hinted, eval_dataset=held_out, num_iterations=1).train()
    assert not warnings()


def test_the_trainer_warns_of_settings_that_it_does_not_read(make_trainer, warnings):
    make_trainer(num_train_epochs=1)
    (message,) = warnings()
    assert "`num_train_epochs=1` has no effect" in message


def test_the_trainer_warns_of_samples_that_are_repeated_too_often(make_trainer, warnings):
    make_trainer(solve_easy_and_hinted, num_iterations=1, initial_steps=15).train()
    assert not warnings()  # 15 steps of 2 sequences on 3 samples
    make_trainer(solve_easy_and_hinted, num_iterations=1, initial_steps=17, overwrite_output_dir=True).train()
    (message,) = warnings()
    assert "17 steps = 11 epochs over 3 samples" in message and "Lower `initial_steps`" in message


def none_for_all(completions, **kwargs):
    return [None] * len(completions)


@pytest.mark.parametrize(
    ("answer", "settings", "advice"),
    [
        # It goes on with the next question, within the limit and beyond it.
        (" 9\n\nQ: 1+1?\nA: 2", {"stop_strings": None}, "8 wrong. 8 of them go on .* Set `stop_strings="),
        (
            " 9\n\nQ: 1+1?\nA: 2\n\nQ: 4+4?\nA: 8.\n\nQ",
            {"stop_strings": None},
            "8 truncated. 8 of them go on .* Set `stop",
        ),
        (" 9\nQ: 1+1?\nA: 2", {}, r"8 of them go on .* to `stop_strings=\['\\n\\n'\]`"),
        (" and then" * 9, {}, "8 truncated. They are longer than `max_completion_length=32`. Set it higher"),
        (" 3 or 5, or 9, or 8!", {}, "8 of the wrong ones hold the right answer, but not where .*exact_match_reward"),
        (" No idea.", {}, "The model does not solve these problems"),
        (" No idea.", {"reward_funcs": none_for_all}, r"8 unverified. .*\(none_for_all\) returned None"),
    ],
)
def test_advice_where_nothing_survives(make_trainer, answer, settings, advice):
    with pytest.raises(NothingSurvives, match=f"survives the filter: .*{advice}") as error:
        make_trainer(lambda prompt: answer, **settings).train()
    assert repr(answer[-10:])[1:-1] in str(error.value) or "truncated" in advice
    assert str(error.value).endswith("out')`.")


def test_advice_is_about_the_most_frequent_cause(make_trainer):
    def mostly_long(prompt):
        return " No idea." if "1+2?" in prompt else " and then" * 9

    with pytest.raises(NothingSurvives, match="6 truncated, 2 wrong. They are longer.* first truncated one"):
        make_trainer(mostly_long, samplers=None).train()


def test_hints_under_another_name_are_suggested(make_trainer, problems, warnings):
    renamed = problems.rename_column("hinted_prompt", "hint_prompt")
    plain = [{"prompt": "Q: 1+1?\nA:", "completion": " One more than 1.\n2"}]
    make_trainer(train_dataset=renamed, few_shot_examples=plain)
    (message,) = warnings()
    assert "no column `hinted_prompt`" in message and "Did you mean `hint_prompt`?" in message
    assert "Rationalization is left out" in message
    trainer = make_trainer(solve_easy_and_hinted, train_dataset=renamed)
    assert trainer.evaluate(renamed)["eval_accuracy"] == 0.5
    with pytest.raises(ValueError, match=r"Did you mean `hint_prompt`\? The few-shot examples have a `hinted_prompt`"):
        trainer.train()


def test_no_hints_on_purpose_is_no_warning(make_trainer, problems, warnings):
    make_trainer(train_dataset=problems.remove_columns("hinted_prompt"), samplers=[RationaleSampler()])
    assert not warnings()
