# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What the heap keeps."""

import ctypes
import sys
from types import SimpleNamespace

from star_trl.generation.memory import trim_heap


def test_the_heap_is_trimmed_where_the_c_library_can(monkeypatch):
    kept = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=kept.append))
    trim_heap()
    assert kept == [0]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    trim_heap()
    assert kept == [0]
