# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The model card says how a model was made, in every place where it is saved."""

import logging
from pathlib import Path

import pytest
from datasets import Dataset
from huggingface_hub import ModelCard
from peft import LoraConfig

from star_trl import MajorityVoteSampler, RationaleSampler, RationalizationSampler
from support.sums import EXAMPLES, PROBLEMS, last_question, solve_easy_and_hinted


@pytest.fixture(autouse=True)
def no_warnings(caplog):
    """A card that cannot be written is only a warning."""
    yield
    assert "model card" not in caplog.text


@pytest.fixture
def train(make_trainer, problems):
    def run(**changes):
        settings = {"eval_dataset": problems, "eval_group_column": "kind", **changes}
        trainer = make_trainer(solve_easy_and_hinted, **settings)
        trainer.train()
        return trainer

    return run


def card_in(folder) -> ModelCard:
    return ModelCard.load(Path(folder) / "README.md")


def section(card: ModelCard, title: str) -> str:
    return card.text.split(f" {title}\n")[1].split("\n##")[0]


def rows(card: ModelCard) -> list[list[str]]:
    """Of the table of iterations, without its head and the marks of the current one."""
    lines = [line for line in section(card, "Iterations").splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_has_every_iteration(train):
    card = card_in(train().args.output_dir)
    assert (
        "| iteration | eval accuracy | eval accuracy, easy | eval accuracy, hard | solved by rationale |" in card.text
    )
    (base, first, second) = rows(card)
    assert base == ["0", "50.0%", "100.0%", "0.0%", "", "", "", ""]
    assert first[:7] == ["1", "50.0%", "100.0%", "0.0%", "50.0%", "25.0%", "3"]
    assert second[0] == "2" and "The weights are those of iteration 2." in card.text


def test_a_checkpoint_has_the_card_of_its_iteration(train):
    trainer = train()
    for iteration in (1, 2):
        card = card_in(trainer.outer_run.checkpoint_dir(iteration))
        assert len(rows(card)) == iteration + 1
        assert f"The weights are those of iteration {iteration}." in card.text


def test_a_resumed_run_has_the_whole_table(train):
    trainer = train(num_iterations=1)
    trainer.args.num_iterations = 2
    trainer.train(resume_from_checkpoint=True)
    assert [row[:7] for row in rows(card_in(trainer.args.output_dir))] == [
        ["0", "50.0%", "100.0%", "0.0%", "", "", ""],
        ["1", "50.0%", "100.0%", "0.0%", "50.0%", "25.0%", "3"],
        ["2", "50.0%", "100.0%", "0.0%", "50.0%", "25.0%", "3"],
    ]


def test_the_best_model_is_named(train):
    trainer = train(load_best_model_at_end=True)
    card = card_in(trainer.args.output_dir)
    assert trainer.outer_run.state.best_iteration == 0  # the first of equals
    assert "The weights are those of iteration 0." in card.text and "chosen by its evaluation" in card.text


def code_in(card: ModelCard, problem=None) -> str:
    """The code of a card, with a problem in place of the dots."""
    code = section(card, "Quick start").split("```python\n")[1].split("```")[0]
    if problem is None:
        return code
    lines = [f"problem = {problem!r}" if line.startswith("problem = ") else line for line in code.splitlines()]
    return "\n".join(lines)


def as_chat(rows, **system):
    first = [{"role": "system", **system}] if system else []
    return [
        {**row, **{name: [*first, {"role": "user", "content": row[name]}] for name in ("prompt", "hinted_prompt")}}
        for row in rows
    ]


@pytest.mark.parametrize(
    ("rows", "examples", "settings"),
    [
        (PROBLEMS, EXAMPLES, {}),
        (PROBLEMS, None, {}),
        (PROBLEMS, EXAMPLES, {"few_shot_iterations": 0}),
        (PROBLEMS, EXAMPLES, {"generation_kwargs": {"repetition_penalty": 1.5}}),
        (as_chat(PROBLEMS), as_chat(EXAMPLES), {}),
        (as_chat(PROBLEMS, content="Add."), as_chat(EXAMPLES), {}),
    ],
)
def test_its_code_generates_as_an_evaluation_does(make_trainer, model, capsys, rows, examples, settings):
    """From the folder of the output as well, where there is no model."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 30  # so that what it writes depends on the whole prompt
    trainer = make_trainer(
        train_dataset=Dataset.from_list(rows),
        few_shot_examples=examples,
        reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
        num_iterations=1,
        initial_steps=2,
        stop_strings=list("abcdef"),
        **settings,
    )
    trainer.train()
    samples = trainer.sample_problems(trainer.task.problems)
    assert any(sample.finish_reason == "stop" for sample in samples)
    expected = [sample.completion for sample in samples]
    assert len(set(expected)) > 1
    card = card_in(trainer.args.output_dir)
    for row, completion in zip(rows, expected, strict=True):
        capsys.readouterr()
        exec(code_in(card, row["prompt"]), {})
        assert capsys.readouterr().out == f"{completion}\n"


def test_its_code_names_the_folder_that_has_the_model(train):
    trainer = train()
    out = Path(trainer.args.output_dir)
    for iteration in (1, 2):
        assert f'model="{out}/iteration-00{iteration}/checkpoint"' in code_in(
            card_in(out / f"iteration-00{iteration}/checkpoint")
        )
    assert f'model="{out}/iteration-002/checkpoint"' in code_in(card_in(out))
    trainer.save_model(str(out))
    assert f'model="{out}"' in code_in(card_in(out))


def test_examples_that_a_function_chooses_are_not_shown(train):
    card = card_in(train(few_shot_examples=lambda problem: EXAMPLES).args.output_dir)
    assert "1+1" not in card.text and "A function chose the few-shot examples" in card.text


def test_a_model_that_is_saved_anywhere_has_a_card(train, tmp_path):
    train().save_model(str(tmp_path / "elsewhere"))
    assert len(rows(card_in(tmp_path / "elsewhere"))) == 3


def test_a_base_model_of_the_hub_is_linked(train, model):
    model.config._name_or_path = "Qwen/Qwen3-0.6B-Base"
    card = card_in(train(num_iterations=1).args.output_dir)
    assert card.data.base_model == "Qwen/Qwen3-0.6B-Base"
    assert "a fine-tuned version of [Qwen/Qwen3-0.6B-Base](https://huggingface.co/Qwen/Qwen3-0.6B-Base)" in card.text


def test_a_local_base_model_is_named_and_no_metadata(train, model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "base")
    card = card_in(train(num_iterations=1, model=str(tmp_path / "base")).args.output_dir)
    assert card.data.base_model is None
    assert f"a fine-tuned version of `{tmp_path / 'base'}`" in card.text


def test_nothing_is_none(train, model):
    model.config._name_or_path = ""
    trainer = train(num_iterations=1)
    assert "None" not in (Path(trainer.args.output_dir) / "README.md").read_text()


def test_an_adapter_is_named(train, model):
    model.config._name_or_path = "org/base"
    trainer = train(num_iterations=1, peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    card = card_in(trainer.outer_run.checkpoint_dir(1))
    assert (card.data.library_name, card.data.base_model) == ("peft", "org/base")
    assert {"lora", "star", "trl"} <= set(card.data.tags)
    assert "a LORA adapter of [org/base]" in card.text and "| adapter | LORA, rank 4 |" in card.text
    assert "- PEFT: " in card.text


def test_settings_that_decide_are_there(train):
    card = card_in(train(reset_model=False, num_iterations=1, reward_threshold=0.5).args.output_dir)
    settings = section(card, "Training procedure")
    for line in (
        "| samplers | `rationale`, `rationalization` (p=1.0, p_show_hint=0.0) |",
        "| rewards of what is kept | `exact_match_reward` (at least 0.5) |",
        "| outer iterations | 1 of 1 |",
        "| every iteration fine-tunes | the model of the one before |",
        "| few-shot examples | in sampling and in the training sequences |",
        "| generation | PrefixSharingEngine |",
        "| temperature | 0 (greedy) |",
    ):
        assert line.replace("PrefixSharingEngine", "ScriptedEngine") in settings


def test_data_are_counted(train):
    data = section(card_in(train().args.output_dir), "Data")
    assert "- 4 problems to sample for." in data
    assert "75.0% of the problems were solved: 50.0% by `rationale`, 25.0% by `rationalization`. 3 samples" in data
    assert "were not in the training prompts" in data


def test_hints_that_were_left_in_are_counted(train):
    samplers = [RationaleSampler(), RationalizationSampler(p_show_hint=1.0)]
    card = card_in(train(num_iterations=1, samplers=samplers).args.output_dir)
    assert "left in the training prompts of 1 samples" in section(card, "Data")
    assert "**Hints.**" in section(card, "Caveats")


@pytest.mark.parametrize(
    ("samplers", "present", "absent"),
    [
        ([RationaleSampler()], [], ["Rationalizations", "Majority votes"]),
        ([RationaleSampler(), RationalizationSampler()], ["Rationalizations"], ["Majority votes", "Hints"]),
        ([MajorityVoteSampler(lambda text: text[-1], 2)], ["Majority votes"], ["Rationalizations"]),
    ],
)
def test_caveats_fit_the_samplers(train, samplers, present, absent):
    caveats = section(card_in(train(num_iterations=1, samplers=samplers).args.output_dir), "Caveats")
    assert all(f"**{name}.**" in caveats for name in ["Faithfulness", "Luck", "Bias", *present])
    assert not any(f"**{name}.**" in caveats for name in absent)


def test_versions_and_citations_are_there(train):
    text = card_in(train(num_iterations=1).args.output_dir).text
    assert "@inproceedings{zelikman2022star" in text and "@software{vonwerra2020trl" in text
    assert all(f"\n- {name}: " in text for name in ("star-trl", "TRL", "Transformers", "Pytorch", "Datasets"))


def test_problems_and_answers_stay_private(train, tmp_path):
    secret = [{**problem, "kind": "x"} for problem in PROBLEMS]
    trainer = train(num_iterations=1, eval_dataset=Dataset.from_list(secret))
    text = (Path(trainer.args.output_dir) / "README.md").read_text()
    assert "1+2" not in text and last_question(PROBLEMS[3]["prompt"]) not in text


def test_groups_cannot_break_the_table(train):
    odd = [{**problem, "kind": "a|b\n# c"} for problem in PROBLEMS]
    card = card_in(train(num_iterations=1, eval_dataset=Dataset.from_list(odd)).args.output_dir)
    assert "| eval accuracy, a\\|b # c |" in card.text


def test_names_and_tags_that_a_user_gives(train):
    trainer = train(num_iterations=1)
    trainer.create_model_card(model_name="sums", dataset_name="org/sums", tags="arithmetic")
    card = card_in(trainer.args.output_dir)
    assert card.text.strip().startswith("# Model Card for sums")
    assert card.data.datasets == "org/sums" and "arithmetic" in card.data.tags


def test_a_card_that_cannot_be_written_does_not_end_the_run(train, monkeypatch, caplog):
    monkeypatch.setattr("star_trl.publishing.model_card.model_card", lambda *args, **kwargs: 1 / 0)
    with caplog.at_level(logging.WARNING):
        assert train(num_iterations=1).iteration == 1
    assert "The model card was not written" in caplog.text
    caplog.clear()
