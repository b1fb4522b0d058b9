"""What a check found, by rule, and the record of a whole check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from understudy.configuration import Config, write_json

Severity = Literal["error", "warning", "note"]


class Finding(Config):
    """One thing that is wrong or odd.

    An error makes the data unfit as it is; a warning wants a look; a note is for knowing.
    """

    severity: Severity
    rule: str
    """Short name, the same for every finding of a kind."""
    split: str
    key: str
    """The sample, drive or class it is about; empty for the whole split."""
    message: str


@dataclass(frozen=True)
class Seen:
    """How much of a split was looked at."""

    split: str
    num_frames: int
    num_read: int


class CheckReport(Config):
    """Everything one check found."""

    schema_version: int = 1
    data: str
    """The data set's folder, as it was given."""
    splits: dict[str, int]
    """Frames looked at in each split."""
    findings: tuple[Finding, ...]

    @property
    def num_errors(self) -> int:
        """Findings that make the data unfit."""
        return sum(finding.severity == "error" for finding in self.findings)

    def write(self, path: Path) -> None:
        """Writes the record as JSON."""
        write_json(path, self)


def describe(report: CheckReport, most: int = 5) -> list[str]:
    """Text: for each rule how often and where, with the first few findings."""
    read = ", ".join(f"{split} {count}" for split, count in report.splits.items())
    lines = [f"checked {report.data}: frames {read}"]
    for severity in ("error", "warning", "note"):
        chosen = [finding for finding in report.findings if finding.severity == severity]
        for rule, count in Counter(finding.rule for finding in chosen).items():
            lines.append(f"{severity:<8} {rule}: {count}")
            lines += _first([finding for finding in chosen if finding.rule == rule], most)
    if not report.findings:
        lines.append("nothing found: every file reads, labels are sane, splits are apart")
    return lines


def _first(findings: Sequence[Finding], most: int) -> list[str]:
    places = [" ".join(filter(None, (finding.split, finding.key))) for finding in findings]
    lines = [f"  {': '.join(filter(None, (place, of.message)))}" for place, of in zip(places, findings, strict=True)]
    rest = len(lines) - most
    return lines[:most] + ([f"  ... and {rest} more"] if rest > 0 else [])
