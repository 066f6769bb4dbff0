# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A causal language model of transformers that thinks before every token."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import ModelOutput, cached_file

from ..generation.model_state import base_model
from .support import longest_text, why_no_thoughts
from .thought_head import ThoughtHead
from .thoughts import decode, shifted, think


CONFIG_FILE = "quiet_star.json"
HEAD_FILE = "thought_head.safetensors"
# Positions whose logits are held at the same time
CHUNK = 1024
IGNORED = -100


@dataclass
class QuietSTaROutput(ModelOutput):
    """
    What a model predicts with and without thoughts. Entries without a label are 0.

    Args:
        nll (`torch.Tensor` of shape `(batch, length)`):
            Negative log-likelihood of the next token without a thought, in nats.
        nll_with_thoughts (`torch.Tensor` of shape `(batch, num_thoughts, length, num_true_tokens)`):
            That of the tokens ahead of each position, with a thought at that position.
        nll_ahead (`torch.Tensor` of shape `(batch, length, num_true_tokens)`):
            That of the same tokens without a thought.
        labeled (`torch.Tensor` of shape `(batch, length, num_true_tokens)`):
            Whether there is a label.
        thought_ids (`torch.Tensor` of shape `(batch, num_thoughts, length, num_thought_tokens)`):
            Token ids of the thoughts.
        thought_logprobs (`torch.Tensor` of shape `(batch, num_thoughts, length)`, *optional*):
            Log-probability of each thought. Only if it was drawn.
        mixing_weights (`torch.Tensor` of shape `(batch, num_thoughts, length, num_true_tokens)`):
            How much each thought counts.
    """

    nll: Any = None
    nll_with_thoughts: Any = None
    nll_ahead: Any = None
    labeled: Any = None
    thought_ids: Any = None
    thought_logprobs: Any = None
    mixing_weights: Any = None

    def rewards(self) -> torch.Tensor:
        """
        Returns by how much each thought makes the true tokens ahead more likely, in nats, of shape `(batch,
        num_thoughts, length)`. It has no gradient.
        """
        gains = self.nll_ahead[:, None] - self.nll_with_thoughts
        return gains.sum(dim=-1).detach()


