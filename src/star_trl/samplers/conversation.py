# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Completions that are conversations with tools and environments."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..distributed import get_logger
from ..ledger.messages import HINTED_PROMPT, as_text
from ..tools.caller import OutOfTime
from ..tools.environments import Environments, Seat
from ..tools.turn import Turn
from .base import ChatGenerate, Completion, Pauses, Prompt


logger = get_logger(__name__)

NOT_WITH_TOOLS = (
    "An `EnvironmentSampler` cannot be combined with a `ToolSampler` or a `HintInferSampler`, whose tools and hints "
    "stand in the text of a turn. Give the tool in `tools`."
)


# Problem and sample index of a completion in progress
Key = tuple[int, int]


@dataclass
class _Conversation:
    """A completion in progress."""

    prompt: Prompt
    seat: Seat | None = None
    tools: dict[str, Callable] = field(default_factory=dict)
    hinted_prompt: list[dict[str, Any]] | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    error: str | None = None
    num_tokens: int = 0  # of the completion, of which turns have been read

    @property
    def environment(self) -> Any:
        return None if self.seat is None else self.seat.environment


class WithEnvironments:
    """
    A [`Generate`] whose completions are conversations with tools and environments.

    Args:
        generate ([`ChatGenerate`]):
            What generates.
        environments ([`~star_trl.tools.environments.Environments`]):
            The environments and tools.
        seats (`dict[tuple[int, int], Seat]`):
            Environments in use, by problem and sample index. Those of new conversations are added, and stay until
            they are taken out.
        max_environments (`int`):
            Number of conversations in progress at a time, with those that are in use before.
        max_turns (`int`, *optional*):
            Maximum number of turns in which tools are called. No limit by default.
        prompt_column (`str`, *optional*, defaults to `"prompt"`):
            Column with the messages that observations are appended to.
        shown_column (`str`, *optional*, defaults to `"prompt"`):
            Column of the prompts that the model is conditioned on, which decides how few-shot examples are shown.
    """

    def __init__(
        self,
        generate: ChatGenerate,
        environments: Environments,
        seats: dict[Key, Seat],
        max_environments: int,
        max_turns: int | None = None,
        prompt_column: str = "prompt",
        shown_column: str = "prompt",
    ):
        self.generate = generate
        self.environments = environments
        self.seats = seats
        self.max_environments = max_environments
        self.max_turns = max_turns
        self.prompt_column = prompt_column
        self.shown_column = shown_column
        self.tokenizer = generate.tokenizer

    @cached_property
    def longest_token(self) -> int:
        """Number of characters of the longest token. A text of more characters than some tokens have is longer."""
        return max(map(len, self.tokenizer.get_vocab()))

    def __call__(
        self, prompts: Sequence[Prompt], pauses: Pauses | None = None, **overrides: Any
    ) -> Iterator[Completion]:
        if pauses is not None or "pause_between" in overrides or any(prompt.begun for prompt in prompts):
            raise ValueError(NOT_WITH_TOOLS)
        limit, start = self.max_environments, 0
        while start < len(prompts):
            # Some environments may wait for their completions to be scored. All do if another sampler collects the
            # completions, which then needs more environments.
            size = limit - len(self.seats)
            size = size if size > 0 else limit
            pool = ThreadPoolExecutor(size)
            try:
                yield from self._converse(prompts[start : start + size], pool, overrides)
            finally:
                pool.shutdown(cancel_futures=True)
            start += size

    def _converse(
        self, prompts: Sequence[Prompt], pool: ThreadPoolExecutor, overrides: dict[str, Any]
    ) -> Iterator[Completion]:
        talks = self._encoded(list(pool.map(self._begin, prompts)))
        for talk in talks:
            if talk.error is not None:
                nothing = Completion(prompt=talk.prompt, token_ids=[], loss_mask=[], finish_reason="pause")
                yield self._as_completion(talk, nothing)
        begun = {key_of(talk.prompt): talk for talk in talks if talk.error is None}
        turns = _Turns(self, begun, pool)
        ending: deque[Future[Completion]] = deque()
        live = [talk.prompt for talk in begun.values()]
        for completion in self.generate(live, pauses=turns, pause_at_eos=True, **overrides):
            ending.append(pool.submit(self._end, begun[key_of(completion.prompt)], completion))
            while ending and ending[0].done():
                yield ending.popleft().result()
        for future in ending:
            yield future.result()

    def _begin(self, prompt: Prompt) -> _Conversation:
        """Resets an environment and returns the completion to be, with its prompts and without token ids."""
        talk, row = _Conversation(prompt), prompt.columns
        try:
            talk.seat = self.seats[key_of(prompt)] = self.environments.take(row)
            plain, hinted = self.environments.reset(talk.seat, row)
            talk.tools = self.environments.callables(talk.environment)
            limit = self.generate.max_prompt_length
            for text in filter(None, (plain, hinted)):
                if limit is not None and len(text) > limit * self.longest_token:  # would take long to encode
                    raise ValueError(
                        f"the observation has {len(text):,} characters, which do not fit into the {limit} tokens "
                        "that the model's context and `max_length` leave for the prompt"
                    )
            shown = _appended(row["prompt"], plain)
            if self.shown_column != "prompt":
                talk.hinted_prompt = _appended(row[self.prompt_column], hinted)
        except Exception as error:
            talk.error = f"reset: {_shown(error)}"
            return talk
        # Reward functions, the ledger and the training see the prompt without the hint.
        talk.prompt = replace(prompt, columns={**row, "prompt": shown})
        return talk

    def _encoded(self, talks: list[_Conversation]) -> list[_Conversation]:
        begun = [talk for talk in talks if talk.error is None]
        column = self.shown_column  # the few-shot examples have hints where the prompt has one
        rows = [{**talk.prompt.columns, column: talk.hinted_prompt or talk.prompt.columns["prompt"]} for talk in begun]
        for talk, ids in zip(begun, self.generate.encode(rows, column) if begun else [], strict=True):
            talk.prompt = replace(talk.prompt, input_ids=ids)
            limit = self.generate.max_prompt_length
            if limit is not None and len(ids) > limit:
                talk.error = (
                    f"reset: the prompt with its observation has {len(ids)} tokens, and with `max_completion_length` "
                    f"only {limit} fit into the model's context and `max_length`"
                )
        return talks

    def make_calls(self, talk: _Conversation) -> None:
        """Makes the calls of the last turn, in a thread."""
        try:
            talk.turns[-1].make()
        except OutOfTime as error:
            talk.error = str(error)

    def results(self, talk: _Conversation) -> list[int] | None:
        """Returns the token ids of the last turn's results, or None after an error."""
        try:
            messages = [
                {**message, "content": self._shortened(message["content"])} for message in talk.turns[-1].results()
            ]
        except OutOfTime as error:
            talk.error = str(error)
            return None
        talk.messages += messages
        try:
            return self.generate.encode_results(list(map(_as_content, messages)))
        except Exception as error:
            talk.error = f"the chat template could not write the results of tools: {_shown(error)}"
            return None

    def _shortened(self, content: Any) -> Any:
        """
        Returns the beginning of a result that cannot fit into a completion, which it then fills. Encoding all of an
        enormous text would take time and memory, and the ledger would have it.
        """
        text, limit = str(content), self.generate.max_completion_length * self.longest_token
        return content if len(text) <= limit else text[:limit]

    def _end(self, talk: _Conversation, completion: Completion) -> Completion:
        """Asks the environment for its reward, and returns the completion with it."""
        self.read_turn(talk, completion)  # one that was cut
        rewards: dict[str, float | None] = {}
        if talk.error is None and talk.seat is not None:
            try:
                rewards = self.environments.reward(talk.seat)
            except Exception as error:
                talk.error = f"get_reward: {_shown(error)}"
        return self._as_completion(talk, completion, rewards)

    def read_turn(self, talk: _Conversation, completion: Completion) -> list[dict[str, Any]]:
        """Adds what the model wrote last to the messages. Returns the calls in it."""
        from trl.chat_template_utils import parse_response  # takes seconds

        written = completion.token_ids[talk.num_tokens :]
        if not written or not completion.loss_mask[-1]:
            return []
        try:
            message = parse_response(
                self.tokenizer,
                written,
                prefix=completion.prompt.input_ids + completion.token_ids[: talk.num_tokens],
                tools=list(talk.tools.values()),
            )
        except Exception as error:  # what a model writes may be anything
            logger.warning(f"A turn could not be parsed and counts as text: {_shown(error)}")
            message = {"role": "assistant", "content": self.tokenizer.decode(written, skip_special_tokens=True)}
        talk.num_tokens = len(completion.token_ids)
        talk.messages.append(message)
        return message.get("tool_calls") or []

    def _as_completion(
        self, talk: _Conversation, completion: Completion, rewards: dict[str, float | None] | None = None
    ) -> Completion:
        extra = {
            **completion.extra,
            "tool_calls": sum(turn.num_made for turn in talk.turns),
            "tool_failures": sum(turn.num_failed for turn in talk.turns),
        }
        if talk.hinted_prompt is not None:
            extra[HINTED_PROMPT] = as_text(talk.hinted_prompt)
        return replace(
            completion,
            prompt=talk.prompt,
            messages=talk.messages,
            environment=talk.environment,
            rewards=rewards or {},
            error=talk.error,
            extra=extra,
        )


