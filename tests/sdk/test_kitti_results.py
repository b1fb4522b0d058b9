"""KITTI result files: written from boxes, read back, scored by the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.sdk.kitti_by_the_book import image_overlap
from tests.sdk.kitti_cases import Line, objects_of, random_truth
from understudy.boxes import Boxes
from understudy.cli import build_app
from understudy.converters.kitti import boxes_from_objects, parse_calibration
from understudy.datasets.kitti import EGO_FROM_LIDAR, KittiDataset
from understudy.datasets.pandaset import PandasetSequence
from understudy.errors import InputError
from understudy.metrics.official import BENCHMARKS, OfficialResult, benchmark_named, describe, score
from understudy.submissions.kitti import (
    format_results,
    parse_results,
    project_boxes,
    read_results,
    results_from_boxes,
)
from understudy.testing import tiny_bundle

IMAGE_PX = (1242, 375)
CALIBRATION = parse_calibration(
    "P2: 721.5 0 609.6 44.86 0 721.5 172.9 0.2164 0 0 1 0.002746\n"
    "R0_rect: 1 0 0 0 1 0 0 0 1\n"
    "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27\n",
    "calibration",
)
LINE = "Car -1 -1 -1.5 300 150 400 230 1.5 1.8 4.0 2 1.5 15 -1.5 0.9"


def boxes_of(rows, scores=None):
    geometry = np.array(rows, np.float32).reshape(-1, 7)
    scores = np.linspace(1, 0.5, len(geometry), dtype=np.float32) if scores is None else np.float32(scores)
    return Boxes(geometry, np.zeros(len(geometry), np.int32), ("car", "pedestrian"), scores=scores)


def changed(column, value):
    fields = LINE.split()
    fields[column] = value
    return " ".join(fields)


def test_boxes_survive_the_files():
    random = np.random.default_rng(0)
    rows = np.column_stack([random.uniform(6, 40, 50), random.uniform(-3, 3, 50), random.uniform(0.5, 1, 50)])
    sizes = random.uniform([3, 1.5, 1.4], [5, 2, 2], (50, 3))
    boxes = boxes_of(np.column_stack([rows, sizes, random.uniform(-3.1, 3.1, 50)]))
    written = format_results(results_from_boxes(boxes, CALIBRATION, IMAGE_PX))
    read = parse_results(written, "file")
    assert set(read.types) == {"Car"}
    back = boxes_from_objects(read, EGO_FROM_LIDAR @ CALIBRATION.rect_from_lidar.inverse())
    np.testing.assert_allclose(back.geometry, boxes.geometry, atol=2e-4)
    np.testing.assert_array_equal(back.scores, boxes.scores)


def test_what_the_image_does_not_show_is_dropped():
    ahead, behind, beside = (15, 0, 0.8, 4, 1.8, 1.5, 0), (-15, 0, 0.8, 4, 1.8, 1.5, 0), (5, 30, 0.8, 4, 1.8, 1.5, 0)
    kept = results_from_boxes(boxes_of([ahead, behind, beside]), CALIBRATION, IMAGE_PX)
    assert kept.scores.tolist() == [1.0]
    left, top, right, bottom = kept.boxes_px[0]
    assert 0 < left < 609 < right < 1241
    assert 0 < top < bottom < 374


def test_a_box_that_reaches_behind_the_camera_is_cut_and_fills_the_image():
    around = results_from_boxes(boxes_of([(0.5, 0, 0.5, 6, 3, 4, 0.3)]), CALIBRATION, IMAGE_PX)
    np.testing.assert_array_equal(around.boxes_px, [[0, 0, 1241, 374]])


def test_image_boxes_are_the_tightest_around_points_of_the_box():
    """Points drawn from the surface and projected one by one: none outside, and the extremes nearly reached."""
    random = np.random.default_rng(1)
    lines = [random_truth(random)._replace(type="Car", h=1.5, w=1.7, l=4.0, z=float(z)) for z in (1.0, 6.0, 12.0, 30.0)]
    objects = objects_of(lines, scored=False)
    for row, (line, box) in enumerate(zip(lines, project_boxes(objects, CALIBRATION), strict=True)):
        local = random.uniform(-0.5, 0.5, (40_000, 3))
        face = random.integers(0, 3, len(local))
        local[np.arange(len(local)), face] = random.choice([-0.5, 0.5], len(local))
        corner = random.random(len(local)) < 0.3
        local[corner] = np.sign(local[corner]) / 2
        x, y, z = local[:, 0] * line.l, (local[:, 1] - 0.5) * line.h, local[:, 2] * line.w
        cos, sin = np.cos(line.ry), np.sin(line.ry)
        points = np.column_stack([cos * x + sin * z + line.x, y + line.y, -sin * x + cos * z + line.z])
        in_camera = points + CALIBRATION.camera2_from_rect.translation_m
        in_front = in_camera[in_camera[:, 2] > 0.1] @ CALIBRATION.camera_matrix.T
        pixels = in_front[:, :2] / in_front[:, 2:]
        assert (pixels.min(axis=0) >= box[:2] - 1e-6).all(), row
        assert (pixels.max(axis=0) <= box[2:] + 1e-6).all(), row
        if line.z > 5:
            np.testing.assert_allclose([*pixels.min(axis=0), *pixels.max(axis=0)], box, atol=1e-6)


def test_scores_that_differ_stay_different():
    scores = np.nextafter(np.float32(0.5), np.float32([0, 1]))
    boxes = boxes_of([(15, 0, 0.8, 4, 1.8, 1.5, 0)] * 2, scores)
    read = parse_results(format_results(results_from_boxes(boxes, CALIBRATION, IMAGE_PX)), "file")
    assert read.scores[0] < read.scores[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.rsplit(" ", 1)[0], "15 fields, wanted 16: a label line and a score"),
        (LINE + " 1", "17 fields"),
        (changed(15, "high"), "could not convert string to float: 'high', wanted a class name and 15 numbers"),
        (changed(15, "nan"), "a value that is not finite"),
        (changed(11, "inf"), "a value that is not finite"),
        (changed(8, "-0.5"), "sizes .*wanted sizes >= 0, or three times -1"),
        (changed(4, "500"), "image box .*wanted left <= right and top <= bottom"),
        (changed(7, "100"), "image box"),
    ],
)
def test_malformed_lines_are_named(line, message):
    with pytest.raises(InputError, match=f"000003.txt line 3: found .*{message}"):
        parse_results(f"{LINE}\n\n{line}\n", "results/000003.txt")


def test_lines_that_say_less_are_read():
    only_2d = "Car -1 -1 -10 300 150 400 230 -1 -1 -1 -1000 -1000 -1000 -10 0.5"
    objects = parse_results(f"{only_2d}\r\n{LINE}", "file")
    assert objects.types == ("Car", "Car")
    assert len(parse_results("\n", "file")) == 0


@pytest.fixture
def folder(tmp_path):
    for key in ("000000", "000002"):
        (tmp_path / f"{key}.txt").write_text(LINE)
    return tmp_path


def test_a_frame_without_a_file_has_no_detections_and_that_is_said(folder, caplog):
    found = read_results(folder, ["000000", "000001", "000002"])
    assert [len(objects) for objects in found] == [1, 0, 1]
    assert "no file for 1 of 3 frames" in caplog.text


def test_the_kits_own_folder_is_found(folder):
    (folder / "data").mkdir()
    for path in folder.glob("*.txt"):
        path.rename(folder / "data" / path.name)
    assert [len(objects) for objects in read_results(folder, ["000000", "000002"])] == [1, 1]


def test_files_of_other_frames_are_refused(folder):
    with pytest.raises(InputError, match=r"000002\.txt: found no such frame in the data set; score with the split"):
        read_results(folder, ["000000", "000001"])
    with pytest.raises(InputError, match=r"found no result file of these frames, wanted files such as 000007\.txt"):
        read_results(folder, ["000007"])


def as_results(objects):
    """A label's own lines as results, DontCare left out, scores falling."""
    lines = [line for line in lines_of(objects) if line.type != "DontCare"]
    scores = np.linspace(1, 0.5, len(lines))
    return objects_of(
        [line._replace(score=float(score)) for line, score in zip(lines, scores, strict=True)], scored=True
    )


