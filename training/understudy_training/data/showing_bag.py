"""Samples as an MCAP bag to look at in Foxglove or RViz: sensors, transforms, labels and their markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.datasets.dataset import Dataset
from understudy.messages.cloud_layouts import LAYOUTS
from understudy.messages.outputs import markers_message
from understudy.messages.transforms import rig_transforms_message
from understudy.progress import Track, silent
from understudy.recording import BagContents, rig_in_bag, sample_messages
from understudy.topics import LABELS_TOPIC, STATIC_TRANSFORMS_TOPIC

LABEL_MARKERS_TOPIC = f"{LABELS_TOPIC}/markers"


def write_bag(dataset: Dataset, numbers: Sequence[int], out: Path, track: Track = silent) -> int:
    """Writes a bag and says how many messages it holds.

    Made for looking, so it takes what `record_bag` refuses: the transforms are written again whenever the rig changes
    (KITTI's differs from frame to frame), and log times never go back where stamps do. Header stamps stay as they are.

    Raises:
        BagError: when something is at `out` already or it cannot be written.
        InputError: when a sample cannot be read.
    """
    written, rig_hash, log_ns = 0, "", 0
    with BagWriter(out) as writer:
        for number in track(numbers, "writing", len(numbers)):
            sample = dataset[number]
            stamp_ns, rig = sample.frame.stamp_ns, rig_in_bag(sample.rig, LAYOUTS["plain"])
            messages = sample_messages(sample, BagContents(rig, LAYOUTS["plain"], images=True, labels=True))
            if sample.boxes is not None:
                markers = markers_message(make_message, sample.boxes, stamp_ns)
                messages.append((stamp_ns, LABEL_MARKERS_TOPIC, markers))
            if rig.hash != rig_hash:
                transforms = rig_transforms_message(make_message, rig, stamp_ns)
                messages.insert(0, (messages[0][0], STATIC_TRANSFORMS_TOPIC, transforms))
                rig_hash = rig.hash
            for message_ns, topic, message in messages:
                log_ns = max(log_ns, message_ns)
                writer.write(topic, message, log_ns, latched=topic == STATIC_TRANSFORMS_TOPIC)
            written += len(messages)
    return written
