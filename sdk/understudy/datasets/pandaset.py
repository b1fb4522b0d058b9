"""A PandaSet sequence: 360-degree LiDAR, six cameras, poses, cuboids and a class per point.

Source: P. Xiao et al., "PandaSet: advanced sensor suite dataset for autonomous driving" (ITSC 2021). The pickled
tables of the release are read as npz and JSON (no pickle is opened anywhere here).
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, Segments, wrap_angle
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import fingerprint, read_json
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.pose_tracks import PoseTrack
from understudy.errors import InputError
from understudy.frame import Frame, PointCloud
from understudy.images import image_size_px
from understudy.interior import count_points_inside
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig

LIDAR = "pandar64"
INTENSITY_SCALE = 255.0
SENSOR_HEIGHT_M = 0.31
"""Height of PandaSet's pose frame above the road: measured on the road points of sequence 002 within 15 m."""

EGO_FROM_SENSOR = Pose(
    np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([0.0, 0.0, SENSOR_HEIGHT_M])
)
"""PandaSet's poses have x right, y forward, z up; ego is the same place on the road with x forward, y left."""

_SPINNING, _FORWARD_SENSOR = 0, 1
_CUBOID_NUMBERS = ("position.x", "position.y", "position.z", "dimensions.y", "dimensions.x", "dimensions.z", "yaw")


