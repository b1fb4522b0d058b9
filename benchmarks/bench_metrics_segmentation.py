"""nuScenes-lidarseg's scores of 1,000 sweeps: ours against nuscenes-devkit, on the same arrays.

Both map the 32 general classes to the 16 that are scored, check the predictions and count, in one thread each; reading
files is left out on both sides. The devkit runs in the environment of `make oracles`, one round between two of ours;
the ratio is that of the medians. Sweeps are as large as nuScenes' (34,720 points).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tests.nuscenes_builder import CATEGORIES
from tests.oracles import find_oracle
from understudy.boxes import Segments
from understudy.converters.class_maps import NUSCENES_LIDARSEG_NAMES
from understudy.metrics.segmentation import Confusion, lidarseg_values
from understudy.submissions.lidarseg import official_segments

BAR = 10.0
NUM_SWEEPS, POINTS, ROUNDS = 1000, 34_720, 3


def sweeps(random):
    """General classes and predictions (1 to 16) of the sweeps, uint8 as in their files."""
    fine = random.choice(32, NUM_SWEEPS * POINTS, p=random.dirichlet(np.ones(32))).astype(np.uint8)
    coarse = official_segments(Segments(fine.astype(np.int16), CATEGORIES)).labels
    right = (random.random(len(fine), np.float32) < 0.8) & (coarse >= 0)
    return fine, np.where(right, coarse + 1, random.integers(1, 17, len(fine))).astype(np.uint8)


def scored(fine, predicted):
    confusion = Confusion(NUSCENES_LIDARSEG_NAMES)
    for start in range(0, len(fine), POINTS):
        truth = official_segments(Segments(fine[start : start + POINTS].astype(np.int16), CATEGORIES))
        numbers = predicted[start : start + POINTS]
        assert 1 <= numbers.min() <= numbers.max() <= 16
        confusion.add(truth, Segments(numbers.astype(np.int16) - np.int16(1), NUSCENES_LIDARSEG_NAMES), "sweep")
    return lidarseg_values(confusion)


def main() -> None:
    oracle = find_oracle()
    if oracle is None:
        raise SystemExit("the official devkits are not installed; run `make oracles`")
    fine, predicted = sweeps(np.random.default_rng(0))
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "question.npz", Path(folder) / "answer.npz"
        ends = np.arange(POINTS, len(fine) + 1, POINTS)
        np.savez(question, fine=fine, predicted=predicted, ends=ends, names=np.array(CATEGORIES))
        for _ in range(ROUNDS):
            start = perf_counter()
            values = scored(fine, predicted)
            ours.append(perf_counter() - start)
            oracle.run("lidarseg", question, answer, "1")
            with np.load(answer) as content:
                theirs.append(float(content["seconds"][0]))
                rows = content["rows"][0]
    assert np.allclose(list(values.values()), rows, atol=1e-6), "the scores differ"
    ratio = float(np.median(theirs) / np.median(ours))
    print(f"{NUM_SWEEPS} sweeps of {POINTS} points, equal scores (mIoU {values['mIoU']:.4f})")
    print(f"nuscenes-devkit {np.median(theirs):8.2f} s")
    print(f"understudy      {np.median(ours):8.2f} s")
    print(f"ratio           {ratio:8.1f} x   bar {BAR:.0f} x")
    if ratio < BAR:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
