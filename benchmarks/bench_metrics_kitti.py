"""KITTI's metric on 1,000 frames: ours against the rules written out loop by loop.

There is no official Python implementation of this metric: the benchmark's program is C++ and cannot be installed from a
package registry. The other side of this ratio is the test suite's literal transcription of its rules
(tests/sdk/kitti_by_the_book.py, shapely polygons), which the fast one equals in every test; the ratio says what
vectorizing bought, not that another product is slow. Rounds alternate; the ratio is that of the medians.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.sdk import kitti_by_the_book as book
from tests.sdk.kitti_cases import objects_of, random_frame
from understudy.metrics.kitti import kitti_curves

BAR = 10.0
NUM_FRAMES, ROUNDS = 1000, 3


def literally(truths, detections):
    return [
        book.eval_class(name, kind, level, truths, detections, book.STRICT[kind][name])
        for kind in book.OVERLAPS
        for name in book.CLASSES
        for level in book.LEVELS
    ]


def seconds(function, *arguments):
    start = perf_counter()
    function(*arguments)
    return perf_counter() - start


def main() -> None:
    random = np.random.default_rng(0)
    frames = [random_frame(random, max_truths=12, max_copies=3) for _ in range(NUM_FRAMES)]
    truths, detections = [frame[0] for frame in frames], [frame[1] for frame in frames]
    ours = (
        [objects_of(lines, scored=False) for lines in truths],
        [objects_of(lines, scored=True) for lines in detections],
    )
    num_lines = f"{sum(map(len, truths))} labels, {sum(map(len, detections))} detections"
    fast, slow = [], []
    for _ in range(ROUNDS):
        fast.append(seconds(kitti_curves, *ours))
        slow.append(seconds(literally, truths, detections))
    ratio = float(np.median(slow) / np.median(fast))
    print(f"{NUM_FRAMES} frames, {num_lines}: 27 curves")
    print(f"literal rules  {np.median(slow):8.2f} s   (no official Python implementation exists)")
    print(f"understudy     {np.median(fast):8.2f} s")
    print(f"ratio          {ratio:8.1f} x   bar {BAR:.0f} x")
    if ratio < BAR:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
