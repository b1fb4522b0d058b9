"""What the sensors of a scenario see, from a bag of the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from understudy.bags.reader import BagMessage, BagReader
from understudy.errors import InputError
from understudy.faults.contents import FEWEST_CONTENTS, NUM_CONTENTS, Contents
from understudy.faults.drafts import CloudDraft, Draft, PictureDraft
from understudy.messages.clouds import cloud_from_message
from understudy.rig import Lidar, Rig, read_rig
from understudy.topics import image_topic, points_topic

_POINTS_TYPE = "sensor_msgs/msg/PointCloud2"
_RIG_FILE = "rig.yaml"


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag and not like a data set."""
    return path.is_file() or (path / "metadata.yaml").is_file()


def contents_of_bag(path: Path, rig: Path | None = None, lidar: str | None = None) -> Contents:
    """The first clouds of a bag and the pictures on `/sensors/CAMERA/image/compressed`; other cameras are left out.

    Args:
        path: the bag.
        rig: its rig file; `rig.yaml` in it when left out.
        lidar: name of the LiDAR in the rig, when there are several.

    Raises:
        InputError: when a sensor has fewer than four messages there.
        BagError: when it is no bag or holds no clouds.
    """
    the_rig = read_rig(rig or (path if path.is_dir() else path.parent) / _RIG_FILE)
    name, _ = the_rig.lidar(lidar)
    with BagReader(path) as reader:
        points = reader.topic_of(_POINTS_TYPE, name=None, preferred=points_topic(name)).name
        images = {image_topic(camera): camera for camera in the_rig.cameras}
        sensors = {points: name} | {topic: camera for topic, camera in images.items() if topic in reader.topics}
        kept: dict[str, list[Draft]] = {sensor: [] for sensor in sensors.values()}
        for message in reader.messages(sensors):
            drafts = kept[sensors[message.topic]]
            if len(drafts) < NUM_CONTENTS:
                drafts.append(_draft(reader, message, the_rig, sensors[message.topic]))
            if all(len(drafts) == NUM_CONTENTS for drafts in kept.values()):
                break
    for sensor, drafts in kept.items():
        if len(drafts) < FEWEST_CONTENTS:
            found = f"{len(drafts)} messages of {sensor}"
            raise InputError(f"bag {path} for faults", found=found, wanted=f"{FEWEST_CONTENTS} at least")
    return Contents(the_rig, name, {sensor: tuple(drafts) for sensor, drafts in kept.items()})


def _draft(reader: BagReader, message: BagMessage, rig: Rig, sensor: str) -> Draft:
    entry, decoded = rig.sensors[sensor], reader.decode(message)
    if isinstance(entry, Lidar):
        return CloudDraft(cloud_from_message(decoded, extras=False).points, entry.frame_id, entry.intensity_scale)
    return PictureDraft(np.frombuffer(bytes(decoded.data), np.uint8), entry.frame_id)
