"""`timing_recorder`: how long results of a student took on the vehicle, as percentiles; ends after so many."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from rclpy._rclpy_pybind11 import RCLError, UnknownROSArgsError
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Float64MultiArray

from understudy.configuration import Config, refuse_unlikely_json, write_json
from understudy.errors import UnderstudyError
from understudy.latency import PERCENTILES, percentile_ns
from understudy_ros.parameters import Declared, declare, described, unknown_parameters

PARAMETERS = (
    Declared("results", 600, "How many results to time; 0: until it is stopped.", limits=(0, 1_000_000)),
    Declared("out", "", "JSON file for the time of every result; empty: none."),
)
_DEPTH = 100
_LONGEST_NAP_S = 0.1
_NS_PER_MS = 1_000_000


class Times(Config):
    """What was heard, for other programs.

    Attributes:
        topic: where from.
        samples_ms: of each stage, one number for each result, in the order heard.
    """

    topic: str
    samples_ms: dict[str, tuple[float, ...]]


@dataclass
class Recording:
    """Times as they come in; `age_ms` is from the sensor's stamp until the result was sent."""

    stages: tuple[str, ...] = ()
    rows: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, message: Any) -> None:
        """One result's; the layout's label names the columns, and the first message says which there are."""
        stages = tuple(message.layout.dim[0].label.split(",")) if message.layout.dim else ()
        self.stages = self.stages or stages
        if stages == self.stages and len(message.data) == len(stages):
            self.rows.append(tuple(message.data))

    def samples_ms(self) -> dict[str, tuple[float, ...]]:
        """Of each stage."""
        columns: list[tuple[float, ...]] = list(zip(*self.rows, strict=True))
        return dict(zip(self.stages, columns, strict=True)) if columns else {}

    def table(self) -> Iterator[str]:
        """A line for each stage; a percentile that so few results do not have is a dash."""
        yield f"{'':12s}" + "".join(f"{title:>9s}" for title in [*(f"p{percent}" for percent in PERCENTILES), "max"])
        for stage, samples in self.samples_ms().items():
            samples_ns = [round(sample * _NS_PER_MS) for sample in samples]
            cells = [percentile_ns(samples_ns, percent) for percent in PERCENTILES]
            yield f"{stage:12s}" + "".join(_cell(cell) for cell in [*cells, max(samples_ns)])


class TimingRecorder(Node):
    """Listens to the topic `timing` and ends once it has heard `results` of them.

    Args:
        recording: where they go.

    Raises:
        InputError: when `out` is there already and is something else than JSON.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__("timing_recorder")
        declare(self, PARAMETERS)
        unknown = described(unknown_parameters(self), PARAMETERS)
        if unknown:
            self.get_logger().warning(unknown)
        self.finished = False
        self._recording = recording
        self._wanted: int = self.get_parameter("results").value
        self._out: str = self.get_parameter("out").value
        if self._out:
            refuse_unlikely_json(Path(self._out))
        self._subscription = self.create_subscription(Float64MultiArray, "timing", self._hear, _DEPTH)

    def release(self) -> None:
        """Says and writes what was heard; called once, at the end."""
        for line in self._recording.table() if self._recording.rows else ():
            self.get_logger().info(line)
        if self._out and self._recording.rows:
            write_json(Path(self._out), self._times())

    def _hear(self, message: Any) -> None:
        self._recording.add(message)
        self.finished = 0 < self._wanted <= len(self._recording.rows)

    def _times(self) -> Times:
        return Times(topic=self._subscription.topic_name, samples_ms=self._recording.samples_ms())


def _cell(value_ns: int | None) -> str:
    return f"{'-':>9s}" if value_ns is None else f"{value_ns / _NS_PER_MS:9.2f}"


def main() -> None:
    """The executable of the package; ends with 1 when nothing was heard."""
    recording, stop = Recording(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        _record(recording, stop)
    except (UnderstudyError, ParameterException, UnknownROSArgsError, RCLError) as error:
        sys.exit(f"timing_recorder: {error}")
    finally:
        rclpy.try_shutdown()
    if not recording.rows:
        sys.exit("timing_recorder: no result was heard; is the student active, and do its sensors send?")


def _record(recording: Recording, stop: threading.Event) -> None:
    node = TimingRecorder(recording)
    while not (stop.is_set() or node.finished):
        rclpy.spin_once(node, timeout_sec=_LONGEST_NAP_S)
    node.release()
    node.destroy_node()


if __name__ == "__main__":
    main()
