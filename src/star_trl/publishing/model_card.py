# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The model card: how a model was trained, the results of each iteration, and caveats."""

import json
import os
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from accelerate.utils import is_peft_model
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import SchedulerType
from transformers.trainer_utils import SaveStrategy
from trl.trainer.utils import get_comet_experiment_url, get_config_model_id, get_trackio_space_url

from ..distributed import get_logger
from ..ledger.ledger import Ledger
from ..ledger.metrics import accuracy_names, format_metric
from ..ledger.paired_groups import PAIR_COLUMN, as_texts, paired_cells, paired_groups
from ..run.outer_run import Observer, OuterRun
from ..samplers import Sampler, ToolSampler
from ..star_config import STaRConfig, as_dict
from ..task.task import Task


logger = get_logger(__name__)

# Maximum number of values of `eval_group_column` in the table. With more, it would be too wide to read, and all are
# left out.
MAX_GROUPS = 8


def model_card(
    run: OuterRun,
    model_name: str | None = None,
    dataset_name: str | None = None,
    tags: str | list[str] | None = None,
    directory: str | os.PathLike | None = None,
) -> ModelCard:
    """
    Makes the card of a run's current model.

    Args:
        run ([`~star_trl.run.outer_run.OuterRun`]):
            The run, whose trainer has the model.
        model_name (`str`, *optional*):
            Name of the model. The name of the repository or of the output directory by default.
        dataset_name (`str`, *optional*):
            Name of the dataset, as an id of the hub. Any other name, such as a path, is left out of the metadata.
        tags (`str` or `list[str]`, *optional*):
            Further tags.
        directory (`str` or `os.PathLike`, *optional*):
            Folder that the card is for. Its code loads the model from there, or, if it holds none, from the checkpoint
            of the iteration. A model that is pushed is loaded by the name of its repository.

    Returns:
        [`~huggingface_hub.ModelCard`]: The card.
    """
    trainer: Any = run.trainer
    task, args = run.task, run.args
    model: Any = trainer.model
    repository = trainer.hub_model_id or args.hub_model_id
    model_name = model_name or (repository or run.ledger.output_dir.resolve().name).split("/")[-1]
    peft_config: Any = model.active_peft_config if is_peft_model(model) else None
    base, dataset = get_config_model_id(model.config) or "", dataset_name or ""
    columns, rows = _iterations(run)
    data = ModelCardData(
        base_model=base if _is_hub_id(base) else None,
        datasets=dataset if _is_hub_id(dataset) else None,
        library_name="transformers" if peft_config is None else "peft",
        pipeline_tag="text-generation",
        model_name=model_name,
        tags=sorted(
            {
                "generated_from_trainer",
                *(getattr(model, "model_tags", None) or trainer._tag_names),
                *([] if peft_config is None else [peft_config.peft_type.value.lower()]),
                *([tags] if isinstance(tags, str) else tags or []),
            }
        ),
    )
    settings = _settings(run, model, peft_config)
    num_hints_shown = _num_hints_shown(run)
    return ModelCard.from_template(
        data,
        template_path=str(files(__package__).joinpath("model_card.md")),
        model_name=model_name,
        kind="a fine-tuned version" if peft_config is None else f"a {peft_config.peft_type.value} adapter",
        base_model=_reference(base) or "a model without a name",
        dataset=_reference(dataset, "datasets/"),
        **_code(run, repository or _model_folder(run, directory, base)),
        evaluated=bool(task.evaluation_sets),
        chosen=args.load_best_model_at_end or args.patience,
        badges=_badges(args.report_to),
        settings=[(name, _cell(value)) for name, value in settings.items() if value is not None],
        columns=columns,
        rows=rows,
        iteration=run.iteration,
        pairs=_pairs(run),
        data=_data(run, num_hints_shown),
        caveats=_caveats(task, num_hints_shown),
        versions=_versions(peft_config is not None),
        method=trainer._method,
        method_name=trainer._name,
        citation=trainer._paper["citation"],
    )


def _model_folder(run: OuterRun, directory: str | os.PathLike | None, base: str) -> str:
    """Returns where the code of a card in some folder finds the model."""
    own = Path(directory if directory is not None else run.ledger.output_dir)
    for folder in (own, run.checkpoint_dir(run.iteration)):
        if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
            return str(folder)
    # With `save_strategy="no"`, or if the original model is the best one
    return base if run.iteration == 0 and base else str(own)


