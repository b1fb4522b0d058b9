"""The same scenarios behind ROS 2's stock Python ApproximateTimeSynchronizer: what it would have published.

It is flattered: its callback tells every bad message and skips it without raising, and its times are those of ours.
What is its own stays: all topics or nothing, the callback in the executor's thread, and a lock that an exception leaves
locked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from understudy.errors import UnderstudyError
from understudy.faults.drafts import CloudDraft, Draft, Sent
from understudy.faults.record import Output, Record
from understudy.faults.script import Script
from understudy.faults.stock_synchronizer import StockSynchronizer
from understudy.images import decode_image
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import Make
from understudy.plausibility import refuse_impossible_cloud
from understudy.rig import Camera

QUEUE_SIZE, SLOP_NS = 10, 100_000_000
_DEPTH = 5
"""Messages of a topic that the middleware keeps while a callback runs: keep last."""


class _WedgedError(Exception):
    """An exception has left the lock locked: nothing comes any more."""


def play_stock(script: Script, make: Make) -> Record:
    """What a node behind the stock synchronizer publishes in a scenario."""
    return _StockPlay(script, make).play()


class _StockPlay:
    def __init__(self, script: Script, make: Make) -> None:
        self._script, self._make = script, make
        self._record = Record()
        names = list(script.scenario.periods_ns)
        self._topics = {name: number for number, name in enumerate(names)}
        self._stock = StockSynchronizer(len(names), QUEUE_SIZE, SLOP_NS, self._answer)
        self._pending: dict[str, deque[Sent]] = {name: deque(maxlen=_DEPTH) for name in names}
        self._now_ns = 0

    def play(self) -> Record:
        try:
            for sent in self._script.sent:
                self._process_until(sent.arrival_ns)
                self._pending[sent.sensor].append(sent)
            self._process_until(self._script.end_ns)
        except _WedgedError:
            pass
        return self._record

    def _process_until(self, end_ns: int) -> None:
        """What waits is handed to callbacks one by one, in the thread that a callback keeps busy."""
        while self._now_ns <= end_ns:
            waiting = [queue[0] for queue in self._pending.values() if queue]
            if not waiting:
                return
            first = min(waiting, key=lambda sent: sent.arrival_ns)
            self._pending[first.sensor].popleft()
            self._now_ns = max(self._now_ns, first.arrival_ns)
            self._stock.add(self._topics[first.sensor], self._script.stamp_ns(first), first)

    def _answer(self, *messages: Sent) -> None:
        """The callback: student and publisher, as long as they take."""
        sweep, begun_ns = messages[0], self._now_ns
        if not all(self._is_usable(sent) for sent in messages) or self._is_old(sweep):
            return
        faults = [fault for fault in self._script.scenario.faults if fault.start_ns <= begun_ns < fault.end_ns]
        strikes = [fault.strike(begun_ns) for fault in faults]
        self._now_ns += self._script.scenario.student_ns + sum(strike.added_ns for strike in strikes)
        if any(strike.error for strike in strikes) or any(fault.breaks_publisher() for fault in faults):
            raise _WedgedError
        cameras = frozenset(sent.sensor for sent in messages[1:])
        self._record.outputs.append(Output(self._now_ns, begun_ns, self._script.stamp_ns(sweep), cameras))

    def _is_old(self, sweep: Sent) -> bool:
        clock = self._script.scenario.clock
        return clock.stamp_ns(self._now_ns) - self._script.stamp_ns(sweep) > self._script.scenario.deadline_ns

    def _is_usable(self, sent: Sent) -> bool:
        """Whether a callback that checks as ours does would use it."""
        return not sent.faulty or _is_good(sent.draft, self._script, sent.sensor, self._make)


def _is_good(draft: Draft, script: Script, sensor: str, make: Make) -> bool:
    entry = script.scenario.contents.rig.sensors[sensor]
    try:
        if isinstance(draft, CloudDraft):
            refuse_impossible_cloud(cloud_from_message(draft.message(make, 0)), sensor, None)
            return draft.frame_id == entry.frame_id
        height_px, width_px = decode_image(draft.jpeg.tobytes()).shape[:2]
    except UnderstudyError:
        return False
    fits = isinstance(entry, Camera) and (width_px, height_px) == (entry.width_px, entry.height_px)
    return fits and draft.frame_id == entry.frame_id


def published_share(script: Script, record: Record) -> tuple[int, int]:
    """Sweeps taken while faults lasted: how many were published, and how many there were."""
    stamps = {output.stamp_ns for output in record.outputs}
    sweeps = list(_sweeps_while_faulty(script))
    return sum(stamp_ns in stamps for stamp_ns in sweeps), len(sweeps)


def _sweeps_while_faulty(script: Script) -> Iterator[int]:
    seen = set()
    for sent in script.sent:
        if sent.sensor == script.scenario.lidar and script.start_ns <= sent.taken_ns < script.over_ns:
            stamp_ns = script.stamp_ns(sent)
            if stamp_ns not in seen:
                seen.add(stamp_ns)
                yield stamp_ns
