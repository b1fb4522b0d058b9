"""The boxes that a bag brings along, as `vision_msgs/Detection3DArray` with the stamps of its sweeps."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.converters.classes import CLASS_NAMES
from understudy.errors import FrameError, GeometryError, UnderstudyError
from understudy.frame import Frame
from understudy.interior import count_points_inside
from understudy.messages.outputs import boxes_from_detections, ids_from_detections
from understudy.pose import Pose
from understudy.rig import Rig
from understudy_training.data.from_bag_facts import BagFacts, frame_name
from understudy_training.data.from_bag_poses import mounted

_LARGEST_ID = 2**63 - 1


class RecordedLabels:
    """Boxes by the stamp of the sweep they belong to.

    A box is a label, not a detection, when all scores of the bag are 1: then it has no score. Identities are numbers
    where all of them are; other texts get the first 63 bits of their SHA-256.

    Args:
        facts: the bag's.
        base_frame: name of the ego frame.
        bag: names the bag in messages.

    Attributes:
        class_names: our four where the bag knows no others, else the bag's own.
        reasons: why labels were rejected.

    Raises:
        GeometryError: when boxes are in a frame whose place on the vehicle is not known.
    """

    def __init__(self, facts: BagFacts, base_frame: str, bag: str) -> None:
        self.reasons: Counter[str] = Counter()
        self._messages = facts.labels
        self._topic = facts.labels_topic
        rows = [row for message in facts.labels.values() for row in message.detections if row.results]
        names = {str(row.results[0].hypothesis.class_id) for row in rows}
        self.class_names = CLASS_NAMES if names <= set(CLASS_NAMES) else tuple(sorted(names))
        self._are_scored = any(row.results[0].hypothesis.score != 1.0 for row in rows)
        ids = [str(row.id) for row in rows]
        self._have_ids = all(ids)
        self._are_numbers = all(text.isdecimal() and int(text) <= _LARGEST_ID for text in ids)
        frames = {frame_name(message.header.frame_id) for message in facts.labels.values()}
        self._ego_from = {frame: _ego_from(facts, frame, base_frame, bag) for frame in frames}
        self._outcomes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._messages)

    def take(self, frame: Frame, rig: Rig) -> Boxes | None:
        """The boxes of a frame with the returns in each of them, or None when it has no labels."""
        message = self._messages.get(frame.stamp_ns)
        if message is None:
            return None
        try:
            boxes = self._boxes(message)
        except UnderstudyError as error:
            self._outcomes["rejected"] += 1
            self.reasons[f"{self._topic}: {error}"] += 1
            return None
        self._outcomes["used"] += 1
        counts = np.zeros(len(boxes), np.int32)
        for name, cloud in frame.clouds.items():
            points = rig.lidars[name].ego_from_sensor.pose().apply(cloud.points[:, :3])
            counts += count_points_inside(boxes, points)
        return replace(boxes, num_points=counts)

    def skip(self, stamp_ns: int) -> None:
        """Says that a sweep became no frame."""
        self._outcomes["not_key_frame"] += stamp_ns in self._messages

    def outcomes(self, read: int, rejected: int) -> dict[str, int]:
        """What became of the messages, of which `rejected` could not be read at all."""
        ended = {name: self._outcomes[name] for name in ("used", "not_key_frame", "rejected")}
        unmatched = len(self._messages) - sum(ended.values())
        duplicate = read - rejected - len(self._messages)
        return {
            "read": read,
            **ended,
            "unmatched": unmatched,
            "duplicate": duplicate,
            "rejected": ended["rejected"] + rejected,
        }

    def _boxes(self, message: Any) -> Boxes:
        boxes = boxes_from_detections(message, self.class_names)
        if not np.isfinite(boxes.geometry).all():
            raise FrameError("boxes", found="values that are not finite", wanted="finite boxes")
        boxes = replace(
            boxes,
            scores=boxes.scores if self._are_scored else None,
            track_ids=self._track_ids(ids_from_detections(message)) if self._have_ids else None,
        )
        pose = self._ego_from[frame_name(message.header.frame_id)]
        return boxes if pose is None else boxes.transformed(pose)

    def _track_ids(self, ids: list[str]) -> NDArray[np.int64]:
        return np.array([int(text) if self._are_numbers else _hashed(text) for text in ids], np.int64)


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _ego_from(facts: BagFacts, frame: str, base_frame: str, bag: str) -> Pose | None:
    """`ego_from_frame`; None where it is the ego itself."""
    if frame in {"", base_frame}:
        return None
    pose = mounted(facts, base_frame, frame)
    if pose is None:
        raise GeometryError(
            f"bag {bag}: {facts.labels_topic} of frame {frame}",
            found=f"no transform from {base_frame} in /tf_static",
            wanted="boxes in a frame of the vehicle",
            remedy="say --labels-topic none, or --base-frame",
        )
    return pose
