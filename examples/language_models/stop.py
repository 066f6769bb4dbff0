# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl"]
# ///
"""
STOP, the Self-Taught Optimizer (Zelikman et al., 2024, arXiv 2310.02304): a program that asks a language model to
improve programs improves itself. An *improver* gets a program and a function that scores programs, asks the model for
better ones and returns the best. Each round gives the improver its own source, and scores the candidates by how well
they improve the solution of a task, which is to learn a parity with noise. No weights are trained.

```bash
python examples/language_models/stop.py --url http://localhost:8000/v1 --model Qwen/Qwen3-32B --output_dir runs/stop
```

The endpoint may be any with OpenAI's interface. The improvers and the model's answers are written to the output
directory, and an interrupted run goes on from there.

The model's programs run in a process with limits, without the network and without other files (`stop_process.py`). The
scores that count are measured from outside: an improver's solution gets the problems of another seed without their
results, and what it predicts is compared here. In the paper, some improvers switched off a flag named "sandbox".
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import InferenceClient

import stop_process
import stop_task
from star_trl.sandbox import run_limited
from star_trl.tools.python_tool import ENVIRONMENT, READABLE


# The paper's seed improver (figure 2)
SEED_IMPROVER = '''def improve_algorithm(initial_solution, utility, language_model):
    """Improves a solution according to a utility function."""
    message = f"""Improve the following solution:
```python
{initial_solution}
```

You will be evaluated based on this score function:
```python
{utility.text}
```

