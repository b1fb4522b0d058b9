import copy

import pytest
import yaml

from understudy.configuration import content_hash, write_yaml
from understudy.errors import RecipeError
from understudy_training.recipe import check_recipe, read_recipe, shipped_recipes
from understudy_training.testing import recipe_values


def changed(path: str, value: object) -> dict:
    values = copy.deepcopy(recipe_values(distillation={"terms": [{"kind": "feature"}]}))
    *parents, last = path.split(".")
    place = values
    for part in parents:
        place = place[int(part)] if part.isdigit() else place.setdefault(part, {})
    place[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("epochz", "schedule"),
        ("schedule.epoch", "epochs, peak_learning_rate"),
        ("detector.szie", "size, sensors, grid"),
        ("detector.grid.cell", "cell_m"),
        ("data.augmentation.flip", "flip_y, max_turn_rad"),
        ("distillation.terms.0.levels", "schedule, teacher, gated, kind, weight, level"),
    ],
)
def test_an_unknown_key_is_answered_with_the_known_ones(path, known):
    with pytest.raises(RecipeError, match=rf"my\.yaml: unknown key .*{path.split('.')[-1]}.*{known}"):
        check_recipe(changed(path, 1), "my.yaml")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schedule.epochs", 0),
        ("data.batch_size", -1),
        ("data.augmentation.max_turn_rad", 45),
        ("precision", "int4"),
        ("detector.size", "huge"),
        ("data.classes", "theirs"),
        ("data.classes", {"class_names": ["car"], "of": {"Van": "van"}}),
        ("score_threshold", {"tram": 0.3}),
        ("distillation.terms", []),
        ("schedule.peak_learning_rate", float("nan")),
    ],
)
def test_values_that_cannot_be_right_are_refused(path, value):
    with pytest.raises(RecipeError, match=path.split(".")[0]) as caught:
        check_recipe(changed(path, value), "my.yaml")
    assert "\n" not in str(caught.value)


def test_the_resolved_recipe_says_the_same(tmp_path):
    recipe = check_recipe(recipe_values(), "x")
    resolved = recipe.resolved()
    assert resolved.detector.kind == "pillar"
    write_yaml(tmp_path / "r.yaml", resolved)
    assert read_recipe(tmp_path / "r.yaml") == resolved
    assert content_hash(read_recipe(tmp_path / "r.yaml")) == content_hash(resolved)
    assert resolved.contract() == recipe.contract()
    assert recipe.with_epochs(7).schedule.epochs == 7
    assert recipe.with_epochs(None) is recipe


def test_classes_are_a_name_or_a_map_written_out(tmp_path):
    assert check_recipe(changed("data.classes", "official"), "x").data.classes == "official"
    assert check_recipe(recipe_values(), "x").data.classes is None
    written_out = {"class_names": ["car"], "of": {"Car": "car", "Van": "car"}}
    recipe = check_recipe(changed("data.classes", written_out), "x")
    assert recipe.data.classes.of["Van"] == "car"
    write_yaml(tmp_path / "r.yaml", recipe.resolved())
    assert read_recipe(tmp_path / "r.yaml") == recipe.resolved()


def test_thresholds_reach_the_contract():
    recipe = check_recipe(recipe_values(score_threshold={"car": 0.4}), "x")
    assert [entry.score_threshold for entry in recipe.contract().classes] == [0.4, 0.1]


def test_clouds_of_several_sweeps_have_room_for_the_points_of_each():
    one, five = (check_recipe(recipe_values(data={"sweeps": sweeps}), "x").contract() for sweeps in (1, 5))
    assert (one.sweeps, five.sweeps) == (1, 5)
    assert five.input.max_points == 5 * one.input.max_points


@pytest.mark.parametrize("name", list(shipped_recipes()))
def test_shipped_recipes_are_complete_and_named_after_their_files(name):
    recipe = read_recipe(name)
    assert recipe.name == name
    values = yaml.safe_load(shipped_recipes()[name].read_text())
    assert set(values) >= {"schema_version", "name", "detector", "data", "schedule", "loss", "precision"}


def test_the_demo_student_costs_a_tenth_of_its_teacher():
    from understudy_training.models.counting import detector_cost
    from understudy_training.models.detector import BevDetector

    teacher, student = (
        detector_cost(BevDetector(read_recipe(name).detector_config())) for name in ("demo-teacher", "demo-student")
    )
    assert 10 * student.macs <= teacher.macs


def test_a_missing_recipe_is_answered_with_the_shipped_ones():
    with pytest.raises(RecipeError, match="demo-student"):
        read_recipe("no-such-student")
    with pytest.raises(RecipeError, match=r"one of: benchmark-student, .* others$") as refused:
        read_recipe("benchmrk-student")
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_builds(name):
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.contract().classes
    assert recipe.data.classes == ("official" if name.startswith(("kitti", "nuscenes")) else None)


def camera_recipe(**changes):
    values = yaml.safe_load(shipped_recipes()["benchmark-camera"].read_text())
    values["detector"]["pictures"].update(changes)
    return values


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"width_px": 10**9}, "pictures.width_px: found 1000000000, wanted less than or equal to 8192"),
        ({"depth": {"near_m": 1, "far_m": 50, "count": 10**9}}, "pictures.depth.count: found 1000000000"),
        ({"hits": 99}, "pictures.hits: found 99"),
        ({"num_cameras": 5}, "pictures: found cameras: 6 different names, num_cameras is 5"),
        ({"height_px": 100}, "pictures: found pictures: 192 x 100 px is not a whole multiple"),
        ({"heights_m": []}, r"heights_m: found \[\], wanted at least 1 of them"),
    ],
)
def test_pictures_that_no_network_takes_are_refused_before_anything_is_made(changes, says):
    with pytest.raises(RecipeError, match=says):
        check_recipe(camera_recipe(**changes), "recipe").resolved()


def test_a_loss_of_depth_without_pictures_is_refused():
    values = recipe_values(loss={"depth_weight": 0.3})
    with pytest.raises(RecipeError, match=r"loss\.depth_weight: 0\.3, but the detector sees no pictures"):
        check_recipe(values, "recipe")


def test_true_depth_without_pictures_is_refused():
    values = yaml.safe_load(shipped_recipes()["benchmark-student"].read_text())
    values["detector"]["depth"] = "expert"
    with pytest.raises(RecipeError, match="depth: expert is of pictures, and sensors: lidar sees none"):
        check_recipe(values, "recipe")
