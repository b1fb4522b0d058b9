"""What a node runs: a bundle behind a rig, or something of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.bundle.manifest import Precision
from understudy.errors import InputError
from understudy.frame import Frame
from understudy.pipeline import open_pipeline
from understudy.rig import Rig


@dataclass(frozen=True)
class Student:
    """What a node runs.

    Attributes:
        run: from a frame to what `publish` gets; called in a thread of its own.
        lidar: name in the rig of the LiDAR that it looks at; empty for one that looks at pictures alone.
        description: for diagnostics.
        uses_intensity: whether clouds without intensity are refused.
        close: called when the node is cleaned up.
        class_names: for the topic of class names; without any there is none.
        num_sweeps: how many sweeps a cloud holds at most; more than one needs the ego's motion.
        looks_at_cameras: whether pictures mean anything to it.
        cameras: names of the cameras that it looks at; none leaves the choice to the node.
    """

    run: Callable[[Frame], Any]
    lidar: str
    description: str
    uses_intensity: bool = False
    close: Callable[[], None] = lambda: None
    class_names: tuple[str, ...] = ()
    num_sweeps: int = 1
    looks_at_cameras: bool = False
    cameras: tuple[str, ...] = ()


def bundle_student(
    path: Path,
    rig: Rig,
    *,
    precision: Precision | None = None,
    runtime: str = "onnxruntime",
    threads: int = 1,
    lidar: str | None = None,
) -> Student:
    """A bundle behind a rig.

    Raises:
        UnderstudyError: when bundle, rig and runtime do not fit together.
    """
    pipeline = open_pipeline(path, rig, precision, threads, lidar, runtime=runtime, sweeps=None)
    contract = pipeline.contract
    return Student(
        pipeline,
        pipeline.lidar,
        f"{contract.name}, {pipeline.engine.description}",
        uses_intensity=contract.input.uses_intensity,
        close=pipeline.close,
        class_names=contract.class_names,
        num_sweeps=contract.sweeps,
        looks_at_cameras=bool(pipeline.cameras),
        cameras=pipeline.cameras,
    )


def pivot_of(student: Student, cameras: Sequence[str]) -> str:
    """Name of the sensor that makes sets: the LiDAR, or the first camera that is listened to and looked at.

    Raises:
        InputError: when a student without a LiDAR looks at none of these cameras.
    """
    if student.lidar:
        return student.lidar
    looked_at = [name for name in cameras if not student.cameras or name in student.cameras]
    if not looked_at:
        wanted = f"one of {', '.join(student.cameras) or 'the rig, which has none'} at least"
        raise InputError("parameter cameras", found=", ".join(cameras) or "no camera", wanted=wanted)
    return looked_at[0]


def refuse_other_sensors(student: Student, *, lidar: bool, cameras: bool) -> None:
    """Raises InputError when a student looks at sensors that its node does not listen to.

    Args:
        student: what was opened.
        lidar: whether the node listens to a LiDAR.
        cameras: whether it listens to cameras.
    """
    if student.lidar and not lidar:
        found, remedy = f"it looks at the LiDAR {student.lidar}", "run lidar_detector or fusion_detector"
        raise InputError(student.description, found=found, wanted="a student of pictures alone", remedy=remedy)
    if student.cameras and not cameras:
        found = f"it looks at the cameras {', '.join(student.cameras)}"
        remedy = f"run {'fusion' if student.lidar else 'camera'}_detector"
        raise InputError(student.description, found=found, wanted="a student of a LiDAR alone", remedy=remedy)
    if student.cameras and not student.lidar and lidar:
        found, wanted = "it looks at pictures alone", "a student with a LiDAR"
        raise InputError(student.description, found=found, wanted=wanted, remedy="run camera_detector")
