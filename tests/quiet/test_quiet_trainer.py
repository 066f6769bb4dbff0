# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The trainer of Quiet-STaR: its loss and gradient, its runs, and what it refuses."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from test_quiet_model import build, make_quiet, small_tokenizer
from transformers import AutoModelForCausalLM

from star_trl.quiet import QuietSTaRConfig, QuietSTaRModel, QuietSTaRTrainer, write_thought_page
from star_trl.quiet.quiet_loss import policy_loss, quiet_star_loss
from support.tiny_models import ON_A_CPU, build_model, build_tokenizer


TEXTS = [f"{a}+{b}={a + b}." for a in range(4) for b in range(4)]
SMALL = {"num_thought_tokens": 2, "num_true_tokens": 2, "start_text": ":", "end_text": ".", "max_steps": 2}


@pytest.fixture
def make_trainer(tmp_path):
    def make(
        model=None, eval_dataset=None, peft_config=None, rows=None, optimizers=(None, None), **changes
    ) -> QuietSTaRTrainer:
        tokenizer = build_tokenizer()
        settings = {"output_dir": str(tmp_path / "out"), "per_device_train_batch_size": 4, "learning_rate": 1e-2}
        return QuietSTaRTrainer(
            model=build_model(tokenizer) if model is None else model,
            args=QuietSTaRConfig(**{**ON_A_CPU, **SMALL, **settings, **changes}),
            train_dataset=Dataset.from_list(rows or [{"text": text} for text in TEXTS]),
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            peft_config=peft_config,
            optimizers=optimizers,
        )

    return make


# The loss


def test_the_policy_gradient_is_the_exact_one():
    """
    The gradient of the expected reward, with the reward of each thought held fixed, is what REINFORCE estimates. On a
    vocabulary of five tokens and thoughts of two, all are enumerated, and their probabilities computed one by one.
    """
    quiet, temperature = make_quiet(build(vocab_size=5), small_tokenizer_of(5), num_thought_tokens=2), 2.0
    model, embed = quiet.base, quiet.base.get_input_embeddings()
    text = torch.tensor([[2, 3, 4]])
    every = list(itertools.product(range(5), repeat=2))
    thoughts = torch.tensor(every)[None, :, None].expand(1, -1, 3, -1)
    output = quiet(text, num_thoughts=25, temperature=temperature, thought_ids=thoughts)
    rewards = output.rewards()
    expected_reward = 0.0
    for position in range(3):
        for number, (first, second) in enumerate(every):
            read = torch.cat([embed(text[0, : position + 1]), quiet.head.start[None], embed(torch.tensor([first]))])
            logits = model.lm_head(model.model(inputs_embeds=read[None], use_cache=False).last_hidden_state[0])
            logprobs = (logits / temperature).log_softmax(dim=-1)
            logprob = logprobs[position + 1, first] + logprobs[position + 2, second]
            expected_reward = expected_reward + logprob.exp() * rewards[0, number, position]
    parameters = [parameter for name, parameter in quiet.named_parameters() if "mixing" not in name]
    expected = torch.autograd.grad(-expected_reward, parameters, retain_graph=True, allow_unused=True)
    # Each thought drawn alone, as often as it is drawn
    weighted = output.thought_logprobs.exp().detach() * rewards
    drawn = SimpleNamespace(
        rewards=lambda: weighted.transpose(0, 1), thought_logprobs=output.thought_logprobs.transpose(0, 1)
    )
    loss = policy_loss(drawn, clamp_reward=False)
    actual = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = [(a, b) for a, b in zip(actual, expected, strict=True) if b is not None]
    assert max(b.abs().max() for _, b in pairs) > 0.1
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)


def small_tokenizer_of(vocab_size):
    return lambda text, add_special_tokens=False: {"input_ids": [ord(letter) % vocab_size for letter in text]}


def test_rewards_are_compared_with_the_mean_and_clamped():
    gains = torch.tensor([[[1.0], [3.0]]])  # of two thoughts at one position
    logprobs = torch.tensor([[[-1.0], [-2.0]]])
    output = SimpleNamespace(rewards=lambda: gains, thought_logprobs=logprobs)
    assert policy_loss(output, clamp_reward=True) == pytest.approx((0 * 1.0 + 1 * 2.0) / 2)
    assert policy_loss(output, clamp_reward=False) == pytest.approx((-1 * 1.0 + 1 * 2.0) / 2)
    single = SimpleNamespace(rewards=lambda: -gains[:, :1], thought_logprobs=logprobs[:, :1])
    assert policy_loss(single, clamp_reward=False) == pytest.approx(-1.0)  # a single thought is compared with nothing
    assert policy_loss(single, clamp_reward=True) == 0


