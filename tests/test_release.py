# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What a release says of itself. `make dist` builds it and tries the wheel."""

import re

import star_trl
from support import ROOT


def test_the_version_is_the_same_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## (\d\S*)", changelog, re.MULTILINE)[1] == star_trl.__version__
    assert re.search(r"^version: (\S+)", citation, re.MULTILINE)[1] == star_trl.__version__


def test_pages_beside_the_docs_link_to_what_exists():
    pages = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md")]
    pages.append(ROOT / "examples" / "README.md")
    missing = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert not missing
