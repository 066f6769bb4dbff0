# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The rehearsal of `benchmarks/gpu.py` on a CPU."""

import importlib.util
import json

import pytest

import gpu


@pytest.fixture(scope="module")
def run_part(tmp_path_factory):
    """Runs a part in this process, since each would take as long to import everything. All share a folder."""
    folder = tmp_path_factory.mktemp("gpu")

    def run(name):
        package = gpu.PARTS[name].package
        if package is not None and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
        gpu.write_part(name, folder, gpu.REHEARSAL)
        return json.loads((folder / f"{name}.json").read_text())

    return run


@pytest.mark.parametrize("name", ["generation 0.6B", "vllm 0.6B"])
def test_engines_are_compared_behind_every_prefix(run_part, name):
    results = run_part(name)
    for engine in ("generate", *gpu.PARTS[name].function.keywords["engines"]):
        for prefix in gpu.REHEARSAL.prefixes:
            figures = results[f"{engine}, prefix {prefix}"]
            assert figures["completions"] == gpu.REHEARSAL.num_prompts
            assert 0 < figures["share_of_roofline"] < 1


def test_engines_agree_in_full_precision(run_part):
    results = run_part("equality")
    assert all(share == 1.0 for name, share in results.items() if name.startswith("float32"))
    assert sum(name.startswith("bfloat16") for name in results) == 3


def check_run(results):
    steps = gpu.TRAINING["max_steps"]
    assert len(results["losses"]) == 2 * steps
    # The second iteration starts from the same weights, and what the first one took is free again.
    assert results["losses"][steps] == pytest.approx(results["losses"][0], rel=0.01)
    first, second = results["mib_at_the_start_of_iterations"]
    assert second == pytest.approx(first, abs=0.1)
    assert results["peak_mib"].keys() == {"sampling", "fine-tuning", "reset"}


@pytest.mark.parametrize("name", ["qlora", "paged optimizer"])
def test_optimizers_train_in_two_iterations(run_part, name):
    check_run(run_part(name))


def test_a_shared_prefix_is_compared_with_separate_sequences(run_part):
    results = run_part("fine-tuning sdpa")
    shared, separate = results["shared prefix"], results["separate sequences"]
    for result in (shared, separate):
        check_run(result)
    assert shared["why_no_shared_prefix"] is None
    assert shared["samples"] == separate["samples"]
    assert shared["losses"] == pytest.approx(separate["losses"], rel=0.01)


@pytest.mark.distributed
def test_every_part_has_a_process_of_its_own(tmp_path, monkeypatch):
    output = tmp_path / "gpu.json"
    monkeypatch.setattr(
        "sys.argv", ["gpu.py", "--rehearse", "--parts", "fine-tuning flex", "zero3", "fsdp2", "--output", str(output)]
    )
    gpu.main()
    parts = json.loads(output.read_text())["parts"]
    assert parts["fine-tuning flex"] == {"status": "needs a GPU"}
    if importlib.util.find_spec("deepspeed") is None:
        assert parts["zero3"] == {"status": "not installed", "package": "deepspeed"}
    assert parts["fsdp2"]["status"] == "done", parts["fsdp2"]
    check_run(parts["fsdp2"]["results"])


@pytest.mark.parametrize(
    ("script", "status"), [("echo begun; exit 1", "failed"), ("echo begun; sleep 600", "timed out")]
)
def test_a_part_that_fails_or_takes_too_long_is_recorded_with_its_last_lines(tmp_path, script, status):
    outcome = gpu.run_in_process(["sh", "-c", script], 3, tmp_path / "part.json")
    assert (outcome["status"], outcome["last_lines"]) == (status, ["begun"])


def test_the_limits_add_up_to_eight_minutes():
    assert sum(part.seconds for part in gpu.PARTS.values()) <= 8 * 60
