# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""`make docs` builds the site, without a warning."""

import inspect
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

import star_trl
from star_trl import generation, rewards
from support import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("zensical")
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text())
    command = [os.path.join(os.path.dirname(sys.executable), "zensical"), "build", "--strict"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert "griffe" not in output, output  # docstrings that it cannot read are no warnings to `--strict`
    return folder / "site"


def test_every_page_is_in_the_navigation(site):
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = re.findall(r"[\w/]+\.md", str(config["nav"]))
    assert sorted(listed) == sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("module", [star_trl, rewards, generation])
def test_what_is_public_is_documented(site, module):
    pages = "".join(path.read_text() for path in (site / "api").glob("*.html"))
    names = [name for name in module.__all__ if not inspect.ismodule(getattr(module, name))]
    missing = [name for name in names if f'id="{module.__name__}.{name}"' not in pages]
    assert not missing


def test_docstrings_are_rendered(site):
    page = (site / "api/trainer.html").read_text()
    assert "Parameters that control the inner loop" in page
    assert not re.search(r"\[<code>", page)  # a reference that was not followed


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        assert not re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', page.read_text()), page
