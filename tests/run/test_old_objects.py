# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A run leaves what it finds out of garbage collections, and nothing else."""

import gc
import weakref

import pytest

from star_trl.run.old_objects import old_objects_uncollected


@pytest.fixture
def nothing_is_frozen():
    gc.unfreeze()
    yield
    gc.freeze()  # as in tests/conftest.py


class Circle:
    def __init__(self):
        self.itself = self


def test_only_what_is_made_meanwhile_is_collected_meanwhile(nothing_is_frozen):
    old = Circle()
    reference = weakref.ref(old)
    with pytest.raises(RuntimeError), old_objects_uncollected():
        del old
        new = weakref.ref(Circle())
        gc.collect()
        assert new() is None
        assert reference() is not None
        raise RuntimeError
    gc.collect()
    assert reference() is None


def test_what_the_caller_has_frozen_stays_frozen():
    frozen = gc.get_freeze_count()
    assert frozen  # by tests/conftest.py
    with old_objects_uncollected():
        pass
    assert gc.get_freeze_count() == frozen
