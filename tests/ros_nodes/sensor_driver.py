"""A sensor's driver for tests, in a process of its own: publishes until SIGINT, right or wrong as it is told."""

from __future__ import annotations

import argparse
import signal
import time
from array import array
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2, PointField
from std_msgs.msg import Header

POINT_BYTES = 16


def main() -> None:
    given = arguments()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(given.node)
    if given.sim_time:
        node.set_parameters([rclpy.parameter.Parameter("use_sim_time", value=True)])
    reliability = ReliabilityPolicy.RELIABLE if given.reliable else ReliabilityPolicy.BEST_EFFORT
    durability = DurabilityPolicy.TRANSIENT_LOCAL if given.latched else DurabilityPolicy.VOLATILE
    kinds = {"points": PointCloud2, "jpeg": CompressedImage, "info": CameraInfo, "clock": Clock}
    profile = QoSProfile(depth=5, reliability=reliability, durability=durability)
    publisher = node.create_publisher(kinds[given.kind], given.topic, profile)
    print("publishing", flush=True)  # noqa: T201
    period_s, begin_s, number = 1.0 / given.hz, time.monotonic(), 0
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    while not STOP:
        publisher.publish(message_of(given, number))
        number += 1
        while not STOP and time.monotonic() < begin_s + number * period_s:
            executor.spin_once(timeout_sec=0.01)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--node", default="driver")
    parser.add_argument("--kind", default="points", choices=("points", "jpeg", "info", "clock"))
    parser.add_argument("--topic", default="/points")
    parser.add_argument("--frame", default="lidar")
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--hz", type=float, default=10.0)
    parser.add_argument("--reliable", action="store_true")
    parser.add_argument("--latched", action="store_true")
    parser.add_argument("--sim-time", action="store_true", help="the node's parameter; its stamps stay as they are")
    parser.add_argument("--offset-s", type=float, default=0.0, help="added to the stamps")
    parser.add_argument("--from-power-on", action="store_true", help="stamps begin in 1970")
    parser.add_argument("--field", default="x", help="name of the first field")
    return parser.parse_args()


def message_of(given: argparse.Namespace, number: int) -> Any:
    now_s = (number / given.hz if given.from_power_on else time.time()) + given.offset_s
    nanoseconds = int(now_s * 1e9)
    stamp = Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
    if given.kind == "clock":
        return Clock(clock=Time(sec=1000 + int(number / given.hz), nanosec=int(number / given.hz % 1.0 * 1e9)))
    header = Header(stamp=stamp, frame_id=given.frame)
    if given.kind == "jpeg":
        return CompressedImage(header=header, format="jpeg", data=array("B", bytes(given.points)))
    if given.kind == "info":
        return CameraInfo(
            header=header, width=640, height=480, k=[float(v) for v in (500, 0, 320, 0, 500, 240, 0, 0, 1)]
        )
    return cloud(given, header)


def cloud(given: argparse.Namespace, header: Header) -> PointCloud2:
    names = (given.field, "y", "z", "intensity")
    fields = [PointField(name=name, offset=4 * place, datatype=7, count=1) for place, name in enumerate(names)]
    size = given.points * POINT_BYTES
    return PointCloud2(
        header=header,
        height=1,
        width=given.points,
        fields=fields,
        is_bigendian=False,
        point_step=POINT_BYTES,
        row_step=size,
        data=array("B", bytes(size)),
        is_dense=True,
    )


STOP: list[int] = []
if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, _: STOP.append(number))
    main()
