# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A base model that several examples begin with. It is made once, also with several processes of pytest."""

from pathlib import Path

import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def small_adder(tmp_path_factory) -> Path:
    """A model that is right on some sums of one digit and wrong on others."""
    from scratchpads import make_base_model

    folder = tmp_path_factory.getbasetemp().parent
    with FileLock(folder / "small-adder.lock"):
        return make_base_model(folder / "small-adder", phases=((80, 32, 32, (1,)), (40, 16, 64, (1,))))
