"""The real node for minutes, cameras falling silent in turn: memory, threads, descriptors and /dev/shm must stay flat.

python -m benchmarks.ros.soak [--minutes 10] [--bundle BUNDLE] [--out FILE] [--plot FILE.png]   (in that of `make ros`)

A LiDAR at 10 Hz and six cameras with JPEG at 12 Hz, with the shared-memory profile; a look every five seconds. Flat is
what surely rises by less than its bound: the upper end of the slope's 95 % interval, after the first minute. Exits with
1 when something is not flat, a process did not end well, or a sensor's counts do not add up.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.ros.end_to_end import FUSION_NODE, LIDAR_NODE, summary_of
from benchmarks.ros.plan import Plan
from benchmarks.ros.running import chosen_bundle, run_apart
from benchmarks.trend import Trend, trend_of
from understudy.live.tally import OUTCOMES

SAMPLE_EVERY_S, WARM_UP_S, SPAN_S = 5.0, 60.0, 30.0
BOUNDS_PER_HOUR = {"private_mb": 30.0, "threads": 3.0, "descriptors": 3.0}
"""What may at most rise in an hour: a megabyte a day is no leak that ten minutes show, half a megabyte a minute is."""
SHOWN = ("rss_mb", "segments", "segments_mb")
"""Resident memory holds what was touched of the drivers' shared memory, which is there once; segments are those of all
processes of the machine."""


def trends_of(samples: list[dict[str, float]]) -> dict[str, Trend]:
    """After the warm-up, through the least of each half minute: decoded pictures, 6 MB each, come and go."""
    kept = [sample for sample in samples if sample["elapsed_s"] > WARM_UP_S] or samples
    spans: dict[int, list[dict[str, float]]] = {}
    for sample in kept:
        spans.setdefault(int(sample["elapsed_s"] / SPAN_S), []).append(sample)
    spans = {number: span for number, span in spans.items() if len(span) > SPAN_S / SAMPLE_EVERY_S / 2} or spans
    elapsed_s = [SPAN_S * (number + 0.5) for number in spans]
    least = {name: [min(one[name] for one in span) for span in spans.values()] for name in (*BOUNDS_PER_HOUR, *SHOWN)}
    return {name: trend_of(elapsed_s, values) for name, values in least.items()}


def verdict(trends: dict[str, Trend]) -> bool:
    """Prints each, and whether all that have a bound are flat."""
    good = True
    for name, trend in trends.items():
        values = f"{trend.first:.1f} to {trend.last:.1f} (between {trend.smallest:.1f} and {trend.largest:.1f})"
        slope = f"{trend.per_hour:+.2f} an hour, 95 % interval {trend.low:+.2f} to {trend.high:+.2f}"
        bound = BOUNDS_PER_HOUR.get(name)
        is_flat = bound is None or trend.is_flat(bound)
        good = good and is_flat
        print(
            f"{name}: {values}; {slope}; " + (f"bound {bound:g}: {'flat' if is_flat else 'NOT FLAT'}" if bound else "")
        )
    return good


def plot(samples: list[dict[str, float]], path: Path) -> None:
    """Memory and descriptors over time."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, sharex=True)
    minutes = [sample["elapsed_s"] / 60 for sample in samples]
    for name in ("rss_mb", "private_mb"):
        axes[0].plot(minutes, [sample[name] for sample in samples], label=name)
    for name in ("threads", "descriptors", "segments"):
        axes[1].plot(minutes, [sample[name] for sample in samples], label=name)
    for one in axes:
        one.legend()
    axes[1].set_xlabel("minutes")
    figure.savefig(path)


def sums_of(values: dict[str, str]) -> dict[str, tuple[int, int]]:
    """What each sensor's messages number, and its ends and what waits together; of a diagnostic status."""
    counts = {key: int(value) for key, value in values.items() if "/" in key and value.isdecimal()}
    sensors = [key.removeprefix("received/") for key in counts if key.startswith("received/")]
    ends = ("waiting", *OUTCOMES)
    return {name: (counts[f"received/{name}"], sum(counts[f"{end}/{name}"] for end in ends)) for name in sensors}


def record_of(run: dict[str, Any], what: str) -> tuple[dict[str, Any], bool]:
    """What is kept of a run, and whether it was good; prints it."""
    summary, trends = summary_of(run), trends_of(run["samples"])
    good = verdict(trends)
    ended = all(status == 0 for status in run["exit_statuses"].values())
    sums = sums_of(summary["at_the_end"])
    adds_up = bool(sums) and all(received == ends for received, ends in sums.values())
    print(f"counts of {len(sums)} sensors add up: {'yes' if adds_up else 'NO'}")
    print(
        f"student: {what}; {summary['results']} results of {summary['clouds_sent']} sweeps, "
        f"{summary['pictures_sent']} pictures sent; stamp to received {summary['stamp_to_received_ms']} ms"
    )
    print(f"CPU {summary['cpu_share_of_a_core']}; {os.cpu_count()} cores; ended well: {'yes' if ended else 'NO'}")
    levels = [message for _, _, message in run["diagnostics"]]
    record = {
        "student": what,
        **summary,
        "trends_per_hour": {name: asdict(trend) for name, trend in trends.items()},
        "bounds_per_hour": BOUNDS_PER_HOUR,
        "exit_statuses": run["exit_statuses"],
        "diagnostics_heard": len(levels),
        "samples": [{name: round(value, 2) for name, value in sample.items()} for sample in run["samples"]],
    }
    return record, good and ended and adds_up


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    module = FUSION_NODE if importlib.util.find_spec(FUSION_NODE) else LIDAR_NODE
    with tempfile.TemporaryDirectory(prefix="understudy-soak-") as scratch:
        bundle, what = chosen_bundle(given.bundle, Path(scratch))
        plan = Plan(bundle, 60 * given.minutes, 6, module=module, dropouts=True, sample_every_s=SAMPLE_EVERY_S)
        run = run_apart(plan, Path(scratch) / "run", profile=True)
    record, good = record_of(run, what)
    if given.plot:
        plot(run["samples"], given.plot)
    if given.out:
        given.out.write_text(
            json.dumps({"module": module, "minutes": given.minutes, **record}) + "\n", encoding="utf-8"
        )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
