# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Random models of a few thousand parameters and tokenizers made in memory, for the tests of the engines."""

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from star_trl.generation import GenerationOutput, GenerationRequest, SamplingParams


CORPUS = [
    "Q: what is two plus three?\nA: two plus three is five.\n\nQ: and stop or stopped?\nA: it stopped, the stopper.",
    "the quick brown fox jumps over the lazy dog\n\n\nand stops. Über naïve café, 5 + 7 = 12 €",
]

TINY = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
# The part of it that is called alike by all models
IDS = {key: TINY[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}


def make_model(config=None, seed: int = 0) -> PreTrainedModel:
    """A causal language model with weights large enough that its distributions are far from uniform."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config or LlamaConfig(**TINY), dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3 if "embed" in name or "wte" in name else 0.15)
    return model


def make_requests(lengths, prefix=(), vocab_size: int = 64, seed: int = 0) -> list[GenerationRequest]:
    """Prompts of random tokens with the given lengths behind a common prefix."""
    generator = torch.Generator().manual_seed(seed)
    return [
        GenerationRequest(
            prompt_ids=[*prefix, *torch.randint(3, vocab_size, (length,), generator=generator).tolist()],
            seed=1000 + index,
        )
        for index, length in enumerate(lengths)
    ]


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """Like Llama 2's: a metaspace before words, bytes for what the vocabulary lacks (the line feed among them)."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    corpus = [text.replace("\n", " ").replace("é", "e").replace("ï", "i").replace("Ü", "U") for text in CORPUS]
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=380, special_tokens=special))
    for byte_token in tokenizer.get_added_tokens_decoder().values():
        byte_token.special = False
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def word_level_tokenizer(words=None) -> PreTrainedTokenizerFast:
    """A space between any two tokens, as in the scratchpads: `2 + 5 , 3 C: 0`."""
    words = words or [
        *"0123456789",
        "+",
        ",",
        "C:",
        "Input:",
        "Target:",
        "<scratch>",
        "</scratch>",
        "\n",
        "stop",
        "per",
    ]
    words = ["<bos>", "<eos>", "<pad>", *words]
    words += [f"w{i}" for i in range(64 - len(words))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>")


# Texts that the word-level tokenizer's model with random weights comes upon soon.
STOPS = ("C:", "stop", "+", ",", "w40")


def params(**kwargs) -> SamplingParams:
    """Sampling parameters with what every test needs."""
    return SamplingParams(**{"max_new_tokens": 16, "eos_token_ids": frozenset({1}), **kwargs})


def run(engine, model, requests, parameters) -> list[GenerationOutput]:
    """The completions in the order of the requests."""
    return sorted(engine.generate(model, requests, parameters), key=lambda output: output.index)


class Tool:
    """Answers the first two pauses of every completion in a thread, with three tokens."""

    def __init__(self, requests, pool: ThreadPoolExecutor):
        self.requests = list(requests)
        self.pool = pool
        self.calls = [0] * len(requests)

    def begin(self, output) -> Future[list[int]] | None:
        self.calls[output.index] += 1
        return self.pool.submit(lambda: [7, 8, 9]) if self.calls[output.index] < 3 else None

    def request(self, output, result) -> GenerationRequest | None:
        old = self.requests[output.index]
        prompt_ids = old.prompt_ids + output.token_ids + result
        left = old.max_new_tokens - len(output.token_ids) - len(result)
        if left < 1:
            return None
        new = GenerationRequest(prompt_ids=prompt_ids, seed=old.seed + 1, max_new_tokens=left)
        self.requests[output.index] = new
        return new


def conversations(engine, model, requests, parameters) -> list[list[int]]:
    """The token ids of the prompts, the completions and the answers of a [`Tool`], which at least one uses twice."""
    with ThreadPoolExecutor(2) as pool:
        tool = Tool(requests, pool)
        outputs = {output.index: output for output in engine.generate_and_resume(model, requests, parameters, tool)}
    assert max(tool.calls) == 3
    return [tool.requests[index].prompt_ids + outputs[index].token_ids for index in range(len(requests))]
