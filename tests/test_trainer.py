# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The outer loop: what is sampled, selected and trained on, and from which weights."""

import json
import re
from copy import deepcopy

import pytest
import torch
from datasets import Dataset, IterableDataset
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback

from star_trl import RationaleSampler, RationalizationSampler, load_ledger
from star_trl.fine_tuning.sample_weights import sample_weights
from star_trl.ledger import Ledger
from star_trl.ledger.selection import select_samples
from star_trl.run.state import CannotResume
from support.scripted_engine import ScriptedEngine
from support.sums import EXAMPLES, PROBLEMS, last_question, solve_easy_and_hinted
from support.tiny_models import build_model, build_tokenizer


def always_right(prompt):
    a, b = last_question(prompt).split("?")[0].split("+")
    return f" {a} and {b}.\n{int(a) + int(b)}"


def record_batches(trainer):
    """Every batch that the inner loop trains on."""
    batches, training_step = [], trainer.training_step

    def record(model, inputs, *args, **kwargs):
        batches.append({name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)})
        return training_step(model, inputs, *args, **kwargs)

    trainer.training_step = record
    return batches


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def record_starts(trainer):
    """The weights and the optimizer's state before the first step of every inner loop."""
    starts, training_step = [], trainer.training_step

    def record(*args, **kwargs):
        if trainer.state.global_step == 0:
            starts.append((weights(trainer.model), len(trainer.optimizer.state_dict()["state"])))
        return training_step(*args, **kwargs)

    trainer.training_step = record
    return starts


def test_selection_is_the_papers(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1)
    trainer.train()
    samples = trainer.ledger.read(1)
    # D_1: y_i = y_i*. D_1^rat: y_i != y_i* and y_i' = y_i*.
    selected = {(sample.problem_id, sample.sampler) for sample in trainer.select(1)}
    assert selected == {(0, "rationale"), (1, "rationale"), (2, "rationalization")}
    proposed = {(sample.problem_id, sample.sampler) for sample in samples}
    assert proposed == {(i, "rationale") for i in range(4)} | {(2, "rationalization"), (3, "rationalization")}


@pytest.mark.parametrize("few_shot_train", [True, False])
def test_the_hint_is_in_no_training_sequence(make_trainer, tokenizer, few_shot_train):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, few_shot_train=few_shot_train)
    batches = record_batches(trainer)
    trainer.train()
    assert any("(9)" in prompt for prompt in trainer.engine.prompts)  # the model was shown it
    texts = [tokenizer.decode(row) for batch in batches for row in batch["input_ids"]]
    assert any("4+5?" in text for text in texts)
    assert not any("(9)" in text or "(2)" in text for text in texts)
    assert all(("Q: 1+1?\nA: One more than 1.\n2\n\nQ: " in text) == few_shot_train for text in texts)


def test_p_show_hint_leaves_the_hint_in_and_marks_the_sample(make_trainer, tokenizer):
    samplers = [RationaleSampler(), RationalizationSampler(p_show_hint=1.0)]
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, samplers=samplers)
    batches = record_batches(trainer)
    trainer.train()
    texts = [tokenizer.decode(row) for batch in batches for row in batch["input_ids"]]
    assert all("Q: 1+1? (2)\nA:" in text for text in texts if "4+5? (9)" in text)
    assert any("4+5? (9)" in text for text in texts)
    shown = {sample.problem_id: sample.hint_shown for sample in trainer.ledger.read(1) if sample.kept}
    assert shown == {0: False, 1: False, 2: True}


def test_the_hint_that_is_left_in_is_the_samplers_own(make_trainer, tokenizer, problems):
    class Strong(RationalizationSampler):
        prompt_column = "strong_hint"

    def strengthen(row):
        return {"strong_hint": row["hinted_prompt"].replace(" (", " (surely ")}

    examples = [strengthen(example) | example for example in EXAMPLES]
    trainer = make_trainer(
        lambda prompt: f" Yes.\n{'9' if '4+5? (surely 9)' in prompt else '0'}",
        num_iterations=1,
        samplers=[RationaleSampler(), Strong(p_show_hint=1.0)],
        train_dataset=problems.map(strengthen),
        few_shot_examples=examples,
    )
    batches = record_batches(trainer)
    trainer.train()
    texts = [tokenizer.decode(row) for batch in batches for row in batch["input_ids"]]
    assert texts and all("Q: 1+1? (surely 2)\nA:" in text and "4+5? (surely 9)" in text for text in texts)


