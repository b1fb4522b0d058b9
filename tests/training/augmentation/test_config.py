"""What a recipe may say."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from understudy.configuration import write_yaml
from understudy.errors import RecipeError
from understudy_training.augmentation import Augmentation
from understudy_training.batches import TrainingFrames, reach_of
from understudy_training.distillation.teaching import _facts
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import check_recipe, read_recipe
from understudy_training.testing import GRID, MadeUpDataset, recipe_values

DOCS = Path(__file__).resolve().parents[3] / "docs" / "augmentation.md"


def recipe(augmentation: object):
    data = {"batch_size": 2, "augmentation": augmentation}
    return check_recipe(recipe_values(data=data, distillation={"terms": [{"kind": "feature"}]}), "my.yaml")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"kind": "flipp"}], r"data\.augmentation\.steps\.0.*flip"),
        ([{"kind": "turn", "turn": 1}], r"unknown key data\.augmentation\.steps\.0\.turn\.turn.*max_turn_rad"),
        ([{"kind": "scale", "scale_range": [1.1, 0.9]}], "lower end first"),
        ([{"kind": "scale", "scale_range": [0, 1]}], "above 0"),
        ([{"kind": "beam_drop"}], "either beams or elevations_deg"),
        ([{"kind": "beam_drop", "beams": 48}], "beam_drop.beams.*48"),
        ([{"kind": "fog", "visibility_m": [0, 50]}], "visibility_m: above 0"),
        ([{"kind": "point_dropout", "share_range": [0.5, 1.5]}], "within 0 and 1"),
        ([{"kind": "object_paste", "database": "db"}], "counts"),
        ([{"kind": "photometric", "jpeg_quality": [0, 90]}], "jpeg_quality: from 1 to 100"),
        ([{"kind": "photometric", "gamma": [0, 1]}], "gamma: at least"),
        ([{"kind": "flip", "probability": 1.5}], "probability.*1.5"),
        ([{"kind": "photometric"}, {"kind": "object_jitter"}], "no object_jitter beside photometric"),
    ],
)
def test_steps_that_cannot_be_right_are_refused(steps, message):
    with pytest.raises(RecipeError, match=message) as caught:
        recipe({"steps": steps})
    assert "\n" not in str(caught.value)


def test_one_form_only():
    with pytest.raises(RecipeError, match="steps or max_turn_rad, not both"):
        recipe({"max_turn_rad": 0.3, "steps": [{"kind": "flip"}]})


def test_the_resolved_recipe_says_the_same(tmp_path):
    steps = [{"kind": "turn", "max_turn_rad": 0.3}, {"kind": "beam_drop", "elevations_deg": [-2, 0, 2]}]
    made = recipe({"variants": 2, "steps": steps})
    write_yaml(tmp_path / "recipe.yaml", made.resolved())
    assert "flip_y" not in (tmp_path / "recipe.yaml").read_text()
    assert read_recipe(tmp_path / "recipe.yaml") == made.resolved()


def test_nothing_that_may_come_onto_the_grid_is_left_out():
    corner = float(np.hypot(12.8, 12.8))
    assert reach_of(GRID, None) == pytest.approx(corner)
    assert reach_of(GRID, Augmentation()) == pytest.approx(corner / 0.95)
    steps = [{"kind": "scale", "scale_range": [0.5, 1]}, {"kind": "translate", "sigma_m": [3, 4, 0]}]
    assert reach_of(GRID, Augmentation(steps=steps)) == pytest.approx((corner + 15) / 0.5)
    assert reach_of(GRID, Augmentation(steps=steps[::-1])) == pytest.approx(corner / 0.5 + 15)


def test_answers_are_kept_apart_by_steps_and_by_the_objects_pasted(database, tmp_path):
    from understudy_training.augmentation.object_cutting import cut_objects

    other = tmp_path / "db"
    cut_objects(MadeUpDataset(3, seed=9), other)
    clouds = TrainingFrames(MadeUpDataset(2), None, 20.0, None)

    def facts(*steps: dict) -> str:
        return str(sorted(_facts(recipe({"variants": 2, "steps": list(steps)}), clouds, "teacher").items()))

    paste = {"kind": "object_paste", "database": f"{database}", "counts": {"car": 3}}
    before = facts(paste)
    assert before == facts(paste)
    assert facts({"kind": "flip"}) != facts({"kind": "flip", "probability": 0.4}) != before
    assert "objects" not in facts({"kind": "flip"})
    assert before != facts({**paste, "database": f"{other}"})


def test_the_page_shows_a_recipe_that_is_one(monkeypatch):
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    whole = [block for block in blocks if "schema_version" in block]
    assert len(whole) == 1
    made = check_recipe(yaml.safe_load(whole[0]), "docs/augmentation.md")
    assert {step.kind for step in made.data.augmentation.steps} >= {"flip", "object_paste", "beam_drop", "fog"}
    assert BevDetector(made.detector_config()) is not None
    for block in blocks:
        if "schema_version" not in block:
            assert Augmentation.model_validate(yaml.safe_load(block)["augmentation"]).steps
    kinds = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(), re.MULTILINE)
    assert set(kinds) == {"flip", "turn", "scale", "translate", "object_jitter", "object_paste", "beam_drop"} | {
        *("point_dropout", "rain", "fog", "snow", "photometric", "camera_geometric")
    }


@pytest.mark.parametrize("scale_range", [(0.0, 1.0), (-1.0, 1.0), (1.1, 0.9)])
def test_a_scale_that_cannot_be_is_refused_in_the_short_form_too(scale_range):
    with pytest.raises(ValidationError, match="scale_range: "):
        Augmentation(scale_range=scale_range)
