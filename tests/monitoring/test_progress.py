# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What a person sees of a run: bars and a table in a terminal, plain lines in a file."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from transformers import PrinterCallback, TrainerCallback
from trl import RichProgressCallback

from star_trl.monitoring import progress
from star_trl.monitoring.progress import PlainProgressCallback, STaRProgressCallback
from support import SCRIPTED_RUN
from support.sums import solve_easy_and_hinted


def in_terminal(width: int, folder: Path, **changes) -> str:
    """What a run writes to a terminal of so many columns."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    settings = json.dumps({"output_dir": str(folder / "out"), **changes})
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment["TERM"] = "xterm-256color"
    command = [sys.executable, str(SCRIPTED_RUN), settings]
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment) as process:
        os.close(end)
        text = b""
        while True:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            text += chunk
    os.close(terminal)
    assert process.returncode == 0, text.decode()
    return text.decode()


def left_over(text: str) -> list[str]:
    """The lines that stay on the screen, of a program that goes back and up with `\\r` and `\\x1b[A` only."""
    lines, row, column = [""], 0, 0
    for piece in re.split(r"(\r\n|\n|\r|\x1b\[A)", re.sub(r"\x1b\[[\d;?]*[a-zA-Z@](?<!A)", "", text)):
        if piece in ("\n", "\r\n"):
            row += 1
            lines += [""] * (row + 1 - len(lines))
            column = 0
        elif piece == "\x1b[A":
            row = max(row - 1, 0)
        elif piece == "\r":
            column = 0
        elif piece:
            lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
            column += len(piece)
    return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> tuple[str, list[str]]:
    text = in_terminal(80, tmp_path_factory.mktemp("run"))
    return text, left_over(text)


def test_a_terminal_shows_bars_of_every_phase(screen):
    for phase in ("rationale", "rationalization", "fine-tuning", "evaluation"):
        assert f"iteration 2, {phase}: " in screen[0]


def test_the_bar_of_the_fine_tuning_counts_epochs(screen):
    assert re.search(r"fine-tuning: .*, 2 epochs\]", screen[0])


def test_a_terminal_keeps_one_row_per_iteration(screen):
    (head,) = [number for number, line in enumerate(screen[1]) if line.startswith("iteration ")]
    *rows, bar = [line for line in screen[1][head + 2 :] if line != "Something to know."]
    assert [row.split()[:3] for row in rows] == [["0", "50.0%", "-"], ["1", "50.0%", "50.0%"], ["2", "50.0%", "50.0%"]]
    assert bar.startswith("STaR: 100%")


def test_names_that_trl_uses_are_no_warning_to_the_user(screen):
    assert "FutureWarning" not in screen[0]


def test_warnings_do_not_stand_behind_a_bar(screen):
    assert screen[1].count("Something to know.") == 2


@pytest.mark.parametrize("disable_tqdm", [False, True])
def test_a_file_gets_plain_lines(make_trainer, problems, capsys, disable_tqdm):
    trainer = make_trainer(
        solve_easy_and_hinted,
        num_iterations=1,
        eval_dataset=problems,
        eval_group_column="kind",
        disable_tqdm=disable_tqdm,
        packing=True,
        max_length=128,
    )
    trainer.train()
    captured = capsys.readouterr()
    assert "\r" not in captured.err + captured.out and "{" not in captured.err + captured.out
    lines = captured.err.splitlines()
    assert lines[:3] == [
        "iteration 0, evaluation: 4 samples, 50.0% right, 0 s",
        "iteration 1, rationale: 4 samples, 50.0% right, 0 s",
        "iteration 1, rationalization: 2 samples, 50.0% right, 0 s",
    ]
    # The three samples are packed into two rows, and a step has two.
    assert lines[3] == "iteration 1, fine-tuning: 3 steps = 3 epochs over 3 samples"
    assert [line.split(", grad_norm")[0][:35] for line in lines[4:7]] == [
        f"iteration 1, step {step} of 3 in all: loss {line.split('loss ')[1][:6]}"[:35]
        for step, line in enumerate(lines[4:7], start=1)
    ]
    assert re.fullmatch(r"iteration 1, fine-tuning: 3 steps, mean loss \d\.\d+, \d s", lines[7])
    assert lines[8:] == ["iteration 1, evaluation: 4 samples, 50.0% right, 0 s"]


def test_a_file_gets_a_line_for_each_iteration_and_the_table_once(make_trainer, problems, capsys):
    trainer = make_trainer(solve_easy_and_hinted, eval_dataset=problems, eval_group_column="kind")
    trainer.train()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("iteration 0 of 2: eval accuracy 50.0% (easy: 100.0%, hard: 0.0%), ")
    assert lines[1].startswith(
        "iteration 1 of 2: eval accuracy 50.0% (easy: 100.0%, hard: 0.0%), solved by rationale 50.0%, "
        "solved by rationalization 25.0%, trained on 3, train loss "
    )
    assert lines[2].startswith("iteration 2 of 2: ")
    assert lines[-1].split()[:5] == ["2", "50.0%", "50.0%", "25.0%", "3"]
    assert len(lines) == 3 + 3 + 3  # and the head of the table, of three lines


def test_no_number_of_a_wide_table_is_cut(make_trainer, problems, capsys):
    sets = dict.fromkeys(("first", "second", "third", "fourth"), problems)
    make_trainer(solve_easy_and_hinted, num_iterations=1, eval_dataset=sets).train()
    (*_, row) = output = capsys.readouterr().out.splitlines()
    assert row.split()[1:5] == ["50.0%"] * 4 and len(row) > 80
    assert not [line for line in output if "…" in line]


@pytest.fixture
def said(monkeypatch):
    """The plain lines of a run, of which one comes every hundredth of a second."""
    lines = []
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0.01)
    monkeypatch.setattr(progress, "say", lambda line, stream=None: lines.append(line))
    return lines


def wait_for(said, text) -> None:
    end = time.monotonic() + 30
    while not any(text in line for line in said):
        assert time.monotonic() < end, said
        time.sleep(0.001)


def test_sampling_has_a_line_now_and_then_before_anything_is_scored(make_trainer, said):
    count = 0

    def answer(prompt):
        nonlocal count
        if count < 4:  # scored together once all have ended
            wait_for(said, f"iteration 1, rationale: {count} of 4 samples, 0 s")
        count += 1
        return solve_easy_and_hinted(prompt)

    make_trainer(answer, num_iterations=1).train()
    assert "iteration 1, rationale: 4 samples, 50.0% right, 0 s" in said


def test_fine_tuning_has_a_line_now_and_then(make_trainer, said):
    class Slow(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            time.sleep(0.02)

    make_trainer(solve_easy_and_hinted, num_iterations=1, logging_steps=500, callbacks=[Slow()]).train()
    assert [line for line in said if "iteration 1, fine-tuning: 2 of 3 steps, " in line]


def test_large_numbers_have_no_exponent(make_trainer, capsys):
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.log({"num_tokens": 11290.0, "loss": 0.12345, "nothing": float("nan"), "learning_rate": 1e-5})
    assert capsys.readouterr().out == "num_tokens 11,290, loss 0.1235, nothing nan, learning_rate 1e-05\n"


def test_what_is_not_part_of_a_run_names_no_iteration(make_trainer, problems, capsys):
    trainer = make_trainer(solve_easy_and_hinted, reward_funcs=lambda completions, **kwargs: [None] * len(completions))
    trainer.sample_problems(problems)
    trainer.evaluate(problems)
    assert capsys.readouterr().err == "sampling: 4 samples, 0 s\nevaluation: 4 samples, 0 s\n"


def test_one_process_does_not_name_itself(make_trainer, problems, caplog):
    make_trainer(solve_easy_and_hinted, eval_dataset=problems)
    assert "problems of `eval_dataset` are in `train_dataset`" in caplog.text and "RANK" not in caplog.text


def test_an_evaluation_by_itself_prints_its_metrics(make_trainer, problems, capsys):
    make_trainer(solve_easy_and_hinted).evaluate(problems)
    assert capsys.readouterr().out.startswith(
        "eval_accuracy 0.5, eval_reward 0.5, eval_reward_std 0.5774, eval_rewards/exact_match_reward/mean 0.5, "
    )


def test_a_callback_that_is_removed_is_silent(make_trainer, problems, capsys):
    trainer = make_trainer(solve_easy_and_hinted)
    trainer.remove_callback(PrinterCallback)
    trainer.evaluate(problems)
    captured = capsys.readouterr()
    assert not captured.out and not captured.err


def test_a_rich_callback_is_left_alone(make_trainer):
    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1, callbacks=[RichProgressCallback()])
    own = (PlainProgressCallback, STaRProgressCallback)
    assert not any(isinstance(callback, own) for callback in trainer.callback_handler.callbacks)
    trainer.train()


def test_bars_of_libraries_come_back(make_trainer, monkeypatch):
    from transformers.utils import logging

    trainer = make_trainer(solve_easy_and_hinted, num_iterations=1)
    assert logging.is_progress_bar_enabled()
    trainer.train()
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize("limit", [0, 2, None])
def test_completions_are_printed(make_trainer, capsys, limit):
    make_trainer(solve_easy_and_hinted, num_iterations=1, log_completions=True, num_completions_to_print=limit).train()
    text = capsys.readouterr().out
    assert text.count("Let me count.") == {0: 0, 2: 2, None: 6}[limit]
    assert ("exact_match" in text and "Step 0, iteration 1" in text) == (limit != 0)


def test_what_a_model_wrote_cannot_steer_the_terminal(make_trainer, capsys):
    make_trainer(
        lambda prompt: "\x0b\x0c[bold]3",
        num_iterations=1,
        log_completions=True,
        reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
    ).train()
    text = capsys.readouterr().out
    assert "[bold]3" in text and "\x0b" not in text


def test_completions_without_a_reward_are_printed(make_trainer, capsys):
    def sometimes(prompts, completions, answer, **kwargs):
        return [1.0 if "1+2" in prompt else None for prompt in prompts]

    make_trainer(solve_easy_and_hinted, num_iterations=1, log_completions=True, reward_funcs=sometimes).train()
    text = capsys.readouterr().out
    assert "nan" in text and "unverified" in text


def test_chat_prompts_are_printed_by_role(make_trainer, problems, capsys):
    def as_chat(problem):
        return {name: [{"role": "user", "content": problem[name]}] for name in ("prompt", "hinted_prompt")}

    examples = [
        {
            "prompt": [{"role": "user", "content": "Q: 1+1?\nA:"}],
            "hinted_prompt": [{"role": "user", "content": "Q: 1+1? (2)\nA:"}],
            "completion": [{"role": "assistant", "content": "2"}],
        }
    ]
    make_trainer(
        lambda prompt: "3",
        train_dataset=problems.map(as_chat),
        few_shot_examples=examples,
        num_iterations=1,
        log_completions=True,
        reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
    ).train()
    assert "USER" in capsys.readouterr().out
