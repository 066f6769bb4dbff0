# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Settings of this folder's runs. Importing this module makes the modules of the other folders importable."""

import sys
from pathlib import Path
from typing import Any


EXAMPLES = Path(__file__).parents[1]
sys.path += [str(EXAMPLES / "datasets"), str(EXAMPLES / "from_scratch")]
import word_problems  # noqa: E402
from domain import DEFAULTS  # noqa: E402
from runs import ON_A_CPU  # noqa: E402


SETTINGS: dict[str, Any] = {
    **DEFAULTS,
    **word_problems.DOMAIN.defaults,
    **ON_A_CPU,
    "bf16": None,  # where the processor multiplies in bf16, which takes half of the time
    "stop_strings": ["\n\n"],
}
for name in ("model_name_or_path", "calculator"):  # of other argument classes
    del SETTINGS[name]