def test_p_show_hint_is_a_share(make_trainer):
    problems = Dataset.from_list(
        [
            {"prompt": f"Q: {i}+0?\nA:", "hinted_prompt": f"Q: {i}+0? ({i})\nA:", "answer": str(i)}
            for i in range(100, 400)
        ]
    )
    samplers = [RationaleSampler(), RationalizationSampler(p=0.5, p_show_hint=0.25)]
    trainer = make_trainer(lambda prompt: " No.\n0", samplers=samplers, train_dataset=problems)
    rationalized = [sample for sample in trainer.sample(1) if sample.sampler == "rationalization"]
    assert len(rationalized) == pytest.approx(150, abs=30)
    assert sum(sample.hint_shown for sample in rationalized) == pytest.approx(37, abs=17)


@pytest.mark.parametrize("peft_config", [None, LoraConfig(r=2, target_modules=["q_proj", "v_proj"])])
def test_each_iteration_starts_from_the_original_weights(make_trainer, peft_config):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=3, peft_config=peft_config)
    original, starts = weights(trainer.model), record_starts(trainer)
    trainer.train()
    assert len(starts) == 3
    for start, optimizer_entries in starts:
        assert optimizer_entries == 0
        assert start.keys() == original.keys()
        assert all(torch.equal(start[name], original[name]) for name in original)
    trainable = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    end = weights(trainer.model)
    assert {name for name in end if not torch.equal(end[name], original[name])} == trainable


