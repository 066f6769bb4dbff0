# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Turns problems and few-shot examples into the token ids that the model is conditioned on."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from os.path import commonprefix  # of any sequences
from typing import Any
from weakref import WeakKeyDictionary

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..ledger.messages import HINTED_PROMPT, Messages
from ..token_ids import TOKEN_SIZE, TokenIds
from .rows import read_rows


# Few-shot examples are dicts with `prompt`, `completion` and, for samplers that read it, `hinted_prompt`. A function
# may choose them for each problem. It takes the problem's row and must return the same examples every time.
FewShotExamples = Sequence[dict[str, Any]] | Callable[[dict[str, Any]], Sequence[dict[str, Any]]]

# Number of prompts that are tokenized together. A tokenizer needs some 100 bytes for each of their tokens.
BATCH_SIZE = 1000
# Number of tokens of a dataset's problems that are remembered, which take 100 MB
MAX_KNOWN = 25_000_000
# Number of sets of few-shot examples whose tokens are remembered
MAX_HEADS = 1000

# What a tokenizer would return besides token ids, which takes as long
IDS_ONLY = {"return_attention_mask": False, "return_token_type_ids": False}


class PromptBuilder:
    """
    Builds prompts, for text and for chat models.

    Text prompts are joined to the few-shot examples by a blank line. With message lists, each example becomes a user
    and an assistant turn, and the chat template makes the text.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.
        few_shot_examples (`list[dict]`, [`~datasets.Dataset`] or `Callable[[dict], list[dict]]`, *optional*):
            Examples, or a function from a problem to its examples.
        chat_template_kwargs (`dict[str, Any]`, *optional*):
            Keyword arguments for `apply_chat_template`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        few_shot_examples: FewShotExamples | None = None,
        chat_template_kwargs: dict[str, Any] | None = None,
    ):
        self.tokenizer = tokenizer
        self.chat_template_kwargs = chat_template_kwargs or {}
        if few_shot_examples is not None and not callable(few_shot_examples):
            few_shot_examples = list(few_shot_examples)  # iterating over a `Dataset` for every problem is slow
            for example in few_shot_examples:
                if not isinstance(example, dict):
                    raise TypeError(
                        "`few_shot_examples` must be dicts with a `prompt` and a `completion`, but one is "
                        f"{example!r:.80} (`{type(example).__name__}`)."
                    )
        self._few_shot_examples = few_shot_examples
        self._fixed_texts: dict[str, tuple[str, ...]] = {}  # of the fixed examples, by column
        self._heads: dict[tuple[str, ...], list[int]] = {}  # what prompts with these examples begin with
        # The same of conversations, by column and whether few-shot examples come first
        self._chat_heads: dict[tuple[str, bool], list[int]] = {}
        # Token ids of problems by dataset, column and whether few-shot examples come first; and how many they are
        self._known: WeakKeyDictionary[Dataset, dict[tuple[str, bool], dict[int, TokenIds]]] = WeakKeyDictionary()
        self._num_known: WeakKeyDictionary[Dataset, int] = WeakKeyDictionary()

    @property
    def has_examples(self) -> bool:
        """Whether problems may have few-shot examples."""
        return bool(self._few_shot_examples)

    @property
    def fixed_examples(self) -> Sequence[dict[str, Any]]:
        """The few-shot examples of every problem; none where a function chooses them."""
        return [] if callable(self._few_shot_examples) else self._few_shot_examples or []

    def examples(self, problem: dict[str, Any]) -> Sequence[dict[str, Any]]:
        """Returns the few-shot examples of a problem."""
        if callable(self._few_shot_examples):
            return self._few_shot_examples(problem)
        return self.fixed_examples

    def without_examples(self, dataset: Dataset) -> list[int]:
        """Returns the indices of the problems that are not among their own few-shot examples."""
        return [
            index
            for index, problem in enumerate(read_rows(dataset))
            if all(_question(example["prompt"]) != _question(problem["prompt"]) for example in self.examples(problem))
        ]

    def check(self, problem: dict[str, Any], columns: Iterable[str]) -> None:
        """
        Raises `ValueError` if the few-shot examples of a problem cannot be used with one of the prompt columns.
        """
        for example in self.examples(problem):
            for column in ("prompt", "completion", *columns):
                if example.get(column) is None:
                    raise ValueError(
                        f"A few-shot example has no `{column}`; it has {sorted(example)}. Every example needs a "
                        "`prompt` and a `completion`, and a `hinted_prompt` where a sampler shows hints."
                    )
            if not isinstance(example["prompt"], str) and isinstance(example.get(HINTED_PROMPT), str):
                raise ValueError(
                    "The prompts of a few-shot example differ in kind: its `prompt` is a list of messages and its "
                    "`hinted_prompt` is text. Make both lists of messages."
                )
            for column in columns:
                if isinstance(example[column], str) != isinstance(problem[column], str):
                    raise ValueError(
                        f"The few-shot examples and the problems differ in kind: `{column}` is a "
                        f"{type(example[column]).__name__} in the example and a {type(problem[column]).__name__} in "
                        "the problem. Use text in both, or lists of messages in both."
                    )
        if not isinstance(problem["prompt"], str) and self.tokenizer.chat_template is None:
            raise ValueError(
                "The prompts are lists of messages, but the tokenizer has no chat template. Set "
                "`chat_template_path` in `STaRConfig`, use a chat model, or make the prompts text."
            )

    def encode(
        self,
        problems: Sequence[dict[str, Any]],
        column: str,
        few_shot: bool,
        tools: Sequence[list[Callable] | None] | None = None,
    ) -> list[list[int]]:
        """
        Tokenizes the prompts of some problems.

        Args:
            problems (`list[dict]`):
                Rows of the dataset.
            column (`str`):
                Column that holds the prompt: `"prompt"` or `"hinted_prompt"`.
            few_shot (`bool`):
                Whether the few-shot examples precede the prompt.
            tools (`list[list[Callable] | None]`, *optional*):
                For each problem, the tools that the chat template shows.

        Returns:
            `list[list[int]]`: One list of ids per problem, unpadded.
        """
        return [ids.tolist() for ids in self.encode_packed(problems, column, few_shot, tools)]

    def encode_problems(
        self,
        dataset: Dataset,
        problems: Sequence[int],
        column: str,
        few_shot: bool,
        tools: Sequence[list[Callable] | None] | None = None,
    ) -> list[TokenIds]:
        """
        Tokenizes the prompts of problems. Those without tools are tokenized once, and then remembered.

        Args:
            dataset ([`~datasets.Dataset`]):
                All problems.
            problems (`list[int]`):
                Indices of the problems.
            column (`str`):
                Column that holds the prompt.
            few_shot (`bool`):
                Whether the few-shot examples precede the prompt.
            tools (`list[list[Callable] | None]`, *optional*):
                For each problem, the tools that the chat template shows.
        """
        tools = tools or [None] * len(problems)
        pairs = list(zip(problems, tools, strict=True))
        plain = iter(self._remembered(dataset, [problem for problem, own in pairs if not own], column, few_shot))
        others = [(problem, own) for problem, own in pairs if own]
        rows = dataset.select([problem for problem, _ in others]).to_list()
        with_tools = iter(self.encode_packed(rows, column, few_shot, [own for _, own in others]))
        return [next(with_tools if own else plain) for own in tools]

    def _remembered(self, dataset: Dataset, problems: Sequence[int], column: str, few_shot: bool) -> list[TokenIds]:
        known = self._known.setdefault(dataset, {}).setdefault((column, few_shot), {})
        new: dict[int, TokenIds] = {}
        missing = [problem for problem in dict.fromkeys(problems) if problem not in known]
        for start in range(0, len(missing), BATCH_SIZE):
            batch = missing[start : start + BATCH_SIZE]
            encoded = self.encode_packed(dataset.select(batch).to_list(), column, few_shot)
            heads = {id(ids.head): len(ids.head) for ids in encoded}  # lists, with 9 times the memory of bytes
            size = sum(len(ids.own) // TOKEN_SIZE for ids in encoded) + 9 * sum(heads.values())
            total = self._num_known.get(dataset, 0) + size
            if total <= MAX_KNOWN:
                self._num_known[dataset] = total
            (known if total <= MAX_KNOWN else new).update(zip(batch, encoded, strict=True))
        return [known[problem] if problem in known else new[problem] for problem in problems]

    def encode_packed(
        self,
        problems: Sequence[dict[str, Any]],
        column: str,
        few_shot: bool,
        tools: Sequence[list[Callable] | None] | None = None,
    ) -> list[TokenIds]:
        """Tokenizes prompts like [`~PromptBuilder.encode`]. The few-shot examples that they share are held once."""
        encoded: list[TokenIds] = []
        for start in range(0, len(problems), BATCH_SIZE):
            batch = problems[start : start + BATCH_SIZE]
            if isinstance(batch[0][column], str):
                encoded += self._tokenize_texts(batch, column, few_shot)
            else:
                own_tools = tools[start : start + BATCH_SIZE] if tools is not None else [None] * len(batch)
                # Problems of one environment follow each other, mostly all of them.
                for _, group in groupby(zip(batch, own_tools, strict=True), key=lambda pair: id(pair[1])):
                    pairs = list(group)
                    prompts: Any = [self.render(problem, column, few_shot) for problem, _ in pairs]
                    own: Any = pairs[0][1] or None
                    template: Any = self.tokenizer.apply_chat_template(
                        prompts,
                        tools=own,
                        add_generation_prompt=True,
                        tokenize=True,
                        return_dict=True,
                        **self.chat_template_kwargs,
                    )
                    head = self._chat_head(template["input_ids"], column, few_shot)
                    encoded += [TokenIds(ids[len(head) :], head) for ids in template["input_ids"]]
        return encoded

    def _chat_head(self, prompts: list[list[int]], column: str, few_shot: bool) -> Sequence[int]:
        """Returns tokens that some prompts begin with, if possible those of the prompts before them."""
        head = self._chat_heads.get((column, few_shot))
        if head is None or any(ids[: len(head)] != head for ids in prompts):
            if len(prompts) == 1:
                return ()
            head = self._chat_heads[column, few_shot] = list(commonprefix(prompts))
        return head

    def encode_results(self, messages: Messages) -> list[int]:
        """
        Tokenizes results of tools as they follow a turn of the model, and the beginning of its next turn.

        Args:
            messages (`list[dict]`):
                Messages of the role `tool`.

        Raises:
            `ValueError`: If the chat template writes a turn in another way when a result follows it.
        """
        # As `GRPOTrainer._get_tool_suffix_ids`: a turn before the results shows where they begin.
        call = {"type": "function", "function": {"name": messages[0]["name"], "arguments": {}}}
        before: Any = [
            {"role": "user", "content": "dummy"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        options: dict[str, Any] = {"tokenize": True, "return_dict": False, **self.chat_template_kwargs}
        first: Any = self.tokenizer.apply_chat_template(before, **options)
        whole: Any = self.tokenizer.apply_chat_template(before + messages, add_generation_prompt=True, **options)
        # A turn of the model ends with EOS; what the template writes behind it belongs to the results.
        ends = [position for position, token in enumerate(first) if token == self.tokenizer.eos_token_id]
        length = ends[-1] + 1 if ends else len(first)
        if whole[:length] != first[:length]:
            raise ValueError(
                "The chat template writes a call of a tool in another way when its result follows, so the result "
                "cannot be appended to what the model wrote. Set `chat_template_path` to a template that keeps what "
                "comes before."
            )
        return whole[length:]

    def _tokenize_texts(self, problems: Sequence[dict[str, Any]], column: str, few_shot: bool) -> list[TokenIds]:
        """
        Tokenizes text prompts. Few-shot examples that several prompts begin with are tokenized once, all but the last
        one. That one is tokenized with each prompt, since tokens at a seam depend on the text on both sides.
        """
        examples = [self._example_texts(problem, column, few_shot) for problem in problems]
        tails = [_joined(own[-1:], problem[column]) for own, problem in zip(examples, problems, strict=True)]
        tail_ids = self.tokenizer(text=tails, add_special_tokens=False, **IDS_ONLY)["input_ids"]
        counts = Counter(examples)
        if len(self._heads) > MAX_HEADS:
            self._heads.clear()
        tried = set(self._heads)
        for own, problem, tail in zip(examples, problems, tail_ids, strict=True):
            if counts[own] > 1 and own not in tried:
                tried.add(own)
                (ids,) = self._tokenize([_joined(own, problem[column])])
                size = max(len(ids) - len(tail), 0)
                if ids[size:] == tail:  # Some tokenizers read the beginning of a text in another way.
                    self._heads[own] = ids[:size]
        heads = [self._heads.get(own) for own in examples]
        wholes = [
            _joined(own, problem[column])
            for own, problem, head in zip(examples, problems, heads, strict=True)
            if head is None
        ]
        others = iter(self._tokenize(wholes))
        return [
            TokenIds(next(others)) if head is None else TokenIds(tail, head)
            for head, tail in zip(heads, tail_ids, strict=True)
        ]

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        all_ids = self.tokenizer(text=texts, **IDS_ONLY)["input_ids"]
        # A few tokenizers end every text with EOS, which the model could not continue.
        eos = self.tokenizer.eos_token_id
        return [ids[:-1] if ids and ids[-1] == eos else ids for ids in all_ids]

    def render(self, problem: dict[str, Any], column: str, few_shot: bool) -> str | Messages:
        """Returns the prompt of one problem as text, or as messages before the chat template."""
        prompt = problem[column]
        if isinstance(prompt, str):
            return _joined(self._example_texts(problem, column, few_shot), prompt)
        examples = self.examples(problem) if few_shot else []
        # A system message belongs at the start only, and the problem's takes precedence over the examples'.
        system = [message for message in prompt[:1] if message["role"] == "system"]
        turns = [turn for example in examples for turn in self._turns(example, column)]
        return [*system, *turns, *prompt[len(system) :]]

    def _example_texts(self, problem: dict[str, Any], column: str, few_shot: bool) -> tuple[str, ...]:
        """Returns the few-shot examples of a problem with a text prompt."""
        if not few_shot:
            return ()
        if callable(self._few_shot_examples):
            return tuple(self._example_text(example, column) for example in self.examples(problem))
        if column not in self._fixed_texts:
            self._fixed_texts[column] = tuple(self._example_text(each, column) for each in self.fixed_examples)
        return self._fixed_texts[column]

    def example_parts(self, column: str) -> list[str] | Messages:
        """
        Returns what precedes every prompt: a text for each few-shot example, or their messages. Empty where a function
        chooses the examples.
        """
        examples = self.fixed_examples
        if examples and isinstance(examples[0][column], str):
            return [self._example_text(example, column) for example in examples]
        return [turn for example in examples for turn in self._turns(example, column)]

    @staticmethod
    def _example_text(example: dict[str, Any], column: str) -> str:
        return example[column] + example["completion"]

    @staticmethod
    def _turns(example: dict[str, Any], column: str) -> Messages:
        completion = example["completion"]
        if isinstance(completion, str):
            completion = [{"role": "assistant", "content": completion}]
        # An environment may give a hint where the examples have none.
        prompt = (example.get(column) or example["prompt"]) if column == HINTED_PROMPT else example[column]
        return [message for message in prompt if message["role"] != "system"] + completion


def _joined(examples: Sequence[str], prompt: str) -> str:
    return "\n\n".join([*examples, prompt])


def _question(prompt: str | Messages) -> str | Messages:
    """Returns what identifies a problem: its text, or its messages without a system message and empty fields."""
    if isinstance(prompt, str):
        return prompt
    turns = [turn for turn in prompt if turn["role"] != "system"]
    return [{name: value for name, value in turn.items() if value is not None} for turn in turns]
