"""Prints how points, boxes, pictures and poses of the real recordings agree, from our readers.

    .venv/bin/python benchmarks/real_consistency.py ../shared/data

The README of the recordings has the same numbers, counted independently of this code; the two are held together by
tests/sdk/test_real_consistency.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.converters.class_maps import identity
from understudy.converters.kitti import KittiObjects
from understudy.datasets import argoverse2, kitti, pandaset, pandaset_tables, semantickitti
from understudy.datasets.dataset import Sample
from understudy.datasets.files import read_json
from understudy.datasets.nuscenes_keyframe import NuscenesKeyframes
from understudy.interior import count_points_inside
from understudy.pose import Pose
from understudy.rig import Camera, Mounting

_QUERIES = 2000
_FAR_M = 40.0
_GROUND_M = 0.4


@dataclass(frozen=True)
class KittiRow:
    """One frame of the KITTI table; `upright` are the same boxes as the reader gives them, standing upright in ego."""

    key: str
    num_points: int
    in_image: int
    in_boxes: tuple[int, ...]
    upright: tuple[int, ...]
    mean_iou: float


@dataclass(frozen=True)
class SweepPair:
    """Median distance of points above the ground of one sweep to the sweep before, without and with the poses."""

    as_seen_m: float
    moved_m: float


def kitti_rows(root: Path) -> Iterator[KittiRow]:
    """Each frame of the KITTI object excerpt."""
    names = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
    dataset = kitti.KittiDataset(root / "kitti" / "object", classes=identity(names))
    for index in range(len(dataset)):
        sample = dataset[index]
        objects, calibration = dataset.objects(sample.key), dataset.calibration(sample.key)
        points = sample.frame.clouds[kitti.LIDAR].points[:, :3]
        camera = sample.rig.cameras[kitti.CAMERA]
        wanted = [row for row, name in enumerate(objects.types) if name != "DontCare"]
        rect = calibration.rect_from_lidar.apply(points)
        ego_from_rect = kitti.EGO_FROM_LIDAR @ calibration.rect_from_lidar.inverse()
        outlines = [outline_px(camera, ego_from_rect.apply(corners_rect(objects, row))) for row in wanted]
        overlaps = [overlap(a, objects.boxes_px[row]) for a, row in zip(outlines, wanted, strict=True)]
        yield KittiRow(
            key=sample.key,
            num_points=len(points),
            in_image=points_in_picture(camera, kitti.EGO_FROM_LIDAR.apply(points)),
            in_boxes=tuple(inside_object(objects, row, rect) for row in wanted),
            upright=tuple(int(count) for count in sample.boxes.num_points),
            mean_iou=float(np.mean(overlaps)),
        )


def corners_rect(objects: KittiObjects, row: int) -> NDArray[np.float64]:
    """`(8, 3)` corners of a labeled object in the rectified camera frame, by the label's own convention."""
    height, width, length = objects.sizes_m[row]
    x, z = np.array([1, 1, -1, -1] * 2) * length / 2, np.array([1, -1, -1, 1] * 2) * width / 2
    y = np.array([0.0] * 4 + [-height] * 4)
    cos, sin = np.cos(objects.rotations_y_rad[row]), np.sin(objects.rotations_y_rad[row])
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=1) + objects.locations_m[row]


def inside_object(objects: KittiObjects, row: int, points_rect: NDArray[np.float64]) -> int:
    """Points in a labeled object, in the frame the label is written in."""
    height, width, length = objects.sizes_m[row]
    offsets = points_rect - objects.locations_m[row]
    cos, sin = np.cos(objects.rotations_y_rad[row]), np.sin(objects.rotations_y_rad[row])
    along, across = cos * offsets[:, 0] - sin * offsets[:, 2], sin * offsets[:, 0] + cos * offsets[:, 2]
    upright = (offsets[:, 1] <= 0) & (offsets[:, 1] >= -height)
    return int(((np.abs(along) <= length / 2) & (np.abs(across) <= width / 2) & upright).sum())


