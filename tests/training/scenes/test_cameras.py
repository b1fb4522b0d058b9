"""Rigs with several cameras: they see all around, agree with the LiDAR and with each other, and change nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from understudy.datasets.pixel_truth import WithPixelTruth
from understudy.datasets.scenes import ScenesDataset
from understudy.errors import InputError
from understudy_training.scenes.config import FIRST_ACTOR_CLASS, POINT_CLASSES, SKY, SceneConfig
from understudy_training.scenes.drive import Drive, Moment
from understudy_training.scenes.sensors import CAMERA, LIDAR, SURROUND, build_rig
from understudy_training.scenes.writer import make_scenes

LIDAR_CONFIG = {"beams": 32, "azimuth_steps": 720}
CONFIG = SceneConfig(seed=21, num_frames=2, lidar=LIDAR_CONFIG, camera=None, surround={})
RIG = build_rig(CONFIG)
EGO_FROM_LIDAR = RIG.lidars[LIDAR].ego_from_sensor.pose()


@pytest.fixture(scope="module")
def moments() -> list[Moment]:
    return [Drive(CONFIG, number).moment(1) for number in range(3)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("surround") / "set"
    surround = {"width_px": 96, "height_px": 56, "ground_truth": True}
    config = CONFIG.model_copy(update={"num_drives": 2, "num_val_drives": 1})
    make_scenes(SceneConfig.model_validate({**config.model_dump(), "surround": surround}), out, workers=1)
    return out


def test_six_cameras_see_all_around() -> None:
    """Every direction in which something stands 12 m away is in some picture."""
    assert list(RIG.cameras) == list(SURROUND)
    yaw = np.linspace(-np.pi, np.pi, 720, endpoint=False)
    points = np.stack([12 * np.cos(yaw), 12 * np.sin(yaw), np.full(720, 1.0)], axis=1)
    seen = np.stack([camera.shows(*camera.project(points)) for camera in RIG.cameras.values()])
    assert seen.any(axis=0).all()
    assert seen.sum(axis=0).max() == 2, "neighbors overlap, no more"
    width_deg = seen.sum(axis=1) / 2
    assert ((width_deg > 50) & (width_deg < 100)).all()


@pytest.mark.parametrize(
    ("name", "toward"),
    [
        ("camera_front", (1, 0)),
        ("camera_back", (-1, 0)),
        ("camera_front_left", (1, 1)),
        ("camera_back_right", (-1, -2)),
    ],
)
def test_cameras_look_where_their_names_say(name: str, toward: tuple[float, float]) -> None:
    camera = RIG.cameras[name]
    pixels, depth_m = camera.project(np.array([[20.0 * toward[0], 20.0 * toward[1], 1.0]]))
    assert camera.shows(pixels, depth_m).all()
    above = camera.project(np.array([[20.0 * toward[0], 20.0 * toward[1], 2.0]]))[0]
    assert above[0, 1] < pixels[0, 1], "v counts downward"


@pytest.mark.parametrize("name", list(SURROUND))
def test_every_camera_and_the_lidar_see_the_same_world(moments: list[Moment], name: str) -> None:
    camera, same, close, total = RIG.cameras[name], 0, 0, 0
    for moment in moments:
        points = EGO_FROM_LIDAR.apply(moment.sweep.points[:, :3])
        pixels, depth_m = camera.project(points)
        u, v = np.rint(pixels).astype(int).T
        shown = (depth_m > 2) & (u >= 0) & (u < camera.width_px) & (v >= 0) & (v < camera.height_px)
        picture, u, v = moment.pictures[name], u[shown], v[shown]
        total += int(shown.sum())
        same += int((picture.pixel_class[v, u] == moment.sweep.point_class[shown]).sum())
        close += int((np.abs(picture.depth_m[v, u] / depth_m[shown] - 1) < 0.1).sum())
    assert total > 1000
    assert same / total > 0.75
    assert close / total > 0.75


def test_neighbors_see_the_same_in_their_overlap(moments: list[Moment]) -> None:
    """A house's pixels of the front camera, carried through ego, lie on houses in the front left one's picture."""
    front, left = RIG.cameras["camera_front"], RIG.cameras["camera_front_left"]
    for moment in moments:
        picture = moment.pictures["camera_front"]
        v, u = np.nonzero((picture.pixel_class != SKY) & (picture.depth_m < 40))
        depth_m = picture.depth_m[v, u].astype(float)
        optical = np.stack([(u - front.cx_px) / front.fx_px, (v - front.cy_px) / front.fy_px, np.ones(len(u))], axis=1)
        pixels, far_m = left.project(front.ego_from_sensor.pose().apply(optical * depth_m[:, None]))
        inside = left.shows(pixels + 0.5, far_m)
        assert inside.sum() > 100
        column, row = np.rint(pixels[inside]).astype(int).T
        other = moment.pictures["camera_front_left"].pixel_class[row, column]
        assert (other == picture.pixel_class[v, u][inside]).mean() > 0.8


def test_other_cameras_change_neither_sweep_nor_picture() -> None:
    both = SceneConfig.model_validate({**CONFIG.model_dump(), "camera": {"width_px": 64, "height_px": 48}})
    front = both.model_copy(update={"surround": None})
    with_both, with_front, with_surround = (Drive(config, 1).moment(1) for config in (both, front, CONFIG))
    assert list(with_both.pictures) == [CAMERA, *SURROUND]
    np.testing.assert_array_equal(with_both.sweep.points, with_front.sweep.points)
    np.testing.assert_array_equal(with_both.pictures[CAMERA].pixels, with_front.pictures[CAMERA].pixels)
    for name in SURROUND:
        np.testing.assert_array_equal(with_both.pictures[name].pixels, with_surround.pictures[name].pixels)


def test_each_camera_draws_its_own_noise(moments: list[Moment]) -> None:
    tops = [picture.pixels[:4].astype(int) for picture in moments[0].pictures.values()]
    assert all((tops[0] != other).any() for other in tops[1:])


def test_reader_offers_every_picture_only_when_looked_at(made: Path) -> None:
    dataset = ScenesDataset(made, "train")
    sample = dataset[1]
    assert list(sample.frame.images) == list(SURROUND)
    assert {image.pixels.shape for image in sample.frame.images.values()} == {(56, 96, 3)}
    assert sample.frame.images["camera_back"].frame_id == "camera_back_optical"
    (made / "drives/0000/camera_back/000000.jpg").write_bytes(b"no picture")
    other = dataset[0].frame.images
    assert other["camera_front"].pixels.any()
    with pytest.raises(InputError, match=r"camera_back/000000\.jpg"):
        other["camera_back"]


def test_truth_of_each_pixel(made: Path) -> None:
    dataset = ScenesDataset(made, "val")
    assert isinstance(dataset, WithPixelTruth)
    sample, truths = dataset[0], dataset.pixel_truth(0)
    assert list(truths) == list(SURROUND)
    cars = sample.boxes[(sample.boxes.labels == 0) & (sample.boxes.num_points > 60)]
    hits = []
    for name, truth in truths.items():
        camera = sample.rig.cameras[name]
        assert truth.depth_m.shape == truth.classes.shape == (56, 96)
        assert np.isinf(truth.depth_m[truth.classes == SKY]).all()
        assert set(np.unique(truth.classes)) <= {*range(len(POINT_CLASSES)), SKY}
        v, u = np.nonzero((truth.classes == FIRST_ACTOR_CLASS) & (truth.depth_m < 20))
        rays = np.stack([(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones(len(u))], axis=1)
        points = camera.ego_from_sensor.pose().apply(rays * truth.depth_m[v, u][:, None])
        hits.append(cars.contains(points[np.hypot(*points[:, :2].T) < 15]).any(axis=0))
    assert len(np.concatenate(hits)) > 50
    assert np.concatenate(hits).mean() > 0.95


def test_truth_that_was_not_written_is_refused_with_the_remedy(made: Path, tmp_path: Path) -> None:
    make_scenes(CONFIG.model_copy(update={"num_drives": 1, "num_val_drives": 0, "num_frames": 1}), tmp_path / "bare")
    with pytest.raises(InputError, match="--depth"):
        ScenesDataset(tmp_path / "bare").pixel_truth(0)
    depth = made / "drives/0000/depth_front/000000.png"
    depth.write_bytes(depth.read_bytes()[:100])
    with pytest.raises(InputError, match=r"depth_front/000000\.png"):
        ScenesDataset(made).pixel_truth(0)["camera_front"]


def test_fingerprint_follows_every_camera(made: Path) -> None:
    before = ScenesDataset(made).fingerprint
    file = made / "drives/0001/camera_back_left/000001.jpg"
    file.write_bytes(file.read_bytes() + b"\0")
    assert ScenesDataset(made).fingerprint != before
