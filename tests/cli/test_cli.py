# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The command `star-trl`: whole runs as processes of their own, mistakes, and the recipes."""

import json
import logging
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
import yaml
from datasets import Dataset, load_dataset
from transformers import LlamaConfig, LlamaForCausalLM

from star_trl import CalculatorSampler, RationaleSampler, RationalizationSampler, STaRConfig, load_ledger
from star_trl.cli import main
from star_trl.cli.arguments import TaskArguments, make_parser
from star_trl.cli.data import load_few_shot, load_problems
from star_trl.cli.errors import UsageError
from star_trl.cli.lookup import SAMPLERS, load_reward, load_samplers
from star_trl.cli.setup import build_trainer
from star_trl.rollout.probes import Probes
from support import ROOT
from support.sums import EXAMPLES
from support.tiny_models import build_model, build_tokenizer


RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))

RECIPE = """
model_name_or_path: model
output_dir: out
dataset_name: train.jsonl
test_dataset_name: test.jsonl
column_mapping:
  prompt: "Q: {question}\\nA:"
  hinted_prompt: "Q: {question} ({sum})\\nA:"
  answer: sum
few_shot_examples: examples.yaml
reward_funcs: [mine.py:odd_length]
samplers:
  - name: rationale
    temperature: 1.0
  - name: rationalization
    p_show_hint: 0.5
num_iterations: 1
initial_steps: 2
step_growth: 1
max_completion_length: 32
max_length: null
per_device_train_batch_size: 2
learning_rate: 1e-3
use_cpu: true
bf16: false
gradient_checkpointing: false
report_to: none
disable_tqdm: true
"""
# A reward that a model with random weights reaches.
MINE = """
EXAMPLES = [{"prompt": "Q: 0+0?\\nA:", "completion": " 0"}]


def odd_length(completions, **kwargs):
    return [float(len(completion) % 2) for completion in completions]


def always(completions, **kwargs):
    return [1.0] * len(completions)


def format_row(row):
    return {"prompt": f"{row['question']} ", "answer": row["sum"]}


def format_wrongly(row):
    return row["sum"]


def rows(split):
    return [{"prompt": split, "answer": "1"}]
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A working directory with a model, problems, a recipe and functions of one's own."""
    path, tokenizer = tmp_path_factory.mktemp("cli"), build_tokenizer()
    build_model(tokenizer).save_pretrained(path / "model")
    tokenizer.save_pretrained(path / "model")
    rows = [{"question": f"{a}+{b}?", "sum": str(a + b)} for a in range(1, 5) for b in range(1, 5)]
    (path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (path / "test.jsonl").write_text("\n".join(map(json.dumps, rows[:5])))
    (path / "examples.yaml").write_text(yaml.safe_dump(EXAMPLES))
    (path / "mine.py").write_text(MINE)
    (path / "recipe.yaml").write_text(RECIPE)
    return path


@pytest.fixture
def inside(folder, monkeypatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def star_trl(folder: Path, *arguments: str) -> str:
    """Runs the command as a process of its own, and returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-m", "star_trl.cli", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-5000:]
    return result.stdout


# Whole runs


def test_the_command_is_installed():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"] == {
        "star-trl": "star_trl.cli:main"
    }


@pytest.fixture(scope="module")
def trained(folder) -> Path:
    """Arguments of `accelerate launch` pass through."""
    output = star_trl(folder, "train", "--config", "recipe.yaml", "--multi_gpu", "--num_processes", "2")
    assert "The model is in out" in output and "the report in `report.html`" in output
    return folder


def test_train(trained):
    samples = load_ledger(trained / "out")
    assert set(samples["sampler"]) == {"rationale", "rationalization"}
    assert len(list((trained / "out/iteration-001").glob("samples-*-of-00002.jsonl"))) == 2
    assert (trained / "out/model.safetensors").exists() and (trained / "out/iteration-000/metrics.json").exists()


def test_evaluate(trained, inside, capsys):
    model = ["--model_name_or_path", "out/iteration-001/checkpoint"]
    main(["evaluate", "--config=recipe.yaml", *model, "--output_file", "metrics/1.json"])
    metrics = json.loads(capsys.readouterr().out)
    assert metrics == json.loads((trained / "metrics/1.json").read_text())
    assert (
        metrics["eval_accuracy"]
        == json.loads((trained / "out/iteration-001/metrics.json").read_text())["eval_accuracy"]
    )


def test_generate(trained, inside):
    main(["generate", "--config", "recipe.yaml", "--num_generations", "2", "--output_file", "generated.jsonl"])
    rows = [json.loads(line) for line in (trained / "generated.jsonl").read_text().splitlines()]
    assert len(rows) == 8 and rows[0]["completion"] != rows[1]["completion"]
    # The first problem is a few-shot example
    assert rows[0]["prompt"] == "Q: 1+2?\nA:" and set(rows[0]["rewards"]) == {"odd_length"}


def test_export(trained, inside):
    main(["export", "--output_dir", "out", "--output_file", "data/sft.jsonl", "--iterations", "1"])
    rows = load_dataset("json", data_files=str(trained / "data/sft.jsonl"), split="train")
    assert set(rows["completion"]) <= set(load_ledger(trained / "out").filter(lambda row: row["kept"])["completion"])
    assert rows.column_names == ["prompt", "completion"]


def test_report(trained):
    report = trained / "out" / "report.html"
    before = report.read_bytes()  # written by the run itself
    report.unlink()
    assert star_trl(trained, "report", "--output_dir", "out", "--max_samples", "1").endswith("out/report.html\n")
    assert 0 < len(report.read_bytes()) < len(before)


def test_env(folder):
    output = star_trl(folder, "env")
    assert "star-trl version" in output and "PyTorch version" in output


# What the engine that shares prefixes cannot do
SLOW = ["--generation_kwargs", '{"repetition_penalty": 1.1}']


def test_dry_run(inside, capsys):
    main(["train", "--config", "recipe.yaml", "--dry_run", "--output_dir", "dry", *SLOW])
    output = capsys.readouterr().out
    # The first problem whole, with and without the hint
    for question in ("1+2?\nA:", "1+2? (3)\nA:"):
        hint = " (2)" if "(" in question else ""
        assert f"Q: 1+1?{hint}\nA: One more than 1.\n2\n\nQ: {question}" in output
    # What was written, before the sequence that is trained on
    written, sequence = output.split("a training sequence")
    assert len(re.findall(r"problem \d+, rationale: (?:kept|wrong|truncated) ", written)) == 3
    assert "     | A: One more than 1." in sequence and "loss |" in sequence and "<eos>" in sequence
    numbers = next(line.split() for line in output.splitlines() if line.strip().startswith("rationale "))
    assert numbers[1:3] == ["15", "41"] and numbers[-2:] == ["of", "15"]  # one of 16 is a few-shot example
    assert re.search(r"2 steps = \S+ epochs over about \d+ samples", output)
    assert "5 problems" in output and "computes in float32" in output and "Nothing was trained" in output
    assert re.search(r"Warning: .*generated with `generate`, without a shared prefix.*repetition_penalty", output)
    assert not (inside / "dry").exists()


def test_the_dry_run_does_without_probes(inside, capsys, monkeypatch):
    tried = []

    def samplers(probes, iteration, original=Probes.samplers):
        found = original(probes, iteration)
        tried.append((probes.problems, found[0][0].temperature))
        return found

    monkeypatch.setattr(Probes, "samplers", samplers)
    main(["train", "--config", "recipe.yaml", "--dry_run", "--adaptive_temperatures", "0.5", "1.0"])
    assert tried == [([], 0.5)]
    assert "5 problems" in capsys.readouterr().out


def test_the_dry_run_names_the_precision(inside, capsys):
    main(["train", "--config", "recipe.yaml", "--dry_run", "--use_cpu", "--bf16", "true"])
    assert "computes in bf16" in capsys.readouterr().out


def test_adapters_are_evaluated_with_their_base(inside, capsys):
    lora = ["--use_peft", "--lora_target_modules", "q_proj", "v_proj"]
    main(["train", "--config", "recipe.yaml", "--output_dir", "lora", *lora])
    capsys.readouterr()
    main(["evaluate", "--config", "recipe.yaml", *lora, "--model_name_or_path", "lora/iteration-001/checkpoint"])
    accuracy = json.loads((inside / "lora/iteration-001/metrics.json").read_text())["eval_accuracy"]
    assert json.loads(capsys.readouterr().out)["eval_accuracy"] == accuracy


@pytest.mark.parametrize("command", ["evaluate", "generate"])
@pytest.mark.parametrize(
    "settings",
    [{"load_best_model_at_end": True, "packing": True}, {"eval_strategy": "epoch"}, {"num_train_epochs": 1}],
)
def test_what_a_recipe_says_of_training_does_not_matter(inside, capsys, caplog, command, settings):
    """Without a network, a trainer that is to push to the hub cannot be made."""
    hub = {"push_to_hub": True, "hub_model_id": "org/name", "hub_token": "hf_of_nobody"}
    recipe = {**yaml.safe_load(RECIPE), **hub, **settings, "max_length": 16}
    (inside / "training.yaml").write_text(yaml.safe_dump(recipe))
    main([command, "--config", "training.yaml"])
    assert "eval_accuracy" in capsys.readouterr().out or command == "generate"
    assert "no effect" not in caplog.text


def test_a_run_is_resumed_or_refused(inside, capsys):
    arguments = ["train", "--config", "recipe.yaml", "--output_dir", "again"]
    main(arguments)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "On the command line: `--resume_from_checkpoint true`" in capsys.readouterr().err
    main([*arguments, "--resume_from_checkpoint", "true"])


def test_a_run_that_cannot_be_resumed_is_a_message(inside, capsys):
    arguments = ["train", "--config", "recipe.yaml", "--output_dir", "other"]
    resumed = [*arguments, "--resume_from_checkpoint", "true"]
    check_message(capsys, resumed, "No run to resume in .*other")
    main(arguments)
    check_message(capsys, [*resumed, "--learning_rate", "1"], "`learning_rate` was 0.001 and is 1.0")
    (inside / "other/report.html").unlink()
    (inside / "other/report.html").mkdir()
    check_message(capsys, ["report", "--output_dir", "other"], "Is a directory")
    (shard,) = (inside / "other").glob("iteration-001/samples-*")
    shard.write_text("")
    check_message(capsys, resumed, "of a finished iteration has 0 whole samples")


def test_ctrl_c_is_a_message(inside, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("star_trl.star_trainer.STaRTrainer.train", interrupt)
    with pytest.raises(SystemExit, match="130"):
        main(["train", "--config", "recipe.yaml", "--output_dir", "stopped"])
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("star-trl train: interrupted. What was finished is saved in stopped.")
    assert "--resume_from_checkpoint true" in line


def test_without_rewards_nothing_is_scored(inside, capsys):
    (inside / "unlabeled.jsonl").write_text('{"prompt": "Q: 3+3?\\nA:"}')
    tiny = ["--use_cpu", "--bf16", "false", "--max_completion_length", "8", "--max_length", "none"]
    main(["generate", "--model_name_or_path", "model", "--dataset_name", "unlabeled.jsonl", *tiny])
    (line,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)) == {"problem_id", "sample_index", "prompt", "completion", "finish_reason"}


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tran", "there is no command `tran`. Did you mean `train`?"),
        ("train --num_iteration 3", "`num_iteration` is not a field.*Did you mean `num_iterations`?"),
        ("train --max-new-tokens 30", "`max-new-tokens` is not a field.* Set `max_completion_length`."),
        ("train --num_process 3", "nor an argument of `accelerate launch`. Did you mean `num_processes`?"),
        ("train --num_iterations five", "--num_iterations.*invalid int value: 'five'"),
        ("train --sample_weighting advantages", "invalid choice: 'advantages'.*'advantage'"),
        ("train --generation_kwargs {a", "--generation_kwargs.*is not JSON"),
        ("train stray", "`stray` does not belong to any argument"),
        ("train --config", "needs the path of a YAML file"),
        ("train --config missing.yaml", "missing.yaml"),
        ("export --num_processes 2", "`num_processes` is not a field of `star-trl export`. "),
        ("export --output_dir out --output_file a.txt", "must end with .jsonl"),
        ("export --output_dir nowhere --output_file a.jsonl", "No samples under"),
        ("env --verbose", "takes no arguments"),
    ],
)
def test_mistakes_on_the_command_line(inside, capsys, arguments, message):
    check_message(capsys, arguments.split(), message)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("num_iteration: 3", "`num_iteration` in .*Did you mean `num_iterations`?"),
        ("num_iterations: 2.5", "`num_iterations` in .* is 2.5, but needs a whole number"),
        ("num_iterations:", "is empty, but needs a whole number"),
        ("temperature: {a: 1}", "is a mapping, but needs a number"),
        ("temperature: [1.0]", r"is the list \[1.0\], but needs a number"),
        ("reward_weights: [a]", r"is 'a', but needs a list \(a number\) or nothing"),
        ("generation_kwargs: 3", "holds 3, but needs a mapping"),
        ("eval_strategy: no", "reads off, no or false without quotes as a boolean"),
        ("lr_scheduler_type: cosin", "Did you mean `cosine`?"),
        ("sample_weighting: advantages", "Did you mean `advantage`?"),
        ("step_growth: 1.2\nstep_increment: 3", "`step_growth=1.2` both make the number of steps grow"),
        ("- a", "must contain a YAML mapping"),
        ("a: [", "is not YAML"),
        ("beta: 0.1", "`beta` in .*is not a field.*Leave it out: there is no KL penalty"),
        ("model_name_or_path: ./modle", "has no 'modle'. Did you mean `model`?"),
        ("model_name_or_path: nowhere", "The model 'nowhere' cannot be loaded"),
        ("dataset_name: nowhere.jsonl", "There is no file nowhere.jsonl"),
        ("dataset_name: nowhere/nothing", "'nowhere/nothing' .* cannot be loaded"),
        ("dataset_test_split: test\ntest_dataset_name: null", "Name the file with the other problems"),
        ("column_mapping: {prompt: questions}", "no column `questions`.*Did you mean `question`?"),
        ("column_mapping: null", "has no column `prompt`; it has question, sum"),
        ("formatting_function: mine.py:format_row", "both make the problems"),
        (
            "column_mapping: null\nformatting_function: mine.py:format_rows",
            "no `format_rows`. Did you mean `format_row`?",
        ),
        ("column_mapping: null\nformatting_function: mine.py:format_wrongly", "must make a dict with a `prompt`"),
        ("few_shot_examples: nowhere.jsonl", "few_shot_examples: no file nowhere.jsonl"),
        ("instruction: Think.", "`chat` is false"),
        ("reward_funcs: null", "`reward_funcs` is missing"),
        ("reward_funcs: [exact_match_rewrd]", "Did you mean `exact_match_reward`?"),
        ("reward_funcs: [star_trl.rewards.exact_mach]", "no attribute 'exact_mach'"),
        ("reward_funcs: [no_package.reward]", "no module named 'no_package'"),
        ("reward_funcs: [{name: math_verify_reward, time_out: 1.0}]", "Did you mean `timeout`?"),
        ("reward_funcs: [exact_match_reward, mine.py:always]", "`reward_threshold`"),
        ("samplers: [rational]", "Did you mean `rationale`?"),
        ("samplers: [{p: 1}]", "has no `name`"),
        ("samplers: [{name: rationalization, p_show_hnt: 1}]", "Did you mean `p_show_hint`?"),
        ("samplers: [{name: rationalization, p: 2}]", "must lie between 0 and 1"),
        ("stop_strings: ['']", "empty string"),
    ],
)
def test_mistakes_in_the_recipe(inside, capsys, lines, message):
    recipe = {**yaml.safe_load(RECIPE), **changes} if isinstance(changes := _read(lines), dict) else None
    (inside / "wrong.yaml").write_text(lines if recipe is None else yaml.safe_dump(recipe))
    check_message(capsys, ["train", "--config", "wrong.yaml"], message)


def _read(lines: str):
    try:
        return yaml.safe_load(lines)
    except yaml.YAMLError:
        return None


def check_message(capsys, arguments: list[str], message: str) -> None:
    """Said in one message on the standard error, with the exit code 2."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2
    assert re.search(message, " ".join(error.split("error: ", 1)[1].split())), error


def test_a_kernel_that_is_not_downloaded_is_no_warning():
    assert not logging.getLogger("bitsandbytes.backends.cpu.ops").isEnabledFor(logging.WARNING)


def test_help_shows_every_field_with_its_text(capsys):
    parser = make_parser("train")
    assert all(action.help for action in parser._actions)
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help_all"])
    shown = set(re.findall(r"^  --(\w+)", capsys.readouterr().out, re.M))
    assert shown == {*parser.hints}


def test_help_shows_what_is_ours_in_groups(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    groups = "the task|the command|the outer loop|the inner loop|generation|TRL and transformers"
    assert re.findall(rf"^({groups}):$", shown, re.M) == groups.split("|")
    fields = re.findall(r"^  --(\w+)", shown, re.M)
    own = {name for name in vars(STaRConfig)["__annotations__"] if not name.startswith("vllm_")}
    assert own <= {*fields} and len(fields) == len({*fields}) < 100
    assert fields[0] == "dataset_name" and "neftune_noise_alpha" not in fields
    assert f"`--help_all` shows {len(make_parser('train').hints) - len(fields)} more fields" in shown
    assert all(name in shown for name in SAMPLERS)


def test_fields_go_before_abbreviations_and_the_command_line_before_the_recipe(inside):
    (_, _, args, _), launch = make_parser("train").parse(
        ["--config", "recipe.yaml", "--num_iterations", "7", "--num_processes", "2"]
    )
    assert args.num_iterations == 7 and args.learning_rate == 1e-3 and launch == ["--num_processes", "2"]
    with pytest.raises(UsageError, match="num_iter"):
        make_parser("train").parse(["--config", "recipe.yaml", "--num_iter", "7"])


# What names stand for


def test_samplers_and_rewards_by_name(inside):
    specs = [
        "rationale",
        '{"name": "rationalization", "p": 0.5}',
        {"name": "majority_vote", "extract_answer": "extract_number", "num_generations": 3},
        {
            "name": "mixture",
            "samplers": ["rationale", {"name": "calculator", "sampler": "rationale"}],
            "weights": [1, 2],
        },
    ]
    rationale, rationalization, vote, first, second = load_samplers(specs)
    assert isinstance(rationale, RationaleSampler) and rationalization.p == 0.5
    assert vote.extract_answer("It is 3.") == "3" and vote.num_generations == 3
    assert isinstance(first.sampler, RationaleSampler) and isinstance(second.sampler, CalculatorSampler)
    assert isinstance(load_samplers(["star_trl.RationalizationSampler"])[0], RationalizationSampler)

    assert load_reward("exact_match_reward")(completions=["3"], answer=["3"]) == [1.0]
    assert load_reward({"name": "get_format_reward", "pattern": "a+"})(completions=["aa"]) == [1.0]
    assert load_reward("trl.rewards.think_format_reward") is load_reward("think_format_reward")
    assert load_reward("my-org/reward-model") == "my-org/reward-model"


def test_problems_from_everywhere(inside):
    rows = load_problems(TaskArguments(dataset_name="train.jsonl", formatting_function="mine.py:format_row"), False)
    assert rows.column_names == ["prompt", "answer"] and rows[0] == {"prompt": "1+1? ", "answer": "2"}
    data = Dataset.from_list([{"prompt": "Q: a?\nA:", "answer": "b"}] * 4)
    data.to_parquet("data.parquet")
    data.to_csv("data.csv")
    for name in ("data.parquet", "data.csv"):
        task = TaskArguments(dataset_name=name, dataset_train_split="train[:3]", chat=True, instruction="Think.")
        messages = load_problems(task, test=False)
        assert len(messages) == 3
        assert messages[0]["prompt"] == [{"role": "user", "content": "a?\n\nThink."}]
    task = TaskArguments(dataset_name="mine.py:rows", dataset_test_split="held out")
    assert [load_problems(task, test)[0]["prompt"] for test in (False, True)] == ["train", "held out"]


def test_few_shot_examples_from_everywhere(inside):
    (inside / "examples.jsonl").write_text(json.dumps(EXAMPLES[0]))
    for name in ("examples.yaml", "examples.jsonl"):
        assert load_few_shot(TaskArguments(few_shot_examples=name)) == EXAMPLES
    assert load_few_shot(TaskArguments(few_shot_examples="mine.py:EXAMPLES"))[0]["completion"] == " 0"
    task = TaskArguments(few_shot_examples=str(ROOT / "examples/datasets/prompts/gsm8k"), num_few_shot=2, chat=True)
    examples = load_few_shot(task)
    assert len(examples) == 2 and examples[0]["hinted_prompt"][0]["content"].endswith("(22)")
    assert load_few_shot(TaskArguments(few_shot_examples="examples.yaml", num_few_shot=0)) is None


# Recipes


@pytest.fixture(scope="module")
def long_model(tmp_path_factory) -> Path:
    """With a context for the few-shot prompts of the recipes, in characters."""
    path, tokenizer = tmp_path_factory.mktemp("long") / "model", build_tokenizer()
    config = build_model(tokenizer).config.to_dict()
    LlamaForCausalLM(LlamaConfig(**{**config, "max_position_embeddings": 8192})).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


# In the form of the hub's rows
CHOICES = {"label": list("ABCDE"), "text": ["oven", "shelf", "fridge", "bath", "garage"]}
HUB_ROWS = {
    "gsm8k": {"question": "Two and two?", "answer": "It is <<2+2=4>>4.\n#### 4"},
    "word_problems": {"question": "Two and two?", "chain": '<gadget id="calculator">2+2</gadget>', "result": "4"},
    "commonsense_qa": {"question": "Where is milk?", "choices": CHOICES, "answerKey": "C"},
}


def same(given, value) -> bool:
    """Whether a field has a recipe's value, as the dataclasses keep it."""
    if isinstance(value, list):
        given = given if isinstance(given, list) else [given]
        return all(map(same, given, value)) and len(given) == len(value)
    if value != value:  # not a number
        return given is None
    if value == "none":
        return given == []
    if isinstance(value, (int, float)):
        return given == value
    return str(getattr(given, "value", given)) == str(value)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_build_a_trainer(name, long_model, tmp_path, monkeypatch):
    """With a tiny model and two local rows; all other fields are the recipe's."""
    monkeypatch.chdir(ROOT)
    recipe = ROOT / "recipes" / f"{name}.yaml"
    swapped = {"model_name_or_path": str(long_model), "output_dir": str(tmp_path), "use_cpu": True, "bf16": False}
    if not name.startswith("arithmetic"):
        row = next((row for prefix, row in HUB_ROWS.items() if name.startswith(prefix)), HUB_ROWS["gsm8k"])
        (tmp_path / "rows.jsonl").write_text("\n".join([json.dumps(row)] * 2))
        swapped |= {"dataset_name": str(tmp_path / "rows.jsonl"), "test_dataset_name": str(tmp_path / "rows.jsonl")}
    else:
        pytest.importorskip("matplotlib")
    arguments = [part for field, value in swapped.items() for part in (f"--{field}", str(value))]
    (task, train_args, args, model_args), launch_args = make_parser("train").parse(
        ["--config", str(recipe), *arguments]
    )
    for field, value in yaml.safe_load(recipe.read_text()).items():
        if field in swapped:
            continue
        if field == "accelerate_config":
            assert launch_args == ["--accelerate_config", value] and Path(value).is_file()
            continue
        (given,) = [vars(part)[field] for part in (task, args, model_args) if field in vars(part)]
        assert same(given, value), field
    trainer = build_trainer(task, args, model_args)
    assert trainer.task.prompt_builder.examples(trainer.task.problems[0]) and trainer.eval_dataset is not None
    hinted = any(isinstance(getattr(s, "sampler", s), RationalizationSampler) for s in trainer.task.samplers)
    assert hinted == (not name.startswith("rest_em"))
    assert "direct" not in trainer.task.problems.column_names


def test_the_arithmetic_recipe_from_end_to_end(folder, long_model, tmp_path, monkeypatch):
    """Offline, with problems made on the spot, from a model with random weights and a reward that it reaches."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(ROOT)
    small = "--num_iterations 1 --initial_steps 2 --num_problems_per_iteration 20 --max_completion_length 16"
    recipe = ["--config", "recipes/arithmetic_cpu.yaml", "--model_name_or_path", str(long_model)]
    reward = [
        "--reward_funcs",
        f"{folder}/mine.py:always",
        "--output_dir",
        str(tmp_path),
        "--stop_strings",
        *"abcdefghij",
    ]
    main(["train", *recipe, *reward, *small.split(), "--per_device_train_batch_size", "2", "--disable_tqdm", "true"])
    metrics = json.loads((tmp_path / "iteration-001/metrics.json").read_text())
    assert {"eval_accuracy/1", "eval_accuracy/2", "eval_accuracy/3", "rationale/solved"} <= set(metrics)


# The documentation

DOC = (ROOT / "docs/cli.md").read_text()


def test_the_recipe_in_the_documentation_builds_a_trainer(all_guards, long_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, examples, fragment = re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(recipe)
    (tmp_path / "examples.yaml").write_text(examples)
    row = {"question": "Tom has 3 apples and buys 2. How many?", "solution": "5"}
    (tmp_path / "problems.jsonl").write_text("\n".join([json.dumps(row)] * 10))
    (tmp_path / "held_out.jsonl").write_text(json.dumps(row))
    here = ["--config", "recipe.yaml", "--model_name_or_path", str(long_model), "--use_cpu", "--bf16", "false"]
    (task, _, args, model_args), _ = make_parser("train").parse(here)
    trainer = build_trainer(task, args, model_args)
    assert len(trainer.task.problems) == 9 and trainer.task.problems[0]["hinted_prompt"].endswith("(5)\nA:")
    assert trainer.task.prompt_builder.render(trainer.task.problems[0], "prompt", True).startswith("Q: Ann has")
    parts = yaml.safe_load(fragment)
    _, form = [load_reward(spec) for spec in parts["reward_funcs"]]
    assert form(completions=["So.\n#### 5", "5"]) == [1.0, 0.0]
    calculator, vote, tool = load_samplers(parts["samplers"])
    assert calculator.num_generations == 4 and vote.name == "majority_vote"
    assert tool.name == "rationalization" and tool.tool.run("\nprint(6 * 7)") == "42"


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_missing_guards_of_a_tool_are_a_message_and_can_be_accepted(all_guards, without):
    without("restrict_files")
    tool = {"name": "python_tool", "accept_missing_guards": []}
    with pytest.raises(UsageError, match="(?s)^python_tool: Nothing was run.*'files' .refused.*accept_missing"):
        load_samplers([{"name": "tool", "sampler": "rationale", "tool": tool}])
    tool["accept_missing_guards"] = ["files"]
    (sampler,) = load_samplers([{"name": "tool", "sampler": "rationale", "tool": tool}])
    assert sampler.tool.run("\nprint(6 * 7)") == "42"


def test_arguments_of_a_reward_function_are_bound():
    reward = load_reward({"name": "math_verify_reward", "timeout": 0.5})
    assert isinstance(reward, partial) and reward.keywords == {"timeout": 0.5}


@pytest.mark.parametrize("page", ["docs/cli.md", "README.md", *(f"recipes/{name}.yaml" for name in RECIPES)])
def test_commands_in_the_documentation_are_read(page, inside, monkeypatch):
    lines = re.findall(
        r"^[# ]*star-trl (train|evaluate|generate) (--config .*?)(?: +# .*)?$", (ROOT / page).read_text(), re.M
    )
    assert lines
    for command, arguments in lines:
        config, *others = shlex.split(arguments.removeprefix("--config "))
        path = Path("recipe.yaml") if config == "recipe.yaml" else ROOT / config
        make_parser(command).parse(["--config", str(path), *others, "--use_cpu", "--bf16", "false"])
