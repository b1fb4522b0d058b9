from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from understudy.bundle.manifest import Contract, DetectedClass, PointsInput
from understudy.errors import BundleError, EngineError, FrameError, GeometryError, UnderstudyError
from understudy.frame import Frame, PointCloud
from understudy.pipeline import Pipeline, open_pipeline
from understudy.rig import Lidar, Mounting, Rig
from understudy.testing import (
    CLASS_NAMES,
    FakeEngine,
    frame_of,
    road_cloud,
    simple_rig,
    tiny_bundle,
    tiny_contract,
)


def cloud(num_points: int = 2000, **options: object) -> PointCloud:
    return road_cloud(np.random.default_rng(3), num_points, **options)  # type: ignore[arg-type]


def fake_pipeline(contract: Contract | None = None, rig: Rig | None = None, **options: str) -> Pipeline:
    contract = contract or tiny_contract()
    engine = FakeEngine.detecting(contract, np.zeros((3, 7)).tolist(), [0.2, 0.9, 0.5], [0, 1, 2])
    return Pipeline(contract, engine, rig or simple_rig(), **options)


def with_points(change: Callable[[np.ndarray], np.ndarray]) -> Frame:
    whole = cloud()
    return frame_of(dataclasses.replace(whole, points=change(whole.points.copy())))


def test_finds_the_objects_of_a_cloud(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    with open_pipeline(bundle.folder, simple_rig()) as pipeline:
        boxes = pipeline(frame_of(cloud()))
    cars = boxes[boxes.labels == 0]
    assert len(cars) == 2
    distances_m = np.linalg.norm(cars.geometry[:, None, :2] - np.array([[8.0, 2.0], [-6.0, -4.0]]), axis=2)
    assert distances_m.min(axis=0).max() < 1.0
    assert boxes.class_names == CLASS_NAMES


def test_the_rig_moves_the_boxes_with_the_sensor(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    moved = Rig(name="moved", sensors={"lidar": Lidar(ego_from_sensor=Mounting(translation_m=(3.0, 0.0, 1.8)))})
    with open_pipeline(bundle.folder, simple_rig()) as pipeline:
        here = pipeline(frame_of(cloud()))
        there = pipeline.with_rig(moved)(frame_of(cloud()))
    assert np.array_equal(np.sort(there.geometry[:, 0]), np.sort(here.geometry[:, 0] + np.float32(2.0)))


def test_is_its_three_steps(tmp_path: Path) -> None:
    pipeline = open_pipeline(tiny_bundle(tmp_path / "bundle").folder, simple_rig())
    frame = frame_of(cloud())
    whole, stepped = pipeline(frame), pipeline.boxes(pipeline.engine(pipeline.prepare(frame)))
    assert np.array_equal(whole.geometry, stepped.geometry)
    assert whole.scores is not None
    assert stepped.scores is not None
    assert np.array_equal(whole.scores, stepped.scores)


def test_points_are_passed_on_without_a_copy() -> None:
    frame = frame_of(cloud())
    feeds = fake_pipeline(rig=simple_rig(intensity_scale=255.0)).prepare(frame)
    assert feeds["points"] is frame.clouds["lidar"].points
    assert feeds["ego_from_sensor"].tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, np.float32(1.8)]]
    assert feeds["intensity_factor"] == np.float32(1 / 255)


def test_pillars_are_grouped_on_the_host() -> None:
    contract = tiny_contract("pillars")
    pipeline = fake_pipeline(contract, simple_rig(intensity_scale=255.0))
    frame = frame_of(cloud(intensity_scale=255.0))
    assert len(pipeline(frame)) == 2
    feeds = pipeline.prepare(frame)
    assert feeds["pillars"].shape[1:] == (8, 4)
    first = feeds["pillars"][0][: feeds["num_points"][0]]
    row, column = divmod(int(feeds["cells"][0]), contract.grid.width)
    assert np.array_equal(np.unique(np.floor(first[:, 0] + 16)), [column])
    assert np.array_equal(np.unique(np.floor(first[:, 1] + 16)), [row])
    assert feeds["pillars"][..., 3].max() <= 1.0


