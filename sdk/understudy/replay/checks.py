"""What can be known to be wrong before a replay starts: the bag was recorded with another rig."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from understudy.bags.reader import BagReader
from understudy.errors import BagError, FrameError, GeometryError
from understudy.messages.transforms import ego_from_sensors
from understudy.pipeline import Pipeline
from understudy.pose import Pose
from understudy.topics import STATIC_TRANSFORMS_TOPIC

_FARTHEST_M = 0.01
_FARTHEST_DEG = 0.1


def refuse_own_bag(bag: Path, out: Path) -> None:
    """Raises BagError when results would be written over the recording they are made from, or into it."""
    source, target = bag.resolve(), out.resolve()
    folder = source if source.is_dir() or not (source.parent / "metadata.yaml").is_file() else source.parent
    if target in {source, *source.parents} or folder in target.parents:
        raise BagError(
            f"bag {out}",
            found=f"the place of {bag}, which is read",
            wanted="another folder",
            remedy="choose another --out",
        )


def refuse_other_frame_id(reader: BagReader, topic: str, pipeline: Pipeline) -> None:
    """Raises GeometryError when the first readable cloud carries another frame id than the rig's LiDAR."""
    wanted = pipeline.rig.lidars[pipeline.lidar].frame_id
    found = _first_frame_id(reader, topic) if wanted else None
    if found and found != wanted:
        raise GeometryError(
            f"bag {reader.path}: frame_id on {topic}",
            found=found,
            wanted=f"{wanted} (LiDAR {pipeline.lidar} of rig {pipeline.rig.name})",
            remedy="choose the right --topic, --lidar or --rig",
        )


def _first_frame_id(reader: BagReader, topic: str) -> str | None:
    try:
        for message in reader.messages([topic]):
            return str(reader.decode(message).header.frame_id)
    except (BagError, AttributeError):
        return None
    return None


def refuse_other_mounting(reader: BagReader, pipeline: Pipeline) -> None:
    """Raises GeometryError when the bag's static transforms put the LiDAR elsewhere than the rig does."""
    frame_id = pipeline.rig.lidars[pipeline.lidar].frame_id
    in_bag = _static_transforms(reader).get(frame_id)
    if in_bag is None:
        return
    in_rig = pipeline.rig.lidars[pipeline.lidar].ego_from_sensor.pose()
    distance_m = float(np.linalg.norm(in_bag.translation_m - in_rig.translation_m))
    angle_deg = _angle_deg(in_bag.inverse() @ in_rig)
    if distance_m > _FARTHEST_M or angle_deg > _FARTHEST_DEG:
        raise GeometryError(
            f"rig {pipeline.rig.name}: LiDAR {pipeline.lidar}",
            found=f"{distance_m:.3f} m and {angle_deg:.2f} degrees away from the bag's {STATIC_TRANSFORMS_TOPIC}",
            wanted=f"within {_FARTHEST_M} m and {_FARTHEST_DEG} degrees",
            remedy="use the rig of that recording, or say --ignore-tf",
        )


def _static_transforms(reader: BagReader) -> dict[str, Pose]:
    poses: dict[str, Pose] = {}
    try:
        for message in reader.messages([STATIC_TRANSFORMS_TOPIC]):
            poses.update(ego_from_sensors(reader.decode(message)))
    except (BagError, FrameError, AttributeError):
        return {}
    return poses


def _angle_deg(turn: Pose) -> float:
    cosine = (float(np.trace(turn.rotation)) - 1.0) / 2.0
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
