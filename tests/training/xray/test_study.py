"""A teacher trained on complete frames teaches a student on raw ones: recipes, cached answers, records."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.training.xray.test_teacher import GRID
from understudy.cli import build_app
from understudy.configuration import read_config
from understudy.datasets.opening import open_dataset
from understudy_training.batches import Shown, TrainingFrames, Views
from understudy_training.checkpoint import DATA, DataRecord, read_labels_used
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.teacher_cache import CachedTeacher, LiveTeacher
from understudy_training.distillation.teaching import make_teachings
from understudy_training.recipe import Recipe, check_recipe, read_recipe
from understudy_training.testing import recipe_values
from understudy_training.xray.complete_objects import CompleteObjects, ObjectComplete

TERMS = [{"kind": "xray_head"}, {"kind": "xray_embedding", "level": "high"}, {"kind": "xray_box"}]
VARIED = {"variants": 1, "flip_y": True, "max_turn_rad": 0.3, "scale_range": [0.95, 1.05]}


def values(**changes: object) -> dict[str, object]:
    base = recipe_values(schedule={"epochs": 1}, **changes)
    detector = base["detector"] | {"class_names": ["car", "truck", "pedestrian", "cyclist"], "grid": GRID}
    return base | {"detector": detector}


def run(*command: str) -> str:
    result = CliRunner().invoke(build_app(), [*command, "--threads", "1"])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


@pytest.fixture(scope="module")
def teacher(drives, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    data = {"batch_size": 2, "augmentation": None, "complete_objects": {"cap": 3.0}}
    (folder / "teacher.yaml").write_text(yaml.safe_dump(values(data=data)))
    run("train", str(folder / "teacher.yaml"), "--data", str(drives), "--out", str(folder / "run"))
    return folder / "run"


def student(augmentation: object) -> Recipe:
    data = {"batch_size": 2, "augmentation": augmentation}
    return check_recipe(values(data=data, distillation={"terms": TERMS}), "x")


def test_a_teacher_is_trained_on_complete_frames_and_says_so(teacher, drives):
    recipe = read_recipe(teacher / "recipe.yaml")
    assert recipe.data.complete_objects == CompleteObjects(cap=3.0)
    frames = load_frames(recipe, open_dataset(drives, "train"))
    assert isinstance(frames.dataset, ObjectComplete)
    assert read_config(teacher / DATA, DataRecord).fingerprint == frames.dataset.fingerprint


@pytest.mark.parametrize("augmentation", [VARIED, {**VARIED, "variants": None}])
def test_the_teacher_is_asked_about_complete_frames_the_student_sees_raw_ones(teacher, drives, tmp_path, augmentation):
    recipe = student(augmentation)
    frames = load_frames(recipe, open_dataset(drives, "train"))
    teaching = make_teachings(recipe, {"teacher": teacher}, frames, tmp_path)["teacher"]
    assert not isinstance(frames.dataset, ObjectComplete)
    if augmentation["variants"]:
        assert isinstance(teaching.teacher, CachedTeacher)
        assert all(teaching.teacher.knows(Shown(index, 0)) for index in range(len(frames)))
    else:
        assert isinstance(teaching.teacher, LiveTeacher)
        assert isinstance(teaching.frames, TrainingFrames)
        assert isinstance(teaching.frames.dataset, ObjectComplete)
        assert len(teaching.frames[1].points) > len(frames[1].points)
        view = Views(frames, recipe.data.augmentation, 0, {"teacher": teaching.frames})[4, 1]
        own, complete = view.frame.points, view.teachers["teacher"].points
        assert complete[: len(own)].tobytes() == own.tobytes()
        assert view.teachers["teacher"].boxes.geometry.tobytes() == view.frame.boxes.geometry.tobytes()


def test_a_study_records_all_three_terms(teacher, drives, tmp_path):
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(student(VARIED).model_dump(mode="json")))
    options = ["--teacher", str(teacher), "--data", str(drives), "--out", str(tmp_path / "out"), "--no-control"]
    run("distill", str(tmp_path / "student.yaml"), *options)
    metrics = (tmp_path / "out" / "student-seed0" / "metrics.jsonl").read_text()
    for name in ("xray_head", "xray_embedding_high", "xray_box_class", "xray_box_regression"):
        assert f'"{name}"' in metrics


def test_labels_used_stand_in_the_record_of_a_run(drives, tmp_path):
    result = CliRunner().invoke(
        build_app(), ["xray", "share", str(drives), "--out", str(tmp_path / "s"), "--share", "0.4"]
    )
    assert result.exit_code == 0, result.output
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values(data={"batch_size": 2, "augmentation": None})))
    run("train", str(tmp_path / "r.yaml"), "--data", str(tmp_path / "s"), "--out", str(tmp_path / "run"))
    labels = read_labels_used(tmp_path / "run")
    assert labels is not None
    assert (labels.frames, labels.of_frames) == (8, 20)
