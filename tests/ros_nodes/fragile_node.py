"""A node as they are often written: no lifecycle, no diagnostics, and an empty cloud ends it."""

from __future__ import annotations

import numpy as np
import rclpy
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3DArray


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("fragile")
    detections = node.create_publisher(Detection3DArray, "~/detections", 10)

    def answer(cloud: PointCloud2) -> None:
        points = np.frombuffer(cloud.data, np.uint8).reshape(-1, cloud.point_step)
        assert points[:, 0].max() >= 0
        detections.publish(Detection3DArray(header=cloud.header))

    node.create_subscription(PointCloud2, "/points", answer, 10)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
