"""Which topic of a bag is which sensor, and the rig they make up; what is ambiguous or missing is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from understudy.bags.reader import BagReader
from understudy.errors import BagError, GeometryError, InputError
from understudy.plausibility import refuse_impossible_mounting
from understudy.rig import Lidar, Rig, read_rig
from understudy.topics import STATIC_TRANSFORMS_TOPIC, image_topic, points_topic
from understudy_training.data.from_bag_facts import (
    CLOUD_TYPE,
    COMPRESSED_TYPE,
    RAW_TYPE,
    BagFacts,
    frame_id_on,
    frame_name,
    topics_by_type,
)
from understudy_training.data.from_bag_poses import is_elsewhere, mounted
from understudy_training.data.from_bag_rig import rig_of_bag
from understudy_training.data.from_bag_settings import NONE, FromBagSettings

RIG_BESIDE = "rig.yaml"
_IN_TOPIC = re.compile(r"/sensors/([^/]+)/")
_IMAGE_ENDING = re.compile(r"(/compressed|/image[^/]*)+$")


@dataclass(frozen=True, eq=False)
class Sources:
    """Topics of the sensors.

    Attributes:
        rig: the rig of the drive.
        lidars: topic of each LiDAR, the pivot first.
        cameras: topic of each camera.
        rig_from: where the rig is from.
    """

    rig: Rig
    lidars: Mapping[str, str]
    cameras: Mapping[str, str] = field(default_factory=dict)
    rig_from: str = ""

    @property
    def pivot(self) -> str:
        """The LiDAR whose sweeps become frames."""
        return next(iter(self.lidars))

    @property
    def sensor_of(self) -> dict[str, str]:
        """Sensor of each topic."""
        return {topic: name for name, topic in (*self.lidars.items(), *self.cameras.items())}


def find_sources(reader: BagReader, facts: BagFacts, rig_file: Path | None, settings: FromBagSettings) -> Sources:
    """Finds topics and rig: of the file, else of the file beside the messages, else of the bag's own transforms.

    Raises:
        BagError: when a topic is missing, of another type, or several could be meant.
        GeometryError: when the rig is not that of the bag, or the bag's transforms and calibrations are not whole.
        InputError: when a rig file cannot be read, or an option is none.
    """
    file = rig_file or rig_beside(reader.path)
    if file is None:
        lidars, cameras = _lidars(reader, None, settings), _cameras(reader, None, settings)
        rig = rig_of_bag(reader, facts, lidars, cameras, settings)
        found = Sources(rig, lidars, cameras, f"{STATIC_TRANSFORMS_TOPIC} and CameraInfo of {reader.path}")
    else:
        rig = read_rig(file)
        lidars, cameras = _lidars(reader, rig, settings), _cameras(reader, rig, settings)
        found = Sources(rig, lidars, cameras, f"{file}")
        _refuse_other_rig(reader, facts, found, settings)
    for name in found.lidars:
        refuse_impossible_mounting(rig, name, rig.lidars[name])
    return found


def rig_beside(bag: Path) -> Path | None:
    """The rig file beside a bag's messages, where there is one."""
    beside = (bag if bag.is_dir() else bag.parent) / RIG_BESIDE
    return beside if beside.is_file() else None


def _lidars(reader: BagReader, rig: Rig | None, settings: FromBagSettings) -> dict[str, str]:
    candidates = topics_by_type(reader)[CLOUD_TYPE]
    if settings.lidar_topics:
        return dict(_named(reader, entry, CLOUD_TYPE, rig, "--lidar-topic") for entry in settings.lidar_topics)
    if not candidates:
        found = ", ".join(f"{topic.name} ({topic.type_name})" for topic in reader.topics.values()) or "no topic"
        raise BagError(f"bag {reader.path}", found=found, wanted=f"messages of {CLOUD_TYPE}")
    known = {} if rig is None else _of_rig(reader, rig, tuple(rig.lidars), candidates, points_topic)
    if known:
        return known
    if len(candidates) > 1:
        found = f"{len(candidates)} topics of {CLOUD_TYPE}: {', '.join(candidates)}"
        raise BagError(f"bag {reader.path}", found=found, wanted="one", remedy="choose it with --lidar-topic")
    name = _name_of(reader, candidates[0]) if rig is None else rig.lidar()[0]
    return {name: candidates[0]}


def _cameras(reader: BagReader, rig: Rig | None, settings: FromBagSettings) -> dict[str, str]:
    if NONE in settings.camera_topics:
        return {}
    if settings.camera_topics:
        types = (COMPRESSED_TYPE, RAW_TYPE)
        return dict(_named_camera(reader, entry, types, rig) for entry in settings.camera_topics)
    candidates = _image_topics(reader)
    if rig is not None:
        return _of_rig(reader, rig, tuple(rig.cameras), candidates, image_topic)
    named = [(_name_of(reader, topic), topic) for topic in candidates]
    _refuse_twins(reader, named)
    return dict(named)


