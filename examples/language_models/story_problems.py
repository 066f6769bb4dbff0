# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
Word problems from templates that this project wrote, for `make demo-language`. The numbers are drawn at random. The
templates of the evaluation are others than those of the training.
"""

import random

from star_trl.tools.calculator import calculate
from word_problems import make_problem


# Question and solution. The letters are whole numbers from 2 to 60, or to 12 in a product, drawn until the answer is a
# whole number as well.
TEMPLATES = [
    ("Tom picked {a} apples and gave {b} of them to his sister. How many apples does he have left?", "{a} - {b}"),
    ("There were {a} people on a bus. At the next stop {b} people got off. How many are still on it?", "{a} - {b}"),
    ("A rope was {a} feet long. Ben cut off {b} feet. How long is the rope now?", "{a} - {b}"),
    ("Nora had {a} dollars. She paid {b} dollars for a ticket. How much money is left?", "{a} - {b}"),
    ("Of {a} eggs in a basket, {b} are broken. How many eggs are whole?", "{a} - {b}"),
    ("A tank held {a} liters of water, and {b} liters leaked out. How much water is in the tank?", "{a} - {b}"),
    ("Paul needs {a} points to win and has {b} points. How many more points does he need?", "{a} - {b}"),
    ("Ida is {a} years old and her brother is {b}. How many years older is Ida?", "{a} - {b}"),
    ("A book has {a} pages. Kim has read {b} of them. How many pages are left to read?", "{a} - {b}"),
    ("After Leo gave away {b} of his cards, he had {a} left. How many cards did he have at first?", "{a} + {b}"),
    ("A farm has {a} sheep and {b} goats. How many animals is that in all?", "{a} + {b}"),
    ("Eva ran {a} miles last week and {b} miles this week. How far did she run altogether?", "{a} + {b}"),
    ("There are {a} boats in the harbor. Then {b} more arrive. How many boats are in the harbor now?", "{a} + {b}"),
    ("A shirt costs {a} dollars and a hat costs {b} dollars. What do both cost together?", "{a} + {b}"),
    ("A tree is {a} feet tall. It will grow {b} more feet. How tall will it be then?", "{a} + {b}"),
    ("A pond has {a} ducks and {b} swans on it. How many birds are on the pond?", "{a} + {b}"),
    ("Amy wrote {a} letters in May and {b} letters in June. How many letters did she write?", "{a} + {b}"),
    ("A cook used {a} onions today and {b} onions yesterday. How many onions did the cook use?", "{a} + {b}"),
    ("A class has {a} girls and {b} boys. How many children are in the class?", "{a} + {b}"),
    ("Each of {a} boxes holds {b} pencils. How many pencils are there?", "{a} * {b}"),
    ("A train has {a} cars with {b} seats in each. How many seats does the train have?", "{a} * {b}"),
    ("Jon saves {a} dollars a week. How much has he saved after {b} weeks?", "{a} * {b}"),
    ("A gardener plants {a} rows of {b} tulips. How many tulips does he plant?", "{a} * {b}"),
    ("One ticket costs {a} dollars. How much do {b} tickets cost?", "{a} * {b}"),
    ("A machine makes {a} toys an hour. How many toys does it make in {b} hours?", "{a} * {b}"),
    ("Every page of an album has {a} photos, and the album has {b} pages. How many photos is that?", "{a} * {b}"),
    ("Zoe drinks {a} glasses of water a day. How many glasses does she drink in {b} days?", "{a} * {b}"),
    ("A spider has {a} spots. How many spots do {b} such spiders have?", "{a} * {b}"),
    ("{a} cookies are shared equally by {b} children. How many cookies does each child get?", "{a} / {b}"),
    ("A baker puts {a} rolls into bags of {b}. How many bags does the baker need?", "{a} / {b}"),
    ("{b} friends split a bill of {a} dollars evenly. How much does each of them pay?", "{a} / {b}"),
    ("A ribbon of {a} inches is cut into {b} equal pieces. How long is each piece?", "{a} / {b}"),
    ("Max reads {b} pages a day. How many days does he take for a book of {a} pages?", "{a} / {b}"),
    ("A teacher divides {a} students into groups of {b}. How many groups are there?", "{a} / {b}"),
    ("A car went {a} miles in {b} hours at a steady speed. How far did it go in one hour?", "{a} / {b}"),
    ("One shelf holds {b} books. How many shelves do {a} books need?", "{a} / {b}"),
    (
        "Lily buys {a} pens for {b} dollars each and a bag for {c} dollars. What is the price of all?",
        "{a} * {b} + {c}",
    ),
    ("A shop had {a} lamps, got {b} more and sold {c}. How many lamps does it have now?", "{a} + {b} - {c}"),
    ("{a} red and {b} blue marbles are divided equally among {c} boys. How many does each get?", "({a} + {b}) / {c}"),
    ("Rita had {a} stickers, lost {b} and gave {c} to a friend. How many are left?", "{a} - {b} - {c}"),
    ("A hotel has {a} floors with {b} rooms each, and {c} rooms are taken. How many are free?", "{a} * {b} - {c}"),
    ("Omar earns {a} dollars an hour and works {b} hours on each of {c} days. What does he earn?", "{a} * {b} * {c}"),
    ("A team scored {a} points, then {b}, then {c}. How many points did it score in total?", "{a} + {b} + {c}"),
    ("Of {a} plums, {b} are bad. The rest are packed in bags of {c}. How many bags are filled?", "({a} - {b}) / {c}"),
    (
        "Each of {a} tables has {b} plates, and {c} more are on a shelf. How many are there?",
        "{a} * {b} + {c}",
    ),
    (
        "Finn had {a} coins and found {b}. He made {c} equal piles. How many are in a pile?",
        "({a} + {b}) / {c}",
    ),
    ("A bus with {a} riders took on {b} more, and then {c} got off. How many riders are left?", "{a} + {b} - {c}"),
    ("Ella spent {a} dollars on food and {b} on books. She had {c} dollars. What is left?", "{c} - {a} - {b}"),
]
LARGEST, LARGEST_FACTOR = 60, 12
# Every fourth template is held out.
HELD_OUT = 4


def draw_problems(split: str, per_template: int) -> list[dict]:
    """
    Draws problems at random, the same ones in every call.

    Args:
        split (`str`):
            `"train"` or `"eval"`.
        per_template (`int`):
            Number of problems of each template.
    """
    rng = random.Random(split)
    problems: dict[str, dict] = {}
    for number, (question, solution) in enumerate(TEMPLATES):
        if (number % HELD_OUT == HELD_OUT - 1) != (split == "eval"):
            continue
        wanted, largest = len(problems) + per_template, LARGEST_FACTOR if "*" in solution else LARGEST
        while len(problems) < wanted:
            values = {letter: rng.randint(2, largest) for letter in "abc"}
            equation = solution.format(**values)
            answer = calculate(equation)
            if answer is not None and answer.isdecimal() and int(answer) > 1:
                problem = make_problem(question.format(**values), answer, equation)
                problems.setdefault(problem["prompt"], problem)
    rows = list(problems.values())
    rng.shuffle(rows)
    return rows
