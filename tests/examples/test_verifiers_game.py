# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Tasksets of verifiers as dataset, environment and reward. Skipped if verifiers is not installed."""

import asyncio
import inspect

import pytest

from key_and_door import KeyAndDoor, find_way, make_problems
from support.game import KEPT_WITH_HINT


vf = pytest.importorskip("verifiers.v1")

import verifiers_game  # noqa: E402
from verifiers_game import (  # noqa: E402
    DoorState,
    DoorTaskset,
    DoorTasksetConfig,
    DoorTools,
    make_dataset,
    make_environment,
    show_way,
    verifiers_reward,
)


@pytest.fixture
def taskset():
    return DoorTaskset(DoorTasksetConfig(count=2))


def taskset_of(task_class, shared=()):
    """A taskset of one task of a class, and tools that all tasks share."""

    class Single(vf.Taskset[task_class, vf.TasksetConfig]):
        def load(self):
            prompt = [vf.UserMessage(content="What is 1 + 1?")]
            yield task_class(vf.TaskData(prompt=prompt, system_prompt="Be brief."), self.config.task)

        @classmethod
        def toolsets(cls, config):
            return list(shared)

    return Single(vf.TasksetConfig())


def test_the_problems_are_those_of_the_taskset(taskset):
    for row, problem in zip(make_dataset(taskset, show_way), make_problems(0, 2), strict=True):
        for column, hint in (("prompt", False), ("hinted_prompt", True)):
            said = KeyAndDoor().reset(**problem, hint=hint)
            assert row[column] == [{"role": "user", "content": problem["prompt"][0]["content"] + said}]


def test_each_conversation_has_its_own_tools(taskset):
    async def play() -> None:
        make = make_environment(taskset)
        games = [make(), make()]
        for number, game in enumerate(games):
            await game.reset(task=number)
        (row, _), prompt = make_problems(0, 2), [{"role": "user", "content": "Open the door."}]
        for direction in find_way(row["cell"], row["key"], row["door"])[1::2]:
            shown = await games[0].go(direction)
        assert shown.endswith("The door opens.")
        completion = [{"role": "assistant", "content": "Done."}]
        assert await verifiers_reward([prompt] * 2, [completion] * 2, games) == [1.0, 0.0]
        await games[0].reset(task=0)
        assert await verifiers_reward([prompt], [completion], games[:1]) == [0.0]

    asyncio.run(play())


def test_the_tools_are_described_as_those_of_the_game(taskset):
    game = make_environment(taskset)()
    assert inspect.signature(game.go) == inspect.signature(KeyAndDoor().go)
    assert inspect.getdoc(game.go) == inspect.getdoc(KeyAndDoor().go)


def test_a_run_with_the_taskset(taskset, play_the_game):
    kept = play_the_game(
        make_dataset(taskset, show_way),
        environment_factory=make_environment(taskset),
        reward_funcs=verifiers_reward,
    )
    assert kept == KEPT_WITH_HINT


def test_its_command(run_game):
    assert run_game(verifiers_game) == 20


def test_rewards_see_the_whole_conversation():
    seen = []

    class Task(vf.Task[vf.TaskData, vf.State]):
        @vf.reward(weight=0.5)
        async def right(self, trace) -> float:
            seen.append(trace)
            return float(trace.last_reply == "2")

        @vf.reward
        async def called(self, task, trace) -> float:
            return float(len(trace.tool_messages) == 2 and task.prompt_text == "What is 1 + 1?")

    taskset = taskset_of(Task)
    (row,) = make_dataset(taskset)
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    completion = [
        {"role": "assistant", "content": "", "tool_calls": [call, {"type": "function"}]},
        {"role": "tool", "name": "add", "content": [2]},
        {"role": "tool", "name": "unknown", "content": "{'error': 'function'}"},
        {"role": "assistant", "content": "2"},
    ]

    async def judge() -> list[float]:
        environment = make_environment(taskset)()
        await environment.reset(**row)
        return await verifiers_reward([row["prompt"]], [completion], [environment])

    assert asyncio.run(judge()) == [1.5]
    (trace,) = seen
    assert [message.role for message in trace.messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert [node.sampled for node in trace.nodes] == [False, False, True, False, False, True]
    calls = trace.assistant_messages[0].tool_calls
    assert [call.id for call in calls] == [message.tool_call_id for message in trace.tool_messages]
    assert (calls[0].name, calls[0].arguments) == ("add", '{"a": 1}')


def test_tools_are_called_as_the_taskset_calls_them():
    class Tools(vf.Toolset[vf.ToolsetConfig, vf.State]):
        TOOL_PREFIX = "sums"

        @vf.tool(name="plus")
        async def add(self, a: int, b: int) -> int:
            """Adds."""
            return a + b

    class Task(vf.Task[vf.TaskData, vf.State]):
        @classmethod
        def toolsets(cls, config):
            return [Tools(vf.ToolsetConfig())]

    async def call() -> int:
        environment = make_environment(taskset_of(Task))()
        await environment.reset(task=0)
        return await environment.sums_plus(1, b=2)

    assert asyncio.run(call()) == 3


def test_what_does_not_fit_into_this_process_is_refused():
    class Reward(vf.Task[vf.TaskData, vf.State]):
        @vf.reward
        async def files(self, trace, runtime) -> float:
            return 0.0

    class Setup(vf.Task[vf.TaskData, vf.State]):
        async def setup(self, trace, runtime) -> None:
            pass

    class Container(vf.Task[vf.TaskData, vf.State]):
        NEEDS_CONTAINER = True

    class States(vf.Task[vf.TaskData, DoorState]):
        @classmethod
        def toolsets(cls, config):
            return [DoorTools(vf.ToolsetConfig())] * 2

    class Fine(vf.Task[vf.TaskData, vf.State]):
        @vf.reward
        async def files(self, trace, runtime=None) -> float:
            return 0.0

    shared = taskset_of(Fine, [DoorTools(vf.ToolsetConfig())])
    for taskset, reason in (
        (taskset_of(Reward), r"needs a runtime of verifiers \(files\)"),
        (taskset_of(Setup), r"needs a runtime of verifiers \(setup\)"),
        (taskset_of(Container), r"needs a runtime of verifiers \(a container\)"),
        (shared, "has tools that all tasks share"),
        (taskset_of(States), "Several toolsets of `States` have a state"),
    ):
        with pytest.raises(ValueError, match=reason):
            make_environment(taskset)
    make_environment(taskset_of(Fine))
