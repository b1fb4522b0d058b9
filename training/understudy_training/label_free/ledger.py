"""What training without labels is worth over several seeds: its share of what labels give the same student."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from understudy.configuration import Config, check_config
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy_training.label_free.scoring import LabelFreeScore, ScoredRun, ScoreRow
from understudy_training.ledger import t_interval
from understudy_training.studies.study_file import NAME

HALF = 0.5
"""The share that is asked for."""


class LabelFreeLedger(Config):
    """Scores of the same recipe on the same frames, a seed each."""

    kind: Literal["label_free"] = "label_free"
    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME)
    source: str = Field("", pattern=r"^[^|\r\n]*$")
    """Where the method was published."""
    scores: tuple[LabelFreeScore, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _are_of_one_experiment(self) -> LabelFreeLedger:
        for number, score in enumerate(self.scores):
            wrong = _what_does_not_belong(score, self.scores[:number])
            if wrong:
                raise ValueError(f"scores: the one of place {number + 1} {wrong}")
        return self


@dataclass(frozen=True)
class ShareOfLabels:
    """One class, overlap and range over the seeds.

    Attributes:
        row: that of the first seed; class, overlap, range and truths are those of all.
        ap_percent: mean without labels.
        supervised_ap_percent: mean with labels.
        share: mean over the seeds of the one over the other; None where a seed's supervised student found nothing.
        interval: 95 % of it, Student's t over the seeds; None from one.
    """

    row: ScoreRow
    ap_percent: float
    supervised_ap_percent: float
    share: float | None
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """Whether half of what labels give is reached."""
        if self.share is None:
            return "no share of nothing"
        if self.interval is None:
            return "one seed says nothing"
        if self.interval[0] >= HALF:
            return "half reached"
        return "half not reached" if self.interval[1] < HALF else "not decided"


def label_free_ledger(name: str, source: str, files: Sequence[Path]) -> LabelFreeLedger:
    """Scores that `label-free score --json` wrote, one file for each seed.

    Raises:
        InputError: when a file is no such score, does not say what was scored or has no supervised student of its seed
            beside it; or its network is that of another file, or was trained or counted in another way.
    """
    scores = [check_config(read_json(file), LabelFreeScore, f"{file}", InputError) for file in files]
    for number, (file, score) in enumerate(zip(files, scores, strict=True)):
        wrong = _what_does_not_belong(score, scores[:number])
        if wrong:
            remedy = "understudy label-free score RUN --against SUPERVISED --json FILE, a pair of runs for each seed"
            raise InputError(f"{file}", found=f"a score that {wrong}", remedy=remedy)
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
    """Of every class, overlap and range that there are truths of; the first is the one to judge by."""
    found = []
    for rows in zip(*(score.rows for score in ledger.scores), strict=True):
        own = [row.ap_percent for row in rows if row.ap_percent is not None]
        other = [row.supervised_ap_percent for row in rows if row.supervised_ap_percent is not None]
        each = [row.share for row in rows if row.share is not None]
        if not len(own) == len(other) == len(rows):
            continue
        means = statistics.fmean(own), statistics.fmean(other)
        known = len(each) == len(rows)
        share, interval = (statistics.fmean(each), t_interval(each)) if known else (None, None)
        found.append(ShareOfLabels(rows[0], *means, share, interval))
    return found


def describe_label_free(ledger: LabelFreeLedger) -> Iterator[str]:
    """The table for a terminal, within a hundred columns."""
    yield f"{ledger.name}: {seeds_of(ledger)}, AP from above in % over {ledger.scores[0].num_frames} frames"
    yield f"{'class':12s}{'IoU':>6s}{'range':>10s}{'truths':>8s}{'without':>9s}{'labels':>8s}{'share':>7s}  95 %"
    for found in shares(ledger):
        row = found.row
        place = f"{row.class_name:12s}{row.iou:>6.2f}{range_of(row):>10s}{row.num_truths:>8d}"
        values = f"{found.ap_percent:>9.1f}{found.supervised_ap_percent:>8.1f}{share_of(found):>7s}"
        yield f"{place}{values}  {interval_of(found):16s}{found.verdict}"
    yield "the first line is the one to judge by; the others describe it"


def label_free_section(ledger: LabelFreeLedger) -> Iterator[str]:
    """Its part of the ledger's page, in Markdown."""
    first = ledger.scores[0]
    assert first.run is not None and first.supervised is not None  # noqa: PT018
    yield f"## {ledger.name}"
    yield ""
    yield (
        f"{ledger.source or ledger.name}: a student trained without any label ({first.run.steps} steps over "
        f"{first.run.frames} frames in its last round) against the same student and seed with labels "
        f"({first.supervised.steps} steps over {first.supervised.frames} frames), {seeds_of(ledger)}. Average "
        f"precision from above in %, evaluated on {first.num_frames} frames (data `{first.data[:12]}`). The share is "
        f"the mean over the seeds of the one over the other. The first line is the one to judge by."
    )
    yield ""
    header = ("class", "IoU", "range", "truths", "without labels", "with labels", "share", "95 %", "half of it?")
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for found in shares(ledger):
        row = found.row
        values = (f"{found.ap_percent:.1f}", f"{found.supervised_ap_percent:.1f}", share_of(found))
        cells = (row.class_name, f"{row.iou:.2f}", range_of(row), str(row.num_truths), *values)
        yield f"| {' | '.join((*cells, interval_of(found), found.verdict))} |"
    yield ""


def seeds_of(ledger: LabelFreeLedger) -> str:
    """As "3 seeds"."""
    return f"{len(ledger.scores)} seed{'s' if len(ledger.scores) > 1 else ''}"


def range_of(row: ScoreRow) -> str:
    """As "0-30 m"."""
    return f"{row.range_m[0]:.0f}-{row.range_m[1]:.0f} m"


def share_of(found: ShareOfLabels) -> str:
    """As "61 %", or a dash."""
    return "-" if found.share is None else f"{100 * found.share:.0f} %"


def interval_of(found: ShareOfLabels) -> str:
    """As "51 to 63 %", or a dash."""
    return "-" if found.interval is None else f"{100 * found.interval[0]:.0f} to {100 * found.interval[1]:.0f} %"


def _what_does_not_belong(score: LabelFreeScore, others: Sequence[LabelFreeScore]) -> str:
    """What keeps a score from standing beside others; "" where nothing does."""
    if score.run is None or score.supervised is None:
        return "does not say which runs were scored, the supervised one beside"
    if score.run.seed != score.supervised.seed:
        return f"is of two seeds, {score.run.seed} and {score.supervised.seed} with labels"
    for other in others:
        assert other.run is not None and other.supervised is not None  # noqa: PT018
        same = {score.run.weights, score.supervised.weights} & {other.run.weights, other.supervised.weights}
        if same or score.run.seed == other.run.seed:
            return "is of a network or seed that is there already"
        if _trained(score.run) != _trained(other.run) or _trained(score.supervised) != _trained(other.supervised):
            return "is of another recipe or number of steps"
        if _counted(score) != _counted(other):
            return "was counted on other frames or in another way"
    return ""


def _trained(run: ScoredRun) -> tuple[object, ...]:
    return run.recipe, run.frames, run.steps


def _counted(score: LabelFreeScore) -> tuple[object, ...]:
    rows = tuple((row.class_name, row.iou, row.range_m, row.num_truths) for row in score.rows)
    return score.data, score.num_frames, score.overlap, score.settings, rows
