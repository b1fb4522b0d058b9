"""Feather tables: the one module that knows pyarrow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.errors import InputError, UnderstudyError

Columns = dict[str, NDArray[Any]]
_REMEDY = "pip install 'understudy[argoverse2]'"


def read_feather(path: Path, kinds: Mapping[str, str]) -> Columns:
    """The named columns of a Feather file, of equal length.

    Args:
        path: the file.
        kinds: numpy dtype that each wanted column becomes; "str" leaves Python strings in an object array.

    Raises:
        InputError: when the file is missing, is not Feather, lacks a column, or holds empty cells or other types.
        UnderstudyError: when pyarrow is not installed.
    """
    table = _table(path)
    missing = [name for name in kinds if name not in table.column_names]
    if missing:
        raise InputError(f"{path}", found=f"columns {', '.join(table.column_names)}", wanted=", ".join(missing))
    return {name: _column(path, name, table[name], kind) for name, kind in kinds.items()}


def write_feather(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Writes columns of equal length as a Feather table (version 2, uncompressed); strings as object arrays.

    Raises:
        UnderstudyError: when pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise UnderstudyError(f"{path}", found="no pyarrow", wanted="pyarrow 14 or newer", remedy=_REMEDY) from None
    table = pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def refuse_unless_finite(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Raises InputError naming file, column and count when a number is not finite."""
    for name, values in columns.items():
        wrong = 0 if values.dtype == object else int(np.count_nonzero(~np.isfinite(values)))
        if wrong:
            raise InputError(f"{path}: {name}", found=f"{wrong} values that are not finite", wanted="finite numbers")


def _table(path: Path) -> Any:
    try:
        import pyarrow
        from pyarrow import feather
    except ImportError:
        raise UnderstudyError(f"{path}", found="no pyarrow", wanted="pyarrow 14 or newer", remedy=_REMEDY) from None
    try:
        return feather.read_table(path, memory_map=False)
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file", wanted="a Feather table") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}", found=str(error), wanted="a Feather table", remedy="copy it again") from error


def _column(path: Path, name: str, column: Any, kind: str) -> NDArray[Any]:
    if column.null_count:
        raise InputError(f"{path}: {name}", found=f"{column.null_count} empty cells", wanted="a value in each row")
    values = column.to_numpy()
    wanted = np.dtype(object if kind == "str" else kind)
    if kind == "str" and not all(type(value) is str for value in values):
        raise InputError(f"{path}: {name}", found=f"values of type {column.type}", wanted="text")
    # Small integers may become larger ones or floats; stamps in a float column have lost their last digits already.
    if not np.can_cast(values.dtype, wanted, "same_kind"):
        raise InputError(f"{path}: {name}", found=f"values of type {values.dtype}", wanted=f"type {kind}")
    return np.asarray(values, wanted)
