# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Whole runs in a process of their own, for what is fixed when a library is imported or depends on the terminal: four
sums, a tiny model, scripted answers. Each argument is one run: settings of `STaRConfig` as JSON, and under `then` the
names of methods to call at its end.
"""

import gc
import json
import logging
import sys
from pathlib import Path

from datasets import Dataset, disable_progress_bars
from transformers import TrainerCallback

from star_trl import STaRConfig, STaRTrainer
from star_trl.rewards import exact_match_reward


sys.path.append(str(Path(__file__).parents[1]))
from support.scripted_engine import ScriptedEngine  # noqa: E402
from support.sums import EXAMPLES, PROBLEMS, SETTINGS, solve_easy_and_hinted  # noqa: E402
from support.tiny_models import ON_A_CPU, build_model, build_tokenizer  # noqa: E402


disable_progress_bars()
# As in a user's run
SHOWN = {"gradient_checkpointing": True, "disable_tqdm": False}


class Warn(TrainerCallback):
    """A warning in the middle of each iteration, as the trainer gives some."""

    def on_epoch_begin(self, args, state, control, **kwargs):
        logging.getLogger("star_trl").warning("Something to know.")


def run(then: tuple[str, ...] = (), **changes) -> None:
    tokenizer, problems = build_tokenizer(), Dataset.from_list(PROBLEMS)
    trainer = STaRTrainer(
        model=build_model(tokenizer),
        args=STaRConfig(**{**ON_A_CPU, **SHOWN, **SETTINGS, "eval_group_column": "kind", **changes}),
        reward_funcs=exact_match_reward,
        few_shot_examples=EXAMPLES,
        train_dataset=problems,
        eval_dataset=problems,
        processing_class=tokenizer,
        callbacks=[Warn()],
    )
    trainer.engine = ScriptedEngine(tokenizer, solve_easy_and_hinted)
    trainer.train()
    for name in then:
        getattr(trainer, name)()


if __name__ == "__main__":
    gc.freeze()  # as in tests/conftest.py
    for argument in sys.argv[1:]:
        run(**json.loads(argument))
