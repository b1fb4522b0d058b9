"""nuScenes key frames from an info file (JSON): one LiDAR, six cameras, boxes in the LiDAR's frame."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AllowInfNan, BaseModel, ConfigDict, Field

from understudy.boxes import Boxes
from understudy.configuration import check_config
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.converters.nuscenes import NuscenesBoxes, boxes_from_nuscenes, quaternions_from_yaw
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import fingerprint, read_float_records, read_json
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.stamps import microseconds_ns
from understudy.errors import GeometryError, InputError
from understudy.frame import Frame, PointCloud
from understudy.images import image_size_px
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig

LIDAR = "LIDAR_TOP"
INTENSITY_SCALE = 255.0
_FIELDS_PER_POINT = 5

Matrix = list[list[float]]
Meters = Annotated[float, Field(ge=-1e7, le=1e7)]
Size = Annotated[float, Field(ge=0, le=1000)]
Seconds = Annotated[float, Field(ge=0, le=4_102_444_800)]
"""Since 1970, up to the year 2100."""
Speed = Annotated[float, AllowInfNan(True)] | None


class _Entry(BaseModel):
    """What of an info file is read; the rest of its keys is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Instance(_Entry):
    bbox_label_3d: int
    bbox_3d: tuple[Meters, Meters, Meters, Size, Size, Size, float]
    """x, y, z of the center, length, width, height, yaw, in the LiDAR's frame."""
    num_lidar_pts: int = Field(ge=0, le=10**9)
    velocity: tuple[Speed, Speed] | None = None


class _Picture(_Entry):
    img_path: str
    timestamp: Seconds
    cam2img: Matrix
    cam2ego: Matrix


class _Sweep(_Entry):
    lidar_path: str
    lidar2ego: Matrix


class _Stand(_Entry):
    """What tells a key frame's place."""

    timestamp: Seconds
    lidar_points: _Sweep
    scene_token: str | None = None


class _KeyFrame(_Stand):
    token: str
    ego2global: Matrix
    images: dict[str, _Picture]
    instances: list[_Instance]


class _Metainfo(_Entry):
    categories: dict[str, int]


class _Info(_Entry):
    metainfo: _Metainfo
    data_list: list[dict[str, Any]]


