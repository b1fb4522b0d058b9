"""Which topic of a bag is which sensor of the rig, and which one tells where the ego was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from understudy.bags.reader import BagReader
from understudy.errors import BagError, InputError
from understudy.pipeline import Pipeline
from understudy.replay.options import ReplayOptions
from understudy.topics import ODOMETRY_TOPIC, TRANSFORMS_TOPIC, image_topic, points_topic

POINTS_TYPE = "sensor_msgs/msg/PointCloud2"
IMAGE_TYPES = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image")
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
TRANSFORMS_TYPE = "tf2_msgs/msg/TFMessage"


@dataclass(frozen=True)
class Sources:
    """Which topic is what.

    Attributes:
        points: clouds of the student's LiDAR.
        lidar: its name in the rig.
        cameras: names of the cameras, by topic.
        motion: odometry or transforms; None where nobody needs them.
    """

    points: str
    lidar: str
    cameras: Mapping[str, str]
    motion: str | None = None

    def __iter__(self) -> Iterator[str]:
        """Topics, the clouds' first."""
        yield from (self.points, *self.cameras, *([self.motion] if self.motion else []))

    def sensor_of(self, topic: str) -> str:
        """The sensor's name in the rig."""
        return self.lidar if topic == self.points else self.cameras[topic]


def find_sources(reader: BagReader, pipeline: Pipeline, options: ReplayOptions) -> Sources:
    """Looks for the topics of a replay.

    Raises:
        BagError: when the bag has no such topic, it is of another type, or there are several and none was chosen.
        InputError: when a camera that was named is not in the rig, or more are required than there are.
    """
    points = reader.topic_of(POINTS_TYPE, name=options.topic, preferred=points_topic(pipeline.lidar)).name
    cameras = _camera_topics(reader, pipeline, options) if options.cameras else {}
    if options.cameras:
        _refuse_too_few(len(cameras), reader, options)
    sweeps = pipeline.contract.sweeps
    needs_motion = options.odometry is not None or sweeps > 1
    motion = _motion_topic(reader, options.odometry, sweeps) if needs_motion else None
    return Sources(points, pipeline.lidar, cameras, motion)


def _camera_topics(reader: BagReader, pipeline: Pipeline, options: ReplayOptions) -> dict[str, str]:
    """Cameras by topic: the one that was named, else `/sensors/<camera>/image/compressed`, else its raw pictures.

    A camera that was not named and has no such topic is left out.
    """
    topics, cameras = reader.topics, {}
    for name in options.camera_topics:
        if name not in pipeline.rig.cameras:
            wanted = f"one of {', '.join(pipeline.rig.cameras) or 'none: the rig has no camera'}"
            raise InputError("--camera", found=name, wanted=wanted)
    for name in pipeline.rig.cameras:
        usual = (image_topic(name), image_topic(name).removesuffix("/compressed"))
        topic = options.camera_topics.get(name) or next((one for one in usual if one in topics), None)
        if topic is None:
            continue
        if topic in cameras or topic not in topics or topics[topic].type_name not in IMAGE_TYPES:
            found = (
                "another camera's" if topic in cameras else topics[topic].type_name if topic in topics else "nothing"
            )
            wanted = f"{' or '.join(IMAGE_TYPES)} of camera {name}"
            raise BagError(f"bag {reader.path}: topic {topic}", found=found, wanted=wanted)
        cameras[topic] = name
    return cameras


def _refuse_too_few(num_cameras: int, reader: BagReader, options: ReplayOptions) -> None:
    if not num_cameras:
        wanted = f"/sensors/<camera>/image/compressed of a camera of the rig, {' or '.join(IMAGE_TYPES)}"
        raise BagError(f"bag {reader.path}: --cameras", found="no pictures", wanted=wanted, remedy="say --camera")
    required = options.policy.min_cameras if options.policy.require == "min_n" else 0
    if required > num_cameras:
        raise InputError("--require", found=required, wanted=f"{num_cameras} at most: so many cameras are in the bag")


def _motion_topic(reader: BagReader, name: str | None, sweeps: int) -> str:
    """The topic called `name`, else `/ego/odom`, else the only odometry, else `/tf`."""
    topics = reader.topics
    if name is not None and name in topics and topics[name].type_name == TRANSFORMS_TYPE:
        return name
    has_odometry = any(topic.type_name == ODOMETRY_TYPE for topic in topics.values())
    if name is not None or has_odometry:
        return reader.topic_of(ODOMETRY_TYPE, name=name, preferred=ODOMETRY_TOPIC, option="--odometry").name
    if TRANSFORMS_TOPIC in topics and topics[TRANSFORMS_TOPIC].type_name == TRANSFORMS_TYPE:
        return TRANSFORMS_TOPIC
    wanted = f"{ODOMETRY_TYPE} or {TRANSFORMS_TOPIC}, for a student of {sweeps} sweeps in a cloud"
    raise BagError(f"bag {reader.path}", found="nothing that tells where the ego was", wanted=wanted)
