"""Text cards for people: a label, a value, never wider than a hundred columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

WIDTH = 100
_LABEL = 14


def card(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A title and rows of label and value; long values wrap under themselves."""
    lines = [title]
    for label, value in rows:
        lines += textwrap.wrap(
            value,
            WIDTH,
            initial_indent=f"  {label:<{_LABEL}}",
            subsequent_indent=" " * (_LABEL + 2),
            break_on_hyphens=False,
        ) or [f"  {label:<{_LABEL}}-".rstrip()]
    return "\n".join(lines)


def megabytes(size_bytes: int) -> str:
    """A size to read, in MB."""
    return f"{size_bytes / 1e6:.2f} MB"
