"""Times a devkit on one case: for each line that comes in, scores it once and answers with seconds and main figure.

Called with the name of the benchmark and the question's file. What the devkit is given, it is given in its own objects:
building those is not timed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def nuscenes_round(question: Path) -> Callable[[], tuple[float, float]]:
    """Center distances, filters and scores."""
    import numpy as np
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes_detection import filtered, scored, sides

    with np.load(question, allow_pickle=False) as content:
        tables, truths, detections = sides(dict(content))

    def again(boxes: EvalBoxes) -> EvalBoxes:
        """The same boxes in lists of their own, as the filters replace the lists."""
        copy = EvalBoxes()
        copy.boxes.update({token: list(entries) for token, entries in boxes.boxes.items()})
        return copy

    def run() -> tuple[float, float]:
        first, second = again(truths), again(detections)
        started = time.perf_counter()
        metrics = scored(filtered(first, tables), filtered(second, tables))
        return metrics.nd_score, time.perf_counter() - started

    return run


def argoverse2_round(question: Path) -> Callable[[], tuple[float, float]]:
    """The whole of `evaluate`, in this process."""
    from argoverse2_detection import cases_of, scored, table_of

    (case,) = cases_of(question).values()
    detections, truths = table_of(case, "detections", "score"), table_of(case, "truths", "num_interior_pts")

    def run() -> tuple[float, float]:
        first, second = detections.copy(), truths.copy()
        started = time.perf_counter()
        table = scored(first, second)
        return float(table[-1, -1]), time.perf_counter() - started

    return run


ROUNDS = {"nuscenes": nuscenes_round, "argoverse2": argoverse2_round}

if __name__ == "__main__":
    run_round = ROUNDS[sys.argv[1]](Path(sys.argv[2]))
    for _ in sys.stdin:
        figure, seconds = run_round()
        sys.stdout.write(json.dumps({"figure": figure, "seconds": seconds}) + "\n")
        sys.stdout.flush()
