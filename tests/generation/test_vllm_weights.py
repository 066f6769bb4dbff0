# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The weights that vLLM is given, compared with those of checkpoints, without vLLM."""

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, PromptTuningConfig, VeraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import Gemma4TextConfig, LlamaConfig, MixtralConfig

from star_trl.generation.vllm_weights import check_original_weights, checkpoint_weights, rank_of_adapter, save_adapter
from support.generation_models import TINY, make_model


def adapted(seed=0, **kwargs):
    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 4, "target_modules": ["q_proj", "down_proj"], **kwargs})
    model = get_peft_model(make_model(), config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "magnitude" not in name:
                parameter.normal_(std=0.1)
    return model


def checkpoint(model, folder):
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


MODELS = {
    "untied": LlamaConfig(**TINY),
    "tied": LlamaConfig(**TINY, tie_word_embeddings=True),
    # transformers holds the experts of a layer in one tensor, and checkpoints do not.
    "experts": MixtralConfig(**TINY, num_local_experts=2),
    # Its `layer_scalar` is a persistent buffer.
    "buffers": Gemma4TextConfig(**TINY, hidden_size_per_layer_input=0),
}


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_weights_are_those_of_a_checkpoint(config, tmp_path):
    model = make_model(config)
    weights = dict(checkpoint_weights(model))
    expected = checkpoint(model, tmp_path)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kwargs", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_adapters_are_merged_into_copies(tmp_path, kwargs):
    model = adapted(**kwargs)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = dict(checkpoint_weights(model))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    expected = checkpoint(model.merge_and_unload(), tmp_path)
    assert weights.keys() == expected.keys()
    assert all(torch.allclose(weights[name], expected[name], atol=1e-6) for name in expected)


def test_buffers_of_a_model_with_an_adapter_are_those_of_a_checkpoint(tmp_path):
    model = make_model(MODELS["buffers"])
    expected = checkpoint(model, tmp_path)
    weights = dict(checkpoint_weights(get_peft_model(model, LoraConfig(target_modules=["q_proj"])), merge=False))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_buffers_of_an_adapter_are_left_out(tmp_path):
    # VeRA's projections are persistent buffers.
    model = get_peft_model(make_model(), VeraConfig(r=4, target_modules=["q_proj"]))
    assert any("vera_A" in name for name in model.state_dict())
    assert dict(checkpoint_weights(model)).keys() == checkpoint(make_model(), tmp_path).keys()


def test_adapters_are_left_out(tmp_path):
    weights = dict(checkpoint_weights(adapted(), merge=False))
    expected = checkpoint(make_model(), tmp_path)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_saved_adapter_is_the_adapter(tmp_path):
    model = adapted()
    save_adapter(model, tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(make_model(), tmp_path / "adapter")
    tokens = torch.arange(3, 20)[None]
    assert torch.equal(model(tokens).logits, loaded(tokens).logits)


@pytest.mark.parametrize(
    ("kwargs", "rank"),
    [
        ({}, 8),
        ({"r": 33}, 64),
        ({"r": 600}, None),
        ({"use_dora": True}, None),
        ({"bias": "all"}, None),
        ({"modules_to_save": ["lm_head"]}, None),
        ({"rank_pattern": {"q_proj": 2}}, None),
        ({"target_modules": ["embed_tokens"]}, None),
    ],
)
def test_rank_of_an_adapter_that_vllm_can_load(kwargs, rank):
    assert rank_of_adapter(adapted(**kwargs)) == rank


def test_other_models_have_no_adapter_that_vllm_can_load():
    assert rank_of_adapter(make_model()) is None
    ia3 = IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"])
    assert rank_of_adapter(get_peft_model(make_model(), ia3)) is None


def test_learned_vectors_before_the_prompt_are_refused():
    model = get_peft_model(make_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ValueError, match="learned vectors before the prompt"):
        rank_of_adapter(model)


@pytest.mark.parametrize("method", ["pissa_niter_2", "olora", "gaussian", "orthogonal", True])
def test_adapters_beside_which_the_weights_have_changed_are_refused(method):
    model = adapted(init_lora_weights=method)
    original = dict(make_model().named_parameters())
    weights = dict(checkpoint_weights(model, merge=False))
    if all(torch.equal(weights[name], original[name]) for name in original):
        check_original_weights(model, "The server has")
    else:
        with pytest.raises(ValueError, match=f"init_lora_weights='{method}'.*The server has the original"):
            check_original_weights(model, "The server has")
