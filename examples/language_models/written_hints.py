# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[language]"]
# ///
"""
Hints that the model writes itself, from problem and answer, as in NuRL (Chen et al., 2025,
https://huggingface.co/papers/2509.25666). A hint that holds the answer is thrown away. STaR then tries each problem of
the demo without a hint, with the hint that the model wrote, and with the answer, until it is solved.

```bash
python examples/language_models/written_hints.py --output_dir runs/written-hints
```
"""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import HfArgumentParser


from cpu_settings import SETTINGS  # isort: skip  (it makes the next ones importable)
from domain import read_examples
from smollm2 import make_smollm2
from star_trl import CalculatorSampler, RationaleSampler, RationalizationSampler, STaRConfig, STaRTrainer, load_history
from star_trl.rewards import derived_answer_reward, extract_number, numeric_reward
from star_trl.rewards.answers.numbers import find_numbers, parse_number, plain_numbers
from story_problems import draw_problems
from word_problems import DOMAIN


NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
# Hints for the few-shot problems of `datasets/prompts/word_problems`, in their order
WRITTEN = [
    "Add up all chairs, then take away the broken ones.",
    "Take the rolls that were sold from those that were made.",
    "Multiply pens and price, then add the book.",
    "Multiply the boxes by the bottles in each.",
    "Add the new stamps to the old ones.",
    "Divide the grapes by the number of friends.",
]

HINT_SETTINGS = {
    "stop_strings": ["\n"],
    "max_completion_length": 40,
    "reward_threshold": None,
    "reward_weights": None,
}


def make_request(question: str, answer: str) -> str:
    """Returns the prompt for a hint. `question` is a problem's prompt."""
    return f"{question.removesuffix('A:')}The answer is {answer}.\nA hint that does not tell the answer:"


def hold_no_answer_reward(completions: list[str], answer: list[str], **kwargs: Any) -> list[float]:
    """1.0 for a hint that does not hold the answer, as a number in any form or as a word up to twelve."""
    return [float(not holds_answer(text, right)) for text, right in zip(completions, answer, strict=True)]


def holds_answer(text: str, answer: str) -> bool:
    wanted = parse_number(answer)
    values = {value for value, _, _ in find_numbers(plain_numbers(text))}
    # Digits that `find_numbers` takes for a part of something else, such as a result of the calculator or a difference
    values |= {Fraction(digits) for digits in re.findall(r"\d+(?:\.\d+)?", text)}
    words = re.findall(r"[a-z]+", text.lower())
    return wanted in values | {Fraction(NUMBER_WORDS.index(word)) for word in words if word in NUMBER_WORDS}


def make_writer(model: str, problems: list[dict], examples: list[dict], **settings: Any) -> STaRTrainer:
    """Returns a trainer whose problems are requests for hints. It samples, and is not trained."""
    requests = [{"prompt": make_request(row["prompt"], row["answer"]), "answer": row["answer"]} for row in problems]
    shown = [
        {"prompt": make_request(row["prompt"], row["answer"]), "completion": f" {hint}"}
        for row, hint in zip(examples, WRITTEN, strict=True)
    ]
    return STaRTrainer(
        model=model,
        args=STaRConfig(**{**SETTINGS, **HINT_SETTINGS, **settings}),
        reward_funcs=hold_no_answer_reward,
        samplers=[RationaleSampler()],
        few_shot_examples=shown,
        train_dataset=Dataset.from_list(requests),
    )


def write_hints(writer: STaRTrainer, num_generations: int = 2, temperature: float = 0.7) -> dict[int, str]:
    """Returns the first hint for each problem that does not hold the answer, for the problems that have one."""
    sampler = RationaleSampler(num_generations=num_generations, temperature=temperature)
    hints: dict[int, str] = {}
    for sample in writer.sample_problems(writer.task.problems, sampler=sampler):
        if sample.kept and sample.completion.strip():
            hints.setdefault(sample.problem_id, sample.completion.strip())
    return hints


def add_hints(problems: list[dict], hints: dict[int, str]) -> list[dict]:
    """Adds the column `written_prompt`. Where there is no hint, it has the answer."""
    rows = []
    for number, row in enumerate(problems):
        question = row["prompt"].removesuffix("\nA:")
        written = f"{question} ({hints[number]})\nA:" if number in hints else row["hinted_prompt"]
        rows.append({**row, "written_prompt": written})
    return rows


def main() -> None:
    parser = HfArgumentParser([STaRConfig])
    parser.set_defaults(**{**SETTINGS, "eval_group_column": None, "num_iterations": 1, "initial_steps": 16})
    (args,) = parser.parse_args_into_dataclasses()
    model = str(make_smollm2(Path(args.output_dir).parent / "smollm2"))
    problems = draw_problems("train", 4)
    examples = [{**row, "answer": extract_number(row["completion"])} for row in read_examples(DOMAIN)]
    hints = write_hints(make_writer(model, problems, examples, output_dir=args.output_dir))
    print(f"Hints that do not hold the answer: {len(hints)} of {len(problems)}. The first ones:")
    for number in list(hints)[:4]:
        print(f"{problems[number]['prompt'].removesuffix('A:')}   {hints[number]}")
    trainer = STaRTrainer(
        model=model,
        args=args,
        reward_funcs=[numeric_reward, derived_answer_reward],
        samplers=[
            CalculatorSampler(sampler)
            for sampler in (
                RationaleSampler(),
                RationalizationSampler(prompt_column="written_prompt"),
                RationalizationSampler(),
            )
        ],
        few_shot_examples=add_hints(examples, dict(enumerate(WRITTEN))),
        train_dataset=Dataset.from_list(add_hints(problems, hints)).remove_columns("direct"),
        eval_dataset=Dataset.from_list(draw_problems("eval", 6)).remove_columns("direct"),
    )
    trainer.train()
    for name, value in load_history(args.output_dir)[-1].items():
        if name.endswith(("/solved", "/yield", "eval_accuracy")):
            print(f"{name}: {value:.1%}")


if __name__ == "__main__":
    main()
