# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""
The task of `stop.py`: to learn a parity with noise (section 5.1 of the paper). The model reads this file, and knows
from it what an `algorithm` is scored by.
"""

import random


SEED = 0  # the final score is measured with a secret one
NUM_BITS, NUM_TRAIN, NUM_TEST, NOISE, NUM_PROBLEMS = 8, 80, 40, 0.05, 4


def make_problems(seed):
    """Makes problems of (train_samples, train_parity, test_samples) and the true parities of the test samples."""
    rng = random.Random(seed)
    problems = []
    for _ in range(NUM_PROBLEMS):
        counts = rng.choices([0, 1], k=NUM_BITS)  # the bits that the parity counts
        samples = [rng.choices([0, 1], k=NUM_BITS) for _ in range(NUM_TRAIN + NUM_TEST)]
        parity = [sum(bit * counted for bit, counted in zip(sample, counts, strict=True)) % 2 for sample in samples]
        noisy = [value ^ (rng.random() < NOISE) for value in parity[:NUM_TRAIN]]
        problems.append(((samples[:NUM_TRAIN], noisy, samples[NUM_TRAIN:]), parity[NUM_TRAIN:]))
    return problems


def utility(solution):
    """Scores `algorithm(train_samples, train_parity, test_samples)`: the share of test parities that it gets right."""
    names = {}
    exec(solution, names)
    right = 0
    problems = make_problems(SEED)
    for inputs, parity in problems:
        right += sum(predicted == true for predicted, true in zip(names["algorithm"](*inputs), parity, strict=True))
    return right / (NUM_TEST * len(problems))
