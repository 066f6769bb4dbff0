# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Settings of Quiet-STaR."""

from dataclasses import dataclass, field

from trl import SFTConfig


# Fields of SFTConfig that training with thoughts cannot do, the value that each must have, and the reason
MUST_BE = {
    "eval_packing": (None, "a thought would see the texts packed before its own"),
    "packing": (False, "a thought would see the texts packed before its own"),
    "padding_free": (False, "a thought would see the texts before its own"),
    "gradient_checkpointing": (False, "thoughts read the keys and values of the text, which checkpointing drops"),
    "loss_type": ("nll", "the loss of Quiet-STaR is fixed"),
    "label_smoothing_factor": (0.0, "the loss of Quiet-STaR is fixed"),
    "neftune_noise_alpha": (None, "thoughts are drawn from embeddings without noise"),
}


@dataclass
class QuietSTaRConfig(SFTConfig):
    r"""
    Configuration of [`QuietSTaRTrainer`]. Fields not listed here are those of [`~trl.SFTConfig`]. `packing` and
    `gradient_checkpointing` are off and cannot be used.

    Args:
        num_thought_tokens (`int`, *optional*, defaults to `8`):
            Number of tokens of a thought, without its start and end.
        num_true_tokens (`int`, *optional*, defaults to `4`):
            Number of tokens of the text that are predicted behind each thought, \(n_\text{true}\) in the paper.
        num_thoughts (`int`, *optional*, defaults to `2`):
            Number of thoughts drawn at each position. The reward of a thought is compared with the mean of all of
            them; a single one is compared with nothing.
        thought_temperature (`float`, *optional*, defaults to `1.0`):
            Temperature at which thoughts are drawn in training. In evaluation they are greedy.
        start_text (`str`, *optional*, defaults to `"---"`):
            Text whose embedding that of the start token begins with. A text that announces an explanation in the data
            that the model knows (`":"`) makes the first thoughts useful.
        end_text (`str`, *optional*, defaults to `"---"`):
            The same for the end token.
        embedding_scale (`float`, *optional*, defaults to `100.0`):
            How many times as fast as the rest the embeddings of the start and end tokens learn.
        mixing_learning_rate (`float`, *optional*):
            Initial learning rate of the mixing head. Defaults to `learning_rate`, as in the code of the paper. The
            last layer of the head begins at zero. The narrower the model, the more steps pass until thoughts count,
            and a model may forget useful thoughts meanwhile. A higher learning rate shortens this.
        base_weight (`float`, *optional*, defaults to `1.0`):
            Weight of the negative log-likelihood without thoughts.
        policy_weight (`float`, *optional*, defaults to `1.0`):
            Weight of the REINFORCE loss of the thoughts. The code of the paper has `1e6`, for the mean over the tokens
            of a thought in place of their sum, and clips gradients, so that this term decides the direction of a step.
        clamp_reward (`bool`, *optional*, defaults to `True`):
            Whether thoughts that are worse than the mean are left out, as in the paper, rather than made less likely.
        learning_rate (`float`, *optional*, defaults to `1e-6`):
            Initial learning rate of the optimizer, that of the paper for a model of 7 billion parameters.
        gradient_checkpointing (`bool`, *optional*, defaults to `False`):
            Has to be `False`.
    """

    num_thought_tokens: int = field(
        default=8, metadata={"help": "Number of tokens of a thought, without its start and end."}
    )
    num_true_tokens: int = field(
        default=4, metadata={"help": "Number of tokens of the text that are predicted behind each thought."}
    )
    num_thoughts: int = field(default=2, metadata={"help": "Number of thoughts drawn at each position."})
    thought_temperature: float = field(
        default=1.0, metadata={"help": "Temperature at which thoughts are drawn in training."}
    )
    start_text: str = field(
        default="---", metadata={"help": "Text whose embedding that of the start token begins with."}
    )
    end_text: str = field(default="---", metadata={"help": "Text whose embedding that of the end token begins with."})
    embedding_scale: float = field(
        default=100.0,
        metadata={"help": "How many times as fast as the rest the start and end embeddings learn."},
    )
    mixing_learning_rate: float | None = field(
        default=None, metadata={"help": "The initial learning rate of the mixing head. Defaults to `learning_rate`."}
    )
    base_weight: float = field(
        default=1.0, metadata={"help": "Weight of the negative log-likelihood without thoughts."}
    )
    policy_weight: float = field(default=1.0, metadata={"help": "Weight of the REINFORCE loss of the thoughts."})
    clamp_reward: bool = field(default=True, metadata={"help": "Leave out thoughts that are worse than the mean."})
    learning_rate: float = field(default=1e-6, metadata={"help": "The initial learning rate."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Has to be False."})

    def __post_init__(self):
        super().__post_init__()
        for name, least in {"num_thought_tokens": 1, "num_true_tokens": 1, "num_thoughts": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` is {getattr(self, name)}. It must be at least {least}.")
        for name in ("thought_temperature", "embedding_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` is {getattr(self, name)}. It must be more than 0.")
        if self.mixing_learning_rate is not None and not self.mixing_learning_rate > 0:
            raise ValueError(f"`mixing_learning_rate` is {self.mixing_learning_rate}. It must be more than 0.")
        for name in ("base_weight", "policy_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}` is {getattr(self, name)}. It must not be negative.")
        for name, (value, reason) in MUST_BE.items():
            if getattr(self, name) not in (value, None):
                raise ValueError(
                    f"`{name}={getattr(self, name)!r}` cannot be used with Quiet-STaR: {reason}. Set it to {value!r}."
                )
