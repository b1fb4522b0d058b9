"""Sets kept and messages/s of our synchronizers, against the behavior of the stock Python ApproximateTimeSynchronizer.

python benchmarks/bench_synchronizer.py [--seconds 60] [--rounds 15] [--grid]

A 10 Hz LiDAR and 1, 2 or 6 cameras, triggered by it (10 Hz) or running free (12 Hz, any phase), stamps with normal
jitter, 5 % of the messages lost on every topic, each received 10 to 40 ms after its stamp. The same arrivals for all.
`--grid`: instead of that one table over topics, jitter and losses, as Markdown.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from stock_synchronizer import StockSynchronizer

from understudy.synchronization.approximate_time import ApproximatePolicy, ApproximateTime
from understudy.synchronization.matcher import Matcher, SyncPolicy
from understudy.synchronization.nearest import Synchronizer

MS = 1_000_000
TOLERANCE_NS = 50 * MS
QUEUE_SIZES = (10, 30, 100, 300)
BAR_SETS, BAR_SPEED, BAR_FLAT = 2.0, 1.0, 1.15
OURS, STOCK, WIDE_STOCK = "Synchronizer, 50 ms", "stock, slop 50 ms", "stock, slop 100 ms"
GRID_TOPICS, GRID_JITTERS_MS, GRID_DROPS = (2, 3, 7), (0.0, 2.0, 5.0), (0.0, 0.05, 0.1)
GRID_COLUMNS = (STOCK, OURS, "ApproximateTime")


@dataclass(frozen=True)
class Arrival:
    """A message: topic number, stamp, when it is received."""

    topic: int
    stamp_ns: int
    now_ns: int


@dataclass(frozen=True)
class Kept:
    """What came out: sweeps, how many of them with every camera, and pictures in all."""

    sets: int
    complete: int
    pictures: int


def arrivals_of(num_topics: int, is_free: bool, jitter_ms: float, drops: float, seconds: int) -> list[Arrival]:
    """The same for the same arguments."""
    rng = np.random.default_rng(num_topics)
    arrivals = []
    for topic in range(num_topics):
        period_ms = 1000 / 12 if is_free and topic else 100
        phase_ms = float(rng.uniform(0, period_ms)) if is_free and topic else 0.0
        num = int(seconds * 1000 / period_ms)
        stamps_ms = 1000 + phase_ms + period_ms * np.arange(num) + rng.normal(0, jitter_ms, num)
        received_ms = stamps_ms + rng.uniform(10, 40, num)
        kept = np.flatnonzero(rng.random(num) >= drops)
        arrivals += [Arrival(topic, int(stamps_ms[k] * MS), int(received_ms[k] * MS)) for k in kept]
    return sorted(arrivals, key=lambda arrival: (arrival.now_ns, arrival.topic))


def run_stock(arrivals: list[Arrival], num_topics: int, queue_size: int, slop_ns: int) -> Kept:
    sets: list[tuple[int, ...]] = []
    stock = StockSynchronizer(num_topics, queue_size, slop_ns, lambda *messages: sets.append(messages))
    for arrival in arrivals:
        stock.add(arrival.topic, arrival.stamp_ns, arrival.topic)
    return Kept(len(sets), len(sets), len(sets) * (num_topics - 1))


def run_matcher(arrivals: list[Arrival], names: tuple[str, ...], matcher: Matcher[int]) -> Kept:
    sets = []
    for arrival in arrivals:
        sets += matcher.push(names[arrival.topic], arrival.stamp_ns, arrival.topic, arrival.now_ns)
    return Kept(len(sets), sum(one.is_complete for one in sets), sum(sum(one.mask) for one in sets))


def contenders(arrivals: list[Arrival], num_topics: int, queue_size: int) -> dict[str, Callable[[], Kept]]:
    names = ("lidar", *(f"camera{number}" for number in range(1, num_topics)))

    def ours(tolerance_ns: int) -> Kept:
        policy = SyncPolicy(tolerance_ns=tolerance_ns, queue_size=queue_size)
        return run_matcher(arrivals, names, Synchronizer(names[0], names[1:], policy))

    def approximate() -> Kept:
        policy = ApproximatePolicy(queue_size=queue_size)
        return run_matcher(arrivals, names, ApproximateTime(names[0], names[1:], policy))

    return {
        STOCK: lambda: run_stock(arrivals, num_topics, queue_size, TOLERANCE_NS),
        WIDE_STOCK: lambda: run_stock(arrivals, num_topics, queue_size, 2 * TOLERANCE_NS),
        OURS: lambda: ours(TOLERANCE_NS),
        "Synchronizer, 100 ms": lambda: ours(2 * TOLERANCE_NS),
        "ApproximateTime": approximate,
    }


def measure(work: dict[str, Callable[[], Kept]], num_messages: int, rounds: int) -> dict[str, tuple[Kept, float]]:
    """What each kept and its messages/s of CPU time: the median over interleaved rounds."""
    kept, times_s = {}, {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            started_s = time.thread_time()
            kept[name] = run()
            times_s[name].append(time.thread_time() - started_s)
    return {name: (kept[name], num_messages / statistics.median(times_s[name])) for name in work}


def cases(seconds: int) -> dict[str, tuple[int, list[Arrival]]]:
    found = {}
    for num_topics, is_free, (jitter_ms, drops) in product((2, 3, 7), (False, True), ((2, 0.0), (5, 0.05), (20, 0.05))):
        kind = "free" if is_free else "triggered"
        name = f"{num_topics} topics, {kind}, jitter {jitter_ms} ms, {drops * 100:.0f} % lost"
        found[name] = (num_topics, arrivals_of(num_topics, is_free, jitter_ms, drops, seconds))
    return found


def measure_cases(seconds: int, rounds: int) -> dict[str, dict[str, tuple[Kept, float]]]:
    results = {}
    print(f"{seconds * 10} sweeps sent; queues of 10; sets kept (of them complete), messages/s")
    for name, (num_topics, arrivals) in cases(seconds).items():
        results[name] = measure(contenders(arrivals, num_topics, 10), len(arrivals), rounds)
        sent = sum(arrival.topic == 0 for arrival in arrivals)
        print(f"{name}: {sent} sweeps arrive")
        for who, (kept, speed) in results[name].items():
            print(f"    {who:<22}{kept.sets:6d} ({kept.complete:5d}) {kept.pictures:6d} pictures {speed:12,.0f} msg/s")
    return results


def measure_queues(seconds: int, rounds: int) -> dict[str, dict[str, float]]:
    """Messages/s by queue size; a camera that is not wanted at all fills its queue, so that it is really full."""
    arrivals = [a for a in arrivals_of(7, True, 5, 0.05, seconds) if a.topic or a.stamp_ns // 10**10 % 2]
    print("7 topics, free, jitter 5 ms, 5 % lost, LiDAR silent for 10 of every 20 s; messages/s by queue size")
    work = {f"{who}|{size}": run for size in QUEUE_SIZES for who, run in contenders(arrivals, 7, size).items()}
    speeds = {name: speed for name, (_, speed) in measure(work, len(arrivals), rounds).items()}
    table: dict[str, dict[str, float]] = {}
    for name, speed in speeds.items():
        who, size = name.split("|")
        table.setdefault(who, {})[size] = speed
    for who, row in table.items():
        print(f"    {who:<22}" + "".join(f"{size:>6}: {speed:9,.0f}" for size, speed in row.items()))
    return table


def print_grid(seconds: int, rounds: int) -> list[dict[str, object]]:
    """One table; sets given, in brackets those with every camera where they are fewer, and thousand messages/s."""
    print("| topics | cameras | jitter | lost | sweeps | " + " | ".join(GRID_COLUMNS) + " |")
    print("| --- " * (5 + len(GRID_COLUMNS)) + "|")
    rows: list[dict[str, object]] = []
    for is_free, num_topics, jitter_ms, drops in product((False, True), GRID_TOPICS, GRID_JITTERS_MS, GRID_DROPS):
        arrivals = arrivals_of(num_topics, is_free, jitter_ms, drops, seconds)
        work = {name: run for name, run in contenders(arrivals, num_topics, 10).items() if name in GRID_COLUMNS}
        results = measure(work, len(arrivals), rounds)
        kind = "free, 12 Hz" if is_free else "triggered"
        sweeps = sum(arrival.topic == 0 for arrival in arrivals)
        cells = " | ".join(_cell(*results[name]) for name in GRID_COLUMNS)
        print(f"| {num_topics} | {kind} | {jitter_ms:g} ms | {drops:.0%} | {sweeps} | {cells} |")
        found = {name: [kept.sets, kept.complete, round(speed)] for name, (kept, speed) in results.items()}
        rows.append({"topics": num_topics, "free": is_free, "jitter_ms": jitter_ms, "drops": drops, **found})
    return rows


def _cell(kept: Kept, speed: float) -> str:
    complete = "" if kept.complete == kept.sets else f" ({kept.complete})"
    return f"{kept.sets}{complete}; {speed / 1000:.0f} k"


def verdict(what: str, value: float, is_met: bool) -> None:
    print(f"{what}: {value:.2f} {'met' if is_met else 'MISSED'}")


def verdicts(results: dict[str, dict[str, tuple[Kept, float]]], queues: dict[str, dict[str, float]], sent: int) -> None:
    """The bars, in each case of 7 topics with losses; the most sets that anybody can give are the sweeps sent."""
    for name, case in results.items():
        if not name.startswith("7 topics") or not name.endswith("5 % lost"):
            continue
        (ours, speed), (stock, stock_speed) = case[OURS], case[STOCK]
        most, ratio = sent / max(1, stock.sets), ours.sets / max(1, stock.sets)
        wide_ratio = ours.sets / max(1, case[WIDE_STOCK][0].sets)
        note = f"at most {most:.2f}; over slop 100 ms {wide_ratio:.2f}"
        verdict(f"{name}: sets over the stock's, bar {BAR_SETS} ({note})", ratio, ratio >= BAR_SETS)
        verdict(f"{name}: messages/s over the stock's, bar {BAR_SPEED}", speed / stock_speed, speed >= stock_speed)
    flatness = max(queues[OURS].values()) / min(queues[OURS].values())
    verdict(f"fastest over slowest queue size, bar {BAR_FLAT}", flatness, flatness <= BAR_FLAT)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--grid", action="store_true")
    arguments = parser.parse_args()
    if arguments.grid:
        rows = print_grid(arguments.seconds, arguments.rounds)
        print(json.dumps({"python": platform.python_version(), "grid": rows}))
        return
    results = measure_cases(arguments.seconds, arguments.rounds)
    queues = measure_queues(arguments.seconds, arguments.rounds)
    verdicts(results, queues, arguments.seconds * 10)
    table = {
        name: {who: [kept.sets, kept.complete, kept.pictures, round(speed)] for who, (kept, speed) in case.items()}
        for name, case in results.items()
    }
    flat = {who: {size: round(speed) for size, speed in row.items()} for who, row in queues.items()}
    print(json.dumps({"python": platform.python_version(), "cases": table, "messages_per_s_by_queue_size": flat}))


if __name__ == "__main__":
    main()
