# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Word problems that differ in a name."""

from collections import defaultdict

import names
from star_trl.rewards import derived_answer_reward, numeric_reward


def test_the_problems_of_a_pair_differ_in_the_name_only():
    rows = names.load("eval", None)
    pairs = defaultdict(list)
    for row in rows:
        pairs[row["pair"]].append(row)
    assert len(rows) == 160 and len(pairs) == 80
    for pair, (one, other) in pairs.items():
        first, second = pair.split()[1:]
        assert (one["names"], other["names"]) == names.GROUPS
        assert one["prompt"].replace(first, second) == other["prompt"] != one["prompt"]
        assert one["answer"] == other["answer"]


def test_the_answers_are_those_of_the_equations():
    for number, (_, equation, answer) in enumerate(names.TEMPLATES):
        row = names.make_pairs(number)[0]
        completion = f" {equation} = <<{equation.replace(' ', '')}={answer}>>{answer}.\n#### {answer}"
        assert numeric_reward([completion], answer=[row["answer"]]) == [1.0]
        assert derived_answer_reward([row["prompt"]], [completion]) == [1.0]
