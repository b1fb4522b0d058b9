"""What is heard on a topic: counts, stamps and sizes out of raw messages, without decoding megabytes of points."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

_NS_PER_S = 1_000_000_000
_STAMP_OFFSET, _FRAME_OFFSET = 4, 12
"""After the four bytes that begin every CDR message: std_msgs/Header is stamp, length of the frame id, frame id."""
_LONGEST_FRAME_ID = 1000
_NO_SEQUENCE = 2**64 - 1
"""`RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED`."""


@dataclass(frozen=True)
class Header:
    """`std_msgs/Header` of a message as it went over the wire."""

    stamp_ns: int
    frame_id: str


def header_of(raw: bytes) -> Header:
    """The header that a message begins with.

    Raises:
        ValueError: when the bytes cannot begin with one.
    """
    order = "<" if raw[1:2] and raw[1] & 1 else ">"
    try:
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", raw, _STAMP_OFFSET)
    except struct.error as error:
        raise ValueError(f"no header: {error}") from None
    if length > min(_LONGEST_FRAME_ID, len(raw)):
        raise ValueError(f"no header: a frame id of {length} bytes")
    name = raw[_FRAME_OFFSET + 4 : _FRAME_OFFSET + 4 + length].rstrip(b"\0")
    return Header(seconds * _NS_PER_S + nanoseconds, name.decode(errors="replace"))


@dataclass
class Heard:
    """Messages of one topic as they came.

    Attributes:
        arrivals_s: monotonic time of each.
        ages_s: of each, its stamp against the clock that nodes have.
        stamps_ns: of each.
        frame_ids: that occurred.
        largest_bytes: of any.
        first: the first message.
        unreadable: how many had no header.
        sequences: by publisher, the publisher's numbers of the messages that came.
    """

    arrivals_s: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    stamps_ns: list[int] = field(default_factory=list)
    frame_ids: dict[str, int] = field(default_factory=dict)
    largest_bytes: int = 0
    first: bytes = b""
    unreadable: int = 0
    sequences: dict[bytes, list[int]] = field(default_factory=dict)

    def add(self, raw: bytes, info: Mapping[str, object], arrival_s: float, now_ns: int) -> None:
        """Takes a message; `now_ns` is the time that nodes have."""
        self.first = self.first or raw
        self.arrivals_s.append(arrival_s)
        self.largest_bytes = max(self.largest_bytes, len(raw))
        self._count(info)
        try:
            header = header_of(raw)
        except ValueError:
            self.unreadable += 1
            return
        self.stamps_ns.append(header.stamp_ns)
        self.ages_s.append((now_ns - header.stamp_ns) / _NS_PER_S)
        self.frame_ids[header.frame_id] = self.frame_ids.get(header.frame_id, 0) + 1

    def _count(self, info: Mapping[str, object]) -> None:
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        if isinstance(number, int) and number != _NO_SEQUENCE:
            key = publisher.get("data", b"") if isinstance(publisher, Mapping) else b""
            self.sequences.setdefault(bytes(key), []).append(number)

    @property
    def num_messages(self) -> int:
        """All that came."""
        return len(self.arrivals_s)

    @property
    def num_lost(self) -> int:
        """Messages that publishers sent between the first and the last that came, and that did not come."""
        return sum(max(0, max(numbers) - min(numbers) + 1 - len(set(numbers))) for numbers in self.sequences.values())

    @property
    def rate_hz(self) -> float | None:
        """Mean rate of arrival; None of fewer than two."""
        span_s = self.arrivals_s[-1] - self.arrivals_s[0] if self.arrivals_s else 0.0
        return (self.num_messages - 1) / span_s if span_s > 0 else None

    @property
    def sent_hz(self) -> float | None:
        """The rate at which publishers sent, as far as their numbers tell."""
        return None if self.rate_hz is None else self.rate_hz * (1 + self.num_lost / self.num_messages)

    @property
    def age_s(self) -> float | None:
        """Median age; negative: the stamps are ahead."""
        return median(self.ages_s) if self.ages_s else None

    @property
    def longest_gap_s(self) -> float:
        """Between two messages that followed each other."""
        pairs = zip(self.arrivals_s, self.arrivals_s[1:], strict=False)
        return max((after - before for before, after in pairs), default=0.0)

    @property
    def num_backward(self) -> int:
        """Messages whose stamp is not after that of the one before."""
        return sum(after <= before for before, after in zip(self.stamps_ns, self.stamps_ns[1:], strict=False))
