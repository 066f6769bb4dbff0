# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""math-verify in its own process: right on expressions, and nothing that a model writes holds it up."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from star_trl.rewards import math_verify_reward
from star_trl.rewards.answers import math_verify
from star_trl.rewards.answers.math_verify import MEMORY_LIMIT, _worker


VERDICTS = [
    ("\\boxed{\\frac{1}{2}}", "0.5", 1.0),
    ("\\boxed{0.5}", "\\frac{1}{2}", 1.0),
    ("The answer is $x^2 + 2x + 1$.", "(x+1)^2", 1.0),
    ("\\boxed{2, 1}", "\\{1, 2\\}", 1.0),
    ("\\boxed{\\frac{\\sqrt{2}}{2}}", "\\frac{1}{\\sqrt{2}}", 1.0),
    ("\\boxed{x = 3}", "3", 1.0),
    ("so it is 1,080", "She has\n#### 1,080", 1.0),
    ("\\boxed{1080}", "so \\boxed{1{,}080}", 1.0),
    ("\\boxed{5\\%}", "5", 1.0),
    ("\\boxed{5\\%}", "0.05", 1.0),  # math-verify's own way
    ("\\boxed{72}", 72, 1.0),
    ("\\boxed{3}", "4", 0.0),
    ("\\boxed{(1, 2)}", "(2, 1)", 0.0),
    ("I do not know", "3", 0.0),
    ("", "3", 0.0),
    ("\\boxed{3", "3", 0.0),
    ("\\boxed{3}, or \\boxed{4}", "3", 0.0),
    ("\\boxed{3}. Or better: \\boxed{4}", "4", 0.0),
    ("\\boxed{3}, again \\boxed{\\frac{6}{2}}", "3", 1.0),
    ("$3$ or $4$", "3", 0.0),
    ("\\boxed{3}\n\nQ: 2+2?\nA: \\boxed{4}", "3", 1.0),
    ("<think>\\boxed{4}</think>\\boxed{3}", "3", 1.0),
    ("<think>\\boxed{3}</think>", "3", 0.0),
    ("<think>\\boxed{3}", "3", 0.0),
    ("\\boxed{__import__('os').getcwd()}", "3", 0.0),
    ("\\boxed{3}", None, None),
    ("\\boxed{3}", "", None),  # what cannot be read verifies nothing
]


@pytest.mark.parametrize(("completion", "answer", "reward"), VERDICTS)
def test_verdicts(completion, answer, reward):
    assert math_verify_reward([completion], [answer], timeout=60) == [reward]


HANGS = ["\\boxed{9^{9^{9^{9^9}}}}", "9^9^9^9^9^9", "\\boxed{((((10!)!)!)!)!}", "\\boxed{\\int_0^1 e^{x^{x^x}} dx}"]


def test_what_hangs_is_ended_and_the_next_is_scored():
    completions = ["\\boxed{3}", *HANGS, "\\boxed{3}"]
    logged = {}
    assert math_verify_reward(["\\boxed{3}"], [3], timeout=60) == [1.0]  # SymPy is loaded, and its caches are warm
    start = time.monotonic()
    rewards = math_verify_reward(
        completions, [3] * 6, log_extra=logged.__setitem__, log_metric=logged.__setitem__, timeout=4.0
    )
    assert rewards == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert logged["math_verify_error"] == [None, "timeout", "timeout", "timeout", "timeout", None]
    assert logged["math_verify/failed"] == pytest.approx(4 / 6)
    assert time.monotonic() - start < 4 * 4 + 40  # and five starts


def test_a_worker_that_was_killed_is_replaced():
    for _ in range(2):
        assert math_verify_reward(["\\boxed{3}"], [3], timeout=60) == [1.0]
        _worker.process.kill()
        _worker.process.wait()


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_the_worker_has_little_memory_and_no_torch():
    math_verify_reward(["\\boxed{3}"], [3], timeout=60)
    proc = Path(f"/proc/{_worker.process.pid}")
    limits = dict(re.findall(r"(.*?)  +(\w+)", (proc / "limits").read_text()))
    assert limits["Max address space"] == str(MEMORY_LIMIT)
    assert "libtorch" not in (proc / "maps").read_text()


def test_threads_get_their_own_verdicts():
    rewards = {}

    def score(number):
        rewards[number] = math_verify_reward(["\\boxed{1}", "\\boxed{2}", "\\boxed{3}"], [number] * 3, timeout=60)

    threads = [threading.Thread(target=score, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rewards == {1: [1, 0, 0], 2: [0, 1, 0], 3: [0, 0, 1]}


@linux
def test_the_worker_ends_with_its_parent():
    script = (
        "import os, signal\n"
        "from star_trl.rewards.answers.math_verify import _worker\n"
        "_worker.ask(gold='$3$', said='3', timeout=60)\n"
        "print(_worker.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    pid = int(result.stdout)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and _is_running(pid):
        time.sleep(0.1)
    assert not _is_running(pid)


def _is_running(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(math_verify, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"star-trl\[math\]"):
        math_verify_reward(["3"], ["3"])
