# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The synthetic example of tools: its problems, what its base model is trained on, and its command line."""

import json
import random
import re
import sys

import pytest

import synthetic_tools
from base_model import encode_row
from synthetic_tools import BEGIN, EOS, HINT, make_document, make_problem


SIGNS = {"bags of": "*", "finds": "+", "loses": "-"}


def right_marks(question: str) -> str:
    """The marks that solve a question."""
    first, *others = re.findall(r"(bags of|finds|loses)? ?(\d+)", question)
    value, marks = int(first[1]), ""
    for phrase, number in others:
        expression = f"{value}{SIGNS[phrase]}{number}"
        value = eval(expression)
        marks += f" <<{expression}={value}>>"
    return marks


def test_the_answer_is_that_of_the_words():
    rng = random.Random(0)
    rows = [make_problem(rng)[0] for _ in range(200)]
    assert {row["steps"] for row in rows} == {*range(1, synthetic_tools.MAX_STEPS + 1)}
    for row in rows:
        assert right_marks(row["prompt"]).endswith(f"={row['answer']}>>")


def test_what_the_base_model_is_trained_on():
    """Calls with true results but signs at random, hints that are not trained on, and the text as it was."""
    rng, tokenizer = random.Random(0), synthetic_tools.build_tokenizer()
    documents = [[text for text, _ in make_document(rng)] for _ in range(500)]
    hinted = [document for document in documents if document[1]]
    assert 0.75 < len(hinted) / 500 < 0.85 and {document[1] for document in hinted} == {HINT}
    right = 0
    for question, _, answer in hinted:
        for expression, result in re.findall(r"<<(.*?)=(.*?)>>", answer):
            assert eval(expression) == int(result)
        right += answer.startswith(right_marks(question) + "\n")
    assert 0 < right / len(hinted) < 0.4
    assert tokenizer.decode(tokenizer("".join(documents[0]))["input_ids"]) == "".join(documents[0])
    input_ids, labels = encode_row(tokenizer, synthetic_tools.write_row(random.Random(0), 1), length=None)
    untrained = [token for token, label in zip(input_ids, labels, strict=True) if label == -100]
    assert tokenizer.decode(untrained) == documents[0][1] and documents[0][2].endswith(EOS)


@pytest.mark.parametrize("setting", synthetic_tools.SETTINGS)
def test_the_command_line_with_a_model_that_calls_behind_the_hint(setting, tmp_path, monkeypatch, script_engine):
    def answer(prompt):
        question, _, written = prompt.rpartition("Q: ")[2].partition("\nA:")
        marks, done = right_marks(question), re.sub(re.escape(BEGIN) + f"({re.escape(HINT)})?", "", written)
        if not written:
            return f"{BEGIN} That makes 1.\n1"
        if done == marks:
            return f"\n{marks.rpartition('=')[2].removesuffix('>>')}"
        return re.match(r"[^=]*=", marks.removeprefix(done))[0] + "0>>\n0"

    synthetic_tools.make_base_model(tmp_path / "base", ((1, 2, None, 1),))
    monkeypatch.setattr(synthetic_tools, "CONFIG", {**synthetic_tools.CONFIG, "initial_steps": 1})
    script_engine(answer)
    results = tmp_path / "results.json"
    arguments = f"--output_dir {tmp_path} --settings {setting} --problems 8 --num_iterations 1 --results {results}"
    monkeypatch.setattr(sys, "argv", ["synthetic_tools.py", *arguments.split()])
    if setting != "star":  # it is right behind the hint only, and with the tool only
        with pytest.raises(RuntimeError, match="No sample of iteration 1 survives"):
            synthetic_tools.main()
        return
    synthetic_tools.main()
    (rows,) = json.loads(results.read_text())["star"].values()
    assert [row["iteration"] for row in rows] == [0, 1] and rows[1]["hint_infer/solved"] == 1.0
