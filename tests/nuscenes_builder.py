"""Writes small but complete nuScenes releases by the published schema alone, for the reader and the devkit to open."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.images import encode_jpeg, encode_png
from understudy.pose import Pose

CATEGORIES = (
    *("noise", "animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker"),
    *("human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller"),
    *("human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris"),
    *("movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack"),
    *("vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction"),
    *("vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer"),
    *("vehicle.truck", "flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain", "static.manmade"),
    *("static.other", "static.vegetation", "vehicle.ego"),
)
"""The 32 of a release with lidarseg, by index."""
ATTRIBUTES = (
    *("vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "cycle.without_rider"),
    *("pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving"),
)
TABLES = (
    *("category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene"),
    *("sample", "sample_data", "sample_annotation", "map", "lidarseg"),
)
LIDAR = "LIDAR_TOP"
PICTURE_PX = (64, 36)


def token(*parts: object) -> str:
    """A token of 32 hexadecimal digits."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


class Release:
    """Tables under way; `write` puts them on disk."""

    def __init__(self, root: Path, version: str = "v1.0-mini", *, lidarseg: bool = True) -> None:
        self.root, self.version, self.lidarseg = root, version, lidarseg
        self.tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        for index, name in enumerate(CATEGORIES):
            self._add("category", token("category", name), name=name, description="", index=index)
        for name in ATTRIBUTES:
            self._add("attribute", token("attribute", name), name=name, description="")
        for level in range(1, 5):
            self._add("visibility", str(level), level=f"v{level}", description="")
        self._add("log", token("log"), logfile="n015", vehicle="n015", date_captured="2018-07-24", location="boston")
        self._add("map", token("map"), log_tokens=[token("log")], category="semantic_prior", filename="maps/blank.png")

    def _add(self, table: str, own: str, **fields: Any) -> str:
        self.tables[table].append({"token": own, **fields})
        return own

    def sensor(self, channel: str, ego_from_sensor: Pose, matrix: list[list[float]] | None = None) -> None:
        """A sensor with its calibration."""
        modality = "camera" if matrix else "radar" if "RADAR" in channel else "lidar"
        self._add("sensor", token("sensor", channel), channel=channel, modality=modality)
        self._add(
            "calibrated_sensor",
            token("calibration", channel),
            sensor_token=token("sensor", channel),
            **_pose_fields(ego_from_sensor),
            camera_intrinsic=matrix or [],
        )

    def scene(self, name: str, stamps_us: list[int]) -> list[str]:
        """A scene with samples at these times; their tokens."""
        samples = [token("sample", name, number) for number in range(len(stamps_us))]
        for number, (own, stamp_us) in enumerate(zip(samples, stamps_us, strict=True)):
            links = {"prev": samples[number - 1] if number else "", "next": (*samples, "")[number + 1]}
            self._add("sample", own, timestamp=stamp_us, **links, scene_token=token("scene", name))
        ends = {"first_sample_token": samples[0], "last_sample_token": samples[-1]}
        self._add(
            "scene",
            token("scene", name),
            log_token=token("log"),
            nbr_samples=len(samples),
            **ends,
            name=name,
            description=f"{name}, rain",
        )
        return samples

    def data(
        self,
        channel: str,
        sample: str,
        stamp_us: int,
        world_from_ego: Pose,
        content: bytes,
        *,
        key: bool,
        prev: str = "",
    ) -> str:
        """One file of a sensor, linked to the one before it; its token."""
        own = token("data", channel, stamp_us)
        pose = self._add("ego_pose", token("pose", own), timestamp=stamp_us, **_pose_fields(world_from_ego))
        suffix = "jpg" if "CAM" in channel else "pcd.bin"
        name = f"{'samples' if key else 'sweeps'}/{channel}/n015__{channel}__{stamp_us}.{suffix}"
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(content)
        width, height = PICTURE_PX if "CAM" in channel else (0, 0)
        for record in self.tables["sample_data"]:
            if prev and record["token"] == prev:
                record["next"] = own
        return self._add(
            "sample_data",
            own,
            sample_token=sample,
            ego_pose_token=pose,
            calibrated_sensor_token=token("calibration", channel),
            timestamp=stamp_us,
            fileformat="pcd",
            is_key_frame=key,
            height=height,
            width=width,
            filename=name,
            prev=prev,
            next="",
        )

    def point_classes(self, data: str, labels: NDArray[np.uint8]) -> None:
        """The class of each point of a sweep."""
        name = f"lidarseg/{self.version}/{data}_lidarseg.bin"
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        labels.astype(np.uint8).tofile(self.root / name)
        self._add("lidarseg", data, sample_data_token=data, filename=name)

    def instance(self, name: str, category: str, seen: list[tuple[str, Pose]], **fields: Any) -> None:
        """An object seen in some samples at global poses, with `size` (w, l, h) and `attribute`."""
        own = token("instance", name)
        tokens = [token("annotation", name, sample) for sample, _ in seen]
        attribute = fields.get("attribute")
        for number, (sample, world_from_box) in enumerate(seen):
            self._add(
                "sample_annotation",
                tokens[number],
                sample_token=sample,
                instance_token=own,
                visibility_token="4",
                attribute_tokens=[token("attribute", attribute)] if attribute else [],
                **_pose_fields(world_from_box),
                size=list(fields.get("size", (1.9, 4.6, 1.7))),
                prev=tokens[number - 1] if number else "",
                next=(*tokens, "")[number + 1],
                num_lidar_pts=fields.get("num_points", 5 + number),
                num_radar_pts=number,
            )
        ends = {"first_annotation_token": tokens[0], "last_annotation_token": tokens[-1]}
        self._add("instance", own, category_token=token("category", category), nbr_annotations=len(tokens), **ends)

    def write(self) -> Path:
        """All tables and the map's picture; the root folder."""
        folder = self.root / self.version
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            if name != "lidarseg" or self.lidarseg:
                (folder / f"{name}.json").write_text(json.dumps(self.tables[name]))
        (self.root / "maps").mkdir(exist_ok=True)
        (self.root / "maps" / "blank.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
        return self.root


def build_release(root: Path, seed: int = 0, version: str = "v1.0-mini", lidarseg: bool = True) -> Path:
    """Two scenes of mini_train and one of mini_val: a turning, pitching vehicle, sweeps between key frames, traffic."""
    rng = np.random.default_rng(seed)
    release = Release(root, version, lidarseg=lidarseg)
    release.sensor(LIDAR, Pose.from_quaternion(_unit([0.71, 0.01, -0.02, -0.7]), [0.94, 0.0, 1.84]))
    matrix = [[50.0, 0.0, 32.0], [0.0, 50.0, 18.0], [0.0, 0.0, 1.0]]
    for channel, turn in (("CAM_FRONT", 0.0), ("CAM_BACK", np.pi)):
        mounting = Pose.from_yaw(turn) @ Pose.from_quaternion([0.5, -0.5, 0.5, -0.5], [1.7, 0.0, 1.5])
        release.sensor(channel, mounting, matrix)
    release.sensor("RADAR_FRONT", Pose.from_yaw(0.0, (3.4, 0.0, 0.5)))
    for number, name in enumerate(("scene-0061", "scene-0103", "scene-0553")):
        _drive(release, name, 1_532_402_927_000_000 + number * 100_000_000, rng)
    return release.write()


def _drive(release: Release, name: str, start_us: int, rng: np.random.Generator) -> None:
    # The gap before the last key frame is too long for a velocity to be told over it.
    key_us = [start_us + offset for offset in (100_000, 600_000, 1_099_000, 1_600_000, 3_700_000)]
    samples = release.scene(name, key_us)
    prev = ""
    for stamp_us in sorted({*key_us, *range(start_us, start_us + 1_700_000, 50_000)}):
        nearest = int(np.argmin([abs(stamp_us - key) for key in key_us]))
        points = rng.normal(0, 8, (200, 5)).astype(np.float32)
        points[:20, :3] *= 0.05
        points[:, 3], points[:, 4] = rng.integers(0, 256, 200), rng.integers(0, 32, 200)
        pose, key = _ego(start_us, stamp_us), stamp_us in key_us
        prev = release.data(LIDAR, samples[nearest], stamp_us, pose, points.tobytes(), key=key, prev=prev)
        if key:
            release.point_classes(prev, rng.integers(0, 32, 200))
    for sample, stamp_us in zip(samples, key_us, strict=True):
        for channel, late_us in (("CAM_FRONT", 12_000), ("CAM_BACK", -36_000)):
            picture = encode_jpeg(rng.integers(0, 256, (PICTURE_PX[1], PICTURE_PX[0], 3), np.uint8))
            release.data(channel, sample, stamp_us + late_us, _ego(start_us, stamp_us + late_us), picture, key=True)
        release.data("RADAR_FRONT", sample, stamp_us + 5000, _ego(start_us, stamp_us), b"radar", key=True)
    for number, category in enumerate(CATEGORIES[1:24]):
        first, last = sorted(rng.choice(len(samples) + 1, 2, replace=False))
        seen = [(samples[i], _traffic(number, start_us, key_us[i])) for i in range(first, last)]
        attribute = ATTRIBUTES[number % 8] if number % 3 else None
        release.instance(f"{name} {category}", category, seen, size=rng.uniform(0.4, 6, 3), attribute=attribute)


def _ego(start_us: int, stamp_us: int) -> Pose:
    seconds = (stamp_us - start_us) / 1e6
    tilt = Pose.from_quaternion(_unit([1.0, 0.004, 0.01 * np.sin(seconds), 0.0]), [0.0, 0.0, 0.0])
    return Pose.from_yaw(0.8 + 0.2 * seconds, (411.3 + 9 * seconds, 1180.9 + 7 * seconds, 0.02 * seconds)) @ tilt


def _traffic(number: int, start_us: int, stamp_us: int) -> Pose:
    seconds = (stamp_us - start_us) / 1e6
    position = (420 + 2.5 * number + seconds * (number % 4), 1190 - 3 * number - 0.5 * seconds, 0.8 + 0.01 * number)
    return Pose.from_yaw(0.4 * number + 0.05 * seconds, position)


def _pose_fields(pose: Pose) -> dict[str, list[float]]:
    return {"translation": pose.translation_m.tolist(), "rotation": pose.quaternion_wxyz.tolist()}


def _unit(wxyz: list[float]) -> NDArray[np.float64]:
    values = np.array(wxyz)
    return values / np.linalg.norm(values)
