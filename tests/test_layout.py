# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""The stages of the package import each other in one direction: the one that CONTRIBUTING.md writes down."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import star_trl


PACKAGE = Path(star_trl.__file__).parent


def read_order() -> dict[str, int]:
    """The line of each stage in the block of CONTRIBUTING.md."""
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(seeds .*?)```", text, re.DOTALL)[1]
    lines = [re.split(r"\s{2,}", line)[0].split() for line in block.splitlines()]
    return {name: number for number, names in enumerate(lines) for name in names}


def read_imports() -> dict[str, set[str]]:
    """For each module of the package, by its path in it (`run.state`), the modules of the package that it imports."""
    paths = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    imports: dict[str, set[str]] = {name: set() for name in paths}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = name.split(".")[: -node.level] + (node.module.split(".") if node.module else [])
                for imported in node.names:
                    candidates = [".".join([*base, imported.name]), ".".join(base), ".".join([*base, "__init__"])]
                    imports[name].add(next(candidate for candidate in candidates if candidate in paths))
    return imports


def test_no_stage_imports_a_later_one():
    order = read_order()
    back = [
        f"{name} -> {imported}"
        for name, modules in read_imports().items()
        for imported in modules
        if (a := name.split(".")[0]) != (b := imported.split(".")[0]) and order[b] >= order[a]
    ]
    assert not back


def test_no_modules_import_each_other_in_a_circle():
    assert list(TopologicalSorter(read_imports()).static_order())
