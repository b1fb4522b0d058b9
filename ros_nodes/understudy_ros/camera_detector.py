"""`camera_detector`: 3D boxes from the pictures of the rig's cameras."""

from __future__ import annotations

from understudy.boxes import Boxes
from understudy_ros.camera_node import CameraNode
from understudy_ros.outputs import DETECTION_PARAMETERS, DetectionOutputs
from understudy_ros.running import run_node

PARAMETERS = DETECTION_PARAMETERS


class CameraDetector(CameraNode):
    """Publishes each set's boxes with the stamp of its first camera's picture."""

    def __init__(self) -> None:
        super().__init__("camera_detector", PARAMETERS)

    def create_outputs(self) -> None:
        """The topics that `output` asks for."""
        self._boxes = DetectionOutputs(self)

    def publish(self, result: Boxes, stamp_ns: int) -> None:
        """Sends the boxes."""
        self._boxes.publish(result, stamp_ns)


def main() -> None:
    """The executable of the package."""
    run_node(CameraDetector)


if __name__ == "__main__":
    main()
