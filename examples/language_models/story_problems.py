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
    (
        "Hugo collected {a} shells. {b} of them were broken, and he threw them away. How many shells did he keep?",
        "{a} - {b}",
    ),
    ("A baker made {a} loaves and sold {b} of them. How many loaves are left?", "{a} - {b}"),
    ("There were {a} birds on a wire. Then {b} birds flew away. How many birds stayed on the wire?", "{a} - {b}"),
    ("Sara has {a} beads. Mia has {b} fewer beads than Sara. How many beads does Mia have?", "{a} - {b}"),
    ("A jacket costs {a} dollars. Today it is {b} dollars cheaper. What does it cost today?", "{a} - {b}"),
    ("A zoo has {a} monkeys. {b} of them are male. How many monkeys are female?", "{a} - {b}"),
    ("Ana and Luis have {a} coins together. Ana has {b} of them. How many coins does Luis have?", "{a} - {b}"),
    ("A candle was {a} inches tall. It burned down by {b} inches. How tall is the candle now?", "{a} - {b}"),
    (
        "The red team has {a} points, and the blue team has {b}. By how many points does the red team lead?",
        "{a} - {b}",
    ),
    ("Dan wants a bike for {a} dollars. He has saved {b} dollars. How much more money does he need?", "{a} - {b}"),
    ("When {b} frogs jumped into a pond, there were {a} frogs in it. How many were there before?", "{a} - {b}"),
    ("A school has {a} computers, and {b} of them do not work. How many computers work?", "{a} - {b}"),
    ("Oscar had {a} nails. He built a fence and had {b} nails left. How many nails did he use?", "{a} - {b}"),
    (
        "A ship carried {a} crates. In the port, {b} crates were unloaded. How many crates are still on the ship?",
        "{a} - {b}",
    ),
    ("It was {a} degrees at noon. By night it was {b} degrees colder. How many degrees was it at night?", "{a} - {b}"),
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
    ("Clara has {a} books at home and {b} books at school. How many books does she have?", "{a} + {b}"),
    ("Ken is {a} years old. How old will he be in {b} years?", "{a} + {b}"),
    ("Yesterday {a} visitors came to the museum, and today {b} came. How many came on both days?", "{a} + {b}"),
    ("A chef used {b} potatoes and still has {a}. How many potatoes did the chef have before?", "{a} + {b}"),
    ("Piet has {a} kites. Lena has {b} more kites than Piet. How many kites does Lena have?", "{a} + {b}"),
    ("A lake had {a} trout. A ranger put {b} more trout into it. How many trout are in the lake now?", "{a} + {b}"),
    ("A truck drove {a} miles before lunch and {b} miles after lunch. How many miles did it drive?", "{a} + {b}"),
    ("A library bought {a} novels and {b} comics. How many books did it buy in all?", "{a} + {b}"),
    ("Sam spent {a} dollars and has {b} dollars left. How many dollars did he have at first?", "{a} + {b}"),
    ("A necklace has {a} white pearls and {b} black pearls. How many pearls does it have?", "{a} + {b}"),
    ("Vera baked {a} muffins, and her father baked {b}. How many muffins did they bake together?", "{a} + {b}"),
    ("On a street there are {a} cars and {b} vans. How many vehicles are on the street?", "{a} + {b}"),
    ("The ads took {b} minutes, and the movie took {a} minutes. How long did it all take?", "{a} + {b}"),
    ("After {b} passengers left a plane, {a} were still on it. How many were on the plane at first?", "{a} + {b}"),
    ("Each of {a} boxes holds {b} pencils. How many pencils are there?", "{a} * {b}"),
    ("A train has {a} cars with {b} seats in each. How many seats does the train have?", "{a} * {b}"),
    ("Jon saves {a} dollars a week. How much has he saved after {b} weeks?", "{a} * {b}"),
    ("A gardener plants {a} rows of {b} tulips. How many tulips does he plant?", "{a} * {b}"),
    ("One ticket costs {a} dollars. How much do {b} tickets cost?", "{a} * {b}"),
    ("A machine makes {a} toys an hour. How many toys does it make in {b} hours?", "{a} * {b}"),
    ("Every page of an album has {a} photos, and the album has {b} pages. How many photos is that?", "{a} * {b}"),
    ("Zoe drinks {a} glasses of water a day. How many glasses does she drink in {b} days?", "{a} * {b}"),
    ("A spider has {a} spots. How many spots do {b} such spiders have?", "{a} * {b}"),
    ("There are {a} cages in a pet shop with {b} parrots in each. How many parrots are in the shop?", "{a} * {b}"),
    ("A bag of rice weighs {a} pounds. How much do {b} such bags weigh?", "{a} * {b}"),
    ("Nina does {a} push-ups every morning. How many does she do on {b} mornings?", "{a} * {b}"),
    ("A building has {a} floors with {b} windows on each floor. How many windows does it have?", "{a} * {b}"),
    ("There are {a} eggs in every nest. How many eggs are in {b} nests?", "{a} * {b}"),
    ("Peter has {a} marbles. Jim has {b} times as many. How many marbles does Jim have?", "{a} * {b}"),
    ("A farmer fills {a} baskets with {b} pears each. How many pears does he need?", "{a} * {b}"),
    (
        "A bus makes {a} trips a day with {b} people on every trip. How many people does it carry in a day?",
        "{a} * {b}",
    ),
    ("A cake needs {a} cups of flour. How many cups do {b} cakes need?", "{a} * {b}"),
    ("A wheel turns {a} times in a minute. How many times does it turn in {b} minutes?", "{a} * {b}"),
    ("A choir stands in {a} rows of {b} singers. How many singers are in the choir?", "{a} * {b}"),
    ("Each of {b} players has {a} cards. How many cards do they have in all?", "{a} * {b}"),
    ("Uma swims {a} laps every day. How many laps does she swim in {b} days?", "{a} * {b}"),
    ("{a} cookies are shared equally by {b} children. How many cookies does each child get?", "{a} / {b}"),
    ("A baker puts {a} rolls into bags of {b}. How many bags does the baker need?", "{a} / {b}"),
    ("{b} friends split a bill of {a} dollars evenly. How much does each of them pay?", "{a} / {b}"),
    ("A ribbon of {a} inches is cut into {b} equal pieces. How long is each piece?", "{a} / {b}"),
    ("Max reads {b} pages a day. How many days does he take for a book of {a} pages?", "{a} / {b}"),
    ("A teacher divides {a} students into groups of {b}. How many groups are there?", "{a} / {b}"),
    ("A car went {a} miles in {b} hours at a steady speed. How far did it go in one hour?", "{a} / {b}"),
    ("One shelf holds {b} books. How many shelves do {a} books need?", "{a} / {b}"),
    ("A farmer puts {a} eggs into cartons of {b}. How many cartons does he fill?", "{a} / {b}"),
    ("Grandma gives {a} dollars to her {b} grandsons, the same to each. How much does each of them get?", "{a} / {b}"),
    ("A printer prints {b} pages a minute. How many minutes does it take for {a} pages?", "{a} / {b}"),
    ("{a} players form teams of {b}. How many teams are there?", "{a} / {b}"),
    ("One vase holds {b} roses. How many vases are needed for {a} roses?", "{a} / {b}"),
    ("{b} equal bags of sand weigh {a} pounds. How many pounds does one of them weigh?", "{a} / {b}"),
    ("A tap fills {a} buckets in {b} minutes. How many buckets does it fill in one minute?", "{a} / {b}"),
    ("{a} apples are packed into {b} crates, the same number into each. How many are in a crate?", "{a} / {b}"),
    ("Mr. Lee paid {a} dollars for {b} tickets. What did one ticket cost?", "{a} / {b}"),
    ("A board of {a} inches is sawn into pieces of {b} inches. How many pieces are there?", "{a} / {b}"),
    ("A dog eats {b} cans of food a week. How many weeks do {a} cans last?", "{a} / {b}"),
    ("A hall has {a} seats in {b} equal rows. How many seats are in one row?", "{a} / {b}"),
    ("Iris has {a} photos. She puts {b} on each page of an album. How many pages does she fill?", "{a} / {b}"),
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
    ("Each of {a} tables has {b} plates, and {c} more are on a shelf. How many are there?", "{a} * {b} + {c}"),
    ("Finn had {a} coins and found {b}. He made {c} equal piles. How many are in a pile?", "({a} + {b}) / {c}"),
    ("A bus with {a} riders took on {b} more, and then {c} got off. How many riders are left?", "{a} + {b} - {c}"),
    ("Ella spent {a} dollars on food and {b} on books. She had {c} dollars. What is left?", "{c} - {a} - {b}"),
    (
        "Ben had {a} dollars. He earned {b} dollars and spent {c} dollars. How much money does he have?",
        "{a} + {b} - {c}",
    ),
    ("A library had {a} maps. It bought {b} more and lent {c}. How many maps are in the library?", "{a} + {b} - {c}"),
    (
        "A store sold {a} hats today and {b} hats yesterday for {c} dollars each. How much money was that?",
        "({a} + {b}) * {c}",
    ),
    ("{a} children picked {b} flowers each and gave {c} of them away. How many flowers are left?", "{a} * {b} - {c}"),
    ("A farmer had {a} cows. He bought {b} and sold {c}. How many cows does he have now?", "{a} + {b} - {c}"),
    (
        "Jack read {a} pages on Monday, {b} on Tuesday and {c} on Friday. How many did he read in all?",
        "{a} + {b} + {c}",
    ),
    ("There are {a} full trays with {b} cups each, and {c} other cups. How many cups are there?", "{a} * {b} + {c}"),
    (
        "Mara had {a} sweets. She ate {b} and shared the rest among {c} boys. How many did each boy get?",
        "({a} - {b}) / {c}",
    ),
    ("A cinema has {a} rows of {b} seats. {c} seats are empty. How many are taken?", "{a} * {b} - {c}"),
    (
        "One farm sent {a} pumpkins and another {b}. They fill {c} equal carts. How many are in a cart?",
        "({a} + {b}) / {c}",
    ),
    (
        "{a} children were in a pool. {b} left, and later {c} more left. How many are still in the pool?",
        "{a} - {b} - {c}",
    ),
    (
        "Sue is {a}. Her sister is {b} years older, and her brother {c} years younger than the sister. How old is he?",
        "{a} + {b} - {c}",
    ),
    ("A worker packs {a} parcels an hour. How many do {b} workers pack in {c} hours?", "{a} * {b} * {c}"),
    ("A bush had {a} roses. {b} more opened, and {c} were cut. How many roses does it have now?", "{a} + {b} - {c}"),
    (
        "Every day {a} trains come in the morning and {b} in the evening. How many come in {c} days?",
        "({a} + {b}) * {c}",
    ),
    ("{a} boys and {b} girls ride in vans with {c} seats each. How many vans do they fill?", "({a} + {b}) / {c}"),
    (
        "Ivan put {a} coins, then {b} coins and then {c} coins into a jar. How many coins are in the jar?",
        "{a} + {b} + {c}",
    ),
]
LARGEST, LARGEST_FACTOR = 60, 12
# Every third template is held out.
HELD_OUT = 3


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
