"""The Argoverse 2 detection metrics on 1,000 sweeps, against av2; bar: at least 10 times faster.

python benchmarks/bench_metrics_argoverse2.py [--frames 1000] [--rounds 3]

Timed is the way from tables in memory to CDS. av2's `evaluate` runs in one process, without the workers that it would
spawn; ours uses one thread. The region of interest is off on both sides.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace

import numpy as np
from devkit_timing import BAR, compare

from understudy.metrics.argoverse2 import Argoverse2Objects, evaluate

NUM_CATEGORIES = 26
LABELS_PER_FRAME, DETECTIONS_PER_FRAME = 75, 200
"""The real log of the tests has 73 labels per sweep."""
SHARES = np.r_[np.full(15, 0.5), 30, np.full(10, 0.5)] / (30 + 25 * 0.5)
"""Regular vehicles make up most; the rest comes up alike."""


def objects(rng: np.random.Generator, frames: int, per_frame: int) -> Argoverse2Objects:
    """Objects spread over a square of 200 m around the vehicle."""
    count = frames * per_frame
    yaw = rng.uniform(-np.pi, np.pi, count)
    return Argoverse2Objects(
        sweeps=np.repeat(np.arange(frames), per_frame),
        categories=rng.choice(NUM_CATEGORIES, count, p=SHARES),
        centers_m=rng.uniform(-1, 1, (count, 3)) * [100, 100, 2],
        sizes_m=rng.uniform(0.5, 5, (count, 3)),
        rotations_wxyz=np.column_stack([np.cos(yaw / 2), np.zeros((count, 2)), np.sin(yaw / 2)]),
        scores=rng.random(count),
        num_points=rng.integers(0, 50, count),
    )


def frames_of(rng: np.random.Generator, frames: int) -> tuple[Argoverse2Objects, Argoverse2Objects]:
    """Labels, and detections of which two thirds stand near a label of their sweep."""
    truths, found = objects(rng, frames, LABELS_PER_FRAME), objects(rng, frames, DETECTIONS_PER_FRAME)
    near = rng.random(len(found)) < 0.66
    partner = found.sweeps * LABELS_PER_FRAME + rng.integers(0, LABELS_PER_FRAME, len(found))
    columns = {name: getattr(found, name).copy() for name in ("categories", "centers_m", "sizes_m", "rotations_wxyz")}
    for name, values in columns.items():
        values[near] = getattr(truths, name)[partner[near]]
    columns["centers_m"] += rng.normal(0, 0.8, (len(found), 3)) * near[:, None]
    return truths, replace(found, **columns)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    truths, detections = frames_of(np.random.default_rng(0), arguments.frames)
    sides = {"truths": truths, "detections": detections}
    question = {f"case/{side}/{c.name}": getattr(some, c.name) for side, some in sides.items() for c in fields(some)}

    def cds() -> float:
        return float(evaluate(truths, detections, NUM_CATEGORIES).table().mean(axis=0)[-1])

    about = {"frames": arguments.frames, "labels": len(truths), "detections": len(detections)}
    ratio = compare("argoverse2", question, cds, arguments.rounds, about)
    assert ratio >= BAR, f"{ratio:.1f} times, wanted {BAR}"


if __name__ == "__main__":
    main()
