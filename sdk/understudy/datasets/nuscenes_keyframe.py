"""nuScenes key frames from an info file (JSON): one LiDAR, six cameras, boxes in the LiDAR's frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.converters.nuscenes import NuscenesBoxes, boxes_from_nuscenes, quaternions_from_yaw
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import fingerprint, read_float_records, read_json
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.errors import GeometryError, InputError
from understudy.frame import Frame, PointCloud
from understudy.images import image_size_px
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig

LIDAR = "LIDAR_TOP"
INTENSITY_SCALE = 255.0
_FIELDS_PER_POINT = 5
T = TypeVar("T")


class NuscenesKeyframes:
    """A folder with one info file (`*.json`, MMDetection3D's second format) and `samples/<SENSOR>/`.

    Ego is nuScenes' own: below the middle of the rear axle, on the road. Cameras are placed by their calibration, not
    by where the vehicle was when they fired. `num_points` is the count stored with the label.

    Raises:
        InputError: when the info file is missing or lacks an entry; at access, when a file is missing or malformed.
    """

    def __init__(self, path: Path, *, classes: ClassChoice | None = None) -> None:
        self._class_map = chosen_map("nuscenes", classes)
        self._root = path
        infos = sorted(path.glob("*.json"))
        if len(infos) != 1:
            raise InputError(f"{path}", found=f"{len(infos)} JSON files", wanted="one info file")
        self._info_path = infos[0]
        content = read_json(self._info_path)
        self._records: list[dict[str, Any]] = self._get(lambda: content["data_list"])
        categories: dict[str, int] = self._get(lambda: content["metainfo"]["categories"])
        self._names = {index: name for name, index in categories.items()}

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
        record = self._records[index]
        sweep = str(self._get(lambda: record["lidar_points"]["lidar_path"]))
        drive = str(record.get("scene_token", sweep.split("__")[0]))
        return Place(drive, _stamp_ns(self._get(lambda: record["timestamp"])))

    def __getitem__(self, index: int) -> Sample:
        """The key frame."""
        record = self._records[index]
        stamp_ns = _stamp_ns(self._get(lambda: record["timestamp"]))
        world_from_ego = self._pose(self._get(lambda: record["ego2global"]))
        frame = Frame(stamp_ns, {LIDAR: self._cloud(record, stamp_ns)}, self._images(record), world_from_ego)
        key = str(self._get(lambda: record["token"]))
        return Sample(key, frame, self._rig(record), self._boxes(record), {})

    def _cloud(self, record: dict[str, Any], stamp_ns: int) -> PointCloud:
        name = self._get(lambda: record["lidar_points"]["lidar_path"])
        values = read_float_records(self._root / "samples" / LIDAR / name, _FIELDS_PER_POINT)
        return PointCloud(np.ascontiguousarray(values[:, :4]), stamp_ns, LIDAR, ring=values[:, 4].astype(np.int16))

    def _images(self, record: dict[str, Any]) -> ImageFiles:
        cameras = self._get(lambda: record["images"])
        return ImageFiles(
            {
                name: ImageFile(self._image_path(name, entry), _stamp_ns(entry["timestamp"]), name)
                for name, entry in cameras.items()
            }
        )

    def _image_path(self, name: str, entry: dict[str, Any]) -> Path:
        return self._root / "samples" / name / str(self._get(lambda: entry["img_path"]))

    def _rig(self, record: dict[str, Any]) -> Rig:
        ego_from_lidar = self._pose(self._get(lambda: record["lidar_points"]["lidar2ego"]))
        mounting = Mounting.from_pose(ego_from_lidar)
        lidar = Lidar(frame_id=LIDAR, ego_from_sensor=mounting, intensity_scale=INTENSITY_SCALE)
        cameras = {name: self._camera(name, entry) for name, entry in record["images"].items()}
        return Rig(name="nuscenes", sensors={LIDAR: lidar, **cameras})

    def _camera(self, name: str, entry: dict[str, Any]) -> Camera:
        matrix: NDArray[np.float64] = np.array(self._get(lambda: entry["cam2img"]), np.float64)
        width_px, height_px = image_size_px(self._image_path(name, entry))
        return Camera(
            frame_id=name,
            ego_from_sensor=Mounting.from_pose(self._pose(self._get(lambda: entry["cam2ego"]))),
            width_px=width_px,
            height_px=height_px,
            fx_px=float(matrix[0, 0]),
            fy_px=float(matrix[1, 1]),
            cx_px=float(matrix[0, 2]),
            cy_px=float(matrix[1, 2]),
        )

    def _boxes(self, record: dict[str, Any]) -> Boxes:
        instances: list[dict[str, Any]] = self._get(lambda: record["instances"])
        chosen = [entry for entry in instances if self._names.get(entry["bbox_label_3d"], "") in self._class_map.of]
        rows = np.array(self._get(lambda: [entry["bbox_3d"] for entry in chosen]), np.float64).reshape(-1, 7)
        annotations = NuscenesBoxes(
            names=tuple(self._names[entry["bbox_label_3d"]] for entry in chosen),
            translations_m=rows[:, :3],
            sizes_m=rows[:, [4, 3, 5]],
            rotations_wxyz=quaternions_from_yaw(rows[:, 6]),
        )
        ego_from_lidar = self._pose(record["lidar_points"]["lidar2ego"])
        boxes = boxes_from_nuscenes(annotations, ego_from_lidar, self._class_map)
        velocities = np.array([entry["velocity"] for entry in chosen], np.float64).reshape(-1, 2)
        return replace(
            boxes,
            num_points=np.array([entry["num_lidar_pts"] for entry in chosen], np.int32),
            velocities_mps=(velocities @ ego_from_lidar.rotation[:2, :2].T).astype(np.float32),
        )

    def _pose(self, matrix: Any) -> Pose:
        try:
            return Pose.from_matrix(np.array(matrix, np.float64))
        except (GeometryError, ValueError, TypeError) as error:
            raise InputError(f"{self._info_path}", found=str(error), wanted="rigid 4x4 transforms") from error

    def _get(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"{self._info_path}", found=f"no entry {error}", wanted="an info file of key frames"
            ) from None


def _stamp_ns(stamp_s: float) -> int:
    """Whole microseconds: what a float of seconds since 1970 still resolves."""
    return round(float(stamp_s) * 1e6) * 1000