class _Turns:
    """
    Answers the calls of conversations while others are generated.

    Args:
        generate ([`WithEnvironments`]):
            What calls the tools.
        talks (`dict`):
            The conversations.
        pool (`ThreadPoolExecutor`):
            Runs the calls of several conversations at the same time.
    """

    def __init__(self, generate: WithEnvironments, talks: dict[Key, _Conversation], pool: ThreadPoolExecutor):
        self.generate = generate
        self.talks = talks
        self.pool = pool

    def begin(self, completion: Completion) -> "Future[None] | None":
        talk = self.talks[key_of(completion.prompt)]
        calls = self.generate.read_turn(talk, completion)
        if not calls or len(talk.turns) == self.generate.max_turns:
            return None
        assert talk.seat is not None  # it has begun
        talk.turns.append(Turn(calls, talk.tools, self.generate.environments.caller, talk.seat.worker))
        return self.pool.submit(self.generate.make_calls, talk)

    def end(self, completion: Completion, result: None) -> Completion | None:
        talk = self.talks[key_of(completion.prompt)]
        ids = None if talk.error is not None else self.generate.results(talk)
        if ids is None:
            return None
        talk.num_tokens += len(ids)
        return replace(
            completion,
            token_ids=completion.token_ids + ids,
            loss_mask=completion.loss_mask + [False] * len(ids),
            logprobs=None if completion.logprobs is None else completion.logprobs + [0.0] * len(ids),
        )


def key_of(prompt: Prompt) -> Key:
    return prompt.problem, prompt.sample_index


def _appended(messages: list[dict[str, Any]], observation: str | None) -> list[dict[str, Any]]:
    """Appends an observation to the last message of a prompt, which is left as it is."""
    if observation is None:
        return messages
    last = messages[-1]
    content = last["content"] or ""
    if isinstance(content, list):  # of parts, as `GRPOTrainer` appends to it
        return [*messages[:-1], {**last, "content": [*content, {"type": "text", "text": observation}]}]
    return [*messages[:-1], {**last, "content": content + observation}]


def _as_content(message: dict[str, Any]) -> dict[str, Any]:
    """Returns a message as the chat template takes it. A list is content of several parts, or becomes text."""
    content = message["content"]
    is_content = isinstance(content, str) or all(isinstance(part, dict) and "type" in part for part in content)
    return message if is_content else {**message, "content": str(content)}


def _shown(error: Exception) -> str:
    try:
        return f"{error!r:.500}"
    except Exception:  # of a class with a faulty `__repr__`
        return type(error).__name__
