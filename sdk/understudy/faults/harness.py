"""Drives the real stream through a scenario under a virtual clock: every message, tick and look at its moment.

The student is real; the time it takes is not: while it runs the clock is moved on, and what arrives in that time is
pushed from inside of the run, as another thread would push it.
"""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from heapq import merge
from typing import Any, Protocol

from understudy.boxes import Boxes
from understudy.faults.clocks import VirtualClock
from understudy.faults.drafts import Sent
from understudy.faults.fault import Fault
from understudy.faults.record import Look, Output, Record
from understudy.faults.scenario import SILENT_AFTER_NS
from understudy.faults.script import Script
from understudy.frame import Frame
from understudy.live.clock import Clock
from understudy.live.options import StreamOptions
from understudy.live.stream import SensorStream
from understudy.live.tally import Status, judge
from understudy.messages.headers import Make
from understudy.rig import Rig

Student = Callable[[Frame], Boxes]
TICK_NS = 20_000_000
LOOK_NS = 100_000_000
_LOOKS_A_SECOND = 10
_STOP_S = 5.0
_Event = tuple[int, int, Sent | None]
_ARRIVAL, _TICK, _LOOK = 0, 1, 2


class Stream(Protocol):
    """What is driven: `SensorStream`, or a broken one in the tests of the invariants."""

    def push(self, sensor: str, message: Any) -> None:
        """A message arrives."""

    def tick(self) -> None:
        """Time passes."""

    def work(self) -> bool:
        """One set through the student; False when none waited."""

    def status(self) -> Status:
        """A look."""

    def stop(self, timeout_s: float = _STOP_S) -> bool:
        """The end."""


class OpenStream(Protocol):
    """Makes the stream to drive."""

    def __call__(
        self,
        rig: Rig,
        options: StreamOptions,
        run: Callable[[Frame], Boxes],
        publish: Callable[[Boxes, Frame], None],
        clock: Clock,
    ) -> Stream:
        """As the constructor of `SensorStream`."""


def play(script: Script, student: Student, make: Make, open_stream: OpenStream = SensorStream) -> Record:
    """What a stream does in a scenario. Nothing that it raises comes out: it is in the record.

    Args:
        script: what is sent.
        student: from frame to boxes; real, and fast enough to be called for every sweep.
        make: makes the messages.
        open_stream: makes the stream.
    """
    run = _Play(script, student, make, open_stream)
    try:
        run.play()
    except Exception as error:  # whatever the stream lets out is what is looked for
        run.record.crash = f"{type(error).__name__}: {error}"
    return run.record


class _Play:
    def __init__(self, script: Script, student: Student, make: Make, open_stream: OpenStream) -> None:
        self.record = Record()
        self._script, self._student, self._make = script, student, make
        self._clock = VirtualClock(script.scenario.clock)
        self._events = _events(script)
        self._next: _Event | None = next(self._events, None)
        self._begun_ns = 0
        self._pushed: Counter[str] = Counter({name: 0 for name in script.scenario.periods_ns})
        self._held: deque[weakref.ref[Any]] = deque()
        self._lookback: deque[Status] = deque(maxlen=_LOOKS_A_SECOND)
        scenario = script.scenario
        self._stream = open_stream(scenario.contents.rig, scenario.options, self._run, self._publish, self._clock)

    def play(self) -> None:
        while self._next is not None:
            self._advance(self._next[0])
            while self._stream.work():
                pass
        if not self._stream.stop(_STOP_S):
            self.record.stuck = "stop does not come back"
        self._look()

    def _advance(self, until_ns: int) -> None:
        """Lets time pass, and everything happen that is due in it."""
        while self._next is not None and self._next[0] <= until_ns:
            at_ns, kind, sent = self._next
            self._next = next(self._events, None)
            self._clock.elapsed_ns = at_ns
            if sent is not None:
                self._push(sent)
            elif kind == _TICK:
                self._stream.tick()
            else:
                self._look()
        self._clock.elapsed_ns = max(self._clock.elapsed_ns, until_ns)

    def _push(self, sent: Sent) -> None:
        message = sent.draft.message(self._make, self._script.stamp_ns(sent))
        self._pushed[sent.sensor] += 1
        self._held.append(weakref.ref(message))
        self._stream.push(sent.sensor, message)

    def _look(self) -> None:
        status = self._stream.status()
        before = self._lookback[0] if self._lookback else status
        verdict = judge(before, status, SILENT_AFTER_NS)
        self._lookback.append(status)
        received = {name: entry.received for name, entry in status.sensors.items()}
        look = Look(
            self._clock.elapsed_ns,
            verdict.level,
            verdict.message,
            verdict.at_fault,
            status.adds_up,
            received,
            dict(self._pushed),
            self._num_held(),
        )
        self.record.looks.append(look)

    def _num_held(self) -> int:
        self._held = deque(reference for reference in self._held if reference() is not None)
        return len(self._held)

    def _run(self, frame: Frame) -> Boxes:
        """The student, in the time that the script says."""
        begun_ns = self._begun_ns = self._clock.elapsed_ns
        self._held.append(weakref.ref(frame))
        boxes = self._student(frame)
        added_ns, make_error = 0, None
        for number, fault in self._active(begun_ns):
            strike = fault.strike(begun_ns)
            added_ns += strike.added_ns
            make_error = strike.error or make_error
            if strike.added_ns or strike.error:
                self.record.strikes_ns.setdefault(number, begun_ns)
                self.record.idle_ns = begun_ns + self._script.scenario.student_ns + added_ns
        self._advance(begun_ns + self._script.scenario.student_ns + added_ns)
        if make_error is not None:
            raise make_error()
        return boxes

    def _publish(self, boxes: Boxes, frame: Frame) -> None:
        at_ns = self._clock.elapsed_ns
        for number, fault in self._active(at_ns):
            if fault.breaks_publisher():
                self.record.strikes_ns.setdefault(number, at_ns)
                raise RuntimeError("the publisher is gone")
        self.record.outputs.append(Output(at_ns, self._begun_ns, frame.stamp_ns, frozenset(frame.images)))

    def _active(self, at_ns: int) -> Iterator[tuple[int, Fault]]:
        for number, fault in enumerate(self._script.scenario.faults):
            if fault.start_ns <= at_ns < fault.end_ns:
                yield number, fault


def _events(script: Script) -> Iterator[_Event]:
    """Arrivals, ticks and looks in the order of time."""
    arrivals: Iterator[_Event] = ((sent.arrival_ns, _ARRIVAL, sent) for sent in script.sent)
    ticks: Iterator[_Event] = ((at_ns, _TICK, None) for at_ns in range(TICK_NS, script.end_ns, TICK_NS))
    looks: Iterator[_Event] = ((at_ns, _LOOK, None) for at_ns in range(LOOK_NS, script.end_ns, LOOK_NS))
    return merge(arrivals, ticks, looks, key=lambda event: event[:2])
