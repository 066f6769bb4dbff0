# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The ledger, and going on from it."""

import json
import pickle
from dataclasses import FrozenInstanceError, asdict, replace
from datetime import date
from enum import Enum

import pytest
import torch
from datasets import Dataset

from star_trl import RationaleSampler, RationalizationSampler, load_ledger
from star_trl.ledger import FEATURES, Ledger
from star_trl.ledger.sample import as_line
from star_trl.output_dir import finite
from support.samples import make_sample
from support.sums import last_question, solve_easy_and_hinted


class Color(Enum):
    RED = 1


def test_reading_gives_back_what_was_appended(tmp_path):
    samples = [make_sample(problem_id=0), make_sample(problem_id=1, rewards={"match": None}, reward=None, kept=False)]
    ledger = Ledger(tmp_path)
    ledger.append(samples[:1])
    ledger.append(samples[1:])
    ledger.append([])
    assert ledger.read(1) == samples
    assert ledger.read(2) == []


def test_shards_of_several_processes_are_one_ledger(tmp_path):
    for process in (1, 0):
        Ledger(tmp_path, process, 2).append([make_sample(problem_id=process)])
    assert [sample.problem_id for sample in Ledger(tmp_path).read(1)] == [0, 1]
    assert {path.name for path in tmp_path.rglob("*.jsonl")} == {
        "samples-00000-of-00002.jsonl",
        "samples-00001-of-00002.jsonl",
    }


def test_reading_again_parses_the_new_lines_of_others_only(tmp_path, monkeypatch):
    """What a ledger has appended, it knows. A shard that is gone or shorter is forgotten."""
    parsed = []
    parse = Ledger._parse
    monkeypatch.setattr(Ledger, "_parse", lambda *args: parsed.append(args) or parse(*args))
    ledger, other = Ledger(tmp_path, 0, 2), Ledger(tmp_path, 1, 2)
    ledger.append([make_sample(problem_id=0)])
    assert len(ledger.read(1)) == len(parsed) == 1
    other.append([make_sample(problem_id=1)])
    ledger.append([make_sample(problem_id=2)])
    assert [sample.problem_id for sample in ledger.read(1)] == [0, 1, 2]
    assert len(parsed) == 2
    assert ledger.read(1) == Ledger(tmp_path).read(1)
    first, second = sorted(tmp_path.rglob("*.jsonl"))
    second.unlink()
    assert [sample.problem_id for sample in ledger.read(1)] == [0, 2]
    first.write_bytes(first.read_bytes().splitlines(keepends=True)[0])
    assert [sample.problem_id for sample in ledger.read(1)] == [0]


def test_a_run_reads_none_of_its_own_lines(make_trainer, monkeypatch):
    """Its report, too, takes the samples that the ledger of the run holds."""
    parsed = []
    parse = Ledger._parse
    monkeypatch.setattr(Ledger, "_parse", lambda *args: parsed.append(args) or parse(*args))
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.train()
    assert not parsed and (trainer.ledger.output_dir / "report.html").exists()


