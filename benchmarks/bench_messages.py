"""PointCloud2 (120k points) to (N, 4) float32, against a memcpy of the result; bar: at most 1.5 times.

python benchmarks/bench_messages.py [--points 120000] [--rounds 200]
"""

from __future__ import annotations

import argparse
import array
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from understudy.bags.types import make_message
from understudy.messages.cloud_layouts import LAYOUTS, CloudLayout, cloud_message
from understudy.messages.clouds import cloud_from_message
from understudy.testing import road_cloud

BAR = 1.5
PACKED = CloudLayout((("x", "f4", 0), ("y", "f4", 4), ("z", "f4", 8), ("intensity", "f4", 12)), point_step=16)
CASES = {
    "16 B, four adjacent float32": (PACKED, False),
    "22 B, four adjacent float32": (LAYOUTS["plain"], False),
    "22 B, as rclpy holds it (array.array)": (LAYOUTS["plain"], True),
    "32 B, shuffled, float64 y, uint8 intensity": (LAYOUTS["shuffled"], False),
}
HELD_TO_BAR = tuple(CASES)[:3]


def timed_ms(work: Callable[[], object]) -> float:
    """Milliseconds of one call; the caller interleaves cases and takes medians."""
    started = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - started) / 1e6


def naive(message: Any) -> Any:
    """What the fast path replaces: a strided view of numbers, copied."""
    shape, strides = (message.width, 4), (message.point_step, 4)
    return np.ndarray(shape, "<f4", message.data, 0, strides).copy()


def measure(num_points: int, rounds: int) -> dict[str, float]:
    """Medians in ms by name, all cases interleaved in one loop."""
    cloud = road_cloud(np.random.default_rng(0), num_points)
    result = cloud.points.copy()
    work: dict[str, Callable[[], object]] = {"memcpy of the result": result.copy}
    for name, (layout, as_array) in CASES.items():
        message = cloud_message(make_message, cloud, layout, 1.0)
        if as_array:
            message.data = array.array("B", message.data.tobytes())
        work[name] = lambda message=message: cloud_from_message(message, extras=False)
    plain = cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)
    work["22 B, numbers copied instead of opaque items"] = lambda: naive(plain)
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            times[name].append(timed_ms(call))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=120_000)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    medians = measure(arguments.points, arguments.rounds)
    memcpy_ms = medians["memcpy of the result"]
    for name, value_ms in medians.items():
        verdict = (
            "" if name not in HELD_TO_BAR else f"  bar {BAR}: {'met' if value_ms <= BAR * memcpy_ms else 'MISSED'}"
        )
        print(f"{name:<46}{value_ms:8.3f} ms{value_ms / memcpy_ms:8.2f}x{verdict}")
    record = {"points": arguments.points, "rounds": arguments.rounds, "python": platform.python_version()}
    print(json.dumps(record | {"numpy": np.__version__, "medians_ms": medians}))


if __name__ == "__main__":
    main()
