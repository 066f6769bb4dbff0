# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Extraction of choices, against what models write and what would fool it."""

import json

import pytest

from star_trl.rewards import multiple_choice_reward, strict_multiple_choice_reward


CHOICES = ["bank", "library", "department store", "a dog", "vitamin C"]

# completion, right answer, flexible verdict, strict verdict; without and with the choices
VERDICTS = [
    # The authors' form
    ("The answer must be a place. Therefore, the answer is library (b).", "B", 1, 1),
    ("Therefore, the answer is library (b)", "B", 1, 1),
    ("So it is.\nTherefore, the answer is library (b).\n", "B", 1, 1),
    ("Therefore, the answer is (b).", "B", 1, 1),
    ("Therefore, the answer is: (B).", "B", 1, 1),
    ("Therefore, the answer is the library (b).", "B", 1, 1),
    ("Therefore, the answer is some library (b).", "B", 1, 1),
    ("Therefore, the answer is library (b).", "C", 0, 0),
    ("(b).", "B", 1, 1),
    (" (b)", "B", 1, 1),
    ("(b) library", "B", 1, 0),
    # Other forms of a label
    ("B", "B", 1, 0),
    ("b", "B", 1, 0),
    ("B.", "B", 1, 0),
    ("B)", "B", 1, 0),
    ("B. library", "B", 1, 0),
    ("B: library", "B", 1, 0),
    ("[B]", "B", 1, 0),
    ("(B) library", "B", 1, 0),
    ("Answer: B", "B", 1, 0),
    ("Answer: b", "B", 1, 0),
    ("Answer: (B)", "B", 1, 0),
    ("answer = B", "B", 1, 0),
    ("Answer:\nB", "B", 1, 0),
    ("**Answer:** B", "B", 1, 0),
    ("**Answer**: **B**", "B", 1, 0),
    ("**B**", "B", 1, 0),
    ("`B`", "B", 1, 0),
    ("The final answer is $\\boxed{B}$.", "B", 1, 0),
    ("\\boxed{(B)}", "B", 1, 0),
    ("\\boxed{\\text{B}}", "B", 1, 0),
    ("\\boxed{\\textbf{(B) library}}", "B", 1, 0),
    ("<answer>B</answer>", "B", 1, 0),
    ("The correct answer is B.", "B", 1, 0),
    ("The correct option is (b).", "B", 1, 0),
    ("The correct choice is B because it has books.", "B", 1, 0),
    ("The answer is option B.", "B", 1, 0),
    ("The answer is B since I like it.", "B", 1, 0),
    ("The answer is A because of the door.", "A", 1, 0),
    ("The answer is a.", "A", 1, 0),
    ("The answer is b", "B", 1, 0),
    ("The answer would be (b), I think.", "B", 1, 0),
    ("So I choose (b).", "B", 1, 0),
    ("It could be many things.\nI would say option B", "B", 1, 0),
    ("(a) has money, (c) has clothes. The answer is (b).", "B", 1, 1),
    ("(a) has money.\n(c) has clothes.\nSo (b).", "B", 1, 0),
    ("The answer is (A). ", "A", 1, 1),
    ("The answer is clear. I like (b).", "B", 1, 0),
    ("The answer is (b), a place with books.", "B", 1, 0),
    ("The answer is (b) and I like it.", "B", 1, 0),
    ("answer is library (b)", "B", 1, 1),
    # Letters that are words
    ("The answer is a place with books.", "A", 0, 0),
    ("A place with books is needed.", "A", 0, 0),
    ("The answer is A place with books.", "A", 0, 0),
    ("I think so", "I", 0, 0),
    ("The answer is a", "A", 1, 0),
    ("a place", "A", 0, 0),
    ("the answer is the place(s) with books", "B", 0, 0),
    ("The answer is Bank", "B", 0, 0),
    ("The answer is clear", "C", 0, 0),
    ("The grade was a B", "B", 0, 0),
    ("I bought the b-side", "B", 0, 0),
    # Several answers
    ("The answer is (a). The answer is (b).", "A", 0, 0),
    ("The answer is (a). The answer is (b).", "B", 0, 0),
    ("The answer is (a) or (b).", "B", 0, 0),
    ("The answer is (a) (b).", "B", 0, 0),
    ("The answer is A or B.", "A", 0, 0),
    ("The answer is A, B", "A", 0, 0),
    ("The answer is A/B", "A", 0, 0),
    ("The answer is A and B.", "A", 0, 0),
    ("The answer is A, C, and B.", "A", 0, 0),
    ("The answer is a or b", "B", 0, 0),
    ("The answer is B or C because of the books.", "B", 0, 0),
    ("The answer is A or C because of the money.", "A", 0, 0),
    ("The answer is (a) or b.", "A", 0, 0),
    ("Answer: A\nAnswer: B", "B", 0, 0),
    ("Answer: B\nAnswer: B", "B", 1, 0),
    ("\\boxed{A} \\boxed{B}", "B", 0, 0),
    ("\\boxed{A, B}", "A", 0, 0),
    ("\\boxed{B}, that is \\boxed{(b)}", "B", 1, 0),
    ("(a) (b) (c) (d) (e)", "E", 0, 0),
    ("(a) bank\n(b) library\n(c) department store", "C", 1, 0),
    ("(a), (b)", "B", 0, 0),
    ("A\nB", "A", 0, 0),
    ("A, B, C", "A", 0, 0),
    ("Neither (a) nor (b), so (c).", "C", 0, 0),
    ("The answer is (b), not (a).", "B", 0, 0),
    # Negation
    ("The answer is not (b).", "B", 0, 0),
    ("It is not (b).", "B", 0, 0),
    ("(b) is wrong.", "B", 0, 0),
    ("It can't be (b)", "B", 0, 0),
    ("The answer is not (a). The answer is (b).", "B", 1, 1),
    ("The answer is not option B.", "B", 0, 0),
    # What follows the answer
    ("The answer is library (b).\n\nQ: What has wheels?\nA: The answer is car (a).", "B", 1, 0),
    ("The answer is library (b).\n\nQ: What has wheels?\nA: The answer is car (a).", "A", 0, 0),
    ("The answer is (b). I hope that this helps.", "B", 1, 0),
    ("The answer is (b).\nI hope that this helps.", "B", 1, 0),
    ("Answer Choices:\n(a) bank\n(b) library\nA: The answer is (b).", "B", 1, 1),
    # Thinking
    ("<think>The answer is (a).</think>The answer is (b).", "B", 1, 1),
    ("<think>The answer is (a).</think>\n\nB", "B", 1, 0),
    ("<think>The answer is (b).</think>", "B", 0, 0),
    ("<think>The answer is (b).", "B", 0, 0),
    ("The answer is (a).</think>The answer is (b).", "B", 1, 1),
    ("<think>a</think>The answer is (b).<think>", "B", 0, 0),
    # No answer
    ("", "A", 0, 0),
    ("\\boxed{}", "A", 0, 0),
    ("\\boxed{B", "B", 0, 0),
    ("The answer is (z).", "A", 0, 0),
    ("The answer is Ｂ.", "B", 0, 0),
]

