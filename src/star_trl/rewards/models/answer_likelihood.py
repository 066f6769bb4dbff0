# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.

import math
import os
from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase
from trl.trainer.utils import pad, selective_log_softmax

from ..text import CompletionLike, completion_text
from .model_reward import ModelReward


class AnswerLikelihoodReward(ModelReward):
    r"""
    Scores a rationale by how likely it makes the right answer: log M(y* | x, r), as a mean over the tokens of the
    answer, in nats. It needs no rule that finds an answer in a completion or compares two of them, so it suits answers
    that no program can check. [STaR-GATE](https://huggingface.co/papers/2403.19154) (Andukuri et al., 2024) keeps the
    best of several dialogues by the likelihood of the reference answer, and
    [RAVR](https://huggingface.co/papers/2510.25206) (Lin et al., 2025) rewards reasoning by it.

    The rationale is what precedes the last `answer_prefix` of the completion, or all of it if there is none. The
    answer that the model gave does not count. The score is at most 0, and a `reward_threshold` must be chosen.

    It logs two metrics: `answer_perplexity`, and `answer_perplexity_without_rationale`, where the answer follows the
    prompt at once. Both are over the tokens of all answers of a call.

    Args:
        model (`str` or `nn.Module`):
            Model id, path, or a causal language model of Transformers. It judges the answers and is not trained by
            this. The model that is trained may be given as well: it then judges by its current weights.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Its tokenizer. Loaded from the model's name by default.
        answer_prefix (`str`, *optional*, defaults to `"\n#### "`):
            Text between the rationale and the answer.
        answer_column (`str`, *optional*, defaults to `"answer"`):
            Column with the right answer, as text in the form in which the model is to write it.
        relative (`bool`, *optional*, defaults to `False`):
            Whether log M(y* | x) is subtracted. The score is then positive where the rationale makes the answer
            likelier, and `reward_threshold=0.0` keeps these.
        batch_size (`int`, *optional*, defaults to `8`):
            Sequences in one forward pass.

    Raises:
        `TypeError`: If the model is not a model of Transformers.
        `ValueError`: If `answer_prefix` is empty, if the model is sharded, or if the tokenizer or its padding token is
            missing.

    Example:
    ```python
    from star_trl import STaRConfig, STaRTrainer
    from star_trl.rewards import AnswerLikelihoodReward

    trainer = STaRTrainer(
        model="Qwen/Qwen3-0.6B",
        args=STaRConfig(output_dir="out", reward_threshold=0.0),
        reward_funcs=AnswerLikelihoodReward("Qwen/Qwen3-0.6B", relative=True),
        train_dataset=problems,
    )
    ```
    """

    auto_class = AutoModelForCausalLM

    def __init__(
        self,
        model: str | nn.Module,
        processing_class: PreTrainedTokenizerBase | None = None,
        answer_prefix: str = "\n#### ",
        answer_column: str = "answer",
        relative: bool = False,
        batch_size: int = 8,
    ):
        if not answer_prefix:
            raise ValueError("`answer_prefix` must not be empty: it tells the rationale from the answer.")
        super().__init__(model, processing_class, batch_size)
        self.__name__ = "answer_likelihood"
        self.answer_prefix = answer_prefix
        self.answer_column = answer_column
        self.relative = relative

    def __call__(
        self,
        prompts: list[CompletionLike],
        completions: list[CompletionLike],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """
        Scores completions.

        Args:
            prompts (`list[str]` or `list[list[dict]]`):
                Prompts, as text or as messages.
            completions (`list[str]` or `list[list[dict]]`):
                Their completions, in the same form.
            log_metric (`Callable`, *optional*):
                Given by the trainer.
            **columns:
                Columns of the problems, with `answer_column` among them.

        Returns:
            `list[float | None]`: One score per completion; `None` where the answer is `None`.

        Raises:
            `ValueError`: If the problems have no column of that name, or an answer is not text.
        """
        answers = self._answers(columns)
        judged = [index for index, answer in enumerate(answers) if answer is not None]
        heads = [self._prompt_text(prompts[index]) for index in judged]
        rows = [
            self._row(head + self._rationale(completions[index]), answers[index])
            for index, head in zip(judged, heads, strict=True)
        ]
        without = [self._row(head, answers[index]) for index, head in zip(judged, heads, strict=True)]
        logprobs, logprobs_without = self._logprobs(rows), self._logprobs(without)
        if log_metric is not None and judged:
            log_metric("answer_perplexity", _perplexity(logprobs))
            log_metric("answer_perplexity_without_rationale", _perplexity(logprobs_without))
        scores: list[float | None] = [None] * len(answers)
        for index, values, values_without in zip(judged, logprobs, logprobs_without, strict=True):
            scores[index] = fmean(values) - (fmean(values_without) if self.relative else 0.0)
        return scores

    def check_problems(self, problems: Dataset) -> None:
        """Raises `ValueError` if the problems have no column of that name, or an answer is not text."""
        self._answers({name: problems[name][:] for name in problems.column_names if name == self.answer_column})

    def _answers(self, columns: dict[str, Any]) -> list[str | None]:
        if self.answer_column not in columns:
            raise ValueError(
                f"`{self.__name__}` reads the right answers in the column {self.answer_column!r}, which the problems "
                "do not have. Name their column in `answer_column`."
            )
        answers: list[str | None] = columns[self.answer_column]
        for answer in answers:
            if answer is not None and (not isinstance(answer, str) or not answer.strip()):
                raise ValueError(
                    f"`{self.__name__}` needs answers as text in the column {self.answer_column!r}, got {answer!r}. "
                    "Write it as the model is to write it, or set it to None if there is none."
                )
        return answers

    def _rationale(self, completion: CompletionLike) -> str:
        text = completion_text(completion).rstrip()
        # The model may have left out spaces behind the prefix. A completion may begin with its answer.
        before, prefix, _ = f"\n{text}".rpartition(self.answer_prefix.rstrip() or self.answer_prefix)
        return before[1:].rstrip() if prefix else text

    def _row(self, head: str, answer: str | None) -> tuple[list[int], int]:
        """Returns the token ids of a head with its answer, and how many of them are the answer's."""
        head += self.answer_prefix
        # Tokens may span the end of the prefix. Those that the answer changes are its own.
        before, row = self._encode([head, f"{head}{answer}"])
        return self._with_bos(row), len(row) - len(os.path.commonprefix([before, row]))

    @torch.no_grad()
    def _logprobs(self, rows: list[tuple[list[int], int]]) -> list[list[float]]:
        """Returns the log-probabilities of the last tokens of each row, as many as it says."""
        found: list[list[float]] = [[] for _ in rows]
        was_training = self.model.training
        self.model.eval()
        with torch.autocast(self.model.device.type, enabled=False):
            for indices in self._batches([len(ids) for ids, _ in rows]):
                batch = [torch.tensor(rows[index][0]) for index in indices]
                # Padding on the left aligns the answers, so that only their logits are computed.
                padding: dict[str, Any] = {"padding_side": "left"}
                input_ids = pad(batch, padding_value=self.processing_class.pad_token_id, **padding)
                attention_mask = pad([torch.ones_like(row) for row in batch], padding_value=0, **padding)
                longest = max(rows[index][1] for index in indices)
                device = self.model.device
                logits = self.model(
                    input_ids=input_ids.to(device),
                    attention_mask=attention_mask.to(device),
                    position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0).to(device),
                    logits_to_keep=longest + 1,
                    use_cache=False,
                ).logits
                logprobs = selective_log_softmax(logits[:, :-1].float(), input_ids[:, -longest:].to(device))
                for index, values in zip(indices, logprobs.tolist(), strict=True):
                    found[index] = values[-rows[index][1] :]
        self.model.train(was_training)
        return found


def _perplexity(logprobs: list[list[float]]) -> float:
    mean = fmean([value for values in logprobs for value in values])
    return math.exp(-mean) if mean > -700 else math.inf  # which a float cannot hold
