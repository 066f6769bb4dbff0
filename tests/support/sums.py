# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The four sums that most tests run on, with few-shot examples, settings and scripted answers."""

PROBLEMS = [
    {"prompt": f"Q: {a}+{b}?\nA:", "hinted_prompt": f"Q: {a}+{b}? ({a + b})\nA:", "answer": str(a + b), "kind": kind}
    for a, b, kind in [(1, 2, "easy"), (2, 3, "easy"), (4, 5, "hard"), (7, 1, "hard")]
]
EXAMPLES = [{"prompt": "Q: 1+1?\nA:", "hinted_prompt": "Q: 1+1? (2)\nA:", "completion": " One more than 1.\n2"}]

# Two short iterations
SETTINGS = {
    "num_iterations": 2,
    "initial_steps": 3,
    "step_growth": 1.0,
    "learning_rate": 1e-2,
    "per_device_train_batch_size": 2,
    "max_completion_length": 32,
    "max_length": None,
    "stop_strings": ["\n\n"],
    "logging_steps": 1,
}


def last_question(prompt: str) -> str:
    """The problem's own question, behind the few-shot examples."""
    return prompt.split("Q: ")[-1]


def solve_easy_and_hinted(prompt: str) -> str:
    """Right on 1+2 and 2+3; on the others only with a hint, and never on 7+1."""
    question = last_question(prompt)
    answers = {"1+2?\nA:": "3", "2+3?\nA:": "5", "4+5? (9)\nA:": "9"}
    return f" Let me count.\n{answers.get(question, '0')}"
