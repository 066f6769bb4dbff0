# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Rewards take time linear in what a model wrote, and raise nothing, whatever it is."""

import sqlite3
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_trl.rewards import (
    derived_answer_reward,
    exact_match_reward,
    extract_sql,
    math_verify_reward,
    multiple_choice_reward,
    numeric_reward,
    scratchpad_answer_reward,
    sql_execution_reward,
    strict_multiple_choice_reward,
    strict_numeric_reward,
)
from star_trl.rewards.answers.numbers import parse_number
from star_trl.rewards.answers.numeric import gold_number
from star_trl.rewards.proof.checkers import Coq, Lean, NoProof
from star_trl.rewards.sql.sql import has_order
from star_trl.tools import calculate


CHOICES = ["shirt pocket", "the ground", "ground", "A dog", "not hungry"]
QUESTION = "Q: A baker made 24 rolls, sold 15 and baked 1 and 2 more. How many are left?"


def read_proof(checker, theorem):
    checker = checker(["unused"], run=None, timeout=1.0, axioms=())

    def read(text):
        try:
            checker.read(text, theorem)
        except NoProof:
            pass

    return read


# What reads a text that a model wrote
READERS = {
    "exact_match_reward": lambda text: exact_match_reward([text], ["8"]),
    "scratchpad_answer_reward": lambda text: scratchpad_answer_reward([text], ["8"]),
    "numeric_reward": lambda text: numeric_reward([text], [72]),
    "strict_numeric_reward": lambda text: strict_numeric_reward([text], [72]),
    "parse_number": parse_number,
    "multiple_choice_reward": lambda text: multiple_choice_reward([text], ["B"], [CHOICES]),
    "strict_multiple_choice_reward": lambda text: strict_multiple_choice_reward([text], ["B"], [CHOICES]),
    "derived_answer_reward": lambda text: derived_answer_reward([QUESTION], [text]),
    "extract_sql": extract_sql,
    "has_order": has_order,
    "calculate": calculate,
    "rocq": read_proof(Coq, "Theorem t : True."),
    "lean": read_proof(Lean, "theorem t : True"),
}
# Text before and after the repeated unit, such that more is looked at
PLACES = ["{}", "#### 1{}!", "The answer is ({}1", "```sql\n{}", "SQL: {}\n#### 9", "{}(e)."]
UNITS = """
    1 9, 1/ 1e 1- 5% 1"1 <<1 <<1+1= << >> = { } ( [ ] ' " ` ``` -- /* */ (* *) /- \\boxed{ \\boxed{} \\frac{1}{ \\text{
    #### ####1 * ** _ \\ ^{1 1( $ € . ; answer answer: answer:1 a (a) A A, option <think> <answer> 1a 1ab2 e1 SQL:
""".split() + [
    *(" ", "\n", "a ", "1 ", "a, ", "( ", "A\n", "1 1\"1", "answer is ", "answer is (a) ", "wrong answer=the"),
    *("1 or ", "#### 1\n", "Q:\n", "\\boxed{1}{", "- 1", "#### 1 a", "1 000 ", "- ", "\n- ", "minus ", "$ ", "/* "),
    *("ORDER BY ", "'' ", "1=1 ", "1*(", "$.1x", "= ", "will ", "SQL: ```", "```sql\nSELECT ';'\n```", "\n\n"),
]  # fmt: skip
CHARACTERS = 400
TIMES = 8
# Of a text of 3,200 characters, a hundred times what a pass over it takes. Shorter times are not measured again.
LONG = 0.02


def seconds(read, text):
    start = time.process_time()
    read(text)
    return time.process_time() - start


@pytest.mark.parametrize("name", READERS)
def test_time_grows_as_the_text_does(name):
    """In CPU time: for a text that is eight times as long, quadratic time is 64 times as long."""
    read = READERS[name]
    for unit in UNITS:
        for place in PLACES:
            short, long = (place.replace("{}", unit * (CHARACTERS * times // len(unit))) for times in (1, TIMES))
            if seconds(read, long) > LONG:
                # The shortest of several, since a process that is interrupted counts time of others as well
                taken, expected = (min(seconds(read, text) for _ in range(3)) for text in (long, short))
                assert taken < 3 * TIMES * expected, (unit, place)


def test_every_calculation_is_looked_at_once():
    """Each adds a number that later ones may use."""

    def chain(count):
        lines = "\n".join(f"{number} + 1 = {number + 1}" for number in range(1, count))
        return f"{lines}\n#### {count}"

    assert derived_answer_reward([QUESTION], [chain(500)]) == [1.0]
    short, long = (
        min(seconds(READERS["derived_answer_reward"], chain(count)) for _ in range(2)) for count in (500, 4_000)
    )
    assert long < 3 * TIMES * short


FRAGMENTS = [
    *UNITS,
    "</think>",
    "</answer>",
    "\\frac{3}{4}",
    "½",
    "٧",
    "\ud800",
    "\0",
    "SELECT name FROM state",
    "intros.",
]
TEXT = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=6), max_size=16).map("".join)
# Always the same texts, in seconds
few = settings(derandomize=True, deadline=None, database=None, max_examples=150)


@few
@given(TEXT)
def test_any_text_can_be_read(text):
    for read in READERS.values():
        read(text)


@few
@given(TEXT)
def test_a_strict_reward_accepts_no_more(text):
    assert strict_numeric_reward([text], [1]) <= numeric_reward([text], [1])
    assert strict_multiple_choice_reward([text], ["A"]) <= multiple_choice_reward([text], ["A"])


@few
@given(TEXT)
def test_any_right_answer_is_read_or_refused(text):
    """`ValueError` is what the rewards document."""
    try:
        gold_number(text)
    except ValueError as error:
        assert "no single number in the right answer" in str(error)
    try:
        multiple_choice_reward(["(b)"], [text], [CHOICES])
    except ValueError as error:
        assert "none of the choices" in str(error)


@settings(few, max_examples=40)
@given(text=TEXT)
def test_any_text_can_be_run_as_sql(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "state.sqlite"
    if not path.exists():
        with sqlite3.connect(path) as connection:
            connection.executescript("CREATE TABLE state (name); INSERT INTO state VALUES ('ohio')")
    for completion in (text, f"SQL: {text}", f"SQL: SELECT {text} FROM state"):
        (reward,) = sql_execution_reward([completion], ["SELECT name FROM state"], str(path))
        assert reward in (0.0, 1.0)


@settings(few, max_examples=20)
@given(TEXT)
def test_any_text_can_be_read_by_math_verify(text):
    pytest.importorskip("math_verify")
    (reward,) = math_verify_reward([f"\\boxed{{{text}}}"], ["8"])
    assert reward in (0.0, 1.0)
