"""The approximate-time rule of the C++ message filters, behind the same small interface as `Synchronizer`.

It gives whole sets only, each message in one set at most. Of the sets that overlap it picks one that no later message
can improve on, so it needs traffic on every topic and knows no timeout: where one camera dies, nothing is given any
more. `Synchronizer` is the one for a vehicle; this one is for those who must match what a C++ node with
`message_filters` would have matched.

Source: ROS 2 `message_filters`, the ApproximateTime policy: what it does, written down step by step in
docs/synchronization.md. Times are integers and the age penalty is a fraction, so comparisons are exact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from pydantic import Field

from understudy.configuration import Config
from understudy.errors import InputError
from understudy.synchronization.matcher import Counts, MatchedSet, Stamped, check_names

T = TypeVar("T")


class ApproximatePolicy(Config):
    """The rule's options, named as in C++ but with units."""

    queue_size: int = Field(10, ge=1)
    """Most messages of one topic that wait; the oldest goes first, and with it the candidate."""
    age_penalty: float = Field(0.1, ge=0)
    """How much shorter a later set must be to be preferred to an earlier one."""
    max_interval_ns: int | None = Field(None, ge=0)
    """Longest set that may become the first candidate; None for any."""
    jump_back_ns: int | None = Field(1_000_000_000, ge=0)
    """The clock that goes back by more has jumped: everything that waits is forgotten; None follows no jump."""


class _Topic(Generic[T]):
    """A topic's messages in order of arrival; the first `num_hidden` of them are set aside while the search goes on."""

    def __init__(self, offset_ns: int, lower_bound_ns: int) -> None:
        self.offset_ns = offset_ns
        self.lower_bound_ns = lower_bound_ns
        self.counts = Counts()
        self.messages: deque[Stamped[T]] = deque()
        self.num_hidden = 0
        self.has_dropped = False

    @property
    def has_head(self) -> bool:
        return len(self.messages) > self.num_hidden

    @property
    def head(self) -> Stamped[T]:
        return self.messages[self.num_hidden]

    def drop_oldest(self) -> None:
        self.messages.popleft()
        self.counts.settle("unmatched")

    def drop_hidden(self) -> None:
        while self.num_hidden:
            self.drop_oldest()
            self.num_hidden -= 1

    def take_oldest(self) -> None:
        self.num_hidden = 0
        self.messages.popleft()
        self.counts.settle("used")

    def virtual_ns(self, pivot_ns: int) -> int:
        """The earliest that the topic's next message can be: its head, or a bound for what has not come yet."""
        if self.has_head:
            return self.head.time_ns
        return max(self.messages[-1].time_ns + self.lower_bound_ns, pivot_ns)


@dataclass(frozen=True, eq=False)
class _Candidate(Generic[T]):
    """The best set so far, one message of each topic, and the topic that any better one must reach beyond."""

    members: tuple[Stamped[T], ...]
    start_ns: int
    end_ns: int
    pivot: int
    pivot_ns: int


