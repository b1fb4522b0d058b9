"""The drivers of a LiDAR and cameras in a process of their own: real messages on time, with the clock's stamps.

python -m benchmarks.ros.drivers --out FILE [--cameras 6] [--camera-hz 12] [--dropouts]

Publishes until SIGINT, then writes what was sent to FILE: stamps by sensor, and how late each was sent.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2

from benchmarks.ros.drive_messages import drive_messages

LIDAR_HZ = 10.0
DROPOUT_S = 10.0
LONGEST_NAP_S = 0.05


@dataclass
class Driver:
    """One sensor.

    Attributes:
        name: in the rig.
        outputs: publishers, each with the messages that it sends in turn.
        period_s: between two of them.
        due_s: when the next one is, on the monotonic clock.
        silent_turn: which tens of seconds of a cycle it is silent in, or None for never.
        sent_ns: stamps.
        late_ms: how long after they were due.
    """

    name: str
    outputs: list[tuple[Any, tuple[Any, ...]]]
    period_s: float
    due_s: float
    silent_turn: int | None = None
    sent_ns: list[int] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    number: int = 0

    def send(self, since_start_s: float, num_turns: int) -> None:
        """The next message, stamped now, unless it is silent for a while."""
        self.late_ms.append((time.monotonic() - self.due_s) * 1e3)
        self.due_s, self.number = self.due_s + self.period_s, self.number + 1
        if self.silent_turn is not None and int(since_start_s / DROPOUT_S) % num_turns == self.silent_turn:
            return
        stamp_ns = time.time_ns()
        stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        for publisher, messages in self.outputs:
            message = messages[self.number % len(messages)]
            message.header.stamp = stamp
            publisher.publish(message)
        self.sent_ns.append(stamp_ns)


def make_drivers(node: Any, num_cameras: int, camera_hz: float, dropouts: bool) -> tuple[list[Driver], str]:
    """The LiDAR and the cameras, each camera at a phase of its own; and which recording they send."""
    drive, start_s = drive_messages(num_cameras), time.monotonic() + 0.2
    profile = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    clouds = (node.create_publisher(PointCloud2, "points", profile), drive.clouds)
    drivers = [Driver(drive.rig.lidar()[0], [clouds], 1 / LIDAR_HZ, start_s)]
    for place, (name, pictures) in enumerate(drive.pictures.items()):
        outputs = [
            (node.create_publisher(CompressedImage, f"{name}/image/compressed", profile), pictures),
            (node.create_publisher(CameraInfo, f"{name}/camera_info", profile), (drive.infos[name],)),
        ]
        phase_s = place / (camera_hz * num_cameras)
        turn = 2 * place + 1 if dropouts else None
        drivers.append(Driver(name, outputs, 1 / camera_hz, start_s + phase_s, turn))
    return drivers, drive.source


def publish_until(stop: threading.Event, drivers: list[Driver]) -> None:
    """Each message when it is due, the earliest first."""
    start_s = time.monotonic()
    while not stop.is_set():
        driver = min(drivers, key=lambda one: one.due_s)
        now_s = time.monotonic()
        if driver.due_s > now_s:
            time.sleep(min(LONGEST_NAP_S, driver.due_s - now_s))
        else:
            driver.send(now_s - start_s, 2 * len(drivers))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cameras", type=int, default=0)
    parser.add_argument("--camera-hz", type=float, default=12.0)
    parser.add_argument("--dropouts", action="store_true", help="each camera in its turn is silent for 10 s")
    given = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("drivers")
    drivers, source = make_drivers(node, given.cameras, given.camera_hz, given.dropouts)
    publish_until(stop, drivers)
    sent = {driver.name: {"stamps_ns": driver.sent_ns, "late_ms": driver.late_ms} for driver in drivers}
    given.out.write_text(json.dumps({"source": source, "sensors": sent}), encoding="utf-8")
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