def test_a_torn_line_is_left_out_and_cut_off(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append([make_sample()])
    (shard,) = tmp_path.rglob("*.jsonl")
    with open(shard, "a") as file:
        file.write('{"iteration": 1, "problem')
    assert ledger.read(1) == [make_sample()]
    ledger.drop_torn_line(1)
    ledger.append([make_sample(problem_id=5)])
    assert [sample.problem_id for sample in ledger.read(1)] == [0, 5]


def test_a_line_torn_inside_a_character_is_left_out(tmp_path):
    """By every reader, also where it stays, since another number of processes goes on."""
    torn = Ledger(tmp_path, 1, 2)
    torn.append([make_sample()])
    (shard,) = tmp_path.rglob("*.jsonl")
    line = shard.read_bytes()
    with open(shard, "ab") as file:
        file.write(line[: line.index("\N{SNOWMAN}".encode()) + 1])
    assert torn.read(1) == Ledger(tmp_path).read(1) == [make_sample()]
    Ledger(tmp_path).drop_torn_line(1)
    Ledger(tmp_path).append([make_sample(problem_id=5)])
    assert load_ledger(tmp_path)["problem_id"][:] == [0, 5]


def test_a_line_has_each_value_under_its_name():
    sample = make_sample(reward=0.5, rewards={"r": 0.5}, logprob=-1.5, completion_ids=[5, 7], loss_mask=[True, False])
    for extra in ({}, {"note": 1}):  # which are encoded in different ways
        written = json.loads(as_line(replace(sample, extra=extra)))
        assert written == asdict(replace(sample, extra=extra))


WRONG_FIELDS = [
    ("problem_id", -1),
    ("problem_id", 4),
    ("problem_id", 10**30),
    ("problem_id", "0"),
    ("problem_id", True),
    ("iteration", 2),
    ("sample_index", -1),
    ("sampler", None),
    ("prompt", ["Q"]),
    ("hint_shown", 0),
    ("completion", None),
    ("reward", 10**400),
    ("completion_ids", None),
    ("completion_ids", [1, "2"]),
    ("completion_ids", [1, -2]),
    ("completion_ids", [1, 10**30]),
    ("completion_ids", [1, 2.0]),
    ("completion_ids", [1, 105]),
    ("loss_mask", [True]),
    ("loss_mask", [True, None]),
    ("finish_reason", "end"),
    ("rewards", [1.0]),
    ("rewards", {"match": "1"}),
    ("reward", "1"),
    ("kept", "no"),
    ("kept", False),
    ("drop_reason", "wrong"),
    ("extra", []),
    ("unknown", 1),
]


@pytest.mark.parametrize(("name", "value"), WRONG_FIELDS)
def test_a_line_with_a_wrong_value_is_named(tmp_path, name, value):
    ledger = Ledger(tmp_path)
    ledger.append([make_sample(), make_sample(problem_id=3, completion_ids=[1, 104])])
    (shard,) = tmp_path.rglob("*.jsonl")
    first, second = shard.read_text().splitlines()
    shard.write_text(f"{first}\n{json.dumps({**json.loads(second), name: value})}\n")
    with pytest.raises(ValueError, match=r"Line 2 of .*samples-00000-of-00001.jsonl is not a sample \(.*Delete"):
        Ledger(tmp_path, num_problems=4, vocab_size=105).read(1)


def test_a_number_beyond_floats_is_named(tmp_path):
    """Python reads it as infinity."""
    ledger = Ledger(tmp_path)
    ledger.append([make_sample()])
    (shard,) = tmp_path.rglob("*.jsonl")
    shard.write_text(shard.read_text().replace('"reward":1.0', '"reward":1e999'))
    with pytest.raises(ValueError, match=r"Line 1 of .* is not a sample \(.*is infinite"):
        ledger.read(1)


@pytest.mark.parametrize("line", ["[]", "1", "null", "[" * 10_000, '{"extra": ' * 10_000, "\x00" * 50])
def test_a_line_of_another_shape_is_named(tmp_path, line):
    ledger = Ledger(tmp_path)
    ledger.append([make_sample()])
    (shard,) = tmp_path.rglob("*.jsonl")
    shard.write_text(f"{line}\n{shard.read_text()}")
    with pytest.raises(ValueError, match=r"Line 1 of .* is not a sample"):
        ledger.read(1)


def test_what_json_does_not_have_is_null(tmp_path):
    """A reward function may log NaN, and bytes of a file name that are no text."""
    ledger = Ledger(tmp_path)
    ledger.append([make_sample(extra={"scores": [float("nan"), 1.0], "file": "caf\udce9"})])
    assert ledger.read(1)[0].extra == {"scores": [None, 1.0], "file": "caf\udce9"}
    assert json.loads(load_ledger(tmp_path)[0]["extra"])["file"] == "caf\udce9"


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": {"count": 2**70, "counts": [-(2**63) - 1], 1: "one"}},
        {"extra": {"color": Color.RED, "when": date(2026, 11, 30), "text": "\udce9"}},
        {"completion": "caf\udce9 \x00 \u2028 \ud83d"},
        {"completion_ids": (1, 2), "rewards": {"match": float("nan")}, "reward": float("inf")},
        {"reward": 0.1 + 0.2, "logprob": -1e-320},
    ],
    ids=["whole numbers of any size", "other types", "half characters", "nothing finite", "every digit"],
)
def test_a_line_reads_as_what_json_makes_of_the_sample(tmp_path, changes):
    """orjson reads and writes the lines where it does as json would. Lines of json, as before, are read as well."""
    sample = make_sample(**changes)
    expected = json.loads(json.dumps(finite(asdict(sample)), default=str))
    ledger = Ledger(tmp_path / "new")
    assert not ledger.read(1)
    ledger.append([sample])
    assert [asdict(read) for read in ledger.read(1)] == [expected]
    shard = tmp_path / "old" / "iteration-001" / "samples-00000-of-00001.jsonl"
    shard.parent.mkdir(parents=True)
    shard.write_text(json.dumps(expected) + "\n")
    for folder in ("new", "old"):
        assert [asdict(read) for read in Ledger(tmp_path / folder).read(1)] == [expected]


