"""Writes a data set of scenes to a folder, several drives at a time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.configuration import read_yaml, write_yaml
from understudy.datasets.scenes import (
    CLASSES,
    DEPTH,
    DESCRIPTION_FILE,
    RIG_FILE,
    BenchmarkEntry,
    DriveEntry,
    ScenesDescription,
    truth_folder,
)
from understudy.errors import InputError
from understudy.images import encode_jpeg, encode_png
from understudy.progress import Track, silent
from understudy_training.scenes.camera import Picture
from understudy_training.scenes.config import ACTOR_CLASSES, POINT_CLASSES, PictureConfig, SceneConfig
from understudy_training.scenes.drive import Drive, Moment
from understudy_training.scenes.sensors import build_rig, picture_configs

_MM_PER_M = 1000.0
_MAX_DEPTH_MM = 65535
_MADE = re.compile(r"\d{4,}/(frames/\d{6,}\.npz|camera(_[a-z]+)*/\d{6,}\.jpg|(depth|classes)(_[a-z]+)*/\d{6,}\.png)")
"""Files that `write_drive` makes, by their paths in `drives`."""


@dataclass(frozen=True)
class Made:
    """What was written."""

    num_drives: int
    num_frames: int
    num_points: int
    num_seen: int
    """Labeled actors with five returns or more, over all frames."""
    seconds: float

    @property
    def frames_per_s(self) -> float:
        """Frames written per second of wall time."""
        return self.num_frames / max(self.seconds, 1e-9)


def make_scenes(
    config: SceneConfig,
    out: Path,
    *,
    workers: int = 2,
    overwrite: bool = False,
    track: Track = silent,
    benchmark: BenchmarkEntry | None = None,
) -> Made:
    """Makes a data set; its bytes depend on the configuration only, not on the number of workers.

    Raises:
        InputError: when `out` is not empty and `overwrite` is not set, or cannot be written.
    """
    _prepare(out, overwrite)
    begun = time.perf_counter()
    totals = np.zeros(2, int)
    try:
        for counts in track(_write_drives(config, out, workers), "scenes", total=config.num_drives):
            totals += counts
        _write_description(config, benchmark, out)
    except OSError as error:
        raise InputError(f"{out}", found=str(error), wanted="a folder with room to write to") from error
    num_frames = config.num_drives * config.num_frames
    return Made(config.num_drives, num_frames, int(totals[0]), int(totals[1]), time.perf_counter() - begun)


def drive_name(number: int) -> str:
    """Folder of a drive."""
    return f"{number:04d}"


def write_drive(config: SceneConfig, number: int, out: Path) -> tuple[int, int]:
    """Writes one drive's folder; the numbers of points and of actors seen in it."""
    folder = out / "drives" / drive_name(number)
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    num_points = num_seen = 0
    for frame, moment in enumerate(Drive(config, number)):
        _write_frame(folder / "frames" / f"{frame:06d}.npz", moment)
        for camera, picture_config in picture_configs(config).items():
            _write_picture(folder, camera, frame, moment.pictures[camera], picture_config)
        num_points += len(moment.sweep.points)
        assert moment.boxes.num_points is not None
        num_seen += int((moment.boxes.num_points >= 5).sum())
    return num_points, num_seen


def _prepare(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}", found="a file", wanted="a folder to write to")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise InputError(f"{out}", found="a folder with contents", remedy="choose another or pass --overwrite")
        _remove_scenes(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}", found=str(error), wanted="a folder to write to") from error


def _remove_scenes(out: Path) -> None:
    """Removes an older data set of scenes, finished or not, and nothing of anyone else's."""
    drives = out / "drives"
    entries = sorted(drives.rglob("*"), reverse=True) if drives.is_dir() else []
    files = [path for path in entries if path.is_symlink() or not path.is_dir()]
    made = [path for path in files if _MADE.fullmatch(path.relative_to(drives).as_posix())]
    is_unfinished = [path.name for path in out.iterdir()] == ["drives"] and bool(made) and made == files
    if not is_unfinished and not _is_described(out):
        raise InputError(f"{out}", found="a folder that holds no scenes", remedy="choose another; nothing was removed")
    for path in (out / DESCRIPTION_FILE, out / RIG_FILE, *made):
        path.unlink(missing_ok=True)
    for folder in [path for path in entries if path.is_dir() and not path.is_symlink()]:
        with suppress(OSError):
            folder.rmdir()


def _is_described(out: Path) -> bool:
    """Whether a folder's description is one of ours, of whatever version."""
    try:
        return read_yaml(out / DESCRIPTION_FILE).get("kind") == "scenes"
    except InputError:
        return False


def _write_drives(config: SceneConfig, out: Path, workers: int) -> Iterator[tuple[int, int]]:
    """Ray casting, encoding and writing release the interpreter's lock, so threads are enough."""
    with ThreadPoolExecutor(workers) as pool:
        drives = [pool.submit(write_drive, config, number, out) for number in range(config.num_drives)]
        try:
            for drive in as_completed(drives):
                yield drive.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _write_description(config: SceneConfig, benchmark: BenchmarkEntry | None, out: Path) -> None:
    """Comes last: a folder without it was not finished."""
    build_rig(config).write(out / RIG_FILE)
    drives = tuple(
        DriveEntry(name=drive_name(number), split=config.split(number), num_frames=config.num_frames)
        for number in range(config.num_drives)
    )
    description = ScenesDescription(
        class_names=ACTOR_CLASSES,
        point_class_names=POINT_CLASSES,
        drives=drives,
        generator=config.model_dump(mode="json"),
        benchmark=benchmark,
    )
    write_yaml(out / DESCRIPTION_FILE, description)


def _write_frame(file: Path, moment: Moment) -> None:
    sweep, boxes = moment.sweep, moment.boxes
    assert boxes.track_ids is not None
    assert boxes.num_points is not None
    assert boxes.velocities_mps is not None
    np.savez(
        file,
        points=sweep.points,
        time_offset_s=sweep.time_offset_s,
        ring=sweep.ring,
        point_classes=sweep.point_class,
        boxes=boxes.geometry,
        labels=boxes.labels,
        track_ids=boxes.track_ids,
        num_points=boxes.num_points,
        velocities_mps=boxes.velocities_mps,
        world_from_ego=moment.world_from_ego.matrix,
        stamp_ns=np.int64(moment.stamp_ns),
    )


def _write_picture(folder: Path, camera: str, frame: int, picture: Picture, config: PictureConfig) -> None:
    _write_bytes(folder / camera / f"{frame:06d}.jpg", encode_jpeg(picture.pixels, config.jpeg_quality))
    if config.ground_truth:
        name = f"{frame:06d}.png"
        _write_bytes(folder / truth_folder(DEPTH, camera) / name, encode_png(_depth_mm(picture)))
        _write_bytes(folder / truth_folder(CLASSES, camera) / name, encode_png(picture.pixel_class))


def _write_bytes(file: Path, data: bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)


def _depth_mm(picture: Picture) -> NDArray[np.uint16]:
    """`(H, W)` millimeters along the optical axis; 0 in the sky and beyond 65.5 m."""
    depth_mm = np.rint(picture.depth_m * _MM_PER_M)
    return np.where(depth_mm <= _MAX_DEPTH_MM, depth_mm, 0).astype(np.uint16)
