"""Two students on one bag: where they differ, frame by frame and class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from understudy.boxes import Boxes
from understudy.bundle.manifest import Tolerance
from understudy.configuration import Config, check_config, write_json
from understudy.errors import EngineError, FrameError, GeometryError, InputError
from understudy.frame import Frame
from understudy.parity.agreement import MEASURES, Agreement, compare_boxes
from understudy.parity.verdict import Departures, FrameAgreement, RungReport, judge, limits
from understudy.pipeline import Pipeline

AGAINST_FILE = "against.json"
DEFAULT_TOLERANCE = Tolerance(min_matched=0.9, position_m=0.5, size_m=0.5, yaw_rad=0.2, score=0.2)
"""Of two students that are not the same network: the same objects in about the same places."""
_NUM_WORST = 5
_TITLES = {"position_m": "position m", "size_m": "size m", "yaw_rad": "yaw rad", "score": "score"}


class FrameDifference(Config):
    """One frame: boxes in both, of those within tolerance, and boxes in one only; largest deviation by measure."""

    stamp_ns: int
    num_pairs: int
    num_within: int
    num_missing: int
    num_extra: int
    num_excused: int
    largest: dict[str, float | None]

    @property
    def num_departing(self) -> int:
        """Boxes that do not agree."""
        return self.num_pairs - self.num_within + self.num_missing + self.num_extra


class AgainstReport(Config):
    """A student against another one, which is the reference, on one bag."""

    schema_version: Literal[1] = 1
    student: str
    other: str
    other_engine: str
    difference: RungReport
    """Over all frames and by class; `missing` are boxes that only the other student has, `extra` those it has not."""
    frames: tuple[FrameDifference, ...]
    not_compared: dict[str, int]
    """Why the other student could not use a frame, and how often."""

    def worst(self, count: int = _NUM_WORST) -> list[FrameDifference]:
        """Frames in which most boxes depart, of equal ones the earlier first; none where all agree."""
        departing = [frame for frame in self.frames if frame.num_departing]
        return sorted(departing, key=lambda frame: (-frame.num_departing, frame.stamp_ns))[:count]

    def write(self, path: Path) -> None:
        """Writes the record as JSON."""
        write_json(path, self)

    def lines(self) -> Iterator[str]:
        """The record as a table of at most 100 columns."""
        yield f"{len(self.frames)} frames; a: {self.student}, b: {self.other}; deviations are p99 / max"[:100]
        titles = "".join(f"{_TITLES[measure]:>15s}" for measure in MEASURES)
        yield f"{'class':15s}{'both':>6s}{'only a':>7s}{'only b':>7s}{titles}"
        yield _line("all", self.difference.total)
        for name, departures in self.difference.classes.items():
            if departures.num_compared or departures.num_excused:
                yield _line(name, departures)
        for reason, count in self.not_compared.items():
            yield f"not compared {count}: {reason}"[:100]
        for frame in self.worst():
            yield (
                f"frame {_stamp(frame.stamp_ns)}: {frame.num_departing} boxes depart"
                f" ({frame.num_extra} only a, {frame.num_missing} only b, {frame.num_within} agree)"
            )
        total, asked = self.difference.total, self.difference.tolerance.min_matched
        yield f"{100 * total.matched:.1f} % of {total.num_compared} boxes agree, {100 * asked:.1f} % wanted"


class Against:
    """Runs another student on the frames of a replay and notes how the two differ.

    Args:
        pipeline: the student that is replayed.
        other: the one it is compared with; the same rig, and the same LiDAR where both look at one.
        tolerance: what counts as the same box, and how many have to be.

    Raises:
        EngineError: when their classes differ.
        GeometryError: when they look at different LiDARs, or numbers of sweeps.
    """

    def __init__(self, pipeline: Pipeline, other: Pipeline, tolerance: Tolerance = DEFAULT_TOLERANCE) -> None:
        if other.contract.class_names != pipeline.contract.class_names:
            found, wanted = (", ".join(one.contract.class_names) for one in (other, pipeline))
            raise EngineError("--against: classes", found=found, wanted=wanted)
        if other.lidar and pipeline.lidar and other.lidar != pipeline.lidar:
            raise GeometryError("--against: LiDAR", found=other.lidar, wanted=pipeline.lidar)
        if other.contract.sweeps != pipeline.contract.sweeps:
            needed = f"{pipeline.contract.sweeps}, for both see the same clouds"
            raise GeometryError("--against: sweeps in a cloud", found=other.contract.sweeps, wanted=needed)
        self.pipeline = other
        self._student = pipeline.contract.name
        self._tolerance = tolerance
        self._thresholds = np.array([entry.score_threshold for entry in other.contract.classes], np.float32)
        self._compared: list[_Compared] = []
        self._reasons: Counter[str] = Counter()

    def compare(self, frame: Frame, boxes: Boxes) -> Boxes | None:
        """The other student's boxes of a frame, after comparing; None where it cannot use the frame."""
        try:
            wanted = self.pipeline(frame)
        except (FrameError, GeometryError) as error:
            self._reasons[str(error)] += 1
            return None
        agreement = compare_boxes(wanted, boxes, self._thresholds, self._tolerance)
        self._compared.append(_Compared(frame.stamp_ns, agreement))
        return wanted

    def report(self) -> AgainstReport:
        """What came out.

        Raises:
            FrameError: when the other student could use no frame.
        """
        if not self._compared:
            reason = next(iter(self._reasons), "no frame")
            raise FrameError("--against: no frame could be compared", found=reason)
        contract, engine = self.pipeline.contract, self.pipeline.engine.description
        frames = [FrameAgreement(_stamp(entry.stamp_ns), entry.agreement) for entry in self._compared]
        return AgainstReport(
            student=self._student,
            other=contract.name,
            other_engine=engine,
            difference=judge(self._student, engine, contract.class_names, frames, self._tolerance),
            frames=tuple(_difference(entry, self._tolerance) for entry in self._compared),
            not_compared=dict(self._reasons),
        )


