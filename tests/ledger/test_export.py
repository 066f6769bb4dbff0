# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The ledger as SFT data, preference pairs and verifier data, and TRL's trainers on them."""

import json
from collections import Counter

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from star_trl import (
    RationaleSampler,
    RationalizationSampler,
    load_ledger,
    preference_dataset,
    sft_dataset,
    verifier_dataset,
)
from star_trl.ledger import Ledger
from star_trl.rewards import exact_match_reward
from support.samples import make_sample
from support.sums import EXAMPLES, PROBLEMS, last_question
from support.tiny_models import build_chat_tokenizer, build_model


# What the script draws for a problem, by turns.
TEXTS = {
    "1+2": [" Up.\n3", " One, two.\n3", " Up.\n4", " Down.\n0", " Up.\n3", " So many words" * 3, " boom"],
    "2+3": [" Up.\n4"],
    "4+5": [" Up.\n9"],
    "7+1": [" Up.\n9", " Up.\n7"],
    "7+1 hinted": [" It is 8.\n8"],
}


def in_turns():
    """A script that draws from `TEXTS`, with a stop string at the end of every other completion."""
    drawn = Counter()

    def answer(prompt):
        problem, _, hint = last_question(prompt).partition("?")
        name = f"{problem} hinted" if "(" in hint and problem == "7+1" else problem
        drawn[name] += 1
        text = TEXTS[name][drawn[name] % len(TEXTS[name])]
        return text + "\n\n" if drawn[name] % 2 else text

    return answer


def reward(completions, answer, **kwargs):
    texts = [text if isinstance(text, str) else text[0]["content"] for text in completions]
    if any("boom" in text for text in texts):
        raise RuntimeError("boom")
    return exact_match_reward(completions=texts, answer=answer, **kwargs)


@pytest.fixture(params=["text", "messages"])
def run(request, make_trainer):
    """The output directory of a run of two iterations, and whether its prompts are messages."""
    conversational = request.param == "messages"
    rows = [dict(row) for row in PROBLEMS]
    if conversational:
        for row in rows:
            row.update({name: [{"role": "user", "content": row[name]}] for name in ("prompt", "hinted_prompt")})
    script = in_turns()
    trainer = make_trainer(
        lambda prompt: script(prompt.replace("<eos><assistant>", "")),
        train_dataset=Dataset.from_list(rows),
        few_shot_examples=None if conversational else EXAMPLES,
        samplers=[RationaleSampler(num_generations=7, temperature=1.0), RationalizationSampler(p_show_hint=1.0)],
        reward_funcs=reward,
        reward_retries=0,
        initial_steps=1,
    )
    trainer.train()
    return trainer.args.output_dir, conversational


def as_text(row):
    """A row with the text of its messages, each the only one and of the right role, in their place."""
    row = dict(row)
    for name, value in row.items():
        if isinstance(value, list):
            (message,) = value
            assert message["role"] == ("user" if name == "prompt" else "assistant")
            row[name] = message["content"]
    return row


def test_a_run_as_training_data(run):
    output_dir, conversational = run
    found = load_ledger(output_dir)
    assert set(found["drop_reason"]) == {None, "wrong", "truncated", "error"} and any(found["hint_shown"])

    kept = sft_dataset(output_dir)
    assert kept.column_names == ["prompt", "completion"]
    assert isinstance(kept[0]["prompt"], list) == isinstance(kept[0]["completion"], list) == conversational
    texts = [tuple(as_text(row).values()) for row in kept]
    # Each once, although every iteration draws it again, and a sample trained with the hint behind the plain prompt.
    assert sorted(texts) == [
        ("Q: 1+2?\nA:", " One, two.\n3"),
        ("Q: 1+2?\nA:", " Up.\n3"),
        ("Q: 4+5?\nA:", " Up.\n9"),
        ("Q: 7+1?\nA:", " It is 8.\n8"),
    ]

    pairs = preference_dataset(output_dir)
    assert pairs.column_names == ["prompt", "chosen", "rejected"]
    assert sorted(tuple(as_text(row).values()) for row in pairs) == [
        ("Q: 1+2?\nA:", " One, two.\n3", " Down.\n0"),
        ("Q: 1+2?\nA:", " One, two.\n3", " Up.\n4"),
        ("Q: 1+2?\nA:", " Up.\n3", " Down.\n0"),
        ("Q: 1+2?\nA:", " Up.\n3", " Up.\n4"),
        ("Q: 7+1?\nA:", " It is 8.\n8", " Up.\n7"),
        ("Q: 7+1?\nA:", " It is 8.\n8", " Up.\n9"),
    ]

    judged = verifier_dataset(output_dir)
    assert judged.column_names == ["prompt", "completion", "label"]
    assert sorted(tuple(as_text(row).values())[:2] for row in judged if row["label"]) == sorted(texts)
    assert Counter(as_text(row)["prompt"][3:6] for row in judged if not row["label"]) == {"1+2": 2, "2+3": 1, "7+1": 2}
    balanced = verifier_dataset(output_dir, balanced=True)
    counts = Counter((as_text(row)["prompt"][3:6], row["label"]) for row in balanced)
    assert counts == {("1+2", True): 2, ("1+2", False): 2, ("7+1", True): 1, ("7+1", False): 1}


