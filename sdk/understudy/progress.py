"""Progress without printing in libraries: a library takes a `Track`, a command passes the one that draws bars."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Protocol, TypeVar

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


class PhaseBars:
    """Bars on the terminal for phases that come and go, each with its number of steps; for `with`, from any thread."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("  {task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), refresh_per_second=4, transient=True)
        self._tasks: dict[str, Any] = {}
        self._is_started = False

    def start(self, phase: str, parent: str | None, num_steps: int) -> None:
        """A phase begins, within another one or by itself."""
        if self._progress.console.is_interactive:
            self._progress.start()  # again and again is harmless
            self._is_started = True
        self._tasks[phase] = self._progress.add_task(f"{'  ' * (parent is not None)}{phase}", total=num_steps)

    def step(self, phase: str, step: int) -> None:
        """It has come so far, from 0."""
        if phase in self._tasks:
            self._progress.update(self._tasks[phase], completed=step + 1)

    def finish(self, phase: str) -> None:
        """It ends; its bar goes."""
        task = self._tasks.pop(phase, None)
        if task is not None:
            self._progress.remove_task(task)

    def __enter__(self) -> PhaseBars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_started:  # else it would print an empty line
            self._progress.stop()