def _code(run: OuterRun, model_id: str) -> dict[str, Any]:
    """
    Returns the parts of the card's code, which generates as an evaluation does. It shows the few-shot examples, but
    never one of the user's problems, which may be private.
    """
    task, args = run.task, run.args
    is_text = isinstance(task.problems[0]["prompt"], str)
    uses_examples = args.samples_few_shot(max(run.iteration, 1))
    column = task.samplers[0].prompt_column
    parts = task.prompt_builder.example_parts(column) if uses_examples else []
    template = as_dict(args.chat_template_kwargs) if not is_text else {}
    arguments = {
        "max_new_tokens": args.max_completion_length,
        "do_sample": False,
        **as_dict(args.generation_kwargs),
        **({"stop_sequence": args.stop_strings} if args.stop_strings else {}),
        **({"tokenizer_encode_kwargs": template} if template else {}),
        "return_full_text": False,
    }
    problem, joined = '"..."', '"\\n\\n".join([*examples, problem])'
    if not is_text:
        problem, joined = '[{"role": "user", "content": "..."}]', "[*examples, *problem]"
        if task.problems[0]["prompt"][0]["role"] == "system":
            problem = f'[{{"role": "system", "content": "..."}}, {problem[1:]}'
            joined = "[problem[0], *examples, *problem[1:]]"
    notes = []
    if uses_examples and not parts and task.prompt_builder.has_examples:
        notes.append(
            "A function chose the few-shot examples of each problem. They preceded it and are not shown here, so this "
            "code does not reach the accuracy below without them."
        )
    if parts and not args.few_shot_train:
        notes.append("The few-shot examples preceded the problem while the model sampled, but not in the training.")
    if isinstance(task.samplers[0], ToolSampler) or task.samplers[0].converses:
        notes.append(f"The sampler `{task.samplers[0].name}` called a tool while it generated. This code does not.")
    return {
        "model_id": json.dumps(model_id, ensure_ascii=False),
        "examples": list(map(repr, parts)),
        "problem": problem,
        "prompt": joined if parts else "problem",
        "arguments": ", ".join(f"{name}={value!r}" for name, value in arguments.items()),
        "stop_strings": repr(args.stop_strings) if args.stop_strings else "",
        "notes": notes,
    }


class ModelCards(Observer):
    """Writes the card of each saved model next to it. A card that cannot be written does not end a run."""

    def begin(self, run: OuterRun) -> None:
        """Writes the card of a checkpoint again: the run may have stopped before the card had the evaluation."""
        if run.iteration:
            self.write(run, run.checkpoint_dir(run.iteration), run.ledger.output_dir)

    def iteration_complete(self, run: OuterRun, saved: int) -> None:
        checkpoint = run.checkpoint_dir(run.history[-1]["iteration"])
        if checkpoint.exists():
            self.write(run, checkpoint, run.ledger.output_dir)

    def end(self, run: OuterRun) -> None:
        if run.args.save_strategy != SaveStrategy.NO:
            self.write(run, run.ledger.output_dir)

    def write(self, run: OuterRun, *directories: str | os.PathLike, **kwargs: Any) -> None:
        """
        Writes the card to directories. Only the main process does.

        Args:
            run ([`~star_trl.run.outer_run.OuterRun`]):
                The run.
            directories (`str` or `os.PathLike`):
                Folders for `README.md`.
            kwargs (`dict[str, Any]`, *optional*):
                Further arguments of [`model_card`].
        """
        if run.trainer.is_world_process_zero():
            try:
                for directory in directories:
                    card = model_card(run, directory=directory, **kwargs)
                    card.save(Path(directory) / "README.md")
            except Exception as error:
                logger.warning(f"The model card was not written: {error!r}.")


