# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Training on prefix trees against training on separate sequences."""

from functools import cache

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AttentionInterface, BloomConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import add_fused_lm_head

from star_trl.fine_tuning import tree_attention
from star_trl.fine_tuning.collators import LOSS_WEIGHTS, TREE_ENDS, TreeCollator, WeightedCollator
from star_trl.fine_tuning.logprobs import sequence_logprobs
from star_trl.fine_tuning.prefix_tree import TreeModel, why_no_trees
from star_trl.fine_tuning.tree_attention import Part, parts_of_trees
from support.families import BEYOND, CONFIGS
from support.generation_models import IDS, make_model
from support.samples import make_sample
from support.sums import solve_easy_and_hinted
from support.tiny_models import build_model, build_tokenizer


PAD = 2
TOKEN_IDS = list(range(3, 15))
FEW_SHOT = torch.randint(3, 64, (40,), generator=torch.Generator().manual_seed(5)).tolist()
OTHER_FEW_SHOT = torch.randint(3, 64, (30,), generator=torch.Generator().manual_seed(6)).tolist()


def example(prompt, completion, weight=None):
    ids = [*prompt, *completion]
    row = {"input_ids": ids, "labels": [-100] * len(prompt) + completion}
    return row if weight is None else {**row, LOSS_WEIGHTS: [weight] * len(ids)}


def examples(weighted=False):
    """Two draws of one problem, two other problems, and two problems behind other few-shot examples."""
    rows = [
        (FEW_SHOT + [4, 5, 6], [7, 8, 9, 10, 1]),
        (FEW_SHOT + [4, 5, 6], [7, 8, 3, 1]),
        (FEW_SHOT + [5, 6], [20, 21, 1]),
        (FEW_SHOT + [4, 9, 9, 9, 9, 9], [11, 1]),
        (OTHER_FEW_SHOT + [30], [31, 32, 33, 34, 35, 36, 1]),
        (OTHER_FEW_SHOT + [31, 31], [31, 1]),
    ]
    return [example(*row, weight=0.5 + number if weighted else None) for number, row in enumerate(rows)]


def collator(enabled, **kwargs):
    separate = WeightedCollator(
        DataCollatorForLanguageModeling(PAD, pad_to_multiple_of=kwargs.get("pad_to_multiple_of"))
    )
    return TreeCollator(separate, PAD, hidden_size=32, enabled=enabled, **kwargs)


@cache
def model_of(family, lora=False):
    config = CONFIGS[family]()
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False  # the load of its experts, which is not a sum over the labels
    model = make_model(config)
    add_fused_lm_head(model)
    if lora:
        torch.manual_seed(1)
        model = get_peft_model(model, LoraConfig(target_modules="all-linear", r=4, init_lora_weights=False))
    return model.eval()  # without the dropout of GPT-2 and others


def loss_and_gradients(model, batch):
    """The sum of the weighted losses, and its gradient by the parameters that are trained."""
    batch = dict(batch)
    ends, weights = batch.pop(TREE_ENDS, None), batch.pop(LOSS_WEIGHTS, None)
    called = model if ends is None else TreeModel(model, model.config, model.dtype, ends)
    logprobs = called(**batch, fused_lm_head=True).log_probs
    if weights is not None:
        logprobs = logprobs * weights[:, -logprobs.shape[1] :]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(-logprobs.sum(), parameters, materialize_grads=True)
    return -logprobs.sum().item(), torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", CONFIGS)
