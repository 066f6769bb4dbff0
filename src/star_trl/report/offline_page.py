# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Builds HTML files that need no network and run nothing but their own script."""

import base64
import gzip
import hashlib
import json
from string import Template
from typing import Any

import orjson


def offline_page(template: str, css: str, js: str, data: Any, **parts: str) -> str:
    """
    Returns a self-contained page.

    Text that a model wrote belongs into `data`. The page holds it as base64, which HTML cannot misread, and its script
    inserts it as text. Should anything else get in, the policy runs no other script and loads nothing.

    Args:
        template (`str`):
            HTML with the placeholders `$policy`, `$css`, `$js` and `$data`, and those of `parts`.
        css (`str`):
            Its style.
        js (`str`):
            Its script.
        data (`Any`):
            What the script reads, as compressed JSON in base64.
        **parts (`str`):
            HTML for the other placeholders.
    """
    policy = (
        f"default-src 'none'; script-src {_hash(js)}; style-src {_hash(css)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return Template(template).substitute(policy=policy, css=css, js=js, data=_compressed(data), **parts)


def _compressed(data: Any) -> str:
    try:
        text = orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # whole numbers of any size, and halves of a character
        dumped = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text = dumped.encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(text, 5, mtime=0)).decode()


def _hash(text: str) -> str:
    """Returns the hash by which a content security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
