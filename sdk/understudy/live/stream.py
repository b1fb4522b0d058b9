"""From messages to published results: read, match, wait where newer sets come first, run one student, publish."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from understudy.errors import FrameError, GeometryError, UnderstudyError
from understudy.frame import Frame
from understudy.live.accumulating import Matched
from understudy.live.clock import Clock, ClockWatch, SystemClock
from understudy.live.intake import Decode, Intake
from understudy.live.ledger import Ledger
from understudy.live.options import StreamOptions
from understudy.live.reasons import let_go
from understudy.live.tally import MOTION, STUDENT, Status, Times
from understudy.rig import Rig

R = TypeVar("R")

_log = logging.getLogger(__name__)
_REPORT_EVERY_NS = 1_000_000_000
_NUM_DECODERS = 2
_LONGEST_WAIT_S, _SHORTEST_WAIT_S = 0.05, 0.001
_OVERTAKEN = "set of a time before the clock went back, or before one that was published"


@dataclass(eq=False)
class _Job:
    """A set on its way through the student.

    Attributes:
        matched: the set.
        closed_ns: when it was, on the clock that never jumps.
        taken_ns: when the student took it, on that clock.
    """

    matched: Matched
    closed_ns: int
    taken_ns: int = 0


@dataclass(frozen=True)
class _Steps:
    """When the steps of a job were done, on the clock that never jumps."""

    framed_ns: int
    ran_ns: int
    late: bool


class SensorStream(Generic[R]):
    """Carries each message to exactly one end, and never raises for what a sensor, the student or the publisher does.

    With `start` a thread works and lets time pass. Without, the caller steps: `push`, `tick`, `work`, on a clock of its
    own; `push` and `tick` may be called from within `run` and `publish`, in any thread. `run` and `publish` are called
    one at a time, and nothing is locked meanwhile. A FrameError or GeometryError of theirs says that the set cannot be
    used; whatever else they raise is their own failure.

    Args:
        rig: the vehicle's sensors.
        options: what differs between streams.
        run: from a frame to a result; the pipeline, say.
        publish: sends a result; the frame tells its stamp and what it was made of.
        clock: the clock of the stamps, and one that never jumps.
        on_published: told how long each result took, after it was published; for a topic of times.

    Raises:
        GeometryError: when the options' sensors are not the rig's.
    """

    def __init__(
        self,
        rig: Rig,
        options: StreamOptions,
        run: Callable[[Frame], R],
        publish: Callable[[R, Frame], None],
        clock: Clock | None = None,
        on_published: Callable[[Times, Frame], None] | None = None,
    ) -> None:
        self._rig, self._options = rig, options
        self._run, self._publish, self._on_published = run, publish, on_published
        self._clock: Clock = clock or SystemClock()
        self._watch = ClockWatch(self._clock)
        self._intake = Intake(rig, options, self._clock.steady_ns)
        self._changed = threading.Condition(self._intake.lock)
        started_ns = self._clock.steady_ns()
        self._ledger = Ledger((options.pivot, *options.cameras), started_ns, needs_motion=options.num_sweeps > 1)
        self._reported_ns = started_ns - _REPORT_EVERY_NS
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._stopping = False
        self._sleeps_until_ns: int | None = None
        self._newest: tuple[tuple[int, int], int] | None = None
        self._student_trouble = ""
        self._thread = threading.Thread(target=self._serve, name=f"infer {options.pivot}", daemon=True)
        self._pool: ThreadPoolExecutor | None = None
        self._decode: Decode = map

    @property
    def next_deadline_ns(self) -> int | None:
        """When `tick` has something to do although nothing arrives, on the clock of the stamps; None for never."""
        return self._intake.next_deadline_ns

    def start(self) -> None:
        """Begins to work in a thread of its own; once."""
        if self._options.cameras or self._options.pivot in self._rig.cameras:
            self._pool = ThreadPoolExecutor(_NUM_DECODERS, thread_name_prefix=f"decode {self._options.pivot}")
            self._decode = self._pool.map
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Ends for good, without publishing what is under way; False when the student is still busy by then."""
        with self._changed:
            self._stopping = True
            self._enqueue(self._intake.flush())
            while self._waiting:
                self._ledger.settle(self._waiting.popleft().matched, "discarded")
            self._changed.notify_all()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        return self._running is None

    def push(self, sensor: str, message: Any) -> None:
        """Takes a message of a sensor of the rig: PointCloud2, Image or CompressedImage.

        Raises:
            InputError: when there is no such sensor; whatever is wrong with the message is counted.
        """
        with self._changed:
            self._intake.refuse_unknown(sensor)
            self._ledger.hear(sensor, self._clock.steady_ns())
            if self._stopping:
                self._ledger.discard(sensor)
                return
            reasons = self._intake.reasons[sensor]
            num_before = reasons.num
            self._enqueue(self._intake.push(sensor, message, self._watch.now_ns()))
            refused = reasons.num > num_before
        if refused:
            self._report(sensor, reasons.last)

    def push_motion(self, message: Any) -> None:
        """Takes a `nav_msgs/Odometry` or a `tf2_msgs/TFMessage` that tells where the ego is."""
        with self._changed:
            self._ledger.hear(MOTION, self._clock.steady_ns())
            reasons = self._intake.reasons[MOTION]
            num_before = reasons.num
            self._intake.push_motion(message)
            refused = reasons.num > num_before
        if refused:
            self._report(MOTION, reasons.last)
        self.tick()

    def tick(self) -> None:
        """Lets time pass: at the latest when `next_deadline_ns` has come."""
        with self._changed:
            if not self._stopping:
                self._enqueue(self._intake.advance(self._watch.now_ns()))

    def work(self) -> bool:
        """Runs the student on the newest set and publishes; False when nothing waited, or the student is busy."""
        job = self._take()
        if job is None:
            return False
        try:
            self._finish(job)
        except Exception as error:  # of a clock, or of ours
            self._fail(job, error)
        finally:
            with self._changed:
                self._ledger.settle(job.matched, "failed")  # what has come to no end: an interrupt
                self._running = None
        return True

    def status(self) -> Status:
        """Counts, times and what is wrong, of one instant."""
        with self._changed:
            now_ns, steady_ns = self._watch.now_ns(), self._clock.steady_ns()
            under_way = [job.matched for job in (self._running, *self._waiting) if job is not None]
            return replace(
                self._ledger.status(self._intake, under_way, steady_ns),
                busy_ns=0 if self._running is None else steady_ns - self._running.taken_ns,
                student_trouble=self._student_trouble,
                clock_leaps=self._watch.leaps,
                clock_still_ns=self._watch.still_ns(),
                age_ns=None if self._newest is None else now_ns - self._newest[1],
            )

    def _serve(self) -> None:
        """The thread: works, and lets time pass while there is nothing to do."""
        while not self._stopping:
            try:
                self._turn()
            except Exception:  # of a clock, or of ours: who watches sees that nothing is published
                _log.exception("%s: the stream goes on", self._options.pivot)
                with self._changed:
                    self._changed.wait(_LONGEST_WAIT_S)

    def _turn(self) -> None:
        self.tick()
        if self.work():
            return
        with self._changed:
            if not self._waiting and not self._stopping:
                self._changed.wait(self._pause_s())

    def _pause_s(self) -> float | None:
        """Until the next deadline, but not for long: the clock of the stamps may run at any speed."""
        deadline_ns = self._sleeps_until_ns = self._intake.next_deadline_ns
        if deadline_ns is None:
            return None
        return min(max((deadline_ns - self._watch.now_ns()) / 1e9, _SHORTEST_WAIT_S), _LONGEST_WAIT_S)

    def _enqueue(self, closed: list[Matched]) -> None:
        """The newest set waits in the place of an older one.

        A sweep that waited for its cameras and the next one, which need not wait, close at once. Both are run where the
        student is idle, or the LiDAR's rate would be lost though there is time for it.
        """
        room = 2 if self._running is None else 1
        for matched in closed:
            self._waiting.append(_Job(matched, self._clock.steady_ns()))
            self._supersede(room)
        if self._waiting or self._intake.next_deadline_ns != self._sleeps_until_ns:
            self._changed.notify_all()

    def _supersede(self, room: int) -> None:
        """No more wait than there is room for; the oldest give way."""
        while len(self._waiting) > room:
            self._ledger.settle(self._waiting.popleft().matched, "superseded")

    def _take(self) -> _Job | None:
        with self._changed:
            if not self._waiting or self._running is not None:
                return None
            self._running = self._waiting.popleft()
            self._running.taken_ns = self._clock.steady_ns()
            return self._running

    def _finish(self, job: _Job) -> None:
        if self._is_refused(job, self._too_old(job)):
            return
        frame = self._frame(job)
        if frame is None:
            return
        framed_ns = self._clock.steady_ns()
        try:
            result = self._run(frame)
        except Exception as error:  # of an engine or a user's own code: the next frame may be fine
            self._give_up(job, error)
            return
        ran_ns = self._clock.steady_ns()
        self.tick()
        if self._is_refused(job):
            return
        steps = _Steps(framed_ns, ran_ns, late=bool(self._too_old(job)))
        try:
            self._publish(result, frame)
        except Exception as error:  # of the middleware or a user's own code
            self._give_up(job, error)
            return
        self._account(job, frame, steps)

    def _is_refused(self, job: _Job, reason: str = "") -> bool:
        """Whether a set comes to its end here: for the reason given, or because time went on without it."""
        matched = job.matched
        with self._changed:
            if self._stopping:
                self._ledger.settle(job.matched, "discarded")
                return True
            epoch, newest = matched.pivot.item.epoch, self._newest
            is_overtaken = newest is not None and newest[0] == epoch and matched.pivot.time_ns <= newest[1]
            set_back_ns = self._watch.set_back_ns
            is_of_before = set_back_ns is not None and matched.pivot.item.received_ns < set_back_ns
            reason = _OVERTAKEN if is_overtaken or is_of_before or epoch != self._intake.epoch else reason
            if not reason:
                return False
            self._ledger.settle(job.matched, "stale")
            self._intake.reasons[self._options.pivot].note(reason)
        self._report(self._options.pivot, reason)
        return True

    def _too_old(self, job: _Job) -> str:
        """Why a set is too old now; empty when it is not.

        It is as old as its stamp says, and no younger than the time since it came: a stamp may be ahead of the clock.
        """
        deadline_ns, pivot = self._options.deadline_ns, job.matched.pivot
        if deadline_ns is None or self._clock.now_ns() - min(pivot.time_ns, pivot.item.now_ns) <= deadline_ns:
            return ""
        return f"set older than the deadline of {deadline_ns / 1e6:g} ms"

    def _frame(self, job: _Job) -> Frame | None:
        """The set's frame; None when the intake has refused and counted it."""
        try:
            return self._intake.frame(job.matched, self._decode)
        except UnderstudyError as error:
            self._report(self._options.pivot, str(error))
            return None

    def _give_up(self, job: _Job, error: Exception) -> None:
        """Student or publisher refused a frame, or broke."""
        if not isinstance(error, (FrameError, GeometryError)):
            self._fail(job, error)
            return
        self._intake.reject_set(job.matched, error)
        self._report(self._options.pivot, str(error))
        let_go(error)

    def _fail(self, job: _Job, error: Exception) -> None:
        _log.debug("unexpected", exc_info=error)
        trouble = str(error) if isinstance(error, UnderstudyError) else f"{type(error).__name__}: {error}"
        with self._changed:
            self._ledger.settle(job.matched, "failed")
            self._student_trouble = trouble
        self._report(STUDENT, trouble)
        let_go(error)

    def _account(self, job: _Job, frame: Frame, steps: _Steps) -> None:
        """A result was sent."""
        arrival, time_ns = job.matched.pivot.item, job.matched.pivot.time_ns
        with self._changed:
            times = Times(
                convert_ns=arrival.converted_ns - arrival.received_ns,
                match_ns=job.closed_ns - arrival.converted_ns,
                wait_ns=job.taken_ns - job.closed_ns,
                frame_ns=steps.framed_ns - job.taken_ns,
                run_ns=steps.ran_ns - steps.framed_ns,
                publish_ns=self._clock.steady_ns() - steps.ran_ns,
                age_ns=self._clock.now_ns() - time_ns,
            )
            self._ledger.publish(job.matched, times, late=steps.late)
            self._newest = (arrival.epoch, time_ns)
        try:
            if self._on_published is not None:
                self._on_published(times, frame)
        except Exception as error:  # it has been published all the same
            self._fail(job, error)

    def _report(self, who: str, reason: str) -> None:
        """To the log, once in a while: diagnostics have it all."""
        now_ns = self._clock.steady_ns()
        with self._changed:
            is_due = now_ns - self._reported_ns >= _REPORT_EVERY_NS
            self._reported_ns = now_ns if is_due else self._reported_ns
        if is_due:
            _log.warning("%s: not used: %s", who, reason)
