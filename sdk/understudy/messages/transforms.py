"""Where sensors sit and where the ego was: `tf2_msgs/TFMessage` and `nav_msgs/Odometry`."""

from __future__ import annotations

from typing import Any

import numpy as np

from understudy.messages.headers import BASE_FRAME, Make, header_message
from understudy.pose import Pose
from understudy.rig import Rig

WORLD_FRAME = "map"


def rig_transforms_message(make: Make, rig: Rig, stamp_ns: int) -> Any:
    """`tf2_msgs/msg/TFMessage` with `ego_from_sensor` of every sensor that has a frame id."""
    transforms = [
        make(
            "geometry_msgs/msg/TransformStamped",
            header=header_message(make, stamp_ns, BASE_FRAME),
            child_frame_id=sensor.frame_id,
            transform=_transform(make, sensor.ego_from_sensor.pose()),
        )
        for sensor in rig.sensors.values()
        if sensor.frame_id
    ]
    return make("tf2_msgs/msg/TFMessage", transforms=transforms)


def odometry_message(make: Make, world_from_ego: Pose, stamp_ns: int) -> Any:
    """`nav_msgs/msg/Odometry` of the ego in the world; the twist is not known and zero."""
    zero = make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    covariance = np.zeros(36)
    pose = make("geometry_msgs/msg/PoseWithCovariance", pose=_pose_message(make, world_from_ego), covariance=covariance)
    twist = make("geometry_msgs/msg/Twist", linear=zero, angular=zero)
    return make(
        "nav_msgs/msg/Odometry",
        header=header_message(make, stamp_ns, WORLD_FRAME),
        child_frame_id=BASE_FRAME,
        pose=pose,
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=covariance),
    )


def _pose_message(make: Make, pose: Pose) -> Any:
    """`geometry_msgs/msg/Pose`."""
    x, y, z = (float(value) for value in pose.translation_m)
    position = make("geometry_msgs/msg/Point", x=x, y=y, z=z)
    return make("geometry_msgs/msg/Pose", position=position, orientation=_quaternion(make, pose))


def _transform(make: Make, pose: Pose) -> Any:
    x, y, z = (float(value) for value in pose.translation_m)
    translation = make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
    return make("geometry_msgs/msg/Transform", translation=translation, rotation=_quaternion(make, pose))


def _quaternion(make: Make, pose: Pose) -> Any:
    w, x, y, z = (float(value) for value in pose.quaternion_wxyz)
    return make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def pose_from_transform(transform: Any) -> Pose:
    """`parent_from_child` of a `geometry_msgs/Transform`.

    Raises:
        GeometryError: when the rotation is none.
    """
    turn, shift = transform.rotation, transform.translation
    return Pose.from_quaternion((turn.w, turn.x, turn.y, turn.z), (shift.x, shift.y, shift.z))