def _of_rig(
    reader: BagReader, rig: Rig, sensors: tuple[str, ...], candidates: list[str], usual: object
) -> dict[str, str]:
    """Topics of the rig's sensors: those named as usual, else those that carry the sensor's frame id."""
    assert callable(usual)
    found = {name: str(usual(name)) for name in sensors if usual(name) in candidates}
    left = [topic for topic in candidates if topic not in found.values()]
    by_frame: dict[str, list[str]] = {}
    for topic in left if len(found) < len(sensors) else ():
        by_frame.setdefault(frame_id_on(reader, topic), []).append(topic)
    for name in sensors:
        frame_id = rig.sensors[name].frame_id
        topics = by_frame.get(frame_id, []) if name not in found and frame_id else []
        if len(topics) > 1:
            found_text = f"{len(topics)} topics of frame {frame_id}: {', '.join(topics)}"
            option = "--lidar-topic" if name in rig.lidars else "--camera-topic"
            remedy = f"choose it with {option} {name}=TOPIC"
            raise BagError(f"bag {reader.path}: sensor {name}", found=found_text, wanted="one", remedy=remedy)
        if topics:
            found[name] = topics[0]
    return {name: found[name] for name in sensors if name in found}


def _named(reader: BagReader, entry: str, type_name: str, rig: Rig | None, option: str) -> tuple[str, str]:
    """Name and topic of `name=topic` or `topic`."""
    name, separator, topic = entry.rpartition("=")
    topic = reader.topic_of(type_name, name=topic).name
    if not separator:
        name = _guessed_name(reader, topic, rig)
    if rig is not None and name not in rig.sensors:
        found = ", ".join(rig.sensors)
        raise GeometryError(f"rig {rig.name}: {option} {entry}", found=f"sensors {found}", wanted=f"one named {name}")
    return name, topic


def _guessed_name(reader: BagReader, topic: str, rig: Rig | None) -> str:
    if rig is None:
        return _name_of(reader, topic)
    usual = [name for name in rig.lidars if points_topic(name) == topic]
    frame_id = frame_id_on(reader, topic)
    framed = [name for name, lidar in rig.lidars.items() if lidar.frame_id and lidar.frame_id == frame_id]
    return usual[0] if usual else framed[0] if len(framed) == 1 else rig.lidar()[0]


def _named_camera(reader: BagReader, entry: str, types: tuple[str, str], rig: Rig | None) -> tuple[str, str]:
    name, separator, topic = entry.partition("=")
    if not separator:
        raise InputError("--camera-topic", found=entry, wanted="NAME=TOPIC, or none")
    known = reader.topics.get(topic)
    is_raw = known is not None and known.type_name == types[1]
    return _named(reader, f"{name}={topic}", types[1] if is_raw else types[0], rig, "--camera-topic")


def _image_topics(reader: BagReader) -> list[str]:
    """Picture topics; of a raw and a compressed one of the same camera the compressed one."""
    by_type = topics_by_type(reader)
    compressed = by_type[COMPRESSED_TYPE]
    bases = {_IMAGE_ENDING.sub("", topic) for topic in compressed}
    return [*compressed, *(topic for topic in by_type[RAW_TYPE] if _IMAGE_ENDING.sub("", topic) not in bases)]


def _name_of(reader: BagReader, topic: str) -> str:
    """A name for a sensor that no rig names: that in the topic, else its frame id."""
    usual = _IN_TOPIC.match(topic)
    text = usual.group(1) if usual else frame_id_on(reader, topic) or topic
    return re.sub(r"[^\w.-]+", "_", frame_name(text)).strip("_.-") or "sensor"


def _refuse_twins(reader: BagReader, named: list[tuple[str, str]]) -> None:
    names = [name for name, _ in named]
    twins = [topic for name, topic in named if names.count(name) > 1]
    if twins:
        remedy = "choose with --camera-topic NAME=TOPIC"
        raise BagError(f"bag {reader.path}", found=f"{', '.join(twins)} of one frame id", wanted="one", remedy=remedy)


def _refuse_other_rig(reader: BagReader, facts: BagFacts, sources: Sources, settings: FromBagSettings) -> None:
    """Raises GeometryError when a frame id or a mounting of the rig is not that of the bag."""
    rig = sources.rig
    for name, topic in (*sources.lidars.items(), *sources.cameras.items()):
        sensor = rig.sensors[name]
        kind = "LiDAR" if isinstance(sensor, Lidar) else "camera"
        what = f"rig {rig.name}: {kind} {name}"
        frame_id = frame_id_on(reader, topic)
        if sensor.frame_id and frame_id and frame_id != sensor.frame_id:
            found, wanted = f"frame_id {sensor.frame_id}", f"{frame_id}, as {topic} of bag {reader.path} has"
            raise GeometryError(what, found=found, wanted=wanted, remedy="use the rig of that recording")
        in_bag = mounted(facts, settings.base_frame, sensor.frame_id or frame_id)
        apart = "" if in_bag is None else is_elsewhere(in_bag, sensor.ego_from_sensor.pose())
        if apart and not settings.ignore_tf:
            wanted = f"where {STATIC_TRANSFORMS_TOPIC} of bag {reader.path} has it"
            raise GeometryError(what, found=apart, wanted=wanted, remedy="use the rig of that recording or --ignore-tf")
