"""The rig against transforms and camera infos, asked from two threads at once; no DDS."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment; run `make test-ros`")

from understudy.messages.frame_tree import FrameTree
from understudy.pose import Pose
from understudy.testing import simple_rig
from understudy_ros.transforms import RigWatch, StaticTransforms

RIG = simple_rig()


class ChangingTree(FrameTree):
    """Has the LiDAR in the rig's place when first asked; before it answers, transforms come that move it."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._meanwhile: Callable[[], None] | None = meanwhile

    def pose(self, target: str, source: str) -> Pose:
        in_rig = RIG.sensors["lidar"].ego_from_sensor.pose()
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is None:
            return Pose(in_rig.rotation, in_rig.translation_m + np.array([1.0, 0, 0]))
        meanwhile()
        return in_rig


def transforms_with(tree: FrameTree) -> StaticTransforms:
    """As a node has them, without one."""
    transforms = StaticTransforms.__new__(StaticTransforms)
    transforms.tree, transforms.changes = tree, 0
    return transforms


def test_a_comparison_that_is_overtaken_by_new_transforms_does_not_count() -> None:
    asked = threading.Thread(target=lambda: watch.refusal("lidar"))

    def meanwhile() -> None:
        watch.transforms.changes += 1
        asked.start()
        asked.join(10.0)

    watch = RigWatch(RIG, transforms_with(ChangingTree(meanwhile)))
    watch.refusal("lidar")
    asked.join(10.0)
    assert "1.000 m and 0.00 degrees away" in watch.refusal("lidar")