def test_conversations_stay_messages(tmp_path):
    prompt = [{"role": "user", "content": "2 * 3?"}]

    def turns(result, **arguments):
        called = {"type": "function", "function": {"name": "multiply", "arguments": arguments}}
        return [
            {"role": "assistant", "tool_calls": [called]},
            {"role": "tool", "name": "multiply", "content": result},
            {"role": "assistant", "content": "6"},
        ]

    written = [turns("6", a=2, b=3), turns([6], a="2", factors=[3]), turns("5 \ud800", a=None)]
    fields = {"prompt": json.dumps(prompt), "completion": "flat"}
    Ledger(tmp_path).append(
        [
            make_sample(sample_index=index, kept=index < 2, extra={"messages": messages}, **fields)
            for index, messages in enumerate(written)
        ]
    )
    kept = sft_dataset(tmp_path)
    expected = turns("6", a=2, b=3)
    expected[0]["content"] = ""
    assert kept[0] == {"prompt": prompt, "completion": expected}
    assert kept[1]["completion"][0]["tool_calls"][0]["function"]["arguments"] == {"a": "2", "factors": [3]}
    assert kept[1]["completion"][1]["content"] == "[6]"  # as the model saw it
    assert [pair["rejected"][1]["content"] for pair in preference_dataset(tmp_path)] == ["5 ?"] * 2
    assert verifier_dataset(tmp_path)["label"] == [True, True, False]
    tokenizer = build_chat_tokenizer()
    args = SFTConfig(str(tmp_path / "sft"), report_to="none", max_length=None, use_cpu=True)
    row = SFTTrainer(build_model(tokenizer), args, train_dataset=kept, processing_class=tokenizer).train_dataset[0]
    assert '"arguments": {"a": 2, "b": 3}' in tokenizer.decode(row["input_ids"])


def test_iterations_and_samplers(run):
    output_dir, _ = run
    assert len(sft_dataset(output_dir, samplers=["rationale"])) == 3
    assert [as_text(row)["completion"] for row in sft_dataset(output_dir, samplers=["rationalization"])] == [
        " It is 8.\n8"
    ]
    assert len(preference_dataset(output_dir, iterations=range(1, 2), samplers=["rationale"])) == 4
    with pytest.raises(ValueError, match=r"iterations=\[3\] and .* the iterations \[1, 2\] .*'rationalization'\]"):
        verifier_dataset(output_dir, iterations=[3])


def draws(output_dir, right=4, wrong=5, **changes):
    """A ledger with so many samples of one problem."""
    numbered = [(f"right {n}", True) for n in range(right)] + [(f"wrong {n}", False) for n in range(wrong)]
    Ledger(output_dir).append(
        [
            make_sample(
                **{
                    "sample_index": index,
                    "completion": text,
                    "kept": kept,
                    "drop_reason": None if kept else "wrong",
                    **changes,
                }
            )
            for index, (text, kept) in enumerate(numbered)
        ]
    )
    return output_dir


def test_pairs_are_capped_and_drawn_by_the_seed(tmp_path):
    output_dir = draws(draws(tmp_path), problem_id=1, prompt="Q2")
    every = preference_dataset(output_dir, max_pairs_per_problem=None)
    assert len(every) == 40 and len({tuple(row.values()) for row in every}) == 40
    some = preference_dataset(output_dir, max_pairs_per_problem=3)
    assert Counter(some["prompt"]) == {"Q": 3, "Q2": 3} and len({tuple(row.values()) for row in some}) == 6
    assert some.to_list() == preference_dataset(output_dir, max_pairs_per_problem=3).to_list()
    assert some.to_list() != preference_dataset(output_dir, max_pairs_per_problem=3, seed=1).to_list()
    # What a problem gets does not depend on the others.
    alone = preference_dataset(draws(tmp_path / "alone", problem_id=1, prompt="Q2"), max_pairs_per_problem=3)
    assert alone.to_list() == [row for row in some if row["prompt"] == "Q2"]
    with pytest.raises(ValueError, match="must be positive or None, got 0"):
        preference_dataset(output_dir, max_pairs_per_problem=0)


