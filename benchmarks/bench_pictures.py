"""Six pictures of 1600 x 900 px to a network's 320 x 192, against Pillow and against a bilinear remap in NumPy.

python benchmarks/bench_pictures.py [--rounds 15]

Milliseconds are of the core, all cases in one loop; bar: at most half of Pillow's resize, which does not undistort.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from understudy.bundle.inputs import Pictures
from understudy.network_pictures import SamplingRoom, network_camera, network_images
from understudy.rig import Camera, Mounting
from understudy.undistortion import remap, undistort_map

BAR = 0.5
PICTURES = Pictures(num_cameras=6, width_px=320, height_px=192, focal_px=250.0)
LENSES = {"rectified": (), "with distortion": (-0.12, 0.03, 0.001, -0.001, 0.0)}


def camera(number: int, distortion: tuple[float, ...]) -> Camera:
    """As nuScenes' front camera; the number makes each another one."""
    mounting = Mounting(translation_m=(1.5, 0.0, 1.5 + 0.01 * number), rotation_wxyz=(0.5, -0.5, 0.5, -0.5))
    return Camera(
        ego_from_sensor=mounting,
        width_px=1600,
        height_px=900,
        fx_px=1266.0,
        fy_px=1266.0,
        cx_px=816.0,
        cy_px=491.0,
        distortion=distortion,
    )


def pillow(pictures: dict[str, NDArray[np.uint8]]) -> None:
    """The nearest thing without a lens: antialiased, rows cropped or black after it."""
    for pixels in pictures.values():
        np.asarray(Image.fromarray(pixels).resize((320, 180), Image.Resampling.BILINEAR))


def cases(rng: np.random.Generator) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    work: dict[str, Callable[[], object]] = {}
    for lens, distortion in LENSES.items():
        cameras = {f"camera_{number}": camera(number, distortion) for number in range(6)}
        pictures = {name: rng.integers(0, 256, (900, 1600, 3), dtype=np.uint8) for name in cameras}
        maps = {name: undistort_map(entry, network_camera(entry, 320, 192)) for name, entry in cameras.items()}
        room = SamplingRoom()
        work[f"network_images, {lens}"] = lambda p=pictures, c=cameras, r=room: network_images(p, c, PICTURES, r)
        work[f"bilinear remap in NumPy, {lens}"] = lambda p=pictures, m=maps: [remap(p[name], m[name]) for name in p]
    work["Pillow's resize"] = lambda: pillow(pictures)
    return work


def measure(rounds: int) -> dict[str, float]:
    """Medians in ms of the core by name."""
    work = cases(np.random.default_rng(0))
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, call in work.items():
            started = time.process_time_ns()
            call()
            if number:
                times[name].append((time.process_time_ns() - started) / 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    medians = measure(parser.parse_args().rounds)
    ratios = {name: round(value / medians["Pillow's resize"], 3) for name, value in medians.items()}
    print(json.dumps({"machine": platform.processor() or platform.machine(), "ms": medians, "ratio": ratios}, indent=2))
    for lens in LENSES:
        assert ratios[f"network_images, {lens}"] <= BAR, f"{lens}: more than {BAR} of Pillow's resize"


if __name__ == "__main__":
    main()
