import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from understudy.bundle.manifest import Contract
from understudy.cli import build_app
from understudy.configuration import read_config, write_yaml
from understudy.datasets.opening import open_dataset
from understudy.datasets.sweeps import MultiSweep
from understudy.errors import InputError, UnderstudyError
from understudy.evaluation import read_evaluation
from understudy_training.checkpoint import read_record
from understudy_training.commands import parse_seeds
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.study import StudyOptions, StudyPaths, evaluate_run, study
from understudy_training.distillation.teaching import refuse_unless_comparable
from understudy_training.fitting import build_detector
from understudy_training.ledger import read_ledger
from understudy_training.recipe import Recipe, check_recipe
from understudy_training.testing import recipe_values

CLASSES = ["car", "truck", "pedestrian", "cyclist"]
TERMS = {"terms": [{"kind": "dense_response"}, {"kind": "feature"}]}


def values(**changes: object) -> dict[str, object]:
    base = recipe_values(**changes)
    grid = {"x_range_m": [-25.6, 25.6], "y_range_m": [-25.6, 25.6], "z_range_m": [-1.0, 3.0], "cell_m": 0.8}
    return base | {"detector": base["detector"] | {"class_names": CLASSES, "grid": grid}}


def recipe(**changes: object) -> Recipe:
    return check_recipe(values(**changes), "x")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "data"
    command = [
        "scenes",
        str(out),
        "--drives",
        "2",
        "--frames",
        "3",
        "--val-drives",
        "1",
        "--no-camera",
        "--beams",
        "16",
    ]
    result = CliRunner().invoke(build_app(), [*command, "--beams", "16", "--workers", "1"])
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "teacher.yaml").write_text(yaml.safe_dump(values(schedule={"epochs": 2})))
    command = [
        "train",
        str(folder / "teacher.yaml"),
        "--data",
        str(data),
        "--out",
        str(folder / "run"),
        "--threads",
        "1",
    ]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 0, result.output
    assert "M parameters" in result.output
    return folder / "run"


