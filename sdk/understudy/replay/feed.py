"""Messages of a bag into the intake of the live node, and what became of them, by topic."""

from __future__ import annotations

from collections import Counter
from typing import Any

from understudy.bags.reader import BagMessage, BagReader
from understudy.errors import BagError, FrameError, UnderstudyError
from understudy.frame import Frame
from understudy.live.accumulating import Matched
from understudy.live.intake import Decode, Intake
from understudy.replay.sources import Sources
from understudy.synchronization.matcher import Counts


class Feed:
    """Decodes messages and pushes them, each under the time at which the recorder got it.

    Args:
        reader: where messages come from.
        sources: which topic is which sensor.
        intake: reads, matches and accumulates, as on the vehicle.

    Attributes:
        reads: messages taken, by topic.
    """

    def __init__(self, reader: BagReader, sources: Sources, intake: Intake) -> None:
        self._reader, self._sources, self._intake = reader, sources, intake
        self.reads: Counter[str] = Counter(dict.fromkeys(sources, 0))
        self._kinds: dict[str, type[UnderstudyError]] = {}

    def push(self, message: BagMessage) -> tuple[list[Matched], bool]:
        """The sets that a message closes, and whether it could be read."""
        self.reads[message.topic] += 1
        refused = self._num_refused(message.topic)
        content = self._decoded(message)
        if message.topic == self._sources.motion:
            self._intake.push_motion(content)
            sets = self._intake.advance(message.log_time_ns)
        else:
            sets = self._intake.push(self._sources.sensor_of(message.topic), content, message.log_time_ns)
        return sets, self._num_refused(message.topic) == refused

    def flush(self) -> list[Matched]:
        """The sets that the end of the bag closes."""
        return self._intake.flush()

    def frame(self, matched: Matched, decode: Decode) -> Frame | None:
        """The frame of a set; None where it cannot be used, which is counted."""
        try:
            return self._intake.frame(matched, decode)
        except UnderstudyError as error:
            self._kinds.setdefault(str(error), type(error))
            return None

    def reject(self, matched: Matched, error: UnderstudyError) -> None:
        """Counts a set that the student could not use."""
        self._kinds.setdefault(str(error), type(error))
        self._intake.reject_set(matched, error)

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the messages, by topic."""
        sensors = self._intake.counts
        return {
            topic: self._motion_counts() if topic == self._sources.motion else sensors[self._sources.sensor_of(topic)]
            for topic in self._sources
        }

    @property
    def reasons(self) -> dict[str, int]:
        """Why messages were rejected and how many for each reason, those of the pivot first."""
        found: Counter[str] = Counter()
        for reasons in self._intake.reasons.values():
            found.update(reasons.counts)
        return dict(found)

    def first_error(self) -> UnderstudyError | None:
        """Why the first message of the pivot was rejected, if one was."""
        reason = next(iter(self._intake.reasons[self._sources.pivot].counts), None)
        return None if reason is None else self._kinds.get(reason, FrameError)(reason)

    def _decoded(self, message: BagMessage) -> Any:
        try:
            return self._reader.decode(message)
        except BagError as error:
            self._kinds.setdefault(str(error), BagError)
            return _Undecodable(error)

    def _num_refused(self, topic: str) -> int:
        if topic == self._sources.motion:
            return self._intake.num_motion_refused
        return self._intake.counts[self._sources.sensor_of(topic)].outcomes["rejected"]

    def _motion_counts(self) -> Counts:
        num, refused = self._intake.num_motion, self._intake.num_motion_refused
        counts = Counts(pushed=num)
        counts.outcomes["used"], counts.outcomes["rejected"] = num - refused, refused
        return counts


class _Undecodable:
    """In the place of a message whose bytes are none: whoever looks at it learns why, and counts it."""

    def __init__(self, error: BagError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error
