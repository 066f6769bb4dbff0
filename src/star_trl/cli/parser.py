# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""TRL's parser of a YAML file and a command line, with errors that suggest the intended name."""

import argparse
import json
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

import yaml
from trl import TrlParser

from ..user_input import OTHER_SETTINGS, nearest
from .errors import UsageError


class StarParser(TrlParser):
    """
    A [`~trl.TrlParser`] that checks the YAML file as strictly as the command line and takes no abbreviations. For an
    unknown field, it names the nearest one. An argument that is neither a field nor in the YAML file may belong to
    `accelerate launch`.

    Args:
        dataclass_types (`list`):
            Dataclasses whose fields are the arguments.
        prog (`str`):
            Name of the command, for messages.
        launched (`bool`, *optional*, defaults to `True`):
            Whether arguments of `accelerate launch` are accepted.
        groups (`dict[str, list[str]]`, *optional*):
            Fields that `--help` shows, by the titles of their groups. `--help_all` shows the others as well. By
            default `--help` shows every field.
    """

    def __init__(
        self,
        dataclass_types: Iterable[Any],
        prog: str,
        launched: bool = True,
        groups: Mapping[str, Sequence[str]] | None = None,
    ):
        dataclass_types = list(dataclass_types)
        super().__init__(dataclass_types, prog=prog, allow_abbrev=False)
        self.launched = launched
        self.hints: dict[str, Any] = {}
        for dataclass_type in dataclass_types:
            self.hints.update(get_type_hints(dataclass_type))
        self.actions = {action.dest: action for action in reversed(self._actions) if action.dest in self.hints}
        for name, action in self.actions.items():
            if _takes_json(_members(self.hints[name])):
                action.type = _json_or_text
                action.metavar = "JSON"
        self.groups = groups
        if groups is not None:
            # Not parsed into a dataclass
            nowhere: Any = {"dest": argparse.SUPPRESS, "default": argparse.SUPPRESS}
            self.add_argument("--help_all", action=_HelpAll, nargs=0, help="Show every field and exit.", **nowhere)

    def parse(self, args: list[str]) -> tuple[list[Any], list[str]]:
        """
        Parses a command line, with the YAML file that it may name.

        Args:
            args (`list[str]`):
                The command line, without the command.

        Returns:
            `tuple[list, list[str]]`: An instance of each dataclass, and the arguments for `accelerate launch`.

        Raises:
            `UsageError`: If the file cannot be read, a name is unknown or a value does not fit.
        """
        args = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--config=") else [arg])]
        if args[-1:] == ["--config"]:
            raise UsageError("`--config` needs the path of a YAML file.")
        self.config_name = args[args.index("--config") + 1] if "--config" in args else ""
        try:
            *parsed, from_config, from_command_line = self.parse_args_and_config(
                args, return_remaining_strings=True, separate_remaining_strings=True
            )
        except yaml.YAMLError as error:
            raise UsageError(f"{self.config_name} is not YAML: {error}") from error
        except (OSError, ValueError) as error:  # includes errors from `__post_init__` of the dataclasses
            raise UsageError(str(error)) from error
        return parsed, [*from_config, *from_command_line]

    def parse_args_into_dataclasses(self, args=None, **kwargs):  # type: ignore[override]
        """Parses as the base class does, but checks names before the dataclasses check values."""
        self._check_unknown(self.parse_known_args(args)[1], "")
        return super().parse_args_into_dataclasses(args, **kwargs)

    def set_defaults_with_config(self, **kwargs: Any) -> list[str]:
        """
        Sets the checked values of the YAML file as defaults of the command line. Returns those that are not fields.
        """
        checked = {name: self._checked(name, value) if name in self.hints else value for name, value in kwargs.items()}
        others = {name: checked.pop(name) for name in kwargs if name not in self.hints}
        super().set_defaults_with_config(**checked)
        launch_args = [part for name, value in others.items() for part in _as_arguments(name, value)]
        self._check_unknown(launch_args, f" in {self.config_name}")
        return launch_args

    @property
    def help_option(self) -> str:
        """The option that shows every field."""
        return "--help" if self.groups is None else "--help_all"

    def error(self, message: str) -> NoReturn:
        # argparse would print the usage of two hundred fields before the message.
        raise UsageError(f"{message}. `{self.prog} {self.help_option}` shows every field.")

    def format_help(self) -> str:
        return super().format_help() if self.groups is None else self._format_groups(self.groups)

    def format_every_field(self) -> str:
        """Returns the help with all fields: the groups, and then the fields that they leave out."""
        shown = {name for names in (self.groups or {}).values() for name in names}
        others = [name for name in self.actions if name not in shown]
        return self._format_groups({**(self.groups or {}), "every other field": others})

    def _format_groups(self, groups: Mapping[str, Sequence[str]]) -> str:
        formatter = self.formatter_class(prog=self.prog)
        for title, names in groups.items():
            formatter.start_section(title)
            formatter.add_arguments([self.actions[name] for name in names])
            formatter.end_section()
        number = len(self.actions) - sum(map(len, groups.values()))
        more = f"`--help_all` shows {number} more fields of TRL, transformers and vLLM. " if number else ""
        formatter.add_text(f"{more}Arguments of `accelerate launch` are accepted as well.")
        usage = f"usage: {self.prog} --config recipe.yaml [--name value ...]"
        where = "The fields may be in the YAML file, on the command line, or both."
        return f"{usage}\n\n{where}\n\n{formatter.format_help()}"

    def _checked(self, name: str, value: Any) -> Any:
        action, members = self.actions[name], list(_members(self.hints[name]))
        place = f"`{name}` in {self.config_name}"
        if value is None:
            if type(None) in members:
                return None
            raise UsageError(
                f"{place} is empty, but needs {_described(members)}. Give a value, or leave the line out."
            )
        if isinstance(value, dict):
            if _takes_json(members):
                return value
            raise UsageError(f"{place} is a mapping, but needs {_described(members)}.")
        if isinstance(value, list):
            if list not in map(_origin, members):
                raise UsageError(f"{place} is the list {value}, but needs {_described(members)}.")
            return [self._converted(place, action, entry, members) for entry in value]
        return self._converted(place, action, value, members)

    def _converted(self, place: str, action: argparse.Action, value: Any, members: list[Any]) -> Any:
        """Returns one value as the command line would read it."""
        if action.dest in COMPOSED and isinstance(value, dict):
            return value
        if isinstance(value, (dict, list)) or value is None or (_takes_json(members) and not isinstance(value, str)):
            raise UsageError(f"{place} holds {value!r}, but needs {_described(members)}.")
        if isinstance(value, bool) and bool not in members and action.dest not in MAY_BE_BOOL:
            text = "on, yes or true" if value else "off, no or false"
            raise UsageError(
                f"{place} needs {_described(members)}, but YAML reads {text} without quotes as a boolean. Put it in "
                "quotes if that is the text you mean."
            )
        try:
            converted = action.type(str(value)) if callable(action.type) else value
        except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
            raise UsageError(f"{place} is {value!r}, but needs {_described(members)}.") from error
        if action.choices is not None and converted not in action.choices:
            choices = [str(choice) for choice in action.choices]
            close = nearest(str(value), choices)
            raise UsageError(f"{place} is {value!r}, but needs one of {', '.join(choices)}.{close}")
        return converted

    def _check_unknown(self, args: list[str], place: str) -> None:
        """Checks that `accelerate launch` knows the arguments that are not fields."""
        unknown, known, other = args, list(self.hints), ""
        if self.launched:
            from accelerate.commands.launch import launch_command_parser  # takes seconds

            own = [arg.replace("--accelerate_config", "--config_file", 1) for arg in args]
            # The script's name ends what `accelerate launch` reads as its own arguments.
            _, unknown = launch_command_parser().parse_known_args([*own, "script"])
            known += launch_options()
            other = ", nor an argument of `accelerate launch`"
        for name in (arg.split("=")[0].removeprefix("--") for arg in unknown if arg.startswith("--")):
            field = name.replace("-", "_")
            instead = f" {OTHER_SETTINGS[field]}" if field in OTHER_SETTINGS else nearest(field, known)
            raise UsageError(
                f"`{name}`{place} is not a field of `{self.prog}`{other}.{instead} `{self.prog} "
                f"{self.help_option}` shows every field."
            )
        if args and not args[0].startswith("-"):
            raise UsageError(f"`{args[0]}` does not belong to any argument. Fields are given as `--name value`.")


