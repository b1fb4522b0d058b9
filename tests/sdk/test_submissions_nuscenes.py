from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.nuscenes_builder import build_release
from tests.oracles import Oracle
from understudy.boxes import Boxes
from understudy.converters.class_maps import NUSCENES_DETECTION_NAMES
from understudy.datasets.dataset import Sample
from understudy.datasets.nuscenes_keyframe import NuscenesKeyframes
from understudy.datasets.nuscenes_tables import NuscenesTables
from understudy.errors import InputError
from understudy.metrics.nuscenes import ERROR_NAMES, THRESHOLDS_M
from understudy.metrics.nuscenes_objects import ATTRIBUTE_NAMES
from understudy.metrics.official import BENCHMARKS, describe
from understudy.pose import Pose
from understudy.submissions.nuscenes import FILE, detections_of, score_results, write_results
from understudy.submissions.nuscenes_results import read_file

_DEVKIT_ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> NuscenesTables:
    return NuscenesTables(build_release(tmp_path_factory.mktemp("release"), seed=3), "mini_train", classes="official")


def noisy(dataset: NuscenesTables, seed: int, noise_m: float) -> Iterator[tuple[Sample, Boxes]]:
    """Labels, moved and turned a little, some missing, some twice, with velocities where they are told."""
    rng = np.random.default_rng(seed)
    for index in range(len(dataset)):
        sample = dataset[index]
        assert sample.boxes is not None
        rows = rng.integers(0, len(sample.boxes), 2 * len(sample.boxes))
        boxes = sample.boxes[rows]
        geometry = boxes.geometry + rng.normal(0, noise_m, boxes.geometry.shape).astype(np.float32)
        geometry[:, 3:6] = boxes.geometry[:, 3:6] * rng.uniform(0.8, 1.2, (len(boxes), 3))
        scores = rng.random(len(boxes)).astype(np.float32)
        yield sample, replace(boxes, geometry=geometry, scores=scores, num_points=None, track_ids=None)


@pytest.fixture
def results(release: NuscenesTables, tmp_path: Path) -> Path:
    write_results(tmp_path / "out", release, noisy(release, 0, 0.2))
    return tmp_path / "out" / FILE


@pytest.mark.parametrize(("seed", "noise_m"), [(1, 0.05), (2, 0.7)])
def test_scores_of_a_release_equal_the_devkits_from_end_to_end(
    release: NuscenesTables, oracle: Oracle, tmp_path: Path, seed: int, noise_m: float
) -> None:
    write_results(tmp_path / "out", release, noisy(release, seed, noise_m))
    ours = score_results(tmp_path / "out", release).values
    root = Path(release._root)
    oracle.run("nuscenes_release_score", root, tmp_path / "out" / FILE, "mini_train", tmp_path / "said.json")
    said = json.loads((tmp_path / "said.json").read_text())
    assert ours["mAP"] == pytest.approx(said["mean_ap"], abs=1e-6)
    assert 0.02 < said["mean_ap"] < 1
    assert ours["NDS"] == pytest.approx(said["nd_score"], abs=1e-6)
    for name, devkit_name in zip(ERROR_NAMES, _DEVKIT_ERRORS, strict=True):
        assert ours[f"m{name}"] == pytest.approx(said["tp_errors"][devkit_name], abs=1e-6)
        for label in NUSCENES_DETECTION_NAMES:
            value = said["label_tp_errors"][label][devkit_name]
            assert ours[f"{label}/{name}"] == (None if np.isnan(value) else pytest.approx(value, abs=1e-6))
    for label in NUSCENES_DETECTION_NAMES:
        for limit in THRESHOLDS_M:
            assert ours[f"{label}/AP/{limit}"] == pytest.approx(said["label_aps"][label][str(limit)], abs=1e-6)


def test_the_table_fits_a_terminal(release: NuscenesTables, results: Path) -> None:
    lines = describe(score_results(results, release))
    assert max(map(len, lines)) <= 100
    assert any(line.strip().startswith("NDS") for line in lines)
    assert BENCHMARKS["nuscenes"].classes == "official"


