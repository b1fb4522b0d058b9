"""Scores a result file against a release with the devkit's own `DetectionEval`, from end to end."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval
from nuscenes.nuscenes import NuScenes

root, results, split, out = sys.argv[1:5]
release = NuScenes("v1.0-mini", root, verbose=False)
with tempfile.TemporaryDirectory() as scratch:
    task = DetectionEval(release, config_factory("detection_cvpr_2019"), results, split, scratch, verbose=False)
    metrics, _ = task.evaluate()
summary = metrics.serialize()
del summary["cfg"], summary["eval_time"]
Path(out).write_text(json.dumps(summary), encoding="utf-8")
