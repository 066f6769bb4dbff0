# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Several processes on one machine, over gloo."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from conftest import build_model, build_tokenizer
from star_trl.ledger import Ledger


pytestmark = pytest.mark.distributed

CONFIGS = Path(__file__).parents[1] / "examples" / "accelerate_configs"

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed: `pip install deepspeed`"
)


@pytest.fixture(scope="module")
def base_model(tmp_path_factory) -> str:
    path, tokenizer = tmp_path_factory.mktemp("base"), build_tokenizer()
    build_model(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def launch(backend: str, base_model: str, output_dir: Path, num_processes: int) -> dict:
    """With `torchrun`, or with the configuration for DeepSpeed that the examples have, on CPUs."""
    if backend.startswith("zero"):
        config = (CONFIGS / f"{backend}.yaml").read_text()
        config = config.replace("mixed_precision: bf16", "mixed_precision: 'no'\nuse_cpu: true")
        on_cpu = output_dir.with_suffix(".yaml")
        on_cpu.write_text(config.replace("num_processes: 8", f"num_processes: {num_processes}"))
        command = ["accelerate.commands.launch", "--config_file", str(on_cpu)]
    else:
        command = ["torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    script = str(Path(__file__).with_name("distributed_run.py"))
    result = subprocess.run(
        [sys.executable, "-m", *command, script, backend, base_model, str(output_dir)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-5000:]
    return json.loads((output_dir / "done.json").read_text())


@pytest.fixture(scope="module")
def one_process(base_model, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("one") / "out"
    launch("ddp", base_model, output_dir, num_processes=1)
    return output_dir


@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        ("ddp", "MULTI_CPU"),
        pytest.param("zero2", "DEEPSPEED", marks=needs_deepspeed),
        pytest.param("zero3", "DEEPSPEED", marks=needs_deepspeed),
    ],
)
def test_two_processes_sample_what_one_does(one_process, base_model, tmp_path, backend, kind):
    """
    And train, and start every iteration from the same weights. (The second iteration's samples are another model's:
    two processes take twice the samples per step.)
    """
    assert kind in launch(backend, base_model, tmp_path / "out", num_processes=2)["backend"]
    assert len(list((tmp_path / "out" / "iteration-001").glob("samples-*.jsonl"))) == 2
    samples = Ledger(str(tmp_path / "out"), 0, 2).read(1)
    assert samples == Ledger(str(one_process), 0, 1).read(1) and len(samples) == 15
    assert len({len(sample.completion_ids) for sample in samples}) > 1


def test_a_slow_process_does_not_time_the_others_out(base_model, tmp_path):
    """It takes three times the timeout of the collectives."""
    launch("slow", base_model, tmp_path / "out", num_processes=2)


def test_a_model_sharded_by_fsdp_2_generates(base_model, tmp_path):
    launch("fsdp2", base_model, tmp_path / "out", num_processes=2)


@pytest.mark.parametrize("config", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_accelerate_reads_the_configurations(config):
    """It refuses fields that it does not know."""
    assert load_config_from_file(str(CONFIGS / config)).num_processes == 8
