"""The nuScenes detection metrics on 1,000 frames, against nuscenes-devkit; bar: at least 10 times faster.

python benchmarks/bench_metrics_nuscenes.py [--frames 1000] [--rounds 3]

Timed is the way from boxes in memory to NDS: ranges, filters, matching at four distances, curves, errors. The devkit
holds its own box objects, ours arrays; reading files is timed on neither side.
"""

from __future__ import annotations

import argparse
from dataclasses import fields

import numpy as np
from devkit_timing import BAR, compare
from numpy.typing import NDArray

from understudy.metrics.nuscenes import evaluate
from understudy.metrics.nuscenes_objects import NuscenesObjects, NuscenesTruths

LABELS_PER_FRAME, DETECTIONS_PER_FRAME = 30, 100
SHARES = np.array([0.4, 0.08, 0.02, 0.03, 0.02, 0.2, 0.02, 0.02, 0.1, 0.11])
"""How often each class comes up, roughly as in the data set."""


def objects(rng: np.random.Generator, frames: int, per_frame: int, ego_m: NDArray[np.float64]) -> NuscenesObjects:
    """Objects spread over a disc of 55 m around the vehicle."""
    count = frames * per_frame
    samples = np.repeat(np.arange(frames), per_frame)
    angle, range_m = rng.uniform(0, 2 * np.pi, count), 55 * np.sqrt(rng.random(count))
    yaw = rng.uniform(-np.pi, np.pi, count)
    offsets_m = np.column_stack([range_m * np.cos(angle), range_m * np.sin(angle), rng.normal(0, 1, count)])
    return NuscenesObjects(
        samples=samples,
        labels=rng.choice(10, count, p=SHARES),
        centers_m=ego_m[samples] + offsets_m,
        sizes_m=rng.uniform(0.5, 5, (count, 3)),
        rotations_wxyz=np.column_stack([np.cos(yaw / 2), np.zeros((count, 2)), np.sin(yaw / 2)]),
        velocities_mps=rng.normal(0, 3, (count, 2)),
        attributes=rng.integers(-1, 8, count),
        scores=rng.random(count),
        num_points=rng.integers(0, 50, count),
    )


def frames_of(rng: np.random.Generator, frames: int) -> tuple[NuscenesTruths, NuscenesObjects]:
    """Labels, and detections of which two thirds stand near a label of their frame."""
    ego_m = rng.normal(0, 300, (frames, 3))
    truths = objects(rng, frames, LABELS_PER_FRAME, ego_m)
    detections = objects(rng, frames, DETECTIONS_PER_FRAME, ego_m)
    near = rng.random(len(detections)) < 0.66
    partner = detections.samples * LABELS_PER_FRAME + rng.integers(0, LABELS_PER_FRAME, len(detections))
    columns = {column.name: getattr(detections, column.name).copy() for column in fields(detections)}
    for name in ("labels", "centers_m", "sizes_m", "rotations_wxyz", "velocities_mps", "attributes"):
        columns[name][near] = getattr(truths, name)[partner[near]]
    columns["centers_m"] += rng.normal(0, 0.8, (len(detections), 3)) * near[:, None]
    columns["num_points"][:] = -1
    racks = (np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 4)))
    tokens = tuple(str(number) for number in range(frames))
    return NuscenesTruths(tokens, ego_m, truths, *racks), NuscenesObjects(**columns)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    truths, detections = frames_of(np.random.default_rng(0), arguments.frames)
    sides = {"truths": truths.objects, "detections": detections}
    question = {f"{side}/{c.name}": getattr(some, c.name) for side, some in sides.items() for c in fields(some)}
    racks = {f"racks/{name}": getattr(truths, f"rack_{name}") for name in ("samples", "centers_m", "sizes_m")}
    question |= {**racks, "racks/rotations_wxyz": truths.rack_rotations_wxyz, "ego_positions_m": truths.ego_positions_m}
    about = {"frames": arguments.frames, "labels": len(truths.objects), "detections": len(detections)}
    ratio = compare("nuscenes", question, lambda: evaluate(truths, detections).nds, arguments.rounds, about)
    assert ratio >= BAR, f"{ratio:.1f} times, wanted {BAR}"


if __name__ == "__main__":
    main()
