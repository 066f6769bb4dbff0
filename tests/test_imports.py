# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What importing the package and the light commands load: torch, transformers and trl take seconds."""

import subprocess
import sys

import pytest

import star_trl


LIGHT = {
    "the package": "import star_trl",
    "the help": "import sys; sys.argv = ['star-trl', '--help']; from star_trl.cli import main; main()",
    "the report": "from star_trl import write_report; from star_trl.cli.commands.report import main; main(['--help'])",
}


@pytest.mark.parametrize("code", LIGHT.values(), ids=LIGHT)
def test_what_needs_no_model_does_not_load_torch(code):
    code = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_folders_are_attributes_of_the_package():
    code = "import star_trl; star_trl.report.write_report, star_trl.few_shot.read_prompts"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_imported_when_it_is_used():
    assert "STaRTrainer" in star_trl.__all__
    for name in star_trl.__all__:
        assert getattr(star_trl, name).__name__.removeprefix("star_trl.") == name
    with pytest.raises(AttributeError):
        star_trl.Nothing  # noqa: B018