def test_a_sample_gives_lists_of_tokens():
    """They are held in less memory."""
    sample = make_sample(completion_ids=[70_000, 2], loss_mask=[True, False])
    for read in (sample, replace(sample, prompt="R"), pickle.loads(pickle.dumps(sample))):
        assert read.completion_ids + [3] == [70_000, 2, 3]
        assert read.loss_mask[::-1] == [False, True]
        assert read.num_tokens == 2
    assert pickle.loads(pickle.dumps(sample)) == sample != replace(sample, completion_ids=[70_000, 3])
    with pytest.raises(FrozenInstanceError):
        sample.completion_ids = [1]
    assert "completion_ids=[70000, 2], loss_mask=[True, False]" in repr(sample)


def test_a_list_that_was_read_may_be_changed(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append([make_sample()])
    ledger.read(1).clear()
    assert len(ledger.read(1)) == 1


def test_what_an_earlier_version_wrote_of_nan_is_null(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append([make_sample(extra={"score": 7.25})])
    (shard,) = tmp_path.rglob("*.jsonl")
    shard.write_text(shard.read_text().replace("7.25", "NaN"))
    assert ledger.read(1)[0].extra == {"score": None}


def test_samples_are_in_the_order_of_the_samplers(tmp_path):
    ledger = Ledger(tmp_path, samplers=["second", "first"])
    rows = [make_sample(sampler=name, problem_id=problem) for name in ("first", "second") for problem in (1, 0)]
    ledger.append([*rows, make_sample(sampler="another")])
    found = [(sample.sampler, sample.problem_id) for sample in ledger.read(1)]
    assert found == [("second", 0), ("second", 1), ("first", 0), ("first", 1), ("another", 0)]


def test_load_ledger_has_fixed_features(tmp_path):
    """Also where a reward is null in one iteration and a number in the next."""
    ledger = Ledger(tmp_path)
    ledger.append(
        [make_sample(rewards={"match": None, "length": 2}, reward=None, kept=False, drop_reason="unverified")]
    )
    ledger.append([make_sample(iteration=2, extra={"note": ["a"]})])
    dataset = load_ledger(tmp_path)
    assert dataset.features == FEATURES
    assert dataset["iteration"][:] == [1, 2]
    assert dataset[0]["rewards"] == [{"name": "match", "value": None}, {"name": "length", "value": 2.0}]
    assert json.loads(dataset[1]["extra"]) == {"note": ["a"]}


def test_load_ledger_without_samples(tmp_path):
    with pytest.raises(FileNotFoundError, match="No samples under"):
        load_ledger(tmp_path)


def test_every_sample_is_in_the_ledger(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.train()
    dataset = load_ledger(trainer.args.output_dir)
    assert len(dataset) == 12
    assert sum(dataset["kept"]) == 6
    assert {row["sampler"] for row in dataset} == {"rationale", "rationalization"}
    row = next(row for row in dataset if row["kept"] and row["sampler"] == "rationalization")
    assert row["prompt"] == "Q: 4+5?\nA:"
    assert row["completion"] == " Let me count.\n9"


def test_output_directory(make_trainer, problems):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, eval_dataset=problems, eval_group_column="kind")
    trainer.train()
    output_dir = trainer.ledger.output_dir
    names = {str(path.relative_to(output_dir)) for path in output_dir.rglob("*") if path.is_file()}
    assert {
        "star_state.json",
        "README.md",
        "iteration-000/metrics.json",
        "iteration-001/metrics.json",
        "iteration-001/samples-00000-of-00001.jsonl",
        "iteration-001/checkpoint/model.safetensors",
    } <= names
    metrics = json.loads((output_dir / "iteration-001" / "metrics.json").read_text())
    assert metrics["eval_accuracy"] == 0.5
    assert (metrics["eval_accuracy/easy"], metrics["eval_accuracy/hard"]) == (1.0, 0.0)


def test_old_checkpoints_are_deleted(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=4, save_total_limit=2)
    trainer.train()
    saved = sorted(path.parent.name for path in trainer.ledger.output_dir.glob("*/checkpoint"))
    # The best one (the first of equals) is the original model.
    assert saved == ["iteration-003", "iteration-004"]


class Crash(Exception):
    pass


def test_resuming_gives_the_uninterrupted_run(make_trainer, model, tmp_path):
    """A crash in the middle of sampling the second iteration costs the samples in flight and nothing else."""
    original = {name: value.clone() for name, value in model.state_dict().items()}
    uninterrupted = make_trainer(solve_easy_and_hinted, num_iterations=3, output_dir=str(tmp_path / "whole"))
    uninterrupted.train()
    expected = {name: value.clone() for name, value in model.state_dict().items()}

    model.load_state_dict(original)
    asked = 0

    def crash(prompt):
        nonlocal asked
        asked += 1
        if asked == 6 + 5:
            raise Crash
        return solve_easy_and_hinted(prompt)

    with pytest.raises(Crash):
        make_trainer(crash, num_iterations=3).train()
    assert asked == 11

    model.load_state_dict(original)
    resumed = make_trainer(solve_easy_and_hinted, num_iterations=3)
    resumed.train(resume_from_checkpoint=True)
    assert len(resumed.engine.prompts) == 2 + 6  # the rest of iteration 2, and iteration 3
    for iteration in (1, 2, 3):
        assert resumed.ledger.read(iteration) == uninterrupted.ledger.read(iteration)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert resumed.state.global_step == uninterrupted.state.global_step == 9


NOT_OF_THE_RUN = [
    ("sampler", lambda _: "rationals", r"`sampler` is 'rationals', expected one of \['rationale'"),
    ("sample_index", lambda _: 1, "`sample_index` is 1, but `rationale` draws fewer completions of problem 3"),
    ("completion_ids", lambda ids: [105, *ids[1:]], "`completion_ids` has 105, but the model has 105 tokens"),
]


@pytest.mark.parametrize(("asked_before", "path"), [(4, "iteration-001/samples"), (0, "iteration-000/eval")])
@pytest.mark.parametrize(("name", "change", "message"), NOT_OF_THE_RUN)
def test_a_line_that_is_not_of_the_run(make_trainer, problems, model, asked_before, path, name, change, message):
    """It is named before anything is made of an iteration in progress. Without the line the run goes on."""
    asked = 0

    def crash(prompt):
        nonlocal asked
        asked += 1
        if asked == asked_before + 3:
            raise Crash
        return solve_easy_and_hinted(prompt)

    original = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(Crash):
        make_trainer(crash, num_iterations=1, eval_dataset=problems).train()
    model.load_state_dict(original)
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, eval_dataset=problems)
    shard = trainer.ledger.output_dir / f"{path}-00000-of-00001.jsonl"
    first, second = shard.read_text().splitlines(keepends=True)
    line = json.loads(first)
    shard.write_text(f"{first}{second}{json.dumps({**line, name: change(line[name])})}\n")
    with pytest.raises(ValueError, match=rf"Line 3 of .*{shard.name} is not a sample.*{message}.*Delete the line"):
        trainer.train(resume_from_checkpoint=True)
    shard.write_text(first + second)
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, eval_dataset=problems)
    trainer.train(resume_from_checkpoint=True)
    assert len(load_ledger(trainer.args.output_dir)) == 6