def _settings(run: OuterRun, model: Any, peft_config: Any) -> dict[str, Any]:
    """Returns the settings that matter for the results. Settings that do not apply are None."""
    args, task, scorer = run.args, run.task, run.task.scorer
    trainer: Any = run.trainer
    if scorer.sum_threshold is not None:
        terms = (f"{weight:g} * `{name}`" for weight, name in zip(scorer.weights, scorer.names, strict=True))
        rewards = f"{' + '.join(terms)} (at least {scorer.sum_threshold:g})"
    else:
        thresholds = (
            "ranks and weights only" if value is None else f"at least {value:g}" for value in scorer.thresholds
        )
        rewards = ", ".join(f"`{name}` ({text})" for name, text in zip(scorer.names, thresholds, strict=True))
    batch_size = args.train_batch_size * args.gradient_accumulation_steps * run.trainer.accelerator.num_processes
    schedule = SchedulerType(args.lr_scheduler_type).value
    few_shot = None
    if _num_examples(task):
        until = "" if args.few_shot_iterations is None else f" up to iteration {args.few_shot_iterations}"
        few_shot = f"in sampling{until}{' and in the training sequences' if args.few_shot_train else ''}"
    return {
        "samplers": ", ".join(map(_describe, task.samplers)),
        "rewards of what is kept": rewards,
        "outer iterations": f"{run.iteration} of {args.num_iterations}",
        "every iteration fine-tunes": "the original model" if args.reset_model else "the model of the one before",
        "problems in an iteration": args.num_problems_per_iteration or "all",
        "iterations whose samples are trained on": args.sample_iterations if args.sample_iterations > 1 else None,
        "few-shot examples": few_shot,
        "generation": type(run.policy.engine).__name__,
        "temperature": _one_of(args.adaptive_temperatures)
        or (f"{args.temperature:g}" if args.temperature else "0 (greedy)"),
        "reward of what is trained on": _one_of(args.adaptive_thresholds),
        "top_p, top_k, min_p": f"{args.top_p:g}, {args.top_k}, {args.min_p}"
        if args.temperature or args.adaptive_temperatures
        else None,
        "completions of a problem": args.num_generations,
        "most tokens of a completion": args.max_completion_length,
        **trainer.loss_settings,
        "fine-tuning in an iteration": _length(args),
        "learning rate": f"{args.learning_rate:g}, {schedule}, warm-up {args.warmup_steps:g}",
        "optimizer": getattr(args.optim, "value", args.optim),
        "sequences in a step": f"{batch_size}{', packed' if args.packing else ''}",
        "seed": args.seed,
        "adapter": _adapter(peft_config) if peft_config is not None else None,
        "quantization": _quantization(model.config),
    }


def _one_of(values: list[float] | None) -> str | None:
    return None if values is None else f"one of {', '.join(f'{value:g}' for value in values)}, by probes"


def _length(args: STaRConfig) -> str:
    steps = args.inner_steps(1)
    if steps is None:
        return f"{args.max_steps} steps" if args.max_steps > 0 else f"{args.num_train_epochs:g} epochs"
    growth = f"{args.step_increment} more" if args.step_increment else f"{args.step_growth:g} times as many"
    limit = f", at most {args.max_inner_steps:,}" if args.max_inner_steps is not None else ""
    return f"{steps:,} steps, then {growth} each time{limit}"


def _describe(sampler: Sampler) -> str:
    """Describes a sampler by its name and its numeric settings. Texts are left out, since they may be private."""
    values = {name: value for name, value in sampler.arguments().items() if isinstance(value, (bool, int, float))}
    arguments = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"`{sampler.name}`" + (f" ({arguments})" if values else "")


def _adapter(peft_config: Any) -> str:
    rank = f", rank {peft_config.r}" if hasattr(peft_config, "r") else ""
    return f"{peft_config.peft_type.value}{rank}"


def _quantization(config: Any) -> str | None:
    # The quantization config is a dictionary, or an object that may have a method that names it
    method = getattr(getattr(config, "quantization_config", None), "quantization_method", None)
    return method() if method is not None else None


def _iterations(run: OuterRun) -> tuple[list[str], list[list[str]]]:
    """Returns the header and the rows of the table."""
    history = run.history
    names = dict.fromkeys(name for row in history for name in row)
    accuracies: list[str] = []
    for name in accuracy_names(history):
        groups = [group for group in names if group.startswith(f"{name}/")]
        accuracies += [name, *(groups if len(groups) <= MAX_GROUPS else [])]
    columns = {
        **{name: name.replace("_accuracy/", " accuracy, ").replace("_accuracy", " accuracy") for name in accuracies},
        **{f"{sampler.name}/solved": f"solved by {sampler.name}" for sampler in run.task.samplers},
        "samples/selected": "trained on",
        "train_loss": "training loss",
    }
    rows = []
    for row in history:
        mark = "**" if row["iteration"] == run.iteration else ""
        values = [format_metric(name, row[name]) if row.get(name) is not None else "" for name in columns]
        rows.append([f"{mark}{value}{mark}" if value else "" for value in [str(row["iteration"]), *values]])
    return ["iteration", *map(_cell, columns.values())], rows


def _pairs(run: OuterRun) -> list[list[str]]:
    """Returns the rows of the table of paired groups, of the original model and of this one. Answers are left out."""
    column, output_dir = run.args.eval_group_column, run.ledger.output_dir
    rows = []
    for name, dataset in run.task.evaluation_sets.items():
        if column is None or PAIR_COLUMN not in dataset.column_names:
            continue
        pairs, groups = as_texts(dataset[PAIR_COLUMN]), as_texts(dataset[column])
        for iteration in sorted({0, run.iteration}):
            samples = Ledger(output_dir, name=name).read(iteration)
            answers = {sample.problem_id: (sample.kept, sample.completion) for sample in samples}
            for each in paired_groups(answers, pairs, groups):
                low, high = each.accuracy_interval
                accuracy = f"{each.accuracy:.1%} ({low:.0%} to {high:.0%})"
                values = (name, each.group, iteration, accuracy, *paired_cells(each), each.pairs or "")
                rows.append(list(map(_cell, values)))
    return rows


