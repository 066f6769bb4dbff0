# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Iterative RPO and SPIN: the loss, the rounds, resuming, adapters and what is refused."""

import json
import math

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from torch.nn import functional as F
from transformers import TrainerCallback

from star_trl import RationalizationSampler, RolloutSampler, STaRConfig, load_history, load_ledger
from star_trl.preference import IterativeRPOConfig, IterativeRPOTrainer, SPINConfig, SPINTrainer
from star_trl.rewards import exact_match_reward
from support.sums import EXAMPLES, PROBLEMS, SETTINGS
from support.tiny_models import ON_A_CPU, build_model, odd_length


# Completions of a random model end at the first of these, so that they are short and of different lengths.
STOP = list("abcdefghijklmnopqrstuvwxyz0123456789")
CHANGES = {
    "initial_steps": 4,
    "num_generations": 4,
    "max_pairs_per_problem": 3,
    "temperature": 1.0,
    "stop_strings": STOP,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
}


@pytest.fixture
def make(model, tokenizer, problems, tmp_path):
    """Makes a trainer on four sums, for whose model every second completion is right."""
    kinds = {"rpo": (IterativeRPOTrainer, IterativeRPOConfig), "spin": (SPINTrainer, SPINConfig)}

    def make_trainer(kind="rpo", **changes):
        names = (
            "model samplers few_shot_examples train_dataset eval_dataset peft_config callbacks reward_funcs "
            "optimizer_cls_and_kwargs"
        ).split()
        given = {name: changes.pop(name) for name in names if name in changes}
        trainer, config = kinds[kind]
        arguments = {"model": model, "train_dataset": problems, "processing_class": tokenizer}
        if kind == "rpo":
            arguments["reward_funcs"] = odd_length
        settings = {**ON_A_CPU, **SETTINGS, **CHANGES, "output_dir": str(tmp_path / "out"), **changes}
        return trainer(args=config(**settings), **{**arguments, **given})

    return make_trainer


