"""What rosbags and its storages raise, as one `BagError`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import apsw
from rosbags.highlevel import AnyReaderError
from rosbags.rosbag2 import ReaderError, WriterError
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError

from understudy.bags.zstandard_frames import ZstdError
from understudy.errors import BagError

_SAID = (AnyReaderError, ReaderError, WriterError, SerdeError, TypesysError, apsw.Error, ZstdError, OSError)
_STUMBLED = (
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(AssertionError, EOFError, MemoryError, RuntimeError, struct.error),
)
"""What a parser written for whole bags runs into when its bytes are damaged."""


@contextmanager
def bag_errors(what: str, wanted: str | None = None, remedy: str = "") -> Iterator[None]:
    """Turns everything that a damaged or foreign bag can raise into a `BagError` about `what`."""
    try:
        yield
    except _SAID as error:
        raise BagError(what, found=str(error) or type(error).__name__, wanted=wanted, remedy=remedy) from error
    except _STUMBLED as error:
        found = f"damaged data ({type(error).__name__}: {error})"
        raise BagError(what, found=found, wanted=wanted, remedy=remedy) from error
