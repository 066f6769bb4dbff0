# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Prompts: their few-shot examples are tokenized once, and the tokens are those of the whole text."""

from dataclasses import replace

import pytest
from datasets import Dataset
from tokenizers.processors import TemplateProcessing

from star_trl.generation import GenerationRequest
from star_trl.generation.prefix_sharing.groups import num_distinct
from star_trl.samplers import Prompt, RationaleSampler
from star_trl.samplers.base import held_input_ids
from star_trl.task.checks import check_prompts
from star_trl.task.prompting import PromptBuilder
from star_trl.token_ids import TokenIds
from support.generation_models import byte_level_tokenizer, sentencepiece_tokenizer, word_level_tokenizer
from support.tiny_models import build_chat_tokenizer, build_tokenizer


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


@pytest.mark.parametrize("limit", [10**6, 0])
def test_problems_are_tokenized_once(monkeypatch, limit):
    """Unless there are too many to remember. Their examples are held once."""
    monkeypatch.setattr("star_trl.task.prompting.MAX_KNOWN", limit)
    monkeypatch.setattr("star_trl.task.prompting.BATCH_SIZE", 2)
    builder = PromptBuilder(byte_level_tokenizer(), few_shot(3))
    problems = Dataset.from_list([{"prompt": f"Q: {number} + 1 ?\nA:"} for number in range(5)])
    asked = []
    encode = builder.encode_packed
    monkeypatch.setattr(builder, "encode_packed", lambda rows, *rest: asked.append(len(rows)) or encode(rows, *rest))
    for _ in range(2):
        found = builder.encode_problems(problems, [4, 0, 1, 4], "prompt", True)
        assert [ids.tolist() for ids in found] == builder.encode(
            problems.select([4, 0, 1, 4]).to_list(), "prompt", True
        )
        assert len({id(ids.head) for ids in found}) == 1 < len(found[0].head)
    # encode() asks as well, for all four.
    assert list(filter(None, asked)) == ([2, 1, 4, 4] if limit else [2, 1, 4, 2, 1, 4])
    (other,) = builder.encode_problems(Dataset.from_list([{"prompt": "Q: 0 ?\nA:"}]), [0], "prompt", False)
    assert other.tolist() == builder.encode([{"prompt": "Q: 0 ?\nA:"}], "prompt", False)[0]


def test_the_check_of_the_lengths_is_remembered(model, make_args, monkeypatch):
    """A run does not tokenize again what its setup has tokenized."""
    builder = PromptBuilder(build_chat_tokenizer())
    problems = Dataset.from_list([{"prompt": [{"role": "user", "content": f"{n} + 1"}]} for n in range(3)])
    check_prompts(problems, "train_dataset", [RationaleSampler()], builder, make_args(), model.config)
    expected = builder.encode(problems.to_list(), "prompt", True)
    monkeypatch.setattr(type(builder.tokenizer), "apply_chat_template", None)
    found = builder.encode_problems(problems, [0, 1, 2], "prompt", True)
    assert [ids.tolist() for ids in found] == expected


def test_each_problem_has_its_tools():
    """Also one that was tokenized without them, or for another sampler."""

    def add(a: int, b: int) -> int:
        """
        Adds two numbers.

        Args:
            a: The first number.
            b: The second number.
        """
        return a + b

    builder = PromptBuilder(build_chat_tokenizer())
    problems = Dataset.from_list([{"prompt": [{"role": "user", "content": f"{n} + 1"}]} for n in range(3)])
    rows = problems.to_list()
    plain = builder.encode(rows, "prompt", False)
    shown = builder.encode(rows, "prompt", False, [[add]] * 3)
    assert all(a != b for a, b in zip(plain, shown, strict=True))
    for tools in (None, [None, [add], []], [[add], None, [add]]):
        found = builder.encode_problems(problems, [0, 1, 2], "prompt", False, tools)
        expected = [shown[i] if tools and tools[i] else plain[i] for i in range(3)]
        assert [ids.tolist() for ids in found] == expected


def test_conversations_hold_their_examples_once(monkeypatch):
    """Also those of other batches, and of a batch of one."""
    monkeypatch.setattr("star_trl.task.prompting.BATCH_SIZE", 2)
    turns = [{"prompt": [{"role": "user", "content": f"{n} + {n}"}], "completion": f"{2 * n}"} for n in range(3)]
    builder = PromptBuilder(build_chat_tokenizer(), turns)
    problems = [{"prompt": [{"role": "user", "content": f"{n} + 1"}]} for n in (1, 2, 1, 2, 3)]
    found = builder.encode_packed(problems, "prompt", True)
    assert len({id(ids.head) for ids in found}) == 1 < len(found[0].head)
    assert [ids.tolist() for ids in found] == [
        builder.tokenizer.apply_chat_template(
            builder.render(problem, "prompt", True), add_generation_prompt=True, return_dict=False
        )
        for problem in problems
    ]


def test_a_prompt_gives_a_list():
    """A sampler and an engine read lists, however the tokens are held."""
    prompt = Prompt(problem=0, sample_index=0, input_ids=TokenIds([70_000], head=[1, 2]), seed=3, columns={})
    request = GenerationRequest(prompt_ids=held_input_ids(prompt), seed=3)
    assert prompt.input_ids == request.prompt_ids == [1, 2, 70_000]
    assert prompt.input_ids + [4] == [1, 2, 70_000, 4]
    assert replace(prompt, input_ids=[5]).input_ids == [5]
    assert replace(prompt, seed=4) == Prompt(problem=0, sample_index=0, input_ids=[1, 2, 70_000], seed=4, columns={})
    assert len(held_input_ids(prompt)) == 3


def test_tokens_that_prompts_begin_with_count_once():
    head = [1, 2]
    assert num_distinct([TokenIds(own, head) for own in ([3, 4], [3, 5], [3, 4])]) == 5
    assert num_distinct([TokenIds([3, 4], head), TokenIds([1, 2, 3, 5])]) == 5
    assert num_distinct([]) == 0
