# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Completions that a function of the user makes, as in TRL's `GRPOTrainer`."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from .base import PROMPT_IDS, ChatGenerate, Completion, Generate, Prompt
from .rationale import RationaleSampler


RolloutFunc = Callable[[list, Any], dict[str, Any]]


class RolloutSampler(RationaleSampler):
    """
    Draws completions with a function, in the calling convention of [`~trl.GRPOTrainer`]: `rollout_func(prompts,
    trainer)` gets a list of prompts, in which each problem occurs `num_generations` times, and the trainer. It returns
    a dictionary of lists with one value per prompt: `prompt_ids`, `completion_ids`, `logprobs` (may be None) and, if
    not all tokens are the model's, `env_mask` (1 for those that are). Other values go to the reward functions as
    columns and to the ledger. Evaluations call the function as well, which decides how it draws.

    Args:
        rollout_func (`Callable[[list, STaRTrainer], dict[str, Any]]`):
            The function.
        batch_size (`int`, *optional*, defaults to `64`):
            Maximum number of prompts in one call.
        num_generations (`int`, *optional*):
            Completions per problem. As in the configuration by default.
        temperature (`float`, *optional*):
            Sampling temperature that the function uses. It is recorded, and not passed on.
    """

    makes_prompts = True
    adds_columns = True
    compares_samples = True

    def __init__(
        self,
        rollout_func: RolloutFunc,
        batch_size: int = 64,
        num_generations: int | None = None,
        temperature: float | None = None,
    ):
        super().__init__(num_generations=num_generations, temperature=temperature)
        if not callable(rollout_func):
            raise TypeError(f"`rollout_func` must be a function, got a `{type(rollout_func).__name__}`.")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        self.rollout_func = rollout_func
        self.batch_size = batch_size
        self.trainer: Any = None  # set by the trainer

    def sample(self, prompts: Sequence[Prompt], generate: Generate) -> Iterator[Completion]:
        for start in range(0, len(prompts), self.batch_size):
            batch = prompts[start : start + self.batch_size]
            # Each by itself: the samples of a problem have one prompt, which the function may change.
            given = [copy.deepcopy(prompt.columns["prompt"]) for prompt in batch]
            output = self.rollout_func(given, self.trainer)
            yield from self._completions(batch, output, cast(ChatGenerate, generate))

    def _completions(self, prompts: Sequence[Prompt], output: Any, generate: ChatGenerate) -> Iterator[Completion]:
        required = ("prompt_ids", "completion_ids", "logprobs")
        if not isinstance(output, dict) or set(required) - output.keys():
            found = sorted(output) if isinstance(output, dict) else f"a `{type(output).__name__}`"
            raise ValueError(f"`rollout_func` must return a dict with the keys {list(required)}, got {found}.")
        columns = {
            name: values if isinstance(values, list) else [values] * len(prompts)
            for name, values in output.items()
            if name not in (*required, "env_mask")
        }
        of_tokens = {name: output[name] for name in ("logprobs", "env_mask") if output.get(name) is not None}
        own = {"prompt_ids": output["prompt_ids"], "completion_ids": output["completion_ids"], **of_tokens, **columns}
        for name, values in own.items():
            if len(values) != len(prompts):
                raise ValueError(
                    f"`rollout_func` returned {len(values)} `{name}` for {len(prompts)} prompts. It must return "
                    "one value for each prompt, in their order."
                )
        for name, values in of_tokens.items():
            for row, (own_values, ids) in enumerate(zip(values, output["completion_ids"], strict=True)):
                if len(own_values) != len(ids):
                    raise ValueError(
                        f"`rollout_func` returned {len(own_values)} values in `{name}` for the {len(ids)} "
                        f"`completion_ids` of prompt {row}. It must return one value for each token."
                    )
        ends = {*generate.eos_token_ids, generate.tokenizer.pad_token_id}
        for row, prompt in enumerate(prompts):
            token_ids = [int(token) for token in output["completion_ids"][row]]
            mask = [True] * len(token_ids)
            if "env_mask" in of_tokens:
                mask = [bool(value) for value in of_tokens["env_mask"][row]]
            logprobs = None
            if "logprobs" in of_tokens:
                values = zip(of_tokens["logprobs"][row], mask, strict=True)
                logprobs = [float(value) if is_own else 0.0 for value, is_own in values]
            length = generate.max_completion_length
            extra = {name: values[row] for name, values in columns.items()}
            yield Completion(
                prompt=replace(prompt, columns={**prompt.columns, **extra}),
                token_ids=token_ids[:length],
                loss_mask=mask[:length],
                finish_reason="eos" if token_ids and len(token_ids) <= length and token_ids[-1] in ends else "length",
                logprobs=None if logprobs is None else logprobs[:length],
                # The model is trained on what the function generated behind.
                extra={**extra, PROMPT_IDS: [int(token) for token in output["prompt_ids"][row]]},
            )