def test_without_reset_training_continues(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=2, reset_model=False)
    starts = record_starts(trainer)
    trainer.train()
    (first, _), (second, optimizer_entries) = starts
    assert optimizer_entries == 0
    assert all(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precisions", [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("peft_config", [None, LoraConfig(r=2, target_modules=["q_proj", "v_proj"])])
def test_every_iteration_of_every_trainer_computes_in_its_own_precision(
    make_trainer, model, tmp_path, precisions, peft_config
):
    """A model that a trainer has trained is marked as prepared and keeps the precision of that trainer."""
    in_bf16 = []
    model.model.register_forward_pre_hook(lambda *_: in_bf16.append(torch.is_autocast_enabled("cpu")))
    for number, bf16 in enumerate(precisions):
        in_bf16.clear()
        settings = {"bf16": bf16, "shared_prefix_train": False, "output_dir": str(tmp_path / str(number))}
        trainer = make_trainer(solve_easy_and_hinted, model=model, peft_config=peft_config, **settings)
        trainer.train()
        trained = list(in_bf16)
        trainer.model(input_ids=torch.tensor([[1, 2, 3]]))
        assert (set(trained), len(trained), in_bf16[-1]) == ({bf16}, trainer.state.global_step, bf16)
        model, peft_config = trainer.model, None


def test_an_adapter_on_a_trained_model_computes_in_its_own_precision(make_trainer, model, tmp_path):
    make_trainer(solve_easy_and_hinted, model=model, bf16=False, output_dir=str(tmp_path / "1")).train()
    model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    trainer = make_trainer(solve_easy_and_hinted, model=model, bf16=True, output_dir=str(tmp_path / "2"))
    in_bf16 = []
    trainer.model.base_model.model.model.register_forward_pre_hook(
        lambda *_: in_bf16.append(torch.is_autocast_enabled("cpu"))
    )
    trainer.train()
    assert in_bf16 and all(in_bf16)


def test_training_again_starts_over(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, overwrite_output_dir=True)
    trainer.train()
    first = weights(trainer.model)
    trainer.train()
    assert all(torch.equal(value, first[name]) for name, value in weights(trainer.model).items())
    assert trainer.state.global_step == 3


def test_a_run_is_a_function_of_its_seed(make_trainer, model, tmp_path):
    """With sampling, dropout-free training and a model whose samples are kept whatever they are."""
    original = weights(model)

    def run(name, seed):
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                parameter.copy_(original[key])
        trainer = make_trainer(
            output_dir=str(tmp_path / name),
            seed=seed,
            temperature=1.0,
            num_generations=2,
            reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
            max_completion_length=200,
            few_shot_examples=None,
        )
        trainer.train()
        texts = [sample.completion for iteration in (1, 2) for sample in trainer.ledger.read(iteration)]
        return texts, weights(trainer.model)

    first, again, other = run("a", 1), run("b", 1), run("c", 2)
    assert first[0] == again[0]
    assert all(torch.equal(first[1][name], again[1][name]) for name in original)
    assert first[0] != other[0]


# tests/fine_tuning/test_prefix_tree.py compares trees of sequences with these.
def test_trained_on_the_very_ids_that_were_sampled(make_trainer, tokenizer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, shared_prefix_train=False)
    batches = record_batches(trainer)
    trainer.train()
    sampled = {tuple(sample.completion_ids) for sample in trainer.ledger.read(1) if sample.kept}
    trained = {tuple(row[row != -100].tolist()) for batch in batches for row in batch["labels"]}
    assert trained <= sampled


@pytest.mark.parametrize("packing", [False, True])
def test_labels_are_on_the_completion_only(make_trainer, tokenizer, packing):
    trainer = make_trainer(
        solve_easy_and_hinted, num_iterations=1, shared_prefix_train=False, packing=packing, max_length=256
    )
    batches = record_batches(trainer)
    trainer.train()
    seen = set()
    for batch in batches:
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            trained = labels != -100
            assert torch.equal(labels[trained], ids[trained])
            seen |= set(tokenizer.decode(ids[trained]).split("<eos>"))
            # What is not trained on, padding aside, is prompts and the space that starts a packed sequence's rest.
            assert "Let me count" not in tokenizer.decode(ids[~trained])
    assert seen == {" Let me count.\n3", " Let me count.\n5", " Let me count.\n9", ""}


def test_packing_puts_several_samples_into_one_row(make_trainer):
    packed = {"packing": True, "max_length": 256, "shared_prefix_train": False}
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, initial_steps=1, **packed)
    batches = record_batches(trainer)
    trainer.train()
    assert len(batches) == 1
    assert (batches[0]["position_ids"] == 0).sum() > 1


def test_a_stop_string_ends_with_eos_in_training(make_trainer, tokenizer):
    trainer = make_trainer(lambda prompt: solve_easy_and_hinted(prompt) + "\n\nQ: 9+9?", num_iterations=1)
    trainer.train()
    sample = next(sample for sample in trainer.ledger.read(1) if sample.kept)
    assert sample.finish_reason == "stop"
    assert tokenizer.decode(sample.completion_ids) == " Let me count.\n3<eos>"
    assert sample.completion == " Let me count.\n3"


@pytest.mark.parametrize("masked", [True, False])
def test_a_truncated_completion_is_kept_only_on_request_and_if_it_is_right(make_trainer, masked):
    def answer(prompt):
        return solve_easy_and_hinted(prompt) + (" " * 40 if "+2" in prompt or "4+5?\n" in prompt else "")

    trainer = make_trainer(answer, num_iterations=1, mask_truncated_completions=masked, samplers=[RationaleSampler()])
    trainer.train()
    samples = trainer.ledger.read(1)
    assert [sample.finish_reason for sample in samples] == ["length", "eos", "length", "eos"]
    reasons = ["truncated", None, "truncated", "wrong"] if masked else [None, None, "wrong", "wrong"]
    assert [sample.drop_reason for sample in samples] == reasons and samples[0].reward == 1.0
    assert trainer.outer_run.history[-1]["samples/selected"] == (1 if masked else 2)


