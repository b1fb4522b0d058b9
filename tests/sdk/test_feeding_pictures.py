"""What a student that looks at pictures is fed and says: the rig's cameras, masks, refusals, a real engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from understudy.boxes import Boxes
from understudy.errors import BundleError, FrameError, GeometryError
from understudy.feeding import PicturesFeeder
from understudy.frame import Frame, Image
from understudy.lifting import lift_table
from understudy.network_pictures import network_images
from understudy.pipeline import Pipeline, open_pipeline
from understudy.rig import Rig
from understudy.testing import (
    FakeEngine,
    marked_pictures,
    noise_pictures,
    road_cloud,
    simple_rig,
    surround_rig,
    tiny_bundle,
    tiny_contract,
)

RIG = surround_rig()
AHEAD, BEHIND = (8.5, 1.5, 0.1), (-8.5, -1.5, 0.1)


def frame(rig: Rig = RIG, *, seed: int = 0, lidar: bool = True, without: tuple[str, ...] = ()) -> Frame:
    rng = np.random.default_rng(seed)
    images = {name: image for name, image in noise_pictures(rig, rng).items() if name not in without}
    return Frame(0, {"lidar": road_cloud(rng)} if lidar else {}, images)


def fake(kind: str, rig: Rig = RIG) -> Pipeline:
    contract = tiny_contract(kind)
    return Pipeline(contract, FakeEngine.detecting(contract, [[1, 2, 0, 4, 2, 1.5, 0]], [0.9], [0]), rig)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("students")
    return {
        kind: tiny_bundle(folder / kind, kind, score_threshold=0.1).folder for kind in ("images", "points_and_images")
    }


def near(boxes: Boxes, place_m: tuple[float, float, float]) -> bool:
    return bool((np.linalg.norm(boxes.geometry[:, :2] - place_m[:2], axis=1) < 2.0).any())


@pytest.mark.parametrize("kind", ["images", "points_and_images", "pillars_and_images"])
def test_feeds_are_those_of_the_signature(kind: str) -> None:
    pipeline = fake(kind)
    feeds = pipeline.prepare(frame())
    assert list(feeds) == [spec.name for spec in pipeline.engine.inputs]
    assert len(pipeline(frame())) == 1, "the engine checks dtypes and shapes"
    assert pipeline.cameras == ("front", "rear")
    assert pipeline.lidar == ("" if kind == "images" else "lidar")
    images, mask = network_images(
        {name: image.pixels for name, image in frame().images.items()}, RIG.cameras, tiny_contract(kind).pictures
    )
    assert (feeds["images"] == images).all()
    assert (feeds["camera_mask"] == mask).all()
    table = lift_table(tuple(RIG.cameras.values()), tiny_contract(kind).pictures, tiny_contract(kind).grid)
    assert (feeds["lift_pixels"] == table.pixels).all()
    assert (feeds["lift_depths"] == table.depths).all()


def test_feeds_of_one_frame_outlive_the_next() -> None:
    """Calibration and parity keep the feeds of many frames."""
    pipeline = fake("points_and_images")
    kept = [pipeline.prepare(frame(seed=seed)) for seed in range(3)]
    for seed, feeds in enumerate(kept):
        again = fake("points_and_images").prepare(frame(seed=seed))
        assert all((feeds[name] == again[name]).all() for name in feeds)


def test_cameras_that_did_not_deliver_are_masked() -> None:
    pipeline = fake("points_and_images")
    feeds = pipeline.prepare(frame(without=("front",)))
    assert feeds["camera_mask"].tolist() == [0.0, 1.0]
    assert (feeds["images"][0] == 0).all()
    assert pipeline.prepare(frame(without=("front", "rear")))["camera_mask"].tolist() == [0.0, 0.0]


def test_a_student_of_pictures_alone_needs_one_and_no_lidar() -> None:
    pipeline = fake("images", surround_rig(lidar=False))
    assert len(pipeline(frame(lidar=False))) == 1
    assert pipeline.prepare(frame(lidar=False, without=("rear",)))["camera_mask"].tolist() == [1.0, 0.0]
    with pytest.raises(FrameError, match="frame: found no picture, wanted a picture of front, rear"):
        pipeline(frame(lidar=False, without=("front", "rear")))
    strangers = Frame(0, {}, noise_pictures(surround_rig(("left",)), np.random.default_rng(0)))
    with pytest.raises(FrameError, match="frame: found left, wanted a picture of front, rear"):
        pipeline(strangers)


def test_a_fusion_student_needs_its_cloud() -> None:
    with pytest.raises(FrameError, match="found no cloud, wanted a cloud of lidar"):
        fake("points_and_images")(frame(lidar=False))
    with pytest.raises(GeometryError, match="LiDAR"):
        fake("points_and_images", surround_rig(lidar=False))


def test_pictures_that_cannot_be_the_rigs_are_refused() -> None:
    pipeline, whole = fake("images"), frame()
    small = Image(np.zeros((48, 80, 3), np.uint8), 0, "rear")
    with pytest.raises(GeometryError, match="picture of rear: found 80 x 48 px, wanted 160 x 96 px"):
        pipeline(Frame(0, {}, {**whole.images, "rear": small}))
    swapped = {"front": whole.images["rear"], "rear": whole.images["front"]}
    with pytest.raises(GeometryError, match="picture of front: frame_id: found rear, wanted front"):
        pipeline(Frame(0, {}, swapped))


def test_only_the_students_cameras_are_looked_at() -> None:
    looked_at: list[str] = []

    class Lazy(dict[str, Image]):
        def __getitem__(self, name: str) -> Image:
            looked_at.append(name)
            return super().__getitem__(name)

    rig = surround_rig(("front", "left", "rear", "right"))
    images = Lazy(noise_pictures(rig, np.random.default_rng(0)))
    fake("images", rig)(Frame(0, {}, images))
    assert looked_at == ["front", "rear"], "the others are not even decoded"


def test_rigs_without_the_cameras_are_refused() -> None:
    with pytest.raises(GeometryError, match="rig simple: cameras: found front, wanted 2 called front, rear, or that"):
        fake("images", simple_rig(camera=True))
    with pytest.raises(GeometryError, match="found none"):
        fake("points_and_images", simple_rig())


def test_the_table_is_the_rigs() -> None:
    pipeline = fake("images")
    moved = surround_rig(focal_px=90.0)
    there = pipeline.with_rig(moved)
    feeds, others = pipeline.prepare(frame()), there.prepare(frame())
    assert (feeds["images"] == others["images"]).all()
    assert (feeds["lift_pixels"] != others["lift_pixels"]).any()
    assert there.engine is pipeline.engine


def test_a_feeder_by_itself_takes_pictures_and_nothing_else() -> None:
    contract = tiny_contract("images")
    assert contract.pictures is not None
    feeder = PicturesFeeder(contract.pictures, contract.grid, RIG, needed=False)
    assert feeder(Frame(0))["camera_mask"].tolist() == [0.0, 0.0]
    assert list(feeder.cameras) == ["front", "rear"]


def test_marks_are_found_where_they_are(bundles: dict[str, Path]) -> None:
    """Through a real engine: pictures in, boxes out."""
    with open_pipeline(bundles["images"], surround_rig(lidar=False)) as pipeline:

        def found(marks: list[tuple[float, float, float]], without: tuple[str, ...] = ()) -> Boxes:
            pictures = {name: image for name, image in marked_pictures(RIG, marks).items() if name not in without}
            return pipeline(Frame(0, {}, pictures))

        assert len(found([])) == 0
        assert near(found([AHEAD]), AHEAD)
        assert not near(found([AHEAD]), BEHIND)
        both = found([AHEAD, BEHIND])
        assert near(both, AHEAD)
        assert near(both, BEHIND)
        rear_dead = found([AHEAD, BEHIND], without=("rear",))
        assert near(rear_dead, AHEAD)
        assert not near(rear_dead, BEHIND)


def test_a_fusion_student_goes_on_without_pictures(bundles: dict[str, Path]) -> None:
    cloud = road_cloud(np.random.default_rng(0), objects_m=((-6.0, 6.0),))
    with open_pipeline(bundles["points_and_images"], RIG) as pipeline:
        fused = pipeline(Frame(0, {"lidar": cloud}, marked_pictures(RIG, [AHEAD])))
        blind = pipeline(Frame(0, {"lidar": cloud}))
        dark = pipeline(Frame(0, {"lidar": cloud}, marked_pictures(RIG, [])))
    assert near(fused, AHEAD)
    assert near(fused, (-6.0, 6.0, 0.1))
    assert not near(blind, AHEAD)
    assert near(blind, (-6.0, 6.0, 0.1))
    assert np.array_equal(blind.geometry, dark.geometry)


def test_an_engine_without_the_pictures_is_refused() -> None:
    contract = tiny_contract("points_and_images")
    engine = FakeEngine.detecting(tiny_contract("points"), [], [], [])
    with pytest.raises(BundleError, match="inputs"):
        Pipeline(contract, engine, RIG)
