# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A small model whose tokens are words, for tests that compare engines."""

import pytest

from support.generation_models import make_model, word_level_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return word_level_tokenizer()


@pytest.fixture(scope="module")
def model():
    return make_model()
