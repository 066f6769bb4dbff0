# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""A run leaves what it finds out of garbage collections, and nothing else."""

import gc
import weakref

import pytest

from star_trl.run.old_objects import old_objects_uncollected


class Circle:
    def __init__(self):
        self.itself = self


def test_only_what_is_made_meanwhile_is_collected_meanwhile():
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
