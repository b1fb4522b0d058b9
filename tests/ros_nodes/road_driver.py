"""A LiDAR driver for tests, in a process of its own: another road every 0.1 s, stamped now, until it is stopped."""

from __future__ import annotations

import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2

from tests.ros_nodes.answering import road_message


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("driver")
    reliable = node.declare_parameter("reliable", True).value
    reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    publisher = node.create_publisher(PointCloud2, "points", QoSProfile(depth=5, reliability=reliability))
    node.create_timer(0.1, lambda: publisher.publish(road_message(time.time_ns())))
    rclpy.spin(node)


if __name__ == "__main__":
    main()
