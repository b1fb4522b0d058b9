"""Whether the ladder finds what it should: twenty faults planted one at a time, and twenty harmless twins of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.bundle.bundle import Bundle
from understudy.configuration import Config
from understudy.datasets.dataset import Dataset
from understudy.engines.cuda_runtime import Device
from understudy.engines.engine_key import known_engines
from understudy.engines.tensorrt_opening import refusal
from understudy.errors import InputError
from understudy.parity.explaining import explain
from understudy.parity.faults import FAULTS, TENSORRT, Fault
from understudy.parity.ladder import Climbed, Frames, choose_frames, compare_rung, ladder_report, run_rung
from understudy.parity.rungs import Rung, rungs_of, source_rung
from understudy.parity.stage import stage_of
from understudy.parity.verdict import RungReport
from understudy.progress import Track, silent

_WIDTH = 100
_ANY_GPU = Device("any GPU", (8, 7))


class Outcome(Config):
    """What became of one fault and its harmless twin."""

    fault: str
    place: str
    expected: str
    """The rung that has to name it; with `refused` behind it where that rung must not even run."""
    found: str
    """The lowest rung that did not pass; empty where all passed, or the fault has no place in this student."""
    reason: str
    where: str
    """The first departing tensor, the refusal, or what departs most."""
    clean: str
    """What its harmless twin was taken for; empty where all rungs passed."""
    absent: str = ""
    """Why the fault has no place in this student; empty where it has."""

    @property
    def ok(self) -> bool:
        """Named at its rung, and the twin passes."""
        return not self.absent and self.found == self.expected and not self.clean


class SelfTest(Config):
    """All faults."""

    student: str
    reference: str
    frames: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        """Every fault that has a place was named, and nothing harmless was."""
        return all(outcome.ok or outcome.absent for outcome in self.outcomes)


@dataclass(frozen=True, eq=False)
class _Found:
    """The lowest rung that does not pass; empty when all do."""

    rung: str
    reason: str = ""
    where: str = ""


class _Harness:
    """The student as it was given, run once, and what every copy is compared with."""

    def __init__(self, bundle: Bundle, run: Path | None, frames: Frames, folder: Path) -> None:
        self._bundle, self._frames, self._folder = bundle, frames, folder
        self._first = rungs_of(bundle, run)[0] if run is not None else source_rung(bundle)
        self.first = self._first.name
        self.reference: Climbed = run_rung(self._first, frames)
        samples = frames.samples(bundle.manifest, "counting points")
        sizes = (len(cloud) for sample in samples for cloud in sample.frame.clouds.values())
        self._num_points = min(sizes, default=0)

    def outcome(self, fault: Fault) -> Outcome:
        expected = f"{fault.rung} refused" if fault.refusal else fault.rung
        known = {"fault": fault.name, "place": fault.place, "expected": expected}
        try:
            found, clean = self._run(fault, harm=True), self._run(fault, harm=False)
        except InputError as error:
            return Outcome(**known, found="", reason="", where="", clean="", absent=str(error.found or error))
        return Outcome(**known, found=found.rung, reason=found.reason, where=found.where, clean=clean.rung)

    def _run(self, fault: Fault, *, harm: bool) -> _Found:
        stage = stage_of(self._bundle, self._num_points)
        fault.plant(stage, harm)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            copy = stage.write(Path(folder) / "copy")
            if fault.rung == TENSORRT:
                return _stale(copy)
            rungs = rungs_of(copy, None, vehicle=stage.vehicle, source=self._bundle)[1:]
            return self._lowest([self._first, *rungs], fault, harm)

    def _lowest(self, rungs: Sequence[Rung], fault: Fault, harm: bool) -> _Found:
        """Climbs until a rung does not pass."""
        reports: list[RungReport] = []
        for skipped in [entry.skipped for entry in rungs if entry.name == fault.rung and entry.skipped]:
            raise InputError("student", found=skipped, wanted=f"the rung {fault.rung}")
        for rung in [entry for entry in rungs[1:] if not entry.skipped]:
            report = compare_rung(self.reference, rung, self._frames)
            reports.append(report)
            if not report.passes and not report.engine:
                meant = harm and bool(fault.refusal) and fault.refusal in report.reason
                name = f"{rung.name} refused" if meant else f"{rung.name} refused otherwise"
                return _Found(name, report.reason, fault.refusal or report.reason)
            if not report.passes:
                return _Found(rung.name, report.reason, self._where(rungs, reports) if harm else "")
        return _Found("")

    def _where(self, rungs: Sequence[Rung], reports: Sequence[RungReport]) -> str:
        """The first departing tensor where graphs can be held together, else what differs outside."""
        ladder = ladder_report(self.reference, rungs[0], reports, self._frames)
        explained = explain(rungs, ladder, self._frames)
        if explained.graph is not None and explained.graph.first is not None:
            return f"tensor {explained.graph.first.name}"
        changed = [*(name for name, text in explained.feeds.items() if text), *explained.contract]
        changed += [name for name, text in explained.outputs.items() if text]
        return ", ".join(changed)


def self_test(
    bundle: Bundle,
    dataset: Dataset,
    *,
    run: Path | None = None,
    num_frames: int = 4,
    lidar: str | None = None,
    faults: Sequence[Fault] = FAULTS,
    track: Track = silent,
) -> SelfTest:
    """Plants each fault in a copy of a student, climbs, and does the same with its harmless twin.

    Args:
        bundle: the student; nothing of it is changed.
        dataset: frames to climb with.
        run: its training run, to start from; None starts from the bundle's own full-precision model.
        num_frames: frames, spread evenly over the data set.
        lidar: LiDAR of the rig, where there are several.
        faults: which of the twenty.
        track: shows progress.

    Raises:
        InputError: when there is no frame.
        UnderstudyError: when the student itself cannot be run.
    """
    frames = choose_frames(dataset, num_frames, lidar)
    with tempfile.TemporaryDirectory(prefix="understudy-faults-") as folder:
        harness = _Harness(bundle, run, frames, Path(folder))
        outcomes = tuple(harness.outcome(fault) for fault in track(faults, "faults", total=len(faults)))
    return SelfTest(
        student=bundle.manifest.name,
        reference=harness.first,
        frames=harness.reference.keys,
        outcomes=outcomes,
    )


def describe_self_test(result: SelfTest) -> Iterator[str]:
    """A row per fault, then the counts."""
    what = f"{len(result.outcomes)} faults planted one at a time, {len(result.frames)} frames"
    yield f"{result.student}: {what}, held against {result.reference}"
    yield f" # {'fault':22s} {'planted in':14s} {'lowest rung not to pass':24s} {'clean':6s} where it shows"
    for number, outcome in enumerate(result.outcomes, start=1):
        yield _row(number, outcome)[:_WIDTH]
    present = [outcome for outcome in result.outcomes if not outcome.absent]
    named = sum(outcome.found == outcome.expected for outcome in present)
    clean = sum(not outcome.clean for outcome in present)
    yield f"{named} of {len(present)} faults are named at their rung; {clean} of {len(present)} clean runs pass"
    if len(present) < len(result.outcomes):
        yield f"no place in this student: {len(result.outcomes) - len(present)}"


def _row(number: int, outcome: Outcome) -> str:
    begin = f"{number:2d} {outcome.fault:22s} {outcome.place:14s} "
    if outcome.absent:
        return f"{begin}no place here: {outcome.absent}"
    found = outcome.found or "none"
    if outcome.found != outcome.expected:
        return f"{begin}{found}, NOT {outcome.expected}"
    return f"{begin}{found:24s} {'FAILS' if outcome.clean else 'passes':6s} {outcome.where}"


def _stale(copy: Bundle) -> _Found:
    """What opening the copy's engines would say, whichever GPU is there."""
    for known in known_engines(copy):
        reason = refusal(known, _ANY_GPU)
        if known.state != "ready":
            return _Found(f"{TENSORRT} refused", f"refused: {reason}", reason)
    return _Found("")
