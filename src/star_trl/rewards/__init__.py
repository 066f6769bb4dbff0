# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Reward functions, in the calling convention of [`~trl.GRPOTrainer`]."""

from .arithmetic import scratchpad_answer_reward
from .exact_match import exact_match_reward
from .format import get_format_reward
from .math_verify import math_verify_reward
from .multiple_choice import multiple_choice_reward, strict_multiple_choice_reward
from .numeric import extract_number, numeric_reward, strict_numeric_reward
from .process_reward_model import ProcessRewardModel
from .proof import ProofCheckReward
from .reward_model import RewardModel


__all__ = [
    "ProcessRewardModel",
    "ProofCheckReward",
    "RewardModel",
    "exact_match_reward",
    "extract_number",
    "get_format_reward",
    "math_verify_reward",
    "multiple_choice_reward",
    "numeric_reward",
    "scratchpad_answer_reward",
    "strict_multiple_choice_reward",
    "strict_numeric_reward",
]
