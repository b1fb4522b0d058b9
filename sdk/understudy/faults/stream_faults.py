"""Faults of when and whether messages arrive."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from understudy.faults.drafts import Sent
from understudy.faults.fault import Fault, Situation, drawn_ns, span_of

SURE_SHARE = 0.9
"""From this share of messages on, what happens to them is no longer a matter of luck."""


@dataclass(frozen=True, kw_only=True)
class Drop(Fault):
    """Some or all messages are lost."""

    kind, on = "drop", "any"
    share: float

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> Drop:
        """All of them in two of three cases."""
        share = 1.0 if rng.random() < 0.67 else float(rng.uniform(0.1, 0.8))
        return cls(target=where.target, **span_of(where), share=share, must_be_named=share >= SURE_SHARE)

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """Those that are left."""
        return [one for one in sent if rng.random() >= self.share]


@dataclass(frozen=True, kw_only=True)
class DyingPublisher(Fault):
    """The publisher is gone; another one comes at the end."""

    kind, on = "dying_publisher", "any"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> DyingPublisher:
        """Nothing to draw."""
        return cls(target=where.target, **span_of(where))

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """Nothing is sent."""
        return []


@dataclass(frozen=True, kw_only=True)
class QosMismatch(DyingPublisher):
    """The publisher offers less than the subscription asks for, so the topic delivers nothing."""

    kind, on = "qos_mismatch", "any"


@dataclass(frozen=True, kw_only=True)
class Duplicate(Fault):
    """Messages arrive more than once."""

    kind, on = "duplicate", "any"
    copies: int
    apart_ns: int

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> Duplicate:
        """One to three copies, up to a period late."""
        copies, apart_ns = int(rng.integers(1, 4)), drawn_ns(rng, 0, 40)
        return cls(target=where.target, **span_of(where), copies=copies, apart_ns=apart_ns, must_be_named=False)

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """Each with its copies."""
        return [
            one if copy == 0 else one.but(arrival_ns=one.arrival_ns + copy * self.apart_ns)
            for one in sent
            for copy in range(self.copies + 1)
        ]


@dataclass(frozen=True, kw_only=True)
class Reorder(Fault):
    """Messages overtake each other."""

    kind, on = "reorder", "any"
    width: int

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> Reorder:
        """Within groups of two to four."""
        width = int(rng.integers(2, 5))
        return cls(target=where.target, **span_of(where), width=width, must_be_named=False)

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """In each group the last comes first, where the first would have come when all of them are there."""
        made = []
        for begin in range(0, len(sent), self.width):
            group = sent[begin : begin + self.width]
            made += [one.but(arrival_ns=group[-1].arrival_ns + place) for place, one in enumerate(reversed(group))]
        return made


@dataclass(frozen=True, kw_only=True)
class Delay(Fault):
    """Messages arrive late, each a little differently."""

    kind, on = "delay", "any"
    delay_ns: int
    jitter_ns: int

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> Delay:
        """Up to 900 ms; it must be named when nothing arrives in time any more."""
        delay_ns, jitter_ns = drawn_ns(rng, 20, 900), drawn_ns(rng, 0, 30)
        useless_ns = where.max_wait_ns + 100_000_000 if where.is_camera else where.deadline_ns
        named = delay_ns > useless_ns
        return cls(target=where.target, **span_of(where), delay_ns=delay_ns, jitter_ns=jitter_ns, must_be_named=named)

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """The same messages, later."""
        late_ns = [self.delay_ns + int(rng.integers(0, self.jitter_ns + 1)) for _ in sent]
        return [one.but(arrival_ns=one.arrival_ns + by_ns) for one, by_ns in zip(sent, late_ns, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Burst(Fault):
    """Messages are held back and then come all at once."""

    kind, on = "burst", "any"
    hold_ns: int

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> Burst:
        """Held for two periods to a second."""
        hold_ns = drawn_ns(rng, 200, 1000)
        return cls(target=where.target, **span_of(where), hold_ns=hold_ns, must_be_named=False)

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """In their order, at the end of each hold."""
        groups: dict[int, list[Sent]] = defaultdict(list)
        for one in sent:
            groups[(one.taken_ns - self.start_ns) // self.hold_ns].append(one)
        made = []
        for number, group in groups.items():
            release_ns = self.start_ns + (number + 1) * self.hold_ns
            latest_ns = max(release_ns, group[-1].arrival_ns)
            made += [one.but(arrival_ns=latest_ns + place) for place, one in enumerate(group)]
        return made


@dataclass(frozen=True, kw_only=True)
class Freeze(Fault):
    """The sensor repeats its last message, with new stamps: what a driver does whose sensor is dead."""

    kind, on = "freeze_new_stamps", "any"

    @classmethod
    def draw(cls, rng: np.random.Generator, where: Situation) -> Freeze:
        """Noticed when there were as many copies as are too many, and one more period."""
        notice_ns = FROZEN_AFTER * where.periods_ns[where.target]
        return cls(target=where.target, **span_of(where), notice_ns=notice_ns)

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """The first one's content in all of them."""
        return [
            one.but(draft=sent[0].draft, content=sent[0].content) if place else one for place, one in _numbered(sent)
        ]


@dataclass(frozen=True, kw_only=True)
class FreezeStamps(Freeze):
    """The sensor repeats its last message, stamp and all."""

    kind, on = "freeze_same_stamps", "any"

    def alter(self, sent: list[Sent], rng: np.random.Generator) -> list[Sent]:
        """The first one again and again."""
        return [
            replace(sent[0], arrival_ns=one.arrival_ns, faulty=True) if place else one for place, one in _numbered(sent)
        ]


FROZEN_AFTER = 3
"""Copies with new stamps that are too many: `refuse_frozen_after` of the scenarios' streams."""


def _numbered(sent: list[Sent]) -> list[tuple[int, Sent]]:
    return list(enumerate(sent))
