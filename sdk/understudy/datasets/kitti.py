"""The KITTI object benchmark: single frames with LiDAR, left color camera, calibration and labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.converters.kitti import (
    KittiCalibration,
    KittiObjects,
    boxes_from_objects,
    parse_calibration,
    parse_objects,
)
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import fingerprint, read_float_records, read_text
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.kitti_calibration import rectified_camera
from understudy.errors import InputError, MissingSplit
from understudy.frame import Frame, PointCloud
from understudy.images import image_size_px
from understudy.interior import count_points_inside
from understudy.pose import Pose
from understudy.rig import Lidar, Mounting, Rig

LIDAR = "velodyne"
CAMERA = "camera_2"
LIDAR_HEIGHT_M = 1.73
"""Height of the LiDAR above the road: sensor setup drawing of Geiger et al., "Vision meets robotics" (IJRR 2013)."""

EGO_FROM_LIDAR = Pose(np.eye(3), np.array([0.0, 0.0, LIDAR_HEIGHT_M]))
"""KITTI's ego here is the point of the road below the LiDAR, with the LiDAR's axes (x forward, y left, z up)."""

_TYPES = {"Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare"}
_FRAME_PERIOD_NS = 100_000_000


class KittiDataset:
    """The object benchmark's `training` or `testing` folder.

    Args:
        path: folder with `training/`, or that folder itself.
        split: a list in `ImageSets/`, or None for every frame that has a sweep.
        classes: which types count and as what.

    Frames are single: stamps are synthetic, 0.1 s apart by frame number. Where `label_2` is absent, samples carry no
    boxes. Only what camera 2 sees is labeled; `labeled` says so of boxes.

    Raises:
        InputError: when the folder or split is missing; at access, when a file is missing or malformed.
    """

    def __init__(self, path: Path, split: str | None = None, *, classes: ClassChoice | None = None) -> None:
        self._class_map = chosen_map("kitti", classes)
        self._root = path / "training" if (path / "training").is_dir() else path
        labels = self._root / "label_2"
        if labels.exists() and not labels.is_dir():
            raise InputError(f"{labels}", found="a file", wanted="a folder of labels, or nothing")
        self._keys = _frame_keys(self._root, split)
        if not self._keys:
            raise InputError(f"{path}", found="no frames", wanted="training/velodyne/*.bin")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the class map."""
        return self._class_map.class_names

    @property
    def fingerprint(self) -> str:
        """SHA-256 over sweeps' and images' names and sizes and the contents of calibration and labels."""
        bulky = [path for key in self._keys for path in (self._sweep_path(key), self._path("image_2", key, "png"))]
        labels = [self._path("label_2", key, "txt") for key in self._keys if self._has_labels]
        return fingerprint(self._root, bulky, [*labels, *(self._path("calib", key, "txt") for key in self._keys)])

    def __len__(self) -> int:
        return len(self._keys)

    def place(self, index: int) -> Place:
        """Every frame is a drive of its own: the benchmark drew them from many recordings."""
        return Place(self._keys[index], self._stamp_ns(index))

    def __getitem__(self, index: int) -> Sample:
        """The frame, with points counted in each labeled box."""
        key = self._keys[index]
        stamp_ns = self._stamp_ns(index)
        cloud = PointCloud(read_float_records(self._sweep_path(key), 4), stamp_ns, LIDAR)
        image_path = self._path("image_2", key, "png")
        images = ImageFiles({CAMERA: ImageFile(image_path, stamp_ns, CAMERA)})
        calibration = self.calibration(key)
        rig = kitti_rig(calibration, image_path, f"{self._path('calib', key, 'txt')}: P2")
        boxes = self._boxes(key, calibration, cloud) if self._has_labels else None
        return Sample(key, Frame(stamp_ns, {LIDAR: cloud}, images), rig, boxes, {})

    def calibration(self, key: str) -> KittiCalibration:
        """The calibration of a frame."""
        path = self._path("calib", key, "txt")
        return parse_calibration(read_text(path), f"{path}")

    def objects(self, key: str) -> KittiObjects:
        """The label lines of a frame, nothing dropped."""
        path = self._path("label_2", key, "txt")
        return parse_objects(read_text(path), f"{path}")

    def labeled(self, sample: Sample, boxes: Boxes) -> NDArray[np.bool_]:
        """`(N,)`: whether a box's center lies in camera 2's picture, outside the regions marked DontCare."""
        camera = sample.rig.cameras[CAMERA]
        pixels, depth_m = camera.project(boxes.geometry[:, :3])
        shown = camera.shows(pixels, depth_m)
        objects = self.objects(sample.key)
        for left, top, right, bottom in objects.boxes_px[np.array(objects.types) == "DontCare"]:
            shown &= ~((pixels >= [left, top]) & (pixels <= [right, bottom])).all(axis=1)
        return shown

    def _stamp_ns(self, index: int) -> int:
        return int(self._keys[index]) * _FRAME_PERIOD_NS

    @property
    def _has_labels(self) -> bool:
        return (self._root / "label_2").is_dir()

    def _boxes(self, key: str, calibration: KittiCalibration, cloud: PointCloud) -> Boxes:
        ego_from_rect = EGO_FROM_LIDAR @ calibration.rect_from_lidar.inverse()
        objects = self.objects(key)
        strange = sorted(set(objects.types) - _TYPES - set(self._class_map.of))
        if strange:
            where = f"{self._path('label_2', key, 'txt')}"
            raise InputError(where, found=f"type {strange[0]}", wanted=f"one of {', '.join(sorted(_TYPES))}")
        boxes = boxes_from_objects(objects, ego_from_rect, self._class_map)
        counts = count_points_inside(boxes, EGO_FROM_LIDAR.apply(cloud.points[:, :3]))
        return replace(boxes, num_points=counts)

    def _path(self, folder: str, key: str, suffix: str) -> Path:
        return self._root / folder / f"{key}.{suffix}"

    def _sweep_path(self, key: str) -> Path:
        """The full sweep, or the one cut to the camera's view where only that exists."""
        whole, reduced = self._path("velodyne", key, "bin"), self._path("velodyne_reduced", key, "bin")
        return reduced if reduced.is_file() and not whole.is_file() else whole


