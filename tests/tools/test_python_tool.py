# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The Python tool: what it runs, in which form it answers, and what hostile programs come to."""

import os
import re
import sys
import threading
from pathlib import Path

import pytest

from hostile_programs import HOSTILE, SECONDS
from star_trl import HintInferSampler, RationaleSampler, ToolSampler
from star_trl.run.state import CannotResume
from star_trl.sandbox import MissingGuards
from star_trl.tools import python_tool
from support.scripted_engine import ScriptedEngine
from support.sums import last_question


pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"), pytest.mark.usefixtures("all_guards")]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("\nprint(2**100)", str(2**100)),
        ("\nx = 1\nfor i in range(3):\n    x *= 2\nprint(x)\nprint('Größe')", "8\nGröße"),
        ("3\nprint(1)\n\n\n", "1"),
        ("\n", ""),
        ("", ""),
        ("\n1/0", 'File "<stdin>", line 1, in <module>\nZeroDivisionError: division by zero'),
        ("\nprint(1)\nprint(", "SyntaxError: '(' was never closed"),
        ("\nprint(1)\nraise ValueError('no')", "ValueError: no"),
        ("\nimport sympy; print(sympy.sqrt(8))", "2*sqrt(2)"),
        ("\nprint({'a', 'b', 'c'}); import os; print(os.listdir())", None),
    ],
)
def test_programs_and_what_the_model_reads(program, said):
    run = python_tool(seconds=60).run
    first = run(program)
    assert first.endswith(said) if said else said is None or first == ""
    assert run(program) == first


@pytest.fixture(scope="module")
def run(all_guards):
    return python_tool(seconds=SECONDS).run


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_hostile_programs(run, hostile, tmp_path, monkeypatch):
    monkeypatch.setenv("STAR_TRL_SECRET", "secret")
    bait = tmp_path / "answers.txt"
    bait.write_text("42 is the answer")
    before = processes_below()  # such as the workers of rewards, from other tests
    said = run("\n" + hostile.program.replace("BAIT", str(bait)))
    assert re.search(hostile.said, said), said
    assert "secret" not in said and "is the answer" not in said
    assert bait.read_text() == "42 is the answer" and os.listdir(tmp_path) == ["answers.txt"]
    assert processes_below() == before


def processes_below() -> list[str]:
    """What this process has started and not ended."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return children.read_text().split() if children.exists() else []


def test_limits_under_which_python_does_not_run_are_refused_before_the_run():
    with pytest.raises(RuntimeError, match="Raise the limits"):
        python_tool(memory_bytes=2**22)
    with pytest.raises(RuntimeError, match="Ended after 0.01 seconds"):
        python_tool(seconds=0.01)


def test_the_tool_is_refused_where_guards_are_missing(without):
    without("enter_namespaces", "restrict_files")
    with pytest.raises(MissingGuards, match="(?s)'namespaces' .refused..*'files' .refused..*accept_missing_guards={"):
        python_tool(accept_missing_guards={"files"})
    tool = python_tool(accept_missing_guards={"files", "namespaces"})
    assert tool.run("\nprint(6 * 7)") == "42"
    assert tool.settings["accept_missing_guards"] == ["files", "namespaces"]


def test_a_guard_that_is_lost_later_ends_the_run(without):
    tool = python_tool()
    without("restrict_files")
    with pytest.raises(MissingGuards):
        tool.run("\nprint(6 * 7)")


def test_a_run_is_resumed_only_with_the_guards_that_it_was_begun_with(make_trainer):
    def trainer_with(accepted):
        sampler = ToolSampler(RationaleSampler(), python_tool(accept_missing_guards=accepted))
        hinted = HintInferSampler(sampler, "Python helps.\n")
        return make_trainer(samplers=[sampler, hinted])

    trainer_with({"files"}).outer_run.begin(False)
    with pytest.raises(CannotResume, match=r"`samplers` was .*'accept_missing_guards': \['files'\].* and is .*: \[\]"):
        trainer_with(()).outer_run.begin(True)
    trainer_with({"files"}).outer_run.begin(True)


def test_other_files_can_be_made_readable(tmp_path):
    (tmp_path / "table.csv").write_text("1,2")
    program = f"\nprint(open({str(tmp_path / 'table.csv')!r}).read())"
    assert "Permission denied" in python_tool().run(program)
    assert python_tool(readable=[tmp_path]).run(program) == "1,2"


def test_a_run_in_which_the_model_is_led_to_write_python(make_trainer, tokenizer, problems):
    """As in START: the model fails by itself, and behind the hint it computes, corrects its program, and is right."""

    def answer(prompt):
        question, _, written = last_question(prompt).partition("\nA:")
        if "\n```output\n" in written:
            said = written.rpartition("```output\n")[2].removesuffix("\n```\n")
            return f"```python\nprint({question[:-1]})\n```" if "Traceback" in said else f"\n{said}"
        return f"```python\nprnt({question[:-1]})\n```\n" if "Python helps." in written else " Wait.\n0"

    sampler = ToolSampler(RationaleSampler(), python_tool(max_result_characters=60))
    trainer = make_trainer(
        samplers=[sampler, HintInferSampler(sampler, "Python helps.\n")], max_completion_length=200, num_iterations=1
    )
    trainer.engine = ScriptedEngine(tokenizer, answer)
    trainer.train()
    kept = [sample for sample in trainer.ledger.read(1) if sample.kept]
    assert [sample.sampler for sample in kept] == ["hint_infer"] * 4
    for sample, problem in zip(kept, problems, strict=True):
        trained = tokenizer.decode(
            [token for token, mask in zip(sample.completion_ids, sample.loss_mask, strict=True) if mask],
            skip_special_tokens=True,
        )
        assert re.fullmatch(r" ```python\nprnt\(\d\+\d\)\n``````python\nprint\(\d\+\d\)\n```\n\d", trained)
        assert "Traceback" in sample.completion and "Python helps" not in sample.completion
        assert sample.completion.endswith(f"```output\n{problem['answer']}\n```\n\n{problem['answer']}")
