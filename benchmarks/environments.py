# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares STaR, with and without hints of the environment, with TRL's `GRPOTrainer` in the same environment at equal
cost: the same base model, problems, reward and CPU seconds, on one thread. The environment is the game of
`examples/from_scratch/key_and_door.py`, or the console of `examples/from_scratch/synthetic_console.py`. Evaluations
are the same for all and are not counted, nor is the process that runs the queries of the console.

    python benchmarks/environments.py --output_dir runs/environments        # 4 x 5 minutes of CPU time
    python benchmarks/environments.py --output_dir runs/environments --methods speed
    python benchmarks/environments.py --output_dir runs/environments --environment console --cpu_seconds 120
    python benchmarks/environments.py --output_dir runs/environments --draw # only the figure, from the results

`speed` compares the sampling of conversations with that of the engine alone, which writes about as many single turns
behind the first prompts. Merges the results into `docs/results/environments.json` as each run ends, leaves out runs
that the file has, and draws `docs/images/environments.png`. Those of the console are called `console_environment`. The
last line is JSON: the accuracies within the time, and the speeds.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from family import Budget, Curve, StepBudget, mean_accuracy
from grpo import grpo_config
from star_trl import EnvironmentSampler, RationaleSampler, RationalizationSampler, Sampler, STaRConfig
from star_trl.tools.environments import Environments


sys.path.append(str(Path(__file__).parents[1] / "examples" / "from_scratch"))
import key_and_door  # noqa: E402
import runs  # noqa: E402
import synthetic_console as console  # noqa: E402
from key_and_door import make_trainer  # noqa: E402


@dataclass(frozen=True)
class Game:
    """
    An environment that a tiny model learns.

    Args:
        name (`str`):
            Name of its results and its figure.
        solved (`str`):
            What a right answer is, for the figure.
        environment (`type`):
            The environment.
        config (`dict[str, Any]`):
            Settings of its runs.
        make_base_model (`Callable[[Path], Path]`):
            Makes the base model in a folder.
        make_problems (`Callable[[int, int, Path], list[dict]]`):
            Makes problems from a seed, a number and a folder for their files.
        num_training (`int`):
            Number of training problems.
        p_show_hint (`float`):
            Share of the rationalized samples whose hint stays in training, so that the model remembers how to follow
            one.
    """

    name: str
    solved: str
    environment: type
    config: dict[str, Any]
    make_base_model: Callable[[Path], Path]
    make_problems: Callable[[int, int, Path], list[dict[str, Any]]]
    num_training: int
    p_show_hint: float


GAMES = {
    "key_and_door": Game(
        "environments",
        "doors opened",
        key_and_door.KeyAndDoor,
        key_and_door.CONFIG,
        key_and_door.make_base_model,
        lambda seed, count, folder: key_and_door.make_problems(seed, count),
        num_training=key_and_door.NUM_PROBLEMS,
        p_show_hint=0.3,
    ),
    "console": Game(
        "console_environment",
        "right queries",
        console.SqlConsole,
        console.CONFIG,
        console.make_base_model,
        lambda seed, count, folder: console.make_problems(seed, count, console.database_in(folder)),
        num_training=400,
        p_show_hint=0.0,
    ),
}
CPU_SECONDS = 300.0
GRPO_LEARNING_RATES = (3e-4, 1e-3)
NUM_HELD_OUT = 200
# Without hints several completions are drawn, as there is no second try. Few of them are right in the first
# iterations, so fewer steps are taken.
WITHOUT_HINTS = {"num_generations": 2, "initial_steps": 100}
STAR = {
    "STaR": True,
    "STaR without hints": False,
}
GRPO = {f"GRPO, learning rate {rate:g}": rate for rate in GRPO_LEARNING_RATES}
SPEED = "speed"


def make_datasets(game: Game, seed: int, folder: Path) -> tuple[Dataset, Dataset]:
    """Returns the training problems and the held-out ones."""
    rows = game.make_problems(seed, game.num_training + NUM_HELD_OUT, folder)
    return Dataset.from_list(rows[NUM_HELD_OUT:]), Dataset.from_list(rows[:NUM_HELD_OUT])


