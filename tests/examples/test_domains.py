# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Proofs, medicine and law: the problems of their examples, their few-shot examples, and whole runs."""

import json
import random
import re
import shutil
import sys

import pytest

import legalbench
import medqa
import proofs
import synthetic_proofs
from base_model import build_word_tokenizer
from dataset_model import make_dataset_model
from domain import read_examples
from star_trl import load_ledger
from support import DATA


needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="Rocq is not installed: apt-get install coq")
CHOICES = {"medqa": (medqa, 18, 6), "legalbench": (legalbench, 18, 6)}


# Problems


@pytest.mark.parametrize("name", CHOICES)
def test_every_row_is_prompted_hinted_and_extracted(name):
    module, *numbers = CHOICES[name]
    for split, number in zip(("train", "eval"), numbers, strict=True):
        rows = module.load(split, str(DATA / name))
        assert len(rows) == number
        for row in rows:
            assert row["prompt"].startswith("Q: ") and row["prompt"].endswith("\nA:") and "\n\n" not in row["prompt"]
            for letter in "abcde"[: len(row["choices"])]:
                for reward in module.DOMAIN.reward_funcs:
                    right = float(letter == row["answer"])
                    assert reward([row["direct"]], answer=[letter], choices=[row["choices"]]) == [right]
            assert row["hinted_prompt"].count(" (CORRECT)") == 1
            assert row["hinted_prompt"].replace(" (CORRECT)", "") == row["prompt"]


def test_no_row_is_in_both_splits():
    for module, name in [(medqa, "medqa"), (legalbench, "legalbench"), (proofs, None)]:
        train, held_out = (module.load(split, name and str(DATA / name)) for split in ("train", "eval"))
        assert not {row["prompt"] for row in train} & {row["prompt"] for row in held_out}


def test_rows_of_the_hub_are_those_of_the_files(monkeypatch):
    asked = []

    def load_dataset(*args, data_dir=None, split, **kwargs):
        asked.append((args, data_dir, split, kwargs))
        path = DATA / "medqa" / f"{split}.jsonl" if data_dir is None else DATA / "legalbench" / f"{data_dir}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    for name, (module, *_) in CHOICES.items():
        monkeypatch.setattr(module, "load_dataset", load_dataset)
        assert module.load("eval", None) == module.load("eval", str(DATA / name))
    parquet = {"revision": "refs/convert/parquet"}
    assert asked == [
        (("GBaker/MedQA-USMLE-4-options",), None, "test", {}),
        *((("nguha/legalbench",), domain, "test", parquet) for domain in ("hearsay", "overruling", "abercrombie")),
    ]


# Few-shot examples


@pytest.mark.parametrize(("name", "number"), [("medqa", 5), ("legalbench", 6)])
def test_few_shot_examples_are_right(name, number):
    domain = CHOICES[name][0].DOMAIN
    examples = read_examples(domain)
    assert len(examples) == number
    for example in examples:
        ((answer, choice),) = re.findall(r"\((\w)\) ([^\n]*) \(CORRECT\)", example["hinted_prompt"])
        assert example["completion"].endswith(f"Therefore, the answer is {choice} ({answer}).")
        for completion in (example["completion"], example["direct"]):
            for reward in domain.reward_funcs:
                assert reward(completions=[completion], answer=[answer]) == [1.0]


@needs_coq
def test_every_reference_proof_and_few_shot_example_is_a_proof():
    rows = proofs.load("train", None) + proofs.load("eval", None)
    assert len(rows) == 48 == len({row["theorem"] for row in rows})
    theorems, direct = ([row[column] for row in rows] for column in ("theorem", "direct"))
    errors = {}
    assert proofs.checker()(direct, theorem=theorems, log_extra=errors.__setitem__) == [1.0] * 48, errors
    # And of no other theorem
    assert sum(proofs.checker()(direct, theorem=theorems[1:] + theorems[:1])) < 3

    examples = read_examples(proofs.DOMAIN)
    stated = [example["prompt"].removeprefix("Q: ").removesuffix("\nA:") for example in examples]
    assert not set(stated) & set(theorems)
    for column, with_thoughts in [("completion", 1.0), ("direct", 0.0)]:
        written = [example[column] for example in examples]
        assert proofs.proof_reward(written, theorem=stated) == [1.0] * 5
        assert proofs.proof_with_thoughts_reward(written, theorem=stated) == [with_thoughts] * 5
    for example, theorem in zip(examples, stated, strict=True):
        hint = example["direct"].strip().removesuffix(" Qed.")
        assert example["hinted_prompt"] == f"Q: {theorem} ({hint})\nA:"


def test_proofs_are_read_from_files(tmp_path):
    (tmp_path / "train.v").write_text("Theorem t :\n  True.\nProof. exact I. Qed.\n\n(* x *)\n\n")
    (row,) = proofs.load("train", str(tmp_path))
    assert row["hinted_prompt"] == "Q: Theorem t : True. (exact I.)\nA:" and row["direct"] == " exact I. Qed."


# Whole runs


