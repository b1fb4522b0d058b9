"""From a LiDAR's messages to published results: convert, wait in a queue of one, infer in one thread, publish."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from understudy.errors import UnderstudyError
from understudy.frame import Frame, PointCloud
from understudy.live.latest import Latest
from understudy.live.lidar_tally import Outcome, Status, Tally, Times
from understudy.messages.clouds import cloud_from_message

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")

_log = logging.getLogger(__name__)
_REPORT_EVERY_NS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Sweep:
    """A converted message on its way; times are of a clock that never jumps.

    Attributes:
        cloud: what the message held.
        received_ns: when it came.
        converted_ns: when it was converted.
    """

    cloud: PointCloud
    received_ns: int
    converted_ns: int


@dataclass(frozen=True)
class StreamOptions:
    """What differs between streams.

    Attributes:
        lidar: name in the rig of the LiDAR that the messages are of.
        require_intensity: refuse clouds without.
        deadline_ns: sweeps older than this are not used any more, and results that become older are counted as late;
            None takes any age. It needs a sensor whose stamps are of the same clock as `now_ns`.
    """

    lidar: str
    require_intensity: bool = False
    deadline_ns: int | None = None


class LidarStream(Generic[R]):
    """`push` and the thread of `start` together carry each message to exactly one end; neither ever raises.

    Args:
        options: what differs between streams.
        run: from a frame with one cloud to a result; the pipeline, say.
        publish: sends a result with the stamp of its sweep, in integer nanoseconds.
        now_ns: the clock that the stamps are compared with.
    """

    def __init__(
        self,
        options: StreamOptions,
        run: Callable[[Frame], R],
        publish: Callable[[R, int], None],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._options, self._run, self._publish, self._now_ns = options, run, publish, now_ns
        self._tally = Tally(options.lidar)
        self._waiting: Latest[Sweep] = Latest()
        self._thread = threading.Thread(target=self._work, name=f"infer {options.lidar}", daemon=True)
        self._stopping = threading.Event()
        self._last_message_ns = self._last_report_ns = time.monotonic_ns()
        self._last_report_ns -= _REPORT_EVERY_NS

    def start(self) -> None:
        """Begins to infer; once."""
        self._last_message_ns = time.monotonic_ns()
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Ends for good, without publishing what is under way; False when the thread is still busy by then."""
        self._stopping.set()
        if self._waiting.close() is not None:
            self._tally.settle("discarded")
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def push(self, message: Any) -> None:
        """Converts a `sensor_msgs/PointCloud2` and lets it wait in the place of an older one."""
        self._last_message_ns = time.monotonic_ns()
        self._tally.receive()
        sweep = self._guarded(self._converted, message)
        if sweep is None:
            return
        replaced = self._waiting.put(sweep)
        if replaced is not None:
            self._tally.settle("discarded" if replaced is sweep else "superseded")

    def status(self) -> Status:
        """Counts, times and what is wrong, for diagnostics."""
        return self._tally.status(time.monotonic_ns() - self._last_message_ns)

    def _work(self) -> None:
        while (sweep := self._waiting.take()) is not None:
            self._guarded(self._finish, sweep)

    def _converted(self, message: Any) -> Sweep:
        received_ns = time.monotonic_ns()
        cloud = cloud_from_message(message, extras=False, require_intensity=self._options.require_intensity)
        return Sweep(cloud, received_ns, time.monotonic_ns())

    def _finish(self, sweep: Sweep) -> None:
        cloud, taken_ns = sweep.cloud, time.monotonic_ns()
        if self._is_late(cloud):
            self._tally.settle("stale")
            return
        result = self._run(Frame(cloud.stamp_ns, {self._options.lidar: cloud}))
        ran_ns = time.monotonic_ns()
        if self._stopping.is_set():
            self._tally.settle("discarded")
            return
        late = self._is_late(cloud)
        self._publish(result, cloud.stamp_ns)
        times = Times(
            convert_ns=sweep.converted_ns - sweep.received_ns,
            wait_ns=taken_ns - sweep.converted_ns,
            run_ns=ran_ns - taken_ns,
            publish_ns=time.monotonic_ns() - ran_ns,
            age_ns=self._now_ns() - cloud.stamp_ns,
        )
        self._tally.publish(times, late=late)

    def _is_late(self, cloud: PointCloud) -> bool:
        deadline_ns = self._options.deadline_ns
        return deadline_ns is not None and self._now_ns() - cloud.stamp_ns > deadline_ns

    def _guarded(self, step: Callable[[A], B], argument: A) -> B | None:
        """What `step` makes of its argument; an error of it ends the message, and nothing else."""
        try:
            return step(argument)
        except UnderstudyError as error:
            self._give_up("rejected", str(error))
        except Exception as error:  # an engine, a driver's odd message or a user's own code: the next frame may be fine
            _log.debug("unexpected", exc_info=True)
            self._give_up("failed", f"{type(error).__name__}: {error}")
        return None

    def _give_up(self, outcome: Outcome, reason: str) -> None:
        self._tally.settle(outcome, reason)
        now_ns = time.monotonic_ns()
        if now_ns - self._last_report_ns >= _REPORT_EVERY_NS:
            self._last_report_ns = now_ns
            _log.warning("%s: a message was %s: %s", self._options.lidar, outcome, reason)