def _data(run: OuterRun, num_hints_shown: int) -> list[str]:
    task = run.task
    facts = [f"{len(task.problems):,} problems to sample for."]
    num_left_out = len(task.problems) - len(task.candidates)
    if num_left_out:
        facts.append(f"{num_left_out:,} of them are few-shot examples and were left out.")
    row = next((row for row in run.history if row["iteration"] == run.iteration), {})
    if "train_data_used" in row:
        shares = [
            f"{row[f'{sampler.name}/solved']:.1%} by `{sampler.name}`"
            for sampler in task.samplers
            if f"{sampler.name}/solved" in row
        ]
        facts.append(
            f"In iteration {run.iteration}, {row['train_data_used']:.1%} of the problems were solved: "
            f"{', '.join(shares)}. {row['samples/selected']:,.0f} samples were trained on."
        )
    if task.uses_hints:
        facts.append(
            f"Hints (the answer in the prompt) were left in the training prompts of {num_hints_shown:,} samples."
            if num_hints_shown
            else "Hints (the answer in the prompt) were not in the training prompts."
        )
    trainer: Any = run.trainer
    facts.append(f"{trainer._origin_of_data} The samples are not part of this repository.")
    return facts


def _caveats(task: Task, num_hints_shown: int) -> list[str]:
    paper = "[STaR paper](https://huggingface.co/papers/2203.14465)"
    caveats = [
        "**Faithfulness.** Rationales were kept for the answers that they end with. Nobody checked the steps, and a "
        "rationale that reaches the right answer need not be sound, nor be the reason why the model gives that "
        "answer. Do not show it to people as an explanation.",
    ]
    if task.uses_hints:
        caveats.append(
            "**Rationalizations.** Part of the training data was written with the answer in sight, which invites "
            "arguments that are made up to fit it."
        )
    if num_hints_shown:
        caveats.append("**Hints.** With an answer in the prompt, the model has learned to argue for it.")
    if any(sampler.supplies_answer for sampler in task.samplers):
        caveats.append(
            "**Majority votes.** Some samples were compared with the model's own most frequent answer and not with a "
            "known one: where most of its answers were wrong, it was trained on the mistake."
        )
    caveats += [
        f"**Luck.** Where guesses are often right, as with few choices, many poor rationales are kept ({paper}, "
        "section 6).",
        "**Bias.** Nothing removes biases of the base model or of the problems. Where the right answers reward them, "
        "the loop keeps the rationales that hold them and trains on them, again in every iteration.",
        "**Scope.** Accuracy was measured on problems like those of the training set, if at all.",
    ]
    return caveats


def _num_hints_shown(run: OuterRun) -> int:
    """Returns the number of kept samples of the latest iteration with a hint in the training prompt."""
    if not run.task.uses_hints:
        return 0
    return sum(sample.kept and sample.hint_shown for sample in run.ledger.read(run.iteration))


def _num_examples(task: Task) -> int:
    return len(task.prompt_builder.examples(task.problems[0]))


def _badges(report_to: str | list[str] | None) -> list[str]:
    """Returns links to the trackers' pages, as in TRL's cards."""
    links = {"Comet": get_comet_experiment_url()}
    if "trackio" in (report_to or ()):
        links["Trackio"] = get_trackio_space_url()
    if "wandb" in (report_to or ()):
        import wandb

        links["Weights & Biases"] = wandb.run.url if wandb.run is not None and not wandb.run.offline else None
    return [f"[Its run in {name}]({url})" for name, url in links.items() if url]


def _versions(with_peft: bool) -> list[tuple[str, str]]:
    names = {
        "star-trl": "star-trl",
        "TRL": "trl",
        "Transformers": "transformers",
        **({"PEFT": "peft"} if with_peft else {}),
        "Pytorch": "torch",
        "Datasets": "datasets",
        "Tokenizers": "tokenizers",
    }
    return [(name, version(package)) for name, package in names.items()]


def _is_hub_id(name: str) -> bool:
    """Returns whether a name is an id of the hub and not a path. The hub rejects a path in a card's metadata."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return bool(name) and not os.path.exists(name)


def _reference(name: str, kind: str = "") -> str:
    return f"[{name}](https://huggingface.co/{kind}{name})" if _is_hub_id(name) else f"`{name}`" if name else ""


def _cell(value: object) -> str:
    """Formats a value for a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")
