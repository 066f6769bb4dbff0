# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch

from star_trl.generation import StopStrings
from support.generation_models import byte_level_tokenizer, sentencepiece_tokenizer, word_level_tokenizer


TOKENIZERS = {
    "byte_level": byte_level_tokenizer(),
    "sentencepiece": sentencepiece_tokenizer(),
    "word_level": word_level_tokenizer(),
}


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False)


def first_end(stop, ids):
    """Number of ids after which an engine would stop, asking only where the table allows it."""
    for end in range(1, len(ids) + 1):
        if stop.may_complete(torch.tensor([ids[end - 1]])).item() and stop.reason(ids[:end]) == "stop":
            return end
    return None


@pytest.mark.parametrize(
    ("name", "text", "string"),
    [
        ("byte_level", "two plus three is five.\n\nQ: what?", "\n\nQ:"),  # spans tokens
        ("byte_level", "and the stoppers", "stop"),  # ends in the middle of a token
        ("byte_level", "and the stoppers", "e st"),  # begins and ends in the middle of tokens
        ("byte_level", "5 + 7 = 12 € and", "€"),  # one character made of several tokens
        ("sentencepiece", "two is five.\n\nQ: what?", "\n\nQ:"),  # byte tokens for the line feeds
        ("sentencepiece", "it costs é\n\nand", "\n\n"),  # inside one run of byte tokens
        ("sentencepiece", "and the stoppers", "stop"),
        ("sentencepiece", "and the stoppers", "the "),  # ends in the space before the next word
        ("word_level", "2 + 5 , 3 Input: 6", "Input:"),
        ("word_level", "2 + 5 , 3 C: 0 , 1", "C: 0"),  # with the space that the decoder sets
        ("word_level", "2 + 5 , 3 C: 0 , 1", "+ "),
    ],
)
def test_stops_at_the_token_that_completes_the_string(name, text, string):
    tokenizer = TOKENIZERS[name]
    ids = encode(tokenizer, text)
    expected = next(end for end in range(1, len(ids) + 1) if string in tokenizer.decode(ids[:end]))
    assert expected < len(ids) or string == "stop"
    assert first_end(StopStrings(tokenizer, [string, "never this"]), ids) == expected


def test_text_without_the_string_goes_on():
    for tokenizer in TOKENIZERS.values():
        assert first_end(StopStrings(tokenizer, ["Qx", "zz"]), encode(tokenizer, "two + 5 Input: Q")) is None
        assert first_end(StopStrings(tokenizer, []), encode(tokenizer, "two + 5")) is None


def test_the_table_spares_most_tokens():
    tokenizer = TOKENIZERS["byte_level"]
    # Besides tokens with a colon, those that hold a part of a character
    candidates = StopStrings(tokenizer, ["\n\nQ:"]).may_complete(torch.arange(len(tokenizer)))
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    assert [":" in text or "\ufffd" in text for text in texts] == candidates.tolist()


def test_ids_beyond_the_tokenizer_are_no_stop():
    stop = StopStrings(TOKENIZERS["byte_level"], ["a"])
    assert stop.may_complete(torch.tensor([10_000_000])).tolist() == [False]


@pytest.mark.parametrize(
    ("name", "text", "string", "kept"),
    [
        ("byte_level", "is five.\n\nQ: what?", "\n\nQ:", "is five."),
        ("byte_level", "and stopper", "per", "and stopper"),  # "stopper" or "stopp" straddles the beginning
        ("sentencepiece", "is five\n\nQ: what?", "\n\nQ:", "is five"),
        ("word_level", "3 C: 0 Input: 6", "Input:", "3 C: 0"),  # the space before the word is no part of its token
        ("word_level", "Input: 6", "Input:", ""),
    ],
)
def test_trim_drops_what_lies_inside_the_stop_string(name, text, string, kept):
    tokenizer = TOKENIZERS[name]
    stop = StopStrings(tokenizer, [string])
    ids = encode(tokenizer, text)
    trimmed = stop.trim(ids)
    assert trimmed == ids[: len(trimmed)]
    if string == "per":
        inside = tokenizer.decode(trimmed[:-1])
        assert len(inside) < text.index(string) <= len(tokenizer.decode(trimmed))
    else:
        assert tokenizer.decode(trimmed) == kept


def test_trim_keeps_the_token_that_straddles_the_beginning():
    tokenizer = word_level_tokenizer(["12", "3stop", "per"])
    ids = [tokenizer.convert_tokens_to_ids(word) for word in ("12", "3stop", "per")]
    assert StopStrings(tokenizer, ["stop per"]).trim(ids) == ids[:2]


def test_trim_takes_the_earliest_occurrence_of_any_string():
    tokenizer = TOKENIZERS["word_level"]
    ids = encode(tokenizer, "1 C: 2 Input: 3 C: 4")
    assert tokenizer.decode(StopStrings(tokenizer, ["Input:", "C:"]).trim(ids)) == "1"
    assert StopStrings(tokenizer, ["Target:"]).trim(ids) == ids


def test_an_empty_stop_string_raises():
    with pytest.raises(ValueError, match="empty stop string"):
        StopStrings(TOKENIZERS["word_level"], [""])
