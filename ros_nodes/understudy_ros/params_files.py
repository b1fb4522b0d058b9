"""Params files none of whose sections reaches the node, which ROS ignores without a word."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

_PARAMETERS = "ros__parameters"
_PATTERNS = {"/**": "(?:/[^/]+)*", "/*": "/[^/]+"}


def unreached_files(arguments: Sequence[str], node: str) -> str:
    """One line about the params files that say nothing to a node; empty when there are none.

    Args:
        arguments: of the process, as in `sys.argv`.
        node: its full name, with namespace.
    """
    pairs = itertools.pairwise(arguments)
    lines = (_unreached(Path(value), node) for key, value in pairs if key == "--params-file")
    return "; ".join(filter(None, lines))


def _unreached(path: Path, node: str) -> str:
    sections = tuple(_sections(_read(path)))
    if any(reaches(section, node) for section in sections):
        return ""
    found = f"of its sections ({', '.join(sections)}) none reaches" if sections else "no section reaches"
    return f"params file {path}: {found} {node}; write {node} or /**"


def _read(path: Path) -> Any:
    """What rcl could not read has ended the start before this."""
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _sections(content: Any, prefix: str = "") -> Iterator[str]:
    """Names above each `ros__parameters`; a namespace may be a level of its own."""
    for key, below in content.items() if isinstance(content, dict) else ():
        if key == _PARAMETERS:
            yield prefix
        else:
            yield from _sections(below, f"{prefix}/{str(key).strip('/')}")


def reaches(section: str, node: str) -> bool:
    """Whether a section is for the node of that full name: `*` stands for one part of it, `**` for any number."""
    parts = re.findall(r"/\*\*|/\*|/[^/]+", "/" + section.strip("/"))
    pattern = "".join(_PATTERNS.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(pattern, node) is not None
