"""What a bag says besides its clouds and pictures, read before them: poses, transforms, calibrations, labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from understudy.bags.reader import BagMessage, BagReader
from understudy.errors import BagError, UnderstudyError
from understudy.messages.headers import stamp_ns_from_message
from understudy.messages.outputs import DETECTIONS_TYPE
from understudy.pose import Pose
from understudy.topics import DETECTIONS_TOPIC, LABELS_TOPIC, ODOMETRY_TOPIC, STATIC_TRANSFORMS_TOPIC
from understudy_training.data.from_bag_settings import NONE, FromBagSettings

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
COMPRESSED_TYPE, RAW_TYPE = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image"
INFO_TYPE = "sensor_msgs/msg/CameraInfo"
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
TRANSFORMS_TYPE = "tf2_msgs/msg/TFMessage"
StampedPose = tuple[int, Pose]


@dataclass(eq=False)
class BagFacts:
    """The small messages of a bag.

    Attributes:
        odometry_topic: where the ego's poses are from, or None.
        labels_topic: where the boxes are from, or None.
        odometry: stamps and poses, world from the odometry's child frame.
        odometry_child: that frame.
        static: child frame to its parent and the pose parent_from_child.
        moving: child frame to each parent that was told for it, with a pose for each stamp.
        infos: first calibration of each CameraInfo topic.
        labels: boxes by stamp.
        read: messages read, by topic.
        rejected: of these, messages that could not be used.
        reasons: why.
        damage: what ended the bag before its end, if anything did.
    """

    odometry_topic: str | None = None
    labels_topic: str | None = None
    odometry: list[StampedPose] = field(default_factory=list)
    odometry_child: str = ""
    static: dict[str, tuple[str, Pose]] = field(default_factory=dict)
    moving: dict[str, dict[str, list[StampedPose]]] = field(default_factory=dict)
    infos: dict[str, Any] = field(default_factory=dict)
    labels: dict[int, Any] = field(default_factory=dict)
    read: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    damage: str = ""


def read_facts(reader: BagReader, settings: FromBagSettings) -> BagFacts:
    """Reads them all; where the bag is damaged, those before the damage.

    Raises:
        BagError: when a topic that was named is not there, has another type, or several could be meant.
    """
    facts = BagFacts(
        odometry_topic=_chosen(reader, ODOMETRY_TYPE, settings.odometry_topic, ODOMETRY_TOPIC, "--odometry-topic"),
        labels_topic=_chosen(reader, DETECTIONS_TYPE, settings.labels_topic, LABELS_TOPIC, "--labels-topic"),
    )
    by_type = topics_by_type(reader)
    wanted = [*by_type[TRANSFORMS_TYPE], *by_type[INFO_TYPE]]
    wanted += [topic for topic in (facts.odometry_topic, facts.labels_topic) if topic]
    try:
        for message in reader.messages(wanted) if wanted else ():
            _note(facts, reader, message)
        facts.damage = shortfall(reader, wanted, facts.read)
    except BagError as error:
        facts.damage = str(error)
    return facts


def shortfall(reader: BagReader, topics: Iterable[str], read: Mapping[str, int]) -> str:
    """Messages that the bag promises and does not give, as text: an index can be damaged without anyone noticing."""
    for topic in topics:
        promised = reader.topics[topic].num_messages
        if read.get(topic, 0) < promised:
            found, wanted = f"{read.get(topic, 0)} messages", f"{promised}, as its metadata say"
            return str(BagError(f"bag {reader.path}: {topic}", found=found, wanted=wanted))
    return ""


def topics_by_type(reader: BagReader) -> dict[str, list[str]]:
    """Names of topics that hold messages, by their type."""
    by_type: dict[str, list[str]] = defaultdict(list)
    for topic in reader.topics.values():
        if topic.num_messages:
            by_type[topic.type_name].append(topic.name)
    return by_type


def frame_id_on(reader: BagReader, topic: str) -> str:
    """Frame id of the first message; empty when it cannot be read."""
    try:
        for message in reader.messages([topic]):
            return str(reader.decode(message).header.frame_id)
    except (BagError, AttributeError):
        return ""
    return ""


def _chosen(reader: BagReader, type_name: str, asked: str, preferred: str, option: str) -> str | None:
    """The topic that was named, else the usual one, else the only one; detections of a replay are never labels."""
    if asked == NONE:
        return None
    if asked:
        return reader.topic_of(type_name, name=asked).name
    candidates = [name for name in topics_by_type(reader)[type_name] if name != DETECTIONS_TOPIC]
    if preferred in candidates:
        return preferred
    if len(candidates) > 1:
        found = f"{len(candidates)} topics of {type_name}: {', '.join(candidates)}"
        raise BagError(f"bag {reader.path}", found=found, wanted="one", remedy=f"choose it with {option}, or say none")
    return candidates[0] if candidates else None


def _note(facts: BagFacts, reader: BagReader, message: BagMessage) -> None:
    facts.read[message.topic] += 1
    try:
        _take(facts, reader.decode(message), message)
    except (UnderstudyError, AttributeError) as error:
        facts.rejected[message.topic] += 1
        facts.reasons[f"{message.topic}: {error}"] += 1


def _take(facts: BagFacts, content: Any, message: BagMessage) -> None:
    if message.type_name == TRANSFORMS_TYPE:
        _take_transforms(facts, content, is_static=message.topic.endswith(STATIC_TRANSFORMS_TOPIC))
    elif message.type_name == INFO_TYPE:
        facts.infos.setdefault(message.topic, content)
    elif message.topic == facts.labels_topic:
        facts.labels[stamp_ns_from_message(content)] = content
    elif message.topic == facts.odometry_topic:
        facts.odometry.append((stamp_ns_from_message(content), _pose(content.pose.pose)))
        facts.odometry_child = frame_name(content.child_frame_id)


def _take_transforms(facts: BagFacts, content: Any, *, is_static: bool) -> None:
    for entry in content.transforms:
        parent, child = frame_name(entry.header.frame_id), frame_name(entry.child_frame_id)
        turn, shift = entry.transform.rotation, entry.transform.translation
        pose = Pose.from_quaternion((turn.w, turn.x, turn.y, turn.z), (shift.x, shift.y, shift.z))
        if is_static:
            facts.static[child] = (parent, pose)
        else:
            of_parent = facts.moving.setdefault(child, {}).setdefault(parent, [])
            of_parent.append((stamp_ns_from_message(entry), pose))


def frame_name(text: str) -> str:
    """A frame id without the slash that old drivers put before it."""
    return str(text).lstrip("/")


def _pose(pose: Any) -> Pose:
    turn, place = pose.orientation, pose.position
    return Pose.from_quaternion((turn.w, turn.x, turn.y, turn.z), (place.x, place.y, place.z))
