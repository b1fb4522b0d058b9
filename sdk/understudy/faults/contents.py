"""What the sensors of a scenario see: generated from a seed, or taken from a data set or a bag of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from understudy.datasets.dataset import Dataset
from understudy.errors import InputError
from understudy.faults.drafts import CloudDraft, Draft, PictureDraft
from understudy.images import encode_jpeg
from understudy.rig import Camera, Lidar, Mounting, Rig
from understudy.testing import road_cloud, simple_rig

CAMERAS = ("front", "left", "right")
_FORWARD = (0.5, -0.5, 0.5, -0.5)
NUM_CONTENTS = 12
FEWEST_CONTENTS = 4
"""Fewer would repeat so soon that a healthy sensor seems frozen."""
_NUM_POINTS = 240
_SIZE_PX = (64, 48)


@dataclass(frozen=True, eq=False)
class Contents:
    """What each sensor sees, over and over; neighbors differ.

    Attributes:
        rig: the sensors.
        lidar: name of the one that makes sets.
        drafts: contents by sensor name, the LiDAR and every camera.
    """

    rig: Rig
    lidar: str
    drafts: Mapping[str, tuple[Draft, ...]]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, in the rig's order."""
        return tuple(name for name in self.drafts if name != self.lidar)


def suite_rig() -> Rig:
    """A LiDAR and three small cameras."""
    width_px, height_px = _SIZE_PX
    rig = simple_rig()
    cameras = {
        name: Camera(
            frame_id=name,
            ego_from_sensor=Mounting(translation_m=(1.5, 0.3 * place, 1.6), rotation_wxyz=_FORWARD),
            width_px=width_px,
            height_px=height_px,
            fx_px=50.0,
            fy_px=50.0,
            cx_px=width_px / 2,
            cy_px=height_px / 2,
        )
        for place, name in enumerate(CAMERAS)
    }
    return Rig(name="faults", sensors={**rig.sensors, **cameras})


def road_contents(seed: int = 0, rig: Rig | None = None, lidar: str | None = None) -> Contents:
    """A road with two objects, and pictures of noise in the sizes of the rig's cameras."""
    rng = np.random.default_rng(seed)
    the_rig = rig or suite_rig()
    name, sensor = the_rig.lidar(lidar)
    drafts: dict[str, tuple[Draft, ...]] = {name: tuple(_road(rng, sensor) for _ in range(NUM_CONTENTS))}
    for camera_name, camera in the_rig.cameras.items():
        drafts[camera_name] = tuple(_picture(rng, camera) for _ in range(NUM_CONTENTS))
    return Contents(the_rig, name, drafts)


def contents_of_dataset(dataset: Dataset, lidar: str | None = None) -> Contents:
    """The first samples of a data set: their clouds, and their pictures as JPEG.

    Raises:
        InputError: when fewer than four of them hold the LiDAR and every camera of the rig.
    """
    rig = dataset[0].rig
    name, sensor = rig.lidar(lidar)
    kept: dict[str, list[Draft]] = {key: [] for key in (name, *rig.cameras)}
    for number in range(min(len(dataset), NUM_CONTENTS)):
        frame = dataset[number].frame
        if name not in frame.clouds or any(camera not in frame.images for camera in rig.cameras):
            continue
        kept[name].append(CloudDraft(frame.clouds[name].points, sensor.frame_id, sensor.intensity_scale))
        for camera_name, camera in rig.cameras.items():
            jpeg = np.frombuffer(encode_jpeg(frame.images[camera_name].pixels), np.uint8)
            kept[camera_name].append(PictureDraft(jpeg, camera.frame_id))
    if len(kept[name]) < FEWEST_CONTENTS:
        found = f"{len(kept[name])} samples with the LiDAR and every camera"
        raise InputError("data set for faults", found=found, wanted=f"{FEWEST_CONTENTS} at least")
    return Contents(rig, name, {key: tuple(drafts) for key, drafts in kept.items()})


def _road(rng: np.random.Generator, lidar: Lidar) -> CloudDraft:
    height_m = lidar.ego_from_sensor.translation_m[2]
    cloud = road_cloud(rng, _NUM_POINTS, height_m=height_m, intensity_scale=lidar.intensity_scale)
    return CloudDraft(cloud.points, lidar.frame_id, lidar.intensity_scale)


def _picture(rng: np.random.Generator, camera: Camera) -> PictureDraft:
    """Blocks of one color each: small as JPEG, and never the same twice."""
    blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    rows = np.arange(camera.height_px) * 6 // camera.height_px
    columns = np.arange(camera.width_px) * 8 // camera.width_px
    jpeg = encode_jpeg(blocks[rows][:, columns], quality=70)
    return PictureDraft(np.frombuffer(jpeg, np.uint8), camera.frame_id)