@pytest.fixture
def command(run_domain, tmp_path):
    """Runs the command line of a domain with a tiny model that knows the form of its answers."""

    def run(domain, *arguments, data_dir=None, phases=((60, 8, 128),)):
        model = make_dataset_model(tmp_path / "model", domain, domain.load("train", data_dir), phases=phases)
        data = ["--data_dir", data_dir] if data_dir else []
        return load_ledger(run_domain(domain, model, *data, *arguments) / "star")

    return run


@pytest.mark.parametrize("name", CHOICES)
def test_medicine_and_law_from_end_to_end(command, name):
    """The model itself generates."""
    samples = command(CHOICES[name][0].DOMAIN, "--max_completion_length", 40, data_dir=str(DATA / name))
    kept = [row["completion"] for row in samples if row["kept"]]
    assert kept and all(re.search(r"the answer is \([a-e]\)\.$", text) for text in kept)


def follow_the_hint(prompt):
    """Puts a thought before every tactic of the hint; without one it gives up."""
    hint = re.search(r"\.\s\((.*)\.\)\nA:\Z", prompt.split("Q: ")[-1])
    tactics = hint[1].split(". ") if hint else ["admit"]
    return " " + "\n".join([*(f"(* Go on. *) {tactic}." for tactic in tactics), "Qed."])


@needs_coq
def test_proofs_from_end_to_end(command, script_engine, capsys):
    """With an engine that is a script, so that rationalization survives; and all runs of the table."""
    script_engine(follow_the_hint)
    samples = command(proofs.DOMAIN, "--runs", "few_shot_cot", "star", phases=((2, 2, 64),))
    kept = [row for row in samples if row["kept"]]
    assert len(kept) == 36 and {row["sampler"] for row in kept} == {"rationalization"}
    assert all("(* Go on. *)" in row["completion"] and "(intros" not in row["prompt"] for row in kept)
    dropped = [row for row in samples if not row["kept"]]
    assert all("given up goals" in row["extra"] for row in dropped)
    assert "Few-shot, chain of thought" in capsys.readouterr().out


# The synthetic version


@pytest.mark.parametrize("level", synthetic_proofs.LEVELS)
def test_synthetic_theorems_differ_between_the_splits_and_are_tokens(level):
    args = synthetic_proofs.ProofArguments(problems_per_level=80, eval_problems_per_level=20)
    train, held_out = (
        [row for row in rows if row["level"] == level] for rows in synthetic_proofs.make_datasets(args, seed=0)
    )
    assert len(train) == 80 and len(held_out) == 20
    if level > 1:

        def shapes(rows):
            return {synthetic_proofs.shape(row["prompt"].split(" : ")[1].split(" .")[0]) for row in rows}

        assert not shapes(train) & shapes(held_out)
    tokenizer = build_word_tokenizer(synthetic_proofs.WORDS)
    for row in train:
        assert set(row) == {"prompt", "hinted_prompt", "theorem", "level"}
        ids = tokenizer(row["hinted_prompt"])["input_ids"]
        assert tokenizer.decode(ids) == row["hinted_prompt"]


@needs_coq
def test_synthetic_proofs_are_right_and_made_up_ones_wrong():
    rng = random.Random(0)
    reward = synthetic_proofs.ProofCheckReward(batch_size=60)
    for made_up in (False, True):
        problems = [
            synthetic_proofs.make_problem(*synthetic_proofs.draw_theorem(rng, level), level, rng if made_up else None)
            for level in synthetic_proofs.LEVELS
            for _ in range(20)
        ]
        errors = {}
        rewards = reward(
            [problem["completion"] for problem in problems],
            theorem=[problem["theorem"] for problem in problems],
            log_extra=errors.__setitem__,
        )
        assert rewards == [float(not made_up)] * 60, errors


@needs_coq
def test_the_synthetic_example_writes_its_results(monkeypatch, tmp_path, script_engine):
    phases = ((2, 2, 64, (1, 0, 0)),)
    base = synthetic_proofs.make_base_model(tmp_path / "base", phases)

    def write(prompt):
        """Each proof of the hint, and without one that of an atom which is the last hypothesis."""
        hint = re.search(r"\(\* (.*) \*\)\nProof", prompt)
        count = min(prompt.count("->"), 3)
        names = " ".join(f"h{number + 1}" for number in range(count))
        return f"{hint[1]}\nQed ." if hint else f"intros {names} .\nexact h{count} .\nQed ."

    script_engine(write)
    given = f"""--base_model {base} --output_dir {tmp_path}/out --results {tmp_path}/results.json --num_iterations 1
        --initial_steps 2 --problems_per_level 8 --eval_problems_per_level 4 --disable_tqdm true"""
    for arguments in ("", f" --rationalization false --output_dir {tmp_path}/without"):
        monkeypatch.setattr(sys, "argv", ["synthetic_proofs.py", *(given + arguments).split()])
        synthetic_proofs.main()
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == {"star", "without_rationalization"}
    base, star = results["star"]["seed 0"]
    assert (base["iteration"], star["iteration"]) == (0, 1) and base["eval_accuracy/3"] == 0.0
    assert star["rationale/solved"] + star["rationalization/solved"] == pytest.approx(1.0)