def test_chat_prompts(make_trainer, tokenizer):
    def chat(row):
        system = {"role": "system", "content": "Add."}
        return {
            "prompt": [system, {"role": "user", "content": row["prompt"]}],
            "hinted_prompt": [system, {"role": "user", "content": row["hinted_prompt"]}],
            "answer": row["answer"],
        }

    examples = [{**chat({**EXAMPLES[0], "answer": "2"}), "completion": EXAMPLES[0]["completion"]}]
    trainer = make_trainer(
        lambda prompt: solve_easy_and_hinted(prompt.replace("<eos><assistant>", "")),
        train_dataset=Dataset.from_list([chat(row) for row in PROBLEMS]),
        few_shot_examples=examples,
        num_iterations=1,
        stop_strings=None,
    )
    batches = record_batches(trainer)
    trainer.train()
    assert trainer.engine.prompts[0].startswith(
        "<system>Add.<eos><user>Q: 1+1?\nA:<eos><assistant> One more than 1.\n2<eos><user>Q: "
    )
    kept = {(sample.problem_id, sample.sampler) for sample in trainer.ledger.read(1) if sample.kept}
    assert kept == {(0, "rationale"), (1, "rationale"), (2, "rationalization")}
    texts = [tokenizer.decode(row) for batch in batches for row in batch["input_ids"]]
    assert not any("(9)" in text for text in texts)
    assert json.loads(trainer.ledger.read(1)[0].prompt)[0] == {"role": "system", "content": "Add."}


def test_few_shot_iterations(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=2, few_shot_iterations=1)
    trainer.sample(1)
    assert all("1+1" in prompt for prompt in trainer.engine.prompts)
    trainer.engine.prompts.clear()
    trainer.sample(2)
    assert not any("1+1" in prompt for prompt in trainer.engine.prompts)


def test_few_shot_examples_may_depend_on_the_problem(make_trainer):
    def examples(problem):
        return [{**EXAMPLES[0], "completion": f" For the {problem['kind']} ones.\n2"}]

    trainer = make_trainer(solve_easy_and_hinted, few_shot_examples=examples)
    trainer.sample(1)
    assert any("For the easy ones.\n2\n\nQ: 1+2?" in prompt for prompt in trainer.engine.prompts)
    assert any("For the hard ones.\n2\n\nQ: 7+1?" in prompt for prompt in trainer.engine.prompts)


def test_problems_that_are_few_shot_examples_are_not_sampled(make_trainer):
    examples = [{"prompt": "Q: 1+2?\nA:", "hinted_prompt": "Q: 1+2? (3)\nA:", "completion": " Three.\n3"}]
    trainer = make_trainer(solve_easy_and_hinted, few_shot_examples=examples)
    assert {sample.problem_id for sample in trainer.sample(1)} == {1, 2, 3}


def test_without_hints_rationalization_is_left_out(make_trainer, problems):
    plain = [{name: EXAMPLES[0][name] for name in ("prompt", "completion")}]
    without_hints = problems.remove_columns("hinted_prompt")
    trainer = make_trainer(solve_easy_and_hinted, train_dataset=without_hints, few_shot_examples=plain)
    assert [sampler.name for sampler in trainer.task.samplers] == ["rationale"]
    assert {sample.problem_id for sample in trainer.sample(1) if sample.kept} == {0, 1}


def test_num_problems_per_iteration(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_problems_per_iteration=2)
    drawn = [{sample.problem_id for sample in trainer.sample(iteration)} for iteration in range(1, 6)]
    assert all(len(problems) == 2 for problems in drawn)
    assert len({tuple(problems) for problems in drawn}) > 1


