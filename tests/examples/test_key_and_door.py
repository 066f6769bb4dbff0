# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The game of several turns: its rules, its hint, what its base model reads, and a run."""

import random

import pytest

import key_and_door
from key_and_door import EOS, KeyAndDoor, build_tokenizer, find_way, make_document, make_problems
from support.game import KEPT_WITH_HINT


def test_the_way_opens_the_door():
    for row in make_problems(0, 50):
        game = KeyAndDoor()
        plain, hinted = game.reset(**row), game.reset(**row, hint=True)
        assert hinted.startswith(plain) and hinted != plain
        *others, last = (game.go(direction) for direction in find_way(row["cell"], row["key"], row["door"])[1::2])
        assert not any("opens" in shown for shown in others) and last.endswith("+. The door opens.")
        assert game.get_reward() == 1.0


def test_the_door_needs_the_key_and_the_grid_has_walls():
    game = KeyAndDoor()
    game.reset(cell="a1", key="b1", door="a2")
    assert [game.go(direction) for direction in ("north", "west", "south")] == [
        "You are at a2.",
        "You are at a2.",
        "You are at a1.",
    ]
    assert game.go("east") == "You are at b1+." and game.get_reward() == 0.0
    game.go("west")
    assert game.go("north") == "You are at a2+. The door opens." and game.get_reward() == 1.0
    with pytest.raises(ValueError, match="no direction up"):
        game.go("up")


def test_the_base_model_reads_what_the_chat_template_writes():
    tokenizer, rng = build_tokenizer(), random.Random(0)
    template = {"tools": [KeyAndDoor().go], "tokenize": False}
    prompt = tokenizer.apply_chat_template(key_and_door.MESSAGES, add_generation_prompt=True, **template)
    for _ in range(20):
        pieces = list(make_document(rng, prompt))
        text = "".join(piece for piece, _ in pieces)
        messages = [{"role": "user", "content": text.split("<|im_start|>user\n")[1].split(EOS)[0]}]
        for (written, _), (shown, _) in zip(pieces[1:-1:2], pieces[2:-1:2], strict=True):
            arguments = {"direction": written.split('"direction": "')[1].split('"')[0]}
            called = {"type": "function", "function": {"name": "go", "arguments": arguments}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [called]})
            result = shown.split("<tool_response>\n")[1].split("\n</tool_response>")[0]
            messages.append({"role": "tool", "name": "go", "content": result})
        messages.append({"role": "assistant", "content": "Done."})
        assert text + "\n" == tokenizer.apply_chat_template(messages, **template)
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_model_that_follows_the_way_learns_from_the_hint(play_the_game):
    assert play_the_game(make_problems(0, 2)) == KEPT_WITH_HINT
