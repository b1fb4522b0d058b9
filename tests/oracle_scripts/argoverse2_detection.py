"""Scores cases of labels and detections with av2: reads an npz of `case/side/column`, writes an npz.

The genuine `evaluate` runs, with three things of its surroundings changed: sweeps are scored in this process instead of
spawned ones, the results are not rounded to three digits, and numpy's argsort keeps the order of equal scores. Without
that, which of two equal detections is taken depends on the processor: with AVX-512 numpy reorders even four of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av2.evaluation.detection.eval as devkit
import numpy as np
import pandas as pd
from av2.evaluation.detection.utils import DetectionCfg

CONFIG = DetectionCfg(eval_only_roi_instances=False)
CATEGORIES = CONFIG.categories
CENTERS, SIZES, QUATERNION = ("tx_m", "ty_m", "tz_m"), ("length_m", "width_m", "height_m"), ("qw", "qx", "qy", "qz")


class InThisProcess:
    """A pool of workers that has none."""

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def starmap(self, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
        """The results in order."""
        return [function(*entry) for entry in arguments]


unstable_argsort = np.argsort


def argsort(values: Any, axis: int | None = -1, kind: str | None = None, order: Any = None) -> np.ndarray:
    """Numpy's, stable unless told otherwise."""
    return unstable_argsort(values, axis, kind or "stable", order)


np.argsort = argsort
devkit.mp = SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=lambda processes: InThisProcess()))
devkit.NUM_DECIMALS = 12


def table_of(case: dict[str, np.ndarray], side: str, last: str) -> pd.DataFrame:
    """A side of a case as the devkit's table; sweeps 0 to 9 are one log, 10 to 19 the next and so on."""
    columns = {key.removeprefix(f"{side}/"): value for key, value in case.items() if key.startswith(f"{side}/")}
    sweeps = columns["sweeps"]
    table = {
        **{name: columns["centers_m"][:, number] for number, name in enumerate(CENTERS)},
        **{name: columns["sizes_m"][:, number] for number, name in enumerate(SIZES)},
        **{name: columns["rotations_wxyz"][:, number] for number, name in enumerate(QUATERNION)},
        last: columns["scores" if last == "score" else "num_points"],
        "log_id": np.array([f"log {sweep // 10:04d}" for sweep in sweeps], object),
        "timestamp_ns": sweeps.astype(np.int64) * 100_000_000,
        "category": np.array([CATEGORIES[number] for number in columns["categories"]], object),
    }
    return pd.DataFrame(table).astype({"log_id": str, "category": str})


def scored(detections: pd.DataFrame, truths: pd.DataFrame) -> np.ndarray:
    """The `(C + 1, 5)` table of AP, ATE, ASE, AOE and CDS; its last row is the average."""
    _, _, metrics = devkit.evaluate(detections, truths, CONFIG, n_jobs=1)
    return metrics.to_numpy(np.float64)


def cases_of(question: Path) -> dict[str, dict[str, np.ndarray]]:
    """The cases of a question by name."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(question, allow_pickle=False) as content:
        for key in content.files:
            case, _, column = key.partition("/")
            cases.setdefault(case, {})[column] = content[key]
    return cases


def main(question: Path, answer: Path) -> None:
    """Answers every case of the question."""
    said = {}
    for name, case in cases_of(question).items():
        said[name] = scored(table_of(case, "detections", "score"), table_of(case, "truths", "num_interior_pts"))
    np.savez(answer, categories=np.array(CATEGORIES), **said)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
