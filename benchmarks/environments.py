# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Compares STaR, with and without hints of the environment, with TRL's `GRPOTrainer` in the same environment at equal
cost: the same base model, problems, reward and CPU seconds, on one thread. The environment is the game of
`examples/from_scratch/key_and_door.py`. Evaluations are the same for all and are not counted.

    python benchmarks/environments.py --output_dir runs/environments        # 4 x 8 minutes of CPU time
    python benchmarks/environments.py --output_dir runs/environments --methods speed
    python benchmarks/environments.py --output_dir runs/environments --draw # only the figure, from the results

`speed` compares the sampling of conversations with that of the engine alone, which writes about as many single turns
behind the first prompts. Merges the results into `docs/results/environments.json` as each run ends, leaves out runs
that the file has, and draws `docs/images/environments.png`. The last line is JSON: the accuracies within the time, and
the speeds.
"""

import argparse
import json
import sys
import tempfile
import time
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


sys.path.append(str(Path(__file__).parents[1] / "examples" / "from_scratch"))
import runs  # noqa: E402
from key_and_door import CONFIG, KeyAndDoor, make_base_model, make_problems, make_trainer  # noqa: E402


RESULTS = runs.RESULTS / "environments.json"
CPU_SECONDS = 480.0
GRPO_LEARNING_RATES = (3e-4, 1e-3)
NUM_TRAINING, NUM_HELD_OUT = 400, 200
STAR = {
    "STaR": True,
    "STaR without hints": False,
}
GRPO = {f"GRPO, learning rate {rate:g}": rate for rate in GRPO_LEARNING_RATES}
SPEED = "speed"


def make_datasets(seed: int) -> tuple[Dataset, Dataset]:
    """Returns the training problems and the held-out ones."""
    rows = make_problems(seed, NUM_TRAINING + NUM_HELD_OUT)
    return Dataset.from_list(rows[NUM_HELD_OUT:]), Dataset.from_list(rows[:NUM_HELD_OUT])


def make_samplers(with_hints: bool) -> list[Sampler]:
    """Returns the samplers. A problem is drawn once, and again with the hint if it was not solved."""
    limits: dict[str, Any] = {"max_environments": 256, "max_turns": CONFIG["max_tool_calling_iterations"]}
    plain = EnvironmentSampler(RationaleSampler(), KeyAndDoor, **limits)
    hinted = EnvironmentSampler(RationalizationSampler(), KeyAndDoor, hint=True, **limits)
    return [plain, hinted] if with_hints else [plain]


def make_star(base_model: str, output_dir: str, seed: int, problems: Dataset, with_hints: bool, **changes: Any) -> Any:
    settings = {
        **CONFIG,
        "num_iterations": 100,  # the time ends the run
        "save_strategy": "no",
        "html_report": False,
        "include_num_input_tokens_seen": "all",
        **changes,
    }
    args = STaRConfig(**settings, output_dir=output_dir, seed=seed)
    samplers = make_samplers(with_hints)
    return make_trainer(base_model, args, problems, samplers=samplers, environment_factory=None)


def run_star(base_model: str, seed: int, datasets: tuple[Dataset, Dataset], with_hints: bool, seconds: float) -> Curve:
    """Runs STaR until its time is over. Without hints several completions are drawn, as there is no second try."""
    several = {} if with_hints else {"num_generations": 2}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_star(base_model, f"{folder}/run", seed, datasets[0], with_hints, **several)
        budget = Budget(trainer, datasets[1], seconds)
        trainer.add_callback(budget)
        trainer.train()
        return budget.curve


def run_grpo(base_model: str, seed: int, datasets: tuple[Dataset, Dataset], rate: float, seconds: float) -> Curve:
    """Runs TRL's GRPO in the same environment until its time is over."""
    with tempfile.TemporaryDirectory() as folder:
        judge = make_star(base_model, f"{folder}/judge", seed, datasets[0], with_hints=False)

        def evaluate() -> float:
            judge.model.load_state_dict(trainer.model.state_dict())
            return judge.evaluate(datasets[1])["eval_accuracy"]

        budget = StepBudget(seconds, evaluate)
        args: GRPOConfig = grpo_config(Path(folder) / "grpo", seed, rate)
        args.max_completion_length = CONFIG["max_completion_length"]
        args.max_tool_calling_iterations = CONFIG["max_tool_calling_iterations"]
        trainer = GRPOTrainer(
            model=base_model,
            args=args,
            reward_funcs=[budget.count],
            train_dataset=datasets[0],
            environment_factory=KeyAndDoor,
            callbacks=[budget],
        )
        trainer.train()
        return budget.curve


def measure_speed(base_model: str, seed: int, problems: Dataset) -> dict[str, float]:
    """Returns turns, generated tokens and all tokens in a CPU second with the environment, and without it."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_star(base_model, folder, seed, problems, with_hints=False)
        start = time.process_time()
        samples = trainer.sample_problems(problems, sampler=make_samplers(with_hints=False)[0])
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
        **_engine_speed(base_model, seed, problems, round(turns / len(samples))),
    }


def _engine_speed(base_model: str, seed: int, problems: Dataset, num_turns: int) -> dict[str, float]:
    """Returns the speed of the engine alone, which writes some single turns behind each prompt."""
    with tempfile.TemporaryDirectory() as folder:
        config = STaRConfig(**CONFIG, num_generations=num_turns, output_dir=folder, seed=seed)
        tokenizer = AutoTokenizer.from_pretrained(base_model)
        rows = []
        for row in problems:
            (message,), game = row["prompt"], KeyAndDoor()
            shown = [{**message, "content": message["content"] + game.reset(**row)}]
            text = tokenizer.apply_chat_template(shown, tools=[game.go], add_generation_prompt=True, tokenize=False)
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


def draw(results: dict[str, dict[str, Curve]], seconds: float) -> None:
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
    axes.set(xlabel="CPU seconds", ylabel="doors opened on held-out problems (%)", ylim=(-3, 103))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(runs.IMAGES / "environments.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output_dir", type=Path, required=True, help="Where the base model goes.")
    names = [*STAR, *GRPO, SPEED]
    parser.add_argument("--methods", nargs="+", choices=names, default=names, help="What to run.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="Seeds of problems and training.")
    parser.add_argument("--cpu_seconds", type=float, default=CPU_SECONDS, help="CPU time of each run.")
    parser.add_argument("--draw", action="store_true", help="Only draw the figure.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    base_model = str(make_base_model(args.output_dir / "base"))
    for seed in [] if args.draw else args.seeds:
        datasets = make_datasets(seed)
        for name in args.methods:
            if f"seed {seed}" in runs.read_results(RESULTS).get(name, {}):
                continue
            if name == SPEED:
                result: Any = measure_speed(base_model, seed, datasets[0])
            elif name in STAR:
                result = run_star(base_model, seed, datasets, STAR[name], args.cpu_seconds)
            else:
                result = run_grpo(base_model, seed, datasets, GRPO[name], args.cpu_seconds)
            runs.merge_results(RESULTS, name, {f"seed {seed}": result})
    results = runs.read_results(RESULTS)
    speeds = results.pop(SPEED, {})
    if results:
        draw(results, args.cpu_seconds)
    accuracies = {name: round(mean_accuracy(found, args.cpu_seconds), 3) for name, found in results.items()}
    print(json.dumps({**accuracies, **({SPEED: speeds} if speeds else {})}))


if __name__ == "__main__":
    main()