def test_each_iteration_takes_the_next_problems_of_a_stream(make_trainer, problems):
    read = []

    def stream():
        for row in PROBLEMS[:3]:
            read.append(row["prompt"])
            yield row

    def make(num_iterations, **changes):
        return make_trainer(
            solve_easy_and_hinted,
            model=build_model(build_tokenizer()),
            train_dataset=IterableDataset.from_generator(stream),
            eval_dataset={"next": IterableDataset.from_generator(stream), "all": problems},
            num_problems_per_iteration=2,
            num_iterations=num_iterations,
            initial_steps=1,
            **changes,
        )

    trainer = make(1)
    assert read == [row["prompt"] for row in PROBLEMS[:2]] * 2  # not more than the run needs
    trainer.train()
    trainer = make(3)
    trainer.train(resume_from_checkpoint=True)
    samples = {number: trainer.ledger.read(number) for number in (1, 2, 3)}
    assert [{sample.problem_id for sample in samples[number]} for number in samples] == [{0, 1}, {2, 0}, {1, 2}]
    for sample in [each for found in samples.values() for each in found]:
        assert sample.prompt == PROBLEMS[sample.problem_id]["prompt"]
    for name, count in (("eval_next", 2), ("eval_all", 4)):
        assert len({sample.problem_id for sample in Ledger(trainer.args.output_dir, name=name).read(1)}) == count
    assert trainer.evaluate(IterableDataset.from_generator(stream))["eval_accuracy"] == 1.0


@pytest.mark.parametrize("changed", [[0, 1, 3, 2], [0, 1], [0, 1, 2]])
def test_a_resumed_run_refuses_another_stream(make_trainer, changed):
    def make(rows):
        return make_trainer(
            solve_easy_and_hinted,
            model=build_model(build_tokenizer()),
            train_dataset=Dataset.from_list([PROBLEMS[row] for row in rows]).to_iterable_dataset(),
            num_problems_per_iteration=2,
            num_iterations=2,
            initial_steps=1,
        )

    make([0, 1, 2, 3]).train()
    with pytest.raises(CannotResume, match="the stream `train_dataset` has other problems for iteration 2"):
        make(changed).train(resume_from_checkpoint=True)


def test_several_generations_duplicates_and_cap(make_trainer):
    counts = {}

    def answer(prompt):
        question = last_question(prompt)
        counts[question] = counts.get(question, 0) + 1
        return f" Way {counts[question] // 2}.\n{always_right(prompt).splitlines()[-1]}"

    trainer = make_trainer(
        answer, samplers=[RationaleSampler(num_generations=6, temperature=1.0)], max_samples_per_problem=2
    )
    assert len(trainer.sample(1)) == 24
    selected = trainer.select(1)
    # Six samples of four different texts each (ways 0, 1, 1, 2, 2 and 3), of which two are trained on.
    assert [sample.problem_id for sample in selected] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({(sample.problem_id, sample.completion) for sample in selected}) == 8
    _, dropped = select_samples(trainer.ledger.read(1), max_samples_per_problem=2)
    assert dropped["duplicate"] + dropped["cap"] == 24 - 8 and dropped["duplicate"] > 0 and dropped["cap"] > 0


def test_sample_iterations_pools_the_last_ones(make_trainer):
    iteration = 0

    def answer(prompt):
        return f" Take {iteration}.\n{always_right(prompt).splitlines()[-1]}"

    trainer = make_trainer(answer, sample_iterations=2)
    for iteration in (1, 2, 3):
        trainer.sample(iteration)
    assert {sample.iteration for sample in trainer.select(3)} == {2, 3}
    assert len(trainer.select(3)) == 8


def test_a_completion_that_was_cut_has_no_advantage(make_trainer):
    """Though its text ends with the right answer where it was cut."""
    trainer = make_trainer(
        lambda prompt: next(answers),
        samplers=[RationaleSampler(num_generations=2, temperature=1.0)],
        train_dataset=Dataset.from_list(PROBLEMS[:1]),
        sample_weighting="advantage",
        max_completion_length=32,
    )
    answers = iter([f" {'x' * 29}\n33", " No.\n0"])
    samples = trainer.sample(1)
    assert [(sample.finish_reason, sample.reward) for sample in samples] == [("eos", 0.0), ("length", 1.0)]
    assert sample_weights(trainer.select(1), samples, trainer.args, policy_logprobs=None)[0] == [0.0, 0.0]


