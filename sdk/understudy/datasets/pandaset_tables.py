"""What PandaSet's files hold, checked where it is read: columns of points, stamps, cuboids, names of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, RootModel

from understudy.configuration import check_config
from understudy.datasets.files import BROKEN_ARRAYS, read_json
from understudy.errors import InputError

_FORWARD_SENSOR = 1
_FARTHEST_M = 1e7
_LONGEST_SWEEP_S = 1.0
_POINT_KINDS = {**dict.fromkeys("xyz", "f"), "i": "iuf", "t": "f", "d": "iu"}

Meters = Annotated[float, Field(ge=-_FARTHEST_M, le=_FARTHEST_M)]
Side = Annotated[float, Field(ge=0, le=1000)]


class Cuboid(BaseModel):
    """A labeled object in the world's axes, as its record names its fields; others are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    label: str
    uuid: str = Field(pattern="^[0-9a-fA-F-]{16,}$")
    sensor: int = Field(alias="cuboids.sensor_id")
    x: Meters = Field(alias="position.x")
    y: Meters = Field(alias="position.y")
    z: Meters = Field(alias="position.z")
    length: Side = Field(alias="dimensions.y")
    width: Side = Field(alias="dimensions.x")
    height: Side = Field(alias="dimensions.z")
    yaw: float

    @property
    def geometry(self) -> tuple[float, ...]:
        """Center, length, width, height, yaw."""
        return (self.x, self.y, self.z, self.length, self.width, self.height, self.yaw)

    @property
    def track_id(self) -> int:
        """The first 63 bits of its identity."""
        return int(self.uuid.replace("-", "")[:16], 16) >> 1


class _Cuboids(RootModel[list[Cuboid]]):
    pass


def read_cuboids(path: Path) -> list[Cuboid]:
    """The cuboids of a frame, without those that only the forward LiDAR saw.

    Raises:
        InputError: naming file, record and field, when one is missing, of another type, not finite or negative.
    """
    content = read_json(path)
    records = content["cuboids"] if isinstance(content, dict) and "cuboids" in content else content
    wanted = {field.alias or name for name, field in Cuboid.model_fields.items()}
    if not isinstance(records, list) or any(not isinstance(one, dict) or not wanted <= set(one) for one in records):
        raise InputError(f"{path}", found="records without these keys", wanted=", ".join(sorted(wanted)))
    cuboids = check_config(records, _Cuboids, f"{path}").root
    return [cuboid for cuboid in cuboids if cuboid.sensor != _FORWARD_SENSOR]


def read_stamps_s(path: Path) -> NDArray[np.float64]:
    """`(N,)` seconds since 1970, of which PandaSet has one per frame.

    Raises:
        InputError: when the file holds something else than finite numbers that ascend.
    """
    content = read_json(path)
    if not isinstance(content, list) or not all(type(value) in {int, float} for value in content):
        raise InputError(f"{path}", found=f"{str(content)[:60]}", wanted="a list of seconds")
    stamps_s = np.array(content, np.float64)
    if not np.isfinite(stamps_s).all():
        raise InputError(f"{path}", found="a stamp that is not finite", wanted="seconds since 1970")
    backward = np.flatnonzero(np.diff(stamps_s) <= 0)
    if len(backward):
        row = int(backward[0]) + 1
        found = f"stamp {row} is {stamps_s[row]:.6f}, after {stamps_s[row - 1]:.6f}"
        raise InputError(f"{path}", found=found, wanted="ascending stamps")
    return stamps_s


def read_points(path: Path, stamp_s: float) -> dict[str, NDArray[Any]]:
    """`(N,)` columns x, y, z (world), i, t (seconds since 1970) and d (which LiDAR) of a sweep.

    Raises:
        InputError: when the file is missing or malformed, a value is not finite, or points are not of the stamp.
    """
    columns = read_arrays(path, tuple(_POINT_KINDS))
    for name, kinds in _POINT_KINDS.items():
        _refuse_other_kind(path, name, columns[name], kinds)
    off_s = np.abs(columns["t"] - stamp_s).max(initial=0.0)
    if off_s > _LONGEST_SWEEP_S:
        found = f"a point fired {off_s:.6g} s from the sweep's stamp"
        raise InputError(f"{path}: t", found=found, wanted=f"within {_LONGEST_SWEEP_S:g} s, in seconds since 1970")
    return columns


def read_point_classes(folder: Path, number: int, num_points: int) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """`(N,)` index of each point's class into the names, -1 for none; and the names.

    Raises:
        InputError: when a file is missing or malformed, or does not fit the sweep or the names.
    """
    names = _read_class_names(folder / "classes.json")
    path = folder / f"{number:02d}.npz"
    classes = read_arrays(path, ("class",))["class"]
    _refuse_other_kind(path, "class", classes, "iu")
    if len(classes) != num_points:
        raise InputError(f"{path}", found=f"{len(classes)} classes", wanted=f"{num_points}, one per point")
    if len(classes) and not (classes.min() >= 0 and classes.max() <= len(names)):
        found = f"classes {classes.min()} to {classes.max()}"
        raise InputError(f"{path}", found=found, wanted=f"0 to {len(names)}, the numbers in classes.json")
    return classes.astype(np.int16) - np.int16(1), names


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The named arrays of an npz file, of equal length; nothing is unpickled.

    Raises:
        InputError: when the file is missing, is not npz, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in names}
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file") from None
    except KeyError as error:
        raise InputError(f"{path}", found=f"no array {error}", wanted=", ".join(names)) from None
    except BROKEN_ARRAYS as error:
        raise InputError(f"{path}", found=str(error), wanted="an npz file without pickled objects") from error
    if any(values.ndim != 1 for values in arrays.values()):
        found = ", ".join(f"{name} of shape {values.shape}" for name, values in arrays.items() if values.ndim != 1)
        raise InputError(f"{path}", found=found, wanted="arrays of one dimension")
    if len({len(values) for values in arrays.values()}) != 1:
        found = ", ".join(f"{name} {len(values)}" for name, values in arrays.items())
        raise InputError(f"{path}", found=found, wanted="arrays of equal length")
    return arrays


def _read_class_names(path: Path) -> tuple[str, ...]:
    content = read_json(path)
    numbers = [str(number) for number in range(1, len(content) + 1)] if isinstance(content, dict) else []
    if not numbers or set(content) != set(numbers) or not all(isinstance(name, str) for name in content.values()):
        raise InputError(f"{path}", found=f"{str(content)[:60]}", wanted="a name for each number from 1 on")
    return tuple(content[number] for number in numbers)


def _refuse_other_kind(path: Path, name: str, values: NDArray[Any], kinds: str) -> None:
    if values.dtype.kind not in kinds:
        wanted = "floats" if kinds == "f" else "whole numbers" if kinds == "iu" else "numbers"
        raise InputError(f"{path}: {name}", found=f"values of type {values.dtype}", wanted=wanted)
    wrong = int(np.count_nonzero(~np.isfinite(values)))
    if wrong:
        found = f"{wrong} of {len(values)} values that are not finite"
        raise InputError(f"{path}: {name}", found=found, wanted="finite numbers", remedy="copy the file again")