class NuscenesKeyframes:
    """A folder with one info file (`*.json`, MMDetection3D's second format) and `samples/<SENSOR>/`.

    Ego is nuScenes' own: below the middle of the rear axle, on the road. Cameras are placed by their calibration, not
    by where the vehicle was when they fired; those whose folder in `samples/` was not unpacked are left out.
    `num_points` is the count stored with the label; velocities are NaN where the info file tells none. Labels without
    a detection class (`bbox_label_3d` -1) are dropped.

    Raises:
        InputError: when the info file is missing, lacks an entry, or a drive's stamps do not ascend; at access, when
            an entry or a file is missing or malformed.
    """

    def __init__(self, path: Path, *, classes: ClassChoice | None = None) -> None:
        self._class_map = chosen_map("nuscenes", classes)
        self._root = path
        infos = sorted(path.glob("*.json"))
        if len(infos) != 1:
            raise InputError(f"{path}", found=f"{len(infos)} JSON files", wanted="one info file")
        self._info_path = infos[0]
        info = check_config(read_json(self._info_path), _Info, f"{self._info_path}")
        self._records = info.data_list
        self._names = {index: name for name, index in info.metainfo.categories.items()}
        self._places = [self._place(index) for index in range(len(self._records))]
        self._refuse_unsorted()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the class map."""
        return self._class_map.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sensor files' names and sizes and the info file's contents."""
        return fingerprint(self._root, [path for path in self._root.glob("samples/*/*")], [self._info_path])

    def __len__(self) -> int:
        return len(self._records)

    def place(self, index: int) -> Place:
        """The drive is the scene, or the log in the sweep's file name where the info file does not tell scenes."""
        return self._places[index]

    def __getitem__(self, index: int) -> Sample:
        """The key frame."""
        record = check_config(self._records[index], _KeyFrame, self._source(index))
        pictures = {name: entry for name, entry in record.images.items() if self._is_unpacked(name)}
        stamp_ns = self._places[index].stamp_ns
        world_from_ego = self._pose(record.ego2global, index, "ego2global")
        ego_from_lidar = self._pose(record.lidar_points.lidar2ego, index, "lidar_points.lidar2ego")
        images = ImageFiles(
            {
                name: ImageFile(self._image_path(name, entry), microseconds_ns(entry.timestamp), name)
                for name, entry in pictures.items()
            }
        )
        frame = Frame(stamp_ns, {LIDAR: self._cloud(record.lidar_points, stamp_ns)}, images, world_from_ego)
        lidar = Lidar(
            frame_id=LIDAR, ego_from_sensor=Mounting.from_pose(ego_from_lidar), intensity_scale=INTENSITY_SCALE
        )
        cameras = {name: self._camera(name, entry, index) for name, entry in pictures.items()}
        rig = Rig(name="nuscenes", sensors={LIDAR: lidar, **cameras})
        return Sample(record.token, frame, rig, self._boxes(record.instances, ego_from_lidar, index), {})

    def _source(self, index: int) -> str:
        return f"{self._info_path}: data_list {index}"

    def _place(self, index: int) -> Place:
        stand = check_config(self._records[index], _Stand, self._source(index))
        drive = stand.scene_token or stand.lidar_points.lidar_path.split("__")[0]
        return Place(drive, microseconds_ns(stand.timestamp))

    def _refuse_unsorted(self) -> None:
        for index, (before, after) in enumerate(pairwise(self._places), start=1):
            if before.drive == after.drive and after.stamp_ns <= before.stamp_ns:
                found = f"timestamp {after.stamp_ns / 1e9:.6f} after {before.stamp_ns / 1e9:.6f}"
                wanted = f"stamps that ascend within {after.drive}"
                raise InputError(self._source(index), found=found, wanted=wanted, remedy="sort data_list")

    def _is_unpacked(self, camera: str) -> bool:
        return (self._root / "samples" / camera).is_dir()

    def _cloud(self, sweep: _Sweep, stamp_ns: int) -> PointCloud:
        values = read_float_records(self._root / "samples" / LIDAR / sweep.lidar_path, _FIELDS_PER_POINT)
        return PointCloud(np.ascontiguousarray(values[:, :4]), stamp_ns, LIDAR, ring=values[:, 4].astype(np.int16))

    def _image_path(self, name: str, entry: _Picture) -> Path:
        return self._root / "samples" / name / entry.img_path

    def _camera(self, name: str, entry: _Picture, index: int) -> Camera:
        matrix = self._array(entry.cam2img, index, f"images.{name}.cam2img")
        width_px, height_px = image_size_px(self._image_path(name, entry))
        mounting = Mounting.from_pose(self._pose(entry.cam2ego, index, f"images.{name}.cam2ego"))
        values = {
            **{"frame_id": name, "ego_from_sensor": mounting, "width_px": width_px, "height_px": height_px},
            **{"fx_px": matrix[0, 0], "fy_px": matrix[1, 1], "cx_px": matrix[0, 2], "cy_px": matrix[1, 2]},
        }
        return check_config(values, Camera, f"{self._source(index)}: images.{name}.cam2img", GeometryError)

    def _boxes(self, instances: list[_Instance], ego_from_lidar: Pose, index: int) -> Boxes:
        strange = sorted({entry.bbox_label_3d for entry in instances} - {-1, *self._names})
        if strange:
            known = ", ".join(f"{label} {name}" for label, name in self._names.items()) or "no categories"
            what = f"{self._source(index)}: bbox_label_3d"
            raise InputError(what, found=strange[0], wanted=f"-1 or one of metainfo's: {known}")
        chosen = [entry for entry in instances if self._names.get(entry.bbox_label_3d, "") in self._class_map.of]
        rows = np.array([entry.bbox_3d for entry in chosen], np.float64).reshape(-1, 7)
        annotations = NuscenesBoxes(
            names=tuple(self._names[entry.bbox_label_3d] for entry in chosen),
            translations_m=rows[:, :3],
            sizes_m=rows[:, [4, 3, 5]],
            rotations_wxyz=quaternions_from_yaw(rows[:, 6]),
        )
        velocities = np.array([entry.velocity or (np.nan, np.nan) for entry in chosen], np.float64).reshape(-1, 2)
        return replace(
            boxes_from_nuscenes(annotations, ego_from_lidar, self._class_map),
            num_points=np.array([entry.num_lidar_pts for entry in chosen], np.int32),
            velocities_mps=(velocities @ ego_from_lidar.rotation[:2, :2].T).astype(np.float32),
        )

    def _pose(self, matrix: Matrix, index: int, name: str) -> Pose:
        try:
            return Pose.from_matrix(self._array(matrix, index, name))
        except GeometryError as error:
            what = f"{self._source(index)}: {name}"
            raise InputError(what, found=str(error), wanted="a rigid 4x4 transform") from error

    def _array(self, matrix: Matrix, index: int, name: str) -> NDArray[np.float64]:
        if len(matrix) < 3 or any(len(row) != len(matrix[0]) or len(row) < 3 for row in matrix):
            found = f"rows of {', '.join(str(len(row)) for row in matrix) or 'nothing'}"
            raise InputError(f"{self._source(index)}: {name}", found=found, wanted="a matrix, at least 3x3")
        return np.array(matrix, np.float64)