def lines_of(objects):
    columns = (objects.truncated, objects.occluded, objects.alpha_rad, *objects.boxes_px.T, *objects.sizes_m.T)
    rows = zip(objects.types, *columns, *objects.locations_m.T, objects.rotations_y_rad, strict=True)
    return [Line(*row) for row in rows]


def many_times(source: Path, target: Path, times: int) -> KittiDataset:
    """The excerpt repeated under other numbers, by links: enough labels for all 41 recalls."""
    for number in range(times):
        for folder, suffix in (("calib", "txt"), ("label_2", "txt"), ("image_2", "png")):
            for path in (source / folder).iterdir():
                link = target / "training" / folder / f"{int(path.stem) + 1000 * number:06d}.{suffix}"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
        for path in [*source.glob("velodyne/*.bin"), *source.glob("velodyne_reduced/*.bin")]:
            link = target / "training" / "velodyne" / f"{int(path.stem) + 1000 * number:06d}.bin"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return KittiDataset(target)


def write_labels(dataset: KittiDataset, out: Path) -> Path:
    out.mkdir()
    for index in range(len(dataset)):
        key = dataset.place(index).drive
        (out / f"{key}.txt").write_text(format_results(as_results(dataset.objects(key))))
    return out


@pytest.mark.data
def test_real_labels_against_themselves_reach_100_where_there_are_enough(data_root, tmp_path):
    dataset = many_times(data_root / "kitti/object/training", tmp_path / "kitti", 41)
    result = score(write_labels(dataset, tmp_path / "out"), dataset, "kitti")
    assert result.num_frames == 7 * 41
    assert list(result.values.values()) == pytest.approx([100.0] * len(result.values))


