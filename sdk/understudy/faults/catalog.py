"""The one table of faults."""

from __future__ import annotations

from collections.abc import Mapping

from understudy.errors import InputError
from understudy.faults.content_faults import (
    ChangedLayout,
    ChangedResolution,
    CorruptJpeg,
    EmptyCloud,
    InfinitePoints,
    NanPoints,
    TruncatedCloud,
    WrongFrameId,
)
from understudy.faults.fault import Fault
from understudy.faults.stream_faults import (
    Burst,
    Delay,
    Drop,
    Duplicate,
    DyingPublisher,
    Freeze,
    FreezeStamps,
    QosMismatch,
    Reorder,
)
from understudy.faults.system_faults import (
    CallbackException,
    ClockJump,
    ClockJumpBack,
    EngineFailure,
    EngineHang,
    SimTimePause,
    SlowEngine,
)

STREAM_FAULTS: tuple[type[Fault], ...] = (
    *(Drop, Duplicate, Reorder, Delay, Freeze, FreezeStamps, Burst),
    *(NanPoints, InfinitePoints, EmptyCloud, TruncatedCloud, WrongFrameId),
    *(ChangedLayout, ChangedResolution, CorruptJpeg, QosMismatch, DyingPublisher),
)
"""Faults of one sensor's messages."""
SYSTEM_FAULTS: tuple[type[Fault], ...] = (
    *(ClockJump, ClockJumpBack, SimTimePause),
    *(CallbackException, EngineFailure, EngineHang, SlowEngine),
)
"""Faults of clocks, student and publisher."""
FAULTS: Mapping[str, type[Fault]] = {fault.kind: fault for fault in (*STREAM_FAULTS, *SYSTEM_FAULTS)}
"""By name. A scenario's number modulo their number is the fault that it is about."""


def fault_named(name: str) -> str:
    """The name, if it is one.

    Raises:
        InputError: when there is no such fault.
    """
    if name not in FAULTS:
        raise InputError("fault", found=name, wanted=f"one of {', '.join(FAULTS)}")
    return name
