# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Reward functions, in the calling convention of [`~trl.GRPOTrainer`]."""

from .answers.derived import derived_answer_reward
from .answers.exact_match import exact_match_reward
from .answers.format import get_format_reward
from .answers.math_verify import math_verify_reward
from .answers.multiple_choice import multiple_choice_reward, strict_multiple_choice_reward
from .answers.numeric import extract_number, numeric_reward, strict_numeric_reward
from .answers.scratchpad import scratchpad_answer_reward
from .models.answer_likelihood import AnswerLikelihoodReward
from .models.process_reward_model import ProcessRewardModel
from .models.reward_model import RewardModel
from .proof.proof import ProofCheckReward
from .sql.sql import extract_sql, first_sql_rows, run_sql, sql_execution_reward


__all__ = [
    "AnswerLikelihoodReward",
    "ProcessRewardModel",
    "ProofCheckReward",
    "RewardModel",
    "derived_answer_reward",
    "exact_match_reward",
    "extract_number",
    "extract_sql",
    "first_sql_rows",
    "get_format_reward",
    "math_verify_reward",
    "multiple_choice_reward",
    "numeric_reward",
    "run_sql",
    "scratchpad_answer_reward",
    "sql_execution_reward",
    "strict_multiple_choice_reward",
    "strict_numeric_reward",
]
