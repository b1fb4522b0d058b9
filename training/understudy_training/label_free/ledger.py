"""What training without labels is worth over several seeds: its share of what labels give the same student."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from understudy.configuration import Config, check_config
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy_training.label_free.scoring import LabelFreeScore, ScoreRow
from understudy_training.ledger import t_interval

HALF = 0.5
"""The share that is asked for."""


class LabelFreeLedger(Config):
    """Scores of the same recipe on the same frames, a seed each."""

    kind: Literal["label_free"] = "label_free"
    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"[a-z0-9][a-z0-9_.+-]*")
    source: str = ""
    """Where the method was published."""
    scores: tuple[LabelFreeScore, ...] = Field(min_length=1)


@dataclass(frozen=True)
class ShareOfLabels:
    """One class, overlap and range over the seeds.

    Attributes:
        row: that of the first seed; class, overlap, range and truths are those of all.
        ap_percent: mean without labels.
        supervised_ap_percent: mean with labels.
        share: mean over the seeds of the one over the other.
        interval: 95 % of it, Student's t over the seeds; None from one.
    """

    row: ScoreRow
    ap_percent: float
    supervised_ap_percent: float
    share: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """Whether half of what labels give is reached."""
        if self.interval is None:
            return "one seed says nothing"
        if self.interval[0] >= HALF:
            return "half reached"
        return "half not reached" if self.interval[1] < HALF else "not decided"


def label_free_ledger(name: str, source: str, files: Sequence[Path]) -> LabelFreeLedger:
    """Scores that `label-free score --json` wrote, one file for each seed.

    Raises:
        InputError: when a file is no such score, has no supervised student beside it, or was counted in another way or
            on other frames than the first.
    """
    scores = tuple(check_config(read_json(file), LabelFreeScore, f"{file}", InputError) for file in files)
    for file, score in zip(files, scores, strict=True):
        if not any(row.share is not None for row in score.rows):
            remedy = "understudy label-free score RUN --against SUPERVISED --json FILE"
            raise InputError(f"{file}", found="no supervised score", wanted="one to compare with", remedy=remedy)
        counted, first = _counted(score), _counted(scores[0])
        if counted != first:
            raise InputError(f"{file}", found="other frames or settings", wanted=f"those of {files[0]}")
        if scores.count(score) > 1:
            raise InputError(f"{file}", found="the same score twice", wanted="a score of each seed")
    return check_config({"name": name, "source": source, "scores": scores}, LabelFreeLedger, "label-free ledger")


def read_label_free_ledger(path: Path) -> LabelFreeLedger | None:
    """Reads what `label-free ledger` wrote; None where the file is of another kind, or a folder.

    Raises:
        InputError: when there is no such file, or it is damaged.
    """
    values = {} if path.is_dir() else read_json(path)
    if not isinstance(values, dict) or values.get("kind") != "label_free":
        return None
    return check_config(values, LabelFreeLedger, f"{path}", InputError)


def shares(ledger: LabelFreeLedger) -> list[ShareOfLabels]:
    """Of every class, overlap and range that all seeds have a share of."""
    found = []
    for rows in zip(*(score.rows for score in ledger.scores), strict=True):
        own = [row.ap_percent for row in rows if row.ap_percent is not None]
        other = [row.supervised_ap_percent for row in rows if row.supervised_ap_percent is not None]
        each = [row.share for row in rows if row.share is not None]
        if len(each) == len(rows):
            means = statistics.fmean(own), statistics.fmean(other), statistics.fmean(each)
            found.append(ShareOfLabels(rows[0], *means, t_interval(each)))
    return found


def describe_label_free(ledger: LabelFreeLedger) -> Iterator[str]:
    """The table for a terminal, within a hundred columns."""
    seeds = len(ledger.scores)
    yield f"{ledger.name}: {seeds} seeds, AP from above in % over {ledger.scores[0].num_frames} frames"
    yield f"{'class':12s}{'IoU':>6s}{'range':>10s}{'truths':>8s}{'without':>9s}{'labels':>8s}{'share':>7s}  95 %"
    for found in shares(ledger):
        row = found.row
        place = f"{row.class_name:12s}{row.iou:>6.2f}{range_of(row):>10s}{row.num_truths:>8d}"
        values = f"{found.ap_percent:>9.1f}{found.supervised_ap_percent:>8.1f}{found.share:>7.0%}"
        yield f"{place}{values}  {interval_of(found):16s}{found.verdict}"


def label_free_section(ledger: LabelFreeLedger) -> Iterator[str]:
    """Its part of the ledger's page, in Markdown."""
    first = ledger.scores[0]
    yield f"## {ledger.name}"
    yield ""
    yield (
        f"{ledger.source or ledger.name}: a student trained without any label against the same student and seed with "
        f"labels, {len(ledger.scores)} seeds. Average precision from above in %, evaluated on {first.num_frames} "
        f"frames (data `{first.data[:12]}`). The share is the mean over the seeds of the one over the other."
    )
    yield ""
    header = ("class", "IoU", "range", "truths", "without labels", "with labels", "share", "95 %", "half of it?")
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for found in shares(ledger):
        row = found.row
        values = (f"{found.ap_percent:.1f}", f"{found.supervised_ap_percent:.1f}", f"{found.share:.0%}")
        cells = (row.class_name, f"{row.iou:.2f}", range_of(row), str(row.num_truths), *values)
        yield f"| {' | '.join((*cells, interval_of(found), found.verdict))} |"
    yield ""


def range_of(row: ScoreRow) -> str:
    """As "0-30 m"."""
    return f"{row.range_m[0]:.0f}-{row.range_m[1]:.0f} m"


def interval_of(found: ShareOfLabels) -> str:
    """As "51 to 63 %", or a dash."""
    return "-" if found.interval is None else f"{100 * found.interval[0]:.0f} to {100 * found.interval[1]:.0f} %"


def _counted(score: LabelFreeScore) -> tuple[object, ...]:
    rows = tuple((row.class_name, row.iou, row.range_m, row.num_truths) for row in score.rows)
    return score.data, score.num_frames, score.overlap, score.settings, rows
