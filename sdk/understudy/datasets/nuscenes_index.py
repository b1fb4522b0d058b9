"""nuScenes' official tables, read once and kept small: which files a sample has, and where its sensors were.

Source: the schema of H. Caesar et al., "nuScenes: a multimodal dataset for autonomous driving" (CVPR 2020). The large
tables are reduced record by record while they are parsed: of `sample_data` the LiDAR's sweeps and the cameras' key
frames stay, of `ego_pose` what those need.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from understudy.datasets.files import read_text
from understudy.errors import GeometryError, InputError
from understudy.pose import Pose

T = TypeVar("T")
_LATEST_US = 4_102_444_800_000_000
"""The year 2100."""


class SensorData(NamedTuple):
    """One file of a sensor: a record of `sample_data`."""

    token: str
    sample_token: str
    ego_pose_token: str
    calibration_token: str
    channel: str
    stamp_ns: int
    filename: str
    prev: str
    size_px: tuple[int, int] | None


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where a sensor sits, and a camera's matrix: a record of `calibrated_sensor` with its `sensor`.

    Attributes:
        channel: name of the sensor, such as LIDAR_TOP.
        modality: lidar, camera or radar.
        ego_from_sensor: the mounting.
        camera_matrix: `(3, 3)` in pixels; None for a sensor that is no camera.
    """

    channel: str
    modality: str
    ego_from_sensor: Pose
    camera_matrix: NDArray[np.float64] | None


@dataclass(frozen=True)
class SceneRecord:
    """A drive of some 20 s."""

    name: str
    first_sample_token: str
    description: str
    location: str
    num_samples: int


@dataclass(frozen=True)
class SampleRecord:
    """A key frame: its scene, and the token of each sensor's file by channel."""

    token: str
    scene: SceneRecord
    data: dict[str, str]


class NuscenesIndex:
    """The tables of one version folder, such as `v1.0-mini`.

    Attributes:
        folder: the version folder.
        samples: key frames, scene by scene in the order of `scene.json`, each scene in the order of time.
        data: files by token: the LiDAR's sweeps, the cameras' key frames.
        calibrations: by token.
        sample_stamps_ns: time of each sample by token, as `sample.json` has it.

    Raises:
        InputError: naming table and record, when a table is missing, a record lacks a field or names a record that is
            not there, or a scene's stamps do not ascend.
    """

    def __init__(self, folder: Path, lidar: str) -> None:
        self.folder, self._lidar = folder, lidar
        self.calibrations = self._read_calibrations()
        self.data = {row.token: row for row in read_rows(folder / "sample_data.json", self._wanted_data)}
        self._pose_rows, self._poses = self._read_poses()
        following = dict(read_rows(folder / "sample.json", _sample_links))
        self.sample_stamps_ns = {token: stamp_ns for token, (_, stamp_ns) in following.items()}
        key_data = self._key_data()
        self.samples = [sample for scene in self._read_scenes() for sample in self._chain(scene, key_data, following)]
        if not self.samples:
            raise InputError(f"{folder / 'scene.json'}", found="no scenes", wanted="at least one")

    def sensor_data(self, token: str, wanted_by: str) -> SensorData:
        """A file's record; `wanted_by` says in the message who named it."""
        return self._found("sample_data", self.data, token, wanted_by)

    def world_from_ego(self, data: SensorData) -> Pose:
        """Where the vehicle was when a file was taken."""
        values = self._poses[self._found("ego_pose", self._pose_rows, data.ego_pose_token, f"sample_data {data.token}")]
        try:
            return Pose.from_quaternion(values[3:], values[:3])
        except GeometryError as error:
            raise InputError(
                f"{self.folder / 'ego_pose.json'}: token {data.ego_pose_token}", found=f"{error}"
            ) from None

    def calibration(self, data: SensorData) -> Calibration:
        """The calibration a file was taken with."""
        return self._found("calibrated_sensor", self.calibrations, data.calibration_token, f"sample_data {data.token}")

    def _read_calibrations(self) -> dict[str, Calibration]:
        sensors = dict(read_rows(self.folder / "sensor.json", lambda row: (*texts(row, "token"), row)))

        def calibration(row: dict[str, Any]) -> tuple[str, Calibration]:
            sensor = self._found("sensor", sensors, row["sensor_token"], f"calibrated_sensor {row['token']}")
            (own,) = texts(row, "token")
            channel, modality = texts(sensor, "channel", "modality")
            matrix = np.array(row["camera_intrinsic"], np.float64) if row["camera_intrinsic"] else None
            if matrix is not None and matrix.shape != (3, 3):
                raise ValueError(f"camera_intrinsic of shape {matrix.shape}")
            mounting = Pose.from_quaternion(row["rotation"], row["translation"])
            return own, Calibration(channel, modality, mounting, matrix)

        return dict(read_rows(self.folder / "calibrated_sensor.json", calibration))

    def _wanted_data(self, row: dict[str, Any]) -> SensorData | None:
        calibration = self._found(
            "calibrated_sensor", self.calibrations, row["calibrated_sensor_token"], f"sample_data {row['token']}"
        )
        if calibration.channel != self._lidar and not (calibration.modality == "camera" and row["is_key_frame"]):
            return None
        token, sample, ego_pose, filename, prev = texts(
            row, "token", "sample_token", "ego_pose_token", "filename", "prev"
        )
        if not filename:
            raise ValueError("an empty filename")
        return SensorData(
            token=token,
            # Only key frames belong to their sample; a sweep names the sample it lies nearest to.
            sample_token=sample if row["is_key_frame"] else "",
            ego_pose_token=ego_pose,
            calibration_token=row["calibrated_sensor_token"],
            channel=calibration.channel,
            stamp_ns=_stamp_ns(row),
            filename=filename,
            prev=prev,
            size_px=(int(row["width"]), int(row["height"])) if calibration.modality == "camera" else None,
        )

    def _read_poses(self) -> tuple[dict[str, int], NDArray[np.float64]]:
        """Row of each wanted token, and `(M, 7)` positions and quaternions."""
        wanted = {row.ego_pose_token for row in self.data.values()}

        def pose(row: dict[str, Any]) -> tuple[str, list[float]] | None:
            if row["token"] not in wanted:
                return None
            values = [*row["translation"], *row["rotation"]]
            # Millions of records: the cheap half of what a Pose checks; the rest when it is made.
            if len(values) != 7 or not math.isfinite(sum(values)):
                raise ValueError(f"pose {values}")
            return row["token"], values

        rows = read_rows(self.folder / "ego_pose.json", pose)
        return {token: number for number, (token, _) in enumerate(rows)}, np.array([values for _, values in rows])

    def _key_data(self) -> dict[str, dict[str, str]]:
        keyed: dict[str, dict[str, str]] = {}
        for row in self.data.values():
            if row.sample_token:
                keyed.setdefault(row.sample_token, {})[row.channel] = row.token
        return keyed

    def _read_scenes(self) -> list[SceneRecord]:
        logs = dict(read_rows(self.folder / "log.json", lambda row: texts(row, "token", "location")))

        def scene(row: dict[str, Any]) -> SceneRecord:
            name, first, description = texts(row, "name", "first_sample_token", "description")
            location = self._found("log", logs, row["log_token"], f"scene {name}")
            return SceneRecord(name, first, description, location, int(row["nbr_samples"]))

        return read_rows(self.folder / "scene.json", scene)

    def _chain(
        self, scene: SceneRecord, key_data: dict[str, dict[str, str]], links: dict[str, tuple[str, int]]
    ) -> list[SampleRecord]:
        """A scene's samples, from the first along `next`."""
        samples: list[SampleRecord] = []
        token, latest_ns, wanted_by = scene.first_sample_token, -1, f"scene {scene.name}"
        while token:
            following, _ = self._found("sample", links, token, wanted_by)
            data = key_data.get(token, {})
            if self._lidar not in data:
                raise InputError(f"{self.folder / 'sample_data.json'}: sample {token}", found=f"no {self._lidar}")
            stamp_ns = self.data[data[self._lidar]].stamp_ns
            if stamp_ns <= latest_ns:
                found = f"stamp {stamp_ns // 1000} us after {latest_ns // 1000} us"
                what = f"{self.folder / 'sample_data.json'}: sample {token} of {scene.name}"
                raise InputError(what, found=found, wanted="stamps that ascend along next")
            samples.append(SampleRecord(token, scene, data))
            token, latest_ns, wanted_by = following, stamp_ns, f"sample {token}"
        if len(samples) != scene.num_samples:
            found, wanted = f"{len(samples)} samples along next", f"{scene.num_samples}, as nbr_samples says"
            raise InputError(f"{self.folder / 'scene.json'}: {scene.name}", found=found, wanted=wanted)
        return samples

    def _found(self, table: str, rows: dict[str, T], token: str, wanted_by: str) -> T:
        if token not in rows:
            raise InputError(
                f"{self.folder / f'{table}.json'}", found=f"no record {token}", wanted=f"that of {wanted_by}"
            )
        return rows[token]


