# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A character-level tokenizer, a Llama of a few thousand parameters and a scripted engine. No network."""

import os


# Before anything imports them: telemetry and hub look-ups would wait for a network that is not there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import string
from pathlib import Path

import pytest
import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from star_trl import STaRConfig, STaRTrainer
from star_trl.generation import Engine, GenerationOutput, StopStrings
from star_trl.rewards import exact_match_reward


disable_progress_bars()

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<pad>", "<eos>", "<system>", "<user>", "<assistant>"]
    vocab = {token: index for index, token in enumerate([*special, *string.printable])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", chat_template=CHAT_TEMPLATE
    )


def build_model(tokenizer, hidden_size: int = 16) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture
def model(tokenizer) -> LlamaForCausalLM:
    return build_model(tokenizer)


class ScriptedEngine(Engine):
    """
    Answers from a function of the prompt's text, whatever the model. The function returns the completion's text; it
    ends with EOS, unless a stop string comes first or the text is longer than `max_new_tokens`.
    """

    def __init__(self, tokenizer, answer):
        self.tokenizer = tokenizer
        self.answer = answer
        self.prompts = []

    def generate(self, model, requests, params):
        stop_strings = StopStrings(self.tokenizer, params.stop_strings, params.pause_between)
        for index in reversed(range(len(requests))):  # in another order than asked, as engines may
            prompt = self.tokenizer.decode(requests[index].prompt_ids)
            self.prompts.append(prompt)
            ids = [*self.tokenizer(self.answer(prompt))["input_ids"], self.tokenizer.eos_token_id]
            reason = "eos"
            for length in range(1, len(ids) + 1):
                if found := stop_strings.reason(ids[:length]):
                    ids, reason = ids[:length], found
                    break
            limit = requests[index].limit(params)
            if len(ids) > limit:
                ids, reason = ids[:limit], "length"
            yield GenerationOutput(index=index, token_ids=ids, finish_reason=reason)


PROBLEMS = [
    {"prompt": f"Q: {a}+{b}?\nA:", "hinted_prompt": f"Q: {a}+{b}? ({a + b})\nA:", "answer": str(a + b), "kind": kind}
    for a, b, kind in [(1, 2, "easy"), (2, 3, "easy"), (4, 5, "hard"), (7, 1, "hard")]
]
EXAMPLES = [{"prompt": "Q: 1+1?\nA:", "hinted_prompt": "Q: 1+1? (2)\nA:", "completion": " One more than 1.\n2"}]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public data sets, which are not in the repository but in `shared/data` next to it."""
    data = Path(__file__).parents[2] / "shared" / "data"
    if not data.is_dir():
        pytest.skip(f"The data sets are not in {data}")
    return data


@pytest.fixture
def problems() -> Dataset:
    return Dataset.from_list(PROBLEMS)


# What suits a tiny model on a CPU
SETTINGS = {
    "num_iterations": 2,
    "initial_steps": 3,
    "step_growth": 1.0,
    "learning_rate": 1e-2,
    "per_device_train_batch_size": 2,
    "max_completion_length": 32,
    "max_length": None,
    "stop_strings": ["\n\n"],
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
    "logging_steps": 1,
}


@pytest.fixture
def make_args(tmp_path):
    """Arguments that suit a tiny model on a CPU, and what a test changes in them."""

    def make(**changes) -> STaRConfig:
        defaults = {"output_dir": str(tmp_path / "out"), "gradient_checkpointing": False, "disable_tqdm": True}
        return STaRConfig(**{**SETTINGS, **defaults, **changes})

    return make


@pytest.fixture
def make_trainer(model, tokenizer, problems, make_args):
    """
    A trainer on four sums. `answer` scripts the engine: a function from the prompt's text to the completion's text.
    Other keyword arguments go to the trainer, and those of the configuration to it.
    """

    def make(answer=None, **changes) -> STaRTrainer:
        trainer_names = (
            "model reward_funcs samplers few_shot_examples train_dataset eval_dataset processing_class peft_config "
            "callbacks optimizer_cls_and_kwargs quantization_config"
        ).split()
        arguments = {
            "model": model,
            "reward_funcs": exact_match_reward,
            "few_shot_examples": EXAMPLES,
            "train_dataset": problems,
            "processing_class": tokenizer,
            **{name: changes.pop(name) for name in trainer_names if name in changes},
        }
        trainer = STaRTrainer(args=make_args(**changes), **arguments)
        if answer is not None:
            trainer.engine = ScriptedEngine(tokenizer, answer)
        return trainer

    return make


def last_question(prompt: str) -> str:
    """The problem's own question, behind the few-shot examples."""
    return prompt.split("Q: ")[-1]


def solve_easy_and_hinted(prompt: str) -> str:
    """Right on 1+2 and 2+3; on the others only with a hint, and never on 7+1."""
    question = last_question(prompt)
    answers = {"1+2?\nA:": "3", "2+3?\nA:": "5", "4+5? (9)\nA:": "9"}
    return f" Let me count.\n{answers.get(question, '0')}"