def test_an_intensity_that_is_no_number_is_none_in_pillars() -> None:
    whole = cloud()
    points = whole.points.copy()
    points[::3, 3] = np.nan
    dark = np.nan_to_num(points)
    pipeline = fake_pipeline(tiny_contract("pillars"))
    feeds = pipeline.prepare(frame_of(dataclasses.replace(whole, points=points)))
    wanted = pipeline.prepare(frame_of(dataclasses.replace(whole, points=dark)))
    assert all(np.array_equal(feeds[name], wanted[name]) for name in feeds)


def test_keeps_rows_from_their_class_threshold_best_first() -> None:
    classes = tuple(
        DetectedClass(name=name, score_threshold=threshold)
        for name, threshold in zip(CLASS_NAMES, (0.1, 0.6, 0.3, 0.0), strict=True)
    )
    contract = tiny_contract().model_copy(update={"classes": classes})
    geometry = [[float(row), 0, 0, 1, 1, 1, 0] for row in range(6)]
    engine = FakeEngine.detecting(contract, geometry, [0.2, 0.59, 0.3, 0.0, 0.9, 0.3], [0, 1, 2, 3, 1, 3])
    boxes = Pipeline(contract, engine, simple_rig())(frame_of(cloud()))
    assert boxes.geometry[:, 0].tolist() == [4, 2, 5, 0]
    assert boxes.labels.tolist() == [1, 2, 3, 0]


@settings(max_examples=50)
@given(
    scores=hnp.arrays(np.float32, 20, elements=st.floats(0, 1, width=32)),
    labels=hnp.arrays(np.int32, 20, elements=st.integers(0, 3)),
    threshold=st.floats(0, 1),
)
def test_boxes_are_a_sorted_selection(scores: np.ndarray, labels: np.ndarray, threshold: float) -> None:
    contract = tiny_contract(score_threshold=threshold)
    pipeline = fake_pipeline(contract)
    geometry = np.zeros((20, 7), np.float32)
    geometry[:, 0] = np.arange(20)
    boxes = pipeline.boxes({"boxes": geometry, "scores": scores, "labels": labels})
    rows = boxes.geometry[:, 0].astype(int)
    kept = (scores >= np.float32(threshold)) & (scores > 0)
    assert set(rows) == set(np.flatnonzero(kept))
    assert np.array_equal(boxes.scores, scores[rows])  # type: ignore[arg-type]
    assert np.array_equal(boxes.labels, labels[rows])
    assert (np.diff(scores[rows]) <= 0).all()


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        ({"scores": np.array([np.nan], np.float32)}, FrameError),
        ({"scores": np.array([np.inf], np.float32)}, FrameError),
        ({"boxes": np.full((1, 7), np.nan, np.float32)}, FrameError),
        ({"labels": np.array([4], np.int32)}, EngineError),
        ({"labels": np.array([-1], np.int32)}, EngineError),
    ],
)
def test_a_network_that_says_nonsense_is_an_error(outputs: dict[str, np.ndarray], kind: type[UnderstudyError]) -> None:
    fine = {
        "boxes": np.zeros((1, 7), np.float32),
        "scores": np.ones(1, np.float32),
        "labels": np.zeros(1, np.int32),
    }
    with pytest.raises(kind, match="network output"):
        fake_pipeline().boxes({**fine, **outputs})


BAD_FRAMES: dict[str, tuple[Frame, type[UnderstudyError], str]] = {
    "no cloud": (Frame(stamp_ns=0), FrameError, "found no cloud, wanted a cloud of lidar"),
    "other sensor": (frame_of(cloud(), "rear"), FrameError, "found rear, wanted a cloud of lidar"),
    "empty": (with_points(lambda points: points[:0]), FrameError, "found 0 points"),
    "too many": (with_points(lambda points: np.tile(points, (76, 1))), FrameError, "found 152000 points"),
    "all NaN": (with_points(lambda points: points * np.float32(np.nan)), FrameError, "none finite"),
    "millimeters": (with_points(lambda points: points * np.float32(1000)), GeometryError, "millimeters"),
    "blocked": (with_points(lambda points: points * np.float32(0.01)), FrameError, "blocked"),
    "other frame": (frame_of(cloud(frame_id="base_link")), GeometryError, "found base_link, wanted lidar"),
}


