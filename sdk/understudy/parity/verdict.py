"""From agreements over frames to a verdict per rung, and to the sentence that says where the first one departs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.bundle.manifest import Tolerance
from understudy.configuration import Config
from understudy.parity.agreement import MEASURES, Agreement

_UNITS = {"position_m": " m", "size_m": " m", "yaw_rad": " rad", "score": ""}
RANGES_M: dict[str, tuple[float, float]] = {"0-20 m": (0.0, 20.0), "20-40 m": (20.0, 40.0), "40+ m": (40.0, np.inf)}
"""Distances from the ego's origin, seen from above, that are judged apart: from, to before."""
NOTHING_COMPARED = "nothing was compared: no box above its threshold in any frame"


class Spread(Config):
    """Of the absolute deviations of one measure over all pairs; None without a pair."""

    p99: float | None
    max: float | None


class Departures(Config):
    """What was compared and what departed, over all frames; of one class or of all."""

    num_pairs: int
    num_within: int
    """Pairs within tolerance in every measure."""
    num_missing: int
    num_extra: int
    num_excused: int
    deviations: dict[str, Spread]

    @property
    def num_compared(self) -> int:
        """Boxes that count: pairs, and boxes without a partner that should have one."""
        return self.num_pairs + self.num_missing + self.num_extra

    @property
    def matched(self) -> float:
        """Fraction of them that agree; 0 when nothing was compared."""
        return self.num_within / self.num_compared if self.num_compared else 0.0


class RungReport(Config):
    """A rung against the reference rung."""

    name: str
    engine: str
    passes: bool
    reason: str
    """Why it does not pass; empty when it does."""
    tolerance: Tolerance
    total: Departures
    classes: dict[str, Departures]
    ranges: dict[str, Departures] = Field(default_factory=dict)
    """By distance, as in `RANGES_M`, over all classes."""
    cells: dict[str, dict[str, Departures]] = Field(default_factory=dict)
    """By class, then by distance."""


@dataclass(frozen=True, eq=False)
class FrameAgreement:
    """The agreement of one frame, with the frame's name."""

    key: str
    agreement: Agreement


def judge(
    name: str, engine: str, class_names: Sequence[str], frames: Sequence[FrameAgreement], tolerance: Tolerance
) -> RungReport:
    """A rung passes when something was compared and at least `min_matched` of it is within tolerance."""
    total = _departures(frames, tolerance)
    passes = total.num_compared > 0 and total.matched >= tolerance.min_matched
    labels = dict(enumerate(class_names))
    return RungReport(
        name=name,
        engine=engine,
        passes=passes,
        reason="" if passes else _reason(frames, tolerance, total),
        tolerance=tolerance,
        total=total,
        classes={entry: _departures(frames, tolerance, label) for label, entry in labels.items()},
        ranges={name: _departures(frames, tolerance, None, within) for name, within in RANGES_M.items()},
        cells={
            entry: {name: _departures(frames, tolerance, label, within) for name, within in RANGES_M.items()}
            for label, entry in labels.items()
        },
    )


def refusal(name: str, reason: str, tolerance: Tolerance) -> RungReport:
    """The report of a rung that refused to run: it does not pass, and the reason is its own message."""
    nothing = _departures([], tolerance)
    reason = f"refused: {reason}"
    return RungReport(name=name, engine="", passes=False, reason=reason, tolerance=tolerance, total=nothing, classes={})


def limits(tolerance: Tolerance) -> NDArray[np.float64]:
    """`(4,)` the tolerance as numbers in the order of `MEASURES`."""
    return np.array([tolerance.position_m, tolerance.size_m, tolerance.yaw_rad, tolerance.score])


def _departures(
    frames: Sequence[FrameAgreement],
    tolerance: Tolerance,
    label: int | None = None,
    within: tuple[float, float] = (0.0, np.inf),
) -> Departures:
    """Of one class or all, of one span of distances or all."""
    agreements = [frame.agreement for frame in frames]
    chosen = [entry.deviations[_chosen(entry.labels, entry.ranges_m, label, within)] for entry in agreements]
    deviations = np.concatenate([np.zeros((0, len(MEASURES))), *chosen])

    def count(kind: str) -> int:
        columns = [(getattr(entry, kind), getattr(entry, f"{kind}_ranges_m")) for entry in agreements]
        return sum(int(_chosen(labels, ranges_m, label, within).sum()) for labels, ranges_m in columns)

    return Departures(
        num_pairs=len(deviations),
        num_within=int(np.all(deviations <= limits(tolerance), axis=1).sum()),
        num_missing=count("missing"),
        num_extra=count("extra"),
        num_excused=count("excused"),
        deviations={measure: _spread(deviations[:, column]) for column, measure in enumerate(MEASURES)},
    )


def _chosen(
    labels: NDArray[np.int32], ranges_m: NDArray[np.float64], label: int | None, within: tuple[float, float]
) -> NDArray[np.bool_]:
    of_range: NDArray[np.bool_] = (ranges_m >= within[0]) & (ranges_m < within[1])
    return of_range if label is None else of_range & (labels == label)


def _spread(values: NDArray[np.float64]) -> Spread:
    if not len(values):
        return Spread(p99=None, max=None)
    return Spread(p99=float(np.percentile(values, 99, method="inverted_cdf")), max=float(values.max()))


def _reason(frames: Sequence[FrameAgreement], tolerance: Tolerance, total: Departures) -> str:
    """The kind of departure that most boxes show, its worst value and the frame that has it."""
    if not total.num_compared:
        return NOTHING_COMPARED
    counts = {
        "missing": total.num_missing,
        "extra": total.num_extra,
        **{measure: _num_beyond(frames, tolerance, column) for column, measure in enumerate(MEASURES)},
    }
    kind = max(counts, key=lambda name: counts[name])
    if kind in MEASURES:
        return _reason_of_measure(frames, tolerance, MEASURES.index(kind), counts[kind], total.num_pairs)
    worst = max(frames, key=lambda frame: len(getattr(frame.agreement, kind)))
    what = "boxes of the reference are missing" if kind == "missing" else "boxes are not in the reference"
    return f"{counts[kind]} {what}, {total.num_pairs} found in both; most in frame {worst.key}"


def _reason_of_measure(
    frames: Sequence[FrameAgreement], tolerance: Tolerance, column: int, count: int, num_pairs: int
) -> str:
    measure = MEASURES[column]
    worst = max(frames, key=lambda frame: frame.agreement.deviations[:, column].max(initial=-1.0))
    value, unit = worst.agreement.deviations[:, column].max(), _UNITS[measure]
    name, limit = measure.split("_")[0], limits(tolerance)[column]
    return f"{name} {value:.3g}{unit} > {limit:.3g}{unit}, frame {worst.key}; beyond it in {count} of {num_pairs} boxes"


def _num_beyond(frames: Sequence[FrameAgreement], tolerance: Tolerance, column: int) -> int:
    limit = limits(tolerance)[column]
    return sum(int((~(frame.agreement.deviations[:, column] <= limit)).sum()) for frame in frames)