# With the choices
TEXT_VERDICTS = [
    ("The answer is library.", "B", 1, 0),
    ("The answer is a library", "B", 1, 0),
    ("The answer is the Library!", "B", 1, 0),
    ("The answer is **department  store**.", "C", 1, 0),
    ("The answer is a dog.", "A", 0, 0),
    ("The answer is a dog.", "D", 1, 0),
    ("The answer is dog.", "D", 1, 0),
    ("The answer is A dog.", "A", 0, 0),
    ("The answer is vitamin C.", "C", 0, 0),
    ("The answer is vitamin C.", "E", 1, 0),
    ("The answer is vitamin C (e).", "E", 1, 1),
    ("\\boxed{library}", "B", 1, 0),
    ("<answer>library</answer>", "B", 1, 0),
    ("library", "B", 1, 0),
    ("Where are books?\nlibrary.", "B", 1, 0),
    ("In a library there are books.", "B", 0, 0),
    ("bank or library", "B", 0, 0),
    # Negation
    ("The answer is not library.", "B", 0, 0),
    ("The answer is not library (b).", "B", 0, 0),
    ("not library", "B", 0, 0),
    # The label contradicts the text
    ("The answer is bank (b).", "B", 0, 0),
    ("The answer is bank (b).", "A", 0, 0),
    ("B. bank", "B", 0, 0),
    ("(b) bank", "A", 0, 0),
    ("The answer is library. The answer is (a).", "B", 0, 0),
    ("The answer is library. The answer is (b).", "B", 1, 0),
    ("The answer is (h).", "A", 0, 0),
]


@pytest.mark.parametrize("choices", [None, CHOICES], ids=["labels", "choices"])
@pytest.mark.parametrize(("completion", "answer", "flexible", "strict"), VERDICTS)
def test_verdicts(completion, answer, flexible, strict, choices):
    if choices and answer > "E":
        pytest.skip("only five choices")
    assert multiple_choice_reward([completion], [answer], [choices]) == [flexible]
    assert strict_multiple_choice_reward([completion], [answer], [choices]) == [strict]
    assert strict <= flexible


@pytest.mark.parametrize(("completion", "answer", "flexible", "strict"), TEXT_VERDICTS)
def test_verdicts_with_texts(completion, answer, flexible, strict):
    assert multiple_choice_reward([completion], [answer], [CHOICES]) == [flexible]
    assert strict_multiple_choice_reward([completion], [answer], [CHOICES]) == [strict]


