# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Problems that differ in one attribute: accuracy and answers by group, in the report and the card."""

from pathlib import Path

import pytest
from datasets import Dataset

from star_trl.ledger.interval import confidence_interval, paired_difference_interval
from star_trl.ledger.paired_groups import chosen_answer, paired_cells, paired_groups
from star_trl.report.read_run import RunReader
from support.sums import last_question


def test_pairs_are_compared_by_hand():
    # Four pairs, of which the last has one problem only. The second group loses one and gains none.
    pairs = ["0", "0", "1", "1", "2", "2", "3", None]
    groups = ["a", "b", "a", "b", "a", "b", "b", "a"]
    texts = [(True, "#### 1"), (True, "#### 1.0"), (True, "#### 2"), (False, "#### 3"), (False, "no"), (False, "No")]
    answers = dict(enumerate([*texts, (True, "#### 9"), (True, "#### 9")]))
    first, second = paired_groups(answers, pairs, groups)
    assert (first.group, first.problems, first.accuracy) == ("a", 3, pytest.approx(2 / 3))  # without the unpaired one
    assert first.pairs == 0 and paired_cells(first) == ("", "")
    assert (second.group, second.problems, second.accuracy, second.pairs) == ("b", 4, 0.5, 3)
    assert second.accuracy_interval == confidence_interval(0.5, 4)
    assert second.difference == pytest.approx(-1 / 3)
    # Bonett and Price: (0 + 1) / (3 + 2) against (1 + 1) / (3 + 2), so -0.2 with a half width of 1.96 sqrt(0.56 / 5)
    assert second.difference_interval == pytest.approx((-0.2 - 1.96 * 0.56**0.5 / 5**0.5, -0.2 + 1.96 * 0.112**0.5))
    assert second.same_answer == pytest.approx(2 / 3)
    assert second.answers == [("1", 1), ("3", 1), ("no", 1)]


@pytest.mark.parametrize(
    "text, answer",
    [
        ("There are 3 reasons for it. So the answer is pet store (b).", "b"),
        ("There are 3 reasons:\n1. It is warm.\nThe answer is yes.", "the answer is yes."),
        ("There are 3 reasons. The answer is yes.", "there are 3 reasons. the answer is yes."),
        ("It costs 3 dollars.\nYes", "yes"),
        ("2 + 1 is 3.\nSo 3 apple(s).", "3"),
        ("#### 72\nI hope that this helps.", "72"),
        ("The answer is 72.\nThis is all.", "72"),
        ("<think>Perhaps (a).</think>Yes (c).\n\nQ: Is it 5?\nA: no", "c"),
        ("", ""),
    ],
)
def test_a_number_before_the_answer_is_not_the_answer(text, answer):
    assert chosen_answer(text) == answer


def test_without_pairs_there_is_nothing_to_compare():
    answers = {0: (True, "1"), 1: (True, "1")}
    assert paired_groups(answers, ["0", "1"], ["a", "b"]) == []
    assert paired_groups(answers, ["0", "0"], ["a", None]) == []


def test_no_difference_has_an_interval_as_well():
    low, high = paired_difference_interval(0, 0, 100)
    assert low == -high and 0 < high < 0.05


NAMES = Dataset.from_list(
    [
        {
            "prompt": f"Q: {name} has {n}+1?\nA:",
            "hinted_prompt": "Q: ?\nA:",
            "answer": str(n + 1),
            "pair": n,
            "who": name,
        }
        for n in (2, 3)
        for name in ("Ann", "Bob <b>")
    ]
)


def solve_for_ann(prompt: str) -> str:
    question = last_question(prompt)
    return " So 3.\n3" if "Ann has 2" in question or "Bob" in question or "1+2?" in question else " So 4.\n4"


def test_the_report_and_the_card_compare_groups_before_and_after(make_trainer, problems, tmp_path):
    trainer = make_trainer(solve_for_ann, eval_dataset=NAMES, eval_group_column="who")
    trainer.train()
    run = RunReader(tmp_path / "out", max_samples=100).read()
    assert list(run.paired["eval"]) == [0, 2]  # the first and the last evaluation
    ann, bob = run.paired["eval"][2]
    assert (ann.accuracy, bob.accuracy, bob.pairs, bob.same_answer) == (1.0, 0.5, 2, 0.5)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Groups in pairs, on the evaluation set" in page and "Problems that differ in who only." in page
    row = '<th scope="row">Bob &lt;b&gt;</th><td>{}</td><td>-50.0 (-100 to +56)</td><td>50.0% (9% to 91%)</td>'
    assert row.format("0") in page and row.format("2") in page
    assert "<td>3 (2)</td>" in page  # Bob's answers
    card = (Path(tmp_path) / "out" / "README.md").read_text()
    assert "### Groups in pairs" in card
    assert "| eval | Ann | 0 | 100.0% (34% to 100%) |  |  |  |" in card
    assert "| eval | Bob <b> | 2 | 50.0% (9% to 91%) | -50.0 (-" in card


def test_without_the_column_there_is_no_table(make_trainer, problems, tmp_path):
    make_trainer(solve_for_ann, eval_dataset=problems, eval_group_column="kind", num_iterations=1).train()
    assert "Groups in pairs" not in (tmp_path / "out" / "report.html").read_text()
    assert "Groups in pairs" not in (tmp_path / "out" / "README.md").read_text()


def test_a_pair_with_a_group_twice_is_refused(make_trainer):
    twice = NAMES.map(lambda row: {**row, "pair": 0})
    with pytest.raises(ValueError, match=r"several problems with `pair` '0' and `who` 'Ann'.*rename the column"):
        make_trainer(solve_for_ann, eval_dataset=twice, eval_group_column="who")
    make_trainer(solve_for_ann, eval_dataset=twice)  # the column means something else
