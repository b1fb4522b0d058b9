"""What an official metric says, and what every benchmark offers: writing its result files and scoring them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from understudy.configuration import Config, write_json
from understudy.converters.class_maps import ClassChoice
from understudy.datasets.dataset import Dataset, Sample

Predictions = Iterable[tuple[Sample, Any]]
"""Samples with what was predicted: `Boxes` in ego, or for segmentation the `Segments` of the benchmark's LiDAR."""

_NAME_COLUMNS, _CELL_COLUMNS, _MAX_CELLS = 40, 12, 5


class OfficialResult(Config):
    """An official score with what it was measured on; equal files give equal records."""

    schema_version: Literal[1] = 1
    metric: str
    """Name of the benchmark."""
    data: str
    """Fingerprint of the data set."""
    num_frames: int
    values: dict[str, float | None]
    """Flat names such as `Car/3d/R40/moderate` or `NDS`; None where the metric says nothing (no labels of the kind)."""
    decimals: int = 4
    """Digits behind the point that its official tables print: 2 for percents, 4 for shares of one."""

    def write(self, path: Path) -> None:
        """Writes the record as JSON.

        Raises:
            InputError: when the file cannot be written.
        """
        write_json(path, self)


WriteResults = Callable[[Path, Dataset, Predictions], None]
"""Writes the official submission format into a folder, which is made; raises `UnderstudyError` when it cannot."""
ScoreResults = Callable[[Path, Dataset], OfficialResult]
"""Reads files of that format and scores them against the data set's own labels; raises `UnderstudyError`."""


@dataclass(frozen=True)
class Benchmark:
    """An official benchmark.

    Attributes:
        name: as the command line has it.
        write_results: writes predictions in the official submission format.
        score_results: scores such files.
        predicts: whether predictions are boxes or segments.
        classes: the class map that its data set is opened with.
    """

    name: str
    write_results: WriteResults
    score_results: ScoreResults
    predicts: Literal["boxes", "segments"] = "boxes"
    classes: ClassChoice | None = "official"


def describe(result: OfficialResult) -> list[str]:
    """The values as text of at most 100 columns: names that differ only in their last part share a line."""
    lines = [f"{result.metric}: {result.num_frames} frames, data {result.data[:12]}"]
    columns: tuple[str, ...] = ()
    for name, cells in _rows(result.values):
        if not columns or tuple(cells) != columns:
            columns = tuple(cells)
            lines += [] if columns == ("",) else [_line("", columns)]
        lines.append(_line(name, [_number(value, result.decimals) for value in cells.values()]))
    return lines


def _rows(values: Mapping[str, float | None]) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Lines of the table in the order of the values, each with at most as many cells as fit."""
    groups: dict[str, dict[str, float | None]] = {}
    for name, value in values.items():
        row, _, column = name.rpartition("/")
        groups.setdefault(row or name, {})[column if row else ""] = value
    for row, cells in groups.items():
        items = list(cells.items())
        for start in range(0, len(items), _MAX_CELLS):
            yield row, dict(items[start : start + _MAX_CELLS])


def _line(name: str, cells: Iterable[str]) -> str:
    columns = "".join(f"{cell[: _CELL_COLUMNS - 1]:>{_CELL_COLUMNS}s}" for cell in cells)
    return f"  {name[: _NAME_COLUMNS - 2]:{_NAME_COLUMNS - 2}s}{columns}".rstrip()


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
