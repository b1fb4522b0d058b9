"""Other passes of a scene's street: the same houses, trees and roads, other traffic, parked cars and people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.configuration import write_yaml
from understudy.datasets.scenes import DESCRIPTION_FILE, LIDAR, RIG_FILE, DriveEntry, ScenesDataset, ScenesDescription
from understudy.errors import InputError
from understudy.progress import Track, silent
from understudy_training.label_free.passes import PASSES_FILE, Passes
from understudy_training.scenes.actors import Occupancy, stand
from understudy_training.scenes.actors import Track as Path2d
from understudy_training.scenes.config import ACTOR_CLASSES, FRAME_PERIOD_S, POINT_CLASSES, SceneConfig
from understudy_training.scenes.drive import Drive
from understudy_training.scenes.geometry import build_solids
from understudy_training.scenes.roads import Road
from understudy_training.scenes.sensors import build_rig
from understudy_training.scenes.street import Street
from understudy_training.scenes.traffic import (
    Traffic,
    fill_bike_lanes,
    fill_crossing,
    fill_lanes,
    fill_parking,
    fill_sidewalks,
)
from understudy_training.scenes.writer import drive_name

_CAMERAS = frozenset({"camera", "surround"})
"""Settings of the cameras; a pass has none."""
_PURPOSE = 77
"""Keeps the passes' random numbers apart from those of the scenes themselves."""
_PERIOD_NS = 86_400_000_000_000
"""A pass a day."""
_BESIDE_M = 0.4
_END_M = 5.0


def another_day(config: SceneConfig, number: int, day: int) -> Drive:
    """One more pass of a drive's street; the configuration, the drive's number and the day (from 1) decide it.

    Its frames have the poses of the original drive's world, no labels and no pictures.
    """
    bare = _without_cameras(config)
    rng = np.random.default_rng([config.seed, number, _PURPOSE, day])
    street = _other_traffic(Drive(bare, number).street, rng)
    # a drive of another seed, so that the noise is another; then its world is exchanged
    drive = Drive(bare.model_copy(update={"seed": int(rng.integers(2**31)), "val_seed": None}), number)
    drive.street, drive.solids = street, build_solids(street)
    drive.labels = np.zeros(0, np.int32)
    drive.middles_m, drive.sizes_m = np.zeros((0, 3)), np.zeros((0, 3))
    drive.velocities_mps = np.zeros((0, len(street.ego.pose), 2))
    return drive


def refuse_other_streets(dataset: ScenesDataset, config: SceneConfig) -> None:
    """Raises InputError when this generator would not make the first frame of a data set: its streets are others.

    Args:
        dataset: made with the configuration, by whichever version.
        config: what the data set says that it was made with.
    """
    made = Drive(_without_cameras(config), 0).moment(0).sweep.points
    found = dataset[0].frame.clouds[LIDAR].points
    if made.shape != found.shape or not np.allclose(made, found, atol=1e-3):
        remedy = "make both with the same version of understudy"
        what = f"{dataset.path}: first frame"
        raise InputError(what, found=f"{len(found)} points", wanted=f"the {len(made)} of this version", remedy=remedy)


