"""The one path from sensor data to results, for node, replay, evaluation, parity and latency alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from understudy.boxes import Boxes
from understudy.bundle.bundle import open_bundle
from understudy.bundle.manifest import Contract, Precision, Tensor
from understudy.bundle.signature import refuse_unless_signature
from understudy.closing import Closing
from understudy.engines.engine import Arrays, Engine
from understudy.engines.opening import Runtime, open_engine
from understudy.errors import EngineError, FrameError, GeometryError, UnderstudyError
from understudy.feeding import CloudFeeder, Feeds, PicturesFeeder
from understudy.frame import Frame
from understudy.rig import Rig

__all__ = ["Feeds", "Pipeline", "open_pipeline"]


class Pipeline(Closing):
    """`pipeline(frame)` is exactly `boxes(engine(prepare(frame)))`; the three steps are public for who times them.

    One thread at a time: like its engine, it works in memory that it keeps.

    Args:
        contract: what the network takes and says.
        engine: the network; shared by `with_rig`, closed by whoever opened it or by this context manager.
        rig: the vehicle's sensors.
        lidar: which LiDAR of the rig is the student's; may be left out when there is one.
        sweeps: how many sweeps the clouds hold that it will be given; more than one only from who accumulates them.

    Raises:
        GeometryError: when the rig lacks the LiDAR or the cameras, the LiDAR sits where none sits, or the student wants
            another number of sweeps.
        BundleError: when the engine's tensors are not those of the contract.
    """

    def __init__(
        self, contract: Contract, engine: Engine, rig: Rig, *, lidar: str | None = None, sweeps: int = 1
    ) -> None:
        _refuse_other_signature(contract, engine)
        _refuse_other_sweeps(contract, sweeps)
        self.contract = contract
        self.engine = engine
        self.rig = rig
        self._lidar_asked, self._sweeps = lidar, sweeps
        self._cloud = CloudFeeder(contract, rig, lidar) if contract.sees_points else None
        self.lidar = self._cloud.lidar if self._cloud is not None else ""
        """Name of the LiDAR; empty for a student that sees pictures alone."""
        self._pictures = _pictures_feeder(contract, rig)
        self._thresholds = np.array([entry.score_threshold for entry in contract.classes], np.float32)
        self._class_names = contract.class_names

    def __call__(self, frame: Frame) -> Boxes:
        """Detections in ego, best first.

        Raises:
            FrameError: when this frame cannot be used; the next one may be.
            GeometryError: when its frame id, units or intensity are not the rig's.
        """
        return self.boxes(self.engine(self.prepare(frame)))

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras whose pictures the student takes, in its order."""
        return () if self._pictures is None else tuple(self._pictures.cameras)

    def prepare(self, frame: Frame) -> Feeds:
        """The engine's inputs; raw points are passed on without a copy, cameras that did not deliver are masked."""
        cloud = {} if self._cloud is None else self._cloud(frame)
        return cloud if self._pictures is None else cloud | self._pictures(frame)

    def boxes(self, outputs: Arrays) -> Boxes:
        """Rows of the outputs at or above their class's threshold, by descending score, ties in the graph's order.

        Raises:
            FrameError: when scores or boxes are not finite; the next frame's may be.
            EngineError: when a label is none of the contract's.
        """
        scores, labels = outputs["scores"], outputs["labels"]
        if not np.isfinite(scores).all():
            raise FrameError("network output", found="scores that are not finite", wanted="finite scores")
        if not 0 <= labels.min(initial=0) <= labels.max(initial=0) < len(self._class_names):
            found = f"labels {labels.min()} to {labels.max()}"
            raise EngineError("network output", found=found, wanted=f"0..{len(self._class_names) - 1}")
        kept = np.flatnonzero((scores >= self._thresholds[labels]) & (scores > 0))
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        geometry = outputs["boxes"][kept]
        if not np.isfinite(geometry).all():
            raise FrameError("network output", found="boxes that are not finite", wanted="finite boxes")
        return Boxes(geometry, labels[kept], self._class_names, scores=scores[kept])

    def with_rig(self, rig: Rig, *, lidar: str | None = None) -> Pipeline:
        """The same student behind another rig; the engine is shared, the LiDAR's name kept unless another is given."""
        return Pipeline(self.contract, self.engine, rig, lidar=lidar or self._lidar_asked, sweeps=self._sweeps)

    def close(self) -> None:
        """Closes the engine."""
        self.engine.close()


def open_pipeline(
    bundle_path: Path,
    rig: Rig,
    precision: Precision | None = None,
    threads: int = 1,
    lidar: str | None = None,
    *,
    trusted_keys: Path | None = None,
    runtime: Runtime | str = "onnxruntime",
    sweeps: int | None = 1,
) -> Pipeline:
    """Bundle and rig to a pipeline; the default precision is the fastest that the bundle has for the runtime.

    `trusted_keys` is what `open_bundle` makes of it: public keys of which one must have signed the bundle. `sweeps` is
    as for `Pipeline`; None is for who accumulates as many as the student wants.

    Raises:
        UnderstudyError: when bundle, rig and runtime do not fit together.
    """
    bundle = open_bundle(bundle_path, trusted_keys=trusted_keys)
    contract = bundle.manifest
    engine = open_engine(bundle, precision, runtime, threads)
    try:
        return Pipeline(contract, engine, rig, lidar=lidar, sweeps=contract.sweeps if sweeps is None else sweeps)
    except UnderstudyError:
        engine.close()
        raise


def _refuse_other_sweeps(contract: Contract, sweeps: int) -> None:
    if contract.sweeps != sweeps:
        raise GeometryError(
            f"sweeps in a cloud for {contract.name}",
            found=sweeps,
            wanted=contract.sweeps,
            remedy="it must see as many sweeps as it was trained with; data sets, replay and nodes accumulate them",
        )


def _refuse_other_signature(contract: Contract, engine: Engine) -> None:
    inputs, outputs = (
        [Tensor(name=spec.name, dtype=spec.dtype, shape=spec.shape) for spec in specs]
        for specs in (engine.inputs, engine.outputs)
    )
    refuse_unless_signature(contract, inputs, outputs, engine.description)


def _pictures_feeder(contract: Contract, rig: Rig) -> PicturesFeeder | None:
    if contract.pictures is None:
        return None
    return PicturesFeeder(contract.pictures, contract.grid, rig, needed=not contract.sees_points)
