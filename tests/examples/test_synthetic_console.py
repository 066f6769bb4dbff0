# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The console on one table: its problems, what its base model reads, and a run."""

import random
import re

import pytest
from datasets import Dataset

import synthetic_console
from key_and_door import make_trainer
from star_trl import STaRConfig
from star_trl.rewards import run_sql
from support.scripted_engine import ScriptedEngine
from synthetic_console import CALL_END, CALLS, CONFIG, EOS, SqlConsole, compare, look_up, make_document, make_problems
from synthetic_sql import make_database


HINT = re.compile(
    r"The query is: SELECT name FROM city WHERE (\w+) ([><]) \(SELECT \1 FROM city WHERE name = '(\w+)'\)"
)


@pytest.fixture
def database(tmp_path):
    return make_database(tmp_path / "city.sqlite")


def follow(prompt):
    """Looks up and submits what the hint says. Says nothing of use without a hint."""
    hint = HINT.search(prompt)
    results = re.findall(r"<tool_response>\n(.*?)\n</tool_response>", prompt)
    if hint is None or len(results) == 2:
        return "Done."
    column, operator, city = hint.groups()
    query = compare(column, operator, results[0]) if results else look_up(column, city)
    return f"{CALLS['submit' if results else 'query']}{query}{CALL_END}"


def test_problems_are_different_and_the_value_that_is_looked_up_answers_them(database):
    rows = make_problems(0, 30, database)
    assert len({row["prompt"][0]["content"] for row in rows}) == 30
    for row in rows:
        console = SqlConsole()
        hint = console.reset(**row, hint=True)
        column, operator, city = HINT.search(hint).groups()
        console.submit(compare(column, operator, console.query(look_up(column, city))))
        assert console.get_reward() == 1.0 and run_sql(row["answer"], database)


def test_the_base_model_reads_what_the_chat_template_writes():
    tokenizer, rng = synthetic_console.build_tokenizer(), random.Random(0)
    template = {"tools": synthetic_console.tools(), "tokenize": False}
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "QUESTION"}], add_generation_prompt=True, **template
    )
    for _ in range(20):
        pieces = list(make_document(rng, prompt))
        text = "".join(piece for piece, _ in pieces)
        messages = [{"role": "user", "content": text.split("<|im_start|>user\n")[1].split(EOS)[0]}]
        for name, (written, _), (shown, _) in zip(CALLS, pieces[1:-1:2], pieces[2:-1:2], strict=True):
            arguments = {"sql": written.removeprefix(CALLS[name]).removesuffix(CALL_END + EOS)}
            called = {"type": "function", "function": {"name": name, "arguments": arguments}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [called]})
            result = shown.split("<tool_response>\n")[1].split("\n</tool_response>")[0]
            messages.append({"role": "tool", "name": name, "content": result})
        messages.append({"role": "assistant", "content": "Done."})
        assert text + "\n" == tokenizer.apply_chat_template(messages, **template)
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text and len(ids) < 100


def test_a_model_that_follows_the_hint_learns_from_it(database, tmp_path):
    model = synthetic_console.make_base_model(tmp_path / "base", phases=((1, 2, None),))
    rows = Dataset.from_list(make_problems(0, 2, database))
    config = STaRConfig(**{**CONFIG, "num_iterations": 1, "initial_steps": 1}, output_dir=str(tmp_path / "out"))
    trainer = make_trainer(model, config, rows, environment_factory=SqlConsole)
    trainer.engine = ScriptedEngine(trainer.processing_class, follow)
    trainer.train()
    samples = trainer.ledger.read(1)
    assert {sample.sampler for sample in samples if sample.kept} == {"rationalization"}
    assert sum(sample.kept for sample in samples) == 2
