"""What a look at a vehicle found: one finding for each thing that was checked, with what to do about it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from understudy.cards import WIDTH
from understudy.configuration import Config

State = Literal["ok", "warn", "missing", "unknown"]
"""missing: what is needed is not there, or not as it is needed; unknown: it could not be looked at, and why."""
Purpose = Literal["lidar", "fusion", "camera", "compile", "rig"]
"""What somebody wants of this machine; `rig` is asked for by naming a rig or a params file."""

_STATE, _MOST_WHAT = 8, 28


class Finding(Config):
    """One thing that was checked."""

    state: State
    what: str
    """The thing: a package, a topic, a node."""
    seen: str
    remedy: str = ""
    """What to do; empty where nothing is to be done."""
    needed_for: tuple[Purpose, ...] = ()
    """The purposes that fail while this is missing."""


def ok(what: str, seen: str, needed_for: Sequence[Purpose] = ()) -> Finding:
    """It is as it should be."""
    return Finding(state="ok", what=what, seen=seen, needed_for=tuple(needed_for))


def warn(what: str, seen: str, remedy: str, needed_for: Sequence[Purpose] = ()) -> Finding:
    """It works, or may work, but not as well as it could."""
    return Finding(state="warn", what=what, seen=seen, remedy=remedy, needed_for=tuple(needed_for))


def missing(what: str, seen: str, remedy: str, needed_for: Sequence[Purpose] = ()) -> Finding:
    """What is needed is not there, or not as it is needed."""
    return Finding(state="missing", what=what, seen=seen, remedy=remedy, needed_for=tuple(needed_for))


def unknown(what: str, reason: str, remedy: str = "", needed_for: Sequence[Purpose] = ()) -> Finding:
    """It could not be looked at."""
    return Finding(state="unknown", what=what, seen=reason, remedy=remedy, needed_for=tuple(needed_for))


def lacking(findings: Iterable[Finding], purposes: Iterable[Purpose]) -> list[Finding]:
    """What is missing of what the purposes need."""
    asked = set(purposes)
    return [finding for finding in findings if finding.state == "missing" and asked & set(finding.needed_for)]


def findings_text(title: str, findings: Sequence[Finding]) -> str:
    """A title with the counts, then a paragraph for each finding; never wider than a hundred columns."""
    counts = Counter(finding.state for finding in findings)
    numbers = ", ".join(f"{counts[state]} {state}" for state in ("ok", "warn", "missing", "unknown") if counts[state])
    width = min(_MOST_WHAT, max((len(finding.what) for finding in findings), default=0))
    return "\n".join(
        [f"{title}: {numbers or 'nothing checked'}", *(_paragraph(finding, width) for finding in findings)]
    )


def _paragraph(finding: Finding, width: int) -> str:
    head, rest = f"  {finding.state:<{_STATE}}", " " * (2 + _STATE)
    lines = _wrapped(finding.seen, f"{head}{finding.what:<{width}}  ", f"{rest}{'':<{width}}  ")
    if finding.state != "ok" and finding.remedy:
        lines += _wrapped(finding.remedy, f"{rest}-> ", f"{rest}   ")
    return "\n".join(lines)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    printable = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    wrapper = textwrap.TextWrapper(WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    wrapper.break_long_words = False
    lines = wrapper.wrap(printable)
    if any(len(line) > WIDTH for line in lines):  # a path is to be copied whole, unless no line can hold it
        wrapper.break_long_words = True
        lines = wrapper.wrap(printable)
    return lines or [first.rstrip()]