def make_samplers(game: Game, with_hints: bool) -> list[Sampler]:
    """Returns the samplers. A problem is drawn once, and again with the hint if it was not solved."""
    limits: dict[str, Any] = {"max_environments": 256, "max_turns": game.config["max_tool_calling_iterations"]}
    plain = EnvironmentSampler(RationaleSampler(), game.environment, **limits)
    hinted = EnvironmentSampler(
        RationalizationSampler(p_show_hint=game.p_show_hint), game.environment, hint=True, **limits
    )
    return [plain, hinted] if with_hints else [plain]


def make_star(
    game: Game, base_model: str, output_dir: str, seed: int, problems: Dataset, with_hints: bool, **changes: Any
) -> Any:
    settings = {
        **game.config,
        "num_iterations": 100,  # the time ends the run
        "save_strategy": "no",
        "html_report": False,
        "include_num_input_tokens_seen": "all",
        **changes,
    }
    args = STaRConfig(**settings, output_dir=output_dir, seed=seed)
    samplers = make_samplers(game, with_hints)
    return make_trainer(base_model, args, problems, samplers=samplers, environment_factory=None)


def run_star(
    game: Game, base_model: str, seed: int, datasets: tuple[Dataset, Dataset], with_hints: bool, seconds: float
) -> Curve:
    """Runs STaR until its time is over."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_star(
            game, base_model, f"{folder}/run", seed, datasets[0], with_hints, **({} if with_hints else WITHOUT_HINTS)
        )
        budget = Budget(trainer, datasets[1], seconds)
        trainer.add_callback(budget)
        trainer.train()
        return budget.curve


def run_grpo(
    game: Game, base_model: str, seed: int, datasets: tuple[Dataset, Dataset], rate: float, seconds: float
) -> Curve:
    """Runs TRL's GRPO in the same environment until its time is over."""
    with tempfile.TemporaryDirectory() as folder:
        judge = make_star(game, base_model, f"{folder}/judge", seed, datasets[0], with_hints=False)

        def evaluate() -> float:
            judge.model.load_state_dict(trainer.model.state_dict())
            return judge.evaluate(datasets[1])["eval_accuracy"]

        budget = StepBudget(seconds, evaluate)
        args: GRPOConfig = grpo_config(Path(folder) / "grpo", seed, rate)
        args.max_completion_length = game.config["max_completion_length"]
        args.max_tool_calling_iterations = game.config["max_tool_calling_iterations"]
        trainer = GRPOTrainer(
            model=base_model,
            args=args,
            reward_funcs=[budget.count],
            train_dataset=datasets[0],
            environment_factory=game.environment,
            callbacks=[budget],
        )
        trainer.train()
        return budget.curve