@pytest.mark.parametrize(
    "choices",
    [
        ["bank", "library"],
        {"label": ["A", "B"], "text": ["bank", "library"]},
        [{"label": "A", "text": "bank"}, {"label": "B", "text": "library"}],
    ],
)
@pytest.mark.parametrize("answer", ["B", "b", "(b)", "B.", 1, "library"])
def test_forms_of_choices_and_right_answers(choices, answer):
    completions = ["The answer is (b).", "The answer is library.", "The answer is (a).", "The answer is bank."]
    assert multiple_choice_reward(completions, [answer] * 4, [choices] * 4) == [1.0, 1.0, 0.0, 0.0]


def test_labels_may_be_digits():
    choices = {"label": ["1", "2"], "text": ["bank", "library"]}  # some questions of ARC
    assert multiple_choice_reward(["Answer: 2", "(2)", "(1)", "(b)"], ["2"] * 4, [choices] * 4) == [1, 1, 0, 0]


def test_two_choices_with_the_same_text():
    choices = ["home", "store", "home"]  # as in 146 questions of CommonsenseQA
    completions = ["The answer is home.", "The answer is home (a).", "The answer is home (c)."]
    assert multiple_choice_reward(completions, ["C"] * 3, [choices] * 3) == [1.0, 0.0, 1.0]


def test_texts_that_differ_by_not_and_the():
    choices = ["hungry", "not hungry", "ground", "the ground"]  # as in CommonsenseQA
    said = ["hungry (a)", "not hungry (b)", "not hungry", "ground", "the ground"]
    completions = [f"The answer is {text}." for text in said]
    assert multiple_choice_reward(completions, list("ABBCD"), [choices] * 5) == [1.0] * 5
    assert multiple_choice_reward(completions, list("BAADC"), [choices] * 5) == [0.0] * 5


def test_texts_that_differ_by_a_leading_period():
    choices = [".5", "5", "0.25", "25"]
    completions = [f"The answer is {text}." for text in (".5", "5", ".25", "'.5' (a)", ".5 (b)")]
    assert multiple_choice_reward(completions, list("ABDAB"), [choices] * 5) == [1, 1, 0, 1, 0]
    assert multiple_choice_reward(completions[:2], ["5", ".5"], [choices] * 2) == [0, 0]


@pytest.mark.parametrize("answer", ["", "F", "car", 5, -1, True])
@pytest.mark.parametrize("reward", [multiple_choice_reward, strict_multiple_choice_reward])
def test_a_right_answer_that_is_no_choice_is_named(reward, answer):
    with pytest.raises(ValueError, match="none of the choices") as error:
        reward(["B"], [answer], [CHOICES])
    assert repr(answer) in str(error.value)


def test_no_right_answer_means_that_it_does_not_apply():
    message = [{"role": "assistant", "content": "The answer is (b)."}]
    assert multiple_choice_reward([message, message], [None, "B"], other=[1, 2]) == [None, 1.0]
    assert strict_multiple_choice_reward([message, message], [None, "B"], other=[1, 2]) == [None, 1.0]


@pytest.mark.parametrize("split", ["train", "dev"])
def test_commonsense_qa(shared_data, split):
    rows = [json.loads(line) for line in (shared_data / f"commonsense_qa/{split}_rand_split.jsonl").open()]
    assert len(rows) == {"train": 9741, "dev": 1221}[split]
    rows = rows[::4] if split == "train" else rows
    choices = [row["question"]["choices"] for row in rows]
    right = [row["answerKey"] for row in rows]
    texts = [{choice["label"]: choice["text"] for choice in options} for options in choices]
    # Another choice, and with another text: in some questions two choices have the same.
    wrong = [
        next(label for label in "ABCDE" if by_label[label].lower() != by_label[key].lower())
        for key, by_label in zip(right, texts, strict=True)
    ]
    for labels, reward in ((right, 1.0), (wrong, 0.0)):
        named = [(label.lower(), by_label[label]) for label, by_label in zip(labels, texts, strict=True)]
        completions = [f"So it is. Therefore, the answer is {text} ({label})." for label, text in named]
        direct = [f"({label})." for label, _ in named]
        for func in (multiple_choice_reward, strict_multiple_choice_reward):
            assert set(func(completions, right)) == {reward}
            assert set(func(completions, right, choices)) == {reward}
            assert set(func(direct, right, choices)) == {reward}
        assert set(multiple_choice_reward([text for _, text in named], right, choices)) == {reward}


@pytest.mark.parametrize("prompts", ["prompts.txt", "prompts_direct.txt"])
def test_the_authors_examples(shared_data, prompts):
    examples = (shared_data / "commonsense_qa" / prompts).read_text().strip().split("\n\n")
    completions = [example.split("\nA:")[1] for example in examples]
    assert len(completions) == 7
    for reward in (multiple_choice_reward, strict_multiple_choice_reward):
        assert reward(completions, list("ECCABDC")) == [1.0] * 7