class ApproximateTime(Generic[T]):
    """Sets of one message of each topic by the C++ ApproximateTime rule; deterministic in what is pushed.

    Args:
        pivot: name of the first topic; for the rule all topics are equal but for their number in a tie.
        cameras: names of the others.
        policy: queue size, age penalty, longest interval.
        offsets_ns: added to a sensor's stamps to get reference times; 0 where missing.
        lower_bounds_ns: least time between two messages of a topic; 0 where missing. Makes the rule faster, not other.

    Raises:
        InputError: when two topics share a name, or a lower bound is negative or of no topic.
    """

    def __init__(
        self,
        pivot: str,
        cameras: tuple[str, ...] = (),
        policy: ApproximatePolicy | None = None,
        offsets_ns: Mapping[str, int] | None = None,
        lower_bounds_ns: Mapping[str, int] | None = None,
    ) -> None:
        check_names(pivot, cameras)
        offsets_ns, bounds_ns = offsets_ns or {}, lower_bounds_ns or {}
        self._policy = policy or ApproximatePolicy()
        names = (pivot, *cameras)
        _check_bounds(bounds_ns, names)
        self._topics = {name: _Topic[T](offsets_ns.get(name, 0), bounds_ns.get(name, 0)) for name in names}
        self._ordered = tuple(self._topics.values())
        self._candidate: _Candidate[T] | None = None
        growth = 1 + Fraction(str(self._policy.age_penalty))
        self._later, self._earlier = growth.numerator, growth.denominator
        self._now_ns: int | None = None
        self.clock_jumps = 0
        """How often the clock has gone back by more than the policy's `jump_back_ns`."""

    @property
    def counts(self) -> dict[str, Counts]:
        """Counters by topic, the first one first."""
        return {name: topic.counts for name, topic in self._topics.items()}

    @property
    def next_deadline_ns(self) -> int | None:
        """None: time alone closes no set."""
        return None

    def push(self, sensor: str, stamp_ns: int, item: T, now_ns: int) -> list[MatchedSet[T]]:
        """Takes a message and gives the sets that it decides.

        Args:
            sensor: name of a topic.
            stamp_ns: stamp in the message's header.
            item: whatever the caller wants back.
            now_ns: the clock, which the rule does not look at but for jumps.

        Raises:
            KeyError: when there is no such topic.
        """
        topic = self._topics[sensor]
        entry = Stamped(stamp_ns + topic.offset_ns, item)
        closed = self.advance(now_ns)
        topic.counts.pushed += 1
        topic.counts.waiting += 1
        was_empty = not topic.has_head
        topic.messages.append(entry)
        if was_empty:
            closed += self._search()
        if len(topic.messages) > self._policy.queue_size:
            closed += self._make_room(topic)
        return closed

    def reject(self, sensor: str) -> None:
        """Counts a message that could not be read at all."""
        counts = self.counts[sensor]
        counts.pushed += 1
        counts.outcomes["rejected"] += 1

    def advance(self, now_ns: int) -> list[MatchedSet[T]]:
        """Nothing: time alone closes no set. A clock that has jumped back makes everything start anew."""
        jump_back_ns = self._policy.jump_back_ns
        if self._now_ns is None or now_ns >= self._now_ns:
            self._now_ns = now_ns
        elif jump_back_ns is not None and self._now_ns - now_ns > jump_back_ns:
            self._now_ns = now_ns
            self.clock_jumps += 1
            self.flush()
        return []

    def flush(self) -> list[MatchedSet[T]]:
        """Gives up on what waits; the rule gives no set that it could not decide."""
        self._candidate = None
        for topic in self._ordered:
            topic.num_hidden, topic.has_dropped = 0, False
            while topic.messages:
                topic.drop_oldest()
        return []

    def _make_room(self, topic: _Topic[T]) -> list[MatchedSet[T]]:
        for other in self._ordered:
            other.num_hidden = 0
        topic.drop_oldest()
        topic.has_dropped = True
        if self._candidate is None:
            return []
        self._candidate = None
        return self._search()

    def _search(self) -> list[MatchedSet[T]]:
        """Looks for sets until a topic has no message left to look at."""
        closed = []
        while all(topic.has_head for topic in self._ordered):
            heads_ns = [topic.head.time_ns for topic in self._ordered]
            start_ns, end_ns = min(heads_ns), max(heads_ns)
            first = heads_ns.index(start_ns)
            last = len(heads_ns) - 1 - heads_ns[::-1].index(end_ns)
            for number, topic in enumerate(self._ordered):
                topic.has_dropped = topic.has_dropped and number == last
            if self._candidate is None and not self._may_open(end_ns - start_ns, last):
                self._ordered[first].drop_oldest()
                continue
            candidate = self._better(start_ns, end_ns, last)
            self._ordered[first].num_hidden += 1
            if first == candidate.pivot or self._is_final(candidate, end_ns):
                closed.append(self._emit(candidate))
        return closed

    def _may_open(self, length_ns: int, last: int) -> bool:
        longest_ns = self._policy.max_interval_ns
        return (longest_ns is None or length_ns <= longest_ns) and not self._ordered[last].has_dropped

    def _better(self, start_ns: int, end_ns: int, last: int) -> _Candidate[T]:
        """The candidate after a look at the heads: the first one, or one that is better than what there was."""
        old = self._candidate
        if old is not None and not self._lags(end_ns - old.end_ns, start_ns - old.start_ns):
            return old
        pivot, pivot_ns = (last, end_ns) if old is None else (old.pivot, old.pivot_ns)
        members = tuple(topic.head for topic in self._ordered)
        for topic in self._ordered:
            topic.drop_hidden()
        self._candidate = _Candidate(members, start_ns, end_ns, pivot, pivot_ns)
        return self._candidate

    def _lags(self, end_ns: int, start_ns: int) -> bool:
        """Whether the end moves by so much less than the start that the later set is better, its age considered."""
        return end_ns * self._later < start_ns * self._earlier

    def _is_final(self, candidate: _Candidate[T], end_ns: int) -> bool:
        """Whether no set that is still to come can be better."""
        longest_ns = candidate.pivot_ns - candidate.start_ns
        if not self._lags(end_ns - candidate.end_ns, longest_ns):
            return True
        return not all(topic.has_head for topic in self._ordered) and self._looks_final(candidate, longest_ns)

    def _looks_final(self, candidate: _Candidate[T], longest_ns: int) -> bool:
        """The same, with the earliest that is possible in place of the messages that have not come."""
        hidden = [topic.num_hidden for topic in self._ordered]
        while True:
            times_ns = [topic.virtual_ns(candidate.pivot_ns) for topic in self._ordered]
            start_ns, lag_ns = min(times_ns), max(times_ns) - candidate.end_ns
            if not self._lags(lag_ns, longest_ns):
                return True
            if self._lags(lag_ns, start_ns - candidate.start_ns):
                break
            self._ordered[times_ns.index(start_ns)].num_hidden += 1
        for topic, num in zip(self._ordered, hidden, strict=True):
            topic.num_hidden = num
        return False

    def _emit(self, candidate: _Candidate[T]) -> MatchedSet[T]:
        """The members are the oldest of every topic, because what was older is gone."""
        for topic in self._ordered:
            topic.take_oldest()
        self._candidate = None
        named = dict(zip(self._topics, candidate.members, strict=True))
        pivot = next(iter(named))
        return MatchedSet(named.pop(pivot), named)


def _check_bounds(bounds_ns: Mapping[str, int], names: tuple[str, ...]) -> None:
    for name, value_ns in bounds_ns.items():
        if name not in names:
            raise InputError("lower bounds", found=name, wanted=f"one of {', '.join(names)}")
        if value_ns < 0:
            raise InputError(f"lower bound of {name}", found=f"{value_ns} ns", wanted="0 or more")