def test_distill_trains_pairs_and_writes_the_ledger(data, teacher, tmp_path):
    path = tmp_path / "student.yaml"
    path.write_text(yaml.safe_dump(values(distillation=TERMS)))
    command = ["distill", str(path), "--teacher", str(teacher), "--data", str(data), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(build_app(), [*command, "--seeds", "0,1", "--threads", "1"])
    assert result.exit_code == 0, result.output
    ledger = read_ledger(tmp_path / "out" / "ledger.json")
    rows = [(entry.role, entry.seed) for entry in ledger.entries]
    assert rows == [("teacher", None), ("control", 0), ("student", 0), ("control", 1), ("student", 1)]
    assert set(ledger.gain().by_seed) == {0, 1}
    assert "gain shown" in result.output
    student, control = (read_record(tmp_path / "out" / f"{role}-seed1") for role in ("student", "control"))
    assert (student.steps, student.frames, student.seed) == (control.steps, control.frames, control.seed)
    assert student.teacher == read_record(teacher).weights
    assert control.teacher == ""
    assert student.data == open_dataset(data, "train").fingerprint


def test_the_recipes_class_map_reaches_training_and_evaluation(data, teacher, tmp_path):
    road_users = {"class_names": CLASSES[::-1], "of": {"pedestrian": "pedestrian", "truck": "car"}}
    mapped = recipe(data={"classes": road_users}, distillation=TERMS, schedule={"epochs": 1})
    clouds = load_frames(mapped, open_dataset(data, "train", mapped.data.classes))
    assert clouds[0].boxes.class_names == tuple(CLASSES[::-1])
    paths = StudyPaths(teacher, data, tmp_path / "out")
    evaluation = evaluate_run(teacher, mapped, paths)
    plain = evaluate_run(teacher, recipe(), paths)
    assert evaluation.entry("cyclist").num_truths == 0
    assert evaluation.entry("car").num_truths == plain.entry("truck").num_truths


def test_the_recipes_sweeps_reach_training_and_evaluation(data, teacher, tmp_path):
    swept = recipe(data={"sweeps": 2}, schedule={"epochs": 1})
    dataset = open_dataset(data, "train")
    clouds, plain = load_frames(swept, dataset), load_frames(recipe(), dataset)
    sizes = [len(clouds[index].points) / len(plain[index].points) for index in range(3)]
    assert sizes[0] == 1
    np.testing.assert_allclose(sizes[1:], 2, atol=0.1)
    assert clouds.dataset.fingerprint != plain.dataset.fingerprint
    run = Path(shutil.copytree(teacher, tmp_path / "run"))
    write_yaml(run / "contract.yaml", read_config(run / "contract.yaml", Contract).model_copy(update={"sweeps": 2}))
    evaluation = evaluate_run(run, swept, StudyPaths(teacher, data, tmp_path / "out"))
    assert evaluation.data == MultiSweep(open_dataset(data, "val"), 2).fingerprint
    assert swept.contract().sweeps == 2
    with pytest.raises(InputError, match="teacher's sweeps in a cloud: found 1, wanted 2"):
        study(
            recipe(data={"sweeps": 2}, distillation=TERMS), StudyPaths(teacher, data, tmp_path / "out"), StudyOptions()
        )


def test_the_verb_evaluate_takes_a_class_map(data, teacher, tmp_path):
    (tmp_path / "classes.yaml").write_text("class_names: [car]\nof: {car: car, truck: car}\n")
    command = ["evaluate", str(teacher), "--data", str(data), "--out", str(tmp_path / "e.json")]
    result = CliRunner().invoke(build_app(), [*command, "--classes", str(tmp_path / "classes.yaml")])
    assert result.exit_code == 0, result.output
    mapped = read_evaluation(tmp_path / "e.json")
    plain = evaluate_run(teacher, recipe(), StudyPaths(teacher, data, tmp_path))
    assert mapped.class_names == ("car",)
    assert mapped.entry("car").num_truths == plain.entry("car").num_truths + plain.entry("truck").num_truths
    refused = CliRunner().invoke(build_app(), [*command, "--official", "kitti", "--classes", "official"])
    assert refused.exit_code != 0


def test_a_class_that_the_data_lack_is_refused(data):
    official = recipe(data={"classes": {"class_names": ["car", "truck"], "of": {}}})
    message = r"detector\.class_names: found pedestrian, cyclist, wanted among car, truck; .*data\.classes"
    with pytest.raises(InputError, match=message):
        load_frames(official, open_dataset(data, "train", official.data.classes))


@pytest.mark.slow
def test_jobs_in_processes_give_the_same_networks(data, teacher, tmp_path):
    taught = recipe(distillation=TERMS)
    for name, jobs in (("one", 1), ("two", 2)):
        options = StudyOptions(seeds=(0,), jobs=jobs)
        study(taught, StudyPaths(teacher, data, tmp_path / name), options)
    for run in ("student-seed0", "control-seed0"):
        weights = {read_record(tmp_path / name / run).weights for name in ("one", "two")}
        assert len(weights) == 1


def test_a_shuffled_teacher_is_marked_and_needs_fixed_versions(data, teacher, tmp_path):
    paths = StudyPaths(teacher, data, tmp_path)
    options = StudyOptions(teacher_shuffle=True, control=False)
    ledger = study(recipe(distillation=TERMS), paths, options)
    assert ledger.entries[-1].facts.teacher_shuffled
    endless = recipe(distillation=TERMS, data={"augmentation": {}})
    with pytest.raises(InputError, match="shuffled teacher"):
        study(endless, StudyPaths(teacher, data, tmp_path / "endless"), options)
    with pytest.raises(InputError, match="folder with contents"):
        study(recipe(distillation=TERMS), paths, options)


def test_a_term_that_misses_a_map_is_refused_before_the_control_is_trained(data, teacher, tmp_path):
    cameras = recipe(distillation={"terms": [{"kind": "dense_response"}, {"kind": "vcd"}]})
    with pytest.raises(UnderstudyError, match="term vcd: found a teacher without cameras"):
        study(cameras, StudyPaths(teacher, data, tmp_path / "out"), StudyOptions())
    assert not (tmp_path / "out").exists()


def test_a_teacher_of_another_grid_is_refused():
    taught = recipe(distillation=TERMS)
    other = build_detector(check_recipe(recipe_values(), "x"), 0)
    with pytest.raises(InputError, match="class_names"):
        refuse_unless_comparable(taught, other)
    with pytest.raises(InputError, match="distillation"):
        refuse_unless_comparable(recipe(), build_detector(recipe(), 0))


@pytest.mark.parametrize("text", ["", "a", "1,1", "-1", "1.5", "0,,1"])
def test_seeds_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(text)


def test_seeds_are_read():
    assert parse_seeds("0, 2,5") == (0, 2, 5)
