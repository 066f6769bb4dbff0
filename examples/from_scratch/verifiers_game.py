# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# dependencies = ["star-trl[examples]", "verifiers>=0.4"]
# ///
"""
The game of `key_and_door.py` as a taskset of verifiers, and what makes the dataset, the environment and the reward
function of a trainer from a taskset. `make_dataset`, `make_environment` and `verifiers_reward` serve other tasksets as
well: `make_dataset(vf.load_taskset(...))`. They need tools that run in this process, and rewards that need no runtime.

```bash
pip install verifiers
python examples/from_scratch/verifiers_game.py --output_dir runs/verifiers-game
```
"""

import argparse
import asyncio
import functools
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import verifiers.v1 as vf
from datasets import Dataset
from verifiers.v1.state import state_cls
from verifiers.v1.utils.decorators import discover_decorated

from key_and_door import CONFIG, MESSAGES, NUM_PROBLEMS, KeyAndDoor, make_base_model, make_problems, make_trainer, run
from star_trl import STaRConfig


# The game as a taskset


class DoorData(vf.TaskData):
    """A problem."""

    cell: str
    key: str
    door: str


class DoorState(vf.State):
    """What the tools tell the reward."""

    is_open: bool = False


class DoorTools(vf.Toolset[vf.ToolsetConfig, DoorState]):
    """The game as tools."""

    TOOL_PREFIX = None

    async def setup_task(self, task: DoorData) -> None:
        self._game = KeyAndDoor()
        self._game.reset(task.cell, task.key, task.door)

    @vf.tool
    def go(self, direction: str) -> str:
        """
        Goes to the next cell.

        Args:
            direction: north, east, south or west

        Returns:
            Where you are.
        """
        shown = self._game.go(direction)
        self.state.is_open = self._game.is_open
        return shown


class DoorTask(vf.Task[DoorData, DoorState]):
    """Opens the door."""

    @classmethod
    def toolsets(cls, config: vf.TaskConfig) -> list[vf.Toolset]:
        return [DoorTools(vf.ToolsetConfig())]

    @vf.reward
    async def opened(self, trace: vf.Trace) -> float:
        return float(trace.state.is_open)


class DoorTasksetConfig(vf.TasksetConfig):
    """Which problems there are."""

    seed: int = 0
    count: int = 400


class DoorTaskset(vf.Taskset[DoorTask, DoorTasksetConfig]):
    """The problems."""

    def load(self) -> Iterator[DoorTask]:
        for row in make_problems(self.config.seed, self.config.count):
            places = {name: row[name] for name in ("cell", "key", "door")}
            prompt = MESSAGES[0]["content"] + KeyAndDoor().reset(**places)
            yield DoorTask(DoorData(prompt=prompt, **places), self.config.task)


def show_way(data: DoorData) -> str:
    """Returns the hint of a problem."""
    return (
        KeyAndDoor()
        .reset(data.cell, data.key, data.door, hint=True)
        .removeprefix(KeyAndDoor().reset(data.cell, data.key, data.door))
    )


# What adapts a taskset


def make_dataset(taskset: vf.Taskset, hint: Callable[[Any], str] | None = None) -> Dataset:
    """
    Makes the problems of a taskset that ends.

    Args:
        taskset (`vf.Taskset`):
            The taskset.
        hint (`Callable`, *optional*):
            Maps the data of a task to the hint, which is appended to the last message of its `hinted_prompt`.
    """
    rows = []
    for task in taskset:
        data = task.data
        prompt = [] if data.system_prompt is None else [{"role": "system", "content": data.system_prompt}]
        if isinstance(data.prompt, str):
            prompt.append({"role": "user", "content": data.prompt})
        else:
            prompt += [{"role": message.role, "content": message.content} for message in data.prompt or []]
        row: dict[str, Any] = {"prompt": prompt, "task": data.idx}
        if hint is not None:
            row["hinted_prompt"] = [*prompt[:-1], {**prompt[-1], "content": prompt[-1]["content"] + hint(data)}]
        rows.append(row)
    return Dataset.from_list(rows)


def make_environment(taskset: vf.Taskset) -> type:
    """
    Makes the class of the environments of a taskset, for `environment_factory`. Its methods are the tools of the
    tasks, which need docstrings in Google's form. A conversation has toolsets of its own, in this process.

    Raises:
        `ValueError`: If the tasks need a runtime, share their tools, or are of several classes.
    """
    tasks = {task.data.idx: task for task in taskset}
    first, *others = {type(task): task for task in tasks.values()}.values()
    check(taskset, first)
    if others:
        raise ValueError(
            f"`{type(taskset).__name__}` has tasks of several classes. Take one whose tasks have one class."
        )

    class TasksetEnvironment:
        async def reset(self, task: int, **kwargs: Any) -> None:
            self.task = tasks[task]
            self.toolsets = toolsets_of(self.task)
            for toolset in self.toolsets:
                await toolset.setup()
                await toolset.setup_task(self.task.data)

    for number, toolset in enumerate(toolsets_of(first)):
        for tool in discover_decorated(toolset, "tool"):
            method = as_method(number, tool.__func__)
            method.__name__ = "_".join(filter(None, (toolset.server_name, tool.tool_name or tool.__name__)))
            setattr(TasksetEnvironment, method.__name__, method)
    return TasksetEnvironment


