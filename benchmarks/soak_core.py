"""An hour of a vehicle's messages through the node's core, in virtual time: memory must not grow.

python -m benchmarks.soak_core [--minutes 60] [--out FILE]

A LiDAR at 10 Hz and six JPEG cameras at 12 Hz, jittered and delayed; of all messages 5 % are lost, 1 % come twice, 1 %
are damaged, each in a way of its own; cameras fall silent in turn. The student is a function that gives the number of
points. Memory is what Python has allocated (tracemalloc) after a collection, once every virtual minute. Exits with 1
when it grows or when a message is unaccounted for.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.trend import Trend, trend_of
from understudy.bags.types import make_message
from understudy.frame import Image
from understudy.live.options import StreamOptions
from understudy.live.stream import SensorStream
from understudy.live.tally import judge
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.headers import header_message
from understudy.messages.images import compressed_image_message
from understudy.rig import Rig
from understudy.testing import road_cloud, simple_rig

MS, SECOND, MINUTE = 10**6, 10**9, 60 * 10**9
START_NS = 1_700_000_000 * SECOND
NUM_CAMERAS, NUM_POINTS = 6, 200
LOST, DOUBLE, DAMAGED = 0.05, 0.01, 0.01
BOUND_KB_PER_HOUR = 50.0
WARM_UP_MINUTES = 5


class VirtualClock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        """Of the stamps."""
        return self.ns

    def steady_ns(self) -> int:
        """The same: it never jumps here."""
        return self.ns


def vehicle() -> Rig:
    """One LiDAR, six small cameras."""
    rig = simple_rig(camera=True)
    cameras = {f"camera{number}": rig.sensors["front"] for number in range(NUM_CAMERAS)}
    return Rig(name="soak", sensors={"lidar": rig.sensors["lidar"], **cameras})


class Sensor:
    """Makes one sensor's messages.

    Args:
        name: in the rig.
        contents: messages without a stamp, taken in turn.
        hz: how often.
        turn: which half minutes of a cycle it is silent in; None for never.
        rng: for jitter, delay and faults.
    """

    def __init__(self, name: str, contents: list[Any], hz: float, turn: int | None, rng: np.random.Generator) -> None:
        self.name, self._contents, self._turn, self._rng = name, contents, turn, rng
        self._period_ns, self._phase_ns = int(SECOND / hz), int(rng.integers(0, SECOND / hz))

    def arrivals(self, minute: int) -> list[tuple[int, str, Any]]:
        """When they come, from whom, and what, of one minute."""
        first_ns, found = START_NS + minute * MINUTE, []
        num, rng = MINUTE // self._period_ns, self._rng
        jitter_ns, delay_ns, fates = rng.normal(0, 2 * MS, num), rng.uniform(5, 40, num) * MS, rng.random((num, 3))
        for number in range(num):
            stamp_ns = first_ns + self._phase_ns + number * self._period_ns + int(jitter_ns[number])
            if fates[number, 0] < LOST or self._is_silent(stamp_ns):
                continue
            message = self._message(number, stamp_ns)
            if fates[number, 1] < DAMAGED:
                message = self._damaged(message, number)
            at_ns = stamp_ns + int(delay_ns[number])
            found += [(at_ns, self.name, message)] * (2 if fates[number, 2] < DOUBLE else 1)
        return found

    def _is_silent(self, stamp_ns: int) -> bool:
        return self._turn is not None and (stamp_ns - START_NS) // (30 * SECOND) % (2 * NUM_CAMERAS) == self._turn

    def _message(self, number: int, stamp_ns: int) -> Any:
        message = self._contents[number % len(self._contents)]
        return replace(message, header=header_message(make_message, stamp_ns, message.header.frame_id))

    def _damaged(self, message: Any, number: int) -> Any:
        """No two alike, so that their reasons are not either."""
        if hasattr(message, "format"):
            return replace(message, data=message.data[: 50 + number % 200])
        return replace(message, row_step=message.row_step + 1 + int(self._rng.integers(1, 10**9)))


def sensors_of(rig: Rig, rng: np.random.Generator) -> list[Sensor]:
    clouds = [road_cloud(rng, NUM_POINTS) for _ in range(4)]
    sweeps = [cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0) for cloud in clouds]
    sensors = [Sensor("lidar", sweeps, 10.0, None, rng)]
    for place, (name, camera) in enumerate(rig.cameras.items()):
        shape = (camera.height_px // 16, camera.width_px // 16, 3)
        coarse = [rng.integers(0, 256, shape, np.uint8) for _ in range(4)]
        images = [Image(np.kron(one, np.ones((16, 16, 1), np.uint8)), 0, camera.frame_id) for one in coarse]
        pictures = [compressed_image_message(make_message, image) for image in images]
        sensors.append(Sensor(name, pictures, 12.0, 2 * place + 1, rng))
    return sensors


def soak(minutes: int, seed: int = 0) -> dict[str, Any]:
    """Memory by minute, and what became of the messages."""
    rig, clock, published = vehicle(), VirtualClock(), [0]

    def publish(result: int, frame: Any) -> None:
        published[0] += 1

    stream: SensorStream[int] = SensorStream(
        rig, StreamOptions("lidar", tuple(rig.cameras)), lambda frame: len(frame.clouds["lidar"]), publish, clock
    )
    sensors, verdicts, before = sensors_of(rig, np.random.default_rng(seed)), 0, stream.status()
    memory_kb, started_s = np.zeros(minutes), time.monotonic()
    tracemalloc.start()
    for minute in range(minutes):
        for now_ns, name, message in _timeline(sensors, minute):
            clock.ns = max(clock.ns, now_ns)
            if name:
                stream.push(name, message)
            else:
                status = stream.status()
                verdicts, before = verdicts + (judge(before, status, SECOND).level != "ok"), status
            stream.tick()
            while stream.work():
                pass
        del message
        gc.collect()
        memory_kb[minute] = tracemalloc.get_traced_memory()[0] / 1e3
    tracemalloc.stop()
    return {
        "virtual_minutes": minutes,
        "took_s": time.monotonic() - started_s,
        "published": published[0],
        "verdicts_not_ok": verdicts,
        "adds_up": stream.status().adds_up,
        "sensors": {name: _shown(one) for name, one in stream.status().sensors.items()},
        "elapsed_s": [60.0 * (minute + 1) for minute in range(minutes)],
        "memory_kb": memory_kb.round(2).tolist(),
    }


def _timeline(sensors: list[Sensor], minute: int) -> Iterator[tuple[int, str, Any]]:
    """A minute's arrivals in their order, and a look at the status each second, from nobody."""
    looks = [(START_NS + minute * MINUTE + second * SECOND, "", None) for second in range(60)]
    arrivals = [entry for sensor in sensors for entry in sensor.arrivals(minute)]
    yield from sorted(looks + arrivals, key=lambda entry: entry[:2])


