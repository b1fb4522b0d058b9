"""The whole training without labels: that it reads none, goes on where it stopped, and is scored."""

import shutil

import numpy as np
import pytest

from tests.training.label_free.streets import small_recipe
from understudy.boxes import Boxes
from understudy.cli import build_app
from understudy.configuration import write_yaml
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError, RecipeError, UnderstudyError
from understudy_training.checkpoint import WEIGHTS, load_detector
from understudy_training.distillation.frames import load_frames
from understudy_training.fitting import FitOptions, fit
from understudy_training.label_free.cues import CuesFromFile
from understudy_training.label_free.labels import PseudoLabeled, Unlabeled
from understudy_training.label_free.passes import OtherPasses, read_passes
from understudy_training.label_free.pseudo_boxes import PseudoBoxes, boxes_of, read_pseudo_boxes
from understudy_training.label_free.recipe import (
    LabelFreeRecipe,
    read_label_free_recipe,
    shipped_label_free_recipes,
)
from understudy_training.label_free.rounds import Material, RoundOptions, filtered, train_label_free
from understudy_training.label_free.scoring import AsObjects, ScoreSettings, describe_score, score_runs
from understudy_training.label_free.seeds import Looks, find_seeds


def material_of(street, recipe, data=None, dataset=None) -> Material:
    data = street.data if data is None else data
    frames = Unlabeled(open_dataset(data, "train") if dataset is None else dataset)
    others = Unlabeled(open_dataset(street.passes, "all"))
    passes = OtherPasses(frames, others, read_passes(street.passes), recipe.persistency)
    return Material(frames, passes, CuesFromFile(street.cues))


@pytest.fixture(scope="module")
def trained(street, tmp_path_factory):
    """Two rounds with the averaged student, and what was said on the way."""
    recipe, out, lines = small_recipe(), tmp_path_factory.mktemp("label-free") / "out", []
    run = train_label_free(recipe, material_of(street, recipe), out, say=lines.append)
    return recipe, out, run, lines


@pytest.fixture(scope="module")
def looks(street, tmp_path_factory) -> Looks:
    recipe, folder = small_recipe(), tmp_path_factory.mktemp("looks")
    return Looks(Unlabeled(open_dataset(street.data, "train")), street.others(recipe), recipe, folder / "frames", 0)


def bytes_of(out) -> dict[str, bytes]:
    names = ("round-0/boxes.npz", "round-1/boxes.npz", f"round-1/run/{WEIGHTS}", f"averaged/{WEIGHTS}")
    return {name: (out / name).read_bytes() for name in names}


def test_rounds_leave_run_folders_boxes_and_records(trained):
    _, out, run, lines = trained
    assert run == out / "averaged"
    for folder in (out / "round-0" / "run", out / "round-1" / "run", run):
        load_detector(folder)
    assert len(read_pseudo_boxes(out / "round-0" / "boxes.npz").together) > 5
    assert [line.split(":")[0] for line in lines if line.startswith("round")] == ["round 0", "round 1"]
    assert (out / "round-0" / "seeds.json").is_file()
    assert (out / "round-1" / "round.json").is_file()


class Forbidden:
    """A data set whose labels raise when somebody looks at them."""

    def __init__(self, dataset) -> None:
        self._dataset = dataset

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index):
        sample = self._dataset[index]
        object.__delattr__(sample, "boxes")
        object.__delattr__(sample, "segments")
        return sample


def test_labels_are_never_read(trained, street, tmp_path):
    """Without the labels in the files, the same bytes; and nobody looks at a sample's labels."""
    recipe, out, _, _ = trained
    data = tmp_path / "data"
    shutil.copytree(street.data, data)
    for path in data.glob("drives/*/frames/*.npz"):
        with np.load(path) as stored:
            arrays = dict(stored)
        labels = {name: np.zeros_like(arrays[name]) for name in ("labels", "track_ids", "num_points", "velocities_mps")}
        labels |= {"boxes": np.zeros_like(arrays["boxes"]), "point_classes": np.zeros_like(arrays["point_classes"])}
        np.savez(path, **(arrays | labels))
    assert open_dataset(data, "train")[0].boxes.geometry.max() == 0
    looked_at = Forbidden(open_dataset(data, "train"))
    with pytest.raises(AttributeError):
        _ = looked_at[0].boxes
    blind = material_of(street, recipe, dataset=looked_at)
    train_label_free(recipe, blind, tmp_path / "out")
    assert bytes_of(tmp_path / "out") == bytes_of(out)


