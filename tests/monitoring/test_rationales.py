# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Kept samples whose rationale does not lead to their answer."""

import json

import pytest
from datasets import Dataset

from star_trl import RationaleSampler
from star_trl.monitoring.rationales import doubts
from star_trl.task.prompting import PromptBuilder
from star_trl.task.task import Task
from support.samples import make_sample
from support.sums import EXAMPLES, last_question, solve_easy_and_hinted


EQUATIONS = [{**EXAMPLES[0], "completion": " It is 1 + 1 = 2.\n2"}]


def answer(prompt: str) -> str:
    """Derives the first answer, gives the second one only, and invents a reason for the third one."""
    texts = {
        "1+2?\nA:": " There are 1 + 2 = 3.\n3",
        "2+3?\nA:": " 5",
        "4+5? (9)\nA:": " The lake was blue once.\n9",
    }
    return texts.get(last_question(prompt), " 0")


def find(completion: str, right: object = "72", examples=EQUATIONS, prompt="Q: 48 and 24?\nA:") -> list[str]:
    """The doubts about one kept completion."""
    task = Task(
        problems=Dataset.from_list([{"prompt": prompt, "answer": right}]),
        evaluation_sets={},
        samplers=[RationaleSampler()],
        scorer=None,
        prompt_builder=PromptBuilder(None, examples),
        candidates=[0],
    )
    return [doubt for doubt, samples in doubts([make_sample(completion=completion)], task).items() if samples]


def test_they_are_counted_in_the_metrics_the_log_and_a_file(make_trainer, tmp_path, capsys, caplog):
    make_trainer(answer, num_iterations=1, few_shot_examples=EQUATIONS).train()
    folder = tmp_path / "out/iteration-001"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["kept/no_rationale"], metrics["kept/not_derived"]) == (1, 1)
    assert "kept but no rationale 1, kept but not derived 1, " in capsys.readouterr().out
    assert "Of 3 kept samples 1 have no rationale, only an answer and 1 end in a number that no calc" in caplog.text
    assert json.loads((folder / "rationales.json").read_text()) == {
        "no rationale": [["rationale", 1, 0]],
        "not derived": [["rationalization", 2, 0]],
    }


def test_sound_samples_are_no_warning(make_trainer, caplog, capsys):
    make_trainer(solve_easy_and_hinted, num_iterations=1).train()
    assert "kept samples" not in caplog.text and "kept but" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "completion",
    [
        "72",
        " 72\n",
        "#### 72",
        "So the final answer is 72.",
        "<think></think>\\boxed{72}",
        "Answer: $72",
        "72\n\nQ: 1?",
    ],
)
def test_an_answer_alone_is_no_rationale(completion):
    assert find(completion) == ["no rationale"]


@pytest.mark.parametrize(
    "completion",
    ["48 + 24 = 72", "<<48+24=72>>72", "She sold 48 in April and 24 in May: 48 + 24 = 72. The answer is 72."],
)
def test_a_calculation_is_a_rationale(completion):
    assert find(completion) == []


def test_a_rationale_may_begin_late():
    """Neither what a model says before it nor the phrase at which the beginning of the text is cut decides."""
    phrases = "So the final answer is 72. " * 40
    assert find(phrases.replace("72", "")) == ["no rationale"]
    assert find("<think>" * 60 + " Natalia sold half as many clips in May. #### 72") == ["not derived"]


def test_a_number_that_nothing_leads_to():
    assert find("Milford Lake was blue once. #### 72") == ["not derived"]


def test_prose_counts_where_no_calculations_are_written():
    assert find("One more than seventy-one. #### 72", examples=EXAMPLES) == []


def test_answers_in_words():
    assert find("The answer is (b).", "b") == ["no rationale"]
    assert find("Milk needs to be cold, so it is kept in a fridge: (b).", "b") == []
    assert find("她有一个苹果,又买了一个,所以是两个。", "两个") == []
    assert find("SELECT name FROM city", "SELECT name FROM city") == ["no rationale"]
    assert find("Cities have names.\nSELECT name FROM city", "SELECT name FROM city") == []
    assert find("It follows from the second lemma.", None) == []


def test_solutions_as_answers():
    assert find("She sold 48 and then 24 more, 48+24=72. #### 72", "48 + 24 = <<48+24=72>>72 clips\n#### 72") == []


def test_messages():
    prompt = [{"role": "user", "content": "48 and 24?"}]
    examples = [
        {
            "prompt": [{"role": "user", "content": "1 and 1?"}],
            "completion": [{"role": "assistant", "content": "1+1=2"}],
        }
    ]
    assert find("48+24=72", examples=examples, prompt=prompt) == []
    assert find("The lake was blue. 72", examples=examples, prompt=prompt) == ["not derived"]
