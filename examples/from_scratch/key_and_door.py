# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]"]
# ///
"""
A game of several turns: a tiny chat model walks on a grid, finds a key and opens a door.

    user: You are at a1. The key is at b2. The door is at d1.
    assistant: go(direction: east)
    tool: You are at b1.
    ...
    tool: You are at d1+. The door opens.
    assistant: Done.

A plus marks the cells in which the model has the key. The environment knows the way and shows it as a hint: "The way
is a1 north a2 east b2+ east c2+ east d2+ south". The base model is made on the spot, from documents of walks, and
learns from them what a step does. Without the way they are random, and open the door now and then. With it most of
them follow it.

```bash
python examples/from_scratch/key_and_door.py --output_dir runs/key-and-door
```
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerFast

import base_model
from base_model import BEGIN, Piece
from base_model import CHAT_EOS as EOS
from runs import ON_A_CPU
from star_trl import STaRConfig, STaRTrainer, load_history


COLUMNS, ROWS = "abcd", "1234"
CELLS = [column + row for column in COLUMNS for row in ROWS]
DIRECTIONS = {"north": (0, 1), "east": (1, 0), "south": (0, -1), "west": (-1, 0)}
CALL = '<tool_call>\n{"name": "go", "arguments": {"direction": "', '"}}\n</tool_call>'
RESULT = f"\n{BEGIN}user\n<tool_response>\n", f"\n</tool_response>{EOS}\n{BEGIN}assistant\n"
MESSAGES = [{"role": "user", "content": "Open the door. "}]
# Shares of the base model's documents with the way, of those that follow it, and of the turns that give up otherwise
SHOWN, FOLLOWED, GIVEN_UP = 0.6, 0.9, 0.1
# Turns of the longest random walk
MAX_TURNS = 8
# (steps, rows, no limit of tokens) of the base model's training
PHASES = ((1200, 16, None),)
NUM_PROBLEMS = 1200

CONFIG = {
    **ON_A_CPU,
    "temperature": 1.0,
    "initial_steps": 250,
    "step_growth": 1.4,
    "learning_rate": 2e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 10,
    "adam_beta2": 0.99,
    "per_device_train_batch_size": 32,
    "generation_batch_size": 256,
    "max_tool_calling_iterations": 14,
    "max_completion_length": 250,
    "max_length": None,
    "disable_tqdm": True,
    "logging_steps": 50,
    "overwrite_output_dir": True,
}


def step(cell: str, direction: str) -> str:
    """Returns the next cell in a direction. A wall around the grid keeps the model in its cell."""
    column, row = COLUMNS.index(cell[0]), ROWS.index(cell[1])
    east, north = DIRECTIONS[direction]
    column, row = (min(max(value, 0), 3) for value in (column + east, row + north))
    return COLUMNS[column] + ROWS[row]


class KeyAndDoor:
    """The game. Its row gives the cell of the model, of the key and of the door."""

    def reset(self, cell: str, key: str, door: str, hint: bool = False, **kwargs: Any) -> str:
        self.cell, self.key, self.door = cell, key, door
        self.has_key = self.is_open = False
        shown = f"{self._state()} The key is at {key}. The door is at {door}."
        return shown + (f" The way is {' '.join(find_way(cell, key, door))}." if hint else "")

    def go(self, direction: str) -> str:
        """
        Goes to the next cell.

        Args:
            direction: north, east, south or west

        Returns:
            Where you are.
        """
        if direction not in DIRECTIONS:
            raise ValueError(f"There is no direction {direction}.")
        if not self.is_open:
            self.cell = step(self.cell, direction)
            self.has_key |= self.cell == self.key
            self.is_open = self.has_key and self.cell == self.door
        return self._state() + (" The door opens." if self.is_open else "")

    def get_reward(self) -> float:
        return float(self.is_open)

    def _state(self) -> str:
        return f"You are at {self.cell}{'+' if self.has_key else ''}."


def find_way(cell: str, key: str, door: str) -> list[str]:
    """Returns the cells of a shortest way, each with the direction to go in, to the key and then to the door."""
    way = []
    for goal, mark in ((key, ""), (door, "+")):
        while cell != goal:
            direction = next(
                name
                for name, (east, north) in DIRECTIONS.items()
                if east * (COLUMNS.index(goal[0]) - COLUMNS.index(cell[0])) > 0
                or north * (ROWS.index(goal[1]) - ROWS.index(cell[1])) > 0
            )
            way += [cell + mark, direction]
            cell = step(cell, direction)
    return way


def make_problems(seed: int, count: int) -> list[dict[str, Any]]:
    """Makes different problems. There are 3,360, the placements of three things in 16 cells."""
    if count > 3360:
        raise ValueError(f"There are 3,360 problems, and {count:,} were asked for. Ask for fewer.")
    rng = random.Random(seed)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    while len(found) < count:
        cell, key, door = places = tuple(rng.sample(CELLS, 3))
        found[places] = {"prompt": MESSAGES, "cell": cell, "key": key, "door": door}
    return list(found.values())


def make_document(rng: random.Random, prompt: str) -> Iterator[Piece]:
    """Yields a conversation of the base model behind a prompt. The model is trained on all of the conversation."""
    game, (row,), question = KeyAndDoor(), make_problems(rng.getrandbits(32), 1), MESSAGES[0]["content"]
    is_shown = rng.random() < SHOWN
    yield prompt.replace(question, question + game.reset(**row, hint=is_shown)), False
    way = find_way(row["cell"], row["key"], row["door"])[1::2]
    follows = is_shown and rng.random() < FOLLOWED
    turns = 0
    while not game.is_open and (follows or (turns < MAX_TURNS and rng.random() > GIVEN_UP)):
        turns += 1
        direction = way.pop(0) if follows else rng.choice(list(DIRECTIONS))
        yield f"{CALL[0]}{direction}{CALL[1]}{EOS}", True
        yield f"{RESULT[0]}{game.go(direction)}{RESULT[1]}", True
    yield f"Done.{EOS}", True


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Builds a tokenizer with one token for each cell and direction, and for what the game says every time."""
    return base_model.build_chat_tokenizer(
        [KeyAndDoor().go],
        [
            *("user\n<tool_response>\n", "\n</tool_response>", "user\n", "assistant\n", *CALL, MESSAGES[0]["content"]),
            *("You are at ", " The key is at ", " The door is at ", " The way is ", " The door opens.", "Done."),
            *(cell + mark for cell in CELLS for mark in ("+", "")),
            *(space + direction for direction in DIRECTIONS for space in (" ", "")),
        ],
    )


