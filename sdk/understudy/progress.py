"""Progress without printing in libraries: a library takes a `Track`, a command passes the one that draws bars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Wraps an iterable and may show how far it is."""

    def __call__(self, items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
        """The same items, in the same order."""


def silent(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Shows nothing; the default of every library function."""
    return items


def bar(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """A progress bar on the terminal; one line of text where output is not a terminal."""
    from rich.console import Console
    from rich.progress import track

    return track(items, f"  {description}", total=total, console=Console(stderr=True), refresh_per_second=4)
