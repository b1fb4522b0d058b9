"""A node whose student takes as long as its parameters say, or hangs; for tests of what happens meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from std_msgs.msg import Header

from understudy.frame import Frame
from understudy.messages.headers import header_message
from understudy_ros.lidar_node import LidarNode, Student
from understudy_ros.make import make_message
from understudy_ros.parameters import Declared
from understudy_ros.running import run_node

PARAMETERS = (
    Declared("open_ms", 0, "How long configure takes."),
    Declared("run_ms", 0, "How long a sweep takes."),
    Declared("hang_while", "", "A file: the student hangs while it exists."),
)


class SlowNode(LidarNode):
    """Answers each sweep with a header: its stamp, and how many points it had."""

    def __init__(self) -> None:
        super().__init__("slow_node", PARAMETERS)
        self._answers: Any = None

    def open_student(self) -> Student:
        time.sleep(self.value("open_ms") / 1e3)
        run_s, hang_while = self.value("run_ms") / 1e3, self.value("hang_while")

        def run(frame: Frame) -> int:
            time.sleep(run_s)
            while hang_while and Path(hang_while).exists():
                time.sleep(0.01)
            return sum(len(cloud) for cloud in frame.clouds.values())

        return Student(run, "lidar", "takes its time")

    def create_outputs(self) -> None:
        self._answers = self.create_output(Header, "~/answers")

    def publish(self, result: int, stamp_ns: int) -> None:
        self._answers.publish(header_message(make_message, stamp_ns, str(result)))


if __name__ == "__main__":
    run_node(SlowNode)
