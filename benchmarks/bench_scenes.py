"""Generation of driving scenes with a 32-beam LiDAR (1080 steps) and a 320x192 camera, written; bar: 20 frames/s.

python benchmarks/bench_scenes.py [--drives 8] [--frames 20] [--workers 2]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
from pathlib import Path

from understudy_training.scenes.config import SceneConfig
from understudy_training.scenes.writer import make_scenes

BAR_FRAMES_PER_S = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drives", type=int, default=8)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    config = SceneConfig(num_drives=options.drives, num_frames=options.frames, num_val_drives=0)
    with tempfile.TemporaryDirectory() as folder:
        make_scenes(SceneConfig(num_drives=1, num_frames=1, num_val_drives=0), Path(folder) / "warm", workers=1)
        begun_s = cpu_s()
        made = make_scenes(config, Path(folder) / "set", workers=options.workers)
        used_s = cpu_s() - begun_s
        written = sum(file.stat().st_size for file in (Path(folder) / "set").rglob("*") if file.is_file())
    record = {
        "frames_per_s": round(made.frames_per_s, 1),
        "cpu_ms_per_frame": round(1000 * used_s / made.num_frames, 1),
        "bar_frames_per_s": BAR_FRAMES_PER_S,
        "frames": made.num_frames,
        "points_per_frame": made.num_points // made.num_frames,
        "written_mb": round(written / 1e6, 1),
        "workers": options.workers,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
    }
    print(json.dumps(record))
    return 0 if made.frames_per_s >= BAR_FRAMES_PER_S else 1


def cpu_s() -> float:
    """CPU time used by this process, all threads: what a busy machine does not distort."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