def test_a_sampler_may_change_its_number_of_draws(make_trainer):
    """From one iteration to the next, in `select`. What it drew before is read again."""

    class Waning(RationaleSampler):
        def select(self, state):
            self.num_generations = 4 - state.iteration
            return super().select(state)

    trainer = make_trainer(
        solve_easy_and_hinted, samplers=[Waning(num_generations=3, temperature=1.0)], sample_iterations=2
    )
    trainer.train()
    assert [len(trainer.ledger.read(iteration)) for iteration in (1, 2)] == [12, 8]


@pytest.mark.parametrize(("p", "num_generations"), [(0.5, 1), (1.0, 3)])
def test_resuming_inside_a_later_sampler(make_trainer, tmp_path, p, num_generations):
    """What that sampler solved itself before the crash does not count as solved before it."""
    problems = Dataset.from_list(
        [{"prompt": f"Q: {i}+0?\nA:", "hinted_prompt": f"Q: {i}+0? ({i})\nA:", "answer": str(i)} for i in range(20)]
    )
    asked = 0

    def solve_hinted(prompt):
        nonlocal asked
        asked += 1
        if asked == crash_at:
            raise Crash
        return f" Sum.\n{last_question(prompt).split('+')[0]}" if "(" in last_question(prompt) else " No.\n0"

    def make(output_dir):
        samplers = [
            RationaleSampler(num_generations=1, temperature=0.0),
            RationalizationSampler(p=p, num_generations=num_generations, temperature=1.0),
        ]
        return make_trainer(
            solve_hinted,
            samplers=samplers,
            train_dataset=problems,
            generation_batch_size=2,
            output_dir=str(tmp_path / output_dir),
        )

    crash_at = None
    expected = make("whole").sample(1)
    asked, crash_at = 0, 26
    with pytest.raises(Crash):
        make("interrupted").sample(1)
    crash_at = None
    assert make("interrupted").sample(1) == expected


