"""nuScenes as released: official tables, six cameras, 32-beam LiDAR with the sweeps between key frames, lidarseg.

The tables are read directly: nuscenes-devkit holds numpy below 2 and cannot share an environment with the rest. That
boxes, velocities, order, splits, point classes and accumulated clouds equal the devkit's is a test
(tests/sdk/test_nuscenes_tables.py), run against the devkit in its own environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from understudy.boxes import Boxes, Segments
from understudy.configuration import check_config
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.converters.nuscenes import boxes_from_nuscenes
from understudy.datasets.dataset import Place, Sample, Sweep
from understudy.datasets.files import fingerprint, is_there, read_float_records
from understudy.datasets.image_files import ImageFile, ImageFiles
from understudy.datasets.nuscenes_annotations import AnnotationTable, NuscenesAnnotations
from understudy.datasets.nuscenes_index import NuscenesIndex, SampleRecord, SensorData
from understudy.datasets.nuscenes_lidarseg import LidarsegTable
from understudy.datasets.nuscenes_splits import VERSION_OF_SPLIT, scenes_of_split
from understudy.errors import GeometryError, InputError
from understudy.frame import Frame, PointCloud
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig

LIDAR = "LIDAR_TOP"
INTENSITY_SCALE = 255.0
_FIELDS_PER_POINT = 5


class NuscenesTables:
    """A release, or several beside each other: `v1.0-*/*.json`, `samples/`, `sweeps/`, where there is `lidarseg/`.

    Args:
        path: the folder that holds the version folders, or one of these (`.../v1.0-mini`).
        split: mini_train, mini_val, train, val, test, or one of `v1.0-*/splits.json`; None for every scene.
        classes: which of the 23 categories count and as what.

    Ego is nuScenes' own (below the middle of the rear axle, on the road) at the LiDAR's stamp. The rig is the
    calibration and does not move: a camera fires up to some 50 ms away from the LiDAR's stamp, where the vehicle was
    elsewhere; `world_from_sensor` tells where each sensor was when it fired. Keys are sample tokens. Velocities follow
    the official rule and are NaN where that tells none. Cameras whose folder in `samples/` was not unpacked are left
    out. The test release has no labels: `boxes` is None.

    Raises:
        InputError: when tables or split are missing, or a record is malformed; at access, when a file is.
    """

    def __init__(self, path: Path, split: str | None = None, *, classes: ClassChoice | None = None) -> None:
        self._tables = _version_folder(path, split)
        self._root = self._tables.parent
        self._class_map = chosen_map("nuscenes-tables", classes)
        self._index = NuscenesIndex(self._tables, LIDAR)
        self._samples = self._chosen(split)
        self._subset = split or self._tables.name
        channels = {calibration.channel for calibration in self._index.calibrations.values()}
        self._unpacked = {channel for channel in channels if (self._root / "samples" / channel).is_dir()}
        self._rigs: dict[tuple[str, ...], Rig] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of the class map."""
        return self._class_map.class_names

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names and sizes of key frames, of sweeps and point classes that are there, and all tables."""
        data = [data for sample in self._samples for data in self._seen(sample)]
        files = {self._root / entry.filename for entry in data}
        files |= {path for path in self._between_and_labels() if path.is_file()}
        return fingerprint(self._root, files, self._tables.glob("*.json"))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        """The key frame."""
        sample = self._samples[index]
        lidar = self._lidar_data(index)
        cloud = self._cloud(lidar)
        world_from_ego = self._index.world_from_ego(lidar)
        frame = Frame(lidar.stamp_ns, {LIDAR: cloud}, self._images(sample), world_from_ego)
        boxes = self._boxes(index, world_from_ego.inverse()) if self._has_labels else None
        segments = {} if self._lidarseg is None else self._segments(lidar, len(cloud))
        return Sample(sample.token, frame, self._rig(sample), boxes, segments)

    def place(self, index: int) -> Place:
        """The drive is the scene."""
        return Place(self._samples[index].scene.name, self._lidar_data(index).stamp_ns)

    def sweeps_before(self, index: int, count: int, lidar: str = LIDAR) -> tuple[Sweep, ...]:
        """At most `count` sweeps before the key frame's, latest first, back to the scene's first.

        Raises:
            InputError: when `lidar` is not LIDAR_TOP, or a sweep's record or file is missing or malformed.
        """
        if lidar != LIDAR:
            raise InputError(f"{self._tables}: LiDAR {lidar}", found="no such LiDAR", wanted=LIDAR)
        sweeps: list[Sweep] = []
        data = self._lidar_data(index)
        while data.prev and len(sweeps) < count:
            earlier = self._index.sensor_data(data.prev, f"the sweep before {data.token}")
            if earlier.stamp_ns >= data.stamp_ns:
                what = f"{self._tables / 'sample_data.json'}: sample_data {data.token}"
                raise InputError(what, found="a sweep before it that is not earlier", wanted="stamps that ascend")
            sweeps.append(Sweep(self._cloud(earlier), self._world_from(earlier)))
            data = earlier
        return tuple(sweeps)

    def world_from_sensor(self, index: int, name: str) -> Pose:
        """Where a sensor was when it took the key frame's picture or sweep: the vehicle's pose at that very stamp.

        Raises:
            InputError: when the sample has nothing of that sensor.
        """
        sample = self._samples[index]
        if name not in sample.data:
            raise InputError(f"sample {sample.token}: {name}", found="nothing of it", wanted=", ".join(sample.data))
        return self._world_from(self._index.data[sample.data[name]])

    def key(self, index: int) -> str:
        """The sample's token, told without reading its sweep."""
        return self._samples[index].token

    def world_from_ego(self, index: int) -> Pose:
        """Where the vehicle was at the LiDAR's stamp, told without reading the sweep."""
        return self._index.world_from_ego(self._lidar_data(index))

    def annotations(self, index: int) -> NuscenesAnnotations:
        """The labels of a sample as the tables hold them: all categories, in the global frame."""
        return self._annotations.of(self._samples[index].token)

    @property
    def subset(self) -> str:
        """Name of the split, or of the version's folder where every scene was taken."""
        return self._subset

    def lidar_tokens(self) -> dict[str, str]:
        """The `sample_data` token of each key frame's sweep by sample token: what lidarseg's files are named by."""
        return {sample.token: sample.data[LIDAR] for sample in self._samples}

    def scene_description(self, index: int) -> str:
        """What the release says of the scene, such as "Night, rain, parked cars"."""
        return self._samples[index].scene.description

    @cached_property
    def _annotations(self) -> AnnotationTable:
        return AnnotationTable(self._tables, self._index.sample_stamps_ns)

    @property
    def _has_labels(self) -> bool:
        path = self._tables / "sample_annotation.json"
        if not is_there(path) and self._tables.name in {"v1.0-mini", "v1.0-trainval"}:
            raise InputError(f"{path}", found="no such file", wanted="the labels", remedy="unpack the tables again")
        return path.is_file() and not self._tables.name.endswith("-test")

    @cached_property
    def _lidarseg(self) -> LidarsegTable | None:
        return LidarsegTable(self._tables) if is_there(self._tables / "lidarseg.json") else None

    def _chosen(self, split: str | None) -> list[SampleRecord]:
        samples = self._index.samples
        if split is None:
            return samples
        names = list(dict.fromkeys(sample.scene.name for sample in samples))
        wanted = scenes_of_split(self._tables, split, names)
        return [sample for sample in samples if sample.scene.name in wanted]

    def _lidar_data(self, index: int) -> SensorData:
        return self._index.data[self._samples[index].data[LIDAR]]

    def _seen(self, sample: SampleRecord) -> list[SensorData]:
        """The LiDAR's and the unpacked cameras' files, by channel."""
        channels = sorted(channel for channel in sample.data if channel == LIDAR or channel in self._unpacked)
        return [self._index.data[sample.data[channel]] for channel in channels]

    def _between_and_labels(self) -> Iterator[Path]:
        """Sweeps back to the key frame before, and files of point classes; who unpacked none of them has none."""
        for sample in self._samples:
            data = self._index.data[sample.data[LIDAR]]
            if self._lidarseg is not None and (labels := self._lidarseg.file(data.token)) is not None:
                yield labels
            while (earlier := self._index.data.get(data.prev)) is not None:
                if earlier.sample_token or earlier.stamp_ns >= data.stamp_ns:
                    break
                yield self._root / earlier.filename
                data = earlier

    def _world_from(self, data: SensorData) -> Pose:
        return self._index.world_from_ego(data) @ self._index.calibration(data).ego_from_sensor

    def _cloud(self, data: SensorData) -> PointCloud:
        values = read_float_records(self._root / data.filename, _FIELDS_PER_POINT)
        points = np.ascontiguousarray(values[:, :4])
        return PointCloud(points, data.stamp_ns, LIDAR, ring=values[:, 4].astype(np.int16))

    def _images(self, sample: SampleRecord) -> ImageFiles:
        pictures = [data for data in self._seen(sample) if data.channel != LIDAR]
        return ImageFiles(
            {data.channel: ImageFile(self._root / data.filename, data.stamp_ns, data.channel) for data in pictures}
        )

    def _boxes(self, index: int, ego_from_world: Pose) -> Boxes:
        annotations = self.annotations(index)
        annotations = annotations[self._class_map.labels(list(annotations.names)) >= 0]
        velocities = annotations.velocities_mps @ ego_from_world.rotation.T
        return replace(
            boxes_from_nuscenes(annotations.boxes(), ego_from_world, self._class_map),
            track_ids=annotations.track_ids(),
            num_points=annotations.num_lidar_points,
            velocities_mps=velocities[:, :2].astype(np.float32),
        )

    def _segments(self, lidar: SensorData, num_points: int) -> dict[str, Segments]:
        assert self._lidarseg is not None
        segments = self._lidarseg.segments(lidar.token, num_points)
        return {} if segments is None else {LIDAR: segments}

    def _rig(self, sample: SampleRecord) -> Rig:
        seen = self._seen(sample)
        tokens = tuple(data.calibration_token for data in seen)
        if tokens not in self._rigs:
            lidar_first = sorted(seen, key=lambda data: data.channel != LIDAR)
            self._rigs[tokens] = Rig(
                name=f"nuscenes_{sample.scene.name}",
                sensors={data.channel: self._sensor(data) for data in lidar_first},
            )
        return self._rigs[tokens]

    def _sensor(self, data: SensorData) -> Lidar | Camera:
        calibration = self._index.calibration(data)
        mounting = Mounting.from_pose(calibration.ego_from_sensor)
        if data.channel == LIDAR:
            return Lidar(frame_id=LIDAR, ego_from_sensor=mounting, intensity_scale=INTENSITY_SCALE)
        matrix = calibration.camera_matrix
        if matrix is None or data.size_px is None:
            what = f"{self._tables / 'calibrated_sensor.json'}: record {data.calibration_token}"
            raise InputError(what, found="no camera_intrinsic", wanted=f"the matrix of {data.channel}")
        values = {
            **{"frame_id": data.channel, "ego_from_sensor": mounting},
            **{"width_px": data.size_px[0], "height_px": data.size_px[1]},
            **{"fx_px": matrix[0, 0], "fy_px": matrix[1, 1], "cx_px": matrix[0, 2], "cy_px": matrix[1, 2]},
        }
        source = f"{self._tables / 'calibrated_sensor.json'}: token {data.calibration_token}"
        return check_config(values, Camera, source, GeometryError)


def _versions(path: Path) -> list[Path]:
    places = [path, *sorted(path.glob("v1.0-*"))]
    return [place for place in places if (place / "sample_data.json").is_file()]


def _version_folder(path: Path, split: str | None) -> Path:
    """The one version folder, or that of an official split."""
    versions = _versions(path)
    fitting = [folder for folder in versions if folder.name == VERSION_OF_SPLIT.get(split or "")]
    if len(versions) == 1 or len(fitting) == 1:
        return (fitting or versions)[0]
    bare = [folder for folder in path.glob("v1.0-*") if folder.is_dir()]
    if bare and not versions:
        where = f"{bare[0] / 'sample_data.json'}"
        raise InputError(where, found="no such file", wanted="the tables", remedy="unpack the metadata archive there")
    found = ", ".join(folder.name for folder in versions) or "no tables"
    remedy = "name the version's folder, or one of its splits" if versions else "unpack the metadata archive there"
    raise InputError(f"{path}", found=found, wanted="one of v1.0-mini, v1.0-trainval, v1.0-test", remedy=remedy)
