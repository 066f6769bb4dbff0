# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Training sequences are made in batches of samples."""

import pytest
from trl import SFTConfig, SFTTrainer

from star_trl import STaRTrainer
from star_trl.fine_tuning import sequences
from star_trl.fine_tuning.inner_trainer import InnerTrainer
from star_trl.fine_tuning.sequences import training_prompts, training_sequences
from support.sums import EXAMPLES, solve_easy_and_hinted


def test_batches_do_not_change_them(make_trainer, monkeypatch):
    trainer = make_trainer(solve_easy_and_hinted, distillation="forward_kl", sample_weighting="uniform")
    selected, _ = trainer.choose(trainer.sample(1), 1)
    assert len(selected) > 2
    weights = [0.5 * number for number, _ in enumerate(selected)]
    references = [[-0.25 * number] * len(sample.completion_ids) for number, sample in enumerate(selected)]
    arguments = selected, trainer.task, trainer.args, weights, references
    whole = training_sequences(*arguments)
    monkeypatch.setattr(sequences, "BATCH_SIZE", 2)
    batches = training_sequences(*arguments)
    assert batches.features == whole.features
    assert repr(list(batches)) == repr(list(whole))  # NaN is not equal to itself


@pytest.mark.parametrize("distillation", [None, "forward_kl"])
def test_rows_hold_once_what_their_prompts_begin_with(make_trainer, distillation):
    """They are those of whole rows when they are read, also one column of them, and in batches."""
    trainer = make_trainer(
        solve_easy_and_hinted,
        few_shot_examples=EXAMPLES * 5,
        distillation=distillation,
        sample_weighting="uniform",
        gradient_accumulation_steps=2,
    )
    selected, _ = trainer.choose(trainer.sample(1), 1)
    weights = [0.5] * len(selected)
    references = [[-0.25] * len(sample.completion_ids) for sample in selected]
    shared = training_sequences(selected, trainer.task, trainer.args, weights, references)
    trainer.args.packing = True
    whole = training_sequences(selected, trainer.task, trainer.args, weights, references)
    trainer.args.packing = False
    assert shared.data.nbytes < whole.data.nbytes / 2
    for name in set(whole.column_names) - {"loss_weights"}:
        assert repr(list(shared[name])) == repr(list(whole[name]))
    for row, labels in zip(shared["loss_weights"], whole["labels"], strict=True):
        assert len(row) == len(labels)
        assert all(weight == 0.5 for weight, label in zip(row, labels, strict=True) if label != -100)
    assert shared[0].keys() == whole[0].keys()

    batches = []
    for rows in (shared, whole):
        trainer.train_dataset = trainer.prepare_sequences(rows, trainer.args, takes_trees=True)
        loaded = list(trainer.get_train_dataloader())
        batches.append([(batch["input_ids"].tolist(), batch["labels"].tolist()) for batch in loaded])
    assert batches[0] == batches[1] and len(batches[0]) > 1


def test_prompts_may_go_on_as_they_begin(make_trainer):
    """Both examples are the same, so a row without the first one could be taken for a whole one."""
    trainer = make_trainer(solve_easy_and_hinted, few_shot_examples=EXAMPLES[:1] * 2)
    selected, _ = trainer.choose(trainer.sample(1), 1)
    prompts = training_prompts(selected, trainer.task, trainer.args)
    rows = training_sequences(selected, trainer.task, trainer.args)
    expected = [prompt + sample.completion_ids for prompt, sample in zip(prompts, selected, strict=True)]
    assert [row["input_ids"] for row in rows] == expected


def test_rows_that_were_read_before_stay_as_they_are(make_trainer):
    """A subclass may map over the rows, or shuffle and flatten them."""
    trainer = make_trainer(solve_easy_and_hinted, few_shot_examples=EXAMPLES * 5, sample_weighting="uniform")
    selected, _ = trainer.choose(trainer.sample(1), 1)
    rows = training_sequences(selected, trainer.task, trainer.args, [0.5] * len(selected))
    assert "beginning" in rows.column_names
    mapped = rows.map(lambda row: dict(row), batched=True).flatten_indices()
    assert list(mapped) == list(rows)
    with pytest.raises(ValueError, match="`input_ids` without `beginning`.*Keep the column"):
        rows.select_columns(["input_ids", "labels"])[0]


def test_an_inner_trainer_of_a_user_gets_whole_rows(make_trainer, monkeypatch):
    class OwnInnerTrainer(InnerTrainer, SFTTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            batches.append(inputs["input_ids"])
            return super().compute_loss(model, inputs, *args, **kwargs)

    def inner_trainer(self, train_dataset, args):
        settings = SFTConfig(
            args.output_dir, max_steps=2, per_device_train_batch_size=2, max_length=None, use_cpu=True, bf16=False
        )
        return OwnInnerTrainer(self.model, settings, train_dataset=train_dataset, processing_class=tokenizer)

    batches: list = []
    trainer = make_trainer(solve_easy_and_hinted, few_shot_examples=EXAMPLES * 5, num_iterations=1)
    tokenizer = trainer.processing_class
    monkeypatch.setattr(STaRTrainer, "inner_trainer", inner_trainer)
    trainer.train()
    examples = trainer.task.prompt_builder.render({"prompt": ""}, "prompt", few_shot=True).strip()
    texts = [text for batch in batches for text in tokenizer.batch_decode(batch)]
    assert len(batches) == 2 and all(text.startswith(examples) for text in texts)


def test_the_longest_of_all_batches_is_named(make_trainer, monkeypatch):
    trainer = make_trainer(solve_easy_and_hinted)
    selected, _ = trainer.choose(trainer.sample(1), 1)
    longest = max(map(len, training_sequences(selected, trainer.task, trainer.args)["input_ids"]))
    monkeypatch.setattr(sequences, "BATCH_SIZE", 1)
    trainer.args.max_length = 1
    with pytest.raises(ValueError, match=f"A training sequence has {longest} tokens, more than `max_length=1`"):
        training_sequences(selected, trainer.task, trainer.args)
