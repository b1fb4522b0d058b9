"""A data set written as a rosbag2, as a vehicle would have recorded it, with the rig beside the messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.image_files import ImageFiles
from understudy.errors import GeometryError, InputError
from understudy.frame import Image
from understudy.messages.cloud_layouts import LAYOUTS, CloudLayout, LayoutName, cloud_message
from understudy.messages.headers import header_message, stamp_ns_from_message
from understudy.messages.images import camera_info_message, compressed_image_message
from understudy.messages.outputs import detections_message
from understudy.messages.transforms import odometry_message, rig_transforms_message
from understudy.progress import Track, silent
from understudy.rig import Camera, Lidar, Rig
from understudy.topics import (
    LABELS_TOPIC,
    ODOMETRY_TOPIC,
    STATIC_TRANSFORMS_TOPIC,
    camera_info_topic,
    image_topic,
    points_topic,
)

RIG_FILE = "rig.yaml"
_COMPRESSED = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}
"""Format of a compressed image, by the ending of the file."""
Outgoing = tuple[int, str, Any]
"""Stamp, topic, message."""


@dataclass(frozen=True)
class Recording:
    """What was written.

    Attributes:
        bag: the bag's folder.
        rig: the rig file in it; it describes the intensities as they are in the bag.
        num_frames: sweeps' frames written.
        messages: number of messages by topic.
        span_s: from the first to the last stamp.
    """

    bag: Path
    rig: Path
    num_frames: int
    messages: dict[str, int]
    span_s: float


def record_bag(
    dataset: Dataset,
    out: Path,
    *,
    frames: Sequence[int] | None = None,
    layout: LayoutName = "plain",
    images: bool = True,
    labels: bool = False,
    overwrite: bool = False,
    track: Track = silent,
) -> Recording:
    """Writes samples as PointCloud2, compressed images, camera info, static transforms and odometry.

    Header stamps and log times are the frames' own stamps. JPEG and PNG files are written as they are, byte for byte.
    The bag is there when all of it is: an older one that it replaces stays until then.

    Args:
        dataset: what to write; one rig, stamps that rise.
        out: folder of the new bag.
        frames: numbers of the samples; None for all.
        layout: fields of the point clouds; `shuffled` also brings intensity to 0..255 bytes.
        images: whether to write the cameras.
        labels: whether to write the frames' boxes, as `vision_msgs/Detection3DArray` with track ids.
        overwrite: whether a bag that is there may go.
        track: shows progress.

    Raises:
        InputError: when no frame is left or stamps do not rise.
        GeometryError: when the rig changes between frames.
        BagError: when the bag cannot be written.
    """
    numbers = range(len(dataset)) if frames is None else frames
    if not numbers:
        raise InputError("recording", found="no frames", wanted="at least one", remedy="check --drive and --frames")
    first = dataset[numbers[0]]
    rig = rig_in_bag(first.rig, LAYOUTS[layout])
    counts: Counter[str] = Counter()
    with BagWriter(out, overwrite=overwrite) as writer:
        rig.write(writer.folder / RIG_FILE)
        what = BagContents(rig, LAYOUTS[layout], images, labels)
        for stamp_ns, topic, message in _outgoing(dataset, numbers, first, what, track):
            writer.write(topic, message, stamp_ns, latched=topic == STATIC_TRANSFORMS_TOPIC)
            counts[topic] += 1
        if labels and not counts[LABELS_TOPIC]:
            remedy = "record it without --labels"
            raise InputError("recording", found=f"no labels in {len(numbers)} frames", wanted="labels", remedy=remedy)
    span_s = (dataset[numbers[-1]].frame.stamp_ns - first.frame.stamp_ns) / 1e9
    return Recording(out, out / RIG_FILE, len(numbers), dict(sorted(counts.items())), span_s)


def open_for_recording(path: Path, split: str | None = None, *, images: bool = True) -> Dataset:
    """The data set in a folder, with its cameras where those are read only on request.

    Raises:
        InputError: when the folder holds no data set that is known.
    """
    from understudy.datasets import recorded, scenes
    from understudy.datasets.opening import open_dataset

    if recorded.is_recorded(path):
        return recorded.RecordedDataset(path, split, images=images)
    if (path / scenes.DESCRIPTION_FILE).is_file():
        return scenes.ScenesDataset(path, split, images=images)
    return open_dataset(path, split)


def chosen_frames(dataset: Dataset, drive: int | None, part: str) -> range:
    """Numbers of the samples of a drive, or of a part written `first:after`, or of a part of a drive.

    Raises:
        InputError: when there is no such drive or the part is none.
    """
    numbers = range(len(dataset)) if drive is None else _drive_frames(dataset, drive)
    ends = part.split(":") if part else ["", ""]
    if len(ends) != 2 or not all(end == "" or end.isdecimal() for end in ends):
        raise InputError("--frames", found=part, wanted="numbers as 10:20, 10: or :20")
    first, after = (int(end) if end else None for end in ends)
    return numbers[first:after]


def _drive_frames(dataset: Dataset, drive: int) -> range:
    drives = getattr(dataset, "drives", ())
    if not 0 <= drive < len(drives):
        raise InputError("--drive", found=drive, wanted=f"0 to {len(drives) - 1}" if drives else "nothing; no drives")
    starts = [0, *accumulate(int(entry.num_frames) for entry in drives)]
    return range(starts[drive], starts[drive + 1])


@dataclass(frozen=True)
class BagContents:
    """What a bag holds of each frame: clouds in a layout, described by a rig, with pictures and boxes or not."""

    rig: Rig
    layout: CloudLayout
    images: bool
    labels: bool


def _outgoing(
    dataset: Dataset, numbers: Sequence[int], first: Sample, what: BagContents, track: Track
) -> Iterator[Outgoing]:
    start_ns = first.frame.stamp_ns
    yield start_ns, STATIC_TRANSFORMS_TOPIC, rig_transforms_message(make_message, what.rig, start_ns)
    last_ns: int | None = None
    for number in track(numbers, "recording", len(numbers)):
        sample = dataset[number]
        _refuse_unless_continues(sample, first, last_ns)
        last_ns = sample.frame.stamp_ns
        yield from sample_messages(sample, what)


def _refuse_unless_continues(sample: Sample, first: Sample, last_ns: int | None) -> None:
    if sample.rig.hash != first.rig.hash:
        raise GeometryError(
            f"frame {sample.key}",
            found=f"another rig than frame {first.key} has",
            wanted="one rig for a bag",
            remedy="record these frames one by one with --frames",
        )
    if last_ns is not None and sample.frame.stamp_ns <= last_ns:
        raise InputError(
            f"frame {sample.key}: stamp",
            found=f"{sample.frame.stamp_ns} ns after {last_ns} ns",
            wanted="stamps that rise",
            remedy="choose one drive with --drive, or a part with --frames",
        )


def sample_messages(sample: Sample, what: BagContents) -> list[Outgoing]:
    """The messages of one frame in the order of their stamps."""
    outgoing: list[Outgoing] = []
    frame = sample.frame
    for name, cloud in frame.clouds.items():
        named = replace(cloud, frame_id=what.rig.sensors[name].frame_id)
        message = cloud_message(make_message, named, what.layout, sample.rig.lidars[name].intensity_scale)
        outgoing.append((cloud.stamp_ns, points_topic(name), message))
    for name in frame.images if what.images else ():
        outgoing += _camera_messages(name, frame.images, what.rig.cameras[name])
    if frame.world_from_ego is not None:
        message = odometry_message(make_message, frame.world_from_ego, frame.stamp_ns)
        outgoing.append((frame.stamp_ns, ODOMETRY_TOPIC, message))
    if what.labels and sample.boxes is not None:
        message = detections_message(make_message, sample.boxes, frame.stamp_ns)
        outgoing.append((frame.stamp_ns, LABELS_TOPIC, message))
    return sorted(outgoing, key=lambda entry: entry[:2])


def _camera_messages(name: str, images: Mapping[str, Image], camera: Camera) -> list[Outgoing]:
    picture = _picture_message(name, images, camera)
    stamp_ns = stamp_ns_from_message(picture)
    info = camera_info_message(make_message, camera, stamp_ns, camera.frame_id)
    return [(stamp_ns, image_topic(name), picture), (stamp_ns, camera_info_topic(name), info)]


def _picture_message(name: str, images: Mapping[str, Image], camera: Camera) -> Any:
    """A JPEG or PNG file's own bytes; other pictures are compressed."""
    file = images.file(name) if isinstance(images, ImageFiles) else None
    kind = _COMPRESSED.get(file.path.suffix.lower()) if file is not None else None
    if file is None or kind is None:
        return compressed_image_message(make_message, replace(images[name], frame_id=camera.frame_id))
    header = header_message(make_message, file.stamp_ns, camera.frame_id)
    data = np.fromfile(file.path, np.uint8)
    return make_message("sensor_msgs/msg/CompressedImage", header=header, format=kind, data=data)


def rig_in_bag(rig: Rig, layout: CloudLayout) -> Rig:
    """The rig with a frame id for every sensor and the intensity scale that the layout leads to."""
    sensors = {}
    for name, sensor in rig.sensors.items():
        changes: dict[str, Any] = {"frame_id": sensor.frame_id or name}
        if isinstance(sensor, Lidar) and layout.full_intensity is not None:
            changes["intensity_scale"] = layout.full_intensity
        sensors[name] = sensor.model_copy(update=changes)
    return rig.model_copy(update={"sensors": sensors})