class QuietSTaRModel(nn.Module):
    """
    A causal language model that thinks behind every token
    ([Quiet-STaR](https://huggingface.co/papers/2403.09629)). The model itself is a stock one, and stays usable without
    thoughts.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The language model.
        head ([`~star_trl.quiet.thought_head.ThoughtHead`]):
            The head.
        num_thought_tokens (`int`):
            Number of tokens of a thought, without its start and end.
        num_true_tokens (`int`):
            Number of tokens of the text that are predicted behind each thought.

    Raises:
        `ValueError`: If the model cannot think in parallel, with the reason.

    Example:
    ```python
    from star_trl.quiet import QuietSTaRModel
    from transformers import AutoTokenizer

    model = QuietSTaRModel.from_pretrained("path/to/model")
    tokenizer = AutoTokenizer.from_pretrained("path/to/model")
    inputs = tokenizer("A train travels 60 miles in", return_tensors="pt")
    tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0])
    ```
    """

    def __init__(self, model: PreTrainedModel, head: ThoughtHead, num_thought_tokens: int, num_true_tokens: int):
        super().__init__()
        reason = why_no_thoughts(model)
        if reason is not None:
            raise ValueError(f"Quiet-STaR cannot train this model: {reason}.")
        self.model = model
        self.head = head
        self.num_thought_tokens = num_thought_tokens
        self.num_true_tokens = num_true_tokens
        self.longest_text = longest_text(model, num_thought_tokens, num_true_tokens)

    @classmethod
    def make(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_thought_tokens: int,
        num_true_tokens: int,
        start_text: str = "---",
        end_text: str = "---",
        embedding_scale: float = 100.0,
    ) -> "QuietSTaRModel":
        """
        Adds a new head to a language model.

        Args:
            model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
                The language model.
            tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
                Its tokenizer.
            num_thought_tokens (`int`):
                Number of tokens of a thought, without its start and end.
            num_true_tokens (`int`):
                Number of tokens of the text that are predicted behind each thought.
            start_text (`str`, *optional*, defaults to `"---"`):
                Text whose embedding, averaged over its tokens, that of the start token begins with.
            end_text (`str`, *optional*, defaults to `"---"`):
                The same for the end token.
            embedding_scale (`float`, *optional*, defaults to `100.0`):
                How many times as fast as the rest both embeddings learn.
        """
        embed: Any = base_model(model).get_input_embeddings()

        def embedding(text: str) -> torch.Tensor:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if not ids:
                raise ValueError(f"The text {text!r} has no tokens. A thought needs a text to begin or end with.")
            with torch.no_grad():
                return embed(torch.tensor(ids, device=embed.weight.device)).float().mean(dim=0)

        head = ThoughtHead(embed.weight.shape[1], embedding_scale).to(embed.weight.device)
        head.begin_as(embedding(start_text), embedding(end_text))
        return cls(model, head, num_thought_tokens, num_true_tokens)

    @property
    def config(self) -> Any:
        """Configuration of the language model."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Device of the language model."""
        return self.model.device

    @property
    def base(self) -> PreTrainedModel:
        """The language model without the wrapper of an adapter, whose layers stay active."""
        return base_model(self.model)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_thoughts: int = 1,
        temperature: float = 0.0,
        thought_ids: torch.Tensor | None = None,
    ) -> QuietSTaROutput:
        """
        Predicts a text with and without thoughts.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, length)`):
                Token ids, padded on the right.
            attention_mask (`torch.Tensor` of shape `(batch, length)`, *optional*):
                0 for padding.
            labels (`torch.Tensor` of shape `(batch, length)`, *optional*):
                Token ids to predict, -100 for those that do not count. Defaults to all that are not padding.
            num_thoughts (`int`, *optional*, defaults to `1`):
                Number of thoughts at each position.
            temperature (`float`, *optional*, defaults to `0.0`):
                Temperature at which thoughts are drawn. `0.0` takes the most likely tokens.
            thought_ids (`torch.Tensor` of shape `(batch, num_thoughts, length, num_thought_tokens)`, *optional*):
                Thoughts to use in place of new ones.

        Raises:
            `ValueError`: If a text is padded on the left, or longer than the model's attention or positions allow.
        """
        batch, length = input_ids.shape
        if self.longest_text is not None and length > self.longest_text:
            raise ValueError(
                f"A text has {length} tokens. With its thoughts, this model takes at most {self.longest_text}. Cut it."
            )
        if attention_mask is not None and not attention_mask[:, 0].all():
            raise ValueError("The texts are padded on the left. `forward` needs padding on the right.")
        if labels is None:
            labels = input_ids if attention_mask is None else input_ids.masked_fill(attention_mask == 0, IGNORED)
        targets = [shifted(labels, ahead, fill=IGNORED) for ahead in range(1, self.num_true_tokens + 1)]
        cache = DynamicCache()  # of full attention, also for models that know other kinds
        hidden = decode(self.base, input_ids=input_ids, attention_mask=attention_mask, cache=cache)
        nll = self._nll(hidden, targets[0])

        cache.batch_repeat_interleave(num_thoughts)
        rows = input_ids.repeat_interleave(num_thoughts, dim=0)
        given = None if thought_ids is None else thought_ids.flatten(0, 1)
        thoughts = think(
            self.base,
            self.head,
            cache,
            rows,
            self.num_true_tokens,
            lambda hidden, number: self._choose(hidden, temperature) if given is None else given[..., number],
            self.num_thought_tokens,
        )
        hidden = hidden.repeat_interleave(num_thoughts, dim=0)
        mixed, weights = zip(
            *(self.head(shifted(hidden, ahead, fill=0), after) for ahead, after in enumerate(thoughts.after)),
            strict=True,
        )
        nll_with_thoughts = torch.stack(
            [
                self._nll(states, target.repeat_interleave(num_thoughts, dim=0))
                for states, target in zip(mixed, targets, strict=True)
            ],
            dim=-1,
        )
        logprobs: Any = None
        if temperature > 0:
            drawn = zip(thoughts.before, thoughts.token_ids.unbind(dim=-1), strict=True)
            logprobs = -sum(self._nll(states, ids, temperature) for states, ids in drawn)

        def by_thought(values: torch.Tensor) -> torch.Tensor:
            return values.unflatten(0, (batch, num_thoughts))

        labeled = torch.stack([target != IGNORED for target in targets], dim=-1)
        return QuietSTaROutput(
            nll=nll,
            nll_with_thoughts=by_thought(nll_with_thoughts),
            nll_ahead=torch.stack([shifted(nll, ahead, fill=0) for ahead in range(len(targets))], dim=-1),
            labeled=labeled,
            thought_ids=by_thought(thoughts.token_ids),
            thought_logprobs=None if logprobs is None else by_thought(logprobs),
            mixing_weights=by_thought(torch.stack(weights, dim=-1)),
        )

    def _nll(self, hidden: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """Negative log-likelihood of each target. Logits are computed in chunks, and again in the backward pass."""
        lm_head = self.base.get_output_embeddings()

        def nll(states: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
            return cross_entropy(lm_head(states).float() / temperature, wanted, reduction="none", ignore_index=IGNORED)

        chunks = zip(hidden.flatten(0, 1).split(CHUNK), targets.flatten().split(CHUNK), strict=True)
        losses = [checkpoint(nll, states, wanted, use_reentrant=False) for states, wanted in chunks]
        return torch.cat(losses).view_as(targets)

    @torch.no_grad()
    def _choose(self, hidden: torch.Tensor, temperature: float) -> torch.Tensor:
        """Draws a token for each hidden state, or takes the most likely one."""
        lm_head = self.base.get_output_embeddings()

        def choose(states: torch.Tensor) -> torch.Tensor:
            logits = lm_head(states).float()
            if temperature == 0:
                return logits.argmax(dim=-1)
            return torch.multinomial((logits / temperature).softmax(dim=-1), 1).squeeze(-1)

        return torch.cat([choose(states) for states in hidden.flatten(0, -2).split(CHUNK)]).view(hidden.shape[:-1])

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        max_new_tokens: int = 20,
        temperature: float = 0.0,
        eos_token_id: int | Sequence[int] | None = None,
        pad_token_id: int | None = None,
    ) -> torch.Tensor:
        """
        Continues texts. The model thinks greedily before each token, and forgets the thought afterwards.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, length)`):
                Token ids, padded on the left.
            attention_mask (`torch.Tensor` of shape `(batch, length)`, *optional*):
                0 for padding.
            max_new_tokens (`int`, *optional*, defaults to `20`):
                Maximum number of tokens to write.
            temperature (`float`, *optional*, defaults to `0.0`):
                Temperature of the text. `0.0` takes the most likely tokens.
            eos_token_id (`int` or `list[int]`, *optional*):
                Token ids that end a text. Defaults to those of the model's generation configuration.
            pad_token_id (`int`, *optional*):
                Token id behind a text that has ended. Defaults to that of the model's generation configuration, or to
                the first EOS token.

        Returns:
            `torch.Tensor` of shape `(batch, length + new tokens)`: The texts.

        Raises:
            `ValueError`: If a text is padded on the right.
        """
        generation_config = self.base.generation_config
        ends = generation_config.eos_token_id if eos_token_id is None else eos_token_id
        ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        pad = generation_config.pad_token_id if pad_token_id is None else pad_token_id
        pad = (ends or [0])[0] if pad is None else pad
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if not mask[:, -1].all():
            raise ValueError(
                "The texts are padded on the right. `generate` needs padding on the left: set "
                '`tokenizer.padding_side = "left"`.'
            )
        cache = DynamicCache()
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        states = self._extend(cache, mask, positions, input_ids=input_ids)
        ended = torch.zeros_like(input_ids[:, 0], dtype=torch.bool)
        for _ in range(max_new_tokens):
            after = self._think_once(cache, mask, positions[:, -1:], states)
            token = self._choose(self.head(states, after)[0], temperature)
            token = token.masked_fill(ended[:, None], pad)
            input_ids = torch.cat([input_ids, token], dim=-1)
            ended = ended | torch.isin(token[:, 0], torch.tensor(ends, device=token.device))
            if ended.all():
                break
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=-1)
            positions = positions[:, -1:] + 1
            states = self._extend(cache, mask, positions, input_ids=token)
        return input_ids

    def _extend(
        self, cache: DynamicCache, mask: torch.Tensor, positions: torch.Tensor, **tokens: torch.Tensor
    ) -> torch.Tensor:
        """Reads tokens, and returns the hidden states of the last one, of shape `(batch, 1, hidden_size)`."""
        return decode(self.base, cache=cache, attention_mask=mask, position_ids=positions, **tokens)[:, -1:]

    def _think_once(
        self, cache: DynamicCache, mask: torch.Tensor, positions: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        """Thinks behind the last token of each row, and removes the thought from the cache."""
        batch, dtype = len(mask), states.dtype
        embed = self.base.get_input_embeddings()
        seen = mask

        def step(embeddings: torch.Tensor) -> torch.Tensor:
            nonlocal seen
            seen = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=-1)
            number = seen.shape[1] - mask.shape[1]
            return self._extend(cache, seen, positions + number, inputs_embeds=embeddings.to(dtype))

        after = step(self.head.start.expand(batch, 1, -1))
        for _ in range(self.num_thought_tokens):
            after = step(embed(self._choose(after, 0.0)))
        after = step(self.head.end.expand(batch, 1, -1))
        cache.crop(mask.shape[1] - seen.shape[1])  # removes as many
        return after

    # Files

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """
        Saves the language model or its adapter as usual, and the head beside it.

        Args:
            save_directory (`str` or `Path`):
                Folder.
            **kwargs:
                Passed to `save_pretrained` of the language model.

        Raises:
            `ValueError`: If `push_to_hub` is among them, since the head would be missing in the repository.
        """
        if kwargs.get("push_to_hub"):
            raise ValueError("`push_to_hub` would upload the model without its head. Save it, and upload the folder.")
        self.model.save_pretrained(save_directory, **kwargs)
        self.save_head(save_directory)

    def save_head(self, save_directory: str | Path) -> None:
        """Saves the head and the settings without the language model."""
        folder = Path(save_directory)
        settings = {
            "num_thought_tokens": self.num_thought_tokens,
            "num_true_tokens": self.num_true_tokens,
            "embedding_scale": self.head.embedding_scale,
        }
        (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        tensors = {name: value.detach().contiguous().cpu() for name, value in self.head.state_dict().items()}
        save_file(tensors, folder / HEAD_FILE, metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> "QuietSTaRModel":
        """
        Loads what [`save_pretrained`] or the trainer has saved.

        Args:
            pretrained_model_name_or_path (`str` or `Path`):
                Folder, or repository on the hub.
            **kwargs:
                Passed to `from_pretrained` of the language model. An adapter is trainable by default.
        """
        path = str(pretrained_model_name_or_path)
        where = {name: kwargs[name] for name in ("revision", "token", "cache_dir", "subfolder") if name in kwargs}
        settings = json.loads(Path(str(cached_file(path, CONFIG_FILE, **where))).read_text(encoding="utf-8"))
        if _exists(path, "adapter_config.json", **where):
            from peft import AutoPeftModelForCausalLM  # an optional dependency

            model = AutoPeftModelForCausalLM.from_pretrained(path, **{"is_trainable": True, **kwargs})
        else:
            model = AutoModelForCausalLM.from_pretrained(path, **kwargs)
        embed: Any = base_model(model).get_input_embeddings()
        head = ThoughtHead(embed.weight.shape[1], settings.pop("embedding_scale"))
        quiet = cls(model, head.to(model.device), **settings)
        quiet.load_head(path, **where)
        return quiet.eval()

    def load_head(self, path: str | Path, **where: Any) -> None:
        """Loads the weights of the head from a folder or a repository."""
        self.head.load_state_dict(load_file(str(cached_file(str(path), HEAD_FILE, **where))))


def has_head(path: str, **where: Any) -> bool:
    """Returns whether a folder or a repository on the hub has a head for thoughts."""
    return _exists(path, CONFIG_FILE, **where)


def _exists(path: str, file: str, **where: Any) -> bool:
    missing_is_fine = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
        "_raise_exceptions_for_gated_repo": False,
    }
    return cached_file(path, file, **missing_is_fine, **where) is not None
