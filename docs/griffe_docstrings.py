# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""What the site needs to know of Hugging Face's docstrings: their references, and their groups of parameters."""

import re
from pathlib import Path
from typing import Any

from griffe import Alias, Extension, Module, Object


REFERENCE = re.compile(r"\[`(~?)([\w.]+)`\](?![(\[])")
DOCUMENTED = re.compile(r"^::: (\S+)$", re.MULTILINE)
# The first line is that of the section, which only the first group has.
GROUP = re.compile(r"(?:^Parameters:\n)?\s*^ *> Parameters that control (.*)$", re.MULTILINE)


# `name (`int`, *optional*, defaults to `5`):`, and what a function returns or raises. The default is in the signature.
ARGUMENT = re.compile(r"^(    \w+ \()(.*?)(?:, \*optional\*.*)?(\):)$", re.MULTILINE)
RESULT = re.compile(r"^(    )(`.+?)(: )", re.MULTILINE)


class HuggingFaceDocstrings(Extension):
    """
    Rewrites [`Name`] as a link where the site has it, types as plain text, and `> Parameters that control ...` as a
    section.
    """

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        pages = "".join(page.read_text() for page in sorted((Path(__file__).parent / "api").glob("*.md")))
        self.paths = {path.rsplit(".", 1)[-1]: path for path in DOCUMENTED.findall(pages)}
        self._rewrite(pkg)

    def _rewrite(self, thing: Object) -> None:
        if thing.docstring is not None:
            text = GROUP.sub("\n\nParameters: Parameters that control \\1", thing.docstring.value)
            for pattern in (ARGUMENT, RESULT):
                text = pattern.sub(lambda match: match[1] + _plain(match[2]) + match[3], text)
            thing.docstring.value = REFERENCE.sub(self._link, text)
        for member in thing.members.values():
            if not isinstance(member, Alias):
                self._rewrite(member)

    def _link(self, match: re.Match) -> str:
        is_short, name = match.groups()
        last = name.rsplit(".", 1)[-1]
        shown, path = last if is_short else name, self.paths.get(last)
        return f"[`{shown}`][{path}]" if path else f"`{shown}`"


def _plain(types: str) -> str:
    return REFERENCE.sub(lambda match: match[2].rsplit(".", 1)[-1], types).replace("`", "")
