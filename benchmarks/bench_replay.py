"""Replay of PandaSet's sweeps (KITTI raw's where they are missing) against real time; bar: as fast as recorded.

The same frames, ten times one after the other, from every storage, from a file cut in half (opening and copying
included), and with each option that does more; one core, the smallest student (uint8), interleaved rounds. Needs the
real recordings.

python benchmarks/bench_replay.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from random_students import interleaved_ms, machine, make, open_pipeline, summary

from understudy.bags.reader import BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.datasets.dataset import Dataset
from understudy.datasets.kitti_raw import KittiRawDataset
from understudy.datasets.pandaset import PandasetSequence
from understudy.messages.headers import header_message, stamp_ns_from_message
from understudy.pipeline import Pipeline
from understudy.recording import record_bag
from understudy.replay.against import Against
from understudy.replay.options import ReplayOptions
from understudy.replay.player import replay_bag
from understudy.replay.summary import ReplaySummary
from understudy.rig import read_rig
from understudy.topics import STATIC_TRANSFORMS_TOPIC

BAR = 1.0
REPEATED = 10
PERIOD_NS = 100_000_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    dataset, source = recording()
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as scratch:
        folder = Path(scratch)
        once = record_bag(dataset, folder / "once").bag
        bag = _repeated(once, folder / "bag")
        model = make("nano", dataset, folder, quantized=True)
        pipeline = open_pipeline(*model, dataset[0]).with_rig(read_rig(once / "rig.yaml"))
        done: dict[str, list[ReplaySummary]] = {}
        times = interleaved_ms(work(bag, folder, pipeline, done), rounds, warm_up=1)
    factors = {name: runs[0].span_s / statistics.median(times[name]) * 1e3 for name, runs in done.items()}
    for name, runs in done.items():
        share = statistics.median(entry.pipeline_s / entry.wall_s for entry in runs)
        frames = runs[0].num_frames
        print(f"{name:<22}{frames:5d} frames {factors[name]:8.1f}x real time; the student's part {100 * share:4.0f} %")
    verdict = "met" if min(factors.values()) >= BAR else "MISSED"
    print(f"slowest {min(factors.values()):.1f}x real time; bar {BAR:g}x: {verdict}")
    rounded = {name: round(factor, 2) for name, factor in factors.items()}
    print(json.dumps({"recording": source, "real_time_factor": rounded, **summary(times), **machine()}))


def recording() -> tuple[Dataset, str]:
    """A real drive at 10 Hz."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("UNDERSTUDY_DATA", default))
    if (root / "pandaset/002").is_dir():
        return PandasetSequence(root / "pandaset/002"), "PandaSet 002"
    return KittiRawDataset(next((root / "kitti/raw/2011_09_26").glob("*_sync"))), "KITTI raw"


def work(
    bag: Path, folder: Path, pipeline: Pipeline, done: dict[str, list[ReplaySummary]]
) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    sqlite3 = _as_sqlite3(bag, folder / "sqlite3")
    halves = [_halved(path, folder / f"half_{path.name}") for path in (bag, sqlite3)]
    kinds: dict[str, tuple[Path, ReplayOptions, bool]] = {
        "MCAP": (bag, ReplayOptions(overwrite=True), False),
        "sqlite3": (sqlite3, ReplayOptions(overwrite=True), False),
        "half an MCAP": (halves[0], ReplayOptions(overwrite=True, salvage=True), False),
        "half an sqlite3": (halves[1], ReplayOptions(overwrite=True, salvage=True), False),
        "--cameras": (bag, ReplayOptions(overwrite=True, cameras=True), False),
        "--with-input": (bag, ReplayOptions(overwrite=True, with_input=True), False),
        "--against itself": (bag, ReplayOptions(overwrite=True), True),
    }

    def runner(name: str, path: Path, options: ReplayOptions, both: bool) -> Callable[[], object]:
        def run() -> None:
            against = Against(pipeline, pipeline) if both else None
            done.setdefault(name, []).append(replay_bag(path, pipeline, folder / "out", options, against=against))

        return run

    return {name: runner(name, *kind) for name, kind in kinds.items()}


def _repeated(bag: Path, out: Path) -> Path:
    """The drive again and again, each time after the one before."""
    with BagReader(bag) as reader, BagWriter(out) as writer:
        length_ns = reader.end_ns - reader.start_ns + PERIOD_NS
        for number in range(REPEATED):
            for message in reader.messages():
                if message.topic != STATIC_TRANSFORMS_TOPIC:
                    content = _later(reader.decode(message), number * length_ns)
                    writer.write(message.topic, content, message.log_time_ns + number * length_ns)
    return out


def _later(message: Any, shift_ns: int) -> Any:
    stamp_ns = stamp_ns_from_message(message) + shift_ns
    return replace(message, header=header_message(make_message, stamp_ns, message.header.frame_id))


def _as_sqlite3(bag: Path, out: Path) -> Path:
    with BagReader(bag) as reader, BagWriter(out, sqlite3=True) as writer:
        for message in reader.messages():
            writer.write_raw(message.topic, message.type_name, message.raw, message.log_time_ns)
    return out


def _halved(bag: Path, out: Path) -> Path:
    shutil.copytree(bag, out)
    file = next(file for file in out.iterdir() if file.suffix in {".mcap", ".db3"})
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)
    return out


if __name__ == "__main__":
    main()
