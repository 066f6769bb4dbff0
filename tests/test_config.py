# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import inspect
import re
from dataclasses import fields

import pytest
import torch
from transformers import HfArgumentParser
from trl import SFTConfig

from star_trl import STaRConfig
from star_trl.config_checks import LIMITS, NOT_READ


def test_the_schedule_is_the_papers():
    args = STaRConfig(use_cpu=True)
    assert [args.inner_steps(iteration) for iteration in range(1, 9)] == [40, 48, 57, 69, 82, 99, 119, 143]
    assert args.inner_steps(30) == 7912  # the paper's cap


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"initial_steps": 300, "step_growth": 1, "step_increment": 20}, [300, 320, 340, 360]),
        ({"max_inner_steps": 50}, [40, 48, 50, 50]),
        ({"initial_steps": 10, "step_growth": 1.1}, [10, 11, 12, 13]),
        ({"initial_steps": None, "max_steps": 7}, [None] * 4),
    ],
)
def test_other_schedules(settings, steps):
    args = STaRConfig(use_cpu=True, **settings)
    assert [args.inner_steps(iteration) for iteration in range(1, 5)] == steps


def test_every_field_is_documented():
    own = {field.name for field in fields(STaRConfig)} - {field.name for field in fields(SFTConfig)}
    documented = set(re.findall(r"^    (\w+) \(`", inspect.cleandoc(STaRConfig.__doc__), re.MULTILINE))
    assert own == documented
    assert all(field.metadata.get("help") for field in fields(STaRConfig) if field.name in own)


def test_it_parses_from_the_command_line():
    command = (
        "--output_dir out --num_iterations 3 --temperature 0.7 --stop_strings A B --reward_threshold 1 nan --use_cpu"
    )
    (args,) = HfArgumentParser(STaRConfig).parse_args_into_dataclasses(command.split())
    assert (args.num_iterations, args.temperature, args.stop_strings) == (3, 0.7, ["A", "B"])
    assert args.reward_threshold == [1.0, None]


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        ({}, []),
        ({"num_train_epochs": 1}, ["`num_train_epochs=1` has no effect: `initial_steps` sets the length"]),
        ({"num_train_epochs": 1, "initial_steps": None}, []),
        (
            {"eval_strategy": "steps", "eval_steps": 50},
            ["`eval_strategy='steps'` and `eval_steps=50` have no effect: the model is evaluated before the first"],
        ),
        ({"eval_strategy": "steps"}, ["`eval_strategy='steps'` has no effect"]),
        ({"eval_strategy": "epoch"}, []),
        ({"save_strategy": "steps"}, ["`save_strategy='steps'` has no effect: the model is saved after every outer"]),
        ({"save_strategy": "best"}, []),
        ({"load_best_model_at_end": True}, []),
        ({"include_for_metrics": ["loss"]}, ["`include_for_metrics=['loss']` has no effect"]),
        (
            {"per_device_eval_batch_size": 64, "dataset_text_field": "question"},
            ["`per_device_eval_batch_size=64` has no effect", "`dataset_text_field='question'` has no effect"],
        ),
    ],
)
def test_settings_that_the_loop_does_not_read_are_named(settings, messages):
    found = STaRConfig(use_cpu=True, **settings).ignored_settings
    assert len(found) == len(messages)
    assert all(message in text for message, text in zip(messages, found, strict=True))


def test_the_table_of_settings_that_are_not_read_has_fields_only():
    assert {name for names in NOT_READ for name in names.split()} <= {field.name for field in fields(SFTConfig)}


def test_an_output_directory_that_models_cannot_be_saved_in(monkeypatch):
    """A name whose bytes are no UTF-8, and one that the locale encodes otherwise."""
    assert STaRConfig("caf\u00e9", use_cpu=True).output_dir == "caf\u00e9"
    with pytest.raises(ValueError, match="is no path in UTF-8 .*`LC_ALL=C.UTF-8`"):
        STaRConfig("caf\udce9", use_cpu=True)
    for encoding in ("latin-1", "ascii"):
        monkeypatch.setattr("os.fsencode", lambda name, encoding=encoding: name.encode(encoding))
        with pytest.raises(ValueError, match="is no path in UTF-8"):
            STaRConfig("caf\u00e9", use_cpu=True)


@pytest.mark.parametrize("products", ["amx_bf16", "avx512_bf16", None])
def test_bf16_on_a_cpu_is_chosen_by_the_processor(monkeypatch, products):
    found = {name: name == products for name in ("amx_bf16", "avx512_bf16")}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    has_products = products is not None
    assert STaRConfig("out", use_cpu=True).bf16 is has_products
    assert STaRConfig("out", use_cpu=True, bf16=not has_products).bf16 is not has_products


def test_generation_kwargs_that_are_fields_replace_them():
    args = STaRConfig(
        use_cpu=True,
        temperature=0.5,
        generation_kwargs={
            **{"do_sample": True, "top_k": 20, "temperature": 1.0, "num_beams": 1, "max_new_tokens": 64},
            **{"stop_strings": "\n", "repetition_penalty": 1.1},
        },
    )
    assert (args.temperature, args.top_k, args.max_completion_length, args.stop_strings) == (1.0, 20, 64, ["\n"])
    assert args.generation_kwargs == {"repetition_penalty": 1.1}
    assert STaRConfig(use_cpu=True, generation_kwargs={"do_sample": False, "num_beams": 1}).generation_kwargs is None
    with pytest.raises(ValueError, match="'do_sample': True.* contradicts `temperature=0.0`"):
        STaRConfig(use_cpu=True, generation_kwargs={"do_sample": True})


@pytest.mark.parametrize(
    ("name", "limit"), sorted((name, limit) for limit, (_, names) in LIMITS.items() for name in names.split())
)
def test_nan_is_within_no_limit(name, limit):
    is_float = "float" in str(STaRConfig.__annotations__[name])
    expected = re.escape(limit if is_float else "of type")
    with pytest.raises(ValueError, match=f"`{name}` must be {expected}.*, got nan"):
        STaRConfig(use_cpu=True, **{name: float("nan")})
