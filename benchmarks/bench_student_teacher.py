"""The INT8 `small` student (its CPU twin) against the FP32 teacher, points to boxes; bar: at least 25 times faster.

python benchmarks/bench_student_teacher.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from random_students import interleaved_ms, machine, make, open_pipeline, ratios, summary, sweeps

BAR = 25.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    dataset, source = sweeps()
    sample = dataset[0]
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as scratch:
        teacher = open_pipeline(*make("teacher", dataset, Path(scratch) / "teacher", quantized=False), sample)
        student = open_pipeline(*make("small", dataset, Path(scratch) / "small", quantized=True), sample)
        student_fp32 = open_pipeline(Path(scratch) / "small" / "model.onnx", student.contract, sample)
        work = {
            "teacher FP32": lambda: teacher(sample.frame),
            "small FP32": lambda: student_fp32(sample.frame),
            "small uint8": lambda: student(sample.frame),
        }
        times = interleaved_ms(work, rounds)
    result = summary(times)
    for name, values in result.items():
        print(f"{name:<16} median {values['median_ms']:9.2f} ms   min {values['min_ms']:9.2f} ms")
    found = ratios(times, "teacher FP32", "small uint8")
    verdict = "met" if found["median_of_rounds"] >= BAR else "MISSED"
    print(f"small uint8 is {found['median_of_rounds']}x faster (minima {found['of_minima']}x); bar {BAR}x: {verdict}")
    print(json.dumps({"frame": f"{source} {sample.key}", "rounds": rounds, "ratios": found, **result, **machine()}))


if __name__ == "__main__":
    main()
