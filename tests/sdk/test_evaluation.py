from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from understudy.boxes import Boxes
from understudy.bundle.manifest import Grid
from understudy.cli import build_app
from understudy.datasets.dataset import Sample
from understudy.datasets.kitti import KittiDataset
from understudy.datasets.opening import open_dataset
from understudy.datasets.shard_writer import write_shards
from understudy.engines.model import open_model
from understudy.engines.opening import OpenedModel
from understudy.errors import InputError
from understudy.evaluation import (
    EvaluationSettings,
    at_score_threshold,
    evaluate,
    evaluate_model,
    read_evaluation,
    renamed,
)
from understudy.evaluation_table import describe
from understudy.testing import FakeEngine, frame_of, road_cloud, simple_rig, tiny_bundle, tiny_contract

NAMES = ("car", "truck", "pedestrian", "cyclist")
CAR = (8.0, 2.0, 0.8, 4.2, 1.8, 1.6, 0.3)
FAR_CAR = (18.0, 2.0, 0.8, 4.2, 1.8, 1.6, 0.3)


def labels_of(rows, names=NAMES):
    return Boxes(np.array(rows, np.float32).reshape(-1, 7), np.zeros(len(rows), np.int32), names)


class Recorded:
    """A data set in memory."""

    def __init__(self, boxes, class_names=NAMES):
        generator = np.random.default_rng(0)
        rig = simple_rig()
        self._samples = [
            Sample(f"{index}", frame_of(road_cloud(generator, 500)), rig, labels, {})
            for index, labels in enumerate(boxes)
        ]
        self.class_names = class_names
        self.fingerprint = "f" * 64

    def __len__(self):
        return len(self._samples)

    def __getitem__(self, index):
        return self._samples[index]


def detecting(boxes, scores=(0.9,)):
    """A pipeline maker whose detector always says the same."""
    found = replace(boxes, scores=np.float32(scores))
    return lambda rig: lambda frame: found


def test_a_perfect_detector_scores_a_hundred_and_nothing_scores_nothing():
    truth = labels_of([CAR])
    record = evaluate(detecting(truth), Recorded([truth, truth]), subject="oracle")
    assert record.mean_ap_percent() == record.mean_ap_percent("bev") == 100.0
    assert record.entry("car").num_truths == 2
    assert record.entry("truck").ap_percent is None
    assert record.mean_ap_percent("3d", (30.0, 50.0)) is None
    nothing = Boxes.empty(NAMES, scored=True)
    assert evaluate(lambda rig: lambda frame: nothing, Recorded([truth])).mean_ap_percent() == 0.0


def test_classes_are_matched_by_name_not_by_number():
    names = ("bus", "pedestrian", "car")
    boxes = Boxes(np.float32([CAR, FAR_CAR]), np.int32([2, 0]), names)
    record = evaluate(detecting(boxes, (0.9, 0.8)), Recorded([labels_of([CAR])]))
    assert record.class_names == ("car", "pedestrian")
    assert record.entry("car").ap_percent == 100.0
    assert record.entry("car").num_detections == 1, "the bus is nobody's false alarm"
    with pytest.raises(InputError, match="classes of the detector: found bus"):
        evaluate(detecting(labels_of([CAR], ("bus",))), Recorded([labels_of([CAR])]))


def test_renaming_keeps_columns_together():
    boxes = Boxes(
        np.float32([CAR, FAR_CAR]),
        np.int32([1, 0]),
        ("a", "b"),
        scores=np.float32([0.1, 0.2]),
        num_points=np.int32([3, 4]),
    )
    chosen = renamed(boxes, ("c", "a"))
    assert chosen.labels.tolist() == [1]
    assert (chosen.scores[0], chosen.num_points[0]) == (np.float32(0.2), 4)
    assert renamed(Boxes.empty(("a",)), ("b",)).class_names == ("b",)


def test_labels_outside_the_grid_are_ignored():
    dataset = Recorded([labels_of([CAR, FAR_CAR])])
    grid = Grid(x_range_m=(-16, 16), y_range_m=(-16, 16), z_range_m=(0, 3), cell_m=1)
    assert evaluate(detecting(labels_of([CAR])), dataset).entry("car").num_truths == 2
    limited = evaluate(detecting(labels_of([CAR])), dataset, EvaluationSettings(grid=grid))
    assert (limited.entry("car").num_truths, limited.entry("car").ap_percent) == (1, 100.0)


def test_frames_without_labels_are_passed_over_and_all_without_are_refused():
    truth = labels_of([CAR])
    assert evaluate(detecting(truth), Recorded([truth, None])).num_frames == 1
    with pytest.raises(InputError, match="found no labels in 2 frames"):
        evaluate(detecting(truth), Recorded([None, None]))
    with pytest.raises(InputError, match="frames to evaluate: found 0"):
        evaluate(detecting(truth), Recorded([truth]), EvaluationSettings(num_frames=0))


