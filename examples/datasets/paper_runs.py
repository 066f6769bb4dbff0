# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The runs that tables 1 and 2 of the STaR paper compare, for any [`Domain`], and the command line of the examples."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from rich import box
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer
from trl import ModelConfig, SFTTrainer, TrlParser, get_peft_config, get_quantization_config

from domain import DEFAULTS, Domain, DomainArguments, load_data
from star_trl import CalculatorSampler, RationaleSampler, RationalizationSampler, STaRConfig, STaRTrainer, has_run
from star_trl.ledger.selection import NothingSurvives


@dataclass(frozen=True)
class Run:
    """A line of the paper's tables 1 and 2: what the prompts ask for, and whether and how the model is trained."""

    title: str
    direct: bool = False
    train: str = "star"
    rationalization: bool = False
    few_shot_train: bool = True


RUNS = {
    "few_shot_direct": Run("Few-shot, direct", direct=True, train="none"),
    "few_shot_cot": Run("Few-shot, chain of thought", train="none"),
    "direct_fine_tuned": Run("Fine-tuned on answers, direct", direct=True, train="answers"),
    "star_without_rationalization": Run("STaR without rationalization"),
    "star": Run("STaR", rationalization=True),
    "star_without_rationalization_zero_shot_train": Run(
        "STaR without rationalization, no few-shot prompts in training", few_shot_train=False
    ),
    "star_zero_shot_train": Run("STaR, no few-shot prompts in training", rationalization=True, few_shot_train=False),
}


def do_run(
    name: str, domain: Domain, args: DomainArguments, star_args: STaRConfig, model_args: ModelConfig
) -> dict[str, float]:
    """Does one of `RUNS`, or reads its results if it was done before."""
    run, output_dir = RUNS[name], Path(star_args.output_dir) / name
    result_file = output_dir / "result.json"
    if result_file.exists():
        print(f"{name}: done before; delete {result_file} to repeat it.")
        return json.loads(result_file.read_text())

    examples, problems, held_out = load_data(domain, args, run.direct)
    run_args = copy.copy(star_args)
    run_args.output_dir = str(output_dir)
    run_args.few_shot_train = star_args.few_shot_train and run.few_shot_train
    model = model_arguments(star_args, run_args, model_args)
    if run.train == "answers":
        model = fine_tune_on_answers(problems, run_args, model)
        examples = []

    samplers = [RationaleSampler()]
    if run.rationalization:
        samplers.append(RationalizationSampler(p_show_hint=args.p_show_hint))
    if args.calculator:
        samplers = [CalculatorSampler(sampler) for sampler in samplers]
    if domain.equip is not None and not run.direct:
        samplers = domain.equip(samplers)
    # The gold completions are removed, so that they cannot end up in a training sequence
    train_dataset, eval_dataset = (Dataset.from_list(rows).remove_columns("direct") for rows in (problems, held_out))
    trainer = STaRTrainer(
        args=run_args,
        reward_funcs=domain.reward_funcs,
        samplers=samplers,
        few_shot_examples=examples or None,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        **model,
    )
    if run.train == "star":
        # An interrupted run has a state, unless it was still in the first evaluation
        try:
            metrics = trainer.train(resume_from_checkpoint=has_run(output_dir)).metrics
        except NothingSurvives as error:  # the model stays as it is; the other runs may still succeed
            print(f"{name}: {error}")
            metrics = {**trainer.evaluate(), "train_data_used": 0.0}
    else:
        metrics = trainer.evaluate()
        metrics["train_data_used"] = 1.0 if run.train == "answers" else None
    if trainer.is_world_process_zero():
        output_dir.mkdir(parents=True, exist_ok=True)
        result_file.write_text(json.dumps(metrics, indent=2))
        if domain.report is not None and run.train == "star":
            domain.report(output_dir, train_dataset)
    return metrics


def model_arguments(star_args: STaRConfig, run_args: STaRConfig, model_args: ModelConfig) -> dict[str, Any]:
    """Returns how the trainers load the model, with an adapter or quantized if requested."""
    run_args.model_init_kwargs = {
        **(star_args.model_init_kwargs or {}),
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
    }
    return {
        "model": model_args.model_name_or_path,
        "processing_class": AutoTokenizer.from_pretrained(
            model_args.model_name_or_path,
            revision=model_args.model_revision,
            trust_remote_code=star_args.trust_remote_code,
        ),
        "quantization_config": get_quantization_config(model_args),
        "peft_config": get_peft_config(model_args),
    }


def fine_tune_on_answers(problems: list[dict], run_args: STaRConfig, model: dict[str, Any]) -> dict[str, Any]:
    """Trains the baseline without rationales: TRL's SFTTrainer on prompts and answers, for `num_train_epochs`."""
    rows = [{"prompt": row["prompt"], "completion": row["direct"]} for row in problems]
    if not isinstance(rows[0]["prompt"], str):
        rows = [{**row, "completion": [{"role": "assistant", "content": row["completion"]}]} for row in rows]
    trainer = SFTTrainer(args=copy.copy(run_args), train_dataset=Dataset.from_list(rows), **model)
    trainer.train()
    run_args.model_init_kwargs = None  # the model is loaded
    return {"model": trainer.model, "processing_class": model["processing_class"]}


def print_table(domain: Domain, results: dict[str, dict[str, float]]) -> None:
    """
    Prints a table like the paper's tables 1 and 2: accuracy and share of the training data used, here by sampler.
    """
    second = domain.reward_funcs[1].__name__
    groups = dict.fromkeys(key for metrics in results.values() for key in metrics if key.startswith("eval_accuracy/"))
    columns = {
        "eval_accuracy": "accuracy",
        **{key: key.removeprefix("eval_accuracy/") for key in groups},
        f"eval_rewards/{second}/mean": second.removesuffix("_reward").replace("_", "\n"),
        "train_data_used": "train data\nused",
        "rationale/solved": "by\nrationales",
        "rationalization/solved": "by\nrationalization",
    }
    table = Table(title=domain.name, box=box.SIMPLE_HEAD)
    table.add_column("")
    for title in [*columns.values(), "paper"]:
        table.add_column(title, justify="right")
    for name, metrics in results.items():
        values = ["" if metrics.get(key) is None else f"{metrics[key]:.1%}" for key in columns]
        table.add_row(RUNS[name].title, *values, domain.paper.get(name, ""))
    Console(width=120).print(table)


def main(domain: Domain) -> None:
    """Runs the command line of a domain."""
    parser = TrlParser([DomainArguments, STaRConfig, ModelConfig])
    parser.set_defaults(**{**DEFAULTS, **domain.defaults})
    args, star_args, model_args = parser.parse_args_and_config()
    names = list(RUNS) if args.runs == ["all"] else args.runs
    if unknown := [name for name in names if name not in RUNS]:
        raise ValueError(f"Unknown runs {unknown}. There are: {', '.join(RUNS)}; or `all`.")
    if star_args.stop_strings is None and not args.chat:
        star_args.stop_strings = ["\n\n"]  # the next example would begin here
    results = {name: do_run(name, domain, args, star_args, model_args) for name in names}
    if star_args.process_index == 0:
        print_table(domain, results)
