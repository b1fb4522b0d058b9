"""What came out of copying damaged storage files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Copied:
    """Messages that were copied.

    Attributes:
        saved: their number by topic.
        notes: for each source what is wrong with it; empty when nothing is.
        promised: number that the files say they hold, by topic; None where one of them does not say.
    """

    saved: Mapping[str, int]
    notes: list[str]
    promised: Mapping[str, int] | None = None
