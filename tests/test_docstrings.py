# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import star_trl


MODULES = [module.name for module in pkgutil.walk_packages(star_trl.__path__, "star_trl.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tokenizer):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(parser=_Parser())
    for test in finder.find(module, name, extraglobs={"tokenizer": tokenizer}):
        result = doctest.DocTestRunner().run(test)
        assert result.failed == 0


class _Parser(doctest.DocTestParser):
    """Without the fences, of which the closing one would be read as expected output."""

    def parse(self, string, name="<string>"):
        return super().parse(string.replace("```python", "").replace("```", ""), name)
