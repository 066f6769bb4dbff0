# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Seeds of random streams."""

import hashlib


def seed_of(*parts: object) -> int:
    """Returns a 63-bit seed made from what identifies a random stream. It is the same in every process and Python."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