def test_what_was_judged_both_ways_is_left_out(tmp_path):
    """And so are duplicates of a problem under another index."""
    draws(tmp_path, right=2, wrong=1)
    draws(tmp_path, right=1, wrong=1, problem_id=1)
    Ledger(tmp_path).append([make_sample(iteration=2, completion="right 0", kept=False, drop_reason="wrong")])
    assert sft_dataset(tmp_path).to_list() == [{"prompt": "Q", "completion": "right 1"}]
    assert preference_dataset(tmp_path).to_list() == [{"prompt": "Q", "chosen": "right 1", "rejected": "wrong 0"}]
    assert verifier_dataset(tmp_path)["label"][:] == [True, False]


@pytest.mark.parametrize("prompt", ["[]", "[1, 2]", '[{"a": 1}]', '[{"a'])
def test_text_that_looks_like_json_stays_text(tmp_path, prompt):
    row = {"prompt": prompt, "completion": "right 0"}
    assert sft_dataset(draws(tmp_path, right=1, wrong=0, prompt=prompt)).to_list() == [row]


def test_nothing_to_export(tmp_path):
    for export in (sft_dataset, preference_dataset, verifier_dataset):
        with pytest.raises(FileNotFoundError, match="No samples under"):
            export(tmp_path)
    draws(tmp_path, right=0, wrong=2)
    Ledger(tmp_path).append([make_sample(iteration=2, kept=False, drop_reason="truncated")])
    with pytest.raises(ValueError, match="No sample was kept: there are 1 truncated, 2 wrong. .*`num_generations`"):
        sft_dataset(tmp_path)
    with pytest.raises(ValueError, match="No problem has both a right and a wrong sample: there are"):
        preference_dataset(tmp_path)
    with pytest.raises(ValueError, match="No problem has both a right and a wrong sample: there are"):
        verifier_dataset(tmp_path, balanced=True)
    with pytest.raises(ValueError, match="No sample is right or wrong: there are 1 truncated"):
        verifier_dataset(tmp_path, iterations=[2])


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "reward"])
def test_trl_trains_on_it_unchanged(run, method, model, tokenizer, tmp_path):
    output_dir, _ = run
    trainer_class, config_class, export = {
        "sft": (SFTTrainer, SFTConfig, sft_dataset),
        "dpo": (DPOTrainer, DPOConfig, preference_dataset),
        "kto": (KTOTrainer, KTOConfig, verifier_dataset),
        "reward": (RewardTrainer, RewardConfig, preference_dataset),
    }[method]
    model.save_pretrained(tmp_path / "model")
    trainer = trainer_class(
        model=str(tmp_path / "model"),
        args=config_class(
            output_dir=str(tmp_path / method),
            max_steps=1,
            learning_rate=1e-2,
            per_device_train_batch_size=4,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
        ),
        train_dataset=export(output_dir),
        processing_class=tokenizer,
    )
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    assert any(not torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_a_given_sampler_draws_with_its_own_settings(make_trainer, problems):
    trainer = make_trainer(in_turns())
    sampler = RationaleSampler(num_generations=3, temperature=0.7)
    params = []
    generate = trainer.engine.generate
    trainer.engine.generate = lambda model, requests, given: params.append(given) or generate(model, requests, given)
    samples = trainer.sample_problems(problems, sampler=sampler)
    assert [(s.problem_id, s.sample_index) for s in samples] == [
        (problem, n) for problem in range(4) for n in range(3)
    ]
    assert params[0].temperature == 0.7 and not any("(" in prompt for prompt in trainer.engine.prompts)
    with pytest.raises(ValueError, match="draws 3 completions per problem at temperature 0"):
        trainer.sample_problems(problems, sampler=RationaleSampler(num_generations=3))
    with pytest.raises(ValueError, match="no column `hinted_prompt`"):
        trainer.sample_problems(problems.remove_columns("hinted_prompt"), sampler=RationalizationSampler())


def test_characters_that_utf_8_does_not_have_are_escaped(tmp_path):
    Ledger(tmp_path).append([make_sample(completion="caf\udce9")])
    assert sft_dataset(tmp_path)[0]["completion"] == "caf\\udce9"
    assert load_ledger(tmp_path)[0]["completion"] == "caf\\udce9"