def kitti_rig(calibration: KittiCalibration, image_path: Path, source: str = "calibration: P2") -> Rig:
    """The rig that a calibration file describes, LiDAR and camera 2; the picture gives its own size.

    Raises:
        InputError: when P2 is no camera matrix; `source` names its file.
        GeometryError: when it cannot be that of the picture's camera.
    """
    ego_from_camera = EGO_FROM_LIDAR @ calibration.camera2_from_lidar.inverse()
    size_px = image_size_px(image_path)
    camera = rectified_camera(CAMERA, calibration.camera_matrix, ego_from_camera, size_px, source)
    lidar = Lidar(frame_id=LIDAR, ego_from_sensor=Mounting.from_pose(EGO_FROM_LIDAR), intensity_scale=1.0)
    return Rig(name="kitti", sensors={LIDAR: lidar, CAMERA: camera})


def _frame_keys(root: Path, split: str | None) -> list[str]:
    if split is None:
        sweeps = [*root.glob("velodyne/*.bin"), *root.glob("velodyne_reduced/*.bin")]
        keys = sorted({path.stem for path in sweeps})
        _refuse_strangers(f"{root / 'velodyne'}", keys)
        _refuse_labels_without_sweep(root, keys)
        return keys
    lists = root.parent / "ImageSets"
    path = lists / f"{split}.txt"
    if not path.is_file():
        known = [*sorted(entry.stem for entry in lists.glob("*.txt")), "all"]
        raise MissingSplit(f"{root.parent}: split {split}", found=f"no {path}", wanted=" or ".join(known))
    keys = read_text(path).split()
    _refuse_strangers(f"{path}", keys)
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise InputError(f"{path}", found=f"frame {twice[0]} twice", wanted="each frame once")
    return keys


def _refuse_strangers(where: str, keys: list[str]) -> None:
    strangers = [key for key in keys if not key.isdecimal()]
    if strangers:
        raise InputError(where, found=f"a frame {strangers[0]!r}", wanted="frames named by number, such as 000000")


def _refuse_labels_without_sweep(root: Path, keys: list[str]) -> None:
    orphans = sorted({path.stem for path in root.glob("label_2/*.txt")} - set(keys))
    if orphans and keys:
        where = f"{root / 'label_2' / orphans[0]}.txt"
        remedy = "fetch the sweeps, or name frames in ImageSets/<split>.txt"
        raise InputError(where, found="a label without a sweep", wanted=f"velodyne/{orphans[0]}.bin", remedy=remedy)
