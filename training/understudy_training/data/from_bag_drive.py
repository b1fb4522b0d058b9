"""One bag's sweeps and pictures, matched, chosen, accumulated and written as the frames of a drive."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.bags.reader import BagMessage, BagReader
from understudy.datasets.dataset import Sample, Sweep
from understudy.datasets.recorded_frame import Picture
from understudy.datasets.recorded_writer import DriveWriter
from understudy.datasets.sweeps import accumulate
from understudy.errors import BagError, FrameError, UnderstudyError
from understudy.frame import Frame, PointCloud
from understudy.messages.clouds import cloud_from_message
from understudy.messages.headers import stamp_ns_from_message
from understudy.pose import Pose
from understudy.progress import Track
from understudy.synchronization.matcher import OUTCOMES, MatchedSet, Stamped
from understudy.synchronization.nearest import Synchronizer
from understudy_training.data.from_bag_facts import CLOUD_TYPE, BagFacts, shortfall
from understudy_training.data.from_bag_labels import RecordedLabels
from understudy_training.data.from_bag_pictures import picture_of_message
from understudy_training.data.from_bag_poses import EgoPoses
from understudy_training.data.from_bag_settings import FromBagSettings
from understudy_training.data.from_bag_sources import Sources
from understudy_training.data.from_bag_summary import DriveCounts
from understudy_training.data.pseudo_labels import Annotator

NOT_KEY = "not_key_frame"
_SLACK = 0.1
"""Part of a key frame's period by which a sweep may come early: sweeps have jitter."""


class KeyFrames:
    """Chooses frames by rate and by motion.

    Args:
        rate_hz: frames for each second; 0 chooses all.
        min_motion_m: least way since the last frame; needs poses.
    """

    def __init__(self, rate_hz: float, min_motion_m: float) -> None:
        self._rate_hz, self._min_motion_m = rate_hz, min_motion_m
        self._first_ns: int | None = None
        self._slot = -1
        self._place: Pose | None = None

    def takes(self, stamp_ns: int, world_from_ego: Pose | None) -> bool:
        """Whether the sweep is a key frame; sweeps come in the order of their stamps.

        Slots of one period count from the first sweep, so that the rate is kept over hours; the first sweep of each
        slot that has moved far enough is taken.
        """
        due = self.due(stamp_ns, world_from_ego)
        if due:
            self._slot, self._place = self._slot_of(stamp_ns), world_from_ego
        return due

    def due(self, stamp_ns: int, world_from_ego: Pose | None) -> bool:
        """The same without taking it."""
        if self._rate_hz and self._slot_of(stamp_ns) <= self._slot:
            return False
        if self._place is None or world_from_ego is None:
            return True
        moved_m = float(np.linalg.norm(world_from_ego.translation_m - self._place.translation_m))
        return moved_m >= self._min_motion_m

    def _slot_of(self, stamp_ns: int) -> int:
        self._first_ns = stamp_ns if self._first_ns is None else self._first_ns
        return int((stamp_ns - self._first_ns) / 1e9 * self._rate_hz + _SLACK)


