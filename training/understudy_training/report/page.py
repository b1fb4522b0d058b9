"""The page: sections of text, tables and pictures, rendered into one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2


@dataclass(frozen=True)
class Table:
    """Cells as text, the first column left-aligned."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """One heading with what stands below it, in the order text, tables, pictures (data URIs)."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole report; `verdict` is what a reader should know who reads nothing else."""

    title: str
    made: str
    verdict: tuple[str, ...]
    gain_shown: bool
    sections: Sequence[Section]

    def write(self, path: Path) -> None:
        """Writes the HTML file; every text is escaped."""
        template = files("understudy_training.report").joinpath("page.html.j2").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(environment.from_string(template).render(**vars(self)), encoding="utf-8")