def write_passes(config: SceneConfig, out: Path, num_passes: int, *, every: int = 5, track: Track = silent) -> Passes:
    """Writes other passes of the training drives of a data set of scenes, as scenes without labels or pictures.

    Args:
        config: of the scenes, as their `dataset.yaml` holds it.
        out: folder to make.
        num_passes: passes of each drive, at least 2.
        every: of the frames of a pass, one in so many is written.
        track: progress.

    Raises:
        InputError: when `out` holds something, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}", found="something there", wanted="a new or empty folder")
    numbers = [number for number in range(config.num_drives) if config.split(number) == "train"]
    drives = [(number, day) for number in numbers for day in range(1, num_passes + 1)]
    for number, day in track(drives, "other passes", len(drives)):
        _write_pass(another_day(config, number, day), day, out / "drives" / _name(number, day) / "frames", every)
    bare = _without_cameras(config)
    build_rig(bare).write(out / RIG_FILE)
    passes = Passes(groups=tuple(_group(number, num_passes) for number in numbers))
    write_yaml(out / PASSES_FILE, passes)
    names = (_name(number, day) for number, day in drives)
    num_frames = len(range(0, config.num_frames, every))
    write_yaml(
        out / DESCRIPTION_FILE,
        ScenesDescription(
            class_names=ACTOR_CLASSES,
            point_class_names=POINT_CLASSES,
            drives=tuple(DriveEntry(name=name, split="train", num_frames=num_frames) for name in names),
            generator={"passes": num_passes, "every": every, "of": bare.model_dump(mode="json")},
        ),
    )
    return passes


def _without_cameras(config: SceneConfig) -> SceneConfig:
    return config.model_copy(update=dict.fromkeys(_CAMERAS & set(SceneConfig.model_fields)))


def _name(number: int, day: int) -> str:
    return f"{drive_name(number)}-pass{day}"


def _group(number: int, num_passes: int) -> tuple[str, ...]:
    return (drive_name(number), *(_name(number, day) for day in range(1, num_passes + 1)))


def _write_pass(drive: Drive, day: int, folder: Path, every: int) -> None:
    folder.mkdir(parents=True)
    for written, frame in enumerate(range(0, drive.config.num_frames, every)):
        moment = drive.moment(frame)
        sweep, boxes = moment.sweep, moment.boxes
        np.savez(
            folder / f"{written:06d}.npz",
            points=sweep.points,
            time_offset_s=sweep.time_offset_s,
            ring=sweep.ring,
            point_classes=sweep.point_class,
            boxes=boxes.geometry,
            labels=boxes.labels,
            track_ids=np.zeros(0, np.int64),
            num_points=np.zeros(0, np.int32),
            velocities_mps=np.zeros((0, 2), np.float32),
            world_from_ego=moment.world_from_ego.matrix,
            stamp_ns=np.int64(moment.stamp_ns + day * _PERIOD_NS),
        )


def _other_traffic(street: Street, rng: np.random.Generator) -> Street:
    """The street with everything that has no box, other actors, and the ego a little beside its first track."""
    num_turns = len(street.ego.pose)
    ego = _beside(street.ego, float(rng.uniform(-_BESIDE_M, _BESIDE_M)), float(rng.uniform(-3.0, 3.0)))
    times_s = np.arange(num_turns, dtype=np.float64) * FRAME_PERIOD_S
    traffic = Traffic(rng, times_s, Occupancy(num_turns))
    for fixture in street.fixtures:
        traffic.occupancy.admit(stand(fixture.pose, num_turns), fixture.shape, (0.0, 0.0))
    ego_speed_mps = float(np.hypot(*street.ego.velocity_mps[0]))
    for road in street.roads:
        others = [other.pieces() for other in street.roads if other is not road]
        pieces = np.concatenate([np.zeros((0, 10)), *others])
        _fill(traffic, road, pieces, ego_speed_mps if road is street.roads[0] else None)
    clear = [actor for actor in traffic.actors if _keeps_off(actor.track, ego)]
    return replace(street, ego=ego, actors=tuple(clear))


def _fill(traffic: Traffic, road: Road, others: NDArray[np.float64], ego_speed_mps: float | None) -> None:
    reach = (_END_M, road.total_m - _END_M)
    if reach[1] - reach[0] > 2 * 35:
        fill_crossing(traffic, road, (reach[0] + 35, reach[1] - 35))
    fill_lanes(traffic, road, reach, ego_speed_mps)
    fill_bike_lanes(traffic, road, reach)
    fill_parking(traffic, road, reach, others)
    fill_sidewalks(traffic, road, reach)


def _beside(track: Path2d, left_m: float, ahead_m: float) -> Path2d:
    cos, sin = np.cos(track.pose[:, 2]), np.sin(track.pose[:, 2])
    shift = np.column_stack([ahead_m * cos - left_m * sin, ahead_m * sin + left_m * cos, np.zeros(len(cos))])
    return Path2d(track.pose + shift, track.velocity_mps)


def _keeps_off(track: Path2d, ego: Path2d) -> bool:
    """Whether an actor stays clear of the ego, which the occupancy does not know."""
    return bool(np.hypot(*(track.pose[:, :2] - ego.pose[:, :2]).T).min() > 6.0)