You must return an improved solution in a block of Python code. Be as creative as you can under the constraints. \\
`language_model.budget` prompts and `utility.budget` scores are all there is. Your primary improvement must be novel \\
and non-trivial. First, propose an idea, then implement it."""
    count = min(language_model.budget, utility.budget, 4)
    new_solutions = map(extract_code, language_model.batch_prompt([message] * count))
    return max([initial_solution, *new_solutions], key=utility)
'''
# What the improver of an improver is scored by
META_UTILITY = '''def utility(improver):
    """Scores an improver by the score of what it makes of the solution of the task."""
    return task(improve(improver, task_solution, task, language_model))
'''
FIRST_SOLUTION = '''def algorithm(train_samples, train_parity, test_samples):
    """Predicts the parity that is most frequent."""
    most = int(2 * sum(train_parity) > len(train_parity))
    return [most for _ in test_samples]
'''
BUDGETS = {"model_budget": 32, "utility_budget": 8, "utility_seconds": 2.0}
PROCESS = os.path.abspath(stop_process.__file__)
PROCESS_SECONDS = 300.0

Ask = Callable[[str], str]


@dataclass
class Answers:
    """
    The answers of the language model, kept on disk.

    Args:
        ask (`Callable[[str], str]`):
            Sends a prompt to the model, and returns its answer.
        path (`Path`):
            File with all answers so far.
    """

    ask: Ask
    path: Path

    def __post_init__(self):
        self.known: dict[str, str] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def add(self, keys: list[str]) -> None:
        """Asks the questions of these keys. Each is a number, which tells equal questions apart, and the prompt."""
        for key in keys:
            self.known[key] = self.ask(key.partition(". ")[2])
            written = self.path.with_suffix(".new")
            written.write_text(json.dumps(self.known))
            written.replace(self.path)


def encodable(text: str) -> str:
    """Returns a text of a program without what cannot be written to a file."""
    return text.encode("utf-8", "replace").decode()


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Runs a job in a process with limits, and returns what it printed last, or an `error`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        result = run_limited(
            [sys.executable, "-P", "-s", "-B", "-X", "utf8", "-W", "ignore", PROCESS],
            input=json.dumps(job),
            cwd=folder,
            env=ENVIRONMENT,
            seconds=PROCESS_SECONDS,
            memory_bytes=2**30,
            file_bytes=2**20,
            folder_bytes=2**20,
            max_processes=1,
            readable=[*READABLE, PROCESS],
        )
    lines = result.stdout.splitlines()
    try:
        answer = json.loads(lines[-1])
        if isinstance(answer, dict):
            return answer
    except (IndexError, ValueError, RecursionError):
        pass
    return {"error": result.reason or (result.stderr.strip().splitlines() or ["It printed no result."])[-1]}


def run_improver(improver: str, solution: str, answers: Answers, meta: bool = False) -> str:
    """
    Lets an improver improve a solution of the task or, with `meta`, an improver.

    Returns:
        `str`: The improved program; the one given, with a line on the screen, if the improver fails.
    """
    job = {
        "improver": improver,
        "solution": solution,
        "task": Path(stop_task.__file__).read_text(),
        "task_solution": FIRST_SOLUTION,
        "meta": META_UTILITY if meta else None,
        **BUDGETS,
    }
    left = BUDGETS["model_budget"]  # counted here as well, since a program can print questions itself
    while True:
        result = run_job({**job, "answers": answers.known})
        if isinstance(result.get("solution"), str):
            return encodable(result["solution"])
        asked = result.get("ask")
        is_question = isinstance(asked, list) and asked and all(isinstance(key, str) for key in asked)
        if not is_question or len(asked) > left:
            reason = "it asks too much" if is_question else result.get("error", "it printed something else")
            print(f"The improver failed ({reason}), and changes nothing.", flush=True)
            return solution
        answers.add([encodable(key) for key in asked])
        left -= len(asked)


def held_out_seed(output_dir: Path) -> int:
    """Returns the seed of the held-out problems, which no program can guess: they could make the problems from it."""
    path = output_dir / "held_out_seed.txt"
    if not path.exists():
        path.write_text(str(secrets.randbits(128)))
    return int(path.read_text())


def score(improver: str, answers: Answers, seed: int) -> float:
    """
    Returns the share of parities of the held-out problems, which are made from `seed`, that the improver's solution of
    the task gets right.
    """
    solution = run_improver(improver, FIRST_SOLUTION, answers)
    problems = stop_task.make_problems(seed)
    result = run_job({"solution": solution, "inputs": [inputs for inputs, _ in problems]})
    outputs = result.get("outputs")
    true = [parity for _, parity in problems]
    lengths = [len(row) if isinstance(row, list) else None for row in outputs] if isinstance(outputs, list) else None
    if lengths != list(map(len, true)):
        return 0.0
    pairs = [pair for rows in zip(outputs, true, strict=True) for pair in zip(*rows, strict=True)]
    return sum(predicted == right for predicted, right in pairs) / len(pairs)


def stop(ask: Ask, output_dir: Path, num_rounds: int) -> list[float]:
    """Runs STOP, and returns the score of the first improver and of each round's."""
    output_dir.mkdir(parents=True, exist_ok=True)
    seed = held_out_seed(output_dir)
    improver, scores = SEED_IMPROVER, []
    for number in range(num_rounds + 1):
        # Answers belong to a round, so that an improver that asks as the last one did is answered anew.
        answers = Answers(ask, output_dir / f"answers_{number}.json")
        if number:
            improver = run_improver(improver, improver, answers, meta=True)
        (output_dir / f"improver_{number}.py").write_text(improver, encoding="utf-8")
        scores.append(score(improver, answers, seed))
        print(f"improver {number}: {scores[-1]:.1%} of the held-out parities right", flush=True)
    return scores


def ask_endpoint(url: str, model: str, max_tokens: int) -> Ask:
    """Returns a function that sends a prompt to an endpoint with OpenAI's interface."""
    # Without a key of its own, the client would send the user's token for the Hugging Face Hub to the endpoint.
    client = InferenceClient(base_url=url, api_key=os.environ.get("OPENAI_API_KEY") or "none")

    def ask(prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        answer = client.chat_completion(messages, model=model, temperature=0.7, max_tokens=max_tokens)
        return answer.choices[0].message.content or ""

    return ask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--url", required=True, help="Endpoint, such as http://localhost:8000/v1.")
    parser.add_argument("--model", required=True, help="Name of the model there.")
    parser.add_argument("--max_tokens", type=int, default=4096, help="Longest answer, in tokens.")
    parser.add_argument("--num_rounds", type=int, default=3, help="How often the improver improves itself.")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/stop"), help="Where it goes.")
    args = parser.parse_args()
    stop(ask_endpoint(args.url, args.model, args.max_tokens), args.output_dir, args.num_rounds)


if __name__ == "__main__":
    main()