@dataclass(frozen=True, eq=False)
class _Compared:
    stamp_ns: int
    agreement: Agreement


def tolerance_from(text: str) -> Tolerance:
    """A tolerance written as `min_matched=0.95,position_m=0.2`; what is left out is `DEFAULT_TOLERANCE`'s.

    Raises:
        InputError: when it is not written so, or a name or number is wrong.
    """
    parts = [part.partition("=") for part in text.split(",")]
    values: dict[str, object] = DEFAULT_TOLERANCE.model_dump()
    for name, _, number in parts:
        if name.strip() not in values:
            raise InputError("--tolerance", found=name.strip() or text, wanted=f"{', '.join(values)}, each as name=0.1")
        values[name.strip()] = _number(name.strip(), number)
    return check_config(values, Tolerance, "--tolerance")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--tolerance: {name}", found=text or "nothing", wanted="a number") from None


def _difference(entry: _Compared, tolerance: Tolerance) -> FrameDifference:
    agreement = entry.agreement
    return FrameDifference(
        stamp_ns=entry.stamp_ns,
        num_pairs=len(agreement.labels),
        num_within=int(np.all(agreement.deviations <= limits(tolerance), axis=1).sum()),
        num_missing=len(agreement.missing),
        num_extra=len(agreement.extra),
        num_excused=len(agreement.excused),
        largest={name: _largest(agreement.deviations[:, column].tolist()) for column, name in enumerate(MEASURES)},
    )


def _largest(values: Sequence[float]) -> float | None:
    return max(values, default=None)


def _line(name: str, departures: Departures) -> str:
    counts = f"{departures.num_pairs:6d}{departures.num_extra:7d}{departures.num_missing:7d}"
    return f"{name[:14]:15s}{counts}" + "".join(f"{_cell(departures, measure):>15s}" for measure in MEASURES)


def _cell(departures: Departures, measure: str) -> str:
    spread = departures.deviations[measure]
    return "-" if spread.p99 is None or spread.max is None else f"{spread.p99:.3f} / {spread.max:.3f}"


def _stamp(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"
