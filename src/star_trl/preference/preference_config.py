# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Settings of Iterative RPO and SPIN."""

from dataclasses import dataclass, field

from ..star_config import STaRConfig
from ..user_input import OTHER_SETTINGS, explain_unknown


# Settings that pairs cannot have, the value that each must have, and the reason
MUST_BE = {
    "sample_weighting": ("uniform", "pairs have no weights. `beta` and `rpo_alpha` set the loss"),
    "loss_normalization": ("tokens", "the loss is a mean over pairs"),
    "packing": (False, "a pair is two sequences side by side"),
    "loss_type": ("nll", "`DPOTrainer` computes the loss. `beta` and `rpo_alpha` set it"),
    "label_smoothing_factor": (0.0, "`DPOTrainer` computes the loss. `beta` and `rpo_alpha` set it"),
    "max_samples_per_problem": (None, "`max_pairs_per_problem` limits the pairs"),
    "adaptive_thresholds": (None, "pairs are of right and wrong completions, which `reward_threshold` decides"),
    "distillation": (None, "`beta` and `rpo_alpha` set the loss"),
    "gradient_view_samples": (0, "its metrics are those of a loss on single samples"),
}


@explain_unknown(OTHER_SETTINGS)
@dataclass
class IterativeRPOConfig(STaRConfig):
    r"""
    Configuration of [`IterativeRPOTrainer`]. Fields not listed here are those of [`STaRConfig`]. Batch sizes count
    pairs, as in [`~trl.DPOConfig`]. `sample_weighting`, `loss_normalization`, `max_samples_per_problem`, `packing`,
    `loss_type`, `label_smoothing_factor`, `adaptive_thresholds` and `gradient_view_samples` have to stay at their
    defaults.
    `shared_prefix_train` has no effect on the inner loop.

    Args:
        beta (`float`, *optional*, defaults to `0.1`):
            Strength with which the reference, the model that the iteration starts from, holds the model (the paper's,
            section 3.1).
        rpo_alpha (`float`, *optional*, defaults to `1.0`):
            Weight of the negative log-likelihood of the chosen completion, divided by its number of tokens: the
            alpha of the paper's equation 1, with its value for GSM8K.
        max_pairs_per_problem (`int`, *optional*, defaults to `10`):
            Maximum number of pairs per problem, drawn at random from all combinations of a right and a wrong
            completion (the paper's K for GSM8K). `None`: all combinations.
        solution_column (`str`, *optional*):
            Column with solutions that count as right completions besides the sampled ones: text, in the form that the
            model writes. The paper adds the solutions of GSM8K, so that problems that the model never solves have
            pairs as well. None by default.
        reset_model (`bool`, *optional*, defaults to `False`):
            Whether every iteration starts from the original model, which then is the reference as well.
        num_generations (`int`, *optional*, defaults to `30`):
            Number of completions per problem (the paper's for GSM8K).
        temperature (`float`, *optional*, defaults to `0.8`):
            Sampling temperature (the paper's for its first two iterations on GSM8K).
        initial_steps (`int`, *optional*):
            Number of steps in the first iteration. `None`: `max_steps` or `num_train_epochs` apply to every iteration.
        num_train_epochs (`float`, *optional*, defaults to `1.0`):
            How often every iteration trains on its pairs.
        learning_rate (`float`, *optional*, defaults to `1e-6`):
            Initial learning rate, that of [`~trl.DPOConfig`]. The paper has `7e-7` for a model of 70 billion
            parameters.
    """

    beta: float = field(default=0.1, metadata={"help": "Strength with which the reference holds the model."})
    rpo_alpha: float = field(
        default=1.0, metadata={"help": "Weight of the negative log-likelihood of the chosen completion."}
    )
    max_pairs_per_problem: int | None = field(
        default=10, metadata={"help": "Maximum number of pairs per problem. None: all combinations."}
    )
    solution_column: str | None = field(
        default=None, metadata={"help": "Column with solutions that count as right completions."}
    )

    # Parameters whose default values are overridden from STaRConfig
    reset_model: bool = field(
        default=False, metadata={"help": "Whether every outer iteration starts from the original model."}
    )
    num_generations: int = field(
        default=30, metadata={"help": "Number of completions per problem. More than one needs a temperature."}
    )
    temperature: float = field(default=0.8, metadata={"help": "Sampling temperature; 0.0 is greedy decoding."})
    initial_steps: int | None = field(
        default=None,
        metadata={
            "help": "Number of optimizer steps in the first outer iteration. `None`: `max_steps` or "
            "`num_train_epochs` apply to every outer iteration."
        },
    )
    num_train_epochs: float = field(
        default=1.0, metadata={"help": "How often every outer iteration trains on its pairs."}
    )
    learning_rate: float = field(default=1e-6, metadata={"help": "The initial learning rate."})

    def __post_init__(self):
        super().__post_init__()
        for name, (value, reason) in MUST_BE.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"`{name}={getattr(self, name)!r}` cannot be used with pairs: {reason}. Set it to {value!r}."
                )
        if not self.beta > 0:
            raise ValueError(f"`beta` must be positive, got {self.beta}.")
        if not self.rpo_alpha >= 0:
            raise ValueError(f"`rpo_alpha` must be 0 or more, got {self.rpo_alpha}.")
        if self.max_pairs_per_problem is not None and self.max_pairs_per_problem < 1:
            raise ValueError(f"`max_pairs_per_problem` must be at least 1 or None, got {self.max_pairs_per_problem}.")


@explain_unknown(OTHER_SETTINGS)
@dataclass
class SPINConfig(IterativeRPOConfig):
    r"""
    Configuration of [`SPINTrainer`]. Fields not listed here are those of [`IterativeRPOConfig`].

    Args:
        solution_column (`str`, *optional*, defaults to `"solution"`):
            Column with the solutions, which are the chosen completions: text, in the form that the model is to write.
        rpo_alpha (`float`, *optional*, defaults to `0.0`):
            Weight of the negative log-likelihood of the solution, which SPIN does not have.
        num_generations (`int`, *optional*, defaults to `1`):
            Number of completions per problem.
        temperature (`float`, *optional*, defaults to `1.0`):
            Sampling temperature (the authors' code).
        num_train_epochs (`float`, *optional*, defaults to `3.0`):
            How often every iteration trains on its pairs (the authors' code).
        sample_iterations (`int`, *optional*, defaults to `2`):
            Number of most recent iterations whose samples are rejected (the authors' code).
    """

    solution_column: str | None = field(
        default="solution", metadata={"help": "Column with the solutions, which are the chosen completions."}
    )
    rpo_alpha: float = field(
        default=0.0, metadata={"help": "Weight of the negative log-likelihood of the chosen completion."}
    )
    num_generations: int = field(
        default=1, metadata={"help": "Number of completions per problem. More than one needs a temperature."}
    )
    temperature: float = field(default=1.0, metadata={"help": "Sampling temperature; 0.0 is greedy decoding."})
    num_train_epochs: float = field(
        default=3.0, metadata={"help": "How often every outer iteration trains on its pairs."}
    )
    sample_iterations: int = field(
        default=2, metadata={"help": "Number of most recent outer iterations whose samples are trained on."}
    )

    def __post_init__(self):
        super().__post_init__()
        if self.solution_column is None:
            raise ValueError(
                "`solution_column=None`, but SPIN prefers the dataset's own solutions. Name the column that holds "
                "them."
            )