def test_advantages_add_up_to_zero_over_the_draws_of_a_problem(make_trainer):
    """Six equal right ones and two equal wrong ones: each counts as often as it was drawn."""
    trainer = make_trainer(
        lambda prompt: next(answers),
        samplers=[RationaleSampler(num_generations=8, temperature=1.0)],
        train_dataset=Dataset.from_list(PROBLEMS[:1]),
        sample_weighting="advantage",
    )
    answers = iter([*[" Sum.\n3"] * 6, *[" No.\n0"] * 2])
    samples = trainer.sample(1)
    weights, _ = sample_weights(trainer.select(1), samples, trainer.args, policy_logprobs=None)
    assert sorted(weights) == pytest.approx([*[-6 / 7] * 2, *[2 / 7] * 6])
    assert sum(weights) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"sample_weighting": "uniform"}, 1),
        ({"sample_weighting": "reward"}, 1),
        ({"sample_weighting": "reward", "loss_normalization": "problems"}, 3),
        ({"sample_weighting": "importance"}, 3),
    ],
)
def test_equal_draws_count_where_weights_are_those_of_draws(make_trainer, settings, count):
    trainer = make_trainer(
        lambda prompt: " Sum.\n3",
        samplers=[RationaleSampler(num_generations=3, temperature=1.0)],
        train_dataset=Dataset.from_list(PROBLEMS[:1]),
        **settings,
    )
    trainer.sample(1)
    assert len(trainer.select(1)) == count


def test_the_length_that_an_error_asks_for_is_enough(make_trainer, problems):
    """Where the last token that may be generated holds a full stop and the stop string, and EOS comes behind it."""
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([".\n\n"])

    def make(max_length):
        return make_trainer(
            reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
            few_shot_examples=None,
            train_dataset=problems.remove_columns("hinted_prompt"),
            processing_class=tokenizer,
            model=build_model(tokenizer),
            num_iterations=1,
            max_length=max_length,
        )

    with pytest.raises(ValueError, match="can reach") as error:
        make(32)
    trainer = make(int(re.search(r"Set `max_length=(\d+)`", str(error.value))[1]))
    trainer.engine = ScriptedEngine(tokenizer, lambda prompt: f"{31 * 'x'}.\n\n")
    trainer.train()
    assert {len(sample.completion_ids) for sample in trainer.ledger.read(1)} == {33}


def test_nothing_survives_at_first(make_trainer):
    trainer = make_trainer(lambda prompt: " No idea.\n0")
    with pytest.raises(RuntimeError, match=r"iteration 1 survives the filter: 8 wrong.*No idea"):
        trainer.train()
    assert len(load_ledger(trainer.args.output_dir)) == 8  # nothing computed is lost


def test_nothing_survives_later(make_trainer, model):
    fresh = deepcopy(model)

    def answer(prompt):
        return " No idea.\n0" if trainer.iteration else always_right(prompt)

    trainer = make_trainer(answer, num_iterations=4)
    starts = record_starts(trainer)
    trainer.train()
    assert len(starts) == 1
    assert trainer.ledger.iterations() == [0, 1, 2]
    assert trainer.iteration == 1

    # The same command again finds the run at its end.
    again = make_trainer(answer, num_iterations=5, model=fresh)
    again.train(resume_from_checkpoint=True)
    assert again.iteration == 1 and again.ledger.iterations() == [0, 1, 2]
    assert not again.engine.prompts and all(
        torch.equal(value, trainer.model.state_dict()[name]) for name, value in fresh.state_dict().items()
    )


def test_patience_stops_at_the_plateau(make_trainer, problems):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=9, patience=2, eval_dataset=problems)
    trainer.train()
    assert trainer.ledger.iterations() == [0, 1, 2]


def test_patience_without_an_evaluation_set_watches_the_training_problems(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=9, patience=2)
    trainer.train()
    assert trainer.ledger.iterations() == [0, 1, 2, 3]


def better_twice(trainer):
    """The original model solves one problem, the next one two, later ones three; with a hint all are solved."""

    def answer(prompt):
        problems = [row["prompt"].removeprefix("Q: ") for row in PROBLEMS[: 1 + min(trainer().iteration, 2)]]
        return always_right(prompt) if last_question(prompt) in problems or "(" in prompt.split("Q: ")[-1] else " No."

    return answer


