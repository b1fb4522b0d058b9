"""Statistics of a data set: classes, ranges, densities, speeds, and what weather leaves, as one record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.configuration import Config, write_json
from understudy.datasets.dataset import Dataset, Sequential
from understudy.datasets.selection import spread_evenly
from understudy.errors import InputError
from understudy.metrics.matching import ground_ranges_m
from understudy.progress import Track, silent
from understudy_training.data.measures import RING_EDGES_M, CloudMeasures, FrameMeasures, measure
from understudy_training.data.motion import box_speeds, ego_speeds

RANGE_EDGES_M = (0.0, 20.0, 40.0, 60.0, float("inf"))
MOVING_MPS = 0.5


class Spread(Config):
    """Percentiles of a quantity; all None when it is not known of anything."""

    p5: float | None = None
    p50: float | None = None
    p95: float | None = None

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of values that are finite."""
        known = np.array([value for value in values if np.isfinite(value)], np.float64)
        if not len(known):
            return cls()
        low, middle, high = (round(float(value), 4) for value in np.percentile(known, (5, 50, 95)))
        return cls(p5=low, p50=middle, p95=high)


class ClassStatistics(Config):
    """One class of labeled boxes."""

    num_boxes: int
    num_frames: int
    """Frames that hold at least one."""
    num_tracks: int | None
    num_empty: int
    """Boxes without a single return."""
    length_m: Spread
    width_m: Spread
    height_m: Spread
    points: Spread
    by_range: tuple[int, ...]
    """Boxes in each span of `RANGE_EDGES_M`."""
    speed_mps: Spread
    moving_share: float | None
    """Of the boxes whose speed is known, those faster than half a meter per second."""


class LidarStatistics(Config):
    """One LiDAR's sweeps."""

    num_sweeps: int
    points: Spread
    num_broken: int
    beams: Spread
    density_per_m2: tuple[float, ...]
    """Returns per square meter of ground in each ring of `RING_EDGES_M`, mean over sweeps."""
    scattered_share: Spread
    far_share: Spread
    reach_m: Spread
    dark_share: Spread


class CameraStatistics(Config):
    """One camera's pictures."""

    num_pictures: int
    brightness: Spread
    contrast: Spread
    haze: Spread
    sharpness: Spread


class DataStatistics(Config):
    """A data set in numbers."""

    schema_version: int = 1
    name: str
    data: str
    """Fingerprint of the data set."""
    num_frames: int
    num_read: int
    num_labeled: int
    num_drives: int | None
    """None when the data set does not know which samples follow each other."""
    ego_speed_mps: Spread
    classes: dict[str, ClassStatistics]
    lidars: dict[str, LidarStatistics]
    cameras: dict[str, CameraStatistics]

    def write(self, path: Path) -> None:
        """Writes the record as JSON."""
        write_json(path, self)


def measure_dataset(
    dataset: Dataset, num_frames: int | None = None, *, images: bool = True, track: Track = silent
) -> list[FrameMeasures]:
    """The measures of all frames, or of so many spread evenly.

    Raises:
        InputError: when there is no frame, or one cannot be read.
    """
    if len(dataset) == 0 or (num_frames is not None and num_frames < 1):
        raise InputError("frames to count", found=min(len(dataset), num_frames or 0), wanted="at least 1")
    numbers = spread_evenly(len(dataset), len(dataset) if num_frames is None else num_frames)
    return [measure(dataset[number], images=images) for number in track(numbers, "reading frames", len(numbers))]


def statistics_of(dataset: Dataset, frames: Sequence[FrameMeasures], name: str) -> DataStatistics:
    """Everything that the measures say; speeds come from labels or, where they carry none, from tracks."""
    whole = len(frames) == len(dataset)
    drives = [dataset.place(i).drive for i in range(len(dataset))] if isinstance(dataset, Sequential) else None
    read_from = None if drives is None else [drives[number] for number in spread_evenly(len(dataset), len(frames))]
    speeds = box_speeds(frames, drives if whole else None)
    lidars = sorted({lidar for frame in frames for lidar in frame.clouds})
    cameras = sorted({camera for frame in frames for camera in frame.pictures})
    return DataStatistics(
        name=name,
        data=dataset.fingerprint,
        num_frames=len(dataset),
        num_read=len(frames),
        num_labeled=sum(frame.boxes is not None for frame in frames),
        num_drives=None if drives is None else len(set(drives)),
        ego_speed_mps=Spread.of(ego_speeds(frames, drives) if drives and whole else ()),
        classes={
            class_name: _class_statistics(label, frames, speeds, read_from)
            for label, class_name in enumerate(dataset.class_names)
        },
        lidars={lidar: _lidar_statistics([f.clouds[lidar] for f in frames if lidar in f.clouds]) for lidar in lidars},
        cameras={camera: _camera_statistics(frames, camera) for camera in cameras},
    )


