"""Names of topics, where nothing else was agreed."""

from __future__ import annotations

AGAINST_DETECTIONS_TOPIC = "/understudy/against/detections"
AGAINST_MARKERS_TOPIC = "/understudy/against/markers"
DETECTIONS_TOPIC = "/understudy/detections"
LABELS_TOPIC = "/labels/boxes"
MARKERS_TOPIC = "/understudy/markers"
ODOMETRY_TOPIC = "/ego/odom"
STATIC_TRANSFORMS_TOPIC = "/tf_static"
TRANSFORMS_TOPIC = "/tf"


def points_topic(lidar: str) -> str:
    """Point clouds of a LiDAR of the rig."""
    return f"/sensors/{lidar}/points"


def image_topic(camera: str) -> str:
    """Compressed pictures of a camera of the rig."""
    return f"/sensors/{camera}/image/compressed"


def camera_info_topic(camera: str) -> str:
    """Intrinsics of a camera of the rig."""
    return f"/sensors/{camera}/camera_info"
