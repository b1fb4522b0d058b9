"""Each augmentation step beside a copy of the cloud and beside reading the frame; bar: at most 2 readings.

python benchmarks/bench_augmentation.py [--points 115000] [--rounds 15]

The frame is a made-up sweep with 20 objects, written to disk and read as a KITTI sweep is: bytes to floats, to ego, cut
to the reach, points counted in the boxes. A copy is 1.8 MB that mostly lie in the processor's cache; one pass of
arithmetic over the points takes some 5 copies. Steps that need more than 20 need for each point an angle or a distance
(beams, weather, shadows), a random number (dropout, weather) or a place in a sort (what lies in which box).
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from random_students import interleaved_ms

from understudy.boxes import Boxes
from understudy.datasets.files import read_float_records
from understudy.interior import count_points_inside
from understudy.pose import Pose
from understudy_training.augmentation import Augmentation, Scene, see
from understudy_training.augmentation.object_cutting import cut_objects
from understudy_training.scenes.beams import directions
from understudy_training.testing import MadeUpDataset

BAR_READINGS = 2.0
LIDAR = Pose(np.eye(3), np.array([0.0, 0.0, 1.8]))


def sweep(num_points: int) -> tuple[np.ndarray, Boxes]:
    """A sweep of 64 beams over a flat road with 20 cars of 300 points each; points in the LiDAR's frame."""
    generator = np.random.default_rng(0)
    rays = directions(64, num_points // 64).reshape(-1, 3)
    range_m = np.minimum(np.where(rays[:, 2] < 0, 1.8 / np.maximum(-rays[:, 2], 1e-6), 60.0), 60.0)
    points = np.column_stack([rays * range_m[:, None], generator.uniform(0, 1, len(rays))]).astype(np.float32)
    centers = np.stack([np.arange(20) % 5 * 12.0 - 24, np.arange(20) // 5 * 12.0 - 18], axis=1)
    geometry = np.hstack([centers, np.full((20, 1), 0.8), np.tile([4.4, 1.9, 1.6], (20, 1)), np.zeros((20, 1))])
    inside = generator.uniform(-0.5, 0.5, (20, 300, 3)) * [4.4, 1.9, 1.6] + geometry[:, None, :3] - [0, 0, 1.8]
    rows = generator.permutation(len(points))[:6000]
    points[rows, :3] = inside.reshape(-1, 3)
    return points, Boxes(geometry.astype(np.float32), np.zeros(20, np.int32), ("car", "pedestrian"))


def read(path: Path, boxes: Boxes) -> Scene:
    """What a reader and `labelled_frame` do."""
    raw = read_float_records(path, 4)
    raw = raw[np.isfinite(raw[:, :3]).all(axis=1)]
    points = np.empty_like(raw)
    points[:, :3] = LIDAR.apply(raw[:, :3])
    points[:, 3] = np.clip(raw[:, 3], 0.0, 1.0)
    near = np.hypot(points[:, 0], points[:, 1]) < 80
    counts = count_points_inside(boxes, points)
    counted = Boxes(boxes.geometry, boxes.labels, boxes.class_names, num_points=counts)
    return Scene(points[near], counted, LIDAR)


def steps(database: Path) -> dict[str, dict[str, object]]:
    paste = {"kind": "object_paste", "database": f"{database}", "counts": {"car": 30}, "azimuth": "any"}
    names = ("flip", "turn", "scale", "translate", "object_jitter", "point_dropout", "rain", "fog", "snow")
    named: dict[str, dict[str, object]] = {name: {"kind": name} for name in names}
    return named | {"object_paste": paste, "beam_drop": {"kind": "beam_drop", "beams": 32}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=115_000)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as scratch:
        points, boxes = sweep(arguments.points)
        path = Path(scratch) / "sweep.bin"
        points.tofile(path)
        cut_objects(MadeUpDataset(20), Path(scratch) / "db")
        scene = read(path, boxes)
        work: dict[str, Callable[[], object]] = {"copy": scene.points.copy, "read": lambda: read(path, boxes)}
        for name, step in steps(Path(scratch) / "db").items():
            augmentation = Augmentation.model_validate({"steps": [{**step, "probability": 1.0}]})
            work[name] = lambda augmentation=augmentation: see(augmentation, scene, seed=0, epoch=0, index=0)
        times = interleaved_ms(work, arguments.rounds)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name, value_ms in medians.items():
        readings = value_ms / medians["read"]
        verdict = (
            ""
            if name in {"copy", "read"}
            else f"  bar {BAR_READINGS}: {'met' if readings <= BAR_READINGS else 'MISSED'}"
        )
        print(f"{name:<16}{value_ms:8.2f} ms{value_ms / medians['copy']:8.0f} copies{readings:7.2f} readings{verdict}")
    print(
        json.dumps(
            {
                "points": len(scene.points),
                "numpy": np.__version__,
                "python": platform.python_version(),
                "medians_ms": medians,
            }
        )
    )


if __name__ == "__main__":
    main()
