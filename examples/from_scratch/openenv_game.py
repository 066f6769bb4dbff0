# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]", "openenv"]
# ///
"""
The game of `key_and_door.py` behind a server of OpenEnv. A class with the methods that the model may call asks the
server through OpenEnv's client, and is the `environment_factory` of the trainer. The server here runs in a thread.
`--url` takes one that runs elsewhere.

```bash
pip install openenv
python examples/from_scratch/openenv_game.py --output_dir runs/openenv-game
```
"""

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from datasets import Dataset
from openenv.core import Action, Environment, GenericEnvClient, Observation, State, create_fastapi_app

import key_and_door
from key_and_door import CONFIG, NUM_PROBLEMS, KeyAndDoor, make_base_model, make_problems, make_trainer
from star_trl import STaRConfig


# Sessions of the server. The two default samplers have 64 environments each.
MAX_SESSIONS = 256


class Step(Action):
    """A step to the next cell."""

    direction: str


class Shown(Observation):
    """What the game says."""

    text: str


class GameServer(Environment):
    """The game on the side of the server."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._game = KeyAndDoor()

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Shown:
        return Shown(text=self._game.reset(**kwargs))

    def step(self, action: Step, timeout_s: float | None = None, **kwargs: Any) -> Shown:
        text = self._game.go(action.direction)
        return Shown(text=text, reward=self._game.get_reward(), done=self._game.is_open)

    @property
    def state(self) -> State:
        return State()


class RemoteGame:
    """
    The game on the side of the trainer.

    Args:
        url (`str`):
            Address of the server.
    """

    def __init__(self, url: str):
        self._client = GenericEnvClient(base_url=url)
        self._reward = 0.0

    async def reset(self, cell: str, key: str, door: str, hint: bool = False, **kwargs: Any) -> str:
        self._reward = 0.0
        result = await self._client.reset(cell=cell, key=key, door=door, hint=hint)
        return result.observation["text"]

    async def go(self, direction: str) -> str:
        """
        Goes to the next cell.

        Args:
            direction: north, east, south or west

        Returns:
            Where you are.
        """
        result = await self._client.step({"direction": direction})
        self._reward = float(result.reward)
        return result.observation["text"]

    def get_reward(self) -> float:
        return self._reward


@contextmanager
def serve() -> Iterator[str]:
    """Runs the server in a thread. Yields its address."""
    app = create_fastapi_app(GameServer, Step, Shown, max_concurrent_envs=MAX_SESSIONS)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("The server did not start. Its log says why.")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def run(url: str, output_dir: Path, num_iterations: int, num_problems: int) -> None:
    """Trains the model of `key_and_door.py` with the game behind an address, and prints the accuracies."""
    num_held_out = num_problems // 2
    rows = make_problems(0, num_problems + num_held_out)
    config = STaRConfig(**CONFIG, num_iterations=num_iterations, output_dir=str(output_dir / "run"))
    trainer = make_trainer(
        make_base_model(output_dir / "base"),
        config,
        Dataset.from_list(rows[num_held_out:]),
        eval_dataset=Dataset.from_list(rows[:num_held_out]),
        environment_factory=partial(RemoteGame, url),
    )
    key_and_door.run(trainer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="Where the run and the base model go.")
    parser.add_argument("--num_iterations", type=int, default=4, help="Outer iterations.")
    parser.add_argument(
        "--problems", type=int, default=NUM_PROBLEMS, help="Training problems. Half as many are held out."
    )
    parser.add_argument("--url", help="Address of a server of the game. By default one is started.")
    args = parser.parse_args()
    with nullcontext(args.url) if args.url else serve() as url:
        run(url, args.output_dir, args.num_iterations, args.problems)


if __name__ == "__main__":
    main()
