# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The arithmetic example: its problems, its scratchpads, its tokenizer and what its base model is trained on."""

import json
import random

import pytest

from star_trl import load_ledger


pytest.importorskip("matplotlib")

import arithmetic
import scratchpads
from base_model import build_word_tokenizer, document_pieces, encode_row


COMPLETION = """<scratch>
6 2 4 + 2 5 9 , C: 0
2 + 5 , 3 C: 1
6 + 2 , 8 3 C: 0
, 8 8 3 C: 0
0 8 8 3
</scratch>
8 8 3"""

DOCUMENTS = 2000


def examples_of(document: list[tuple[str, str]]) -> list[tuple[str, str, str | None, str]]:
    """First number, second number, hint and completion of each example of a document."""
    examples = []
    for problem, completion in document:
        title, operands, target = problem.splitlines()
        first, second = operands.replace(" ", "").split("+")
        assert title == "Input:" and target.startswith("Target:")
        examples.append((first, second, target.removeprefix("Target:").strip() or None, completion))
    return examples


@pytest.fixture(scope="module")
def documents() -> list[list[tuple[str, str]]]:
    rng = random.Random(0)
    return [scratchpads.make_document(rng, (1, 1, 1, 1, 1)) for _ in range(DOCUMENTS)]


def test_problem_to_the_letter():
    assert arithmetic.make_problem(624, 259) == {
        "prompt": "Input:\n6 2 4 + 2 5 9\nTarget:\n",
        "hinted_prompt": "Input:\n6 2 4 + 2 5 9\nTarget: 8 8 3\n",
        "completion": COMPLETION,
        "answer": "8 8 3",
        "digits": 3,
    }


def test_last_carry_leads_the_answer():
    problem = arithmetic.make_problem(7, 8)
    assert problem["answer"] == "1 5"
    assert problem["completion"] == "<scratch>\n7 + 8 , C: 0\n, 5 C: 1\n1 5\n</scratch>\n1 5"


@pytest.mark.parametrize("digits", range(1, 9))
def test_scratchpad_arrives_at_the_sum(digits):
    rng = random.Random(digits)
    for _ in range(200):
        first, second = (rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
        problem = arithmetic.make_problem(first, second)
        *lines, close, answer = problem["completion"].split("\n")
        assert answer == problem["answer"] and int(answer.replace(" ", "")) == first + second
        assert close == "</scratch>" and int(lines[-1].replace(" ", "")) == first + second
        # Line k holds the last k digits of the sum, and the carry out of their columns.
        for column, line in enumerate(lines[2:-1], start=1):
            written, carry = line.split(",")[1].split("C:")
            assert int(written.replace(" ", "")) == (first + second) % 10**column
            assert int(carry) == (first % 10**column + second % 10**column >= 10**column)


def test_tokenizer_gives_the_text_back():
    tokenizer = build_word_tokenizer(scratchpads.WORDS)
    problem = arithmetic.make_problem(624, 259)
    text = "\n\n".join([problem["hinted_prompt"] + COMPLETION, problem["prompt"]])
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(tokenizer) == 20
    for start in range(len(ids)):
        for end in range(start + 1, len(ids) + 1):
            part = tokenizer.decode(ids[start:end])
            assert part in text and tokenizer(part)["input_ids"] == ids[start:end]


def test_no_base_document_holds_a_right_sum_of_two_or_more_digits(documents):
    seen = 0
    for document in documents:
        for first, second, _, completion in examples_of(document):
            answer = completion.split("\n")[-1].replace(" ", "")
            if len(first) > 1:
                seen += 1
                assert int(answer) != int(first) + int(second)
                assert completion != arithmetic.make_problem(int(first), int(second))["completion"]
            else:
                assert int(answer) == int(first) + int(second)
    assert seen > DOCUMENTS


def test_base_documents_are_of_one_to_four_examples_of_equal_length(documents):
    counts = set()
    for document in documents:
        examples = examples_of(document)
        counts.add(len(examples))
        assert len({len(number) for first, second, *_ in examples for number in (first, second)}) == 1
    assert counts == {1, 2, 3, 4}


def test_hints_of_base_documents_are_the_answers(documents):
    hinted = [(hint, completion) for document in documents for *_, hint, completion in examples_of(document) if hint]
    assert hinted
    for hint, completion in hinted:
        assert completion.endswith(f"</scratch>\n{hint}")


def test_the_base_model_is_trained_on_completions_only():
    tokenizer = build_word_tokenizer(scratchpads.WORDS)
    document = [("Input:\n", "1 2"), ("Target:\n", "3")]
    input_ids, labels = encode_row(tokenizer, document_pieces(document), length=None)
    assert tokenizer.decode(input_ids) == "Input:\n1 2\n\nTarget:\n3 <eos>"
    assert tokenizer.decode([label for label in labels if label != -100]) == "1 2\n\n3 <eos>"
    assert encode_row(tokenizer, document_pieces(document), length=3) == (input_ids[:3], labels[:3])


def test_base_model_is_a_function_of_its_seed(tmp_path):
    phases = ((2, 2, 32, (1,)), (1, 2, 64, (1, 1)))
    paths = [
        scratchpads.make_base_model(tmp_path / name, seed, phases) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    one, two, other = ((path / "model.safetensors").read_bytes() for path in paths)
    assert one == two != other


def test_held_out_problems_are_not_training_problems():
    args = arithmetic.ArithmeticArguments(problems_per_digit=40, eval_problems_per_digit=20)
    train, held_out, examples = arithmetic.make_datasets(args, seed=0)
    longer = {row["prompt"] for row in train if row["digits"] > 1}
    assert not longer & {row["prompt"] for row in held_out}
    shown = {example["prompt"] for several in examples.values() for example in several}
    assert not shown & {row["prompt"] for dataset in (train, held_out) for row in dataset}
    assert {row["digits"] for row in held_out} == set(range(1, args.max_digits + 1))
    assert "completion" not in train.column_names


def test_the_example_runs_and_reports(tmp_path, capsys, run_command, small_adder):
    output_dir = tmp_path / "demo"
    run_command(
        arithmetic.main,
        output_dir=output_dir,
        base_model=small_adder,
        max_digits=2,
        problems_per_digit=12,
        eval_problems_per_digit=6,
        num_iterations=1,
        initial_steps=2,
    )

    for iteration in (0, 1):
        metrics = json.loads((output_dir / f"iteration-{iteration:03d}" / "metrics.json").read_text())
        assert {"eval_accuracy", "eval_accuracy/1", "eval_accuracy/2"} <= metrics.keys()
    assert load_ledger(output_dir).filter(lambda row: row["kept"]).num_rows > 0
    assert (output_dir / "accuracy.png").stat().st_size > 0
    assert "Accuracy on held-out sums" in capsys.readouterr().out
