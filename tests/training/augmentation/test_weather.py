"""Weather: denser air, fewer and weaker returns from far away, more from the air itself."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.augmentation.made_up import contained, street
from understudy.boxes import Boxes
from understudy.datasets.kitti import KittiDataset
from understudy_training.augmentation import Augmentation, Scene, see
from understudy_training.augmentation.of_sample import scene_of
from understudy_training.augmentation.scatterers import (
    Beam,
    false_returns,
    fog_extinction_per_m,
    fog_return,
    rain,
    snow,
)
from understudy_training.augmentation.step import Step
from understudy_training.augmentation.weather import Fog, Rain, Snow


def field(count: int = 40_000) -> Scene:
    """Returns at every range to 100 m, of every intensity."""
    generator = np.random.default_rng(0)
    azimuth, range_m = generator.uniform(-np.pi, np.pi, count), generator.uniform(2, 100, count)
    points = [range_m * np.cos(azimuth), range_m * np.sin(azimuth), generator.uniform(0, 2, count)]
    return Scene(np.column_stack([*points, generator.uniform(0, 1, count)]).astype(np.float32), Boxes.empty(("car",)))


def through(step: Step, scene: Scene) -> Scene:
    return step.draw(np.random.default_rng(4), scene).apply(scene)


def ranges_m(scene: Scene) -> np.ndarray:
    return np.linalg.norm(scene.from_lidar(), axis=1)


WORSE = {
    "fog": [Fog(visibility_m=(v, v)) for v in (2000, 600, 200, 100, 50, 30)],
    "rain": [Rain(rain_mm_per_h=(r, r)) for r in (0.2, 1, 5, 25, 80)],
    "counted rain": [Rain(rain_mm_per_h=(r, r), extinction="marshall_palmer") for r in (1, 10, 80)],
    "snow": [Snow(snow_mm_per_h=(r, r)) for r in (0.2, 1, 2.5, 10)],
}


@pytest.mark.parametrize("kind", list(WORSE))
def test_worse_weather_leaves_fewer_and_weaker_far_returns(kind):
    scene = field()
    seen = [scene, *(through(step, scene) for step in WORSE[kind])]
    far = [int((ranges_m(each) > 50).sum()) for each in seen]
    mean = [float(each.points[ranges_m(each) > 30, 3].sum()) for each in seen]
    assert far == sorted(far, reverse=True)
    assert far[-1] < far[0] * (0.96 if kind == "counted rain" else 0.8)
    assert mean == sorted(mean, reverse=True)


@pytest.mark.parametrize("kind", ["fog", "snow", "rain"])
def test_worse_weather_sends_more_back_itself(kind):
    scene = field()
    air = []
    for step in WORSE[kind]:
        drawn = step.draw(np.random.default_rng(4), scene)
        if kind == "rain":
            drawn = drawn.model_copy(update={"range_error": 0.0})
        kept = {point[:3].tobytes() for point in scene.points}
        air.append(sum(point[:3].tobytes() not in kept for point in drawn.apply(scene).points))
    assert air == sorted(air)
    assert air[-1] > 0


@pytest.mark.parametrize("step", [Fog(visibility_m=(60, 60)), Snow(snow_mm_per_h=(2, 2))])
def test_returns_of_the_air_lie_before_what_was_there_on_the_same_ray(step):
    scene = replace(field(3000), boxes=street(0).boxes)
    seen = through(step, scene)
    assert seen.points[:, 3].min() >= 0
    assert seen.points[:, 3].max() <= 1
    directions = {}
    for offset, range_m in zip(scene.from_lidar(), ranges_m(scene), strict=True):
        directions[tuple(np.round(offset / range_m, 4))] = range_m
    matched = [
        (range_m, directions.get(tuple(np.round(offset / range_m, 4))))
        for offset, range_m in zip(seen.from_lidar(), ranges_m(seen), strict=True)
    ]
    nearer = [range_m for range_m, was in matched if was is not None and range_m < was - 0.1]
    assert sum(was is not None for _, was in matched) > 0.8 * len(matched)
    assert all(range_m <= was + 0.01 for range_m, was in matched if was is not None)
    assert len(nearer) > 10
    assert np.median(nearer) < 15


@pytest.mark.parametrize("step", [Fog(visibility_m=(60, 60)), Snow(snow_mm_per_h=(2, 2)), Rain(rain_mm_per_h=(9, 9))])
def test_counts_follow_what_is_left_in_the_boxes(step):
    scene = street(3, 10)
    scene = replace(scene, boxes=replace(scene.boxes, num_points=contained(scene).astype(np.int32)))
    seen = through(step, scene)
    np.testing.assert_array_equal(seen.boxes.num_points, contained(seen))
    np.testing.assert_array_equal(seen.boxes.geometry, scene.boxes.geometry)


def test_fog_follows_its_law_where_nothing_else_happens():
    scene = field()
    seen = through(Fog(visibility_m=(400, 400), range_m=100_000.0), scene)
    before = {point[:3].tobytes(): point[3] for point in scene.points}
    same = [(point[3], before.get(point[:3].tobytes())) for point in seen.points]
    kept = np.array([index for index, (_, was) in enumerate(same) if was is not None and was > 0.2])
    found = np.array([same[index][0] / same[index][1] for index in kept])
    np.testing.assert_allclose(found, np.exp(-2 * 3.0 / 400 * ranges_m(seen)[kept]), rtol=0.01)
    assert fog_extinction_per_m(1000) == pytest.approx(2.9957e-3, rel=1e-4)


def test_goodins_law_and_error():
    scene = field()
    drawn = Rain(rain_mm_per_h=(10, 10)).draw(np.random.default_rng(0), scene)
    assert drawn.extinction_per_m == pytest.approx(0.01 * 10**0.6)
    sure = drawn.model_copy(update={"range_m": 100_000.0, "extinction_per_m": 1e-9})
    seen = sure.apply(scene)
    shift = (ranges_m(seen) - ranges_m(scene))[: len(seen.points)] / ranges_m(scene)
    assert len(seen.points) == len(scene.points)
    assert np.median(np.abs(shift)) == pytest.approx(0.6745 * 0.02, rel=0.03)


def test_particles_add_up_to_their_extinction():
    """The closed form of the extinction against the integral, and of rain against the literature's order."""
    for particles in (rain(10), snow(1)):
        diameter_mm = np.linspace(0, 40, 200_000)
        number = particles.density_per_m3_mm * np.exp(-particles.slope_per_mm * diameter_mm)
        shadow = number * np.pi / 4 * (diameter_mm * 1e-3) ** 2
        integral = float(((shadow[1:] + shadow[:-1]) / 2 * np.diff(diameter_mm)).sum())
        assert particles.extinction_per_m() == pytest.approx(2 * integral, rel=1e-3)
    assert 1e-3 < rain(10).extinction_per_m() < 3e-3
    assert 1e-3 < snow(1).extinction_per_m() < 1e-2