@pytest.mark.parametrize("name", list(BAD_FRAMES))
def test_refuses_a_bad_frame_and_takes_the_next(name: str) -> None:
    frame, kind, message = BAD_FRAMES[name]
    pipeline = fake_pipeline()
    with pytest.raises(kind) as refusal:
        pipeline(frame)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(pipeline(frame_of(cloud()))) == 2


@pytest.mark.parametrize(("raw", "scale"), [(255.0, 1.0), (1.0, 255.0), (65535.0, 255.0)])
def test_intensity_of_another_scale_is_refused_where_it_matters(raw: float, scale: float) -> None:
    frame, rig = frame_of(cloud(intensity_scale=raw)), simple_rig(intensity_scale=scale)
    with pytest.raises(GeometryError, match="intensity_scale"):
        fake_pipeline(tiny_contract(uses_intensity=True), rig)(frame)
    assert len(fake_pipeline(tiny_contract(uses_intensity=False), rig)(frame)) == 2


def test_a_few_bad_points_are_no_reason_to_refuse() -> None:
    def spoil(points: np.ndarray) -> np.ndarray:
        points[::3] = np.nan
        points[1::100, :3] = 65535.0
        points[2::150, 3] = 1e6
        return points

    pipeline = fake_pipeline(tiny_contract(uses_intensity=True))
    assert len(pipeline(with_points(spoil))) == 2


def test_the_only_finite_point_is_found() -> None:
    def almost_nothing(points: np.ndarray) -> np.ndarray:
        dense = np.full((100_000, 4), np.nan, np.float32)
        dense[77] = points[0] + 5
        return dense

    assert len(fake_pipeline()(with_points(almost_nothing))) == 2


BAD_RIGS: dict[str, tuple[Rig, str]] = {
    "no LiDAR": (Rig(name="blind", sensors={}), "found no LiDAR"),
    "below the road": (simple_rig(height_m=-0.4), "height above the road: found -0.4 m"),
    "millimeters": (simple_rig(height_m=1730), "height above the road: found 1730 m"),
    "two LiDARs": (
        Rig(name="two", sensors={name: simple_rig().lidars["lidar"] for name in ("front", "rear")}),
        "found front, rear, wanted one by name",
    ),
}


@pytest.mark.parametrize("name", list(BAD_RIGS))
def test_refuses_a_rig_that_does_not_fit(name: str) -> None:
    rig, message = BAD_RIGS[name]
    with pytest.raises(GeometryError) as refusal:
        fake_pipeline(rig=rig)
    assert message in str(refusal.value)


def test_the_lidar_is_chosen_by_name_and_kept_for_other_rigs() -> None:
    two = BAD_RIGS["two LiDARs"][0]
    pipeline = fake_pipeline(rig=two, lidar="rear")
    assert pipeline.with_rig(two).lidar == "rear"
    with pytest.raises(GeometryError, match="LiDAR roof"):
        fake_pipeline(rig=two, lidar="roof")


def test_an_engine_of_another_kind_is_refused() -> None:
    engine = FakeEngine.detecting(tiny_contract("pillars"), [], [], [])
    with pytest.raises(BundleError, match="fake engine: inputs: found pillars"):
        Pipeline(tiny_contract("points"), engine, simple_rig())


@pytest.mark.data
@pytest.mark.parametrize("name", ["kitti/object", "kitti/raw/2011_09_26", "pandaset/002", "nuscenes"])
def test_no_real_frame_is_refused(data_root: Path, name: str) -> None:
    from understudy.datasets.opening import open_dataset

    if not (data_root / name).is_dir():
        pytest.skip(f"no {name} at {data_root}")
    contract = tiny_contract(uses_intensity=True).model_copy(update={"input": PointsInput(uses_intensity=True)})
    samples = open_dataset(data_root / name)
    assert len(samples)
    for index in range(len(samples)):
        sample = samples[index]
        for lidar in sample.frame.clouds:
            pipeline = fake_pipeline(contract, sample.rig, lidar=lidar)
            assert pipeline.prepare(sample.frame)["points"] is sample.frame.clouds[lidar].points