def test_patience_without_an_evaluation_set_waits_for_the_model_that_sampled(make_trainer):
    """Though the share of problems that are trained on stands still from the first iteration on."""
    trainer = make_trainer(better_twice(lambda: trainer), num_iterations=9, patience=1)
    trainer.train()
    assert [row.get("rationale/solved") for row in trainer.outer_run.history] == [None, 0.25, 0.5, 0.75, 0.75]
    assert {row.get("train_data_used") for row in trainer.outer_run.history[1:]} == {1.0}
    assert trainer.outer_run.state.best_iteration == 2
    assert trainer.state.best_global_step == 2 * 3
    assert trainer.state.best_model_checkpoint == str(trainer.outer_run.checkpoint_dir(2))


@pytest.mark.parametrize(
    ("improves", "saves", "left"), [(True, [2, 3], ["iteration-002", "iteration-004"]), (False, [], ["iteration-004"])]
)
def test_the_best_model_without_an_evaluation_set_is_saved(make_trainer, improves, saves, left):
    """Once the next iteration has measured it. The last one, which nothing measures, and resuming needs, stays too."""
    saved = []

    class Watch(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            saved.append(state.epoch)

    answer = better_twice(lambda: trainer) if improves else solve_easy_and_hinted
    trainer = make_trainer(answer, num_iterations=4, save_strategy="best", callbacks=[Watch()])
    trainer.train()
    assert saved == saves
    assert sorted(path.parent.name for path in trainer.ledger.output_dir.glob("*/checkpoint")) == left
    if not improves:  # on the original model, which has no checkpoint
        assert trainer.outer_run.state.best_iteration == 0 and trainer.state.best_model_checkpoint is None


def test_the_model_is_left_as_it_was_found(make_trainer, model):
    trainer = make_trainer(gradient_checkpointing=True, max_completion_length=4, few_shot_examples=None)
    model.train()
    before = (model.config.use_cache, model.is_gradient_checkpointing, model.generation_config.to_dict())
    trainer.sample(1)
    assert model.training
    assert (model.config.use_cache, model.is_gradient_checkpointing, model.generation_config.to_dict()) == before


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        ({}, "PrefixSharingEngine"),
        ({"use_transformers_continuous_batching": True}, "ContinuousBatchingEngine"),
        ({"use_vllm": True, "vllm_mode": "server"}, "VLLMServerEngine"),
    ],
)
def test_the_configuration_chooses_the_engine(make_trainer, monkeypatch, settings, engine):
    monkeypatch.setattr("star_trl.generation.make_engine.is_vllm_available", lambda: True)
    assert type(make_trainer(**settings).engine).__name__ == engine


def test_engines_give_the_same_greedy_samples(make_trainer, tmp_path):
    """Through the whole loop, with a model whose samples are kept whatever they are."""

    def run(name, **settings):
        trainer = make_trainer(
            output_dir=str(tmp_path / name),
            num_iterations=1,
            max_completion_length=16,
            reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
            **settings,
        )
        return [(sample.problem_id, sample.completion_ids) for sample in trainer.sample(1)]

    assert run("prefix") == run("continuous", use_transformers_continuous_batching=True)


MANY = Dataset.from_list([{"prompt": f"Q: {number}+0?\nA:", "answer": "9"} for number in range(10, 50)])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"data_seed": 3},
        {"train_sampling_strategy": "group_by_length"},
        {"train_sampling_strategy": "batch_rebalance"},
        {"train_sampling_strategy": "sequential", "shuffle_dataset": True},
        {"packing": True, "max_length": 80},
    ],
    ids=str,
)
def test_every_iteration_trains_on_other_rows(make_trainer, settings):
    """Though the training set is the same one, and two steps of two rows are far from an epoch."""
    trainer = make_trainer(
        lambda prompt: " The same.\n9",
        samplers=[RationaleSampler()],
        few_shot_examples=None,
        train_dataset=MANY,
        reset_model=False,
        num_iterations=4,
        initial_steps=2,
        **settings,
    )
    batches = record_batches(trainer)
    trainer.train()
    rows = [tuple(row) for batch in batches for row in batch["input_ids"].tolist()]
    assert len(batches) == 8 and len(set(rows)) > 0.5 * len(rows)  # and not a quarter
