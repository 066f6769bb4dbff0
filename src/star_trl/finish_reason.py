# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The reasons why a completion ends."""

from typing import Literal, get_args


FinishReason = Literal["eos", "stop", "length", "pause"]
"""The reason why a completion ended: its EOS, a stop string, the length limit, or a place where a tool is called."""

FINISH_REASONS = frozenset(get_args(FinishReason))