def losses(trainer):
    return [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def logprobs(model, prompt, completion, mask):
    ids = torch.tensor([prompt + completion])
    values = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    return values[-len(completion) :][torch.tensor(mask)]


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_loss_and_its_gradient_are_those_of_the_paper(make, model, tokenizer, alpha):
    """Equation 1, on completions of different lengths, some of whose tokens the model did not write."""
    reference = build_model(tokenizer)  # the same weights
    trainer = make(rpo_alpha=alpha, beta=0.3, few_shot_examples=EXAMPLES)
    selected = trainer.choose(trainer.sample(1), 1)[0]
    trained = trainer.make_training_set(selected, 1, trainer.args)
    rows = trained.to_list()
    rows[0]["chosen_mask"][0] = False  # as for a tool's result
    rows[0]["ref_chosen_logps"] = None
    inner = trainer.inner_trainer(trained, trainer.args)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for row in rows:
            for name in ("chosen", "rejected"):
                mask = row[f"{name}_mask"]
                value = logprobs(reference, row["prompt_ids"], row[f"{name}_ids"], mask).sum().item()
                if row[f"ref_{name}_logps"] is not None:
                    assert row[f"ref_{name}_logps"] == pytest.approx(value, abs=1e-4)
                row[f"ref_{name}_logps"] = value
    assert len({len(row["chosen_ids"]) for row in rows}) > 1

    expected = 0.0
    for row in rows:
        chosen, rejected = (
            logprobs(model, row["prompt_ids"], row[f"{name}_ids"], row[f"{name}_mask"])
            for name in ("chosen", "rejected")
        )
        margin = (chosen.sum() - row["ref_chosen_logps"]) - (rejected.sum() - row["ref_rejected_logps"])
        expected = expected + (-F.logsigmoid(0.3 * margin) - alpha * chosen.sum() / len(chosen)) / len(rows)
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    loss = inner.compute_loss(model, inner.data_collator(rows))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    found = torch.autograd.grad(loss, list(model.parameters()))
    for one, other in zip(found, gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("reset", [False, True])
def test_each_round_starts_from_the_previous_model_which_is_its_reference(make, model, reset):
    """At the first step of each round the model is its own reference, and the loss of a pair is log 2."""
    starts = []

    class Starts(TrainerCallback):
        def on_step_begin(self, args, state, control, model, **kwargs):
            if state.global_step % 4 == 0:
                starts.append(model.state_dict()["lm_head.weight"].clone())

    original = model.state_dict()["lm_head.weight"].clone()
    trainer = make(rpo_alpha=0.0, reset_model=reset, callbacks=[Starts()])
    trainer.train()
    found = losses(trainer)
    assert len(found) == 8
    for step, loss in found:
        assert (loss == pytest.approx(math.log(2), abs=1e-4)) == (step in (1, 5))
    assert torch.equal(starts[0], original)
    assert torch.equal(starts[1], original) == reset


def test_two_rounds_are_recorded_as_those_of_star(make, tmp_path, problems):
    trainer = make(eval_dataset=problems, few_shot_examples=EXAMPLES, train_sampling_strategy="group_by_length")
    trainer.train()
    out = tmp_path / "out"
    history = load_history(out)
    assert [row["iteration"] for row in history] == [0, 1, 2]
    assert all("eval_accuracy" in row for row in history)
    samples = load_ledger(out)
    for row in history[1:]:
        own = [sample for sample in samples if sample["iteration"] == row["iteration"]]
        found = trainer.draw(trainer.ledger.read(row["iteration"]), row["iteration"])
        assert row["pairs"] == len(found.pairs) > 0
        counted = ("problems_with_pairs", "problems_without_right", "problems_without_wrong")
        assert sum(row[name] for name in counted) == len(problems)
        dropped = sum(value for name, value in row.items() if name.startswith("samples/dropped"))
        assert row["samples/selected"] + dropped == len(own) == 16
    logged = [entry for entry in trainer.state.log_history if "rewards/margins" in entry]
    assert len(logged) == 8 and all("nll" in entry for entry in logged)
    assert (out / "report.html").exists()
    card = (out / "README.md").read_text()
    assert "Iterative RPO" in card and "pang2024iterative" in card
    assert "prefer the right ones" in card and "| loss | DPO, beta 0.1, and 1 NLL of chosen |" in card


class CrashAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise InterruptedError


@pytest.mark.parametrize(("step", "kind"), [(3, "rpo"), (7, "rpo"), (7, "spin")])
def test_a_run_that_is_killed_in_the_inner_loop_ends_as_an_uninterrupted_one(make, model, tmp_path, step, kind):
    original = {name: value.clone() for name, value in model.state_dict().items()}
    rows = Dataset.from_list([{**row, "solution": f" {row['answer']}"} for row in PROBLEMS])
    whole = make(kind, output_dir=str(tmp_path / "whole"), train_dataset=rows)
    whole.train()
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(original)
    changes = {"save_steps": 2, "train_dataset": rows}
    with pytest.raises(InterruptedError):
        make(kind, callbacks=[CrashAt(step)], **changes).train()
    assert (tmp_path / "out" / f"iteration-00{1 + step // 4}" / "fine-tuning" / "checkpoint-2").exists()
    model.load_state_dict(original)
    resumed = make(kind, **changes)
    resumed.train(resume_from_checkpoint=True)
    assert losses(resumed) == losses(whole)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_adapter_of_lora_is_trained_and_each_rounds_own_reference(make, model, tmp_path, wrapped):
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    frozen = {name: value.clone() for name, value in model.state_dict().items()}
    given = {"model": PeftModel(model, config)} if wrapped else {"peft_config": config}
    trainer = make(rpo_alpha=0.0, learning_rate=1e-2, **given)
    trainer.train()
    for step, loss in losses(trainer):
        assert (loss == pytest.approx(math.log(2), abs=1e-4)) == (step in (1, 5))
    assert set(trainer.model.peft_config) == {"default"}
    base = {
        name.replace(".base_layer", ""): value for name, value in trainer.model.get_base_model().named_parameters()
    }
    assert all(torch.equal(base[name], value) for name, value in frozen.items())
    saved = json.loads((tmp_path / "out" / "iteration-002" / "checkpoint" / "adapter_config.json").read_text())
    assert saved["r"] == 2
    assert not (tmp_path / "out" / "iteration-002" / "checkpoint" / "ref").exists()


def test_the_optimizer_and_callbacks_of_the_user_are_those_of_the_inner_loop(make):
    found = []

    class Optimizers(TrainerCallback):
        def on_step_end(self, args, state, control, optimizer, **kwargs):
            found.append((type(optimizer.optimizer), optimizer.param_groups[0]["momentum"], state.global_step))

    sgd = (torch.optim.SGD, {"momentum": 0.5})
    make(callbacks=[Optimizers()], optimizer_cls_and_kwargs=sgd, num_iterations=1).train()
    assert found == [(torch.optim.SGD, 0.5, step) for step in range(1, 5)]


def test_samples_of_a_sampler_with_hints_are_paired_under_the_prompt_without_them(make, tokenizer):
    trainer = make(samplers=[RationalizationSampler(num_generations=4)])
    selected = trainer.choose(trainer.sample(1), 1)[0]
    rows = trainer.make_training_set(selected, 1, trainer.args)
    assert {tokenizer.decode(ids) for ids in rows["prompt_ids"]} <= {row["prompt"] for row in PROBLEMS}


def test_spin_prefers_the_solutions_without_a_reward(make, model, tokenizer, tmp_path, caplog):
    rows = Dataset.from_list([{**row, "solution": f" It is {row['answer']}"} for row in PROBLEMS])
    prompt, solution = tokenizer(PROBLEMS[0]["prompt"])["input_ids"], tokenizer(" It is 3<eos>")["input_ids"]
    with torch.no_grad():
        before = logprobs(model, prompt, solution, [True] * len(solution)).sum()
    trainer = make("spin", train_dataset=rows, overwrite_output_dir=True)
    selected = trainer.choose(trainer.sample(1), 1)[0]
    chosen = trainer.make_training_set(selected, 1, trainer.args)["chosen_ids"]
    assert chosen[0] == solution
    trainer.train()
    with torch.no_grad():
        after = logprobs(model, prompt, solution, [True] * len(solution)).sum()
    assert after > before
    assert "All reward functions returned None" not in caplog.text
    assert trainer.callback_handler.optimizer is None  # of the inner trainer, which sampling has no room for
    history = load_history(tmp_path / "out")
    assert [row.get("problems_with_pairs") for row in history] == [None, 4, 4]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "chen2024selfplay" in card and "was written by the model itself" not in card


def test_solutions_of_chats_are_what_the_template_writes(make, tokenizer):
    rows = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "answer": row["answer"],
            "solution": [{"role": "assistant", "content": row["answer"]}],
        }
        for row in PROBLEMS
    ]
    trainer = make("spin", train_dataset=Dataset.from_list(rows))
    assert tokenizer.decode(trainer.solutions[3].completion_ids) == "8<eos>"
    prompt = trainer.task.prompt_builder.encode(rows[3:], "prompt", True)[0]
    assert tokenizer.decode(prompt).endswith("<assistant>")


