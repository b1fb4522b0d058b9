"""`fusion_detector`: 3D boxes from a LiDAR and the cameras that belong to its sweeps."""

from __future__ import annotations

from understudy.boxes import Boxes
from understudy_ros.outputs import DETECTION_PARAMETERS, DetectionOutputs
from understudy_ros.running import run_node
from understudy_ros.student_node import StudentNode

PARAMETERS = DETECTION_PARAMETERS


class FusionDetector(StudentNode):
    """Publishes each set's boxes with its sweep's own stamp; a camera that fails costs its picture, not the sweep."""

    def __init__(self) -> None:
        super().__init__("fusion_detector", PARAMETERS)

    def create_outputs(self) -> None:
        """The topics that `output` asks for."""
        self._boxes = DetectionOutputs(self)

    def publish(self, result: Boxes, stamp_ns: int) -> None:
        """Sends the boxes."""
        self._boxes.publish(result, stamp_ns)


def main() -> None:
    """The executable of the package."""
    run_node(FusionDetector)


if __name__ == "__main__":
    main()
