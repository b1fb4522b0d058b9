"""Teachers from anywhere, one of them or several: what is asked of them, kept, and taught from."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.training.distillation.foreign_teachers import (
    TERMS,
    batch_of,
    detector_of,
    recipe_of,
    run_cli,
    write_foreign,
    write_module,
)
from understudy.errors import InputError, UnderstudyError
from understudy_training.checkpoint import read_record
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.onnx_teacher import OnnxDescription
from understudy_training.distillation.opened_teacher import OpenedTeacher, open_teacher
from understudy_training.distillation.teacher_cache import CachedTeacher, weights_bytes
from understudy_training.distillation.teaching import make_teacher, make_teachings, refuse_unless_comparable
from understudy_training.distillation.torch_teacher import Carried
from understudy_training.fitting import fit
from understudy_training.ledger import read_ledger
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import check_recipe
from understudy_training.testing import CLASSES, MadeUpDataset, recipe_values
from understudy_training.tracking.metrics import read_metrics


def test_a_teacher_must_answer_what_the_terms_ask(tmp_path):
    opened = open_teacher(write_module(tmp_path), CLASSES)
    refuse_unless_comparable(recipe_of(TERMS[:2]), opened)
    with pytest.raises(InputError, match=r"teacher's high: found no such map.*name the output in its description"):
        refuse_unless_comparable(recipe_of(), opened)
    with pytest.raises(InputError, match="teacher's high_map: found no such map"):
        refuse_unless_comparable(recipe_of([{"kind": "fitnet", "level": "high"}]), opened)
    other = open_teacher(write_module(tmp_path), ("car", "bus"))
    bus = recipe_values()["detector"] | {"class_names": ["car", "bus"]}
    with pytest.raises(InputError, match=r"teacher's class_names: found \('car',\), wanted \('car', 'bus'\)"):
        refuse_unless_comparable(recipe_of(TERMS[:2], detector=bus), other)
    swept = open_teacher(write_module(tmp_path, sweeps=3), CLASSES)
    with pytest.raises(InputError, match="teacher's sweeps in a cloud: found 3, wanted 1"):
        refuse_unless_comparable(recipe_of(TERMS[:2]), swept)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_what_is_kept_is_what_it_says_of_the_replayed_version(tmp_path, kind):
    write = write_foreign if kind == "onnx" else write_module
    opened = open_teacher(write(tmp_path), CLASSES)
    recipe = recipe_of([{"kind": "dense_response"}, {"kind": "fitnet", "level": "low"}])
    frames = load_frames(recipe, MadeUpDataset(4))
    kept = make_teacher(recipe, opened, frames, tmp_path)
    assert isinstance(kept, CachedTeacher)
    assert len(list(tmp_path.rglob("*.low_map.channels-last.npy"))) == 4 * 2
    batch = batch_of(opened.network.collate, recipe, versions=(1, 3), seed=11)
    live = kept.live(batch).named()
    for name, part in kept(batch).named().items():
        wanted = live[name].half().float() if live[name].is_floating_point() else live[name]
        torch.testing.assert_close(part.float() if part.is_floating_point() else part, wanted, msg=name)


def test_the_same_weights_in_another_network_are_another_teacher(tmp_path):
    """A camera network with the true depth has the weights of the one without."""
    detector = detector_of("camera")
    settings = {OpenedTeacher(one).settings for one in (detector, BevDetector(detector.config.with_depth("expert")))}
    assert len(settings) == 2


TWO = [
    {"kind": "cwd", "schedule": {"stop_epoch": 2}},
    {"kind": "cwd", "teacher": "early", "schedule": {"start_epoch": 1}},
    {"kind": "feature", "level": "low", "teacher": "early"},
    {"kind": "relation"},
]


def test_two_teachers_are_asked_each_for_its_own_and_keep_their_rows(tmp_path):
    recipe = recipe_of(TWO)
    frames = load_frames(recipe, MadeUpDataset(4))
    fit(check_recipe(recipe_values(schedule={"epochs": 1}), "t"), frames, tmp_path / "run")
    paths = {"teacher": tmp_path / "run", "early": write_module(tmp_path)}
    teachings = make_teachings(recipe, paths, frames, tmp_path / "out")
    assert list(teachings) == ["teacher", "early"]
    asked = {name: entry.teacher.live.asked for name, entry in teachings.items()}
    assert asked == {"teacher": ("high",), "early": ("low",)}
    assert len({entry.teacher.folder for entry in teachings.values()}) == 2
    shapes = {}
    for name, entry in teachings.items():
        kept = [np.load(path) for level in ("low", "high") for path in entry.teacher.folder.glob(f"*-0001.{level}.npy")]
        shapes[name] = {array.shape[1:] for array in kept}
    assert shapes == {"teacher": {(9, 96)}, "early": {(9, 4)}}
    fit(recipe, frames, tmp_path / "student", teaching=teachings)
    first, second = [row for row in read_metrics(tmp_path / "student") if row["kind"] == "epoch"]
    names = {"cwd_logits", "early.cwd_logits", "early.feature_low", "relation_high"}
    assert names <= first.keys(), first.keys()
    assert first["cwd_logits"] != first["early.cwd_logits"]
    assert {f"share_{name}" for name in names} <= second.keys()
    record = read_record(tmp_path / "student")
    assert record.teacher == f"early={teachings['early'].weights},teacher={teachings['teacher'].weights}"


def blocks_of_the_page(language: str) -> list[str]:
    page = (Path(__file__).parents[3] / "docs" / "teachers.md").read_text()
    return [part.split("```")[0] for part in page.split(f"```{language}\n")[1:]]


def test_the_page_says_what_works(tmp_path):
    onnx_file, module, distillation = [yaml.safe_load(block) for block in blocks_of_the_page("yaml")]
    assert OnnxDescription.model_validate(onnx_file).classes == ("truck", "car", "bus", "pedestrian", "cyclist")
    (tmp_path / "teacher.yaml").write_text(yaml.safe_dump(module))
    (tmp_path / "their_network.py").write_text(blocks_of_the_page("python")[0])
    opened = open_teacher(tmp_path, CLASSES)
    assert (opened.network.config.class_names, opened.widths.low) == (CLASSES, 8)
    recipe = check_recipe(recipe_values(schedule={"epochs": 6}) | distillation, "x")
    assert recipe.distillation.teachers == ("teacher", "expert")
    with pytest.raises(InputError, match=r"their_network\.py: found a file alone, wanted a YAML file that names it"):
        open_teacher(tmp_path / "their_network.py", CLASSES)


def test_a_teacher_that_is_not_named_is_missed(tmp_path):
    recipe = recipe_of(TWO)
    frames = load_frames(recipe, MadeUpDataset(2))
    with pytest.raises(InputError, match="teachers: found early, wanted teacher, early; give --teacher NAME=PATH"):
        make_teachings(recipe, {"early": write_module(tmp_path)}, frames, tmp_path)
    with pytest.raises(UnderstudyError, match=r"teacher.*: found 'the-other', wanted a name of letters"):
        recipe_of([{"kind": "cwd", "teacher": "the-other"}])


def test_two_teachers_shuffled_answer_about_another_frame(tmp_path):
    recipe = recipe_of(TWO[:2])
    frames = load_frames(recipe, MadeUpDataset(4))
    fit(check_recipe(recipe_values(schedule={"epochs": 1}), "t"), frames, tmp_path / "run")
    paths = {"teacher": tmp_path / "run", "early": write_module(tmp_path)}
    right, wrong = (make_teachings(recipe, paths, frames, tmp_path, shuffle=shuffle) for shuffle in (False, True))
    batch = batch_of(right["early"].teacher.live.encode, recipe)
    assert [shown.index for shown in batch.shown] == [2, 0]
    for name in paths:
        heatmaps = [teachings[name].teacher(batch).heatmap for teachings in (right, wrong)]
        torch.testing.assert_close(heatmaps[1], heatmaps[0].flip(0))
    assert all(entry.shuffled for entry in wrong.values())


def test_a_study_with_a_run_and_a_module_and_its_resumption(tmp_path):
    """As a user does it, on drives: `--teacher RUN --teacher early=net.yaml`."""
    few = ["--drives", 2, "--frames", 2, "--val-drives", 1, "--no-camera", "--beams", 16, "--range-m", 20]
    assert run_cli("scenes", tmp_path / "data", *few, "--workers", 1)[0] == 0
    values = recipe_values(schedule={"epochs": 1}, distillation={"terms": [*TWO[2:], {"kind": "cwd"}]})
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "teacher.yaml").write_text(yaml.safe_dump({**values, "distillation": None}))
    shared = ["--data", tmp_path / "data", "--threads", 1]
    assert run_cli("train", tmp_path / "teacher.yaml", *shared, "--out", tmp_path / "run")[0] == 0
    net = write_module(tmp_path)
    command = ["distill", tmp_path / "student.yaml", *shared, "--out", tmp_path / "out"]
    code, output = run_cli(*command, "--teacher", tmp_path / "run", "--teacher", f"early={net}")
    assert code == 0, output
    rows = [entry.role for entry in read_ledger(tmp_path / "out" / "ledger.json").entries]
    assert rows == ["teacher", "control", "student"]
    again = [*command, "--teacher", tmp_path / "run", "--resume"]
    code, output = run_cli(*again, "--teacher", f"early={net}")
    assert code == 0, output
    assert "finished before" in output
    write_module(tmp_path, arguments={"width": 5})
    (tmp_path / "out" / "student-seed0" / "evaluation.json").unlink()
    code, output = run_cli(*again, "--teacher", f"early={net}")
    assert code != 0
    assert "found begun with another teacher, wanted the same as at its start" in output
    one = [*command[:-1], tmp_path / "other", "--teacher", tmp_path / "run"]
    code, output = run_cli(*one)
    assert code != 0
    assert "teachers: found teacher, wanted early, teacher; give --teacher NAME=PATH for each" in output
    code, output = run_cli(*one, "--teacher", f"early={net}", "--teacher", f"third={net}")
    assert code != 0
    assert "--teacher third: found no term, wanted early, teacher; leave it out" in output
    assert not (tmp_path / "other").exists()


def test_what_a_collation_made_is_moved_whatever_it_is():
    made = {"a": [torch.zeros(2), (torch.ones(1), "text")], "b": None}
    moved = Carried(made).to("meta").value
    assert moved["a"][0].is_meta
    assert moved["a"][1][0].is_meta
    assert (moved["a"][1][1], moved["b"]) == ("text", None)
    assert made["a"][0].device.type == "cpu"


def test_weights_that_are_tied_have_a_hash():
    first = torch.nn.Linear(2, 2)
    tied = torch.nn.ModuleList([first, torch.nn.Linear(2, 2)])
    tied[1].weight = first.weight
    assert weights_bytes(tied) == weights_bytes(copy.deepcopy(tied))


def test_a_foreign_teacher_alone_is_evaluated_as_it_is_asked(tmp_path):
    few = ["--drives", 2, "--frames", 2, "--val-drives", 1, "--no-camera", "--beams", 16, "--range-m", 20]
    assert run_cli("scenes", tmp_path / "data", *few, "--workers", 1)[0] == 0
    terms = [{"kind": "dense_response", "teacher": "theirs"}]
    values = recipe_values(schedule={"epochs": 1}, distillation={"terms": terms})
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(values | {"data": {"batch_size": 1, "augmentation": None}}))
    command = ["distill", tmp_path / "student.yaml", "--data", tmp_path / "data", "--threads", 1, "--no-control"]
    code, output = run_cli(*command, "--teacher", f"theirs={write_module(tmp_path)}", "--out", tmp_path / "out")
    assert code == 0, output
    code, output = run_cli(*command, "--teacher", write_module(tmp_path), "--out", tmp_path / "other")
    assert code != 0
    assert "--teacher teacher: found no term, wanted theirs; leave it out" in output
    ledger = read_ledger(tmp_path / "out" / "ledger.json")
    assert [entry.role for entry in ledger.entries] == ["teacher", "student"]
    assert ledger.entries[0].facts.parameters is None
    assert ledger.entries[0].data == ledger.entries[1].data
