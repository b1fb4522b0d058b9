"""What a node runs: a bundle behind a rig, or something of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.bundle.manifest import Precision
from understudy.frame import Frame
from understudy.pipeline import open_pipeline
from understudy.rig import Rig


@dataclass(frozen=True)
class Student:
    """What a node runs.

    Attributes:
        run: from a frame to what `publish` gets; called in a thread of its own.
        lidar: name in the rig of the LiDAR that it looks at.
        description: for diagnostics.
        uses_intensity: whether clouds without intensity are refused.
        close: called when the node is cleaned up.
        class_names: for the topic of class names; without any there is none.
        num_sweeps: how many sweeps a cloud holds at most; more than one needs the ego's motion.
        looks_at_cameras: whether pictures mean anything to it.
    """

    run: Callable[[Frame], Any]
    lidar: str
    description: str
    uses_intensity: bool = False
    close: Callable[[], None] = lambda: None
    class_names: tuple[str, ...] = ()
    num_sweeps: int = 1
    looks_at_cameras: bool = False


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
    )