def test_more_particles_are_met_the_farther_one_looks_and_the_harder_it_falls():
    expected = [false_returns(snow(rate), Beam()).expected for rate in (0.5, 1.0, 2.0)]
    assert all((np.diff(each) >= 0).all() for each in expected)
    assert expected[0][-1] < expected[1][-1] < expected[2][-1]
    assert false_returns(rain(10), Beam()).expected[-1] < 0.01


def test_the_soft_return_peaks_a_few_meters_away():
    soft = fog_return(50.0, 20.0)
    assert 3 < soft.range_m[soft.power.argmax()] < 6
    shorter = fog_return(50.0, 5.0)
    assert shorter.range_m[shorter.power.argmax()] < soft.range_m[soft.power.argmax()]


def test_pictures_fade_with_distance():
    scene = street(0, camera=True)
    image = np.zeros_like(scene.images["front"])
    scene = replace(scene, images={"front": image})
    thin, dense = (through(Fog(visibility_m=(v, v)), scene).images["front"].astype(int) for v in (400, 60))
    assert (dense >= thin).all()
    assert dense[20].mean() > dense[190].mean() + 50
    clear = through(Fog(visibility_m=(60, 60), pictures=False), scene)
    np.testing.assert_array_equal(clear.images["front"], image)


@pytest.mark.data
def test_a_real_sweep_in_dense_fog_keeps_its_near_field(data_root):
    scene = scene_of(KittiDataset(data_root / "kitti" / "object", None)[0])
    _, seen = see(Augmentation(steps=[Fog(visibility_m=(60, 60))]), scene, seed=0, epoch=0, index=0)
    near, far = (np.mean(ranges_m(seen) < limit) for limit in (10, 40))
    assert len(seen.points) > 0.6 * len(scene.points)
    assert near > np.mean(ranges_m(scene) < 10)
    assert far > 0.99
