"""The vehicle runtime works where nothing that trains is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BLOCKED = ("torch", "lightning", "rclpy", "matplotlib", "numba", "understudy_training", "understudy_calibration")
PROGRAM = """
import importlib, pkgutil, sys
from pathlib import Path

sys.modules.update(dict.fromkeys({blocked!r}))  # as good as not installed
import understudy
for module in pkgutil.walk_packages(understudy.__path__, "understudy."):
    importlib.import_module(module.name)

import numpy as np
from understudy.pipeline import Pipeline, open_pipeline
from understudy.testing import FakeEngine, frame_of, road_cloud, simple_rig, tiny_bundle, tiny_contract

folder = Path({folder!r})
rig = simple_rig()
frame = frame_of(road_cloud(np.random.default_rng(0)))
bundle = tiny_bundle(folder / "bundle")
with open_pipeline(bundle.folder, rig) as pipeline:
    pipeline(frame)
contract = tiny_contract("pillars")
nothing = dict(boxes=np.zeros((1, 7), np.float32), scores=np.zeros(1, np.float32), labels=np.zeros(1, np.int32))
assert len(Pipeline(contract, FakeEngine(contract, lambda feeds: nothing), rig)(frame)) == 0
print("ran without", len({blocked!r}))
"""


def test_every_module_and_the_pipeline_run_without_what_only_training_has(tmp_path: Path) -> None:
    program = PROGRAM.format(blocked=BLOCKED, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"ran without {len(BLOCKED)}"
