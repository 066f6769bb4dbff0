# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Loading of reward functions, samplers and other functions by their names."""

import importlib
import inspect
import json
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trl.rewards

from .. import rewards
from ..samplers import (
    DifficultySampler,
    HintInferSampler,
    MajorityVoteSampler,
    RationaleSampler,
    RationalizationSampler,
    Sampler,
    ToolSampler,
    mixture,
)
from ..samplers.calculator import CalculatorSampler
from ..sandbox.limited_process import MissingGuards
from ..tools.python_tool import python_tool
from ..user_input import nearest
from .errors import UsageError


SAMPLERS: dict[str, Callable] = {
    "rationale": RationaleSampler,
    "rationalization": RationalizationSampler,
    "majority_vote": MajorityVoteSampler,
    "difficulty": DifficultySampler,
    "calculator": CalculatorSampler,
    "tool": ToolSampler,
    "hint_infer": HintInferSampler,
    "mixture": mixture,
}
REWARDS: dict[str, Any] = {name: getattr(rewards, name) for name in rewards.__all__ if "reward" in name.lower()}
TRL_REWARDS = ("accuracy_reward", "reasoning_accuracy_reward", "think_format_reward", "get_soft_overlong_punishment")


def load_object(path: str, what: str) -> Any:
    """
    Loads a function, class or value by its path.

    Args:
        path (`str`):
            `"package.module.name"`, or `"path/to/file.py:name"`.
        what (`str`):
            Purpose of the object, for messages.

    Raises:
        `UsageError`: If there is no such module, file or name.
    """
    # Modules in the working directory are found, as with `python -m`.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if ".py:" in path:
        file, name = path.rsplit(":", 1)
        return _attribute(_import_file(Path(file), what), name, what)
    try:
        return pkgutil.resolve_name(path)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{what}: no module named {error.name!r} for {path!r}. Give a dotted path, such as "
            "`my_package.module.name`, or a file and a name in it, such as `my_file.py:name`."
        ) from error
    except AttributeError as error:
        module, name = path.rsplit(".", 1)
        found = dir(sys.modules[module]) if module in sys.modules else []
        raise UsageError(f"{what}: {error}.{nearest(name, found)}") from error


def _import_file(file: Path, what: str) -> Any:
    if not file.is_file():
        raise UsageError(f"{what}: there is no file {file} in {Path.cwd()}.")
    folder = str(file.resolve().parent)  # the file may import files beside it
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.import_module(file.stem)
    if Path(module.__file__ or "").resolve() != file.resolve():
        raise UsageError(
            f"{what}: `{file.stem}` is {module.__file__} already, not {file}. Give the file another name."
        )
    return module


def _attribute(module: Any, name: str, what: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise UsageError(f"{what}: {module.__file__} has no `{name}`.{nearest(name, dir(module))}") from error


def load_reward(spec: str | dict[str, Any]) -> Any:
    """
    Loads a reward function.

    Args:
        spec (`str` or `dict`):
            A name in `star_trl.rewards` or one of TRL's, a dotted path, or a reward model's id. Alternatively
            `{"name": ...}` with arguments. They go to the function that makes the reward function, such as
            `get_format_reward`, or to the reward function itself, such as the `timeout` of `math_verify_reward`.
    """
    name, arguments = _split(spec, "reward_funcs")
    if name in REWARDS:
        found = REWARDS[name]
    elif name in TRL_REWARDS:
        found = getattr(trl.rewards, name)
    elif ".py:" in name or ("." in name and "/" not in name):
        found = load_object(name, "reward_funcs")
    elif "/" in name or Path(name).is_dir():
        if arguments:
            raise UsageError(
                f"reward_funcs: give a reward model with arguments as `name: RewardModel, model: {name}`."
            )
        return name
    else:
        known = [*REWARDS, *TRL_REWARDS]
        raise UsageError(
            f"reward_funcs: there is no {name!r}.{nearest(name, known)} There are {', '.join(known)}; a dotted path "
            "or `file.py:name` takes one of your own, and `organization/model` a reward model."
        )
    what = f"reward_funcs, {name}"
    if isinstance(found, type) or name.startswith("get_"):
        return _call(found, arguments, what)
    if not arguments:
        return found
    parameters = inspect.signature(found).parameters
    if "completions" not in parameters:
        return _call(found, arguments, what)
    _check_names(arguments, [name for name in parameters if name not in ("completions", "kwargs")], what)
    return partial(found, **arguments)


def load_samplers(specs: Sequence[str | dict[str, Any]]) -> list[Sampler]:
    """
    Loads the samplers.

    Args:
        specs (`list[str | dict]`):
            Names in `SAMPLERS` or dotted paths, or `{"name": ...}` with the sampler's arguments. Among these,
            `sampler` and `samplers` are specified in the same way. `extract_answer` is the path of a function. `tool`
            is the path of a tool, or `python_tool`, optionally with its arguments.
    """
    samplers: list[Sampler] = []
    for spec in specs:
        made = _load_sampler(spec)
        samplers += made if isinstance(made, list) else [made]
    return samplers


def _load_sampler(spec: str | dict[str, Any]) -> Any:
    name, arguments = _split(spec, "samplers")
    if name in SAMPLERS:
        found: Callable = SAMPLERS[name]
    elif "." in name:
        found = load_object(name, "samplers")
    else:
        raise UsageError(
            f"samplers: there is no {name!r}.{nearest(name, SAMPLERS)} There are {', '.join(SAMPLERS)}; a dotted path "
            "or `file.py:name` takes one of your own."
        )
    if "sampler" in arguments:
        arguments["sampler"] = _load_sampler(arguments["sampler"])
    if "samplers" in arguments:
        arguments["samplers"] = load_samplers(arguments["samplers"])
    if "extract_answer" in arguments:
        path = arguments["extract_answer"]
        arguments["extract_answer"] = (
            rewards.extract_number if path == "extract_number" else load_object(path, "extract_answer")
        )
    if "tool" in arguments:
        tool, settings = _split(arguments["tool"], "tool")
        arguments["tool"] = (
            _call(python_tool, settings, "python_tool") if tool == "python_tool" else load_object(tool, "tool")
        )
    return _call(found, arguments, f"samplers, {name}")


def _split(spec: Any, field: str) -> tuple[str, dict[str, Any]]:
    """Returns the name and the arguments. The command line gives a mapping as JSON."""
    if isinstance(spec, str) and spec.startswith("{"):
        try:
            spec = json.loads(spec)
        except ValueError as error:
            raise UsageError(f"{field}: {spec!r} is not JSON: {error}.") from error
    if isinstance(spec, str):
        return spec, {}
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        raise UsageError(f"{field}: {spec!r} has no `name`. Write `name: ...` and the arguments beside it.")
    return spec["name"], {key: value for key, value in spec.items() if key != "name"}


def _call(function: Callable, arguments: dict[str, Any], what: str) -> Any:
    known = inspect.signature(function).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        _check_names(arguments, list(known), what)
    try:
        return function(**arguments)
    except (TypeError, ValueError, MissingGuards) as error:
        raise UsageError(f"{what}: {error}") from error


def _check_names(arguments: dict[str, Any], known: list[str], what: str) -> None:
    for name in arguments:
        if name not in known:
            raise UsageError(f"{what} has no argument `{name}`.{nearest(name, known)} It has {', '.join(known)}.")
