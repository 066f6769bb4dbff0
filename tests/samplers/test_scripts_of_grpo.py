# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Scripts in the form of TRL's documentation, run with the names of the two classes replaced.

`TOOLS`: the tools `multiply` and `async_add` are those of the page "GRPO Trainer", section "Agent Training"
(`docs/source/grpo_trainer.md`). `timeout`, `correctness_reward`, `structure_reward` and `enable_thinking` are from the
example `examples/scripts/grpo_agent.py`. Changed: `multiply` returns a list within the time limit, as the example's
`query_biogrid` does. The rewards are shorter, without the penalties, and the answer is a number and not *yes* or *no*.

`ENVIRONMENT`: `IncrementEnv` and its dataset are those of the same page, section "Environments". Changed: `reset`
returns a text and leaves the column `target` to a reward function that reads `environments`, where the page has
`get_reward`. `increment` refuses negative steps.

Both: two problems instead of the datasets. The model, the tokenizer, the folder and a few settings are given from
outside, and training is started by the tests.
"""

import re

import pytest

import star_trl
from support.tiny_models import build_chat_tokenizer, build_model


TOOLS = '''
import signal
from contextlib import contextmanager

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer


@contextmanager
def timeout(seconds):
    def handler(signum, frame):
        raise TimeoutError(f"Operation timed out after {seconds} seconds")

    signal.signal(signal.SIGALRM, handler)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def multiply(a: int, b: int) -> list[int]:
    """
    Multiplies two integers.

    Args:
        a: The first integer.
        b: The second integer.

    Returns:
        A list with the product of the two integers.
    """
    with timeout(5):
        return [a * b]


async def async_add(a: int, b: int) -> int:
    """
    Asynchronously adds two integers.

    Args:
        a: The first integer.
        b: The second integer.

    Returns:
        The sum of the two integers.
    """
    return a + b


def correctness_reward(completions, answer, **kwargs):
    return [float(completion[-1]["content"] == value) for completion, value in zip(completions, answer)]


def structure_reward(completions, **kwargs):
    rewards = []
    for completion in completions:
        called = any(turn.get("tool_calls") for turn in completion)
        answered = any(turn["role"] == "tool" and turn["content"] for turn in completion)
        rewards.append(0.1 if called and answered else 0.0)
    return rewards


dataset = Dataset.from_dict(
    {
        "prompt": [[{"role": "user", "content": text}] for text in ("What is 3 * 4 + 1?", "What is 5 * 5?")],
        "answer": ["13", "25"],
    }
)
trainer = GRPOTrainer(
    model=MODEL,
    processing_class=TOKENIZER,
    reward_funcs=[correctness_reward, structure_reward],
    args=GRPOConfig(
        output_dir=OUT, max_completion_length=600, chat_template_kwargs={"enable_thinking": False}, **SETTINGS
    ),
    train_dataset=dataset,
    tools=[multiply, async_add],
)
'''

ENVIRONMENT = '''
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer


class IncrementEnv:
    def reset(self, **kwargs):
        self.counter = 0
        return f"The counter is {self.counter}."

    def increment(self, step: int) -> int:
        """
        Increments the counter.

        Args:
            step: By how much.

        Returns:
            The value of the counter.
        """
        if step < 0:
            raise ValueError("The step must not be negative.")
        self.counter += step
        return self.counter


def reward_func(environments, target, **kwargs):
    return [float(environment.counter == value) for environment, value in zip(environments, target)]


dataset = Dataset.from_dict(
    {"prompt": [[{"role": "user", "content": f"Count to {value}. "}] for value in (3, 7)], "target": [3, 7]}
)
trainer = GRPOTrainer(
    model=MODEL,
    processing_class=TOKENIZER,
    reward_funcs=reward_func,
    args=GRPOConfig(output_dir=OUT, max_completion_length=600, **SETTINGS),
    train_dataset=dataset,
    environment_factory=IncrementEnv,
)
'''


def uses_tools(prompt):
    results = re.findall(r"<tool_response>\n(.*?)\n</tool_response>", prompt)
    if "5 * 5" in prompt:
        return "24"
    calls = [
        '{"name": "multiply", "arguments": {"a": 3, "b": 4}}',
        '{"name": "async_add", "arguments": {"a": 12, "b": 1}}',
    ]
    return f"<tool_call>\n{calls[len(results)]}\n</tool_call>" if len(results) < 2 else results[-1]


def counts(prompt):
    results = re.findall(r"<tool_response>\n(.*?)\n</tool_response>", prompt)
    call = '<tool_call>\n{"name": "increment", "arguments": {"step": %d}}\n</tool_call>'
    return "Done." if len(results) == 2 else call % [-1, 3][len(results)]


def run(script, tmp_path, **settings):
    tokenizer = build_chat_tokenizer()
    names = {
        "MODEL": build_model(tokenizer, max_position_embeddings=4096),
        "TOKENIZER": tokenizer,
        "OUT": str(tmp_path / "out"),
        "SETTINGS": {"use_cpu": True, "bf16": False, "report_to": "none", **settings},
    }
    exec(script, names)
    return names["trainer"]


def as_star(script):
    script = script.replace("from trl import GRPOConfig, GRPOTrainer", "from star_trl import STaRConfig, STaRTrainer")
    return script.replace("GRPOConfig", "STaRConfig").replace("GRPOTrainer", "STaRTrainer")


@pytest.mark.parametrize(
    ("script", "answer", "threshold", "turns", "rewards"),
    [
        (TOOLS, uses_tools, 1.1, ["assistant", "tool"] * 2 + ["assistant"], [1.1, 0.0]),
        (ENVIRONMENT, counts, 1.0, ["assistant", "tool"] * 2 + ["assistant"], [1.0, 0.0]),
    ],
    ids=["tools", "environment"],
)
def test_a_script_of_grpo_runs(script, answer, threshold, turns, rewards, script_engine, tmp_path):
    script_engine(answer)
    settings = {"num_iterations": 1, "initial_steps": 2, "step_growth": 1.0, "reward_threshold": threshold}
    trainer = run(as_star(script), tmp_path, disable_tqdm=True, **settings)
    assert type(trainer) is star_trl.STaRTrainer
    trainer.train()
    samples = trainer.ledger.read(1)
    assert [sample.reward for sample in samples] == pytest.approx(rewards)
    assert [sample.kept for sample in samples] == [True, False]
    assert [message["role"] for message in samples[0].extra["messages"]] == turns
    assert samples[0].extra["messages"][1]["content"] in ([12], str({"error": "The step must not be negative."}))


@pytest.mark.parametrize("script", [TOOLS, ENVIRONMENT], ids=["tools", "environment"])
def test_the_scripts_are_grpos(script, tmp_path):
    trainer = run(script, tmp_path, per_device_train_batch_size=2, num_generations=2, generation_batch_size=2)
    assert type(trainer).__name__ == "GRPOTrainer" and trainer.tools