def test_boxes_come_back_as_they_were_written(release: NuscenesTables, results: Path) -> None:
    tokens = [release.key(index) for index in range(len(release))]
    found = read_file(results, tokens)
    written = [detections_of(sample, boxes) for sample, boxes in noisy(release, 0, 0.2)]
    np.testing.assert_array_equal(found.samples, np.repeat(np.arange(len(written)), [len(part) for part in written]))
    for name in ("centers_m", "sizes_m", "rotations_wxyz", "velocities_mps", "scores", "labels", "attributes"):
        np.testing.assert_array_equal(getattr(found, name), np.concatenate([getattr(part, name) for part in written]))
    assert np.isfinite(found.velocities_mps).all()


def some(boxes: Boxes, count: int, **columns: Any) -> Boxes:
    chosen = boxes[np.zeros(count, np.int64)]
    return replace(chosen, scores=np.linspace(0, 1, count, dtype=np.float32), velocities_mps=None, **columns)


def test_attributes_follow_class_and_speed(release: NuscenesTables) -> None:
    sample = release[0]
    assert sample.boxes is not None
    names = ("car", "car", "bus", "pedestrian", "pedestrian", "bicycle", "barrier")
    labels = np.array([NUSCENES_DETECTION_NAMES.index(name) for name in names], np.int32)
    still = some(sample.boxes, 7, labels=labels)
    moving = replace(still, velocities_mps=np.tile(np.array([[0.5, 0.0]], np.float32), (7, 1)))
    standing = replace(still, velocities_mps=np.zeros((7, 2), np.float32))

    def named(boxes: Boxes) -> list[str]:
        return [(*ATTRIBUTE_NAMES, "")[row] for row in detections_of(sample, boxes).attributes]

    assert named(moving)[0] == "vehicle.moving"
    assert named(moving)[3:] == ["pedestrian.moving", "pedestrian.moving", "cycle.with_rider", ""]
    assert named(standing)[1:4] == ["vehicle.parked", "vehicle.stopped", "pedestrian.standing"]
    assert named(still)[1:4] == ["vehicle.parked", "vehicle.moving", "pedestrian.moving"]


def test_velocities_turn_with_the_vehicle(release: NuscenesTables) -> None:
    sample = replace(release[0], frame=replace(release[0].frame, world_from_ego=Pose.from_yaw(np.pi / 2)))
    assert sample.boxes is not None
    velocities = np.array([[3.0, 0.0]], np.float32)
    found = detections_of(sample, replace(some(sample.boxes, 1), velocities_mps=velocities))
    np.testing.assert_allclose(found.velocities_mps, [[0.0, 3.0]], atol=1e-6)


def test_the_best_five_hundred_are_kept(release: NuscenesTables) -> None:
    sample = release[0]
    assert sample.boxes is not None
    found = detections_of(sample, some(sample.boxes, 600))
    assert len(found) == 500
    assert found.scores.min() == pytest.approx(100 / 599)


def test_classes_of_our_own_are_refused(release: NuscenesTables, tmp_path: Path) -> None:
    sample = release[0]
    boxes = Boxes.empty(("car", "truck", "pedestrian", "cyclist"), scored=True)
    with pytest.raises(InputError, match=r"class cyclist.*classes: official"):
        write_results(tmp_path / "out", release, [(sample, boxes)])
    assert not (tmp_path / "out").exists()


def test_a_sample_given_twice_is_refused(release: NuscenesTables, tmp_path: Path) -> None:
    twice = [*noisy(release, 0, 0.1)][:1] * 2
    with pytest.raises(InputError, match="detections twice"):
        write_results(tmp_path / "out", release, twice)


