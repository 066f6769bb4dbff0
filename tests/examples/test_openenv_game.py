# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The game behind a server of OpenEnv, which runs in a thread. Skipped if OpenEnv is not installed."""

import asyncio
from functools import partial

import pytest

from key_and_door import KeyAndDoor, find_way, make_problems
from support.game import KEPT_WITH_HINT


pytest.importorskip("openenv.core")

import openenv_game  # noqa: E402
from openenv_game import RemoteGame, serve  # noqa: E402


@pytest.fixture
def url():
    with serve() as address:
        yield address


def test_the_remote_game_is_the_game(url):
    async def play() -> None:
        remote, game = RemoteGame(url), KeyAndDoor()
        for row in make_problems(0, 3):
            for hint in (False, True):
                assert await remote.reset(**row, hint=hint) == game.reset(**row, hint=hint)
            assert remote.get_reward() == 0.0
            for direction in find_way(row["cell"], row["key"], row["door"])[1::2]:
                assert await remote.go(direction) == game.go(direction)
            assert remote.get_reward() == game.get_reward() == 1.0

    asyncio.run(play())


def test_an_error_of_the_server_is_an_error_of_the_call(url):
    async def play() -> None:
        remote = RemoteGame(url)
        await remote.reset(**make_problems(0, 1)[0])
        with pytest.raises(RuntimeError, match="no direction up"):
            await remote.go("up")
        assert (await remote.go("north")).startswith("You are at ")

    asyncio.run(play())


def test_a_run_with_the_server(url, play_the_game):
    assert play_the_game(make_problems(0, 2), environment_factory=partial(RemoteGame, url)) == KEPT_WITH_HINT


def test_its_command_starts_a_server(run_game):
    assert run_game(openenv_game) == 20
