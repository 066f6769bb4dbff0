# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Spares the garbage collection of what a run finds when it begins."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def old_objects_uncollected() -> Iterator[None]:
    """
    Leaves the objects that exist already out of garbage collections while the context is open. The imported libraries
    alone are half a million. To visit them takes 0.3 s, and each outer iteration has several collections: those that
    free the optimizer, and those that Python begins as samples become more. Nothing is done where the caller has
    frozen objects, since they could not be told apart afterwards.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
