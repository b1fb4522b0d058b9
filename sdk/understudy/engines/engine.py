"""The contract every runtime keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from understudy.closing import Closing
from understudy.errors import EngineError

Arrays = Mapping[str, NDArray[Any]]


class Fitting(Protocol):
    """What a numpy array and an array on a GPU say alike."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of an input or output; a string in the shape names a dimension that may vary."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def refuse_unless_fits(self, array: Fitting) -> None:
        """Raises EngineError when dtype, rank or a fixed dimension differs."""
        fits = array.dtype == np.dtype(self.dtype) and array.ndim == len(self.shape)
        if not fits or any(
            isinstance(want, int) and want != have for want, have in zip(self.shape, array.shape, strict=True)
        ):
            raise EngineError(
                f"input {self.name}", found=f"{array.dtype} {array.shape}", wanted=f"{self.dtype} {self.shape}"
            )

    def zeros(self, num_rows: int) -> NDArray[Any]:
        """An array that fits, with so many rows where the number is free."""
        shape = tuple(size if isinstance(size, int) else num_rows for size in self.shape)
        return np.zeros(shape, np.dtype(self.dtype))


class Engine(Protocol):
    """A loaded network: named arrays in, named arrays out.

    Outputs belong to the caller; an engine never writes to an array it has returned. Not thread-safe.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What must be fed."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What comes back."""

    @property
    def description(self) -> str:
        """Runtime, version, provider and threads, for records."""

    def __call__(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Runs once and waits for the result.

        Raises:
            EngineError: when an input is missing, unknown or does not fit.
        """

    def close(self) -> None:
        """Frees what the engine holds; further calls are an error."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class DescribedEngine(Closing):
    """The part of the contract that is the same for every engine: what it takes, says and is, set when it opens."""

    _inputs: tuple[TensorSpec, ...]
    _outputs: tuple[TensorSpec, ...]
    _description: str

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What must be fed."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What comes back."""
        return self._outputs

    @property
    def description(self) -> str:
        """Runtime, version, where it runs and threads."""
        return self._description


def check_feeds(specs: tuple[TensorSpec, ...], feeds: Mapping[str, Fitting]) -> None:
    """Refuses feeds whose names, dtypes or shapes differ from what the engine declares."""
    wanted = {spec.name for spec in specs}
    if wanted != set(feeds):
        raise EngineError("engine inputs", found=", ".join(sorted(feeds)), wanted=", ".join(sorted(wanted)))
    for spec in specs:
        spec.refuse_unless_fits(feeds[spec.name])
