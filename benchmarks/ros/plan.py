"""What a run is to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plan:
    """One node, its drivers and a listener.

    Attributes:
        bundle: the student.
        seconds: measured, after it has settled.
        cameras: how many are sent.
        camera_hz: each.
        module: of the node.
        parameters: of the node, beside bundle and rig.
        dropouts: whether cameras fall silent in turn.
        sample_every_s: how often processes are looked at.
    """

    bundle: str
    seconds: float
    cameras: int = 0
    camera_hz: float = 12.0
    module: str = "understudy_ros.lidar_detector"
    parameters: dict[str, Any] = field(default_factory=dict)
    dropouts: bool = False
    sample_every_s: float = 1.0
