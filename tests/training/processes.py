"""Trainings that tests start in processes of their own: `python -m tests.training.processes SPECIFICATION.json`.

Under torchrun every process runs it. The same `train` is called by tests directly, for the run to compare with.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from understudy.datasets.dataset import Sample
from understudy_training import fitting
from understudy_training.distillation.study import load_frames
from understudy_training.distillation.teacher_cache import LiveTeacher
from understudy_training.fitting import FitOptions, Teaching, build_detector, fit, widths_of
from understudy_training.loop.launch import agreed, launch_of
from understudy_training.loop.options import Interval
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe, check_recipe
from understudy_training.testing import CLASSES, GRID, MadeUpDataset, recipe_values

ALL_TERMS = [
    {"kind": kind}
    for kind in (
        "response",
        "dense_response",
        "feature",
        "relation",
        "logit_kd",
        "fitnet",
        "attention_transfer",
        "masked_feature",
        "rkd",
        "cwd",
        "xray_head",
        "xray_embedding",
        "xray_box",
    )
]
LEARNED_PILLARS = {
    "kind": "pillar",
    "grid": GRID.model_dump(),
    "class_names": list(CLASSES),
    "encoder": {"kind": "learned", "channels": 8, "max_pillars": 1024, "max_points_per_pillar": 8},
    "backbone": {"widths": [8, 16, 16], "layers": [1, 1, 1], "strides": [1, 2, 2]},
    "neck_width": 8,
    "output_stride": 1,
    "head": {"width": 16, "branch_width": 16},
}


@dataclass
class Mortal:
    """A data set that ends its process when it has been read so many times: no warning, no clean-up."""

    num_frames: int
    reads_left: int | None = None

    def __post_init__(self) -> None:
        self._inner = MadeUpDataset(self.num_frames)
        self.class_names, self.fingerprint = self._inner.class_names, self._inner.fingerprint

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Sample:
        if self.reads_left is not None:
            self.reads_left -= 1
            if self.reads_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._inner[index]


def recipe_of(changes: dict[str, object]) -> Recipe:
    """The tiny recipe with changes."""
    return check_recipe(recipe_values(**changes), "processes")


def train(
    out: Path,
    changes: dict[str, object],
    *,
    frames: int = 12,
    float64: bool = False,
    taught: bool = False,
    without_batch_norm: bool = False,
    reads_left: int | None = None,
    **options: object,
) -> BevDetector:
    """Trains; in every process that a launcher started, or in this one."""
    before = torch.get_default_dtype(), torch.get_num_threads(), fitting.build_detector
    torch.set_num_threads(1)
    if float64:
        torch.set_default_dtype(torch.float64)
    if without_batch_norm:
        fitting.build_detector = normalized_by_frame  # type: ignore[assignment]
    try:
        recipe = recipe_of(changes)
        teaching = None
        if taught:
            teacher = build_detector(recipe_of({}), seed=9)
            assert recipe.distillation is not None
            teaching = Teaching(LiveTeacher(teacher, recipe.distillation.asked), widths_of(teacher))
        devices, _ = agreed(None, None)
        steps = options.pop("checkpoint_every_steps", None)
        every = Interval(steps=int(str(steps))) if steps else None
        chosen = FitOptions(devices=devices, checkpoint_every=every, metrics_every=1, **options)  # type: ignore[arg-type]
        return fit(recipe, load_frames(recipe, Mortal(frames, reads_left)), out, chosen, teaching=teaching)
    finally:
        torch.set_default_dtype(before[0])
        torch.set_num_threads(before[1])
        fitting.build_detector = before[2]


def normalized_by_frame(recipe: Recipe, seed: int) -> BevDetector:
    """The detector with each frame normalized by itself, so that nothing depends on how a batch is divided."""
    detector = build_detector(recipe, seed)
    for block in list(detector.modules()):
        for name, child in list(block.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(block, name, nn.GroupNorm(1, child.num_features))
    return detector


def main() -> None:
    """Runs every case of a specification, one after the other; a deadly read in one process only, the last."""
    launch = launch_of()
    for case in json.loads(Path(sys.argv[1]).read_text()):
        if launch.rank + 1 != (launch.devices or 1):
            case.pop("reads_left", None)
        train(Path(case.pop("out")), case.pop("changes"), **case)


if __name__ == "__main__":
    main()