def test_frames_are_spread_evenly_and_the_detector_is_made_once_per_rig():
    seen, rigs = [], []
    truth = labels_of([CAR])
    dataset = Recorded([truth] * 9)

    def pipeline_for(rig):
        rigs.append(rig)
        return lambda frame: seen.append(frame) or replace(truth, scores=np.float32([0.5]))

    evaluate(pipeline_for, dataset, EvaluationSettings(num_frames=3))
    assert [next(i for i in range(9) if dataset[i].frame is frame) for frame in seen] == [0, 4, 8]
    assert len(rigs) == 1


def test_records_are_written_read_and_printed(tmp_path):
    truth = labels_of([CAR])
    record = evaluate(detecting(labels_of([CAR, FAR_CAR]), (0.9, 0.95)), Recorded([truth] * 3), subject="x" * 99)
    record.write(tmp_path / "new" / "evaluation.json")
    assert read_evaluation(tmp_path / "new" / "evaluation.json") == record
    lines = list(describe(record))
    assert max(len(line) for line in lines) <= 100
    row = next(line for line in lines if line.startswith("  car"))
    assert row.split() == ["car", "0.50", "3", "50.0", "100.0", "-", "-"]
    assert record.entry("car").recalls == (0.0, 1.0)
    (tmp_path / "other.json").write_text(json.dumps({"schema_version": 2}))
    with pytest.raises(InputError, match=r"other\.json"):
        read_evaluation(tmp_path / "other.json")
    with pytest.raises(InputError, match="evaluation entry"):
        record.entry("tram")


def test_the_threshold_is_lowered_in_a_copy():
    contract = tiny_contract(score_threshold=0.6)
    assert {entry.score_threshold for entry in at_score_threshold(contract).classes} == {0.05}
    assert {entry.score_threshold for entry in contract.classes} == {0.6}


def test_a_model_is_evaluated_below_its_own_threshold():
    contract = tiny_contract(score_threshold=0.6)
    engine = FakeEngine.detecting(contract, [CAR], [0.2], [0])
    record = evaluate_model(OpenedModel(contract, engine), Recorded([labels_of([CAR, FAR_CAR])]))
    assert record.entry("car").ap_percent == 100.0
    assert record.settings.grid == contract.grid
    assert (record.subject, record.engine) == ("tiny", "fake engine")
    assert next(describe(record)) == "tiny: 1 frames, fake engine"


@pytest.mark.data
def test_kitti_labels_as_detections_score_a_hundred_and_what_no_camera_saw_is_no_false_alarm(data_root):
    dataset = KittiDataset(data_root / "kitti" / "object")
    by_stamp = {dataset[i].frame.stamp_ns: dataset[i].boxes for i in range(len(dataset))}

    def oracle(frame):
        truth = by_stamp[frame.stamp_ns]
        mirrored = truth.geometry * np.float32([-1, -1, 1, 1, 1, 1, 1])
        everywhere = Boxes.concatenate([truth, replace(truth, geometry=mirrored)])
        return replace(everywhere, scores=np.full(len(everywhere), 0.5, np.float32))

    record = evaluate(lambda rig: oracle, dataset)
    assert record.mean_ap_percent() == 100.0
    assert record.entry("car").num_truths == 11
    assert record.entry("pedestrian").num_truths == 9


@pytest.mark.data
def test_the_command_evaluates_a_bundle_on_real_frames(data_root, tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle")
    out = tmp_path / "record.json"
    arguments = ["evaluate", str(bundle.folder), "--data", str(data_root / "kitti" / "object"), "--out", str(out)]
    result = CliRunner().invoke(build_app(), [*arguments, "--split", "all", "--frames", "2"])
    assert result.exit_code == 0, result.output
    assert "average precision" in result.output
    record = read_evaluation(out)
    assert (record.num_frames, record.subject) == (2, "tiny fp32")
    assert record.data == open_dataset(data_root / "kitti" / "object").fingerprint
    again = CliRunner().invoke(build_app(), [*arguments, "--split", "all", "--frames", "2"])
    assert again.exit_code == 0
    assert read_evaluation(out) == record, "equal inputs give equal records"
    refused = CliRunner().invoke(build_app(), arguments)
    assert isinstance(refused.exception, InputError)
    assert "split val: found no " in str(refused.exception)


def test_paths_that_hold_no_model_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        open_model(tmp_path / "gone")
    with pytest.raises(InputError, match=r"found neither, wanted a bundle \(manifest\.yaml\) or a training run"):
        open_model(tmp_path)
    (tmp_path / "contract.yaml").write_text("")
    with pytest.raises(InputError, match="precision int8: found a training run"):
        open_model(tmp_path, "int8")
    (tmp_path / "model.onnx").write_text("")
    with pytest.raises(InputError, match="found an export, wanted a bundle; pack it"):
        open_model(tmp_path)


@pytest.mark.data
def test_a_copy_that_lost_what_was_labeled_is_not_evaluated(data_root, tmp_path):
    write_shards(open_dataset(data_root / "kitti" / "object"), tmp_path / "shards", source="kitti", images=False)
    copy = open_dataset(tmp_path / "shards")
    with pytest.raises(InputError, match=r"does not know which part.*wanted the original data set"):
        evaluate(lambda rig: detecting([]), copy)
    again = tmp_path / "again"
    write_shards(copy, again, source="shards", images=False)
    assert open_dataset(again).left_out_regions
