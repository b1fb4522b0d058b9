"""`pipeline(frame)` against the bare engine call, smallest student (uint8); bar: at most 1.05 times.

python benchmarks/bench_pipeline_overhead.py [--rounds 200]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from random_students import interleaved_ms, machine, make, open_pipeline, ratios, summary, sweeps

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
    found = ratios(times, "pipeline", "bare engine")
    verdict = "met" if found["median_of_rounds"] <= BAR else "MISSED"
    ratio, minima = found["median_of_rounds"], found["of_minima"]
    print(f"pipeline is {ratio}x the bare engine call (minima {minima}x); bar {BAR}x: {verdict}")
    print(json.dumps({"frame": f"{source} {sample.key}", "rounds": rounds, "ratios": found, **result, **machine()}))


if __name__ == "__main__":
    main()
