"""Files with one stamp per line, as integer nanoseconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path

from understudy.datasets.files import read_text
from understudy.errors import InputError

_NS_PER_S = 1_000_000_000
_LATEST_S = 4_102_444_800
"""The year 2100."""


def microseconds_ns(stamp_s: float) -> int:
    """Seconds since 1970 as nanoseconds, rounded to whole microseconds: what a float of them still resolves."""
    return round(float(stamp_s) * 1e6) * 1000


def read_dates_ns(path: Path) -> tuple[int, ...]:
    """Lines such as `2011-09-26 13:02:25.951199337`, UTC, as nanoseconds since 1970; no digit is lost.

    Raises:
        InputError: naming file and line, when one is no date or not later than the line before.
    """
    return _ascending(path, _date_ns, "a date such as 2011-09-26 13:02:25.951199337")


def read_seconds_ns(path: Path) -> tuple[int, ...]:
    """Lines of seconds, such as `1.037359e-01`, as nanoseconds.

    Raises:
        InputError: naming file and line, when one is no number or not above the line before.
    """
    return _ascending(path, _seconds_ns, "seconds")


def _ascending(path: Path, parse: Callable[[str], int], wanted: str) -> tuple[int, ...]:
    stamps_ns: list[int] = []
    for number, line in enumerate(read_text(path).rstrip().splitlines(), start=1):
        try:
            stamp_ns = parse(line.strip())
        except (ValueError, InvalidOperation, OverflowError):
            raise InputError(f"{path} line {number}", found=repr(line[:60]), wanted=wanted) from None
        if stamps_ns and stamp_ns <= stamps_ns[-1]:
            found = f"{line.strip()}, not after line {number - 1}"
            raise InputError(f"{path} line {number}", found=found, wanted="ascending stamps")
        stamps_ns.append(stamp_ns)
    return tuple(stamps_ns)


def _date_ns(text: str) -> int:
    whole, _, fraction = text.partition(".")
    moment = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    if len(fraction) > 9 or (fraction and not fraction.isdecimal()):
        raise ValueError(text)
    return int(moment.timestamp()) * _NS_PER_S + int(fraction.ljust(9, "0"))


def _seconds_ns(text: str) -> int:
    seconds = Decimal(text)
    if not 0 <= seconds <= _LATEST_S:
        raise ValueError(text)
    return int((seconds * _NS_PER_S).to_integral_value())
