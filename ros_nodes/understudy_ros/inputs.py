"""What an active node listens to; each callback hands its message on and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from understudy_ros.make import message_class
from understudy_ros.qos import mismatch, profile_of
from understudy_ros.topics import naming

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

TRANSFORMS_TYPE = "tf2_msgs/msg/TFMessage"
_INFO_DEPTH, _MOTION_DEPTH = 2, 50

Push = Callable[[str, Any], None]


@dataclass(frozen=True)
class InputOptions:
    """Which topics, and how.

    Attributes:
        lidar: name of the LiDAR in the rig; empty for none.
        cameras: names of the cameras.
        points_topic: of the LiDAR.
        reliable: whether the LiDAR is subscribed reliably.
        depth: clouds that the middleware keeps.
        image_transport: compressed or raw.
        cameras_reliable: whether cameras are subscribed reliably.
        cameras_depth: pictures of each that the middleware keeps.
        camera_infos: whether intrinsics are listened to.
        motion: odometry, tf, or empty for none.
        odometry_topic: of the ego's motion.
    """

    lidar: str
    cameras: tuple[str, ...] = ()
    points_topic: str = "points"
    reliable: bool = False
    depth: int = 5
    image_transport: str = "compressed"
    cameras_reliable: bool = False
    cameras_depth: int = 5
    camera_infos: bool = False
    motion: str = ""
    odometry_topic: str = "odometry"


class Inputs:
    """The subscriptions of an active node, by what they are called in diagnostics.

    Args:
        node: who listens.
        options: to what.
        push: gets the messages of each sensor.
        push_motion: gets odometry or transforms.
        push_info: gets the intrinsics of each camera.
    """

    def __init__(
        self, node: Node, options: InputOptions, push: Push, push_motion: Callable[[Any], None], push_info: Push
    ) -> None:
        self._node, self._options = node, options
        self._push, self._push_motion, self._push_info = push, push_motion, push_info
        self._subscriptions: list[Any] = []
        self._profiles: dict[str, tuple[str, QoSProfile]] = {}
        self._types: dict[str, str] = {}
        self._unheard: dict[str, str] = {}

    def open(self) -> None:
        """Subscribes; nothing stays subscribed when one of them fails."""
        try:
            self._open_points()
            for camera in self._options.cameras:
                self._open_camera(camera)
            self._open_motion()
        except Exception:  # a topic name that is none, say: rclpy has an error of its own for each reason
            self.close()
            raise

    def close(self) -> None:
        """Hears nothing any more."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    @property
    def unheard(self) -> dict[str, str]:
        """What cannot be connected now, by input: publishers that offer less than is asked for, or another type."""
        for who in [who for who in self._unheard if not self._is_mismatched(who)]:
            del self._unheard[who]
        return {**self._of_other_types(), **self._unheard}

    def _open_points(self) -> None:
        options = self._options
        if not options.lidar:
            return
        profile = profile_of(options.depth, reliable=options.reliable)
        self._hear(options.lidar, PointCloud2, options.points_topic, partial(self._push, options.lidar), profile)

    def _open_camera(self, camera: str) -> None:
        options = self._options
        profile = profile_of(options.cameras_depth, reliable=options.cameras_reliable)
        is_raw = options.image_transport == "raw"
        kind, topic = (Image, f"{camera}/image") if is_raw else (CompressedImage, f"{camera}/image/compressed")
        self._hear(camera, kind, topic, partial(self._push, camera), profile)
        if options.camera_infos:
            topic, profile = f"{camera}/camera_info", profile_of(_INFO_DEPTH, reliable=False)
            self._hear(topic, CameraInfo, topic, partial(self._push_info, camera), profile)

    def _open_motion(self) -> None:
        options, profile = self._options, profile_of(_MOTION_DEPTH, reliable=False)
        if options.motion == "odometry":
            self._hear("odometry", Odometry, options.odometry_topic, self._push_motion, profile)
        elif options.motion == "tf":
            self._hear("/tf", message_class(TRANSFORMS_TYPE), "/tf", self._push_motion, profile)

    def _hear(self, who: str, kind: Any, topic: str, callback: Callable[[Any], None], profile: QoSProfile) -> None:
        events = SubscriptionEventCallbacks(incompatible_qos=partial(self._note_incompatible, who))
        with naming(topic):
            made = self._node.create_subscription(kind, topic, callback, profile, event_callbacks=events)
        self._subscriptions.append(made)
        self._profiles[who] = (made.topic_name, profile)
        self._types[who] = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"

    def _of_other_types(self) -> dict[str, str]:
        """Inputs all of whose publishers send something else: ROS connects neither and says nothing."""
        found = {who: self._offered_types(topic) for who, (topic, _) in self._profiles.items()}
        return {
            who: f"{self._profiles[who][0]} has {', '.join(sorted(types))}, wanted {self._types[who]}"
            for who, types in found.items()
            if types and self._types[who] not in types
        }

    def _offered_types(self, topic: str) -> set[str]:
        return {info.topic_type for info in self._node.get_publishers_info_by_topic(topic)}

    def _is_mismatched(self, who: str) -> bool:
        topic, wanted = self._profiles[who]
        offers = [info.qos_profile for info in self._node.get_publishers_info_by_topic(topic)]
        return any(mismatch(offer, wanted) for offer in offers)

    def _note_incompatible(self, who: str, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._unheard[who] = f"a publisher offers less than is asked for: {policy}"
        self._node.get_logger().error(f"{who}: {self._unheard[who]}; set reliable or cameras_reliable to false")