def test_a_run_in_which_no_problem_has_a_pair_says_why(make):
    with pytest.raises(RuntimeError, match=r"4 have no right completion, and 0 no wrong one.*num_generations"):
        make(reward_funcs=exact_match_reward).train()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_weighting": "reward"}, "sample_weighting='reward'` cannot be used with pairs"),
        ({"loss_normalization": "problems"}, "loss_normalization='problems'` cannot be used with pairs"),
        ({"packing": True, "max_length": 64}, "packing=True` cannot be used with pairs"),
        ({"max_samples_per_problem": 2}, "max_pairs_per_problem` limits the pairs"),
        ({"gradient_view_samples": 2}, "gradient_view_samples=2` cannot be used"),
        ({"loss_type": "dft"}, "`beta` and `rpo_alpha` set it"),
        ({"beta": 0.0}, "`beta` must be positive"),
        ({"rpo_alpha": -1.0}, "`rpo_alpha` must be 0 or more"),
        ({"max_pairs_per_problem": 0}, "`max_pairs_per_problem` must be at least 1 or None"),
        ({"num_generations": 1}, "A pair needs a right and a wrong completion"),
        ({"samplers": [RolloutSampler(print)]}, "make a prompt for every completion"),
        ({"distillation": "forward_kl"}, "distillation='forward_kl'` cannot be used with pairs"),
        ({"solution_column": "answr"}, r"no column `answr`.*Did you mean `answer`\?"),
    ],
)
def test_settings_that_pairs_cannot_have_are_refused(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_wrong_arguments_of_the_trainers_are_refused(make, model, tmp_path, problems):
    with pytest.raises(TypeError, match="needs a `IterativeRPOConfig`"):
        IterativeRPOTrainer(model, STaRConfig(**ON_A_CPU, output_dir=str(tmp_path)), odd_length)
    with pytest.raises(ValueError, match="SPIN prefers the dataset's own solutions"):
        make("spin", solution_column=None)
    with pytest.raises(ValueError, match="evaluated with `reward_funcs`, which are None"):
        make("spin", solution_column="answer", eval_dataset=problems)
    with pytest.raises(ValueError, match="without `reward_funcs` none is judged"):
        make("spin", solution_column="answer", num_kept_per_iteration=3)
    with pytest.raises(ValueError, match=r"row 0 \(`solution`\) is 3, expected text"):
        make("spin", train_dataset=Dataset.from_list([{**PROBLEMS[0], "solution": 3}]))
    with pytest.raises(ValueError, match="A training sequence has 65 tokens, more than `max_length=64`"):
        long = Dataset.from_list([{**PROBLEMS[0], "solution": "x" * 54}])
        make("spin", train_dataset=long, max_length=64)
