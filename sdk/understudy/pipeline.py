"""The one path from sensor data to results, for node, replay, evaluation, parity and latency alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.bundle.bundle import open_bundle
from understudy.bundle.manifest import Contract, PillarsInput, Precision, Tensor
from understudy.bundle.signature import refuse_unless_signature
from understudy.closing import Closing
from understudy.engines.engine import Arrays, Engine
from understudy.engines.opening import Runtime, open_engine
from understudy.errors import EngineError, FrameError, GeometryError, UnderstudyError
from understudy.frame import Frame, PointCloud
from understudy.pillars import group_points
from understudy.plausibility import Scratch, refuse_impossible_cloud, refuse_impossible_mounting
from understudy.rig import Lidar, Rig

Feeds = dict[str, NDArray[Any]]


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
        GeometryError: when the rig has no such LiDAR, it sits where no LiDAR sits, or the student wants another number
            of sweeps.
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
        self.lidar, sensor = rig.lidar(lidar)
        refuse_impossible_mounting(rig, self.lidar, sensor)
        self._frame_id = sensor.frame_id
        self._intensity_scale = sensor.intensity_scale if contract.input.uses_intensity else None
        self._feeds = _feeder(contract, sensor)
        self._scratch = Scratch()
        self._thresholds = np.array([entry.score_threshold for entry in contract.classes], np.float32)
        self._class_names = contract.class_names

    def __call__(self, frame: Frame) -> Boxes:
        """Detections in ego, best first.

        Raises:
            FrameError: when this frame cannot be used; the next one may be.
            GeometryError: when its frame id, units or intensity are not the rig's.
        """
        return self.boxes(self.engine(self.prepare(frame)))

    def prepare(self, frame: Frame) -> Feeds:
        """The engine's inputs; raw points are passed on without a copy."""
        cloud = frame.clouds.get(self.lidar)
        if cloud is None:
            seen = ", ".join(frame.clouds) or "no cloud"
            raise FrameError("frame", found=seen, wanted=f"a cloud of {self.lidar}")
        self._refuse_unusable(cloud)
        return self._feeds(cloud)

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

    def _refuse_unusable(self, cloud: PointCloud) -> None:
        if cloud.frame_id and self._frame_id and cloud.frame_id != self._frame_id:
            raise GeometryError(
                f"cloud of {self.lidar}: frame_id",
                found=cloud.frame_id,
                wanted=self._frame_id,
                remedy="correct the topic or the rig's frame_id",
            )
        if not 0 < len(cloud) <= self.contract.input.max_points:
            raise FrameError(
                f"cloud of {self.lidar}",
                found=f"{len(cloud)} points",
                wanted=f"1 to {self.contract.input.max_points} (max_points of the student)",
            )
        refuse_impossible_cloud(cloud, self.lidar, self._intensity_scale, self._scratch)


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


def _feeder(contract: Contract, lidar: Lidar) -> Callable[[PointCloud], Feeds]:
    if isinstance(contract.input, PillarsInput):
        return _pillars_feeder(contract, contract.input, lidar)
    return _points_feeder(lidar)


def _points_feeder(lidar: Lidar) -> Callable[[PointCloud], Feeds]:
    ego_from_sensor = _ego_from_sensor(lidar)
    intensity_factor = np.array([1.0 / lidar.intensity_scale], np.float32)

    def feeds(cloud: PointCloud) -> Feeds:
        return {"points": cloud.points, "ego_from_sensor": ego_from_sensor, "intensity_factor": intensity_factor}

    return feeds


def _pillars_feeder(contract: Contract, pillars_input: PillarsInput, lidar: Lidar) -> Callable[[PointCloud], Feeds]:
    ego_from_sensor = _ego_from_sensor(lidar)
    intensity_factor = np.float32(1.0 / lidar.intensity_scale)
    room = np.empty((pillars_input.max_points, 4), np.float32)

    def feeds(cloud: PointCloud) -> Feeds:
        points_ego = room[: len(cloud)]
        np.matmul(cloud.points[:, :3], ego_from_sensor[:, :3].T, out=points_ego[:, :3])
        points_ego[:, :3] += ego_from_sensor[:, 3]
        np.multiply(cloud.points[:, 3], intensity_factor, out=points_ego[:, 3])
        np.clip(points_ego[:, 3], 0.0, 1.0, out=points_ego[:, 3])
        np.nan_to_num(points_ego[:, 3], copy=False, nan=0.0)
        grouped = group_points(
            points_ego, contract.grid, pillars_input.max_points_per_pillar, pillars_input.max_pillars
        )
        return {"pillars": grouped.points, "num_points": grouped.num_points, "cells": grouped.cells}

    return feeds


def _ego_from_sensor(lidar: Lidar) -> NDArray[np.float32]:
    """`(3, 4)` float32."""
    return np.ascontiguousarray(lidar.ego_from_sensor.pose().matrix[:3], dtype=np.float32)
