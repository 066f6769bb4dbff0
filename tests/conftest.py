# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Fixtures: a tokenizer and a Llama of a few thousand parameters, four sums and trainers on them. No network."""

import gc
import os
import sys


# Before anything imports them: telemetry and hub look-ups would wait for a network that is not there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from pathlib import Path

import pytest
from datasets import Dataset, disable_progress_bars
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from star_trl import STaRConfig, STaRTrainer
from star_trl.rewards import exact_match_reward
from star_trl.sandbox import limited_process
from support import SHARED_DATA
from support.guards import launcher_that, missing_guards
from support.scripted_engine import ScriptedEngine
from support.sums import EXAMPLES, PROBLEMS, SETTINGS
from support.tiny_models import ON_A_CPU, build_model, build_tokenizer


disable_progress_bars()
# Each fine-tuning collects garbage a few times, which would go through everything that the imports above have made.
gc.freeze()


def pytest_collection_modifyitems(items):
    """The tests that start processes take longest. They come first, so that none is left over at the end."""
    items.sort(key=lambda item: item.get_closest_marker("distributed") is None)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture
def model(tokenizer) -> LlamaForCausalLM:
    return build_model(tokenizer)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the public data sets."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"The data sets are not in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def all_guards() -> None:
    """Skips tests of the sandbox where the system lacks a guard."""
    if (error := missing_guards()) is not None:
        pytest.skip(f"This system lacks guards of the sandbox: {error.missing}")


@pytest.fixture
def change_launcher(tmp_path_factory, monkeypatch):
    """Changes the launcher of the sandbox, by statements in which it is called `launcher`."""

    def change(statements: str) -> None:
        path = launcher_that(tmp_path_factory.mktemp("launcher") / "changed_launcher.py", statements)
        monkeypatch.setattr(limited_process, "LAUNCHER", path)

    return change


@pytest.fixture
def without(change_launcher):
    """Makes the launcher one of a system that refuses some of the guards, given by the functions that set them up."""
    return lambda *names: change_launcher("".join(f"launcher.{name} = refuse\n" for name in names))


@pytest.fixture
def problems() -> Dataset:
    return Dataset.from_list(PROBLEMS)


@pytest.fixture
def make_args(tmp_path):
    """Arguments that suit a tiny model on a CPU, and what a test changes in them."""

    def make(**changes) -> STaRConfig:
        return STaRConfig(**{**ON_A_CPU, **SETTINGS, "output_dir": str(tmp_path / "out"), **changes})

    return make


@pytest.fixture
def make_trainer(model, tokenizer, problems, make_args):
    """
    A trainer on four sums. `answer` scripts the engine: a function from the prompt's text to the completion's text.
    Other keyword arguments go to the trainer, and those of the configuration to it.
    """

    def make(answer=None, **changes) -> STaRTrainer:
        trainer_names = (
            "model reward_funcs samplers few_shot_examples train_dataset eval_dataset processing_class peft_config "
            "callbacks optimizer_cls_and_kwargs quantization_config reward_processing_classes tools rollout_func "
            "environment_factory"
        ).split()
        arguments = {
            "model": model,
            "reward_funcs": exact_match_reward,
            "few_shot_examples": EXAMPLES,
            "train_dataset": problems,
            "processing_class": tokenizer,
            **{name: changes.pop(name) for name in trainer_names if name in changes},
        }
        trainer = STaRTrainer(args=make_args(**changes), **arguments)
        if answer is not None:
            trainer.engine = ScriptedEngine(trainer.task.prompt_builder.tokenizer, answer)
        return trainer

    return make


@pytest.fixture
def run_command(monkeypatch):
    """Runs the `main` of a script, with keyword arguments for those of its command line."""

    def run(main, **arguments) -> None:
        given = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", ["script.py", *given])
        main()

    return run


@pytest.fixture
def run_domain(monkeypatch, tmp_path):
    """
    Runs the command line of an example of `datasets/` with settings that suit a tiny model, and returns the folder of
    the runs. Further arguments are those of the command line.
    """
    import paper_runs

    def run(domain, model, *arguments) -> Path:
        output_dir = tmp_path / "runs"
        given = f"""--output_dir {output_dir} --model_name_or_path {model} --num_iterations 1 --initial_steps 2
            --gradient_accumulation_steps 1 --use_cpu --bf16 false --gradient_checkpointing false --report_to none
            --disable_tqdm true --num_few_shot 2"""
        monkeypatch.setattr(sys, "argv", [f"{domain.name}.py", *given.split(), *map(str, arguments)])
        paper_runs.main(domain)
        return output_dir

    return run


@pytest.fixture
def script_engine(monkeypatch):
    """Scripts the engine of every trainer that is made from now on, as `answer` of `make_trainer` does for one."""

    def script(answer) -> None:
        monkeypatch.setattr(
            "star_trl.star_trainer.make_engine", lambda args, tokenizer, _: ScriptedEngine(tokenizer, answer)
        )

    return script
