# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""STOP with a scripted language model."""

import json
import sys

import pytest

import stop
import stop_task


pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the guards of Linux")

FIRST_BIT = "def algorithm(train, parity, test):\n    return [sample[0] for sample in test]\n"
# The parity that agrees with most of the training samples, of all that there are
ALL_PARITIES = """from itertools import product
def algorithm(train, parity, test):
    def predict(counts, samples):
        return [sum(c * b for c, b in zip(counts, sample)) % 2 for sample in samples]
    def agreement(counts):
        return sum(p == t for p, t in zip(predict(counts, train), parity))
    return predict(max(product([0, 1], repeat=len(train[0])), key=agreement), test)
"""
ASKS_FOR_ALL = """def improve_algorithm(initial_solution, utility, language_model):
    prompt = "Try all parities.\\n" + initial_solution
    return max([initial_solution, extract_code(language_model.prompt(prompt))], key=utility)
"""


def block(program):
    return f"First, an idea.\n```python\n{program}```"


class Model:
    """Answers prompts by what is in them, and counts them."""

    def __init__(self, improver=ASKS_FOR_ALL):
        self.improver = improver
        self.asked = 0

    def __call__(self, prompts):
        self.asked += len(prompts)
        return [block(self.program(prompt)) for prompt in prompts]

    def program(self, prompt):
        if prompt.startswith("Try all parities."):
            return ALL_PARITIES
        if "Improve the following solution:\n```python\ndef improve_algorithm" in prompt:
            return self.improver
        # Nothing that the first improver is offered for the task is of use.
        return ("import sys\nsys.exit(0)\n", "no program", FIRST_BIT)[self.asked % 3]


def test_an_improver_improves_itself(tmp_path, capsys):
    model = Model()
    first, second = stop.stop(model, tmp_path, num_rounds=1)
    assert first < 0.8 and second == 1.0
    assert (tmp_path / "improver_0.py").read_text() == stop.SEED_IMPROVER
    assert (tmp_path / "improver_1.py").read_text() == ASKS_FOR_ALL
    assert "improver 1: 100.0% of the held-out parities right" in capsys.readouterr().out

    # Resumed: nothing is asked again.
    asked = model.asked
    assert stop.stop(model, tmp_path, num_rounds=1) == [first, second]
    assert model.asked == asked


@pytest.mark.parametrize(
    ("improver", "said"),
    [
        ("import os\nopen('/etc/passwd').read()\n", "PermissionError"),
        ("def improve_algorithm(solution, utility, model):\n    return 3\n", "returned a int, expected a program"),
        (
            "def improve_algorithm(solution, utility, model):\n    return model.batch_prompt(['more'] * 1000)[0]\n",
            "More than 32 prompts",
        ),
        (
            "def improve_algorithm(solution, utility, model):\n    while True: utility(solution)\n",
            "more than 8 scores",
        ),
    ],
)
def test_an_improver_that_fails_changes_nothing(tmp_path, capsys, improver, said):
    answers = stop.Answers(Model(), tmp_path / "answers.json")
    assert stop.run_improver(improver, FIRST_BIT, answers) == FIRST_BIT
    assert said in capsys.readouterr().out
    assert not answers.known


def test_what_a_program_claims_is_not_believed(tmp_path):
    """It prints a solution and a score of its own, and ends the process. The score is measured all the same."""
    claim = json.dumps({"solution": FIRST_BIT, "outputs": [[1]], "score": 1.0})
    improver = f"import os\nprint({claim!r}, flush=True)\nos._exit(0)\n"
    score = stop.score(improver, stop.Answers(Model(), tmp_path / "answers.json"))
    problems = stop_task.make_problems(stop.HELD_OUT_SEED)
    right = [sample[0] == true for inputs, parity in problems for sample, true in zip(inputs[2], parity, strict=True)]
    assert score == sum(right) / len(right) < 1.0
    assert stop.run_job({"solution": improver, "inputs": []})["score"] == 1.0  # claimed, but read by nobody


def test_a_solution_without_an_end_scores_nothing(tmp_path):
    class Loops(Model):
        def program(self, prompt):
            return "while True: pass\n"

    answers = stop.Answers(Loops(), tmp_path / "answers.json")
    assert stop.run_improver(ASKS_FOR_ALL, FIRST_BIT, answers) == FIRST_BIT
    worst = ASKS_FOR_ALL.replace("max(", "min(")
    assert stop.run_improver(worst, FIRST_BIT, answers) == "while True: pass\n"
