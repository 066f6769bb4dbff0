# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Thoughts in parallel: they are those of one token after the other, and no position sees another's."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from star_trl.quiet import QuietSTaRModel
from star_trl.quiet.support import longest_text


FAMILIES = {
    "llama": {},
    "mistral": {"sliding_window": 64},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 64},
}
SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def build(family="llama", **changes):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SMALL, **FAMILIES.get(family, {}), **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def make_quiet(model, tokenizer, num_thought_tokens=3, num_true_tokens=2, mix=True, **changes) -> QuietSTaRModel:
    sizes = {"num_thought_tokens": num_thought_tokens, "num_true_tokens": num_true_tokens}
    quiet = QuietSTaRModel.make(model, tokenizer, **sizes, start_text="ab", end_text="c", **changes)
    if mix:
        torch.manual_seed(1)
        torch.nn.init.normal_(quiet.head.mixing[-1].weight)
    return quiet


def small_tokenizer(text, add_special_tokens=False):
    return {"input_ids": [ord(letter) % 30 + 5 for letter in text]}


@pytest.fixture
def text():
    torch.manual_seed(2)
    return torch.randint(2, 40, (2, 9))


def one_by_one(quiet, ids, position):
    """The greedy thought behind a position and the hidden states behind it, of a model that reads nothing twice."""
    embed, model = quiet.base.get_input_embeddings(), quiet.base
    sequence = torch.cat([embed(ids[: position + 1]), quiet.head.start[None]])
    thought = []

    def last():
        return model.get_decoder()(inputs_embeds=sequence[None], use_cache=False).last_hidden_state[0, -1]

    for _ in range(quiet.num_thought_tokens):
        thought.append(model.get_output_embeddings()(last()).argmax())
        sequence = torch.cat([sequence, embed(thought[-1][None])])
    sequence = torch.cat([sequence, quiet.head.end[None]])
    states = []
    for ahead in range(quiet.num_true_tokens):
        states.append(last())
        if position + 1 + ahead < len(ids):
            sequence = torch.cat([sequence, embed(ids[position + 1 + ahead][None])])
    return torch.stack(thought), states


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_parallel_thoughts_are_those_of_one_by_one(family, text):
    quiet = make_quiet(build(family), small_tokenizer)
    output = quiet(text)
    plain = quiet.base(text).logits.log_softmax(dim=-1)
    for row, ids in enumerate(text):
        for position in range(text.shape[1] - 1):
            thought, states = one_by_one(quiet, ids, position)
            assert output.thought_ids[row, 0, position].equal(thought)
            before = quiet.base.get_decoder()(text[row : row + 1], use_cache=False).last_hidden_state[0]
            for ahead, after in enumerate(states):
                if position + ahead + 1 >= text.shape[1]:
                    assert not output.labeled[row, position, ahead]
                    continue
                mixed, _ = quiet.head(before[position + ahead], after)
                token = ids[position + ahead + 1]
                expected = -quiet.base.get_output_embeddings()(mixed).log_softmax(dim=-1)[token]
                assert output.nll_with_thoughts[row, 0, position, ahead] == pytest.approx(expected.item(), abs=2e-4)
                nll = -plain[row, position + ahead, token].item()
                assert output.nll_ahead[row, position, ahead] == pytest.approx(nll, abs=2e-4)


@torch.no_grad()
def test_positions_do_not_see_the_thoughts_of_others(text):
    quiet = make_quiet(build(), small_tokenizer)
    thoughts = torch.randint(2, 40, (2, 1, 9, 3))
    others = thoughts.clone()
    others[:, :, 4] = (others[:, :, 4] + 1) % 40
    first, second = (quiet(text, thought_ids=ids).nll_with_thoughts[:, 0] for ids in (thoughts, others))
    changed = (first - second).abs().amax(dim=(0, 2)) > 1e-6
    assert changed.tolist() == [position == 4 for position in range(9)]


@torch.no_grad()
def test_padding_changes_nothing(text):
    quiet = make_quiet(build(), small_tokenizer)
    mask = torch.ones_like(text)
    mask[1, 6:] = 0
    padded, alone = quiet(text, mask), quiet(text[1:, :6])
    assert torch.allclose(padded.nll_with_thoughts[1:, :, :6], alone.nll_with_thoughts, atol=1e-5)
    assert torch.allclose(padded.nll[1:, :6], alone.nll, atol=1e-5)
    assert not padded.labeled[1, 5:].any() and padded.nll[1, 5:].eq(0).all()