def damage(content: dict[str, Any], kind: str) -> None:
    token = next(iter(content["results"]))
    box = content["results"][token][1]
    match kind:
        case "sample missing":
            del content["results"][token]
        case "sample unknown":
            content["results"]["f" * 32] = []
        case "no meta":
            del content["meta"]
        case "no results":
            content["results"] = []
        case "too many":
            content["results"][token] = [box] * 501
        case "not a list":
            content["results"][token] = box
        case "not a box":
            content["results"][token][1] = 3
        case "no score":
            del box["detection_score"]
        case _:
            field, _, value = kind.partition("=")
            box[field] = json.loads(value)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("sample missing", "1 of 10 samples missing"),
        ("sample unknown", "1 samples that the data set has not, such as ffff"),
        ("no meta", "no object `meta`"),
        ("no results", "no object `results`"),
        ("too many", "501 boxes, wanted at most 500"),
        ("not a list", "wanted a list of boxes"),
        ("not a box", "box 1: found int"),
        ("no score", "box 1: found no detection_score"),
        ('detection_score="0.5"', "box 1: detection_score: found '0.5'"),
        ("detection_score=NaN", "box 1: detection_score: found nan"),
        ("detection_score=true", "box 1: detection_score: found True"),
        ("detection_score=-1", "box 1: detection_score: found -1"),
        ("translation=[1, 2]", "box 1: translation"),
        ("translation=[1, 2, Infinity]", "box 1: translation"),
        ("size=[1, 0, 2]", "box 1: size: found .*width, length, height"),
        ("rotation=[0, 0, 0, 0]", "box 1: rotation: .*a quaternion"),
        ("velocity=[1, 2, 3]", "box 1: velocity"),
        ('velocity=["a", 2]', "box 1: velocity"),
        ('detection_name="cyclist"', "box 1: detection_name: found 'cyclist'"),
        ("detection_name=[]", "box 1: detection_name"),
        ('attribute_name="driving"', "box 1: attribute_name: found 'driving'"),
        ('sample_token="another"', "box 1: sample_token: found 'another'"),
    ],
)
def test_damaged_files_name_file_sample_and_field(release: NuscenesTables, results: Path, kind: str, said: str) -> None:
    content = json.loads(results.read_text())
    damage(content, kind)
    results.write_text(json.dumps(content))
    with pytest.raises(InputError, match=said) as error:
        score_results(results, release)
    assert str(results) in str(error.value)


def test_unknown_velocities_are_read(release: NuscenesTables, results: Path) -> None:
    content = json.loads(results.read_text())
    damage(content, "velocity=[NaN, NaN]")
    results.write_text(json.dumps(content))
    assert score_results(results, release).values["NDS"] is not None


def test_a_folder_without_one_result_file_is_refused(release: NuscenesTables, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found 0 files \*\.json, wanted one result file"):
        score_results(tmp_path, release)


@pytest.mark.data
def test_labels_of_the_real_key_frame_score_full_marks(data_root: Path, tmp_path: Path) -> None:
    dataset = NuscenesKeyframes(data_root / "nuscenes", classes="official")
    sample = dataset[0]
    assert sample.boxes is not None
    assert sample.boxes.num_points is not None
    seen = sample.boxes[sample.boxes.num_points > 0]
    scores = np.linspace(0.3, 1.0, len(seen), dtype=np.float32)
    write_results(tmp_path / "out", dataset, [(sample, replace(seen, scores=scores))])
    values = score_results(tmp_path / "out", dataset).values
    assert values["mAP of detected classes"] == pytest.approx(1.0)
    assert values["car/ATE"] == pytest.approx(0.0, abs=1e-6)
    # Its labels tell no attributes, so that error and NDS stay unknown.
    assert values["NDS"] is None
    assert values["mAAE"] is None
    assert values["NDS without AAE"] is not None


def test_flat_boxes_are_refused_by_sample(release: NuscenesTables, tmp_path: Path) -> None:
    sample, boxes = next(iter(noisy(release, 0, 0.1)))
    geometry = boxes.geometry.copy()
    geometry[1, 5] = 0
    with pytest.raises(InputError, match=f"sample {sample.key}: .*sizes_m of row 1"):
        write_results(tmp_path / "out", release, [(sample, replace(boxes, geometry=geometry))])
    assert list(tmp_path.iterdir()) == []
