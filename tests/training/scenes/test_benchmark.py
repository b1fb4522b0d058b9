"""The fixed benchmark: it cannot drift unnoticed, and its sets show the same drives to different sensors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from understudy.datasets.scenes import ScenesDataset
from understudy.errors import InputError, UnderstudyError
from understudy_training.models.counting import detector_cost
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import read_recipe
from understudy_training.scenes import benchmark as definition
from understudy_training.scenes.benchmark import BENCHMARKS, Benchmark, find_benchmark, make_benchmark, signature
from understudy_training.scenes.config import ACTOR_CLASSES, SceneConfig
from understudy_training.scenes.drive import Drive
from understudy_training.scenes.shapes import Part
from understudy_training.scenes.writer import make_scenes

SMALL = SceneConfig(
    seed=5,
    val_seed=6,
    num_drives=2,
    num_val_drives=1,
    num_frames=2,
    lidar={"beams": 16, "azimuth_steps": 180},
    camera={"width_px": 48, "height_px": 32},
)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_the_benchmark_has_not_drifted(name: str) -> None:
    """Where this fails, the generator makes other data: raise the version, enter what was found, measure anew."""
    found = signature(BENCHMARKS[name].config)
    assert found == BENCHMARKS[name].signature, f"{name}: the generator's signature is now {found}"


def test_the_signature_is_the_same_without_the_processors_widest_instructions() -> None:
    program = (
        "import sys; from understudy_training.scenes.config import SceneConfig\n"
        "from understudy_training.scenes.benchmark import signature\n"
        "print(signature(SceneConfig.model_validate_json(sys.argv[1])))\n"
    )
    wide = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    command = [sys.executable, "-c", program, SMALL.model_dump_json()]
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(wide)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == signature(SMALL)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"val_seed": 7},
        {"turns_per_frame": 2},
        {"num_frames": 3},
        {"lidar": {"beams": 32, "azimuth_steps": 180}},
        {"lidar": {"beams": 16, "azimuth_steps": 180, "range_m": 60.0}},
        {"camera": {"width_px": 48, "height_px": 32, "fov_deg": 70.0}},
        {"camera": {"width_px": 48, "height_px": 32, "noise": 12.0}},
        {"camera": None},
        {"surround": {"width_px": 48, "height_px": 32}},
    ],
    ids=lambda change: ",".join(change),
)
def test_the_signature_tells_what_a_network_could_notice(change: dict[str, object]) -> None:
    assert signature(SceneConfig.model_validate({**SMALL.model_dump(), **change})) != signature(SMALL)


def test_the_signature_tells_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """A car 3 cm higher, such as somebody's improvement of the simulator, is another benchmark."""
    from understudy_training.scenes import traffic

    before = signature(SMALL)

    def higher(rng: np.random.Generator) -> tuple[Part, ...]:
        return tuple(part._replace(center_m=(*part.center_m[:2], part.center_m[2] + 0.03)) for part in car(rng))

    car = traffic._BUILDERS[0]
    monkeypatch.setitem(traffic._BUILDERS, 0, higher)
    assert signature(SMALL) != before


def test_the_sets_show_the_same_drives_to_other_sensors() -> None:
    configs = [BENCHMARKS[name].config for name in ("scenes-64", "scenes-32", "scenes-surround-32")]
    for number in (configs[0].num_drives - 1,):
        many, few, surround = (Drive(config, number).moment(1) for config in configs)
        np.testing.assert_array_equal(few.sweep.points, surround.sweep.points)
        np.testing.assert_array_equal(few.boxes.geometry, many.boxes.geometry)
        np.testing.assert_array_equal(few.boxes.track_ids, many.boxes.track_ids)
        assert len(many.sweep.points) > 1.5 * len(few.sweep.points)
        assert len(surround.pictures) == 6


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_training_and_validation_are_drives_of_different_seeds(name: str) -> None:
    config = BENCHMARKS[name].config
    splits = [config.split(number) for number in range(config.num_drives)]
    seeds = [config.origin(number)[0] for number in range(config.num_drives)]
    assert (splits.count("train"), splits.count("val")) == (40, 12)
    assert {seed for seed, split in zip(seeds, splits, strict=True) if split == "train"} == {config.seed}
    assert {seed for seed, split in zip(seeds, splits, strict=True) if split == "val"} == {config.val_seed}
    assert config.seed != config.val_seed


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """A benchmark of two small drives beside the real ones."""
    table = {**BENCHMARKS, "tiny": Benchmark(3, SMALL, signature(SMALL), "for tests")}
    monkeypatch.setattr(definition, "BENCHMARKS", table)
    return "tiny"


def test_a_data_set_says_which_benchmark_it_is(tiny: str, tmp_path: Path) -> None:
    made = make_benchmark(tiny, tmp_path / "set", workers=1)
    entry = ScenesDataset(tmp_path / "set").description.benchmark
    assert entry is not None
    assert (entry.name, entry.version, entry.signature) == ("tiny", 3, signature(SMALL))
    assert made.num_frames == 4
    make_scenes(SMALL, tmp_path / "plain", workers=1)
    assert ScenesDataset(tmp_path / "plain").description.benchmark is None
    frame = "drives/0001/frames/000001.npz"
    assert (tmp_path / "set" / frame).read_bytes() == (tmp_path / "plain" / frame).read_bytes()


def test_a_generator_that_makes_other_data_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(definition, "BENCHMARKS", {"tiny": Benchmark(1, SMALL, "0" * 64, "for tests")})
    with pytest.raises(UnderstudyError, match=f"tiny version 1: .*{signature(SMALL)[:12]}.*000000000000") as caught:
        make_benchmark("tiny", tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_an_unknown_benchmark_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="scenes-64, scenes-32, scenes-surround-32"):
        find_benchmark("kitti")


def test_every_class_is_in_both_splits_of_the_benchmark() -> None:
    """Of what is near enough to be scored and hit often enough to count, in a few drives of each split."""
    config = BENCHMARKS["scenes-32"].config
    first_val = config.num_drives - config.num_val_drives
    for numbers in (range(3), range(first_val, first_val + 3)):
        found = np.zeros(len(ACTOR_CLASSES), int)
        for number in numbers:
            boxes = Drive(config, number).moment(config.num_frames // 2).boxes
            counts = (boxes.num_points >= 5) & (np.abs(boxes.geometry[:, :2]).max(axis=1) < 25)
            found += np.bincount(boxes.labels[counts], minlength=len(found))
        assert (found > 0).all()


def test_the_recipes_fit_each_other_and_the_benchmark() -> None:
    teacher, student = (read_recipe(name) for name in ("benchmark-teacher", "benchmark-student"))
    big, small = (recipe.detector_config() for recipe in (teacher, student))
    assert big.grid == small.grid
    assert big.output_stride == small.output_stride
    assert big.class_names == small.class_names == ACTOR_CLASSES
    assert student.distillation is not None
    assert 16 * detector_cost(BevDetector(small)).macs <= detector_cost(BevDetector(big)).macs
