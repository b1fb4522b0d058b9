"""The rig held against what the vehicle says of itself: `/tf_static` and each camera's `camera_info`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from understudy.errors import GeometryError, InputError, UnderstudyError
from understudy.messages.frame_tree import FrameTree
from understudy.messages.headers import BASE_FRAME
from understudy.messages.rig_comparison import camera_info_difference, mounting_difference
from understudy.rig import Mounting, Rig
from understudy.topics import STATIC_TRANSFORMS_TOPIC
from understudy_ros.inputs import TRANSFORMS_TYPE
from understudy_ros.make import message_class
from understudy_ros.qos import latched_profile

_DEPTH = 100
_NAP_S = 0.05


class StaticTransforms:
    """What `/tf_static` has said so far; listens from the node's start on, whatever the node's state.

    Attributes:
        tree: the transforms.
        changes: how often they came.
        missing: why nothing is heard; empty where tf2_msgs is installed.
        trouble: the last message that could not be used.
    """

    def __init__(self, node: Node, topic: str = STATIC_TRANSFORMS_TOPIC) -> None:
        self.tree = FrameTree()
        self.changes = 0
        self.missing = self.trouble = ""
        self._node = node
        try:
            kind = message_class(TRANSFORMS_TYPE)
        except InputError:
            self.missing = "tf2_msgs is not installed: the rig is not compared with /tf_static"
            return
        node.create_subscription(kind, topic, self._add, latched_profile(_DEPTH))

    def _add(self, message: Any) -> None:
        try:
            self.tree.add(message)
            self.changes += 1
            self.trouble = ""
        except UnderstudyError as error:
            self.trouble = str(error)
            self._node.get_logger().error(f"{STATIC_TRANSFORMS_TOPIC}: {error}")

    def wait_for(self, frames: Iterable[str], timeout_s: float) -> tuple[str, ...]:
        """The frames without a chain to base_link when the time is over.

        A node of its own listens meanwhile: nothing reaches this one while it is in a transition.
        """
        wanted, end_s = tuple(frames), time.monotonic() + timeout_s
        listener = rclpy.create_node(
            f"{self._node.get_name()}_transforms", context=self._node.context, use_global_arguments=False
        )
        executor = SingleThreadedExecutor(context=self._node.context)
        executor.add_node(listener)
        try:
            heard = StaticTransforms(listener, self._node.resolve_topic_name(STATIC_TRANSFORMS_TOPIC))
            while _without_chain(heard.tree, wanted) and time.monotonic() < end_s:
                executor.spin_once(timeout_sec=_NAP_S)
            self.tree, self.changes = heard.tree, self.changes + 1
            return _without_chain(heard.tree, wanted)
        finally:
            executor.shutdown()
            listener.destroy_node()


def _without_chain(tree: FrameTree, frames: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(frame for frame in frames if tree.pose(BASE_FRAME, frame) is None)


def rig_from_transforms(rig: Rig, sensors: Iterable[str], transforms: StaticTransforms, wait_s: float) -> Rig:
    """The rig with these sensors mounted where `/tf_static` says.

    Raises:
        InputError: when tf2_msgs is not installed.
        GeometryError: when a sensor has no frame id, or no transform of it comes in time.
    """
    names = tuple(sensors)
    frames = {name: rig.sensors[name].frame_id for name in names}
    unnamed = [name for name, frame in frames.items() if not frame]
    if unnamed:
        raise GeometryError(f"rig {rig.name}: {unnamed[0]}", found="no frame_id", wanted="one, for use_tf replace")
    if transforms.missing:
        raise InputError("use_tf", found="replace, and tf2_msgs is not installed", remedy="install it or use the rig")
    missing = transforms.wait_for(frames.values(), wait_s)
    if missing:
        found = f"no transform of {', '.join(missing)} within {wait_s:.1f} s"
        raise GeometryError(STATIC_TRANSFORMS_TOPIC, found=found, wanted=f"one from {BASE_FRAME}")
    replaced = dict(rig.sensors)
    for name, frame in frames.items():
        pose = transforms.tree.pose(BASE_FRAME, frame)
        assert pose is not None
        replaced[name] = rig.sensors[name].model_copy(update={"ego_from_sensor": Mounting.from_pose(pose)})
    return rig.model_copy(update={"sensors": replaced})


@dataclass
class RigWatch:
    """What contradicts the rig, by sensor: whoever uses its data must not use a place or a lens that is wrong.

    May be asked from several threads: what is remembered of a mounting says for which transforms it holds.

    Attributes:
        rig: which counts.
        transforms: what `/tf_static` says.
        compare_transforms: how: compare, warn or ignore.
        compare_infos: the same for camera infos.
    """

    rig: Rig
    transforms: StaticTransforms
    compare_transforms: str = "compare"
    compare_infos: str = "compare"
    _infos: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    _mountings: dict[str, tuple[int, str]] = field(default_factory=dict)

    def push_info(self, camera: str, message: Any) -> None:
        """Takes a `sensor_msgs/CameraInfo`; the same one as before costs nothing."""
        content = _content_of(message)
        if self._seen.get(camera) != content:
            self._infos[camera] = camera_info_difference(self.rig.cameras[camera], message)
            self._seen[camera] = content

    def contradictions(self, sensors: Iterable[str]) -> dict[str, str]:
        """What contradicts the rig about these sensors, in words."""
        found = {name: self._contradiction(name) for name in sensors}
        return {name: text for name, text in found.items() if text}

    def refusal(self, sensor: str) -> str:
        """Why a sensor's data must not be used; empty when they may."""
        parts = [
            self._mounting(sensor) if self.compare_transforms == "compare" else "",
            self._info(sensor) if self.compare_infos == "compare" else "",
        ]
        return "; ".join(filter(None, parts))

    def _contradiction(self, sensor: str) -> str:
        return "; ".join(filter(None, [self._mounting(sensor), self._info(sensor)]))

    def _mounting(self, sensor: str) -> str:
        """Worked out anew when transforms came, not for every message."""
        changes = self.transforms.changes  # before the tree is read, which may be newer then, but never older
        known = self._mountings.get(sensor)
        if known is None or known[0] != changes:
            known = changes, self._compared_mounting(sensor)
            self._mountings[sensor] = known
        return known[1]

    def _compared_mounting(self, sensor: str) -> str:
        entry = self.rig.sensors[sensor]
        if self.compare_transforms == "ignore" or not entry.frame_id:
            return ""
        pose = self.transforms.tree.pose(BASE_FRAME, entry.frame_id)
        difference = "" if pose is None else mounting_difference(entry, pose)
        return f"{STATIC_TRANSFORMS_TOPIC} has it {difference}" if difference else ""

    def _info(self, sensor: str) -> str:
        difference = self._infos.get(sensor, "") if self.compare_infos != "ignore" else ""
        return f"camera_info: {difference}" if difference else ""


def _content_of(message: Any) -> tuple[Any, ...]:
    """All that a comparison depends on."""
    roi = message.roi
    return (
        *(str(message.header.frame_id), int(message.width), int(message.height), str(message.distortion_model)),
        *(tuple(float(value) for value in values) for values in (message.d, message.k, message.p)),
        *(int(message.binning_x), int(message.binning_y)),
        *(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
    )
