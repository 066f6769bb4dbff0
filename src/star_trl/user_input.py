# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Checks names that users give, and suggests what they meant."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean ...?`, or an empty text if no known name is near."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{matches[0]}`?" if matches else ""
