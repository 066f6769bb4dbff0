# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Several processes on one machine, over gloo."""

import gc
import importlib.util
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch.multiprocessing.spawn import ProcessException, ProcessRaisedException, start_processes

from star_trl.ledger import Ledger
from star_trl.run.run_lock import RunLock
from support import ROOT, distributed_run
from support.tiny_models import build_model, build_tokenizer


pytestmark = pytest.mark.distributed

CONFIGS = ROOT / "examples" / "accelerate_configs"

TIMEOUT = 300
# The exit code of the process that ends early
ENDS = {"crash": 1, "sigterm": 75}

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
    """
    Starts processes, waits for them, and returns what they report. They are forks of this process, since each would
    take as long to import everything as it takes for its test. DeepSpeed needs a launcher of its own.
    """
    if backend.startswith("zero"):
        launch_deepspeed(backend, base_model, output_dir, num_processes)
    else:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        arguments = (num_processes, port, backend, base_model, str(output_dir))
        processes = start_processes(run_forked, arguments, num_processes, join=False, start_method="fork")
        deadline = time.monotonic() + TIMEOUT
        try:
            while not processes.join(timeout=1):
                assert time.monotonic() < deadline, processes.pids()
        except ProcessException as error:
            code = 1 if isinstance(error, ProcessRaisedException) else error.exit_code
            assert code == ENDS.get(backend), error
            assert backend != "crash" or "RuntimeError: crash" in str(error)
            return {}
        finally:
            for process in processes.processes:
                process.kill()
        assert backend not in ENDS
    return json.loads((output_dir / "done.json").read_text())