def measure_speed(game: Game, base_model: str, seed: int, problems: Dataset) -> dict[str, float]:
    """Returns turns, generated tokens and all tokens in a CPU second with the environment, and without it."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_star(game, base_model, folder, seed, problems, with_hints=False)
        start = time.process_time()
        samples = trainer.sample_problems(problems, sampler=make_samplers(game, with_hints=False)[0])
        seconds = time.process_time() - start
        turns = sum(turn["role"] == "assistant" for sample in samples for turn in sample.extra["messages"])
        written = sum(sum(sample.loss_mask) for sample in samples)
        tokens = sum(len(sample.completion_ids) for sample in samples)
    return {
        "conversations": len(samples),
        "turns": turns,
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "turns_per_second": round(turns / seconds, 1),
        "generated_tokens_per_second": round(written / seconds, 1),
        "tokens_per_second": round(tokens / seconds, 1),
        **_engine_speed(game, base_model, seed, problems, round(turns / len(samples))),
    }


def _engine_speed(game: Game, base_model: str, seed: int, problems: Dataset, num_turns: int) -> dict[str, float]:
    """Returns the speed of the engine alone, which writes some single turns behind each prompt."""
    with tempfile.TemporaryDirectory() as folder:
        config = STaRConfig(**game.config, num_generations=num_turns, output_dir=folder, seed=seed)
        tokenizer = AutoTokenizer.from_pretrained(base_model)
        rows, tools = [], Environments(game.environment, None).tools_of({})
        for row in problems:
            (message,), environment = row["prompt"], game.environment()
            shown = [{**message, "content": message["content"] + (environment.reset(**row) or "")}]
            text = tokenizer.apply_chat_template(shown, tools=tools, add_generation_prompt=True, tokenize=False)
            rows.append({"prompt": text})
        others = {"samplers": [RationaleSampler()], "reward_funcs": no_reward, "environment_factory": None}
        trainer = make_trainer(base_model, config, Dataset.from_list(rows), **others)
        start = time.process_time()
        samples = trainer.sample_problems(Dataset.from_list(rows), sampler=RationaleSampler())
        seconds = time.process_time() - start
        tokens = sum(len(sample.completion_ids) for sample in samples)
    return {
        "engine_turns": len(samples),
        "engine_tokens": tokens,
        "engine_seconds": round(seconds, 2),
        "engine_turns_per_second": round(len(samples) / seconds, 1),
        "engine_tokens_per_second": round(tokens / seconds, 1),
    }


def no_reward(completions: list[Any], **columns: Any) -> list[float]:
    """Rewards nothing: only the time of sampling counts."""
    return [0.0] * len(completions)


def draw(game: Game, results: dict[str, dict[str, Curve]], seconds: float) -> None:
    """Draws the accuracy of the methods over CPU seconds: one line for each seed."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for number, name in enumerate(name for name in [*STAR, *GRPO] if name in results):
        for index, curve in enumerate(results[name].values()):
            axes.plot(
                [point["seconds"] for point in curve],
                [100 * point["accuracy"] for point in curve],
                color=f"C{number}",
                linestyle="-" if name in STAR else "--",
                marker=".",
                label=name if index == 0 else None,
            )
    axes.axvline(seconds, color="gray", linewidth=0.8)
    axes.set(xlabel="CPU seconds", ylabel=f"{game.solved} on held-out problems (%)", ylim=(-3, 103))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(runs.IMAGES / f"{game.name}.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="Where the base model goes.")
    parser.add_argument("--environment", choices=GAMES, default="key_and_door", help="The environment.")
    names = [*STAR, *GRPO, SPEED]
    parser.add_argument("--methods", nargs="+", choices=names, default=names, help="What to run.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="Seeds of problems and training.")
    parser.add_argument("--cpu_seconds", type=float, default=CPU_SECONDS, help="CPU time of each run.")
    parser.add_argument("--draw", action="store_true", help="Only draw the figure.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    game = GAMES[args.environment]
    results_file = runs.RESULTS / f"{game.name}.json"
    for seed in [] if args.draw else args.seeds:
        base_model = str(game.make_base_model(args.output_dir / args.environment))
        datasets = make_datasets(game, seed, args.output_dir)
        for name in args.methods:
            if f"seed {seed}" in runs.read_results(results_file).get(name, {}):
                continue
            if name == SPEED:
                result: Any = measure_speed(game, base_model, seed, datasets[0])
            elif name in STAR:
                result = run_star(game, base_model, seed, datasets, STAR[name], args.cpu_seconds)
            else:
                result = run_grpo(game, base_model, seed, datasets, GRPO[name], args.cpu_seconds)
            runs.merge_results(results_file, name, {f"seed {seed}": result})
    results = runs.read_results(results_file)
    speeds = results.pop(SPEED, {})
    if results:
        draw(game, results, args.cpu_seconds)
    accuracies = {name: round(mean_accuracy(found, args.cpu_seconds), 3) for name, found in results.items()}
    print(json.dumps({**accuracies, **({SPEED: speeds} if speeds else {})}))


if __name__ == "__main__":
    main()
