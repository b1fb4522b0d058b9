"""Whatever holds something that must be given back: engines, pipelines, bags."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType

from typing_extensions import Self


class Closing(ABC):
    """Is closed when its `with` block ends, whatever ended it."""

    @abstractmethod
    def close(self) -> None:
        """Gives everything back; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
