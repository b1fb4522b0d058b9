"""`pipeline(frame)` against the bare engine call, smallest student (uint8); bar: at most 1.05 times.

python benchmarks/bench_pipeline_overhead.py [--rounds 200]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from random_students import interleaved_ms, machine, make, open_pipeline, summary, sweeps

BAR = 1.05


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    dataset, source = sweeps()
    sample = dataset[0]
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as scratch:
        pipeline = open_pipeline(*make("nano", dataset, Path(scratch), quantized=True), sample)
        feeds = pipeline.prepare(sample.frame)
        outputs = pipeline.engine(feeds)
        times = interleaved_ms(
            {
                "bare engine": lambda: pipeline.engine(feeds),
                "pipeline": lambda: pipeline(sample.frame),
                "prepare": lambda: pipeline.prepare(sample.frame),
                "boxes": lambda: pipeline.boxes(outputs),
            },
            rounds,
        )
    result = summary(times)
    for name, values in result.items():
        print(f"{name:<12} median {values['median_ms']:8.3f} ms   min {values['min_ms']:8.3f} ms")
    pairs = [whole / bare for whole, bare in zip(times["pipeline"], times["bare engine"], strict=True)]
    ratios = {
        "of_medians": round(result["pipeline"]["median_ms"] / result["bare engine"]["median_ms"], 4),
        "of_minima": round(result["pipeline"]["min_ms"] / result["bare engine"]["min_ms"], 4),
        "median_of_pairs": round(statistics.median(pairs), 4),
    }
    verdict = "met" if ratios["of_medians"] <= BAR else "MISSED"
    print(f"pipeline is {ratios['of_medians']}x the bare engine call; bar {BAR}x: {verdict}")
    print(json.dumps({"frame": f"{source} {sample.key}", "rounds": rounds, "ratios": ratios, **result, **machine()}))


if __name__ == "__main__":
    main()