def test_loss_and_gradients_are_those_of_separate_sequences(family, lora):
    model = model_of(family, lora)
    if family in BEYOND:
        assert "attention interface" in why_no_trees(model, TOKEN_IDS)
        return
    assert why_no_trees(model, TOKEN_IDS) is None
    rows = examples(weighted=True)
    separate, tree = collator(False)(rows), collator(True)(rows)
    assert TREE_ENDS in tree and tree["input_ids"].numel() < separate["input_ids"].numel() / 2
    loss, gradients = loss_and_gradients(model, tree)
    expected_loss, expected = loss_and_gradients(model, separate)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert (gradients - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("sizes", [(1, 256), (1, 3), (32, 7)])
@pytest.mark.parametrize("family", ["llama", "gemma3", "mistral"])
def test_a_tree_is_computed_in_parts_on_a_cpu(family, sizes, monkeypatch):
    """Trunks and branches longer than a part, branches that share one, a sliding window, and padding."""

    def fused(*args, **kwargs):
        calls.append(args)
        return sdpa_attention_forward(*args, **kwargs)

    model, calls = model_of(family), []
    monkeypatch.setattr(model.config.get_text_config(), "_attn_implementation", "sdpa")
    monkeypatch.setattr(tree_attention, "MIN_QUERIES", sizes[0])
    monkeypatch.setattr(tree_attention, "MAX_QUERIES", sizes[1])
    monkeypatch.setitem(AttentionInterface._global_mapping, "sdpa", fused)
    rows = examples(weighted=True)
    loss, gradients = loss_and_gradients(model, collator(True, pad_to_multiple_of=16)(rows))
    assert not calls and ALL_ATTENTION_FUNCTIONS["sdpa"] is fused
    expected_loss, expected = loss_and_gradients(model, collator(False)(rows))
    assert calls
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert (gradients - expected).abs().max() < 1e-5 * expected.abs().max()


def test_the_parts_of_a_tree(monkeypatch):
    """A trunk of five tokens, a branch of five that branches again, one of three, and a token of padding."""
    ends = torch.tensor([[13] * 5 + [10, 8, 8, 10, 10, 13, 13, 13, 14]])
    assert parts_of_trees(ends) == [Part(0, 0, 5, 0, 0), Part(0, 5, 14, 5, 5)]
    monkeypatch.setattr(tree_attention, "MIN_QUERIES", 1)
    monkeypatch.setattr(tree_attention, "MAX_QUERIES", 4)
    trunk = [Part(0, 0, 4, 0, 0), Part(0, 4, 5, 0, 0)]
    branches = [Part(0, 5, 9, 5, 5), Part(0, 9, 10, 5, 5), Part(0, 10, 13, 5, 10), Part(0, 13, 14, 5, 13)]
    assert parts_of_trees(ends) == trunk + branches


def test_a_token_is_labelled_with_the_one_after_it():
    """The last token before the first label is in each branch of its own, since it has a label for each."""
    rows = [example([3, 4, 5], [6, 1]), example([3, 4, 5], [7, 1])]
    batch = collator(True)(rows)
    assert batch["input_ids"].tolist() == [[3, 4, 5, 6, 1, 5, 7, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 2, 3, 4]]
    assert batch["shift_labels"].tolist() == [[-100, -100, 6, 1, -100, 7, 1, -100]]
    assert batch[TREE_ENDS].tolist() == [[8, 8, 5, 5, 5, 8, 8, 8]]
    assert batch["attention_mask"].sum() == sum(len(row["input_ids"]) for row in rows)


def test_other_few_shot_examples_make_another_tree():
    batch = collator(True, pad_to_multiple_of=16)(examples())
    assert len(batch["input_ids"]) == 2
    assert batch["input_ids"].shape[1] % 16 == 0
    assert batch["input_ids"][0, :30].tolist() in (FEW_SHOT[:30], OTHER_FEW_SHOT)


def test_sequences_that_share_nothing_are_left_to_the_collator_of_trl():
    rows = [example([3 + number] * 20, [40, 1]) for number in range(4)]
    batch = collator(True)(rows)
    assert TREE_ENDS not in batch and batch["input_ids"].shape == (4, 22)


def test_a_sequence_of_one_token_has_no_label():
    rows = [*examples()[:3], example([], [7])]
    batch = collator(True)(rows)
    assert TREE_ENDS in batch and batch["shift_labels"].ne(-100).sum() == sum(map(len, ([1] * 5, [1] * 4, [1] * 3)))


@pytest.mark.parametrize("enabled", [True, False])
def test_packed_sequences_are_taken_apart(enabled):
    model = model_of("llama")
    rows = examples(weighted=True)
    packed = [
        {
            **{name: [value for row in part for value in row[name]] for name in rows[0]},
            "seq_lengths": [len(row["input_ids"]) for row in part],
        }
        for part in (rows[:2], rows[2:])
    ]
    flat = WeightedCollator(DataCollatorForLanguageModeling(PAD, padding_free=True))
    batch = TreeCollator(flat, PAD, hidden_size=32, enabled=enabled)(packed)
    assert (TREE_ENDS in batch) == enabled
    if not enabled:
        # Sequences apart in one row, by their positions
        batch = {name: batch[name] for name in ("input_ids", "labels", "position_ids", LOSS_WEIGHTS)}
    loss, gradients = loss_and_gradients(model, batch)
    expected_loss, expected = loss_and_gradients(model, collator(False)(rows))
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert (gradients - expected).abs().max() < 1e-5 * expected.abs().max()


def test_models_that_cannot_be_run_on_a_tree_say_why():
    bloom = make_model(BloomConfig(**IDS, hidden_size=32, n_layer=2, n_head=4))
    assert "attention interface" in why_no_trees(bloom, TOKEN_IDS)
    flex = make_model(CONFIGS["llama"]())
    flex.config._attn_implementation = "flex_attention"
    assert "'flex_attention' takes no mask of a tree" in why_no_trees(flex, TOKEN_IDS)
    nope = CONFIGS["llama"]()
    nope.no_rope_layers = None
    model = make_model(nope)
    model.model.rotary_emb.register_forward_hook(lambda module, args, output: (output[0] * 0 + 1, output[1] * 0))
    assert "ignores `position_ids`" in why_no_trees(model, TOKEN_IDS)


def test_a_model_is_tried_on_tokens_that_it_knows():
    """In bf16, logits of tokens that a pretrained model was not trained on are mostly noise."""
    model = make_model(CONFIGS["llama"]())
    seen = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.extend(kwargs["input_ids"].flatten().tolist()), with_kwargs=True
    )
    assert why_no_trees(model, [40, 41, 42]) is None
    assert set(seen) == {40, 41, 42}


