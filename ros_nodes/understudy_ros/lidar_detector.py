"""`lidar_detector`: 3D boxes from a LiDAR topic, as `vision_msgs/Detection3DArray` and as markers."""

from __future__ import annotations

from typing import Any

from understudy.boxes import Boxes
from understudy.messages.outputs import DETECTIONS_TYPE, MARKERS_TYPE, detections_message, markers_message
from understudy_ros.lidar_node import LidarNode
from understudy_ros.make import make_message, message_class
from understudy_ros.parameters import Declared
from understudy_ros.running import run_node

PARAMETERS = (
    Declared("output", "both", "What to publish.", choices=("both", "detection3d", "markers")),
    Declared("detections_topic", "~/detections", "vision_msgs/Detection3DArray, in base_link."),
    Declared("markers_topic", "~/markers", "visualization_msgs/MarkerArray, in base_link."),
)


class LidarDetector(LidarNode):
    """Publishes each sweep's boxes with the sweep's own stamp."""

    def __init__(self) -> None:
        super().__init__("lidar_detector", PARAMETERS)
        self._detections: Any = None
        self._markers: Any = None

    def create_outputs(self) -> None:
        """The topics that `output` asks for."""
        output = self.value("output")
        self._detections = self._markers = None
        if output != "markers":
            self._detections = self.create_output(message_class(DETECTIONS_TYPE), self.value("detections_topic"))
        if output != "detection3d":
            self._markers = self.create_output(message_class(MARKERS_TYPE), self.value("markers_topic"))

    def publish(self, result: Boxes, stamp_ns: int) -> None:
        """Detections first: they are what others wait for."""
        if self._detections is not None:
            self._detections.publish(detections_message(make_message, result, stamp_ns))
        if self._markers is not None:
            self._markers.publish(markers_message(make_message, result, stamp_ns))


def main() -> None:
    """The executable of the package."""
    run_node(LidarDetector)


if __name__ == "__main__":
    main()
