"""Why messages were not used: the last reason, and how often each was given, in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

OTHER = "other reasons"
_MOST = 20
_LONGEST = 500
"""Characters of a reason; it may quote what a message says, a name of any length, say."""


@dataclass
class Reasons:
    """Reasons of one sensor.

    Attributes:
        last: the last one; empty when there was none.
        counts: how often each was given; beyond twenty different ones the new ones count as `OTHER`.
    """

    last: str = ""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def num(self) -> int:
        """How often any was given."""
        return sum(self.counts.values())

    def note(self, reason: str) -> None:
        """One more; what is too long is cut."""
        reason = reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 3]}..."
        self.last = reason
        is_new = reason not in self.counts and len(self.counts) >= _MOST
        self.counts[OTHER if is_new else reason] += 1


def let_go(error: BaseException) -> None:
    """Drops the tracebacks of an error that is dealt with, and of those behind it.

    A function that keeps the error it raises in a variable is a cycle with its traceback: the sweep it worked on, of
    megabytes, would stay until the garbage collector comes by.
    """
    behind: BaseException | None = error
    while behind is not None and behind.__traceback__ is not None:
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__
