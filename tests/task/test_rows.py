# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
from datasets import Dataset

from star_trl.task.rows import BATCH_SIZE, read_rows


def test_rows_are_those_of_the_dataset():
    dataset = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": f"{number}?"}],
                "answer": None if number % 2 else str(number),
                "numbers": [number] * (number % 3),
                "nested": {"number": number, "names": ["a"]},
            }
            for number in range(BATCH_SIZE + 1)
        ]
    )
    assert list(read_rows(dataset)) == list(dataset)
    assert list(read_rows(dataset.select([3, 1]))) == [dataset[3], dataset[1]]
