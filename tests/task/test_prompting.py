# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Prompts: their few-shot examples are tokenized once, and the tokens are those of the whole text."""

import pytest
from tokenizers.processors import TemplateProcessing

from star_trl.task.prompting import PromptBuilder
from support.generation_models import byte_level_tokenizer, sentencepiece_tokenizer, word_level_tokenizer
from support.tiny_models import build_tokenizer


def with_special_tokens():
    """Like tokenizers that begin every text with BOS and end it with EOS."""
    tokenizer = word_level_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    return tokenizer


TOKENIZERS = {
    "bytes": byte_level_tokenizer,
    "pieces": sentencepiece_tokenizer,
    "words": word_level_tokenizer,
    "characters": build_tokenizer,
    "special tokens": with_special_tokens,
}
PROBLEMS = [{"prompt": prompt} for prompt in ("Q: 5 + 7 ?\nA:", " C: 0 , 3\nA:", "\n\n12 €", "two plus", "")]


def few_shot(number):
    return [{"prompt": f"Q: {n} + {n} ?\nA:", "completion": f" five is {n}." + "\n" * (n % 3)} for n in range(number)]


def by_length(problem):
    """Other examples for other problems, some of which begin alike."""
    return few_shot(2 + len(problem["prompt"]) % 3)


@pytest.mark.parametrize("examples", [None, few_shot(1), few_shot(2), few_shot(5), by_length])
@pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)
def test_tokens_are_those_of_the_whole_text(make, examples):
    tokenizer = make()
    builder = PromptBuilder(tokenizer, examples)
    problems = PROBLEMS * 2
    for shown in (True, False):
        whole = [tokenizer(builder.render(problem, "prompt", shown))["input_ids"] for problem in problems]
        whole = [ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids for ids in whole]
        assert builder.encode(problems, "prompt", shown) == whole


def test_few_shot_examples_are_tokenized_once(monkeypatch):
    tokenizer = byte_level_tokenizer()
    builder = PromptBuilder(tokenizer, few_shot(20))
    problems = [{"prompt": f"Q: {number} + 1 ?\nA:"} for number in range(100)]
    lengths = []
    call = type(tokenizer).__call__

    def spy(self, text, **kwargs):
        lengths.append(sum(map(len, text)))
        return call(self, text=text, **kwargs)

    monkeypatch.setattr(type(tokenizer), "__call__", spy)
    whole = sum(len(builder.render(problem, "prompt", True)) for problem in problems)
    builder.encode(problems, "prompt", True)
    assert sum(lengths) < whole / 5