def test_resuming_with_other_samplers_is_refused(make_trainer):
    hinted = RationalizationSampler(p=1.0)
    make_trainer(solve_easy_and_hinted, num_iterations=1, samplers=[RationaleSampler(), hinted]).train()
    hinted = RationalizationSampler(p=0.5)
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=2, samplers=[RationaleSampler(), hinted])
    with pytest.raises(ValueError, match=r"`samplers` was .*'p': 1.0.* and is .*'p': 0.5"):
        trainer.train(resume_from_checkpoint=True)


def test_resuming_another_run_is_refused(make_trainer, model):
    make_trainer(solve_easy_and_hinted, num_iterations=1).train()
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=2, learning_rate=1e-3)
    with pytest.raises(ValueError, match=r"`learning_rate` was 0.01 and is 0.001; .*other weights"):
        trainer.train(resume_from_checkpoint=True)


def test_nothing_to_resume(make_trainer):
    with pytest.raises(FileNotFoundError, match="No run to resume"):
        make_trainer(solve_easy_and_hinted).train(resume_from_checkpoint=True)


def test_the_best_model_is_loaded_at_the_end(make_trainer, problems, model):
    """Right on everything after the first iteration, wrong again after the second."""

    def answer(prompt):
        if trainer.iteration != 1 and "(" not in last(prompt):
            return solve_easy_and_hinted(prompt)
        a, b = last(prompt).split("?")[0].split("+")
        return f" Sum.\n{int(a) + int(b)}"

    def last(prompt):
        return prompt.split("Q: ")[-1]

    trainer = make_trainer(
        answer, num_iterations=3, eval_dataset=problems, load_best_model_at_end=True, save_total_limit=1
    )
    trainer.train()
    assert trainer.outer_run.state.best_iteration == trainer.iteration == 1
    saved = type(model).from_pretrained(trainer.outer_run.checkpoint_dir(1))
    assert all(torch.equal(saved.state_dict()[name], value) for name, value in model.state_dict().items())