def as_method(number: int, tool: Callable) -> Callable:
    """Returns the method of an environment that calls a tool of one of its toolsets."""

    @functools.wraps(tool)
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = tool(self.toolsets[number], *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return method


def toolsets_of(task: vf.Task) -> list[vf.Toolset]:
    """Returns new toolsets of a task."""
    return type(task).toolsets(task.config)


def check(taskset: vf.Taskset, task: vf.Task) -> None:
    """Raises `ValueError` if a taskset needs more than this process."""
    needs = [name for name in ("setup", "finalize") if getattr(type(task), name) is not getattr(vf.Task, name)]
    for hook in task.hooks("reward"):
        runtime = inspect.signature(hook).parameters.get("runtime")
        if runtime is not None and runtime.default is inspect.Parameter.empty:
            needs.append(hook.__name__)
    if type(task).NEEDS_CONTAINER or needs:
        raise ValueError(
            f"`{type(task).__name__}` needs a runtime of verifiers ({', '.join(needs) or 'a container'}), which does "
            "not run here. Take a taskset whose tasks need none."
        )
    if type(taskset).toolsets(taskset.config):
        raise ValueError(
            f"`{type(taskset).__name__}` has tools that all tasks share. Let its tasks have them: `Task.toolsets`."
        )
    if sum(type(toolset.state) is not vf.State for toolset in toolsets_of(task)) > 1:
        raise ValueError(f"Several toolsets of `{type(task).__name__}` have a state. Only one may have one here.")


async def verifiers_reward(
    prompts: list[list[dict]], completions: list[list[dict]], environments: list[Any], **kwargs: Any
) -> list[float]:
    """The weighted sum of the rewards of each task, which verifiers computes from the conversation and the state."""
    return await asyncio.gather(*map(score, prompts, completions, environments))


async def score(prompt: list[dict], completion: list[dict], environment: Any) -> float:
    """Returns the reward of a conversation."""
    task = environment.task
    states = [toolset.state for toolset in environment.toolsets]
    state = next((state for state in states if type(state) is not vf.State), None)
    trace = vf.Trace(
        task=vf.TraceTask(type=type(task).__name__, data=task.data),
        agent=vf.AgentInfo(config=vf.AgentConfig(runtime=vf.SubprocessConfig())),
        state=state_cls(type(task))() if state is None else state,
        nodes=as_nodes(prompt, completion),
        ok=True,
    )
    trace.stop("agent_completed")
    await task.score(trace)
    return trace.reward


def as_nodes(prompt: list[dict], completion: list[dict]) -> list[vf.MessageNode]:
    """Returns a conversation as a trace holds it."""
    nodes: list[vf.MessageNode] = []
    called: list[vf.ToolCall] = []
    for number, message in enumerate([*prompt, *completion]):
        made: Any
        content = message.get("content")
        if message["role"] == "assistant":
            # A model wrote the calls, which may lack anything.
            functions = [call.get("function") or {} for call in message.get("tool_calls") or []]
            called = [
                vf.ToolCall(
                    id=f"{number}-{index}",
                    name=str(function.get("name")),
                    arguments=json.dumps(function.get("arguments")),
                )
                for index, function in enumerate(functions)
            ]
            reasoning = message.get("reasoning_content")
            made = vf.AssistantMessage(content=content, reasoning_content=reasoning, tool_calls=list(called) or None)
        elif message["role"] == "tool":
            made = vf.ToolMessage(tool_call_id=called.pop(0).id, content=str(content), name=message["name"])
        else:
            made = {"system": vf.SystemMessage, "user": vf.UserMessage}[message["role"]](content=content)
        sampled = number >= len(prompt) and message["role"] == "assistant"
        nodes.append(vf.MessageNode(parent=number - 1 if number else None, message=made, sampled=sampled))
    return nodes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="Where the run and the base model go.")
    parser.add_argument("--num_iterations", type=int, default=4, help="Outer iterations.")
    parser.add_argument(
        "--problems", type=int, default=NUM_PROBLEMS, help="Training problems. Half as many are held out."
    )
    args = parser.parse_args()
    num_held_out = args.problems // 2
    taskset = DoorTaskset(DoorTasksetConfig(count=args.problems + num_held_out))
    problems = make_dataset(taskset, show_way)
    config = STaRConfig(**CONFIG, num_iterations=args.num_iterations, output_dir=str(args.output_dir / "run"))
    trainer = make_trainer(
        make_base_model(args.output_dir / "base"),
        config,
        problems.skip(num_held_out),
        eval_dataset=problems.take(num_held_out),
        environment_factory=make_environment(taskset),
        reward_funcs=verifiers_reward,
    )
    run(trainer)


if __name__ == "__main__":
    main()
