# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""STOP with a scripted language model."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

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
    """Answers a prompt by what is in it, and counts the prompts."""

    def __init__(self, improver=ASKS_FOR_ALL):
        self.improver = improver
        self.asked = 0

    def __call__(self, prompt):
        self.asked += 1
        return block(self.program(prompt))

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


# A solution that looks for the seed of its problems, and makes their true parities from it
GUESSES_THE_SEED = (
    Path(stop_task.__file__).read_text()
    + """
def algorithm(train, parity, test):
    for seed in range(200):
        for inputs, true in make_problems(seed):
            if inputs[2] == test:
                return true
    return [0 for _ in test]
"""
)


def test_what_a_program_claims_is_not_believed(tmp_path):
    """It prints a solution and a score of its own, and ends the process. The score is measured all the same."""
    improver = printing(json.dumps({"solution": FIRST_BIT, "outputs": [[1]], "score": 1.0}))
    score = stop.score(improver, stop.Answers(Model(), tmp_path / "answers.json"), seed=5)
    problems = stop_task.make_problems(5)
    right = [sample[0] == true for inputs, parity in problems for sample, true in zip(inputs[2], parity, strict=True)]
    assert score == sum(right) / len(right) < 1.0
    assert stop.run_job({"solution": improver, "inputs": []})["score"] == 1.0  # claimed, but read by nobody


def test_the_held_out_problems_cannot_be_made_again(tmp_path):
    improver = f"def improve_algorithm(*_):\n    return {GUESSES_THE_SEED!r}\n"
    answers = stop.Answers(Model(), tmp_path / "answers.json")
    seed = stop.held_out_seed(tmp_path)
    assert stop.score(improver, answers, seed=5) == 1.0
    assert stop.score(improver, answers, seed) < 0.9
    assert stop.held_out_seed(tmp_path) == seed > 200


def printing(line):
    """A program that prints a line and ends the process."""
    return f"import os\nprint({line!r}, flush=True)\nos._exit(0)\n"


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"outputs": [[0] * 40, [0] * 40, [0] * 40, [0] * 40, 5]}),
        json.dumps({"outputs": [[0] * 40, [0] * 40, [0] * 40, 5]}),
        "[" * 200_000,
        json.dumps({"ask": []}),
        json.dumps({"solution": 5}),
    ],
)
def test_odd_lines_of_a_program_end_nothing(tmp_path, line):
    answers = stop.Answers(Model(), tmp_path / "answers.json")
    improver = f"def improve_algorithm(*_):\n    return {printing(line)!r}\n"
    assert stop.score(improver, answers, seed=5) == 0.0  # printed by the solution
    assert stop.run_improver(printing(line), FIRST_BIT, answers) == FIRST_BIT  # printed by the improver


def test_a_program_cannot_ask_beyond_its_budget(tmp_path, capsys):
    """It prints new questions at every start."""
    questions = "json.dumps({'ask': [f'{time.time_ns()} {i}' for i in range(20)]})"
    improver = f"import os, time, json\nprint({questions}, flush=True)\nos._exit(0)\n"
    model = Model()
    assert stop.run_improver(improver, FIRST_BIT, stop.Answers(model, tmp_path / "answers.json")) == FIRST_BIT
    assert model.asked == 20 and "it asks too much" in capsys.readouterr().out


def test_text_that_cannot_be_written_is_replaced(tmp_path):
    improver = printing(json.dumps({"solution": "a = '\ud800'"}))
    assert stop.run_improver(improver, FIRST_BIT, stop.Answers(Model(), tmp_path / "answers.json")) == "a = '?'"


def test_the_token_of_the_hub_stays_here(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    sent = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self):
            sent.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"choices": [{"message": {"role": "assistant", "content": "5"}, "index": 0}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert stop.ask_endpoint(f"http://127.0.0.1:{server.server_port}/v1", "any", 10)("2 + 3?") == "5"
        server.shutdown()
    assert sent == ["Bearer none"]


def test_a_solution_without_an_end_scores_nothing(tmp_path):
    class Loops(Model):
        def program(self, prompt):
            return "while True: pass\n"

    answers = stop.Answers(Loops(), tmp_path / "answers.json")
    assert stop.run_improver(ASKS_FOR_ALL, FIRST_BIT, answers) == FIRST_BIT
    worst = ASKS_FOR_ALL.replace("max(", "min(")
    assert stop.run_improver(worst, FIRST_BIT, answers) == "while True: pass\n"
