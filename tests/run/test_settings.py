# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What a run is resumed with only if it is the same."""

import json
from dataclasses import dataclass, fields

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer

from star_trl import STaRConfig
from star_trl.run.state import CannotResume
from star_trl.star_config import MAY_CHANGE
from support.sums import EXAMPLES, PROBLEMS
from support.tiny_models import build_model, build_tokenizer


def begin(trainer, resume=False):
    """Begins a run, or goes on with it, up to its first work."""
    trainer.outer_run.begin(resume)


def test_names_of_what_may_change_are_fields():
    assert {field.name for field in fields(STaRConfig)} >= MAY_CHANGE


def test_a_field_that_nobody_has_thought_of_is_compared():
    @dataclass
    class Newer(STaRConfig):
        brand_new: int = 3

    assert Newer(use_cpu=True).compared_settings["brand_new"] == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("neftune_noise_alpha", 5.0),
        ("label_smoothing_factor", 0.1),
        ("data_seed", 1),
        ("max_length", 300),
        ("packing_strategy", "wrapped"),
        ("eos_token", "<user>"),
        ("train_sampling_strategy", "group_by_length"),
        ("shuffle_dataset", True),
        ("model_init_kwargs", {"attention_dropout": 0.1}),
        ("vllm_structured_outputs_regex", "a+"),
    ],
)
def test_other_settings_are_refused(make_trainer, name, value):
    begin(make_trainer())
    with pytest.raises(ValueError, match=f"`{name}` was .* and is "):
        begin(make_trainer(processing_class=build_tokenizer(), **{name: value}), resume=True)


def test_what_may_change_may_change(make_trainer):
    begin(make_trainer())
    settings = {
        "num_iterations": 9,
        "save_steps": 7,
        "logging_steps": 3,
        "generation_batch_size": 2,
        "gradient_checkpointing": True,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
        "reward_retries": 0,
    }
    begin(make_trainer(**settings), resume=True)


def test_tokens_are_not_written_down(make_trainer):
    begin(make_trainer(hub_token="hf_secret", model_init_kwargs={"token": "hf_secret"}))
    (state,) = make_trainer().ledger.output_dir.glob("star_state.json")
    assert "hf_secret" not in state.read_text()


@pytest.mark.parametrize("where", ["train", "eval"])
def test_other_examples_of_one_problem_are_refused(make_trainer, problems, where):
    """Of one that is not the first."""

    def examples(problem):
        return EXAMPLES

    def others(problem):
        return EXAMPLES if problem["prompt"] != PROBLEMS[3]["prompt"] else 2 * EXAMPLES

    split = {
        "train_dataset": problems if where == "train" else problems.select([0]),
        "eval_dataset": problems if where == "eval" else problems.select([0]),
    }
    begin(make_trainer(few_shot_examples=examples, **split))
    begin(make_trainer(few_shot_examples=examples, **split), resume=True)
    with pytest.raises(ValueError, match="`prompts(| of the evaluation)` differs"):
        begin(make_trainer(few_shot_examples=others, **split), resume=True)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"train_dataset": Dataset.from_list(PROBLEMS[:3])}, "`train_dataset` had 4 problems, now 3"),
        (
            {"train_dataset": Dataset.from_list(PROBLEMS[::-1])},
            "`train_dataset` has other problems, or ",
        ),
        ({"eval_dataset": Dataset.from_list(PROBLEMS[:1])}, "`eval_dataset` had 2 problems, now 1"),
        ({"eval_dataset": None}, "`eval_dataset` is missing"),
        ({"few_shot_examples": [EXAMPLES[0], {**EXAMPLES[0], "completion": " 2"}]}, "few-shot example 2 differs"),
        ({"few_shot_examples": EXAMPLES}, "there were 2 few-shot examples, now 1"),
    ],
)
def test_data_that_differ_are_described(make_trainer, problems, changes, difference):
    """By what a reader knows of them, and each once."""
    data = {"eval_dataset": Dataset.from_list(PROBLEMS[:2]), "few_shot_examples": 2 * EXAMPLES}
    begin(make_trainer(**data))
    with pytest.raises(CannotResume) as error:
        begin(make_trainer(**{**data, **changes}), resume=True)
    assert f"with these settings: {difference}" in str(error.value)
    assert ";" not in str(error.value)