def _sample_links(row: dict[str, Any]) -> tuple[str, tuple[str, int]]:
    own, following = texts(row, "token", "next")
    return own, (following, _stamp_ns(row))


def _stamp_ns(row: dict[str, Any]) -> int:
    stamp_us = row["timestamp"]
    if type(stamp_us) is not int or not 0 <= stamp_us <= _LATEST_US:
        raise ValueError(f"timestamp {stamp_us}, wanted whole microseconds since 1970")
    return stamp_us * 1000


def texts(row: dict[str, Any], *names: str) -> Any:
    """Fields of a record that hold text (names, tokens, files), as a tuple of as many strings.

    Raises:
        KeyError: when a field is missing.
        ValueError: when one holds something else; `read_rows` says of which record.
    """
    values = [row[name] for name in names]
    if set(map(type, values)) != {str}:
        name, value = next((name, row[name]) for name in names if type(row[name]) is not str)
        raise ValueError(f"{name} {value!r}, wanted text")
    return tuple(values)


def read_rows(path: Path, row: Callable[[dict[str, Any]], T | None]) -> list[T]:
    """A table's records, each reduced while the file is parsed; those that become None are left out.

    Raises:
        InputError: naming the file, and the record when one lacks a field or holds a wrong value.
    """
    number = 0

    def reduced(record: dict[str, Any]) -> T | None:
        nonlocal number
        number += 1
        try:
            return row(record)
        except (KeyError, TypeError, ValueError, OverflowError, GeometryError) as error:
            found = f"no field {error}" if isinstance(error, KeyError) else f"{error}"
            raise InputError(f"{path}: record {number}, token {record.get('token')}", found=found) from error

    try:
        rows = json.loads(read_text(path), object_hook=reduced)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}", found=str(error), wanted="JSON", remedy="unpack the tables again") from error
    if not isinstance(rows, list) or len(rows) != number:
        found = f"{len(rows)} entries, {number} of them records" if isinstance(rows, list) else type(rows).__name__
        raise InputError(f"{path}", found=found, wanted="a list of records")
    return [entry for entry in rows if entry is not None]
