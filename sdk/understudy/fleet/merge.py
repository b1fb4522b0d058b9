"""From finished units to one file of detections per source: the same bytes however the work was shared out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from understudy.configuration import Config, check_config
from understudy.datasets.files import read_json
from understudy.errors import BagError, InputError, UnderstudyError
from understudy.fleet.detections import Detections, read_detections
from understudy.fleet.plan import FleetSettings, Plan, Source
from understudy.fleet.store import Store, UnitRecord, encoded, write_atomically
from understudy.progress import Track, silent

DETECTIONS, INDEX, BAGS = "detections", "index.json", "bags"


class MergedSource(Config):
    """Detections of one bag or data set."""

    name: str
    kind: Literal["bag", "dataset"]
    path: str
    identity: str
    topic: str
    rig: str
    file: str
    """Its npz file, beside the index."""
    sha256: str
    read: int
    used: int
    rejected: int
    num_boxes: int
    reasons: dict[str, int] = Field(default_factory=dict)


class DetectionsIndex(Config):
    """Contents of `detections/index.json`; nothing in it depends on who computed what, or when."""

    schema_version: Literal[1] = 1
    model: str
    model_sha256: str
    precision: str
    settings: FleetSettings
    sources: tuple[MergedSource, ...]

    def source_of(self, path: Path) -> MergedSource | None:
        """The entry of a bag or data set, or None."""
        wanted = str(path.resolve())
        return next((source for source in self.sources if source.path == wanted), None)


class MergeFailure(Config):
    """Why a source has no detections."""

    source: str
    path: str
    error: str


class Merged(Config):
    """What was merged and what was not."""

    index: DetectionsIndex
    failures: tuple[MergeFailure, ...]


def read_index(folder: Path) -> DetectionsIndex:
    """The index in a folder of `understudy annotate`.

    Raises:
        InputError: when it is missing or is no such index.
    """
    path = folder / DETECTIONS / INDEX
    if not path.is_file():
        remedy = "run `understudy annotate` until it has ended"
        raise InputError(f"{path}", found="no such file", wanted="merged detections", remedy=remedy)
    return check_config(read_json(path), DetectionsIndex, f"{path}")


def detections_of(folder: Path, source: MergedSource) -> Detections:
    """The detections of a source in the index.

    Raises:
        InputError: when the file is missing or damaged.
    """
    return read_detections(folder / DETECTIONS / source.file)


def merge(store: Store, plan: Plan, *, bags: bool = False, track: Track = silent) -> Merged:
    """Writes detections of every source whose units are all finished, then the index.

    Args:
        store: the shared folder.
        plan: what was to be done.
        bags: also write `bags/<name>`, a rosbag2 of `Detection3DArray`.
        track: progress over the sources.

    Raises:
        UnderstudyError: when a file cannot be written.
    """
    merged, failures, failed = [], [], store.failed()
    for source in track(plan.sources, "merging", len(plan.sources)):
        try:
            merged.append(_merged(store, plan, source, failed, bags))
        except UnderstudyError as error:
            failures.append(MergeFailure(source=source.name, path=source.path, error=str(error)))
    index = DetectionsIndex(
        model=plan.model.name,
        model_sha256=plan.model.sha256,
        precision=plan.model.precision,
        settings=plan.settings,
        sources=tuple(merged),
    )
    text = index.model_dump_json(indent=1) + "\n"
    write_atomically(store.root / DETECTIONS / INDEX, text.encode())
    return Merged(index=index, failures=tuple(failures))


def _merged(store: Store, plan: Plan, source: Source, failed: set[str], bags: bool) -> MergedSource:
    units = plan.units_of(source)
    for unit in units:
        if unit.key in failed:
            raise BagError(store.failure(unit.key).error)
    results = [store.results(unit.key) for unit in units]
    records = [record for record, _ in results]
    _refuse_shortfall(source, records)
    detections = Detections.in_order([part for _, part in results])
    data, sha256 = encoded(detections)
    file = f"{source.name}.npz"
    write_atomically(store.root / DETECTIONS / file, data)
    if bags:
        _write_bag(store.root / BAGS, source.name, detections)
    reasons: Counter[str] = Counter()
    for record in records:
        reasons.update(record.reasons)
    return MergedSource(
        **source.model_dump(include={"name", "kind", "path", "identity", "topic", "rig"}),
        file=file,
        sha256=sha256,
        read=sum(record.read for record in records),
        used=sum(record.used for record in records),
        rejected=sum(record.rejected for record in records),
        num_boxes=detections.num_boxes,
        reasons=dict(sorted(reasons.items())),
    )


def _refuse_shortfall(source: Source, records: list[UnitRecord]) -> None:
    """An index can be damaged without anyone noticing; and a source that gave nothing at all is a mistake."""
    read, used = (sum(getattr(record, name) for record in records) for name in ("read", "used"))
    if read != source.num_sweeps:
        wanted = f"{source.num_sweeps}, as its metadata say"
        raise BagError(f"{source.path}: {source.topic}", found=f"{read} sweeps", wanted=wanted)
    if used == 0:
        reasons = [reason for record in records for reason in record.reasons]
        raise BagError(f"{source.path}: none of {read} sweeps could be used; {' '.join(reasons[:1])}")


def _write_bag(folder: Path, name: str, detections: Detections) -> None:
    """Of each sweep a message with the sweep's stamp at the sweep's log time; a bag that is there is replaced."""
    from understudy.bags.types import make_message
    from understudy.bags.writer import BagWriter
    from understudy.messages.outputs import detections_message
    from understudy.topics import DETECTIONS_TOPIC

    place = folder / name
    if place.is_symlink():
        raise BagError(f"bag {place}", found="a link", wanted="a bag or nothing")
    folder.mkdir(exist_ok=True)
    with BagWriter(place, overwrite=True) as writer:
        for sweep in sorted(detections.sweeps, key=lambda entry: entry.log_time_ns):
            message = detections_message(make_message, sweep.boxes, sweep.stamp_ns)
            writer.write(DETECTIONS_TOPIC, message, sweep.log_time_ns)
