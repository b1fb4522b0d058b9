"""Imports the devkits whole and prints their versions: whether the environment is complete."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

MODULES = (
    "av2.datasets.sensor.sensor_dataloader",
    "av2.evaluation.detection.eval",
    "av2.map.map_api",
    "cv2",
    "nuscenes.eval.detection.evaluate",
    "nuscenes.eval.lidarseg.evaluate",
    "nuscenes.nuscenes",
)

for module in MODULES:
    import_module(module)
sys.stdout.write(f"nuscenes-devkit {version('nuscenes-devkit')}, av2 {version('av2')}, numpy {version('numpy')}\n")