class PandasetSequence:
    """One sequence folder with `lidar/`, `camera/` and `annotations/`.

    A cloud is the 360-degree LiDAR's (d = 0), carried from the world into PandaSet's pose frame of the sweep's stamp,
    which is its end; the release has already undone the vehicle's motion. Cuboids seen only by the forward LiDAR
    (`cuboids.sensor_id` 1, twins of others) are dropped. The rig is one for the sequence: camera mountings are the
    mean over its frames of the vehicle's interpolated pose against the camera's.

    Raises:
        InputError: when the folder holds no frames; at access, when a file is missing or malformed.
    """

    def __init__(self, path: Path, *, classes: ClassChoice | None = None) -> None:
        self._root = path
        self._class_map = chosen_map("pandaset", classes)
        self._frames = sorted(int(sweep.stem) for sweep in (path / "lidar").glob("[0-9]*.npz"))
        if not self._frames:
            raise InputError(f"{path}", found="no frames", wanted="lidar/*.npz")
        self._stamps_s = np.array(read_json(path / "lidar" / "timestamps.json"), np.float64)
        self._track = PoseTrack.from_records(
            read_json(path / "lidar" / "poses.json"), self._stamps_s, f"{path / 'lidar' / 'poses.json'}"
        )
        if self._frames[-1] >= len(self._stamps_s):
            found, wanted = f"frame {self._frames[-1]}", f"frames below {len(self._stamps_s)}, as many as stamps"
            raise InputError(f"{path / 'lidar'}", found=found, wanted=wanted)
        self._cameras = sorted(folder.name for folder in path.glob("camera/*") if folder.is_dir())
        self._camera_stamps_s = {name: self._camera_file(name, "timestamps") for name in self._cameras}
        self._rig = self._calibrated_rig()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the class map."""
        return self._class_map.class_names

    @property
    def rig(self) -> Rig:
        """The sequence's rig."""
        return self._rig

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sensor files' names and sizes and the contents of poses, stamps, intrinsics and cuboids."""
        bulky = [*self._root.glob("lidar/*.npz"), *self._root.glob("camera/*/*.jpg")]
        described = [*self._root.glob("lidar/*.json"), *self._root.glob("camera/*/*.json")]
        return fingerprint(self._root, bulky, [*described, *self._root.glob("annotations/*/*.json")])

    def __len__(self) -> int:
        return len(self._frames)

    def place(self, index: int) -> Place:
        """All frames are of one drive, the sequence."""
        return Place(self._root.name, _stamp_ns(self._stamps_s[self._frames[index]]))

    def __getitem__(self, index: int) -> Sample:
        """The frame, with points counted in each box and the class of each point."""
        number = self._frames[index]
        world_from_sensor = self._track.poses[number]
        world_from_ego = world_from_sensor @ EGO_FROM_SENSOR.inverse()
        cloud, chosen = self._cloud(number, world_from_sensor)
        boxes = self._boxes(number, world_from_ego.inverse())
        counts = count_points_inside(boxes, EGO_FROM_SENSOR.apply(cloud.points[:, :3]))
        frame = Frame(cloud.stamp_ns, {LIDAR: cloud}, self._images(number), world_from_ego)
        return Sample(
            f"{number:02d}", frame, self._rig, replace(boxes, num_points=counts), self._segments(number, chosen)
        )

    def _cloud(self, number: int, world_from_sensor: Pose) -> tuple[PointCloud, NDArray[np.bool_]]:
        """The cloud, and which of the file's points it holds."""
        table = read_arrays(self._root / "lidar" / f"{number:02d}.npz", ("x", "y", "z", "i", "t", "d"))
        chosen: NDArray[np.bool_] = table["d"] == _SPINNING
        points_world = np.stack([table[axis][chosen] for axis in "xyz"], axis=1)
        points = np.empty((len(points_world), 4), np.float32)
        points[:, :3] = world_from_sensor.inverse().apply(points_world)
        points[:, 3] = table["i"][chosen]
        stamp_s = self._stamps_s[number]
        offsets_s = (table["t"][chosen] - stamp_s).astype(np.float32)
        return PointCloud(points, _stamp_ns(stamp_s), LIDAR, time_offset_s=offsets_s), chosen

    def _images(self, number: int) -> ImageFiles:
        return ImageFiles(
            {
                name: ImageFile(self._root / "camera" / name / f"{number:02d}.jpg", _stamp_ns(stamps_s[number]), name)
                for name, stamps_s in self._camera_stamps_s.items()
            }
        )

    def _boxes(self, number: int, ego_from_world: Pose) -> Boxes:
        path = self._root / "annotations" / "cuboids" / f"{number:02d}.json"
        records = _records(read_json(path), path)
        records = [record for record in records if record["cuboids.sensor_id"] != _FORWARD_SENSOR]
        labels = self._class_map.labels([record["label"] for record in records])
        geometry = np.array([[record[name] for name in _CUBOID_NUMBERS] for record in records], np.float64)
        geometry = geometry.reshape(-1, 7)[labels >= 0]
        # PandaSet's yaw turns the width onto x, so that the length lies along y.
        headings = geometry[:, 6] + np.pi / 2
        geometry[:, 6] = wrap_angle(headings + ego_from_world.yaw_rad)
        geometry[:, :3] = ego_from_world.apply(geometry[:, :3])
        tracks = np.array([_track_id(record["uuid"]) for record in records], np.int64)[labels >= 0]
        return Boxes(geometry.astype(np.float32), labels[labels >= 0], self.class_names, track_ids=tracks)

    def _segments(self, number: int, chosen: NDArray[np.bool_]) -> dict[str, Segments]:
        folder = self._root / "annotations" / "semseg"
        if not folder.is_dir():
            return {}
        names = read_json(folder / "classes.json")
        class_names = tuple(names[key] for key in sorted(names, key=int))
        classes = read_arrays(folder / f"{number:02d}.npz", ("class",))["class"]
        if len(classes) != len(chosen):
            found, wanted = f"{len(classes)} classes", f"{len(chosen)}, one per point"
            raise InputError(f"{folder / f'{number:02d}.npz'}", found=found, wanted=wanted)
        return {LIDAR: Segments((classes[chosen].astype(np.int16) - 1), class_names)}

    def _calibrated_rig(self) -> Rig:
        mounting = Mounting.from_pose(EGO_FROM_SENSOR)
        lidar = Lidar(frame_id=LIDAR, ego_from_sensor=mounting, intensity_scale=INTENSITY_SCALE)
        cameras = {name: self._camera(name) for name in self._cameras}
        return Rig(name=f"pandaset_{self._root.name}", sensors={LIDAR: lidar, **cameras})

    def _camera(self, name: str) -> Camera:
        intrinsics = self._camera_file(name, "intrinsics")
        path = self._root / "camera" / name / "poses.json"
        stamps_s = np.array(self._camera_stamps_s[name], np.float64)
        camera_track = PoseTrack.from_records(read_json(path), stamps_s, f"{path}")
        sensor_from_camera = camera_track.mounting_on(self._track)
        picture = self._root / "camera" / name / f"{self._frames[0]:02d}.jpg"
        width_px, height_px = image_size_px(picture)
        return Camera(
            frame_id=name,
            ego_from_sensor=Mounting.from_pose(EGO_FROM_SENSOR @ sensor_from_camera),
            width_px=width_px,
            height_px=height_px,
            fx_px=intrinsics["fx"],
            fy_px=intrinsics["fy"],
            cx_px=intrinsics["cx"],
            cy_px=intrinsics["cy"],
        )

    def _camera_file(self, name: str, what: str) -> Any:
        return read_json(self._root / "camera" / name / f"{what}.json")


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
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}", found=str(error), wanted="an npz file without pickled objects") from error
    if len({len(values) for values in arrays.values()}) != 1:
        found = ", ".join(f"{name} {len(values)}" for name, values in arrays.items())
        raise InputError(f"{path}", found=found, wanted="arrays of equal length")
    return arrays


def _records(content: Any, path: Path) -> list[dict[str, Any]]:
    wanted = {"label", "uuid", "cuboids.sensor_id", *_CUBOID_NUMBERS}
    records = content["cuboids"] if isinstance(content, dict) and "cuboids" in content else content
    if not isinstance(records, list) or any(not wanted <= set(record) for record in records):
        raise InputError(f"{path}", found="records without these keys", wanted=", ".join(sorted(wanted)))
    return records


def _track_id(uuid: str) -> int:
    """The first 63 bits of the cuboid's identity."""
    return int(uuid.replace("-", "")[:16], 16) >> 1


def _stamp_ns(stamp_s: float) -> int:
    """Whole microseconds: what a float of seconds since 1970 still resolves."""
    return round(float(stamp_s) * 1e6) * 1000