def test_the_loss_does_not_depend_on_how_rows_are_divided():
    quiet = make_quiet(build(), small_tokenizer)
    torch.manual_seed(3)
    text, thoughts = torch.randint(2, 40, (4, 7)), torch.randint(2, 40, (4, 2, 7, 3))

    def loss(rows):
        output = quiet(text[rows], num_thoughts=2, temperature=1.0, thought_ids=thoughts[rows])
        return quiet_star_loss(output, num_items=28, policy_weight=2.0)

    whole = loss(slice(None)).item()
    assert whole == pytest.approx(loss(slice(0, 1)).item() + loss(slice(1, 4)).item(), rel=1e-5)


# Runs


def test_a_run_learns_and_is_saved_whole(make_trainer, tmp_path):
    evaluated = Dataset.from_list([{"prompt": "1+1=", "completion": "2."}, {"prompt": "2+1=", "completion": "3."}])
    trainer = make_trainer(eval_dataset=evaluated, max_steps=30, logging_steps=30)
    before = trainer.evaluate()
    assert before["eval_nll"] == pytest.approx(before["eval_nll_with_thoughts"], rel=1e-5)
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_nll_with_thoughts"] < before["eval_nll_with_thoughts"] - 1
    assert after["eval_probability_with_thoughts"] > 2 * before["eval_probability_with_thoughts"]
    logged = next(row for row in trainer.state.log_history if "mixing_weight" in row)
    assert logged["mixing_weight"] != 0 and logged["num_tokens"] > 0
    trainer.save_model()
    loaded = QuietSTaRModel.from_pretrained(tmp_path / "out")
    text = build_tokenizer()("1+2=3.", return_tensors="pt")["input_ids"]
    assert torch.equal(loaded(text).nll_with_thoughts, trainer.model.eval()(text).nll_with_thoughts)
    # Without thoughts it is a stock model.
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(plain(text).logits, trainer.model.model(text).logits)
    # A run goes on with the head of a folder.
    again = make_trainer(model=str(tmp_path / "out"), eval_dataset=evaluated)
    assert again.evaluate()["eval_nll_with_thoughts"] == pytest.approx(after["eval_nll_with_thoughts"], rel=1e-5)


def test_the_embeddings_begin_as_texts_and_learn_faster(make_trainer):
    trainer = make_trainer(max_steps=1, policy_weight=0.0)
    quiet, tokenizer = trainer.model, trainer.processing_class
    embed = quiet.base.get_input_embeddings().weight
    colon = embed[tokenizer(":")["input_ids"][0]].detach().clone()
    assert torch.allclose(quiet.head.start, colon, atol=1e-6)
    with torch.no_grad():
        quiet.head.mixing[-1].weight.normal_()
    trainer.train()
    # The first step of Adam moves every parameter by the learning rate.
    assert (quiet.head.start - colon).detach().abs().max() == pytest.approx(100 * 1e-2, rel=0.01)


def test_the_mixing_head_learns_at_its_own_rate(make_trainer):
    trainer = make_trainer(max_steps=1, mixing_learning_rate=0.5)
    last = trainer.model.head.mixing[-1].weight
    before = trainer.model.base.get_input_embeddings().weight.detach().clone()
    assert not last.any()
    trainer.train()
    # The first step of Adam moves every parameter by its learning rate.
    assert last.detach().abs().max() == pytest.approx(0.5, rel=0.02)
    after = trainer.model.base.get_input_embeddings().weight.detach()
    assert (after - before).abs().max() == pytest.approx(1e-2, rel=0.02)
    trained = [id(weight) for group in trainer.optimizer.param_groups for weight in group["params"]]
    assert sorted(trained) == sorted(id(weight) for weight in trainer.model.parameters())


LORA = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")


@pytest.mark.parametrize(
    "settings",
    [{}, {"peft_config": LORA}, {"tied": True}, {"peft_config": LORA, "mixing_learning_rate": 0.1}],
    ids=["all weights", "LoRA", "tied", "a rate for the head"],
)
def test_a_resumed_run_is_the_uninterrupted_one(make_trainer, tmp_path, settings):
    def weights(trainer):
        return {name: value.clone() for name, value in trainer.model.state_dict().items()}

    settings = dict(settings)
    if settings.pop("tied", False):
        build_model(build_tokenizer(), tie_word_embeddings=True).save_pretrained(tmp_path / "tied")
        settings["model"] = str(tmp_path / "tied")
    whole = make_trainer(output_dir=str(tmp_path / "whole"), max_steps=4, save_steps=2, **settings)
    whole.train()
    resumed = make_trainer(output_dir=str(tmp_path / "whole"), max_steps=4, save_steps=2, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())


