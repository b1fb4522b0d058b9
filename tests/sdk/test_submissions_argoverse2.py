from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import Oracle
from understudy.boxes import Boxes
from understudy.converters.class_maps import ARGOVERSE2_CATEGORIES
from understudy.datasets.argoverse2 import Argoverse2Dataset
from understudy.datasets.dataset import Sample
from understudy.datasets.feather import read_feather, write_feather
from understudy.errors import InputError
from understudy.metrics.official import BENCHMARKS, describe
from understudy.submissions.argoverse2 import _KINDS, FILE, score_results, write_results

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def dataset(data_root: Path) -> Argoverse2Dataset:
    return Argoverse2Dataset(data_root / "argoverse2", "val", classes="official")


def perfect(dataset: Argoverse2Dataset) -> Iterator[tuple[Sample, Boxes]]:
    """The labels that count, as detections."""
    for index in range(len(dataset)):
        sample = dataset[index]
        assert sample.boxes is not None
        assert sample.boxes.num_points is not None
        boxes = sample.boxes[sample.boxes.num_points > 0]
        yield sample, replace(boxes, scores=np.linspace(0.2, 1, len(boxes), dtype=np.float32))


def perturbed(dataset: Argoverse2Dataset) -> Iterator[tuple[Sample, Boxes]]:
    rng = np.random.default_rng(0)
    for sample, boxes in perfect(dataset):
        chosen = boxes[rng.integers(0, len(boxes), 2 * len(boxes))]
        geometry = chosen.geometry + rng.normal(0, 0.4, chosen.geometry.shape).astype(np.float32)
        geometry[:, 3:6] = chosen.geometry[:, 3:6] * rng.uniform(0.7, 1.3, (len(chosen), 3))
        scores = rng.random(len(chosen)).round(1).astype(np.float32)
        yield sample, replace(chosen, geometry=geometry, scores=scores)


@pytest.fixture
def results(dataset: Argoverse2Dataset, tmp_path: Path) -> Path:
    write_results(tmp_path / "out", dataset, perturbed(dataset))
    return tmp_path / "out" / FILE


def test_perfect_detections_of_real_labels_score_one(dataset: Argoverse2Dataset, tmp_path: Path) -> None:
    write_results(tmp_path / "out", dataset, perfect(dataset))
    result = score_results(tmp_path / "out", dataset)
    assert result.num_frames == 2
    assert result.values["mAP of labeled categories"] == pytest.approx(1.0)
    assert result.values["CDS of labeled categories"] == pytest.approx(1.0, abs=1e-6)
    assert result.values["REGULAR_VEHICLE/AP"] == pytest.approx(1.0)
    assert result.values["REGULAR_VEHICLE/AOE"] == pytest.approx(0.0, abs=1e-6)
    labeled = result.values["labeled categories"]
    assert labeled is not None
    assert result.values["mAP"] == pytest.approx(labeled / len(ARGOVERSE2_CATEGORIES))
    assert max(map(len, describe(result))) <= 100


def test_perturbed_detections_of_real_labels_score_as_the_devkit_says(
    dataset: Argoverse2Dataset, results: Path, oracle: Oracle, data_root: Path, tmp_path: Path
) -> None:
    places = [dataset.place(index) for index in range(len(dataset))]
    log, out = places[0].drive, tmp_path / "said.npz"
    annotations = data_root / "argoverse2" / "sensor" / "val" / log / "annotations.feather"
    oracle.run("argoverse2_feather", annotations, results, log, out, *(str(place.stamp_ns) for place in places))
    with np.load(out, allow_pickle=False) as content:
        said = content["table"]
    values = score_results(results, dataset).values
    for column, name in enumerate(("AP", "ATE", "ASE", "AOE", "CDS")):
        ours = [values[f"{category}/{name}"] for category in ARGOVERSE2_CATEGORIES]
        np.testing.assert_allclose(ours, said[:-1, column], rtol=0, atol=1e-6)
    means = [values[name] for name in ("mAP", "mATE", "mASE", "mAOE", "CDS")]
    np.testing.assert_allclose(means, said[-1], rtol=0, atol=1e-6)
    assert 0.05 < said[-1, 0] < 1


def test_the_benchmark_stands_in_the_table() -> None:
    assert BENCHMARKS["argoverse2"].score_results is score_results


def test_no_detections_at_all_score_nothing(dataset: Argoverse2Dataset, tmp_path: Path) -> None:
    write_results(tmp_path / "out", dataset, [])
    assert score_results(tmp_path / "out", dataset).values["CDS"] == 0


def test_detections_of_categories_that_are_not_scored_are_passed_over(
    dataset: Argoverse2Dataset, results: Path
) -> None:
    expected = score_results(results, dataset).values
    columns = read_feather(results, _KINDS)
    extra = {name: values[:1] for name, values in columns.items()} | {"category": np.array(["ANIMAL"], object)}
    write_feather(results, {name: np.concatenate([columns[name], extra[name]]) for name in _KINDS})
    assert score_results(results, dataset).values == expected


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("category", "cyclist", "row 3: category: found cyclist, wanted one of ARTICULATED_BUS"),
        ("log_id", "another", "row 3: found log another"),
        ("timestamp_ns", 5, "row 3: found log .* at 5, no sweep"),
        ("score", np.nan, "scores of row 3"),
        ("length_m", 0.0, "sizes_m of row 3"),
        ("qw", np.inf, "rotations_wxyz of row 3"),
        ("tx_m", np.nan, "centers_m of row 3"),
    ],
)
def test_damaged_rows_are_named(
    dataset: Argoverse2Dataset, results: Path, column: str, value: object, said: str
) -> None:
    columns = read_feather(results, _KINDS)
    columns[column] = columns[column].copy()
    columns[column][3] = value
    write_feather(results, columns)
    with pytest.raises(InputError, match=said) as error:
        score_results(results, dataset)
    assert str(results) in str(error.value)


def test_a_missing_column_is_named(dataset: Argoverse2Dataset, results: Path) -> None:
    columns = read_feather(results, _KINDS)
    del columns["qx"]
    write_feather(results, columns)
    with pytest.raises(InputError, match="wanted qx"):
        score_results(results, dataset)


def test_classes_of_our_own_are_refused(dataset: Argoverse2Dataset, tmp_path: Path) -> None:
    boxes = Boxes.empty(("car", "truck", "pedestrian", "cyclist"), scored=True)
    with pytest.raises(InputError, match=r"class car, cyclist.*classes: official"):
        write_results(tmp_path / "out", dataset, [(dataset[0], boxes)])
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_table_is_refused(dataset: Argoverse2Dataset, results: Path) -> None:
    results.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="wanted a Feather table"):
        score_results(results, dataset)


def test_flat_boxes_are_refused_by_sample(dataset: Argoverse2Dataset, tmp_path: Path) -> None:
    sample, boxes = next(iter(perfect(dataset)))
    geometry = boxes.geometry.copy()
    geometry[1, 5] = 0
    with pytest.raises(InputError, match=f"sample {sample.key}: .*sizes_m of row 1"):
        write_results(tmp_path / "out", dataset, [(sample, replace(boxes, geometry=geometry))])
    assert list(tmp_path.iterdir()) == []
