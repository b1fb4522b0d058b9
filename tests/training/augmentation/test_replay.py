"""What is seen is decided by seed, version and index, and by nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.augmentation.made_up import same, street
from understudy.errors import InputError
from understudy_training.augmentation import Augmentation, Change, see
from understudy_training.batches import Collate, Shown, TrainingFrames, Views, reach_of
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.teaching import make_teacher
from understudy_training.fitting import build_detector
from understudy_training.recipe import check_recipe
from understudy_training.testing import CLASSES, GRID, MadeUpDataset, recipe_values

ON_CLOUDS = [
    {"kind": "flip"},
    {"kind": "turn"},
    {"kind": "scale"},
    {"kind": "translate"},
    {"kind": "object_jitter"},
    {"kind": "beam_drop", "beams": 32, "azimuth_step_deg": 0.4, "probability": 0.5},
    {"kind": "point_dropout"},
    {"kind": "rain", "probability": 0.4},
    {"kind": "fog", "probability": 0.4},
    {"kind": "snow", "probability": 0.4},
]
ON_PICTURES = [
    {"kind": "flip"},
    {"kind": "turn"},
    {"kind": "fog", "probability": 0.5},
    {"kind": "photometric", "jpeg_quality": [60, 90]},
    {"kind": "camera_geometric"},
]


def everything(database: Path, **settings_of_all: object) -> Augmentation:
    paste = {"kind": "object_paste", "database": f"{database}", "counts": {"car": 5}, "azimuth": "any"}
    return Augmentation(steps=[*ON_CLOUDS[:5], paste, *ON_CLOUDS[5:]], **settings_of_all)


@given(seed=st.integers(0, 99), epoch=st.integers(0, 99), index=st.integers(0, 9), camera=st.booleans())
@settings(max_examples=25)
def test_a_stored_change_gives_the_same_bytes_again(database, seed, epoch, index, camera):
    augmentation = Augmentation(steps=ON_PICTURES) if camera else everything(database)
    scene = street(index, camera=camera)
    before = street(index, camera=camera)
    change, seen = see(augmentation, scene, seed=seed, epoch=epoch, index=index)
    again, same_again = see(augmentation, scene, seed=seed, epoch=epoch, index=index)
    assert change == again
    assert same(seen, same_again)
    assert same(Change.model_validate_json(change.model_dump_json()).apply(scene), seen)
    assert same(scene, before)


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"index": 1}])
def test_another_seed_epoch_or_index_shows_something_else(database, other):
    place = {"seed": 0, "epoch": 0, "index": 0}
    (first, _), (second, _) = (see(everything(database), street(), **each) for each in (place, place | other))
    assert first != second


def test_a_step_draws_the_same_whatever_the_others_draw():
    """Only its number in the list matters."""
    scene = street()
    for place in range(len(ON_CLOUDS)):
        always = [{**step, "probability": 1.0} for step in ON_CLOUDS]
        never = [{**step, "probability": float(number == place)} for number, step in enumerate(ON_CLOUDS)]
        drawn = []
        for steps in (always, never):
            change, _ = see(Augmentation(steps=steps), scene, seed=3, epoch=1, index=2)
            drawn.append(next(step for step in change.steps if step.kind == ON_CLOUDS[place]["kind"]))
        if ON_CLOUDS[place]["kind"] != "object_jitter":
            assert drawn[0] == drawn[1]


def test_versions_repeat_for_every_seed_and_the_first_is_the_frame_itself(database):
    augmentation, scene = everything(database, variants=3), street()
    shown = [see(augmentation, scene, seed=seed, epoch=epoch, index=4) for seed, epoch in ((0, 1), (7, 4), (0, 2))]
    assert shown[0][0] == shown[1][0] != shown[2][0]
    change, first = see(augmentation, scene, seed=5, epoch=3, index=4)
    assert change == Change()
    assert same(first, scene)


def views_of(augmentation: Augmentation) -> Views:
    clouds = TrainingFrames(MadeUpDataset(6), None, reach_of(GRID, augmentation), None)
    return Views(clouds, augmentation, seed=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_see_the_same_bytes(database, workers):
    augmentation = everything(database)
    places = [(epoch, index) for epoch in (0, 1) for index in range(6)]
    loader = torch.utils.data.DataLoader(
        views_of(augmentation), batch_size=None, sampler=places, num_workers=workers, collate_fn=_as_it_is
    )
    alone = views_of(augmentation)
    count = 0
    for view, place in zip(loader, places, strict=True):
        cloud, expected = view.frame, alone[place].frame
        assert view.shown == Shown(place[1], place[0])
        assert np.asarray(cloud.points).tobytes() == expected.points.tobytes()
        assert np.asarray(cloud.boxes.geometry).tobytes() == expected.boxes.geometry.tobytes()
        count += 1
    assert count == 12


def _as_it_is(view):
    return view


def test_the_teacher_is_given_the_clouds_that_the_student_sees(database):
    def encode(seen):
        return [frame.points.tobytes() for frame in seen]

    views = views_of(everything(database))
    batch = Collate(encode, CLASSES, GRID, 3, {"teacher": encode})([views[1, index] for index in range(4)])
    assert batch.teachers["teacher"] == batch.inputs
    assert batch.inputs == [views[1, index].frame.points.tobytes() for index in range(4)]


def test_the_cloud_that_is_kept_stays_as_it_is(database):
    views = views_of(everything(database))
    views.frames.preload()
    kept = [cloud.points.copy() for cloud in views.frames.kept]
    for epoch in range(3):
        for index in range(6):
            views[epoch, index]
    assert all(np.array_equal(a, b.points) for a, b in zip(kept, views.frames.kept, strict=True))


def test_an_empty_cloud_and_a_frame_without_boxes_go_through(database):
    scene = street(0, 0)
    empty = replace(scene, points=scene.points[:0])
    always = [{**step, "probability": 1.0} for step in ON_CLOUDS]
    paste = {"kind": "object_paste", "database": f"{database}", "counts": {"car": 2}}
    augmentation = Augmentation(steps=[*always, paste])
    for each in (scene, empty):
        _, seen = see(augmentation, each, seed=0, epoch=0, index=0)
        assert np.isfinite(seen.points).all()


def test_a_student_learns_from_a_teacher_that_saw_the_same_versions(database, tmp_path):
    """Answers kept for all steps: each was given for the very cloud that another seed trains on."""
    recipe = check_recipe(
        recipe_values(
            data={"batch_size": 2, "augmentation": everything(database, variants=2).model_dump(mode="json")},
            distillation={"terms": [{"kind": "feature"}]},
        ),
        "my.yaml",
    )
    clouds = load_frames(recipe, MadeUpDataset(4))
    detector = build_detector(recipe, 0)
    cached = make_teacher(recipe, detector, clouds, tmp_path)
    assert len(list(tmp_path.rglob("*.heatmap.npy"))) == 4 * 2
    views = Views(clouds, recipe.data.augmentation, seed=11)
    collate = Collate(detector.collate, CLASSES, GRID, 3, {"teacher": detector.collate})
    batch = collate([views[3, index] for index in (2, 0)])
    kept, live = cached(batch), cached.live(batch)
    torch.testing.assert_close(kept.heatmap, live.heatmap.half().float())
    assert {shown.version for shown in batch.shown} == {1}


def test_a_missing_database_or_class_is_said_before_a_training_begins(database, tmp_path):
    for path, counts, message in (
        (tmp_path, {"car": 1}, r"found no objects\.yaml.*understudy dataset objects"),
        (database, {"tram": 1}, "found class tram, wanted classes of the data: car, pedestrian"),
    ):
        paste = {"kind": "object_paste", "database": f"{path}", "counts": counts}
        with pytest.raises(InputError, match=message):
            views_of(Augmentation(steps=[paste]))
