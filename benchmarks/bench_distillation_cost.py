"""An epoch with a teacher whose answers are kept over an epoch without one, for each method of a study; bar: 1.15.

python benchmarks/bench_distillation_cost.py [--study lidar] [--teacher demo-teacher] [--student demo-student]
                                             [--only METHOD] [--frames 16] [--rounds 9]

Processor time of one process with one thread: frames from memory, collation, the teacher's answers from disk, forward,
backward, optimizer. The methods take turns, each epoch beside one of the control; the median of the rounds' ratios is
told, with the bytes that are kept of a frame. The teacher has its initial weights: what it says costs the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from typer.testing import CliRunner

from understudy.cli import build_app
from understudy.datasets.opening import open_dataset
from understudy_training.batches import Collate, Views
from understudy_training.checkpoint import RunRecord, save_run
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.teacher_cache import CachedTeacher
from understudy_training.distillation.teaching import make_teachings
from understudy_training.fitting import build_detector, build_distiller
from understudy_training.loop.loading import Part
from understudy_training.loop.task import DetectionTask
from understudy_training.recipe import Recipe, read_recipe
from understudy_training.studies.study_file import read_study

BAR = 1.15
Epoch = Callable[[], None]


def keep_teacher(recipe: Recipe, folder: Path) -> Path:
    """A run folder of the teacher with its initial weights."""
    facts = {"seed": 0, "epochs": 0, "steps": 0, "frames": 0, "precision": "32-true", "device": "cpu", "threads": 1}
    record = RunRecord(**facts, wall_s=0.0, cpu_s=0.0, parameters=0, gmacs=0.0)
    save_run(folder, build_detector(recipe, 0).eval(), recipe, record)
    return folder


def make_scenes(folder: Path, frames: int) -> Path:
    """A small data set with a few drives."""
    command = ["scenes", str(folder), "--drives", str(frames // 4 + 1), "--frames", "4", "--val-drives", "1"]
    result = CliRunner().invoke(build_app(), [*command, "--range-m", "45", "--no-camera", "--workers", "1"])
    assert result.exit_code == 0, result.output
    return folder


def make_epoch(recipe: Recipe, data: Path, teacher: Path | None, cache: Path) -> tuple[Epoch, float]:
    """One epoch as a function, and how many KiB of a frame's answers are kept."""
    frames = load_frames(recipe, open_dataset(data, "train", recipe.data.classes))
    teachings = {} if teacher is None else make_teachings(recipe, {"teacher": teacher}, frames, cache)
    detector = build_detector(recipe, 0).train()
    distiller = build_distiller(recipe, detector, teachings, 0)
    views = Views(frames, recipe.data.augmentation, 0)
    task = DetectionTask(detector, recipe, views, distiller, {name: each.teacher for name, each in teachings.items()})
    task.trainer = SimpleNamespace(global_step=50, estimated_stepping_batches=100)
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-5)
    config, size = detector.config, recipe.data.batch_size
    collate = Collate(detector.collate, config.class_names, config.grid, recipe.data.min_points, {})

    def epoch() -> None:
        for start in range(0, len(views) - size + 1, size):
            batch = collate([views[0, index] for index in range(start, start + size)])
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16-mixed"):
                loss = task.training_step(Part(batch, 0, (batch,)), 0)["loss"]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(task.parameters(), recipe.schedule.gradient_clip)
            optimizer.step()

    kept = [each.teacher for each in teachings.values() if isinstance(each.teacher, CachedTeacher)]
    sizes = [path.stat().st_size for each in kept for path in each.folder.iterdir()]
    return epoch, sum(sizes) / 2**10 / len(frames)


def cpu_s(epoch: Epoch) -> float:
    begun_s = time.process_time()
    epoch()
    return time.process_time() - begun_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="lidar")
    parser.add_argument("--teacher", default="demo-teacher")
    parser.add_argument("--student", default="demo-student")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    student, (study, _) = read_recipe(arguments.student), read_study(arguments.study)
    chosen = [method for method in study.methods if method.distillation is not None]
    chosen = [method for method in chosen if not arguments.only or method.label in arguments.only]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = make_scenes(folder / "data", arguments.frames)
        teacher = keep_teacher(read_recipe(arguments.teacher), folder / "teacher")
        control, _ = make_epoch(student.model_copy(update={"distillation": None}), data, None, folder)
        taught = {
            method.label: make_epoch(
                student.model_copy(update={"distillation": method.distillation}), data, teacher, folder
            )
            for method in chosen
        }
        ratios: dict[str, list[float]] = {label: [] for label in taught}
        for turn in range(arguments.rounds + 1):
            for label, (epoch, _) in taught.items():
                ratio = cpu_s(epoch) / cpu_s(control)
                ratios[label] += [ratio] if turn else []
    print(f"{'method':24s}{'over control':>14s}{'quartiles':>16s}{'KiB a frame':>13s}")
    for label, values in ratios.items():
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
        verdict = "" if median <= BAR else f"  above {BAR}"
        print(f"{label:24s}{median:13.2f}x{f'{low:.2f} to {high:.2f}':>16s}{taught[label][1]:>13.0f}{verdict}")
    found = {label: round(float(np.median(values)), 3) for label, values in ratios.items()}
    print(json.dumps({"machine": platform.processor() or platform.machine(), "over_control": found}))


if __name__ == "__main__":
    main()
