"""Which topic of a bag is which sensor of the rig, and which one tells where the ego was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from understudy.bags.reader import BagReader
from understudy.errors import BagError, InputError
from understudy.pipeline import Pipeline
from understudy.replay.options import ReplayOptions
from understudy.rig import Rig
from understudy.topics import ODOMETRY_TOPIC, TRANSFORMS_TOPIC, image_topic, points_topic

POINTS_TYPE = "sensor_msgs/msg/PointCloud2"
IMAGE_TYPES = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image")
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
TRANSFORMS_TYPE = "tf2_msgs/msg/TFMessage"


@dataclass(frozen=True)
class Sources:
    """Which topic is what.

    Attributes:
        topic: of the sensor that makes sets: the student's LiDAR, or the first camera of one that needs none.
        pivot: that sensor's name in the rig.
        cameras: names of the cameras that are matched to it, by topic.
        motion: odometry or transforms; None where nobody needs them.
        absent: cameras of a student that the bag has no pictures of; they are masked.
    """

    topic: str
    pivot: str
    cameras: Mapping[str, str]
    motion: str | None = None
    absent: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        """Topics, the pivot's first."""
        yield from (self.topic, *self.cameras, *([self.motion] if self.motion else []))

    def sensor_of(self, topic: str) -> str:
        """The sensor's name in the rig."""
        return self.pivot if topic == self.topic else self.cameras[topic]


def find_sources(reader: BagReader, pipelines: Sequence[Pipeline], options: ReplayOptions) -> Sources:
    """Looks for the topics of a replay.

    Args:
        reader: of the bag.
        pipelines: of the student, and of another one that is compared with it: sets hold what any of them looks at.
        options: what was chosen.

    Raises:
        BagError: when the bag has no such topic, it is of another type, or there are several and none was chosen.
        InputError: when a camera that was named is not in the rig, or more are required than there are.
    """
    pipeline, lidar = pipelines[0], next((one.lidar for one in pipelines if one.lidar), "")
    looked_at = tuple(dict.fromkeys(name for one in pipelines for name in one.cameras))
    wanted = looked_at or (tuple(pipeline.rig.cameras) if options.cameras else ())
    cameras = _camera_topics(reader, pipeline.rig, wanted, options)
    if wanted and not cameras:
        _refuse_no_pictures(reader, looked_at)
    absent = tuple(name for name in looked_at if name not in cameras.values())
    if lidar:
        topic, pivot = reader.topic_of(POINTS_TYPE, name=options.topic, preferred=points_topic(lidar)).name, lidar
    else:
        topic, pivot = _first_camera(reader, cameras, wanted[0], options)
        del cameras[topic]
    if wanted:
        _refuse_too_few(len(cameras), options)
    sweeps = pipeline.contract.sweeps
    needs_motion = options.odometry is not None or sweeps > 1
    motion = _motion_topic(reader, options.odometry, sweeps) if needs_motion else None
    return Sources(topic, pivot, cameras, motion, absent)


def _camera_topics(reader: BagReader, rig: Rig, wanted: Sequence[str], options: ReplayOptions) -> dict[str, str]:
    """Cameras by topic: the one that was named, else `/sensors/<camera>/image/compressed`, else its raw pictures.

    A camera that was not named and has no such topic is left out.
    """
    topics, cameras = reader.topics, {}
    for name in options.camera_topics:
        if name not in rig.cameras:
            known = f"one of {', '.join(rig.cameras) or 'none: the rig has no camera'}"
            raise InputError("--camera", found=name, wanted=known)
    for name in wanted:
        usual = (image_topic(name), image_topic(name).removesuffix("/compressed"))
        topic = options.camera_topics.get(name) or next((one for one in usual if one in topics), None)
        if topic is None:
            continue
        if topic in cameras or topic not in topics or topics[topic].type_name not in IMAGE_TYPES:
            found = (
                "another camera's" if topic in cameras else topics[topic].type_name if topic in topics else "nothing"
            )
            raise BagError(
                f"bag {reader.path}: topic {topic}", found=found, wanted=f"{' or '.join(IMAGE_TYPES)} of camera {name}"
            )
        cameras[topic] = name
    return cameras


def _first_camera(reader: BagReader, cameras: Mapping[str, str], pivot: str, options: ReplayOptions) -> tuple[str, str]:
    """Topic and name of the camera that makes sets where no LiDAR is needed, as in the node."""
    if options.topic is not None:
        wanted = "none: the student looks at pictures alone"
        raise InputError("--topic", found=options.topic, wanted=wanted, remedy="name pictures' topics with --camera")
    topic = next((topic for topic, name in cameras.items() if name == pivot), None)
    if topic is None:
        found, remedy = f"pictures of {', '.join(cameras.values())}", f"say --camera {pivot}=TOPIC"
        wanted = f"those of {pivot}, the student's first camera, which makes sets"
        raise BagError(f"bag {reader.path}", found=found, wanted=wanted, remedy=remedy)
    return topic, pivot


def _refuse_no_pictures(reader: BagReader, looked_at: Sequence[str]) -> None:
    if looked_at:
        what, cameras = f"bag {reader.path}", f"{', '.join(looked_at)}, which the student looks at"
    else:
        what, cameras = f"bag {reader.path}: --cameras", "a camera of the rig"
    wanted = f"/sensors/<camera>/image/compressed of {cameras}, {' or '.join(IMAGE_TYPES)}"
    raise BagError(what, found="no pictures", wanted=wanted, remedy="say --camera")


def _refuse_too_few(num_cameras: int, options: ReplayOptions) -> None:
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
