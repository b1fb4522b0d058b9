"""Segmentation scores: nuscenes-devkit's for lidarseg, the interface's rules written out for SemanticKITTI."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.nuscenes_builder import build_release
from tests.oracles import Oracle
from understudy.boxes import Segments
from understudy.converters.class_maps import NUSCENES_LIDARSEG_NAMES
from understudy.converters.segment_maps import SEMANTICKITTI
from understudy.datasets.nuscenes_tables import LIDAR, NuscenesTables
from understudy.datasets.opening import open_dataset
from understudy.datasets.semantickitti import SemanticKittiDataset
from understudy.errors import InputError
from understudy.metrics.official import BENCHMARKS, score
from understudy.metrics.segmentation import Confusion, lidarseg_values, semantickitti_values
from understudy.submissions.lidarseg import official_segments

NATIVE = np.array(sorted(SEMANTICKITTI.of))
KITTI_LEARNING_MAP = {
    **{0: 0, 1: 0, 10: 1, 11: 2, 13: 5, 15: 3, 16: 5, 18: 4, 20: 5, 30: 6, 31: 7, 32: 8, 40: 9, 44: 10, 48: 11, 49: 12},
    **{50: 13, 51: 14, 52: 0, 60: 9, 70: 15, 71: 16, 72: 17, 80: 18, 81: 19, 99: 0},
    **{252: 1, 253: 7, 254: 6, 255: 8, 256: 5, 257: 5, 258: 4, 259: 5},
}
"""Native numbers to the official training numbers, 0 for what is ignored, as the interface lists them."""


def by_the_interface(truth, predicted):
    """Mean IoU, accuracy and IoUs from native numbers: point by point, then the official sums."""
    counts = [[0] * 20 for _ in range(20)]  # rows predicted, columns true
    for true, said in zip(truth.tolist(), predicted.tolist(), strict=True):
        counts[KITTI_LEARNING_MAP[said]][KITTI_LEARNING_MAP[true]] += 1
    for said in range(20):
        counts[said][0] = 0  # what is ignored is no false alarm
    correct = [counts[number][number] for number in range(20)]
    alarms = [sum(counts[number]) - correct[number] for number in range(20)]
    missed = [sum(counts[said][number] for said in range(20)) - correct[number] for number in range(20)]
    ious = [correct[n] / (correct[n] + alarms[n] + missed[n] + 1e-15) for n in range(20)]
    accuracy = sum(correct) / (sum(correct[1:]) + sum(alarms[1:]) + 1e-15)
    return [sum(ious[1:]) / 19, accuracy, *ious[1:]]


def sweep_of(random):
    """Native numbers of a sweep and of a prediction: few or many classes, all right to all wrong, sizes down to 0."""
    count = int(random.choice([0, 1, 7, 300, 1500]))
    present = random.choice(NATIVE, size=int(random.integers(1, len(NATIVE) + 1)), replace=False)
    truth = random.choice(present, count)
    wrong = random.random(count) < random.choice([0.0, 0.2, 1.0])
    return truth, np.where(wrong, random.choice(NATIVE, count), truth)


def test_semantickitti_equals_the_interface():
    random = np.random.default_rng(0)
    for case in range(400):
        truth, predicted = sweep_of(random)
        confusion = Confusion(SEMANTICKITTI.class_names)
        for half in (slice(None, len(truth) // 2), slice(len(truth) // 2, None)):
            segments = [SEMANTICKITTI.segments(numbers[half], "case") for numbers in (truth, predicted)]
            confusion.add(*segments, "case")
        ours = list(semantickitti_values(confusion).values())
        np.testing.assert_allclose(ours, by_the_interface(truth, predicted), atol=1e-6, err_msg=f"case {case}")


def test_the_table_is_the_official_one():
    labels = SEMANTICKITTI.labels(NATIVE, "table")
    assert dict(zip(NATIVE.tolist(), (labels + 1).tolist(), strict=True)) == KITTI_LEARNING_MAP
    written = SEMANTICKITTI.numbers(np.arange(-1, 19))
    assert written.tolist() == [0, 10, 11, 15, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 70, 71, 72, 80, 81]
    with pytest.raises(InputError, match="some file: found class number 12"):
        SEMANTICKITTI.labels(np.array([10, 12]), "some file")
    with pytest.raises(InputError, match="some file: found class number 65535"):
        SEMANTICKITTI.labels(np.array([65535]), "some file")


def lidarseg_cases(random, count):
    """Challenge numbers: truths 0 to 16, predictions 1 to 16; some classes absent, or only predicted."""
    truths, predictions = [], []
    for _ in range(count):
        size = int(random.choice([1, 9, 400]))
        present = random.choice(17, size=int(random.integers(1, 18)), replace=False)
        truth = random.choice(present, size)
        said = random.integers(1, 17, size)
        right = (random.random(size) < random.choice([0.0, 0.7, 1.0])) & (truth > 0)
        truths.append(truth)
        predictions.append(np.where(right, truth, said))
    return truths, predictions


def test_lidarseg_equals_the_devkit(oracle: Oracle):
    truths, predictions = lidarseg_cases(np.random.default_rng(1), 2000)
    ends = np.cumsum([len(truth) for truth in truths])
    arrays = {"truth": np.concatenate(truths), "predicted": np.concatenate(predictions), "ends": ends}
    rows = oracle.ask("lidarseg", {name: values.astype(np.int64) for name, values in arrays.items()})["rows"]
    for case, (truth, predicted) in enumerate(zip(truths, predictions, strict=True)):
        confusion = Confusion(NUSCENES_LIDARSEG_NAMES)
        confusion.add_labels((truth - 1).astype(np.int16), (predicted - 1).astype(np.int16))
        ours = [np.nan if value is None else value for value in lidarseg_values(confusion).values()]
        np.testing.assert_allclose(ours, rows[case], atol=1e-6, err_msg=f"case {case}")


def test_a_class_that_is_absent_counts_as_the_official_rules_have_it():
    names = ("here", "absent")
    confusion = Confusion(names)
    confusion.add(Segments(np.int16([0, 0]), names), Segments(np.int16([0, 0]), names), "case")
    assert semantickitti_values(confusion) == {"mIoU": 0.5, "accuracy": 1.0, "here/IoU": 1.0, "absent/IoU": 0.0}
    assert lidarseg_values(confusion) == {"mIoU": 1.0, "fwIoU": 1.0, "here/IoU": 1.0, "absent/IoU": None}


def test_nothing_counted_gives_no_number_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lidarseg_values(Confusion(("a",))) == {"mIoU": None, "fwIoU": None, "a/IoU": None}
        assert semantickitti_values(Confusion(("a",))) == {"mIoU": 0.0, "accuracy": 0.0, "a/IoU": 0.0}


def test_counts_add_up_and_none_is_a_column_of_its_own():
    names = ("a", "b")
    confusion = Confusion(names)
    confusion.add(Segments(np.int16([0, 0, 1, -1, 1]), names), Segments(np.int16([0, 1, -1, 0, 1]), names), "case")
    assert confusion.counts.tolist() == [[1, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (Segments(np.int16([0, 0]), ("a", "b")), "case: found 2 points, wanted 1"),
        (Segments(np.int16([0]), ("a", "c")), "case: classes: found a, c, wanted a, b"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(predicted, message):
    with pytest.raises(InputError, match=message):
        Confusion(("a", "b")).add(Segments(np.int16([0]), ("a", "b")), predicted, "case")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = build_release(tmp_path_factory.mktemp("nuscenes"))
    (root / "v1.0-mini" / "splits.json").write_text(json.dumps({"trial": ["scene-0061", "scene-0103"]}))
    return root


def guesses(dataset, random, right=0.7):
    """A prediction for every sample: the truth, and elsewhere any class."""
    for index in range(len(dataset)):
        sample = dataset[index]
        truth = official_segments(sample.segments[LIDAR]).labels
        guess = random.integers(0, 16, len(truth)).astype(np.int16)
        keep = (random.random(len(truth)) < right) & (truth >= 0)
        yield sample, Segments(np.where(keep, truth, guess), NUSCENES_LIDARSEG_NAMES)


def test_lidarseg_result_files_score_as_the_devkit_scores_them(oracle: Oracle, release: Path, tmp_path: Path):
    dataset = NuscenesTables(release, "trial")
    out = tmp_path / "results"
    BENCHMARKS["nuscenes-lidarseg"].write_results(out, dataset, guesses(dataset, np.random.default_rng(0)))
    oracle.run("lidarseg", release, out, "trial", tmp_path / "answer.npz")
    with np.load(tmp_path / "answer.npz") as content:
        expected = content["rows"][0]
    result = score(out, dataset, "nuscenes-lidarseg")
    assert result.num_frames == 10
    np.testing.assert_allclose(list(result.values.values()), expected, atol=1e-6)
    assert 0.4 < result.values["mIoU"] < 0.8


@pytest.fixture
def written(release: Path, tmp_path: Path) -> tuple[NuscenesTables, Path]:
    dataset = NuscenesTables(release, "trial")
    out = tmp_path / "results"
    BENCHMARKS["nuscenes-lidarseg"].write_results(out, dataset, guesses(dataset, np.random.default_rng(0), 1.0))
    return dataset, out


def test_lidarseg_files_are_laid_out_as_the_task_wants_them(written):
    dataset, out = written
    files = sorted((out / "lidarseg" / "trial").iterdir())
    assert [path.name for path in files] == sorted(f"{t}_lidarseg.bin" for t in dataset.lidar_tokens().values())
    assert all(path.stat().st_size == 200 for path in files)
    assert json.loads((out / "trial" / "submission.json").read_text())["meta"]["use_lidar"] is True
    with pytest.raises(InputError, match="something there already"):
        BENCHMARKS["nuscenes-lidarseg"].write_results(out, dataset, [])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "_lidarseg.bin: found no such file"),
        (lambda path: path.write_bytes(b"\x01" * 199), "_lidarseg.bin: found 199 points, wanted 200"),
        (lambda path: path.write_bytes(b"\x00" * 200), "_lidarseg.bin: found class 0, wanted 1 to 16"),
        (lambda path: path.write_bytes(b"\x11" * 200), "_lidarseg.bin: found class 17, wanted 1 to 16"),
        (lambda path: (path.parent / "x_lidarseg.bin").touch(), "x_lidarseg.bin: found no such key frame"),
        (lambda path: path.parent.rename(path.parent.with_name("val")), "lidarseg/trial: found no such folder"),
    ],
)
def test_damaged_lidarseg_files_are_refused_by_name(written, damage, message):
    dataset, out = written
    damage(sorted((out / "lidarseg" / "trial").iterdir())[3])
    with pytest.raises(InputError, match=message):
        score(out, dataset, "nuscenes-lidarseg")


def test_an_open_point_is_refused_before_anything_is_written(release: Path, tmp_path: Path):
    dataset = NuscenesTables(release, "trial")
    sample = dataset[0]
    open_points = Segments(np.full(200, -1, np.int16), NUSCENES_LIDARSEG_NAMES)
    with pytest.raises(InputError, match="points without a class"):
        BENCHMARKS["nuscenes-lidarseg"].write_results(tmp_path / "out", dataset, [(sample, open_points)])
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.data
def test_real_labels_as_predictions_score_1_where_a_class_is(data_root: Path, tmp_path: Path):
    dataset = SemanticKittiDataset(data_root / "semantickitti")
    sample = dataset[0]
    out = tmp_path / "results"
    BENCHMARKS["semantickitti"].write_results(out, dataset, [(sample, sample.segments["velodyne"])])
    assert (out / "sequences/00/predictions/000000.label").stat().st_size == 4 * 124_668
    result = score(out, dataset, "semantickitti")
    assert result.num_frames == 1
    present = {name for name in SEMANTICKITTI.class_names if result.values[f"{name}/IoU"] == 1.0}
    assert {"road", "building", "vegetation", "car"} <= present
    assert all(result.values[f"{name}/IoU"] == 0.0 for name in set(SEMANTICKITTI.class_names) - present)
    assert result.values["mIoU"] == pytest.approx(len(present) / 19)
    assert result.values["accuracy"] == 1.0


@pytest.mark.data
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "000000.label: found no such file"),
        (lambda path: path.write_bytes(bytes(401)), "000000.label: found 401 bytes, wanted a multiple of 4"),
        (lambda path: path.write_bytes(bytes(400)), "000000.label: found 100 points, wanted 124668"),
        (lambda path: path.write_bytes(b"\x0c\0\0\0" * 124_668), "000000.label: found class number 12"),
        (lambda path: path.with_name("000007.label").touch(), "000007.label: found no such sweep"),
    ],
)
def test_damaged_semantickitti_files_are_refused_by_name(data_root: Path, tmp_path: Path, damage, message):
    dataset = SemanticKittiDataset(data_root / "semantickitti")
    sample = dataset[0]
    out = tmp_path / "results"
    BENCHMARKS["semantickitti"].write_results(out, dataset, [(sample, sample.segments["velodyne"])])
    damage(out / "sequences/00/predictions/000000.label")
    with pytest.raises(InputError, match=message):
        score(out, dataset, "semantickitti")


@pytest.mark.data
def test_another_kind_of_data_set_is_refused(data_root: Path, tmp_path: Path):
    kitti = open_dataset(data_root / "kitti" / "object", None)
    for name in ("semantickitti", "nuscenes-lidarseg"):
        with pytest.raises(InputError, match=f"metric {name}: found a data set of kind KittiDataset"):
            score(tmp_path, kitti, name)
