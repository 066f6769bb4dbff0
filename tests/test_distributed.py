# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Several processes on one machine, over gloo."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from star_trl.ledger import Ledger


pytestmark = pytest.mark.distributed

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed: `pip install deepspeed`"
)


def launch(backend: str, output_dir: Path, num_processes: int) -> dict:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    result = subprocess.run(
        [*command, str(Path(__file__).with_name("distributed_run.py")), backend, str(output_dir)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-5000:]
    return json.loads((output_dir / "done.json").read_text())


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("one") / "out"
    launch("ddp", output_dir, num_processes=1)
    return output_dir


@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        ("ddp", "MULTI_CPU"),
        pytest.param("zero2", "DEEPSPEED", marks=needs_deepspeed),
        pytest.param("zero3", "DEEPSPEED", marks=needs_deepspeed),
    ],
)
def test_two_processes_sample_what_one_does(one_process, tmp_path, backend, kind):
    """
    And train, and start every iteration from the same weights. (The second iteration's samples are another model's:
    two processes take twice the samples per step.)
    """
    assert kind in launch(backend, tmp_path / "out", num_processes=2)["backend"]
    assert len(list((tmp_path / "out" / "iteration-001").glob("samples-*.jsonl"))) == 2
    samples = Ledger(str(tmp_path / "out"), 0, 2).read(1)
    assert samples == Ledger(str(one_process), 0, 1).read(1) and len(samples) == 15
    assert len({len(sample.completion_ids) for sample in samples}) > 1


def test_a_slow_process_does_not_time_the_others_out(tmp_path):
    """It takes three times the timeout of the collectives."""
    launch("slow", tmp_path / "out", num_processes=2)


def test_a_model_sharded_by_fsdp_2_generates(tmp_path):
    launch("fsdp2", tmp_path / "out", num_processes=2)