def ends(backend: str, base_model: str, output_dir: Path) -> list[tuple[int, str]]:
    """
    Starts two processes without a launcher, which would end both when one ends. Returns the exit code of each, and its
    error.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    arguments = (2, port, backend, base_model, str(output_dir))
    started = start_processes(run_forked, arguments, 2, join=False, start_method="fork")
    for process in started.processes:
        process.join(60)
    hang = [process.pid for process in started.processes if process.is_alive()]
    for process in started.processes:
        process.kill()
    assert not hang
    texts = (Path(path).read_bytes() if Path(path).exists() else b"" for path in started.error_files)
    codes = [process.exitcode for process in started.processes]
    return list(zip(codes, [pickle.loads(text) if text else "" for text in texts], strict=True))


def run_forked(rank: int, num_processes: int, port: int, *arguments: str) -> None:
    """Runs one process as `torchrun` would."""
    gc.freeze()  # as in tests/conftest.py
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    AcceleratorState._reset_state(reset_partial_state=True)  # that of the tests before
    distributed_run.main(*arguments)


def launch_deepspeed(backend: str, base_model: str, output_dir: Path, num_processes: int) -> None:
    """With the configuration that the examples have, on CPUs."""
    config = (CONFIGS / f"{backend}.yaml").read_text()
    config = config.replace("mixed_precision: bf16", "mixed_precision: 'no'\nuse_cpu: true")
    on_cpu = output_dir.with_suffix(".yaml")
    on_cpu.write_text(config.replace("num_processes: 8", f"num_processes: {num_processes}"))
    command = ["accelerate.commands.launch", "--config_file", str(on_cpu)]
    result = subprocess.run(
        [sys.executable, "-m", *command, distributed_run.__file__, backend, base_model, str(output_dir)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert result.returncode == 0, result.stderr[-5000:]


@pytest.fixture(scope="module")
def one_process(base_model, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("one") / "out"
    launch("ddp", base_model, output_dir, num_processes=1)
    return output_dir


@pytest.fixture(scope="module")
def two_processes(base_model, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("two") / "out"
    return output_dir, launch("ddp", base_model, output_dir, num_processes=2)


def check_samples(output_dir: Path, one_process: Path, num_processes: int) -> None:
    """
    Those of the first iteration are the ones that one process makes. (The second's are another model's: several
    processes take more samples per step.)
    """
    assert len(list((output_dir / "iteration-001").glob("samples-*.jsonl"))) == num_processes
    samples = Ledger(output_dir).read(1)
    assert samples == Ledger(one_process).read(1) and len(samples) == 15
    assert len({len(sample.completion_ids) for sample in samples}) > 1


def test_two_processes_sample_what_one_does(one_process, two_processes):
    """And train, and start every iteration from the same weights."""
    output_dir, done = two_processes
    assert "MULTI_CPU" in done["backend"]
    check_samples(output_dir, one_process, 2)


def test_what_rewards_log_is_the_mean_over_the_processes(two_processes):
    output_dir, _ = two_processes
    metrics = json.loads((output_dir / "iteration-001/metrics.json").read_text())
    assert metrics["rank"] == metrics["eval_rank"] == 0.5


@needs_deepspeed
@pytest.mark.parametrize("backend", ["zero2", "zero3"])
def test_deepspeed(one_process, base_model, tmp_path, backend):
    assert "DEEPSPEED" in launch(backend, base_model, tmp_path / "out", num_processes=2)["backend"]
    check_samples(tmp_path / "out", one_process, 2)


@pytest.mark.slow
def test_three_processes_sample_what_one_does(one_process, base_model, tmp_path):
    launch("ddp", base_model, tmp_path / "out", num_processes=3)
    check_samples(tmp_path / "out", one_process, 3)


def test_weights_of_samples_do_not_depend_on_the_number_of_processes(base_model, tmp_path):
    """As many sequences per step: the same gradients, but for the order of sums."""
    for number in (1, 2):
        launch("weighted", base_model, tmp_path / str(number), num_processes=number)
    one, two = (load_file(tmp_path / name / "iteration-001/checkpoint/model.safetensors") for name in ("1", "2"))
    base = load_file(f"{base_model}/model.safetensors")
    assert max((one[name] - base[name]).abs().max() for name in one) > 1e-3
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)
    one, two = (json.loads((tmp_path / name / "iteration-002/metrics.json").read_text()) for name in ("1", "2"))
    view = {name: value for name, value in one.items() if name.startswith("policy_gradient/")}
    assert view["policy_gradient/kl"] != 0
    assert {name: two[name] for name in view} == pytest.approx(view, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize(("how", "step"), [("crash", 6), ("sigterm", 7)])
def test_processes_resume_together(two_processes, base_model, tmp_path, how, step):
    """
    One of them dies while fine-tuning, or gets a signal; they go on from the checkpoint that all had finished.
    """
    launch(how, base_model, tmp_path / "out", num_processes=2)
    last = json.loads((tmp_path / "out" / "iteration-002" / "fine-tuning" / "last.json").read_text())
    assert (last["step"], last["num_processes"]) == (step, 2)
    output_dir, done = two_processes
    assert launch("ddp", base_model, tmp_path / "out", num_processes=2) == done
    assert Ledger(tmp_path / "out").read(2) == Ledger(output_dir).read(2)


def test_a_process_that_is_killed_ends_the_other_one(base_model, tmp_path):
    """In its first generation, before any wait."""
    (code, error), (other_code, _) = ends("killed", base_model, tmp_path / "out")
    assert code == 1 and "wait_for_all" in error
    assert other_code == -signal.SIGKILL


def test_what_the_first_process_refuses_ends_all(two_processes, base_model, tmp_path):
    """It alone takes the lock and compares the samples with their seals."""
    output_dir = tmp_path / "out"
    shutil.copytree(two_processes[0], output_dir)
    next(output_dir.glob("iteration-001/samples-*")).unlink()
    for code, error in ends("ddp", base_model, output_dir):
        assert code == 1 and "CannotResume: The ledger" in error
    lock = RunLock(output_dir)
    lock.acquire()
    try:
        for code, error in ends("ddp", base_model, output_dir):
            assert code == 1 and f"is in use by another run (process {os.getpid()} on" in error
    finally:
        lock.release()


def test_a_slow_process_does_not_time_the_others_out(base_model, tmp_path):
    """It takes longer than the timeout of the collectives."""
    launch("slow", base_model, tmp_path / "out", num_processes=2)


def test_a_model_sharded_by_fsdp_2_generates(base_model, tmp_path):
    launch("fsdp2", base_model, tmp_path / "out", num_processes=2)


@pytest.mark.parametrize("config", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_accelerate_reads_the_configurations(config):
    """It refuses fields that it does not know."""
    assert load_config_from_file(str(CONFIGS / config)).num_processes == 8


def test_the_pairs_of_iterative_rpo_train_the_same_model_in_two_processes(base_model, tmp_path):
    found = [launch("pairs", base_model, tmp_path / str(number), number)["pairs"] for number in (1, 2)]
    assert found[0] == found[1] >= 6
    one, two = (load_file(tmp_path / name / "iteration-001/checkpoint/model.safetensors") for name in ("1", "2"))
    before = load_file(Path(base_model) / "model.safetensors")
    assert any(not torch.equal(one[name], before[name]) for name in one)
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_probes_choose_the_same_in_two_processes(base_model, tmp_path):
    """And after one of them was killed in the second probe."""
    one, two = (launch("probes", base_model, tmp_path / str(number), number)["choices"] for number in (1, 2))
    assert one[0] == two[0]  # made by the same model
    assert [choice[:2] for choice in two] == [[1.0, 1.0]] * 2
    codes = {code for code, _ in ends("probes killed", base_model, tmp_path / "killed")}
    assert codes == {1, -signal.SIGKILL}
    found = [len(Ledger(tmp_path / "killed", name=f"probe-{each}").read(1)) for each in (0.01, 1.0)]
    assert found[0] == 12 and found[1] < 12
    assert launch("probes", base_model, tmp_path / "killed", 2)["choices"] == two
    for name in ("probe-0.01", "probe-1.0", "samples"):
        for iteration in (1, 2):
            whole, resumed = (Ledger(tmp_path / each, name=name).read(iteration) for each in ("2", "killed"))
            assert whole == resumed and whole
        first = [Ledger(tmp_path / each, name=name).read(1) for each in ("1", "2")]
        assert first[0] == first[1]


def test_thoughts_train_the_same_model_in_two_processes(base_model, tmp_path):
    for number in (1, 2):
        launch("quiet", base_model, tmp_path / str(number), number)
    for file in ("model.safetensors", "thought_head.safetensors"):
        one, two = (load_file(tmp_path / name / file) for name in ("1", "2"))
        assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one), file
    before = load_file(Path(base_model) / "model.safetensors")
    one = {**load_file(tmp_path / "1" / "model.safetensors"), **one}
    assert any((one[name] - before[name]).abs().max() > 1e-3 for name in before)
    assert one["mixing.4.weight"].any()
