# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The record of faults at random, and the page that is made from it."""

import json
import subprocess
import sys

import pytest

from faults import KINDS, PAGE, RESULTS, THIRD, table
from support import ROOT
from tables import fill_in


def test_the_committed_page_is_made_from_the_committed_record():
    page, results = PAGE.read_text(), json.loads(RESULTS.read_text())["faults"]
    assert fill_in(page, {"faults": table(results)}) == page
    assert [result["number"] for result in results] == list(range(len(results)))
    assert {result["kind"] for result in results} == set(KINDS)
    assert [result for result in results if result["ended"] == THIRD or not result["fault"]] == []


@pytest.mark.slow
def test_a_fault_can_be_looked_at_again():
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--only", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert "1: {'number': 1, " in result.stdout, result.stderr
    assert THIRD not in result.stdout
