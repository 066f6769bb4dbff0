# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Whole runs with adapters, quantized models and 8-bit optimizers: what is trained, reset and saved."""

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from star_trl.fine_tuning.original_weights import frozen_weights_digest, keep_stored_layout
from support.sums import solve_easy_and_hinted
from support.tiny_models import build_model


QUANTIZED = {
    "nf4": BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="float32"
    ),
    "int8": BitsAndBytesConfig(load_in_8bit=True),
}


def lora() -> LoraConfig:
    return LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


@pytest.fixture
def model_path(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def adapter(model) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters() if "lora_" in name}


@pytest.mark.parametrize(
    ("quantization", "optim"),
    [
        (None, "adamw_torch"),
        ("nf4", "adamw_torch"),
        ("nf4", "paged_adamw_8bit"),
        ("int8", "adamw_torch"),
        ("int8", "adamw_8bit"),
    ],
)
def test_an_adapter_is_trained_reset_and_saved(make_trainer, model_path, tmp_path, quantization, optim):
    trainer = make_trainer(
        solve_easy_and_hinted,
        model=model_path,
        peft_config=lora(),
        quantization_config=QUANTIZED.get(quantization),
        optim=optim,
    )
    frozen = {
        name: tensor.detach().clone() for name, tensor in trainer.model.named_parameters() if not tensor.requires_grad
    }
    original = adapter(trainer.model)
    starts = []
    restore = trainer.keep_original_weights().restore

    def spy(model):
        restore(model)
        starts.append(adapter(model))

    trainer.keep_original_weights().restore = spy
    trainer.train()

    # Once for the run and once for each iteration, the adapter starts from its first weights.
    assert len(starts) >= 2
    for start in starts:
        assert all(torch.equal(start[name], original[name]) for name in original)
    trained = adapter(trainer.model)
    assert any(not torch.equal(trained[name], original[name]) for name in original)
    assert all(torch.equal(tensor, trainer.model.get_parameter(name)) for name, tensor in frozen.items())

    checkpoint = tmp_path / "out" / "iteration-002" / "checkpoint"
    assert (checkpoint / "adapter_model.safetensors").exists() and not (checkpoint / "model.safetensors").exists()
    loaded = adapter(AutoPeftModelForCausalLM.from_pretrained(checkpoint))
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], trained[name]) for name in trained)


def test_a_quantized_model_really_generates(make_trainer, tokenizer, tmp_path):
    """With the prefix-sharing engine: the samples of two runs are the same."""
    # bitsandbytes multiplies 4-bit weights of at least this width on a CPU.
    build_model(tokenizer, hidden_size=64).save_pretrained(tmp_path / "base")
    runs = []
    for _ in range(2):
        trainer = make_trainer(
            model=str(tmp_path / "base"),
            peft_config=lora(),
            quantization_config=QUANTIZED["nf4"],
            stop_strings=list("abcdefghijklmnopqrstuvwxyz"),
            overwrite_output_dir=True,
        )
        runs.append([sample.completion_ids for sample in trainer.sample(1)])
        trainer.ledger.iteration_dir(1).joinpath("samples-00000-of-00001.jsonl").unlink()
    assert runs[0] == runs[1] and all(runs[0])


@pytest.mark.parametrize("quantization", QUANTIZED)
def test_scales_of_quantized_weights_are_in_the_digest(tokenizer, tmp_path, quantization):
    """Half as large weights are the same integers. Using the model changes nothing."""
    digests = []
    for scale in (1.0, 1.0, 0.5):
        model = build_model(tokenizer, hidden_size=64)
        model.model.layers[0].mlp.up_proj.weight.data *= scale
        model.save_pretrained(tmp_path / "base")
        loaded = AutoModelForCausalLM.from_pretrained(
            tmp_path / "base", quantization_config=QUANTIZED[quantization]
        ).requires_grad_(False)
        keep_stored_layout(loaded)
        digests.append(frozen_weights_digest(loaded))
        with torch.no_grad():
            loaded.eval()(torch.arange(5, 25)[None])
        assert frozen_weights_digest(loaded) == digests[-1]
    assert digests[0] == digests[1] != digests[2]


def test_a_state_dict_leaves_a_quantized_model_as_it_is(make_trainer, model_path):
    """bitsandbytes changes the layout of 4-bit weights in a forward, and back for a state dict, on some processors."""
    trainer = make_trainer(
        solve_easy_and_hinted, model=model_path, peft_config=lora(), quantization_config=QUANTIZED["nf4"]
    )
    model, input_ids = trainer.model.eval(), torch.arange(5, 25)[None]
    with torch.no_grad():
        before = model(input_ids=input_ids).logits
        model.state_dict()
        torch.testing.assert_close(model(input_ids=input_ids).logits, before, rtol=0, atol=0)


def test_a_model_that_has_run_in_another_layout_is_refused(make_trainer, model_path):
    """Whatever the processor of this machine does: the layout is what bitsandbytes notes."""
    model = AutoModelForCausalLM.from_pretrained(model_path, quantization_config=QUANTIZED["nf4"])
    model.model.layers[0].mlp.up_proj.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(ValueError, match=r"mlp\.up_proj` were laid out anew .* Load the model again"):
        keep_stored_layout(model)


def test_a_merged_adapter_is_a_model_of_its_own(make_trainer, model_path, tmp_path):
    """As docs/trainer.md says."""
    trainer = make_trainer(solve_easy_and_hinted, model=model_path, peft_config=lora())
    trainer.train()
    merged = AutoPeftModelForCausalLM.from_pretrained(
        tmp_path / "out" / "iteration-002" / "checkpoint"
    ).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    input_ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected = trainer.model.eval()(input_ids=input_ids).logits
        torch.testing.assert_close(reloaded(input_ids=input_ids).logits, expected, atol=1e-5, rtol=1e-4)