class _HelpAll(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        sys.stdout.write(parser.format_every_field())
        parser.exit()


# Fields whose entries in the YAML file may be mappings, and text that may be a boolean.
COMPOSED = {"reward_funcs", "samplers"}
MAY_BE_BOOL = {"resume_from_checkpoint"}


def launch_options() -> list[str]:
    """Returns the options of `accelerate launch`, and `accelerate_config`, TRL's name for a file of such options."""
    from accelerate.commands.launch import launch_command_parser

    return ["accelerate_config", *re.findall(r"--([a-z][a-z0-9_]+)", launch_command_parser().format_usage())]


def _json_or_text(value: str) -> Any:
    # The fields that take JSON also take other text, such as a path.
    if not value.startswith("{"):
        return value
    try:
        json.loads(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} is not JSON: {error}") from error
    return value


def _as_arguments(name: str, value: Any) -> list[str]:
    """Returns a line of the YAML file as arguments of `accelerate launch`, whose switches have no value."""
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    return [f"--{name}", str(value)]


def _origin(hint: Any) -> Any:
    return get_origin(hint) or hint


def _members(hint: Any) -> Iterator[Any]:
    """Yields the types of a union."""
    if get_origin(hint) in (Union, types.UnionType):
        yield from get_args(hint)
    else:
        yield hint


def _takes_json(members: Iterable[Any]) -> bool:
    return dict in map(_origin, members)


def _described(members: list[Any]) -> str:
    """`int | None` -> `a whole number or nothing`."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a mapping"}
    names[type(None)] = "nothing"
    names[list] = "a list"
    described: list[str] = []
    for member in members:
        name = names.get(_origin(member)) or str(getattr(member, "__name__", member))
        (inner,) = get_args(member)[:1] or (None,)
        described.append(f"a list ({names.get(_origin(inner), inner)})" if _origin(member) is list else name)
    return " or ".join(dict.fromkeys(described))
