# Copyright 2026 The star-trl authors. Licensed under the Apache License, Version 2.0.
"""Tables of results in the pages of `docs/`."""

import re
from collections.abc import Iterable
from statistics import mean


def spread(values: list[float]) -> str:
    """Formats values as `96%`, or as `96% (94-97)` if the seeds differ."""
    percent = [100 * value for value in values]
    low, high = f"{min(percent):.0f}", f"{max(percent):.0f}"
    return f"{mean(percent):.0f}%" + ("" if low == high else f" ({low}-{high})")


def markdown_table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a table in Markdown."""
    titles = list(titles)
    lines = [f"| {' | '.join(cells)} |" for cells in (titles, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(titles), *lines[1:]])


def fill_in(page: str, tables: dict[str, str]) -> str:
    """Returns the page with some of its tables replaced. The others stay as they are."""
    return re.sub(
        r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}" if match[2] in tables else match[0],
        page,
        flags=re.DOTALL,
    )