@torch.no_grad()
def test_at_the_start_thoughts_do_not_count(text):
    quiet = make_quiet(build(), small_tokenizer, mix=False)
    output = quiet(text, num_thoughts=2, temperature=1.0)
    assert torch.equal(
        output.nll_with_thoughts[..., 0] * output.labeled[:, None, :, 0], output.nll[:, None].expand(-1, 2, -1)
    )
    assert output.rewards().abs().max() == 0
    expected = torch.nn.functional.cross_entropy(quiet.base(text).logits[:, :-1].flatten(0, 1), text[:, 1:].flatten())
    assert output.nll.sum() / 16 == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_generation_predicts_what_the_parallel_pass_does(text):
    """Also in a batch with padding on the left."""
    quiet = make_quiet(build(), small_tokenizer)
    ids = torch.cat([torch.zeros(2, 2, dtype=torch.long), text], dim=1)
    mask = torch.cat([torch.zeros(2, 2, dtype=torch.long), torch.ones_like(text)], dim=1)
    mask[0, :2], ids[0, :2] = 1, torch.tensor([7, 9])
    written = quiet.generate(ids, mask, max_new_tokens=4, eos_token_id=[], pad_token_id=0)
    assert written.shape == (2, 15) and torch.equal(written[:, :11], ids)
    for row, first in ((0, 0), (1, 2)):
        whole = written[row : row + 1, first:]
        for number in range(11, 15):
            prefix = written[row : row + 1, first:number]
            wanted = [
                quiet(torch.cat([prefix, torch.tensor([[token]])], dim=1)).nll_with_thoughts[0, 0, -2, 0]
                for token in range(40)
            ]
            assert torch.stack(wanted).argmin() == whole[0, number - first]


@torch.no_grad()
def test_generation_ends_at_eos(text):
    quiet = make_quiet(build(), small_tokenizer)
    free = quiet.generate(text, max_new_tokens=3, eos_token_id=[])
    end = int(free[0, 9])
    written = quiet.generate(text, max_new_tokens=3, eos_token_id=end, pad_token_id=0)
    assert written[0, 9] == end and written[0, 10:].eq(0).all()


@pytest.mark.parametrize("adapter", [False, True])
@torch.no_grad()
def test_saved_and_loaded(adapter, text, tmp_path):
    model = build()
    model.save_pretrained(tmp_path / "base")
    if adapter:
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        model = get_peft_model(
            model, LoraConfig(target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
        )
    quiet = make_quiet(model.eval(), small_tokenizer)
    quiet.save_pretrained(tmp_path / "quiet")
    loaded = QuietSTaRModel.from_pretrained(tmp_path / "quiet")
    assert torch.equal(loaded(text).nll_with_thoughts, quiet(text).nll_with_thoughts)
    assert (loaded.num_thought_tokens, loaded.num_true_tokens) == (3, 2)
    assert torch.equal(loaded.generate(text, max_new_tokens=3), quiet.generate(text, max_new_tokens=3))


def test_models_that_cannot_think_are_refused():
    with pytest.raises(ValueError, match="flash_attention_2"):
        model = build()
        model.config._attn_implementation = "flash_attention_2"
        make_quiet(model, small_tokenizer)
    with pytest.raises(ValueError, match="more than a matrix product"):
        make_quiet(build("gemma2", head_dim=8, final_logit_softcapping=0.5, query_pre_attn_scalar=8), small_tokenizer)
    with pytest.raises(ValueError, match="Mamba"):
        mamba = AutoConfig.for_model("mamba", vocab_size=40, hidden_size=16, num_hidden_layers=1, state_size=4)
        make_quiet(AutoModelForCausalLM.from_config(mamba), small_tokenizer)


def test_texts_that_cannot_be_read_are_refused(text):
    quiet = make_quiet(build("mistral", sliding_window=12), small_tokenizer)
    with pytest.raises(ValueError, match="A text has 9 tokens. With its thoughts, this model takes at most 6"):
        quiet(text)
    quiet = make_quiet(build(), small_tokenizer)
    right = torch.ones_like(text)
    right[0, -2:] = 0
    with pytest.raises(ValueError, match="padded on the right"):
        quiet.generate(text, right)
    with pytest.raises(ValueError, match="padded on the left"):
        quiet(text, right.flip(1))


@torch.no_grad()
def test_chunks_change_nothing(text, monkeypatch):
    quiet = make_quiet(build(), small_tokenizer)
    whole = quiet(text, num_thoughts=2)
    monkeypatch.setattr("star_trl.quiet.quiet_model.CHUNK", 4)
    chunked = quiet(text, num_thoughts=2)
    assert torch.allclose(whole.nll_with_thoughts, chunked.nll_with_thoughts, atol=1e-6)
    assert torch.equal(whole.thought_ids, chunked.thought_ids)


@torch.no_grad()
def test_thoughts_are_drawn_with_their_probability():
    quiet = make_quiet(build(vocab_size=5), lambda text, **_: {"input_ids": [2]}, num_thought_tokens=1)
    torch.manual_seed(0)
    output = quiet(torch.tensor([[2, 3]]), num_thoughts=4000, temperature=2.0)
    drawn, logprobs = output.thought_ids[0, :, 0, 0], output.thought_logprobs[0, :, 0]
    for token in range(5):
        share = (drawn == token).float().mean()
        probability = logprobs[drawn == token].exp().mean() if share else 0.0
        assert abs(share - probability) < 0.03


def test_a_text_may_be_as_long_as_the_window_without_the_thought():
    assert longest_text(build("mistral"), 3, 2) == 64 - 3 - 2 - 1
    assert longest_text(build("llama"), 3, 2) is None
    assert longest_text(build("qwen2"), 3, 2) is None
    gpt2 = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("gpt2", n_positions=64, n_embd=8, n_layer=1, n_head=1)
    )
    assert longest_text(gpt2, 3, 2) == 64 - 3 - 2 - 1
