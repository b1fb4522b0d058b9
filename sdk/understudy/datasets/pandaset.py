"""A PandaSet sequence: 360-degree LiDAR, six cameras, poses, cuboids and a class per point.

Source: P. Xiao et al., "PandaSet: advanced sensor suite dataset for autonomous driving" (ITSC 2021). The pickled
tables of the release are read as npz and JSON (no pickle is opened anywhere here).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, Segments, wrap_angle
from understudy.configuration import check_config
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.datasets.dataset import Place, Sample
from understudy.datasets.files import fingerprint, read_json
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.pandaset_tables import read_cuboids, read_point_classes, read_points, read_stamps_s
from understudy.datasets.pose_tracks import PoseTrack
from understudy.datasets.stamps import microseconds_ns
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

_SPINNING = 0
_INTRINSICS = ("fx", "fy", "cx", "cy")


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
        names = [sweep.stem for sweep in (path / "lidar").glob("*.npz")]
        strangers = [name for name in names if not name.isdecimal()]
        if strangers or not names:
            found = f"{strangers[0]}.npz" if strangers else "no frames"
            raise InputError(f"{path / 'lidar'}", found=found, wanted="sweeps named by number, such as 00.npz")
        self._frames = sorted(int(name) for name in names)
        self._stamps_s = read_stamps_s(path / "lidar" / "timestamps.json")
        self._track = PoseTrack.from_records(
            read_json(path / "lidar" / "poses.json"), self._stamps_s, f"{path / 'lidar' / 'poses.json'}"
        )
        if self._frames[-1] >= len(self._stamps_s):
            found, wanted = f"frame {self._frames[-1]}", f"frames below {len(self._stamps_s)}, as many as stamps"
            raise InputError(f"{path / 'lidar'}", found=found, wanted=wanted)
        self._cameras = sorted(folder.name for folder in path.glob("camera/*") if folder.is_dir())
        self._camera_stamps_s = {
            name: read_stamps_s(path / "camera" / name / "timestamps.json") for name in self._cameras
        }
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
        """SHA-256 over names and sizes of sensor files and point classes, contents of poses, intrinsics and cuboids."""
        bulky = [*self._root.glob("lidar/*.npz"), *self._root.glob("camera/*/*.jpg")]
        bulky += self._root.glob("annotations/semseg/*.npz")
        described = [*self._root.glob("lidar/*.json"), *self._root.glob("camera/*/*.json")]
        return fingerprint(self._root, bulky, [*described, *self._root.glob("annotations/*/*.json")])

    def __len__(self) -> int:
        return len(self._frames)

    def place(self, index: int) -> Place:
        """All frames are of one drive, the sequence."""
        return Place(self._root.name, microseconds_ns(self._stamps_s[self._frames[index]]))

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
        path, stamp_s = self._root / "lidar" / f"{number:02d}.npz", float(self._stamps_s[number])
        table = read_points(path, stamp_s)
        chosen: NDArray[np.bool_] = table["d"] == _SPINNING
        if not chosen.any():
            raise InputError(f"{path}", found="no points of the 360-degree LiDAR", wanted=f"some with d = {_SPINNING}")
        points_world = np.stack([table[axis][chosen] for axis in "xyz"], axis=1)
        points = np.empty((len(points_world), 4), np.float32)
        points[:, :3] = world_from_sensor.inverse().apply(points_world)
        points[:, 3] = table["i"][chosen]
        offsets_s = (table["t"][chosen] - stamp_s).astype(np.float32)
        return PointCloud(points, microseconds_ns(stamp_s), LIDAR, time_offset_s=offsets_s), chosen

    def _images(self, number: int) -> ImageFiles:
        file = f"{number:02d}.jpg"
        return ImageFiles(
            {
                name: ImageFile(self._root / "camera" / name / file, microseconds_ns(stamps_s[number]), name)
                for name, stamps_s in self._camera_stamps_s.items()
            }
        )

    def _boxes(self, number: int, ego_from_world: Pose) -> Boxes:
        cuboids = read_cuboids(self._root / "annotations" / "cuboids" / f"{number:02d}.json")
        labels = self._class_map.labels([cuboid.label for cuboid in cuboids])
        geometry = np.array([cuboid.geometry for cuboid in cuboids], np.float64).reshape(-1, 7)[labels >= 0]
        # PandaSet's yaw turns the width onto x, so that the length lies along y.
        headings = geometry[:, 6] + np.pi / 2
        geometry[:, 6] = wrap_angle(headings + ego_from_world.yaw_rad)
        geometry[:, :3] = ego_from_world.apply(geometry[:, :3])
        tracks = np.array([cuboid.track_id for cuboid in cuboids], np.int64)[labels >= 0]
        return Boxes(geometry.astype(np.float32), labels[labels >= 0], self.class_names, track_ids=tracks)

    def _segments(self, number: int, chosen: NDArray[np.bool_]) -> dict[str, Segments]:
        folder = self._root / "annotations" / "semseg"
        if not folder.is_dir():
            return {}
        labels, class_names = read_point_classes(folder, number, len(chosen))
        return {LIDAR: Segments(labels[chosen], class_names)}

    def _calibrated_rig(self) -> Rig:
        mounting = Mounting.from_pose(EGO_FROM_SENSOR)
        lidar = Lidar(frame_id=LIDAR, ego_from_sensor=mounting, intensity_scale=INTENSITY_SCALE)
        cameras = {name: self._camera(name) for name in self._cameras}
        return Rig(name=f"pandaset_{self._root.name}", sensors={LIDAR: lidar, **cameras})

    def _camera(self, name: str) -> Camera:
        folder = self._root / "camera" / name
        track = PoseTrack.from_records(
            read_json(folder / "poses.json"), self._camera_stamps_s[name], f"{folder / 'poses.json'}"
        )
        mounting = Mounting.from_pose(EGO_FROM_SENSOR @ track.mounting_on(self._track))
        width_px, height_px = image_size_px(folder / f"{self._frames[0]:02d}.jpg")
        values = {"frame_id": name, "ego_from_sensor": mounting, "width_px": width_px, "height_px": height_px}
        path = folder / "intrinsics.json"
        intrinsics = read_json(path)
        if not isinstance(intrinsics, dict) or not set(_INTRINSICS) <= set(intrinsics):
            raise InputError(f"{path}", found=f"{str(intrinsics)[:60]}", wanted=", ".join(_INTRINSICS))
        return check_config({**values, **{f"{key}_px": intrinsics[key] for key in _INTRINSICS}}, Camera, f"{path}")