def _class_statistics(
    label: int, frames: Sequence[FrameMeasures], speeds: Sequence[NDArray[np.float64]], drives: Sequence[str] | None
) -> ClassStatistics:
    chosen = [(frame.boxes, frame.boxes.labels == label) for frame in frames if frame.boxes is not None]
    parts = [boxes[mask] for boxes, mask in chosen]
    own_speeds = [
        speed[frame.boxes.labels == label]
        for frame, speed in zip(frames, speeds, strict=True)
        if frame.boxes is not None
    ]
    geometry = np.concatenate([np.zeros((0, 7)), *(part.geometry for part in parts)])
    points = np.concatenate([np.zeros(0), *(part.num_points for part in parts if part.num_points is not None)])
    moved = np.concatenate([np.zeros(0), *own_speeds])
    known = moved[np.isfinite(moved)]
    ranges_m = np.concatenate([np.zeros(0), *(ground_ranges_m(part) for part in parts)])
    return ClassStatistics(
        num_boxes=len(geometry),
        num_frames=sum(len(part) > 0 for part in parts),
        num_tracks=_num_tracks(label, frames, drives),
        num_empty=int((points == 0).sum()),
        length_m=Spread.of(geometry[:, 3]),
        width_m=Spread.of(geometry[:, 4]),
        height_m=Spread.of(geometry[:, 5]),
        points=Spread.of(points),
        by_range=tuple(int(count) for count in np.histogram(ranges_m, RANGE_EDGES_M)[0]),
        speed_mps=Spread.of(known),
        moving_share=float((known > MOVING_MPS).mean()) if len(known) else None,
    )


def _num_tracks(label: int, frames: Sequence[FrameMeasures], drives: Sequence[str] | None) -> int | None:
    """Objects of a class; identities count anew in each drive, and in each frame where drives are not known."""
    names = [str(number) for number in range(len(frames))] if drives is None else drives
    tracks: set[tuple[str, int]] = set()
    known = False
    for name, boxes in zip(names, (frame.boxes for frame in frames), strict=True):
        if boxes is not None and boxes.track_ids is not None:
            known = True
            tracks.update((name, int(track)) for track in boxes.track_ids[boxes.labels == label])
    return len(tracks) if known else None


def _lidar_statistics(sweeps: Sequence[CloudMeasures]) -> LidarStatistics:
    edges = np.array(RING_EDGES_M)
    areas_m2 = np.pi * (edges[1:] ** 2 - edges[:-1] ** 2)
    density = np.mean([sweep.per_ring for sweep in sweeps], axis=0) / areas_m2
    proxies = [sweep.proxies for sweep in sweeps]
    return LidarStatistics(
        num_sweeps=len(sweeps),
        points=Spread.of(sweep.num_points for sweep in sweeps),
        num_broken=sum(sweep.num_broken for sweep in sweeps),
        beams=Spread.of(sweep.num_beams for sweep in sweeps if sweep.num_beams is not None),
        density_per_m2=tuple(round(float(value), 4) for value in density),
        scattered_share=Spread.of(proxy.scattered_share for proxy in proxies),
        far_share=Spread.of(proxy.far_share for proxy in proxies),
        reach_m=Spread.of(proxy.reach_m for proxy in proxies),
        dark_share=Spread.of(proxy.dark_share for proxy in proxies),
    )


def _camera_statistics(frames: Sequence[FrameMeasures], camera: str) -> CameraStatistics:
    pictures = [frame.pictures[camera] for frame in frames if camera in frame.pictures]
    return CameraStatistics(
        num_pictures=len(pictures),
        brightness=Spread.of(picture.brightness for picture in pictures),
        contrast=Spread.of(picture.contrast for picture in pictures),
        haze=Spread.of(picture.haze for picture in pictures),
        sharpness=Spread.of(picture.sharpness for picture in pictures),
    )