def test_gradient_accumulation_gives_the_same_step(make_trainer, tmp_path):
    """Greedy thoughts would need another option, so the thoughts are drawn at a temperature that leaves no choice."""
    steps = []
    for batch, accumulated in ((8, 1), (2, 4)):
        trainer = make_trainer(
            output_dir=str(tmp_path / str(batch)),
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulated,
            max_steps=1,
            thought_temperature=1e-4,
            policy_weight=0.0,
            optim="sgd",
            max_grad_norm=0.0,
        )
        torch.manual_seed(0)
        torch.nn.init.normal_(trainer.model.head.mixing[-1].weight, std=0.1)
        trainer.train()
        steps.append(torch.cat([value.detach().flatten() for value in trainer.model.parameters()]))
    assert (steps[0] - steps[1]).abs().max() < 1e-5


def test_only_the_adapter_and_the_head_are_trained(make_trainer, tmp_path):
    trainer = make_trainer(peft_config=LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    after = trainer.model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and all("lora_" in name or name.startswith("head.") for name in changed)
    build_model(build_tokenizer()).save_pretrained(tmp_path / "base")
    trainer.model.model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    trainer.save_model(str(tmp_path / "saved"))
    # A run that goes on trains the same weights.
    again = make_trainer(model=str(tmp_path / "saved"))
    trained = {name for name, parameter in again.model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}


def test_the_best_model_is_loaded_with_its_head(make_trainer, tmp_path):
    settings = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 1, "save_steps": 1, "max_steps": 3}
    evaluated = Dataset.from_list([{"text": "1+1=2."}])
    # The evaluation gets worse with every step.
    best = make_trainer(
        eval_dataset=evaluated, load_best_model_at_end=True, learning_rate=1.0, max_grad_norm=0.0, **settings
    )
    best.train()
    assert best.state.best_model_checkpoint.endswith("checkpoint-1")
    expected = QuietSTaRModel.from_pretrained(best.state.best_model_checkpoint).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in best.model.state_dict().items())


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packing": True}, "`packing=True` cannot be used with Quiet-STaR.*Set it to False"),
        ({"eval_packing": True}, "`eval_packing=True` cannot be used"),
        ({"gradient_checkpointing": True}, "checkpointing drops"),
        ({"num_thoughts": 0}, "`num_thoughts` is 0. It must be at least 1"),
        ({"thought_temperature": 0.0}, "must be more than 0"),
        ({"policy_weight": -1.0}, "must not be negative"),
        ({"mixing_learning_rate": 0.0}, "`mixing_learning_rate` is 0.0. It must be more than 0"),
    ],
)
def test_settings_that_cannot_be_used(make_trainer, changes, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(**changes)


def test_a_trained_model_keeps_its_sizes(make_trainer):
    quiet = make_trainer().model
    with pytest.raises(ValueError, match="`num_thought_tokens` is 5 in `args`, but 2 in the model"):
        make_trainer(model=quiet, num_thought_tokens=5)


def test_a_text_to_begin_with_has_tokens(make_trainer):
    with pytest.raises(ValueError, match="has no tokens"):
        make_trainer(start_text="")


def test_a_window_limits_the_length(make_trainer):
    with pytest.raises(ValueError, match="Set `max_length` to 59 or less"):
        make_trainer(model=build("mistral", vocab_size=105), max_length=64)


def test_an_optimizer_without_the_head_is_refused(make_trainer):
    model = build_model(build_tokenizer())
    with pytest.raises(ValueError, match="does not have the weights of the head"):
        make_trainer(model=model, optimizers=(torch.optim.SGD(model.parameters(), lr=0.1), None))


def test_a_rate_for_the_head_does_not_change_a_given_optimizer(make_trainer):
    quiet = make_trainer().model
    with pytest.raises(ValueError, match="`mixing_learning_rate` has no effect on the optimizer"):
        make_trainer(
            model=quiet, optimizers=(torch.optim.SGD(quiet.parameters(), lr=0.1), None), mixing_learning_rate=0.5
        )


def test_there_are_no_predictions(make_trainer):
    with pytest.raises(NotImplementedError, match="Use `evaluate`"):
        make_trainer().predict(Dataset.from_list([{"text": "1"}]))


# What a person reads


def test_the_page_shows_thoughts_and_escapes_them(make_trainer, tmp_path):
    trainer = make_trainer()
    text = "<b>1+1=2.</b>"
    page = write_thought_page(trainer.model, trainer.processing_class, text, tmp_path / "page.html").read_text()
    assert page.count("<tr>") == 11 and "<b>" not in page and page.count("&lt;") > 1
    assert "the next 2 tokens" in page