def make_base_model(path: Path, phases: tuple[tuple, ...] = PHASES) -> Path:
    """Trains the base model and saves it under `path`, unless it exists there."""
    tokenizer = build_tokenizer()
    template: dict[str, Any] = {"tools": [KeyAndDoor().go], "tokenize": False, "add_generation_prompt": True}
    prompt = str(tokenizer.apply_chat_template(MESSAGES, **template))

    def write_row(rng: random.Random) -> Iterator[Piece]:
        return make_document(rng, prompt)

    rng, shape = random.Random("base model"), {"num_heads": 2, "num_layers": 2, "initializer_range": 0.1}
    return base_model.make_base_model(path, tokenizer, write_row, phases, rng, **shape)


def make_trainer(model: Path | str, args: STaRConfig, problems: Dataset, **others: Any) -> STaRTrainer:
    """Returns the trainer. The environment gives the reward, and the hint of rationalization."""
    return STaRTrainer(
        model=str(model), args=args, train_dataset=problems, **{"environment_factory": KeyAndDoor, **others}
    )


def run(trainer: STaRTrainer) -> None:
    """Trains, and prints the accuracy of the model of each iteration."""
    trainer.train()
    print(", ".join(f"{metrics['eval_accuracy']:.1%}" for metrics in load_history(trainer.args.output_dir)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="Where the run and the base model go.")
    parser.add_argument("--num_iterations", type=int, default=4, help="Outer iterations.")
    parser.add_argument("--problems", type=int, default=NUM_PROBLEMS, help="Training problems.")
    args = parser.parse_args()
    model = make_base_model(args.output_dir / "base")
    rows = make_problems(0, args.problems + 200)
    config = STaRConfig(**CONFIG, num_iterations=args.num_iterations, output_dir=str(args.output_dir / "run"))
    held_out = Dataset.from_list(rows[:200])
    run(make_trainer(model, config, Dataset.from_list(rows[200:]), eval_dataset=held_out))


if __name__ == "__main__":
    main()