def outline_px(camera: Camera, corners_ego: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left, top, right, bottom of the projected corners, cut at the picture's border."""
    pixels = np.clip(camera.project(corners_ego)[0], 0, [camera.width_px - 1, camera.height_px - 1])
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes left, top, right, bottom."""
    shared = np.prod(np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0))
    return float(shared / (np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - shared))


def points_in_picture(camera: Camera, points_ego: NDArray[np.float64]) -> int:
    """Points in front of a camera that fall into its picture."""
    return int(camera.shows(*camera.project(points_ego)).sum())


def sweep_pair(first: Sample, second: Sample, lidar: str) -> SweepPair:
    """How far the points of the second sweep are from those of the first, above the ground and within 40 m."""
    clouds = [points_ego(sample, lidar) for sample in (first, second)]
    above = (clouds[1][:, 2] > _GROUND_M) & (np.hypot(clouds[1][:, 0], clouds[1][:, 1]) < _FAR_M)
    rows = np.flatnonzero(above)
    queries = clouds[1][rows[:: max(len(rows) // _QUERIES, 1)]]
    first_from_second = first.frame.world_from_ego.inverse() @ second.frame.world_from_ego
    as_seen, moved = (nearest_m(found, clouds[0]) for found in (queries, first_from_second.apply(queries)))
    return SweepPair(float(np.median(as_seen)), float(np.median(moved)))


def points_ego(sample: Sample, lidar: str) -> NDArray[np.float64]:
    """`(N, 3)` points of a cloud in ego."""
    return sample.rig.lidars[lidar].ego_from_sensor.pose().apply(sample.frame.clouds[lidar].points[:, :3])


def nearest_m(queries: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(N,)` distance of each query to its nearest point, by all pairs in blocks."""
    squares = (points**2).sum(axis=1)
    blocks = [queries[start : start + 32] for start in range(0, len(queries), 32)]
    least = [(squares - 2 * block @ points.T).min(axis=1) + (block**2).sum(axis=1) for block in blocks]
    return np.sqrt(np.maximum(np.concatenate(least), 0))


def argoverse2_counts(sample: Sample) -> NDArray[np.int32]:
    """`(N,)` points in each cuboid."""
    return count_points_inside(sample.boxes, points_ego(sample, argoverse2.LIDAR))


def open_argoverse2(root: Path) -> argoverse2.Argoverse2Dataset:
    """The excerpt with every category, so that no cuboid is dropped."""
    logs = argoverse2.Argoverse2Dataset(root / "argoverse2").log(0)
    categories = sorted({str(name) for name in logs.annotations.categories})
    return argoverse2.Argoverse2Dataset(root / "argoverse2", "val", classes=identity(categories))


def pandaset_counts(root: Path, number: int) -> tuple[int, NDArray[np.int64]]:
    """Points of both LiDARs in a frame, and how many of the LiDAR that saw it lie in each cuboid, in the world."""
    folder = root / "pandaset" / "002"
    table = pandaset_tables.read_arrays(folder / "lidar" / f"{number:02d}.npz", ("x", "y", "z", "d"))
    records = read_json(folder / "annotations" / "cuboids" / f"{number:02d}.json")
    records = records["cuboids"] if isinstance(records, dict) else records
    keys = ("position.x", "position.y", "position.z", "dimensions.y", "dimensions.x", "dimensions.z", "yaw")
    geometry = np.array([[record[key] for key in keys] for record in records], np.float64)
    geometry[:, 6] += np.pi / 2
    boxes = Boxes(geometry.astype(np.float32), np.zeros(len(geometry), np.int32), ("any",))
    points = np.stack([table[axis] for axis in "xyz"], axis=1)
    by_sensor = np.stack([count_points_inside(boxes, points[table["d"] == sensor]) for sensor in (0, 1)])
    seen_by = np.array([record["cuboids.sensor_id"] for record in records])
    counts = np.select([seen_by == 0, seen_by == 1], list(by_sensor), by_sensor.sum(axis=0))
    return len(points), counts.astype(np.int64)


def car_share(sample: Sample) -> float:
    """Share of the points in car boxes whose class is Car."""
    segments = sample.segments[pandaset.LIDAR]
    inside = sample.boxes[sample.boxes.labels == 0].contains(points_ego(sample, pandaset.LIDAR)).any(axis=0)
    return float((segments.labels[inside] == segments.class_names.index("Car")).mean())


def nuscenes_counts(root: Path) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Points counted in each of all 69 boxes, in the LiDAR's frame where they are written, and the stored counts."""
    info = read_json(next((root / "nuscenes").glob("*.json")))
    instances = info["data_list"][0]["instances"]
    geometry = np.array([entry["bbox_3d"] for entry in instances], np.float32)
    boxes = Boxes(geometry, np.zeros(len(geometry), np.int32), ("any",))
    cloud = NuscenesKeyframes(root / "nuscenes")[0].frame.clouds["LIDAR_TOP"]
    stored = np.array([entry["num_lidar_pts"] for entry in instances], np.int32)
    return count_points_inside(boxes, cloud.points[:, :3]), stored


def nuscenes_in_pictures(root: Path) -> dict[str, tuple[int, int]]:
    """Points that fall into each camera's picture: by its transform in the info file, and by the rig.

    The file's transform holds the vehicle's way between the sweep and the picture (up to 50 ms), the rig does not.
    """
    sample = NuscenesKeyframes(root / "nuscenes")[0]
    entries = read_json(next((root / "nuscenes").glob("*.json")))["data_list"][0]["images"]
    ego_from_lidar = sample.rig.lidars["LIDAR_TOP"].ego_from_sensor.pose()
    points = points_ego(sample, "LIDAR_TOP")
    found = {}
    for name, camera in sample.rig.cameras.items():
        camera_from_lidar = Pose.from_matrix(np.array(entries[name]["lidar2cam"]))
        mounting = Mounting.from_pose(ego_from_lidar @ camera_from_lidar.inverse())
        then = camera.model_copy(update={"ego_from_sensor": mounting})
        found[name] = points_in_picture(then, points), points_in_picture(camera, points)
    return found


def report(root: Path) -> Iterator[str]:
    """All tables, line by line."""
    yield "KITTI object: points, in image, in boxes (label order), upright in ego, mean IoU of projected boxes"
    for row in kitti_rows(root):
        yield f"  {row.key} {row.num_points:>7} {row.in_image:>6} {row.mean_iou:.2f}  {_joined(row.in_boxes)}"
        yield f"{'':>27}upright: {_joined(row.upright)}"
    yield "SemanticKITTI"
    dataset = semantickitti.SemanticKittiDataset(root / "semantickitti")
    first, second = dataset[0], dataset[1]
    points = first.frame.clouds[kitti.LIDAR].points
    numbers = dataset.label_numbers(0, len(points)) & 0xFFFF
    yield f"  {len(points)} points, {len(numbers)} labels, road at z {np.median(points[numbers == 40, 2]):.2f} m"
    yield f"  {_described(sweep_pair(first, second, kitti.LIDAR))}"
    yield "Argoverse 2: points in boxes (stored), boxes that differ, boxes not empty"
    log = open_argoverse2(root)
    for sample in (log[0], log[1]):
        counts, stored = argoverse2_counts(sample), sample.boxes.num_points
        unequal, filled = np.count_nonzero(counts != stored), np.count_nonzero(counts)
        yield f"  {counts.sum()} ({stored.sum()}), {unequal}, {filled} of {len(counts)}"
    yield f"  {_described(sweep_pair(log[0], log[1], argoverse2.LIDAR))}"
    yield "PandaSet: points, cuboids not empty, points in cuboids, share of Car points in car boxes, sweep before"
    sequence = pandaset.PandasetSequence(root / "pandaset" / "002")
    before = None
    for index, sample in enumerate(sequence):
        num_points, counts = pandaset_counts(root, int(sample.key))
        pair = "" if before is None else f", {_described(sweep_pair(before, sample, pandaset.LIDAR))}"
        share = f"{car_share(sample):.1%}"
        yield f"  {sample.key} {num_points}, {(counts > 0).sum()} of {len(counts)}, {counts.sum()}, {share}{pair}"
        before = sequence[index]
    yield "nuScenes"
    counts, stored = nuscenes_counts(root)
    yield f"  {np.count_nonzero(counts)} of {len(counts)} boxes not empty, {counts.sum()} points, {stored.sum()} stored"
    for name, (then, by_rig) in nuscenes_in_pictures(root).items():
        yield f"  {name}: {then} points in the picture, {by_rig} by the rig alone"


def _joined(counts: tuple[int, ...]) -> str:
    return " ".join(str(count) for count in counts)


def _described(pair: SweepPair) -> str:
    return f"sweep to sweep {pair.as_seen_m:.3f} m, with poses {pair.moved_m:.3f} m"


if __name__ == "__main__":
    for line in report(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")):
        print(line)
