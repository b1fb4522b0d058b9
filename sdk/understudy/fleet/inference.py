"""One unit through the network: the same converter and the same pipeline as on the vehicle and in a replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from understudy.bundle.manifest import Contract
from understudy.closing import Closing
from understudy.datasets.dataset import Dataset
from understudy.datasets.opening import open_dataset
from understudy.datasets.sweeps import with_sweeps
from understudy.engines.model import open_model
from understudy.errors import BagError, BundleError, FrameError, GeometryError, InputError, UnderstudyError
from understudy.evaluation import at_score_threshold
from understudy.fleet.detections import Detections, SweepDetections
from understudy.fleet.plan import Plan, Source, Unit, identify_model
from understudy.fleet.sources import identity_of
from understudy.fleet.store import Store
from understudy.frame import Frame
from understudy.pipeline import Pipeline
from understudy.rig import Rig

_MOST_REASONS = 20
_OTHER = "other reasons"


@dataclass(eq=False)
class UnitResult:
    """Detections of a unit, and what became of its sweeps: `read` is `used` and `rejected` together."""

    class_names: tuple[str, ...]
    sweeps: list[SweepDetections] = field(default_factory=list)
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def read(self) -> int:
        """Sweeps that were there."""
        return len(self.sweeps) + self.rejected

    @property
    def detections(self) -> Detections:
        """In the order of stamps."""
        return Detections.in_order([Detections(self.class_names, tuple(self.sweeps))])

    def reject(self, error: UnderstudyError) -> None:
        """Counts a sweep that cannot be used."""
        self.rejected += 1
        reason = str(error)
        is_new = reason not in self.reasons and len(self.reasons) >= _MOST_REASONS
        self.reasons[_OTHER if is_new else reason] += 1


class Annotator(Closing):
    """The network, opened once, for every unit of a worker; a context manager.

    Args:
        store: the shared folder, with the rigs.
        plan: what is to be done.
        threads: threads of the engine.

    Raises:
        BundleError: when the network is not the one that was planned with.
        UnderstudyError: when it cannot be opened.
    """

    def __init__(self, store: Store, plan: Plan, threads: int = 1) -> None:
        self._store, self._plan = store, plan
        path = Path(plan.model.path)
        found = identify_model(path, plan.model.precision)
        if found.sha256 != plan.model.sha256:
            raise BundleError(
                f"{path}",
                found=f"sha256 {found.sha256[:12]}",
                wanted=f"{plan.model.sha256[:12]}, as in {store.plan_path}",
                remedy="the network was changed; choose another --out for the new one",
            )
        model = open_model(path, plan.model.precision, threads=threads)
        score = plan.settings.score
        self._contract = model.contract if score is None else at_score_threshold(model.contract, score)
        self._engine = model.engine
        self._pipelines: dict[str, Pipeline] = {}
        self._checked: set[str] = set()
        self._datasets: dict[str, Dataset] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the detections."""
        return self._contract.class_names

    @property
    def engine(self) -> str:
        """What the network runs in."""
        return self._engine.description

    def compute(self, unit: Unit) -> UnitResult:
        """Runs every sweep of a unit; a bad one is counted with its reason.

        Raises:
            UnderstudyError: when the source is damaged, was changed since it was planned, or does not fit the rig.
        """
        source = self._plan.source(unit.source)
        if source.problem is not None:
            raise BagError(source.problem)
        self._refuse_changed(source)
        return self._bag(source, unit) if source.kind == "bag" else self._dataset(source, unit)

    def pipeline(self, rig: Rig, sweeps: int = 1) -> Pipeline:
        """The network behind a rig, for clouds that hold so many sweeps.

        Raises:
            GeometryError: when the rig has no such LiDAR, it sits where no LiDAR sits, or the network was trained with
                another number of sweeps.
        """
        return Pipeline(self._contract, self._engine, rig, lidar=self._plan.settings.lidar, sweeps=sweeps)

    def close(self) -> None:
        """Closes the engine."""
        self._engine.close()

    def _bag(self, source: Source, unit: Unit) -> UnitResult:
        from understudy.bags.reader import BagReader
        from understudy.messages.clouds import cloud_from_message

        _refuse_pictures(self._contract, source)
        result, pipeline = UnitResult(self.class_names), self._pipeline_of(source)
        needed = self._contract.input.uses_intensity
        with BagReader(Path(source.path)) as reader:
            self._check(reader, source, pipeline)
            for message in reader.messages([source.topic], start_ns=unit.first, end_ns=unit.after):
                try:
                    cloud = cloud_from_message(reader.decode(message), extras=False, require_intensity=needed)
                    boxes = pipeline(Frame(cloud.stamp_ns, {pipeline.lidar: cloud}))
                except (BagError, FrameError, GeometryError) as error:
                    result.reject(error)
                    continue
                key = str(cloud.stamp_ns)
                result.sweeps.append(SweepDetections(key, cloud.stamp_ns, message.log_time_ns, boxes))
        return result

    def _check(self, reader: object, source: Source, pipeline: Pipeline) -> None:
        """Once for each bag: whether it was recorded with this rig."""
        from understudy.bags.reader import BagReader
        from understudy.replay.checks import refuse_other_frame_id, refuse_other_mounting

        assert isinstance(reader, BagReader)
        if source.name in self._checked:
            return
        refuse_other_frame_id(reader, source.topic, pipeline.rig, pipeline.lidar)
        if self._plan.settings.check_transforms:
            refuse_other_mounting(reader, pipeline.rig, (pipeline.lidar,))
        self._checked.add(source.name)

    def _dataset(self, source: Source, unit: Unit) -> UnitResult:
        result, pipeline = UnitResult(self.class_names), None
        for number, frame, rig in self._frames(source, unit):
            if pipeline is None or rig != pipeline.rig:
                pipeline = self.pipeline(rig, self._contract.sweeps)
            try:
                boxes = pipeline(frame)
            except (FrameError, GeometryError) as error:
                result.reject(error)
                continue
            result.sweeps.append(SweepDetections(number, frame.stamp_ns, frame.stamp_ns, boxes))
        return result

    def _frames(self, source: Source, unit: Unit) -> Iterator[tuple[str, Frame, Rig]]:
        dataset = self._datasets[source.name]
        for number in range(unit.first or 0, len(dataset) if unit.after is None else unit.after):
            sample = dataset[number]
            yield sample.key, sample.frame, sample.rig

    def _pipeline_of(self, source: Source) -> Pipeline:
        if source.rig not in self._pipelines:
            self._pipelines[source.rig] = self.pipeline(self._store.rig(source.rig))
        return self._pipelines[source.rig]

    def _refuse_changed(self, source: Source) -> None:
        """Once for each source: whether its files are those that were planned with."""
        if source.name in self._checked or source.name in self._datasets:
            return
        if identity_of(source, self._plan.settings.split) != source.identity:
            remedy = "say --extend to plan it anew"
            raise InputError(source.path, found="other files than when it was planned", remedy=remedy)
        if source.kind == "dataset":
            opened = open_dataset(Path(source.path), self._plan.settings.split)
            self._datasets[source.name] = with_sweeps(opened, self._contract.sweeps, self._plan.settings.lidar)


def _refuse_pictures(contract: Contract, source: Source) -> None:
    if contract.pictures is not None:
        raise InputError(
            f"bag {source.path} for {contract.name}",
            found="clouds alone, which are all that is read of a bag here",
            wanted=f"a network without pictures; this one takes {contract.pictures.num_cameras}",
            remedy="understudy dataset from-bag makes a data set with pictures, which can be annotated",
        )
