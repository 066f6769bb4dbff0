# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The comparison of STaR with the theory of RL-STaR: the theory, the model that is a table, and a small run."""

import itertools

import pytest
import torch

import rl_star
from rl_star import Chain, Setting, accuracy, next_deltas
from support.samples import make_sample


@pytest.mark.parametrize("deltas", [[0.5, 0.2, 0.1], [0.3, 0.0, 0.4], [0.6, 0.6]])
def test_the_theory_is_that_of_all_traces(deltas):
    size = 3
    probability = {
        states: torch.tensor(
            [(1 - delta) / size + delta * (a == b) for delta, a, b in zip(deltas, states, states[1:], strict=False)]
        )
        .prod()
        .item()
        for states in itertools.product(range(size), repeat=len(deltas) + 1)
    }
    right = {states: each / size for states, each in probability.items() if states[0] == states[-1]}
    assert accuracy(deltas, size) == pytest.approx(sum(right.values()))
    for step, delta in enumerate(next_deltas(deltas, size)):
        from_zero = {states: each for states, each in right.items() if states[step] == 0}
        shares = [
            sum(each for states, each in from_zero.items() if states[step + 1] == state) / sum(from_zero.values())
            for state in range(size)
        ]
        assert shares == pytest.approx([(1 - delta) / size + delta, *[(1 - delta) / size] * 2])


def test_the_formula_of_the_authors():
    delta, size = 0.2, 64
    expected = ((size - 2) * delta**3 + delta**2 + delta) / ((size - 1) * delta**3 + 1)
    assert next_deltas([delta] * 3, size) == pytest.approx([expected] * 3)


def test_the_model_is_a_table():
    chain = Chain(num_states=4)
    tokenizer = rl_star.make_tokenizer(chain)
    with torch.no_grad():
        model = rl_star.make_table_model(chain, tokenizer, [0.5, 0.2, 0.0])
        logits = model(torch.tensor([tokenizer("s0-1 s1-3 s2-0 s3-2")["input_ids"]])).logits[0]
    probabilities = logits.softmax(-1)
    for step, delta in enumerate([0.5, 0.2, 0.0]):
        state = [1, 3, 0][step]
        found = probabilities[step, tokenizer.convert_tokens_to_ids([f"s{step + 1}-{each}" for each in range(4)])]
        expected = [(1 - delta) / 4 + delta * (each == state) for each in range(4)]
        assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert probabilities[3, tokenizer.eos_token_id] == pytest.approx(1)
    assert [name for name, each in model.named_parameters() if each.requires_grad] == ["lm_head.weight"]


def test_what_is_measured():
    samples = [
        make_sample(prompt="s0-1", completion="s1-1 s2-1", kept=True),
        make_sample(prompt="s0-1", completion="s1-3 s2-1", kept=True),
        make_sample(prompt="s0-2", completion="s1-2 s2-0", kept=False),
        make_sample(prompt="s0-2", completion="s2-2", kept=True),  # no chain, though its answer is right
    ]
    assert rl_star.measure(samples, Chain(num_states=4, num_steps=2)) == {
        "accuracy": 3 / 4,
        "deltas": pytest.approx([(4 * 2 / 3 - 1) / 3, (4 * 1 / 3 - 1) / 3]),
        "right_chains": 1 / 3,
    }


FEW_STEPS = {"initial_steps": 20, "per_device_train_batch_size": 128, "learning_rate": 0.1}


def test_a_small_run(tmp_path):
    chain = Chain(num_states=4)
    setting = Setting(deltas=[0.6] * 3, num_iterations=2)
    rows = rl_star.run(setting, chain, num_generations=64, seed=0, **FEW_STEPS)
    predicted = rl_star.predict(setting.deltas, 2, 4)
    assert predicted[0]["accuracy"] == pytest.approx((1 + 3 * 0.6**3) / 4)
    for row, theory in zip(rows, predicted, strict=True):
        assert row["accuracy"] == pytest.approx(theory["accuracy"], abs=0.12)
    assert rows[0]["accuracy"] < rows[1]["accuracy"] < rows[2]["accuracy"]


def test_the_transformer_writes_chains():
    chain = Chain(num_states=4)
    tokenizer = rl_star.make_tokenizer(chain)
    torch.manual_seed(0)
    model = rl_star.make_transformer(chain, tokenizer, [1.0] * 3, steps=60, batch_size=16)
    ids = torch.tensor([tokenizer("s0-2")["input_ids"]])
    assert tokenizer.decode(model.generate(ids, max_new_tokens=4, do_sample=False)[0]) == "s0-2 s1-2 s2-2 s3-2 <eos>"