def test_equal_tokens_hide_no_wrong_mask(monkeypatch):
    """A text that ends in equal tokens, such as unary digits, is tried on different ones."""
    monkeypatch.setattr(TreeModel, "__call__", lambda tree, **inputs: tree.model(**inputs))
    assert "other logits on a tree" in why_no_trees(make_model(CONFIGS["llama"]()), [*TOKEN_IDS, *[7] * 20])


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_log_probabilities_are_those_of_separate_sequences(family, monkeypatch):
    model = model_of(family)
    samples, prompts = [], []
    for row, reason in zip(examples()[:4], ["eos", "stop"] * 2, strict=True):
        length = row["labels"].count(-100)
        prompts.append(row["input_ids"][:length])
        completion = row["input_ids"][length:]
        samples.append(
            make_sample(completion_ids=completion, loss_mask=[True] * len(completion), finish_reason=reason)
        )
    lengths = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    on_tree = sequence_logprobs(model, prompts, samples, PAD)
    monkeypatch.setattr("star_trl.fine_tuning.logprobs.why_no_trees", lambda model, token_ids: "for the comparison")
    separate = sequence_logprobs(model, prompts, samples, PAD)
    assert on_tree == pytest.approx(separate, abs=1e-4)
    assert lengths[-2] < lengths[-1] / 2


TRAINING = {
    "plain": {},
    "accumulation": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
    "packing": {"packing": True, "max_length": 256},
    "problems": {"loss_normalization": "problems"},
    "advantage": {"sample_weighting": "advantage", "num_generations": 2, "temperature": 1.0},
    "checkpointing": {"gradient_checkpointing": True},
    "lora": {"peft_config": LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0)},
    "dft": {"loss_type": "dft"},
}


@pytest.mark.parametrize("settings", TRAINING.values(), ids=TRAINING)
def test_a_run_learns_the_same(make_trainer, settings, tmp_path):
    """The same weights but for rounding, and the same metrics."""
    weights, logs = [], []
    for shared in (True, False):
        trainer = make_trainer(
            solve_easy_and_hinted,
            shared_prefix_train=shared,
            output_dir=str(tmp_path / str(shared)),
            num_iterations=1,
            initial_steps=3,
            optim="sgd",
            learning_rate=0.1,
            logging_steps=1,
            model=build_model(build_tokenizer()),
            **settings,
        )
        shapes = []
        compute = trainer.compute_loss

        def spy(model, inputs, *args, compute=compute, shapes=shapes, **kwargs):
            shapes.append(TREE_ENDS in inputs)
            return compute(model, inputs, *args, **kwargs)

        trainer.compute_loss = spy
        trainer.train()
        assert any(shapes) == shared
        weights.append({name: tensor.detach().clone() for name, tensor in trainer.model.named_parameters()})
        logs.append([entry for entry in trainer.state.log_history if "loss" in entry])
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=0, atol=1e-5)
    for one, other in zip(*logs, strict=True):
        for metric in ("loss", "grad_norm", "num_tokens", "entropy", "mean_token_accuracy"):
            assert one[metric] == pytest.approx(other[metric], rel=1e-3), metric


@pytest.mark.parametrize("changes", [{"neftune_noise_alpha": 5.0}, {"label_smoothing_factor": 0.1}])
def test_what_reads_whole_rows_gets_separate_sequences(make_trainer, changes):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, **changes)
    trainer.train()
    assert not trainer.data_collator.enabled


def test_rows_are_sorted_only_where_all_batches_of_a_step_have_one_divisor(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, gradient_accumulation_steps=2)
    trainer.train()
    assert trainer._sorts_steps()
    trainer.model_accepts_loss_kwargs = False
    assert not trainer._sorts_steps()