class DriveRun:
    """One pass over a bag's clouds and pictures.

    Args:
        reader: the bag.
        sources: topics and rig.
        poses: where the ego was.
        labels: boxes of the recording.
        settings: what was asked for.
        writer: takes the frames.
        annotator: the teacher's part, where there is one.
    """

    def __init__(
        self,
        reader: BagReader,
        sources: Sources,
        poses: EgoPoses,
        labels: RecordedLabels,
        settings: FromBagSettings,
        writer: DriveWriter,
        annotator: Annotator | None = None,
    ) -> None:
        self._reader, self._sources, self._poses, self._labels = reader, sources, poses, labels
        self._settings, self._writer, self._annotator = settings, writer, annotator
        self._partners = tuple(name for name in sources.sensor_of.values() if name != sources.pivot)
        offsets_ns = {name: sensor.time_offset_ns for name, sensor in sources.rig.sensors.items()}
        self._synchronizer: Synchronizer[Any] = Synchronizer(
            sources.pivot, self._partners, settings.policy(), offsets_ns
        )
        self._chooser = KeyFrames(settings.key_frame_hz, settings.min_motion_m)
        self._earlier: dict[str, deque[Sweep]] = {name: deque(maxlen=settings.sweeps - 1) for name in sources.lidars}
        self._read: Counter[str] = Counter()
        self._broken: set[str] = set()
        """Cameras of the set at hand whose message holds no picture; they are counted as rejected already."""
        self.counts = DriveCounts()
        self.damage = ""

    def play(self, track: Track) -> None:
        """Reads, matches and writes until the bag ends or is damaged; then labels by the teacher."""
        total = sum(self._reader.topics[topic].num_messages for topic in self._sources.sensor_of)
        try:
            for message in track(self._reader.messages(self._sources.sensor_of), "reading", total):
                for matched in self._match(message):
                    self._take(matched)
            self.damage = shortfall(self._reader, self._sources.sensor_of, self._read)
        except BagError as error:
            self.damage = str(error)
        for matched in self._synchronizer.flush():
            self._take(matched)
        if self._annotator is not None:
            self._label(self._annotator, track)

    def messages(self, facts: BagFacts) -> dict[str, dict[str, int]]:
        """What became of each message, by topic; adds up."""
        table: dict[str, dict[str, int]] = {}
        for topic, sensor in self._sources.sensor_of.items():
            outcomes = self._synchronizer.counts[sensor].outcomes
            ended = {str(name): outcomes[name] for name in OUTCOMES}
            ended["used"] -= self.counts.idle[sensor]
            table[topic] = {"read": self._read[topic], "used": ended.pop("used"), NOT_KEY: self.counts.idle[sensor]}
            table[topic] |= ended
        for topic, read in sorted(facts.read.items()):
            rejected = facts.rejected[topic]
            table[topic] = {"read": read, "used": read - rejected, "rejected": rejected}
            if topic == facts.labels_topic:
                table[topic] = self._labels.outcomes(read, rejected)
        for topic, row in table.items():
            assert row["read"] == sum(row.values()) - row["read"], f"{topic}: {row}"
        return table

    def _match(self, message: BagMessage) -> list[MatchedSet[Any]]:
        self._read[message.topic] += 1
        sensor = self._sources.sensor_of[message.topic]
        try:
            stamp_ns, content = self._converted(message, sensor)
        except (BagError, FrameError) as error:
            self._synchronizer.reject(sensor)
            self._note(message.topic, error)
            return self._synchronizer.advance(message.log_time_ns)
        return self._synchronizer.push(sensor, stamp_ns, content, message.log_time_ns)

    def _converted(self, message: BagMessage, sensor: str) -> tuple[int, Any]:
        """A cloud, or the message of a picture, which is looked at only when it is used."""
        try:
            content = self._reader.decode(message)
        except BagError as error:
            raise FrameError(str(error)) from error
        frame_id, wanted = str(content.header.frame_id), self._sources.rig.sensors[sensor].frame_id
        if wanted and frame_id and frame_id != wanted:
            raise FrameError("frame_id", found=frame_id, wanted=wanted)
        if message.type_name != CLOUD_TYPE:
            return stamp_ns_from_message(content), content
        cloud = cloud_from_message(content, require_intensity=True)
        finite = np.isfinite(cloud.points).all(axis=1)
        if finite.all():
            return cloud.stamp_ns, cloud
        self.counts.dropped_points += int(len(finite) - finite.sum())
        if not finite.any():
            raise FrameError("point cloud", found="no finite point", wanted="at least one")
        return cloud.stamp_ns, _chosen_points(cloud, finite)

    def _take(self, matched: MatchedSet[Any]) -> None:
        """Makes a frame of a set where it is a key frame; in any case what follows may accumulate it."""
        self._broken.clear()
        try:
            self._frame(matched)
        except FrameError as error:
            self._give_back(matched, "rejected")
            self._note(self._sources.lidars[self._sources.pivot], error)

    def _frame(self, matched: MatchedSet[Any]) -> None:
        pivot: PointCloud = matched.pivot.item
        world_from_ego = self._poses.at(matched.pivot.time_ns)
        self._refuse_without_pose(world_from_ego)
        is_key = self._chooser.due(matched.pivot.time_ns, world_from_ego)
        pictures = self._pictures(matched.cameras) if is_key else ()
        is_key = is_key and not (self._broken and self._settings.require == "all")
        clouds = {self._sources.pivot: pivot} | self._other_clouds(matched.cameras)
        frame = Frame(pivot.stamp_ns, clouds, {}, world_from_ego)
        whole = replace(frame, clouds=self._accumulated(clouds, world_from_ego))
        if self._annotator is not None:
            self._annotator.see(whole if self._annotator.sweeps > 1 else frame, is_key=is_key)
        if is_key:
            self._chooser.takes(matched.pivot.time_ns, world_from_ego)
            self._add(whole, pictures)
        else:
            self._labels.skip(frame.stamp_ns)
            self._give_back(matched, NOT_KEY)

    def _add(self, frame: Frame, pictures: tuple[Picture, ...]) -> None:
        boxes = self._labels.take(frame, self._sources.rig)
        sample = Sample(str(self._writer.num_frames), frame, self._sources.rig, boxes, {})
        self._writer.add(sample, pictures)
        self.counts.partial += len(pictures) < len(self._sources.cameras)
        self.counts.posed += frame.world_from_ego is not None
        self.counts.labeled += boxes is not None

    def _refuse_without_pose(self, world_from_ego: Pose | None) -> None:
        needs = self._settings.sweeps > 1 or self._settings.min_motion_m > 0 or self._annotator is not None
        if needs and world_from_ego is None:
            raise FrameError("sweep", found="no pose of the ego at its stamp", wanted="poses before and after it")

    def _other_clouds(self, partners: Mapping[str, Stamped[Any] | None]) -> dict[str, PointCloud]:
        found = {name: partners[name] for name in self._sources.lidars if name != self._sources.pivot}
        return {name: partner.item for name, partner in found.items() if partner is not None}

    def _accumulated(self, clouds: Mapping[str, PointCloud], world_from_ego: Pose | None) -> dict[str, PointCloud]:
        """The clouds with the sweeps before them, which they then join."""
        if self._settings.sweeps == 1 or world_from_ego is None:
            return dict(clouds)
        whole = {}
        for name, cloud in clouds.items():
            lidar = self._sources.rig.lidars[name]
            at_sweep = self._poses.at(cloud.stamp_ns + lidar.time_offset_ns) or world_from_ego
            world_from_sensor = at_sweep @ lidar.ego_from_sensor.pose()
            whole[name] = accumulate(cloud, world_from_sensor, tuple(self._earlier[name]))
            self._earlier[name].appendleft(Sweep(cloud, world_from_sensor))
        return whole

    def _pictures(self, partners: Mapping[str, Stamped[Any] | None]) -> tuple[Picture, ...]:
        pictures = []
        for name in self._sources.cameras:
            partner = partners[name]
            if partner is None:
                continue
            try:
                pictures.append(picture_of_message(partner.item, name, self._sources.rig.cameras[name]))
            except FrameError as error:
                self._synchronizer.counts[name].move("used", "rejected")
                self._note(self._sources.cameras[name], error)
                self._broken.add(name)
        return tuple(pictures)

    def _give_back(self, matched: MatchedSet[Any], outcome: str) -> None:
        """The messages of a set that became no frame."""
        present = [name for name, partner in matched.cameras.items() if partner is not None]
        present = [name for name in present if name not in self._broken]
        if outcome == NOT_KEY:
            self.counts.idle.update([self._sources.pivot, *present])
            return
        self._synchronizer.counts[self._sources.pivot].move("used", "rejected")
        for name in present:
            self._synchronizer.counts[name].move("used", "unmatched")

    def _label(self, annotator: Annotator, track: Track) -> None:
        annotator.follow()
        for number in track(range(self._writer.num_frames), "labeling", self._writer.num_frames):
            boxes = annotator.labels(number, points_in_ego(self._writer.read(number)))
            self._writer.label(number, boxes)
            self.counts.labeled += 1

    def _note(self, topic: str, error: UnderstudyError) -> None:
        self.counts.reasons[f"{topic}: {error}"] += 1


def _chosen_points(cloud: PointCloud, chosen: Any) -> PointCloud:
    return replace(
        cloud,
        points=cloud.points[chosen],
        time_offset_s=None if cloud.time_offset_s is None else cloud.time_offset_s[chosen],
        ring=None if cloud.ring is None else cloud.ring[chosen],
    )


def points_in_ego(sample: Sample) -> NDArray[np.float64]:
    """`(N, 3)` points of all LiDARs in ego, accumulated ones too."""
    lidars = sample.rig.lidars
    clouds = sample.frame.clouds.items()
    return np.concatenate([lidars[name].ego_from_sensor.pose().apply(cloud.points[:, :3]) for name, cloud in clouds])
