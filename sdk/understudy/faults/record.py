"""What was seen of a stream while a scenario lasted, from inside of the process or from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from understudy.live.tally import Level


@dataclass(frozen=True)
class Output:
    """A result that was published. Times are since the scenario began, on a clock that never jumps.

    Attributes:
        at_ns: when.
        begun_ns: when the student began with it.
        stamp_ns: that it carries.
        cameras: whose pictures were in its frame; None where that cannot be seen.
    """

    at_ns: int
    begun_ns: int
    stamp_ns: int
    cameras: frozenset[str] | None = None


@dataclass(frozen=True)
class Look:
    """A look at the diagnostics.

    Attributes:
        at_ns: when, since the scenario began.
        level: of the verdict.
        message: of the verdict.
        at_fault: names that it finds at fault; None where only the message tells.
        adds_up: whether every sensor's counts do.
        received: messages of each sensor, as the stream counts them; None where it does not tell.
        pushed: messages of each sensor that were pushed by then.
        held: messages and frames that somebody still holds; None where that cannot be seen.
    """

    at_ns: int
    level: Level
    message: str
    at_fault: tuple[str, ...] | None = None
    adds_up: bool = True
    received: Mapping[str, int] | None = None
    pushed: Mapping[str, int] = field(default_factory=dict)
    held: int | None = None


@dataclass
class Record:
    """All that was seen.

    Attributes:
        outputs: in their order.
        looks: in their order.
        strikes_ns: by number of the fault, when it first hit the student or the publisher.
        idle_ns: when the student came back from the last run that a fault had hit.
        crash: what came out of the stream although nothing should; empty when nothing did.
        stuck: what did not answer any more; empty when everything did.
        memory: how memory grew, where that was more than it may; empty when it did not.
        late_ns: in real time, by how much whoever played it was late at worst; None under a virtual clock.
    """

    outputs: list[Output] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    strikes_ns: dict[int, int] = field(default_factory=dict)
    idle_ns: int = 0
    crash: str = ""
    stuck: str = ""
    memory: str = ""
    late_ns: int | None = None
