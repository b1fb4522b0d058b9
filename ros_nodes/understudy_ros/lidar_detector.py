"""`lidar_detector`: 3D boxes from a LiDAR topic, as `vision_msgs/Detection3DArray` and as markers."""

from __future__ import annotations

from understudy.boxes import Boxes
from understudy_ros.lidar_node import LidarNode
from understudy_ros.outputs import DETECTION_PARAMETERS, DetectionOutputs
from understudy_ros.running import run_node

PARAMETERS = DETECTION_PARAMETERS


class LidarDetector(LidarNode):
    """Publishes each sweep's boxes with the sweep's own stamp."""

    def __init__(self) -> None:
        super().__init__("lidar_detector", PARAMETERS)

    def create_outputs(self) -> None:
        """The topics that `output` asks for."""
        self._boxes = DetectionOutputs(self)

    def publish(self, result: Boxes, stamp_ns: int) -> None:
        """Sends the boxes."""
        self._boxes.publish(result, stamp_ns)


def main() -> None:
    """The executable of the package."""
    run_node(LidarDetector)


if __name__ == "__main__":
    main()