def test_an_interrupted_training_goes_on_to_the_same_bytes(trained, street, tmp_path):
    recipe, out, _, _ = trained
    again = tmp_path / "out"
    shutil.copytree(out, again)
    shutil.rmtree(again / "averaged")
    (again / "round-1" / "average.safetensors").unlink()
    (again / "round-1" / "run" / WEIGHTS).unlink()
    with pytest.raises(InputError, match="go on with an interrupted training by --resume"):
        train_label_free(recipe, material_of(street, recipe), again)
    train_label_free(recipe, material_of(street, recipe), again, RoundOptions(resume=True))
    assert bytes_of(again) == bytes_of(out)
    other = recipe.model_copy(update={"reach_m": 30.0})
    with pytest.raises(InputError, match="begun with another recipe"):
        train_label_free(other, material_of(street, other), again, RoundOptions(resume=True))


def test_a_student_that_finds_nothing_ends_it_with_a_word(street, tmp_path):
    recipe = small_recipe(min_score=0.999, averaging=None)
    with pytest.raises(UnderstudyError, match=r"no box in any frame.*lower self_training.min_score"):
        train_label_free(recipe, material_of(street, recipe), tmp_path / "out")


def test_seeds_find_objects_and_pictures_add_some(looks, street):
    recipe = small_recipe()
    alone, both = find_seeds(looks, None, recipe), find_seeds(looks, CuesFromFile(street.cues), recipe)
    assert alone.counts["boxes from pictures"] == alone.counts["2D boxes"] == 0
    assert both.counts["boxes from pictures"] > 0
    assert len(alone.boxes.class_names) == 1
    found = sum(int((boxes.num_points >= 1).sum()) for boxes in alone.boxes.frames)
    assert found == len(alone.boxes.together)


def test_what_was_kept_of_a_frame_is_checked(street, tmp_path):
    recipe = small_recipe()
    looks = Looks(Unlabeled(open_dataset(street.data, "train")), street.others(recipe), recipe, tmp_path, 0)
    first, again = looks.look(1), looks.look(1)
    np.testing.assert_array_equal(first.persistency, again.persistency)
    assert first.ground == again.ground
    (kept,) = tmp_path.glob("*.npz")
    kept.write_bytes(b"damaged")
    with pytest.raises(InputError, match="it is made anew"):
        looks.look(1)


def test_classes_are_copied_and_what_nobody_named_is_ignored(looks, street, tmp_path):
    recipe = small_recipe("car", "pedestrian")
    seeds = find_seeds(looks, CuesFromFile(street.cues), recipe)
    every = seeds.boxes.together
    assert every.class_names == ("car", "pedestrian")
    assert (every.num_points == 0).sum() >= seeds.counts["boxes without a class"]
    cars = every[(every.labels == 0) & (every.num_points > 0)].geometry
    people = every[(every.labels == 1) & (every.num_points > 0)].geometry
    assert np.median(cars[:, 3]) > np.median(people[:, 3]) if len(people) else len(cars)
    with pytest.raises(InputError, match="2D boxes of car, pedestrian: found no 2D boxes"):
        train_label_free(recipe, Material(looks.dataset, street.others(recipe)), tmp_path / "out")


def persistent_box(seen) -> np.ndarray:
    """`(1, 7)` a box in which everything that stands is persistent."""
    standing, scores = seen.points[seen.stands], seen.persistency[seen.stands]
    for point in standing[scores > 0.95]:
        box = np.array([[*point[:3], 1.5, 1.5, 3.0, 0.0]], np.float32)
        inside = Boxes(box, np.zeros(1, np.int32), ("wall",)).contains(standing)[0]
        if inside.sum() > 30 and scores[inside].min() > 0.8:
            return box
    raise AssertionError


def test_persistent_and_empty_detections_are_not_trained_on(looks, street):
    recipe, seen = small_recipe(), looks.look(0)
    truth = open_dataset(street.data, "train")[0].boxes
    near = (truth.num_points >= 20) & (np.hypot(*truth.geometry[:, :2].T) < 25)
    truth = truth[near]
    walls = persistent_box(seen)
    empty = np.array([[0.0, 200.0, 1.0, 4.0, 2.0, 2.0, 0.0]], np.float32)
    geometry = np.concatenate([truth.geometry, walls, empty])
    asked = boxes_of(geometry, np.zeros(len(geometry)), ("object",), np.zeros(len(geometry)), np.ones(len(geometry)))
    kept = filtered(asked, seen, recipe)
    assert len(kept) >= 0.6 * len(truth)
    assert np.hypot(*(kept.geometry[:, :2] - walls[:, :2]).T).min() > 1e-3
    assert kept.geometry[:, 1].max() < 100
    assert len(filtered(asked[:0], seen, recipe)) == 0


