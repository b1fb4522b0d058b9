"""A `fusion_detector` whose student fails on command, for the fault suite: a node of somebody's own."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from std_msgs.msg import String

from understudy.errors import EngineError
from understudy.frame import Frame
from understudy_ros.fusion_detector import FusionDetector
from understudy_ros.running import run_node
from understudy_ros.student import Student

ORDERS = "/orders"


class BreakableDetector(FusionDetector):
    def __init__(self) -> None:
        super().__init__()
        self._order, self._until_s = ("well", 0.0), 0.0
        self._orders = self.create_subscription(String, ORDERS, self._take, 10)

    def open_student(self) -> Student:
        student = super().open_student()
        return replace(student, run=lambda frame: self._failing(student, frame))

    def publish(self, result: Any, stamp_ns: int) -> None:
        if self._order[0] == "callback_exception":
            raise RuntimeError("the publisher is gone")
        super().publish(result, stamp_ns)

    def _take(self, message: String) -> None:
        kind, _, last_ms = message.data.partition(" ")
        last_s = float(last_ms or 0) / 1e3
        self._order, self._until_s = (kind, last_s), time.monotonic() + last_s

    def _failing(self, student: Student, frame: Frame) -> Any:
        kind, last_s = self._order
        if kind == "engine_error":
            raise EngineError("engine", found="an error of the device", wanted="a result")
        if kind == "engine_hang":
            time.sleep(max(0.0, self._until_s - time.monotonic()))
        if kind == "slow_engine":
            time.sleep(last_s)
        return student.run(frame)


if __name__ == "__main__":
    run_node(BreakableDetector)
