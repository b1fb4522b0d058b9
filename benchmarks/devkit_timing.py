"""Our metrics against the official devkits, which run in an environment of their own: interleaved rounds, medians."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

BAR = 10.0
SCRIPT = Path(__file__).resolve().parents[1] / "tests" / "oracle_scripts" / "time_devkit.py"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


@contextmanager
def devkit(name: str, question: dict[str, NDArray]) -> Iterator[Callable[[], dict[str, float]]]:
    """A function that lets the devkit score the question once more and says what it found in how many seconds."""
    python = Path(os.environ.get("UNDERSTUDY_ORACLES", Path(sys.prefix) / "oracles")) / "bin" / "python"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "question.npz"
        np.savez(path, **question)
        command = [str(python), str(SCRIPT), name, str(path)]
        environment = {**os.environ, **ONE_THREAD, "MPLBACKEND": "Agg"}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None

            def once_more() -> dict[str, float]:
                print("again", file=process.stdin, flush=True)
                return dict(json.loads(process.stdout.readline()))

            yield once_more
            process.stdin.close()


def compare(
    name: str, question: dict[str, NDArray], ours: Callable[[], float], rounds: int, about: dict[str, Any]
) -> float:
    """Prints a record with both medians in ms and returns how many times faster ours is; both must agree."""
    ours()
    times: dict[str, list[float]] = {"devkit_ms": [], "ours_ms": []}
    with devkit(name, question) as once_more:
        for _ in range(rounds):
            said = once_more()
            started = time.perf_counter()
            figure = ours()
            times["ours_ms"].append((time.perf_counter() - started) * 1e3)
            times["devkit_ms"].append(said["seconds"] * 1e3)
            assert abs(figure - said["figure"]) < 1e-6, (figure, said["figure"])
    medians = {key: statistics.median(values) for key, values in times.items()}
    ratio = medians["devkit_ms"] / medians["ours_ms"]
    record = {
        **about,
        "rounds": rounds,
        **{key: round(value, 1) for key, value in medians.items()},
        "ratio": round(ratio, 1),
        "bar": BAR,
        "figure": round(figure, 6),
        "machine": platform.machine(),
        "numpy": np.__version__,
    }
    print(json.dumps(record, indent=2))
    return ratio
