"""PointCloud2 to (N, 4) float32: ours against a memcpy of the message's bytes and against how ROS reads points.

python benchmarks/bench_cloud_decode.py [--points 120000] [--rounds 100]

Layouts as drivers write them; interleaved rounds, medians of CPU time, ratios within the run. What makes an object of
every point takes part in every tenth round. Bars: at most 1.5 times the memcpy of the result where x, y, z, intensity
are adjacent float32, at least 100 times `read_points_list` in every layout. What each gives is compared first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from reference_point_cloud2 import read_points, read_points_list, unpack_points_list

from understudy.messages.clouds import cloud_from_message
from understudy.testing import road_cloud

BAR_MEMCPY, BAR_LIST = 1.5, 100.0
SLOW_EVERY = 10
XYZI = ("x", "y", "z", "intensity")
DATATYPES = {"u1": 2, "u2": 4, "u4": 6, "f4": 7, "f8": 8}
Fields = tuple[tuple[str, str, int], ...]
XYZ: Fields = (("x", "f4", 0), ("y", "f4", 4), ("z", "f4", 8))
PACKED: Fields = (*XYZ, ("intensity", "f4", 12))


@dataclass(frozen=True)
class Layout:
    """How a driver lays out its points.

    Attributes:
        fields: name, numpy format without byte order, and byte offset of each.
        point_step: bytes of a point.
        big: whether numbers are big-endian.
        rows: of an organized cloud.
        row_padding: bytes after each row.
        share_nan: of the points that are not a number.
    """

    fields: Fields
    point_step: int
    big: bool = False
    rows: int = 1
    row_padding: int = 0
    share_nan: float = 0.0

    @property
    def is_adjacent(self) -> bool:
        """Whether the bar over a memcpy holds for it."""
        return self.fields[:4] == PACKED and not self.big


LAYOUTS = {
    "16 B, x y z i": Layout(PACKED, 16),
    "22 B, x y z i t ring": Layout((*PACKED, ("time", "f4", 16), ("ring", "u2", 20)), 22),
    "22 B, a tenth not a number": Layout((*PACKED, ("time", "f4", 16), ("ring", "u2", 20)), 22, share_nan=0.1),
    "26 B, x y z i, float64 t, ring": Layout((*PACKED, ("timestamp", "f8", 16), ("ring", "u2", 24)), 26),
    "32 B, i after padding": Layout(
        (*XYZ, ("intensity", "f4", 16), ("ring", "u2", 20), ("time", "f4", 24)), 32, share_nan=0.1
    ),
    "48 B, i after padding": Layout(
        (*XYZ, ("intensity", "f4", 16), ("t", "u4", 20), ("reflectivity", "u2", 24), ("ring", "u2", 26)), 48
    ),
    "16 B, big-endian": Layout(PACKED, 16, big=True),
    "22 B, big-endian": Layout((*PACKED, ("time", "f4", 16), ("ring", "u2", 20)), 22, big=True),
    "16 B, 64 rows, padded": Layout(PACKED, 16, rows=64, row_padding=48),
    "32 B, float64 y, uint8 i, shuffled": Layout(
        (("intensity", "u1", 1), ("ring", "u2", 2), ("z", "f4", 5), ("y", "f8", 16), ("x", "f4", 26)), 32
    ),
}


def message_of(layout: Layout, num_points: int) -> Any:
    """A seeded cloud in that layout; the number of points is rounded to whole rows."""
    rng = np.random.default_rng(0)
    width = num_points // layout.rows
    points = road_cloud(rng, width * layout.rows, intensity_scale=255.0).points.copy()
    points[rng.random(len(points)) < layout.share_nan, :3] = np.nan
    raw = _bytes_in(layout, points)
    rows = np.zeros((layout.rows, width * layout.point_step + layout.row_padding), np.uint8)
    rows[:, : width * layout.point_step] = raw.reshape(layout.rows, -1)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="lidar"),
        height=layout.rows,
        width=width,
        fields=[SimpleNamespace(name=n, datatype=DATATYPES[kind], offset=o, count=1) for n, kind, o in layout.fields],
        is_bigendian=layout.big,
        point_step=layout.point_step,
        row_step=rows.shape[1],
        data=rows.reshape(-1),
    )


def _bytes_in(layout: Layout, points: np.ndarray) -> np.ndarray:
    names, formats, offsets = zip(*layout.fields, strict=True)
    formats = [(">" if layout.big else "<") + kind for kind in formats]
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": layout.point_step})
    rows = np.zeros(len(points), dtype)
    for place, name in enumerate(XYZI):
        rows[name] = points[:, place]
    return rows.view(np.uint8).reshape(-1)


def by_read_points(message: Any) -> np.ndarray:
    """What a careful node makes of `read_points`: a column at a time."""
    points = read_points(message, XYZI)
    return np.stack([points[name].astype(np.float32) for name in XYZI], axis=1)


def contenders(message: Any) -> tuple[dict[str, Callable[[], Any]], dict[str, Callable[[], Any]]]:
    """The fast ones and, by themselves, those that make an object of every point; rows with padding are only ours."""
    result = cloud_from_message(message, extras=False).points
    fast: dict[str, Callable[[], Any]] = {
        "memcpy of the message": message.data.copy,
        "memcpy of the result": result.copy,
        "ours": lambda: cloud_from_message(message, extras=False).points,
        "ours, time and ring too": lambda: cloud_from_message(message),
    }
    if message.row_step != message.width * message.point_step:
        return fast, {}
    assert np.array_equal(by_read_points(message), result, equal_nan=True)
    fast["read_points to float32"] = lambda: by_read_points(message)
    return fast, {
        "read_points_list": lambda: read_points_list(message, XYZI),
        "unpack_points_list": lambda: unpack_points_list(message, XYZI),
    }


def measure(num_points: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds by layout and contender, all in one loop, every other round backwards.

    A call that is not slow is made once before it is timed, so that all find the caches as warm.
    """
    work = []
    for layout_name, layout in LAYOUTS.items():
        fast, slow = contenders(message_of(layout, num_points))
        work += [(layout_name, name, call, 1) for name, call in fast.items()]
        work += [(layout_name, name, call, SLOW_EVERY) for name, call in slow.items()]
    times: dict[str, dict[str, list[float]]] = {layout_name: {} for layout_name in LAYOUTS}
    for number in range(rounds):
        for layout_name, name, call, every in work if number % 2 else reversed(work):
            if number % every == 0:
                if every == 1:
                    call()
                times[layout_name].setdefault(name, []).append(timed_ms(call))
    return {layout: {name: statistics.median(row[name]) for name in sorted(row)} for layout, row in times.items()}