@pytest.mark.data
def test_real_labels_against_themselves_are_held_down_by_their_number(data_root, tmp_path, caplog):
    """N labels give N thresholds, so only the first N of 41 recalls hold a 1."""
    dataset = KittiDataset(data_root / "kitti/object")
    values = score(write_labels(dataset, tmp_path / "out"), dataset, "kitti").values
    for level, count in (("easy", 3), ("moderate", 8), ("hard", 9)):
        assert values[f"Car/3d/R40/{level}"] == pytest.approx((count - 1) / 40 * 100)
        assert values[f"Car/3d/R11/{level}"] == pytest.approx(-(-count // 4) / 11 * 100)
    assert "below 41 the official rules stay under 100 %" in caplog.text


@pytest.mark.data
def test_real_boxes_through_ego_and_back_are_found_in_3d(data_root, tmp_path):
    dataset = many_times(data_root / "kitti/object/training", tmp_path / "kitti", 41)
    excerpt = KittiDataset(data_root / "kitti/object", classes="official")
    out = tmp_path / "out"
    samples = [excerpt[index] for index in range(len(excerpt))]
    truths = {sample.key: replace(sample.boxes, scores=np.ones(len(sample.boxes), np.float32)) for sample in samples}
    BENCHMARKS["kitti"].write_results(tmp_path / "once", excerpt, [(sample, truths[sample.key]) for sample in samples])
    out.mkdir()
    for path in (tmp_path / "once").iterdir():
        for number in range(41):
            (out / f"{int(path.stem) + 1000 * number:06d}.txt").write_text(path.read_text())
    values = score(out, dataset, "kitti").values
    for name in ("Car", "Pedestrian", "Cyclist"):
        for kind in ("bev", "3d"):
            assert values[f"{name}/{kind}/R40/moderate"] == pytest.approx(100.0)


@pytest.mark.data
def test_projected_real_boxes_fit_the_labeled_image_boxes(data_root):
    """Mean overlap of projected and labeled image boxes per frame, as the data's own description has it."""
    dataset = KittiDataset(data_root / "kitti/object")
    wanted = {
        "000000": 0.89,
        "000001": 0.96,
        "000002": 0.97,
        "000005": 0.81,
        "000007": 0.97,
        "000008": 0.98,
        "000134": 0.84,
    }
    for index in range(len(dataset)):
        sample = dataset[index]
        camera = sample.rig.cameras["camera_2"]
        objects = dataset.objects(sample.key)
        boxes = np.clip(
            project_boxes(objects, dataset.calibration(sample.key)), 0, [camera.width_px - 1, camera.height_px - 1] * 2
        )
        lines = lines_of(objects)
        overlaps = [
            image_overlap(line, line._replace(x1=box[0], y1=box[1], x2=box[2], y2=box[3]), -1)
            for line, box in zip(lines, boxes, strict=True)
            if line.type != "DontCare"
        ]
        assert np.mean(overlaps) == pytest.approx(wanted[sample.key], abs=0.01), sample.key


@pytest.mark.data
def test_perturbed_labels_score_between_nothing_and_all(data_root, tmp_path):
    dataset = many_times(data_root / "kitti/object/training", tmp_path / "kitti", 12)
    random, means = np.random.default_rng(0), []
    for number, spread_m in enumerate((0.0, 0.1, 0.3, 1.0)):
        out = tmp_path / f"out{number}"
        out.mkdir()
        for index in range(len(dataset)):
            key = dataset.place(index).drive
            objects = as_results(dataset.objects(key))
            moved = objects.locations_m + random.normal(0, spread_m, objects.locations_m.shape)
            scores = np.clip(0.5 + random.normal(0, 0.2, len(objects)), 0, 1)
            (out / f"{key}.txt").write_text(format_results(replace(objects, locations_m=moved, scores=scores)))
        means.append(score(out, dataset, "kitti").values["Car/3d/R40/moderate"])
    assert means[0] == pytest.approx(100.0)
    assert means[0] > means[1] > means[2] > means[3]
    assert means[3] < 10


@pytest.mark.data
def test_the_command_scores_and_writes_the_record(data_root, tmp_path):
    dataset = KittiDataset(data_root / "kitti/object")
    out = write_labels(dataset, tmp_path / "results")
    arguments = ["score", str(out), "--data", str(data_root / "kitti/object"), "--metric", "kitti", "--split", "all"]
    done = CliRunner().invoke(build_app(), [*arguments, "--out", str(tmp_path / "record.json")])
    assert done.exit_code == 0, done.output
    assert "Car/3d/R40" in done.output
    assert max(map(len, done.output.splitlines())) <= 100
    record = OfficialResult.model_validate(json.loads((tmp_path / "record.json").read_text()))
    assert record == score(out, dataset, "kitti")
    assert (record.metric, record.num_frames, record.data) == ("kitti", 7, dataset.fingerprint)
    for wrong, message in (
        (["--metric", "kiti"], "metric kiti: found no such official metric, wanted kitti or "),
        (["--split", "train"], "000134.txt: found no such frame"),
        (["--metric", "semantickitti"], "metric semantickitti: found a data set of kind KittiDataset"),
    ):
        refused = CliRunner().invoke(build_app(), [*arguments, *wrong])
        assert isinstance(refused.exception, InputError)
        assert message in str(refused.exception)


@pytest.mark.data
def test_a_model_is_scored_through_its_files(data_root, tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle")
    data, results = data_root / "kitti/object", tmp_path / "results"
    arguments = ["evaluate", str(bundle.folder), "--data", str(data), "--split", "all", "--official", "kitti"]
    done = CliRunner().invoke(build_app(), [*arguments, "--results", str(results)])
    assert done.exit_code == 0, done.output
    assert len(list(results.glob("*.txt"))) == 7
    dataset = KittiDataset(data)
    assert "\n".join(describe(score(results, dataset, "kitti"))) in done.output
    for more, message in (
        (["--results", str(results)], "results: found something there already, wanted a new or empty folder"),
        ([], "evaluate: found one of --official and --results, wanted both"),
        (["--results", str(tmp_path / "new"), "--frames", "2"], "--frames: found given with --official"),
        (["--results", str(tmp_path / "new"), "--official", "semantickitti"], "found a detector's boxes"),
    ):
        refused = CliRunner().invoke(build_app(), [*arguments, *more])
        assert isinstance(refused.exception, InputError), refused.output
        assert message in str(refused.exception)
    assert not (tmp_path / "new").exists()


@pytest.mark.data
def test_another_kind_of_data_set_or_labels_that_lack_are_refused(data_root, tmp_path):
    with pytest.raises(InputError, match="found a data set of kind PandasetSequence, wanted KITTI object"):
        score(tmp_path, PandasetSequence(data_root / "pandaset/002"), "kitti")
    dataset = many_times(data_root / "kitti/object/training", tmp_path / "kitti", 1)
    out = write_labels(dataset, tmp_path / "out")
    (tmp_path / "kitti/training/label_2/000007.txt").unlink()
    with pytest.raises(InputError, match=r"label_2/000007\.txt: found no such file"):
        score(out, dataset, "kitti")
    with pytest.raises(InputError, match="gone: found no such folder"):
        score(tmp_path / "gone", dataset, "kitti")


def test_boxes_without_scores_are_refused():
    boxes = Boxes(np.zeros((0, 7), np.float32), np.zeros(0, np.int32), ("car",))
    with pytest.raises(InputError, match="boxes without scores"):
        format_results(results_from_boxes(boxes, CALIBRATION, IMAGE_PX))


def test_tables_fit_100_columns_and_show_what_is_not_known():
    values = {"a" * 120 + "/" + "b" * 40: 0.5, "NDS": 1.0, **{f"car/AP/{number}": None for number in range(7)}}
    lines = describe(OfficialResult(metric="m", data="f" * 64, num_frames=3, values=values))
    assert max(map(len, lines)) <= 100
    assert any(line.split() == ["NDS", "1.0000"] for line in lines)
    assert sum(line.count(" -") for line in lines) == 7


def test_unknown_metrics_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="metric coco: found no such official metric, wanted kitti or kitti-loose or"):
        benchmark_named("coco")
