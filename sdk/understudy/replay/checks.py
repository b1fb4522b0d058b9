"""What can be known to be wrong before a replay starts: the bag was recorded with another rig."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from understudy.bags.reader import BagReader
from understudy.errors import BagError, FrameError, GeometryError
from understudy.messages.frame_tree import FrameTree
from understudy.messages.headers import BASE_FRAME, is_other_frame
from understudy.messages.rig_comparison import FARTHEST_DEG, FARTHEST_M, mounting_difference
from understudy.rig import Lidar, Rig
from understudy.topics import STATIC_TRANSFORMS_TOPIC


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


def refuse_other_frame_id(reader: BagReader, topic: str, rig: Rig, name: str) -> None:
    """Raises GeometryError when the first readable message carries another frame id than the rig's sensor."""
    sensor = rig.sensors[name]
    wanted = sensor.frame_id
    found = _first_frame_id(reader, topic) if wanted else None
    if found and is_other_frame(found, wanted):
        is_lidar = isinstance(sensor, Lidar)
        raise GeometryError(
            f"bag {reader.path}: frame_id on {topic}",
            found=found,
            wanted=f"{wanted} ({'LiDAR' if is_lidar else 'camera'} {name} of rig {rig.name})",
            remedy=f"choose the right {'--topic, --lidar' if is_lidar else '--camera'} or --rig",
        )


def _first_frame_id(reader: BagReader, topic: str) -> str | None:
    try:
        for message in reader.messages([topic]):
            return str(reader.decode(message).header.frame_id)
    except (BagError, AttributeError):
        return None
    return None


def refuse_other_mounting(reader: BagReader, rig: Rig, sensors: Iterable[str]) -> None:
    """Raises GeometryError when the bag's static transforms put one of these sensors elsewhere than the rig does."""
    tree = _static_transforms(reader)
    for name in sensors:
        sensor = rig.sensors[name]
        in_bag = tree.pose(BASE_FRAME, sensor.frame_id) if sensor.frame_id else None
        if in_bag is not None and (difference := mounting_difference(sensor, in_bag)):
            raise GeometryError(
                f"bag {reader.path}: {STATIC_TRANSFORMS_TOPIC} has {name}",
                found=difference,
                wanted=f"within {FARTHEST_M} m and {FARTHEST_DEG} degrees of rig {rig.name}",
                remedy="use the rig of that recording, or say --ignore-tf",
            )


def _static_transforms(reader: BagReader) -> FrameTree:
    """What could be read of them."""
    tree = FrameTree()
    with suppress(BagError, FrameError, AttributeError):
        for message in reader.messages([STATIC_TRANSFORMS_TOPIC]):
            tree.add(reader.decode(message))
    return tree