def test_the_score_sets_it_beside_a_supervised_run(trained, street, tmp_path):
    recipe, _, run, _ = trained
    train, val = open_dataset(street.data, "train"), open_dataset(street.data, "val")
    fit(recipe.student, load_frames(recipe.student, AsObjects(train)), tmp_path / "supervised", FitOptions())
    score = score_runs(run, tmp_path / "supervised", val, ScoreSettings(max_range_m=25.0))
    row = score.row("object", 0.25)
    assert row.num_truths > 0
    assert row.ap_percent is not None
    assert row.ap_percent >= score.row("object", 0.5).ap_percent
    assert all(len(line) <= 100 for line in describe_score(score))
    known = row.model_copy(update={"ap_percent": 30.0, "supervised_ap_percent": 40.0})
    assert known.share == 0.75
    assert row.model_copy(update={"supervised_ap_percent": 0.0}).share is None
    with pytest.raises(InputError, match="found cat at"):
        score.row("cat", 0.25)


def test_as_many_pseudo_boxes_as_frames(street):
    nothing = Boxes.empty(("object",))
    with pytest.raises(InputError, match="found 1 frames, wanted 4"):
        PseudoLabeled(Unlabeled(open_dataset(street.data, "train")), PseudoBoxes((nothing,), ("object",)))


def test_shipped_recipes_are_whole():
    assert "scenes-objects" in shipped_label_free_recipes()
    for name in shipped_label_free_recipes():
        assert read_label_free_recipe(name).name == name
    with pytest.raises(RecipeError, match="no such recipe, wanted a file, or one of: "):
        read_label_free_recipe("nothing")


PICTURES = {"num_cameras": 1, "width_px": 160, "height_px": 96, "focal_px": 100.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"self_training": {"rounds": 2, "averaging": {"start_round": 2}}}, "start_round: below 2"),
        ({"student": {"data": {"min_points": 0}}}, "min_points: at least 1"),
        ({"student": {"detector": {"class_names": ["object", "car"]}}}, "alone, or the classes of the 2D cues"),
        ({"student": {"data": {"sweeps": 3}}}, "one sweep in a cloud"),
        (
            {"student": {"detector": {"sensors": "camera", "pictures": PICTURES}}},
            "resample: false for a student that sees pictures",
        ),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(change, message):
    values = read_label_free_recipe("scenes-objects").model_dump()
    for key, inner in change.items():
        for name, value in inner.items():
            values[key][name] = values[key][name] | value if isinstance(value, dict) and values[key][name] else value
    with pytest.raises(ValueError, match=message):
        LabelFreeRecipe.model_validate(values)


def test_the_verbs_from_scenes_to_the_score(street, tmp_path, capsys):
    recipe = small_recipe(rounds=1, averaging=None, resample=False)
    write_yaml(tmp_path / "recipe.yaml", recipe)

    def run(*words: object) -> str:
        build_app()(args=[str(word) for word in ("label-free", *words)], standalone_mode=False)
        return capsys.readouterr().out

    cues, passes = tmp_path / "cues.json", tmp_path / "passes"
    assert "SYNTHETIC" in run("cues", street.data, "--out", cues)
    assert "2 other passes of each of 2 drives" in run("passes", street.data, "--out", passes, "--passes", 2)
    shared = ("--data", street.data)
    out = tmp_path / "out"
    said = run(
        "train", tmp_path / "recipe.yaml", *shared, "--passes", passes, "--cues", cues, "--out", out, "--threads", 1
    )
    assert said.splitlines()[-1] == f"student without labels: {out / 'round-0' / 'run'}"
    student = out / "round-0" / "run"
    run("supervised", tmp_path / "recipe.yaml", *shared, "--out", tmp_path / "supervised", "--threads", 1)
    record = tmp_path / "score.json"
    table = run("score", student, *shared, "--against", tmp_path / "supervised", "--range", 25, "--json", record)
    assert "average precision from above, 2 frames" in table
    assert record.is_file()
    with pytest.raises(InputError, match="something there"):
        run("passes", street.data, "--out", passes)
