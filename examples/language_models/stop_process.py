# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
The process in which `stop.py` runs programs that a model wrote. It reads a job as JSON and prints what came of it.

Nothing can be reached from here, and so neither can the language model. The process has the answers to the questions
that were asked before. At a new question it prints the question and ends. `stop.py` asks the model and starts it again
with the answer, and it comes to the same place again. A program that uses a clock or chance of its own may ask
something else each time, until its budget ends it.
"""

import json
import os
import random
import re
import signal
import sys


CODE = re.compile(r"```(?:python)?\n(.*?)```", re.DOTALL)


def finish(**result):
    print("\n" + json.dumps(result), flush=True)
    os._exit(0)  # no program can catch it


class LanguageModel:
    """What an improver may ask: `batch_prompt(prompts)` returns one text for each prompt."""

    def __init__(self, answers, budget):
        self.answers = answers
        self.budget = budget
        self._calls = 0
        self._asked = {}

    def prompt(self, prompt):
        return self.batch_prompt([prompt])[0]

    def batch_prompt(self, prompts):
        self._calls += len(prompts)
        if self._calls > self.budget:
            raise RuntimeError(f"More than {self.budget} prompts were sent to the language model.")
        keys = []
        for prompt in map(str, prompts):
            self._asked[prompt] = self._asked.get(prompt, 0) + 1
            keys.append(f"{self._asked[prompt]}. {prompt}")
        new = [key for key in keys if key not in self.answers]
        if new:
            finish(ask=new)
        return [self.answers[key] for key in keys]


class Utility:
    """Scores a solution. `text` is its source; a solution that fails, or needs more CPU seconds, scores 0."""

    def __init__(self, text, seconds, budget, names):
        self.text = text
        self.seconds = seconds
        self.budget = budget
        self._calls = 0
        self._names = {**names}
        exec(text, self._names)

    def __call__(self, solution):
        self._calls += 1
        if self._calls > self.budget:
            raise RuntimeError(f"The utility was asked for more than {self.budget} scores.")
        random.seed(0)
        left, _ = signal.setitimer(signal.ITIMER_PROF, self.seconds)  # of the score that this one is a part of
        try:
            return float(self._names["utility"](solution))
        except (Exception, SystemExit):
            return 0.0
        finally:
            signal.setitimer(signal.ITIMER_PROF, left)


def extract_code(text):
    """Returns the last block of code in a text, or all of it."""
    return (CODE.findall(text) or [text])[-1]


def improve(improver, solution, utility, language_model):
    """Lets an improver improve a solution."""
    names = {"extract_code": extract_code}
    exec(improver, names)
    improved = names["improve_algorithm"](solution, utility, language_model)
    if not isinstance(improved, str):
        raise TypeError(f"`improve_algorithm` returned a {type(improved).__name__}, expected a program as text.")
    return improved


def time_is_over(*_):
    raise TimeoutError("The time of a score is over.")


def main():
    job = json.load(sys.stdin)
    signal.signal(signal.SIGPROF, time_is_over)
    random.seed(0)
    if "inputs" in job:  # the last measurement: a solution, without the right results
        names = {}
        exec(job["solution"], names)
        finish(outputs=[list(map(int, names["algorithm"](*inputs))) for inputs in job["inputs"]])
    model = LanguageModel(job["answers"], job["model_budget"])
    budget, seconds = job["utility_budget"], job["utility_seconds"]
    task = Utility(job["task"], seconds, budget**2 if job["meta"] else budget, {})
    utility = task
    if job["meta"]:
        names = {"improve": improve, "task": task, "task_solution": job["task_solution"], "language_model": model}
        # The scores of an improver take as long as those of all solutions that it tries.
        utility = Utility(job["meta"], seconds * budget, budget, names)
    finish(solution=improve(job["improver"], job["solution"], utility, model))


if __name__ == "__main__":
    main()
