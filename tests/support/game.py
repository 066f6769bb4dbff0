# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The game of `examples/from_scratch/key_and_door.py`, played by a model that follows the way where it is shown."""

# Which samples of two problems are kept
KEPT_WITH_HINT = {
    ("rationale", 0): False,
    ("rationale", 1): False,
    ("rationalization", 0): True,
    ("rationalization", 1): True,
}


def follow(prompt: str) -> str:
    """Returns the next turn of a conversation."""
    from key_and_door import CALL

    way = prompt.partition("The way is ")[2].partition(".")[0].split()[1::2]
    turn = prompt.count("<tool_response>")
    return f"{CALL[0]}{way[turn]}{CALL[1]}" if turn < len(way) else "Done."
