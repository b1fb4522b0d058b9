"""A teacher that sees objects whole is the better one; a student's path never touches another frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.training.xray.conftest import Knowing
from tests.training.xray.drives import MovingDataset
from understudy.cli import build_app
from understudy.datasets.dataset import Dataset
from understudy.datasets.opening import open_dataset
from understudy.evaluation import evaluate_model
from understudy.pipeline import Pipeline
from understudy_training.batches import TrainingFrames
from understudy_training.fitting import FitOptions, fit
from understudy_training.recipe import Recipe, check_recipe
from understudy_training.testing import recipe_values
from understudy_training.torch_engine import open_torch_engine
from understudy_training.xray.complete_objects import CompleteObjects, ObjectComplete

GRID = {"x_range_m": [-25.6, 25.6], "y_range_m": [-25.6, 25.6], "z_range_m": [-1.0, 3.0], "cell_m": 0.8}


def recipe(**changes: object) -> Recipe:
    values = recipe_values(**changes)
    detector = values["detector"] | {"class_names": ["car", "truck", "pedestrian", "cyclist"], "grid": GRID}
    return check_recipe(values | {"detector": detector}, "x")


def test_a_student_never_touches_another_frame(drives):
    """Inference takes one frame and says the same whatever stands before and after it."""

    class Watched:
        """Says which frames were read."""

        def __init__(self, dataset: Dataset) -> None:
            self.dataset, self.read = dataset, []

        def __getitem__(self, index: int) -> object:
            self.read.append(index)
            return self.dataset[index]

    watched, model = Watched(open_dataset(drives, "val")), Knowing(drives).opened()
    sample = watched[2]
    pipeline = Pipeline(model.contract, model.engine, sample.rig)
    alone = pipeline(sample.frame)
    assert watched.read == [2]
    assert len(model.engine.last_feeds["points"]) == len(sample.frame.clouds["lidar"])
    again = pipeline(open_dataset(drives, "val")[2].frame)
    np.testing.assert_array_equal(alone.geometry, again.geometry)


def test_frames_to_train_on_hold_what_was_gathered():
    raw = TrainingFrames(MovingDataset(), None, 40.0, None)
    whole = TrainingFrames(ObjectComplete(MovingDataset(), CompleteObjects()), None, 40.0, None)
    for index in (0, 5, 8):
        own, complete = raw[index], whole[index]
        assert complete.points[: len(own.points)].tobytes() == own.points.tobytes()
        assert len(complete.points) > len(own.points)
        np.testing.assert_array_equal(complete.boxes.contains(complete.points).sum(axis=1), complete.boxes.num_points)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_teacher_on_complete_frames_is_better_than_one_on_raw_frames(tmp_path):
    """Same network, seed, order and number of steps; judged by the same labels."""
    torch.set_num_threads(1)
    few = ["--drives", "30", "--frames", "6", "--val-drives", "6", "--no-camera", "--beams", "16", "--range-m", "30"]
    assert CliRunner().invoke(build_app(), ["scenes", str(tmp_path / "data"), *few, "--workers", "1"]).exit_code == 0
    train, val = (open_dataset(tmp_path / "data", split) for split in ("train", "val"))
    settings, chosen = CompleteObjects(), recipe(schedule={"epochs": 12}, data={"batch_size": 4, "augmentation": None})

    def score(shown: Dataset, judged: Dataset, folder: Path) -> float:
        frames = TrainingFrames(shown, None, 40.0, None)
        frames.preload()
        fit(chosen, frames, folder, FitOptions(seed=0))
        mean = evaluate_model(open_torch_engine(folder), judged).mean_ap_percent()
        assert mean is not None
        return mean

    raw = score(train, val, tmp_path / "raw")
    whole = score(ObjectComplete(train, settings), ObjectComplete(val, settings, recount=False), tmp_path / "complete")
    assert whole > raw + 2.0
