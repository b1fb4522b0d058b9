"""A training that runs away ends in one line, and what was good before stays."""

from pathlib import Path

import pytest
import torch

from tests.training.launching import rows_of, run_cases
from tests.training.processes import recipe_of
from understudy.errors import UnderstudyError
from understudy_training.batches import labelled_frame
from understudy_training.distillation.study import load_frames
from understudy_training.fitting import FitOptions, fit
from understudy_training.loop import task
from understudy_training.loop.options import Interval
from understudy_training.losses import wide
from understudy_training.testing import MadeUpDataset


def fit_tiny(folder: Path, **options) -> None:
    recipe = recipe_of({"schedule": {"epochs": 4, "accumulate": 2}})
    fit(recipe, load_frames(recipe, MadeUpDataset(6)), folder, FitOptions(**options))


@pytest.fixture
def spoiled_in(monkeypatch):
    """Makes the loss of one part of a training infinite: parts are counted from 1, two are a step."""

    def spoil(number: int) -> None:
        seen, original = [], task.detection_loss

        def spoiled(heatmap, *others):
            seen.append(None)
            return original(heatmap * (float("inf") if len(seen) == number else 1.0), *others)

        monkeypatch.setattr(task, "detection_loss", spoiled)

    return spoil


@pytest.mark.parametrize("options", [{}, {"metrics_every": 1}, {"checkpoint_every": Interval(steps=1)}])
def test_a_loss_that_is_no_number_ends_the_training_before_a_checkpoint(tmp_path, spoiled_in, options):
    """Three steps of two parts an epoch: part 9 belongs to step 5, the second one of the second epoch."""
    spoiled_in(9)
    with pytest.raises(UnderstudyError, match=r"not finite in step 5.*peak_learning_rate"):
        fit_tiny(tmp_path, **options)
    assert not (tmp_path / "weights.safetensors").exists()
    kept = torch.load(tmp_path / "resume" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == (4 if "checkpoint_every" in options else 3)
    assert all(value.isfinite().all() for value in kept["state_dict"].values())
    assert all(row["detection"] == row["detection"] for row in rows_of(tmp_path))


def test_it_goes_on_from_the_last_good_checkpoint(tmp_path, spoiled_in, monkeypatch):
    fit_tiny(tmp_path / "whole")
    spoiled_in(9)
    with pytest.raises(UnderstudyError):
        fit_tiny(tmp_path / "run")
    monkeypatch.undo()
    fit_tiny(tmp_path / "run", resume=True)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "run")]
    assert weights[0] == weights[1]


def test_weights_that_a_finite_loss_spoils_are_not_kept(tmp_path, monkeypatch):
    """The square root of zero: its value is finite, its gradient is not."""
    original, calls = task.detection_loss, []

    def rooted(heatmap, *others):
        calls.append(None)
        loss = original(heatmap, *others)
        if len(calls) == 12:  # the last part of the second epoch
            object.__setattr__(loss, "total", loss.total + (wide(heatmap) * 0).sum().sqrt())
        return loss

    monkeypatch.setattr(task, "detection_loss", rooted)
    with pytest.raises(UnderstudyError, match="weights that are not finite after step 6"):
        fit_tiny(tmp_path)
    assert torch.load(tmp_path / "resume" / "last.ckpt", weights_only=True)["global_step"] == 3


def test_two_processes_end_together(tmp_path):
    """A learning rate beyond all reason, as a user would see it."""
    changes = {"schedule": {"epochs": 3, "peak_learning_rate": 1e18}}
    done = run_cases(tmp_path, [{"changes": changes, "out": tmp_path / "run"}], processes=2)
    assert done.returncode != 0
    assert done.stderr.count("UnderstudyError: training") == 2, done.stderr[-4000:]
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_an_unknown_intensity_is_zero_as_in_the_pipeline():
    sample = MadeUpDataset(1)[0]
    sample.frame.clouds["top"].points[5, 3] = float("nan")
    cloud = labelled_frame(sample, None, reach_m=100.0)
    assert cloud.points[4, 3] == 0.0, "the first point of a made-up frame is left out"
    assert not (cloud.points != cloud.points).any()