def test_what_no_prompt_shows_of_an_example_may_change(make_trainer):
    begin(make_trainer(few_shot_examples=[{**EXAMPLES[0], "id": 1}]))
    begin(make_trainer(few_shot_examples=[{**EXAMPLES[0], "id": 2}]), resume=True)


def test_another_vocabulary_is_refused(make_trainer):
    """Also with the same prompts as text."""
    begin(make_trainer())
    tokenizer = build_tokenizer()
    tokenizer("1", padding="max_length", max_length=9, truncation=True)  # which it remembers
    begin(make_trainer(processing_class=tokenizer), resume=True)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary["4"], vocabulary["9"] = vocabulary["9"], vocabulary["4"]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    with pytest.raises(ValueError, match="`tokenizer` differs"):
        begin(make_trainer(processing_class=tokenizer), resume=True)


def test_another_chat_template_is_refused(make_trainer):
    begin(make_trainer())
    tokenizer = build_tokenizer()
    tokenizer.chat_template += "{# another one #}"
    with pytest.raises(ValueError, match="`chat template` differs"):
        begin(make_trainer(processing_class=tokenizer), resume=True)


def test_another_configuration_of_the_model_is_refused(make_trainer, tokenizer):
    """With the same weights to start from."""
    begin(make_trainer())
    model = build_model(tokenizer)
    model.config.attention_dropout = 0.5
    with pytest.raises(ValueError, match="`attention_dropout of the model` was 0.0 and is 0.5"):
        begin(make_trainer(model=model), resume=True)


def test_other_eos_tokens_are_refused(make_trainer):
    begin(make_trainer())
    tokenizer = build_tokenizer()
    tokenizer.eos_token = "<user>"
    with pytest.raises(ValueError, match=r"`eos tokens` was \['<eos>'\] and is \['<eos>', '<user>'\]"):
        begin(make_trainer(processing_class=tokenizer), resume=True)


def test_another_optimizer_is_refused(make_trainer):
    begin(make_trainer())
    with pytest.raises(ValueError, match="`optimizer_cls_and_kwargs` was None"):
        begin(make_trainer(optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 0.1})), resume=True)


def test_another_adapter_is_refused(make_trainer, tokenizer):
    """With the same weights to start from."""

    def make(**changes):
        config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **changes)
        return make_trainer(model=build_model(tokenizer), peft_config=config)

    begin(make(lora_alpha=4))
    begin(make(lora_alpha=4), resume=True)
    with pytest.raises(ValueError, match="`lora_alpha of the adapter default` was 4 and is 64"):
        begin(make(lora_alpha=64), resume=True)


def test_another_model_under_the_adapter_is_refused(make_trainer, tokenizer):
    def make(change=0.0):
        model = build_model(tokenizer)
        model.lm_head.weight.data[3, 5] += change
        return make_trainer(model=model, peft_config=LoraConfig(r=4, task_type="CAUSAL_LM"))

    begin(make())
    begin(make(), resume=True)
    with pytest.raises(ValueError, match="`frozen weights` differs"):
        begin(make(change=1e-3), resume=True)


def test_what_an_older_version_did_not_record_is_not_compared(make_trainer, caplog):
    """But said, once."""
    begin(make_trainer())
    state = make_trainer().ledger.output_dir / "star_state.json"
    content = json.loads(state.read_text())
    for name in ("neftune_noise_alpha", "frozen weights", "few-shot examples", "number of problems"):
        del content["settings"][name]
    content["settings"]["gone"] = 1
    state.write_text(json.dumps(content))
    trainer = make_trainer(neftune_noise_alpha=5.0)
    begin(trainer, resume=True)
    (message,) = (record.getMessage() for record in caplog.records if "not compared" in record.getMessage())
    assert message.endswith(": few-shot examples, frozen weights, gone, neftune_noise_alpha, number of problems.")
    trainer.outer_run.state.save(trainer.ledger.output_dir)
    with pytest.raises(ValueError, match="`neftune_noise_alpha` was 5.0 and is None"):
        begin(make_trainer(), resume=True)
