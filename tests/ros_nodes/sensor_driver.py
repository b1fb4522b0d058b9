"""Drivers of sensors for tests, in a process of their own: they publish until SIGINT, right or wrong as they are told.

`--and` begins the next driver; each is a node.
"""

from __future__ import annotations

import argparse
import io
import itertools
import signal
import sys
import time
from array import array
from collections.abc import Iterator
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from PIL import Image
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2, PointField
from std_msgs.msg import Header

KINDS = {"points": PointCloud2, "jpeg": CompressedImage, "info": CameraInfo, "clock": Clock}
POINT_BYTES = 16
FIRST_TICK_S = 1000
UP = "drivers are up"
STOP: list[int] = []


def main() -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, _: STOP.append(number))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    drivers = [Driver(given) for given in arguments(sys.argv[1:])]
    for driver in drivers:
        executor.add_node(driver.node)
    for driver in drivers:
        driver.publish_if_due()
    print(UP, flush=True)  # noqa: T201
    while not STOP:
        for driver in drivers:
            driver.publish_if_due()
        executor.spin_once(timeout_sec=0.005)
    executor.shutdown()
    for driver in drivers:
        driver.node.destroy_node()
    rclpy.try_shutdown()


def arguments(words: list[str]) -> Iterator[argparse.Namespace]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--node", default="driver")
    parser.add_argument("--kind", default="points", choices=KINDS)
    parser.add_argument("--topic", default="/points")
    parser.add_argument("--frame", default="lidar")
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--hz", type=float, default=10.0)
    parser.add_argument("--best-effort", action="store_true")
    parser.add_argument("--sim-time", action="store_true", help="the node's parameter; its stamps stay as they are")
    parser.add_argument("--offset-s", type=float, default=0.0, help="added to the stamps")
    parser.add_argument("--from-power-on", action="store_true", help="stamps begin in 1970")
    parser.add_argument("--field", default="x", help="name of the first field")
    parser.add_argument("--width", type=int, default=160, help="of pictures")
    for is_separator, group in itertools.groupby(words, lambda word: word == "--and"):
        if not is_separator:
            yield parser.parse_args(list(group))


class Driver:
    def __init__(self, given: argparse.Namespace) -> None:
        self._given, self._number, self._begin_s = given, 0, time.monotonic()
        overrides = [Parameter("use_sim_time", value=given.sim_time)]
        self.node = rclpy.create_node(given.node, parameter_overrides=overrides)
        reliability = ReliabilityPolicy.BEST_EFFORT if given.best_effort else ReliabilityPolicy.RELIABLE
        profile = QoSProfile(depth=5, reliability=reliability, durability=DurabilityPolicy.VOLATILE)
        self._publisher = self.node.create_publisher(KINDS[given.kind], given.topic, profile)

    def publish_if_due(self) -> None:
        if time.monotonic() >= self._begin_s + self._number / self._given.hz:
            self._publisher.publish(self._message())
            self._number += 1

    def _message(self) -> Any:
        given, elapsed_s = self._given, self._number / self._given.hz
        if given.kind == "clock":
            return Clock(clock=time_of(FIRST_TICK_S + elapsed_s))
        stamp_s = (elapsed_s if given.from_power_on else time.time()) + given.offset_s
        header = Header(stamp=time_of(stamp_s), frame_id=given.frame)
        if given.kind == "jpeg":
            return CompressedImage(header=header, format="jpeg", data=array("B", jpeg(given.width, 96)))
        if given.kind == "info":
            matrix = [120.0, 0.0, 80.0, 0.0, 120.0, 48.0, 0.0, 0.0, 1.0]
            return CameraInfo(header=header, width=given.width, height=96, k=matrix)
        return cloud(given, header)


def time_of(seconds: float) -> Time:
    nanoseconds = int(seconds * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def jpeg(width_px: int, height_px: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width_px, height_px), (90, 120, 150)).save(stream, "JPEG")
    return stream.getvalue()


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


if __name__ == "__main__":
    main()