def timed_ms(call: Callable[[], Any]) -> float:
    """Milliseconds of this thread's CPU time for one call: others' load would fall on the long ones alone."""
    started = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - started) / 1e6


def report(medians: dict[str, dict[str, float]]) -> None:
    """Ratios, and the verdict on the bars."""
    for name, row in medians.items():
        ours_ms, result_ms = row["ours"], row["memcpy of the result"]
        print(f"{name}: memcpy of the message {row['memcpy of the message']:.3f} ms, of the result {result_ms:.3f} ms")
        for who, value_ms in row.items():
            if not who.startswith("memcpy"):
                over_message = value_ms / row["memcpy of the message"]
                print(
                    f"    {who:<26}{value_ms:9.3f} ms{value_ms / result_ms:9.2f}x the result's memcpy"
                    f"{over_message:9.2f}x the message's{value_ms / ours_ms:9.1f}x ours"
                )
        if LAYOUTS[name].is_adjacent:
            verdict = "met" if ours_ms <= BAR_MEMCPY * result_ms else "MISSED"
            print(f"    bar {BAR_MEMCPY}x the result's memcpy: {verdict}")
        if "read_points_list" in row:
            faster = row["read_points_list"] / ours_ms
            print(
                f"    bar {BAR_LIST:.0f}x read_points_list: {faster:.0f}x {'met' if faster >= BAR_LIST else 'MISSED'}"
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=120_000)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    medians = measure(arguments.points, arguments.rounds)
    report(medians)
    rounded = {name: {who: round(value, 4) for who, value in row.items()} for name, row in medians.items()}
    record = {"points": arguments.points, "rounds": arguments.rounds, "load_average": round(os.getloadavg()[0], 1)}
    print(json.dumps(record | {"python": platform.python_version(), "numpy": np.__version__, "medians_ms": rounded}))


if __name__ == "__main__":
    main()
