"""The rig of a recording that came without one: mountings from /tf_static, intrinsics from CameraInfo."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from understudy.bags.reader import BagReader
from understudy.errors import GeometryError
from understudy.messages.images import camera_from_info
from understudy.pose import Pose
from understudy.rig import Camera, Lidar, Mounting, Rig
from understudy.topics import STATIC_TRANSFORMS_TOPIC
from understudy_training.data.from_bag_facts import BagFacts, frame_id_on
from understudy_training.data.from_bag_poses import mounted
from understudy_training.data.from_bag_settings import FromBagSettings

_ENDING = re.compile(r"/[^/]+$")


def rig_of_bag(
    reader: BagReader,
    facts: BagFacts,
    lidars: Mapping[str, str],
    cameras: Mapping[str, str],
    settings: FromBagSettings,
) -> Rig:
    """The rig that the bag's transforms and calibrations describe.

    Args:
        reader: the bag.
        facts: its transforms and calibrations.
        lidars: topic of each LiDAR.
        cameras: topic of each camera.
        settings: base frame and intensity scale.

    Raises:
        GeometryError: when a transform, a calibration or the intensity scale is missing.
    """
    if settings.intensity_scale is None:
        remedy = "say --intensity-scale (255 for most drivers), or --rig RIG.yaml"
        found = "no rig, and no scale of the intensities"
        raise GeometryError(f"bag {reader.path}", found=found, wanted="the raw intensity that means 1", remedy=remedy)
    sensors: dict[str, Lidar | Camera] = {}
    for name, topic in lidars.items():
        frame_id = frame_id_on(reader, topic)
        mounting = Mounting.from_pose(_mounting(reader, facts, topic, frame_id, settings))
        sensors[name] = Lidar(frame_id=frame_id, ego_from_sensor=mounting, intensity_scale=settings.intensity_scale)
    for name, topic in cameras.items():
        info = _calibration(reader, facts, topic)
        frame_id = frame_id_on(reader, topic) or str(info.header.frame_id)
        _refuse_other_camera(reader, topic, frame_id, str(info.header.frame_id))
        mounting = Mounting.from_pose(_mounting(reader, facts, topic, frame_id, settings))
        sensors[name] = camera_from_info(info, mounting).model_copy(update={"frame_id": frame_id})
    return Rig(name=re.sub(r"[^\w.-]+", "_", reader.path.stem) or "bag", sensors=sensors)


def _mounting(reader: BagReader, facts: BagFacts, topic: str, frame_id: str, settings: FromBagSettings) -> Pose:
    pose = mounted(facts, settings.base_frame, frame_id)
    if pose is None:
        known = ", ".join(sorted({*facts.static, *(parent for parent, _ in facts.static.values())})) or "nothing"
        raise GeometryError(
            f"bag {reader.path}: {topic} of frame {frame_id or '(empty)'}",
            found=f"no transform from {settings.base_frame} in {STATIC_TRANSFORMS_TOPIC} (it has {known})",
            wanted="one for each sensor",
            remedy="say --rig RIG.yaml or --base-frame",
        )
    return pose


def _calibration(reader: BagReader, facts: BagFacts, topic: str) -> Any:
    """The CameraInfo beside a topic of pictures, as image_transport names it."""
    place = topic
    while "/" in place:
        place = _ENDING.sub("", place)
        if f"{place}/camera_info" in facts.infos:
            return facts.infos[f"{place}/camera_info"]
        if not place:
            break
    found = ", ".join(sorted(facts.infos)) or "no CameraInfo at all"
    remedy = "say --rig RIG.yaml, or --camera-topic none"
    raise GeometryError(f"bag {reader.path}: {topic}", found=found, wanted="a camera_info beside it", remedy=remedy)


def _refuse_other_camera(reader: BagReader, topic: str, frame_id: str, calibrated: str) -> None:
    if calibrated and calibrated != frame_id:
        raise GeometryError(
            f"bag {reader.path}: calibration of {topic}",
            found=f"one of frame {calibrated}",
            wanted=f"frame {frame_id}, as its pictures have",
            remedy="say --rig RIG.yaml",
        )