def _shown(status: Any) -> dict[str, Any]:
    ends = {outcome: count for outcome, count in status.outcomes.items() if count}
    return {"received": status.received, "waiting": status.waiting, **ends, "different_reasons": len(status.reasons)}


def report(record: dict[str, Any], trend: Trend) -> bool:
    """Prints what was found; whether it is good."""
    messages = sum(one["received"] for one in record["sensors"].values())
    minutes, took = f"{record['virtual_minutes']} virtual minutes", f"{record['took_s']:.0f} s"
    print(f"{minutes} in {took}: {messages} messages, {record['published']} results")
    for name, one in record["sensors"].items():
        print(f"    {name}: " + ", ".join(f"{key} {value}" for key, value in one.items()))
    flat = trend.is_flat(BOUND_KB_PER_HOUR)
    interval = f"{trend.per_hour:+.1f} kB/h, 95 % interval {trend.low:+.1f} to {trend.high:+.1f}"
    print(f"memory {trend.smallest:.0f} to {trend.largest:.0f} kB; slope {interval}: {'flat' if flat else 'GROWS'}")
    print(f"every message accounted for: {'yes' if record['adds_up'] else 'NO'}")
    return flat and record["adds_up"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    logging.getLogger("understudy").setLevel(logging.ERROR)
    record = soak(given.minutes)
    warm = min(WARM_UP_MINUTES, given.minutes // 2)
    trend = trend_of(record["elapsed_s"][warm:], record["memory_kb"][warm:])
    good = report(record, trend)
    if given.out:
        given.out.write_text(json.dumps({**record, "trend_kb_per_hour": asdict(trend)}) + "\n", encoding="utf-8")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
