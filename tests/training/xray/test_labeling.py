"""A share of the labels, and labels for the rest of the drives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.training.xray.conftest import Knowing
from understudy.boxes import NOT_ASKED, Boxes
from understudy.bundle.manifest import Grid
from understudy.cli import build_app
from understudy.datasets.opening import open_dataset
from understudy.datasets.relabeled import RelabeledDataset, labels_used_by
from understudy.datasets.shard_writer import write_shards
from understudy.datasets.sweeps import MultiSweep
from understudy.errors import InputError
from understudy.overlap import bev_iou
from understudy_training.augmentation.scene import Scene
from understudy_training.batches import TrainingFrames, _with_doubtful
from understudy_training.label_free.labels import Unlabeled
from understudy_training.targets import batch_boxes, make_targets
from understudy_training.testing import MadeUpDataset
from understudy_training.xray.complete_objects import CompleteObjects, ObjectComplete
from understudy_training.xray.describing import describe_labels, describe_share
from understudy_training.xray.labeling import (
    LabelingRules,
    Networks,
    RelabeledFrames,
    compare_frames,
    follow,
    label_drives,
)
from understudy_training.xray.sharing import share_labels

GRID = Grid(x_range_m=(-64, 64), y_range_m=(-64, 64), z_range_m=(-1, 3), cell_m=1.0)
RULES = LabelingRules(precision=0.95, complete_objects=CompleteObjects(deformable_s=1.0))


@pytest.fixture(scope="module")
def share(drives, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("share") / "s40"
    dataset = open_dataset(drives, "train")
    description = share_labels(dataset, drives, out, split="train", share=0.6, seed=1)
    assert "2 labeled, 1 held out, 2 unlabeled" in describe_share(description)[0]
    return out


def keys(dataset: object) -> list[str]:
    return [dataset[index].key for index in range(len(dataset))]


def drives_in(path: Path, split: str) -> set[str]:
    dataset = open_dataset(path, split)
    return {dataset.place(index).drive for index in range(len(dataset))}


def test_splits_of_a_share_are_drives_of_their_own(share):
    parts = [drives_in(share, split) for split in ("labeled", "held_out", "unlabeled")]
    assert [len(part) for part in parts] == [2, 1, 2]
    assert len(set.union(*parts)) == 5
    assert drives_in(share, "train") == parts[0] | parts[1]
    assert drives_in(share, "all") == set.union(*parts)


def test_only_the_share_has_labels(share, drives):
    known = {sample.key: sample for sample in (open_dataset(drives, "train")[index] for index in range(20))}
    everything = open_dataset(share, "all")
    for index in range(len(everything)):
        sample = everything[index]
        if everything.place(index).drive in drives_in(share, "unlabeled"):
            assert sample.boxes is None
        else:
            np.testing.assert_array_equal(sample.boxes.geometry, known[sample.key].boxes.geometry)


def test_other_splits_are_those_of_the_source(share, drives):
    assert keys(open_dataset(share, "val")) == keys(open_dataset(drives, "val"))


def test_labels_used_are_counted_through_wrappers(share, drives):
    dataset = open_dataset(share, "labeled")
    used = labels_used_by(ObjectComplete(MultiSweep(dataset, 2), CompleteObjects()))
    assert (used.frames, used.of_frames, used.share) == (12, 20, 0.6)
    by_hand = open_dataset(share, "train")
    assert used.boxes == sum(len(by_hand[index].boxes) for index in range(len(by_hand)))
    assert labels_used_by(open_dataset(drives, "train")) is None


def test_the_same_seed_takes_the_same_drives(share, drives, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    for out, seed in ((again, 1), (other, 2)):
        share_labels(open_dataset(drives, "train"), drives, out, split="train", share=0.6, seed=seed)
    assert drives_in(again, "train") == drives_in(share, "train")
    assert drives_in(again, "labeled") == drives_in(share, "labeled")
    assert open_dataset(again, "labeled").fingerprint != open_dataset(again, "held_out").fingerprint


def test_too_small_a_share_is_refused(drives, tmp_path):
    with pytest.raises(InputError, match=r"1 of 5 labeled drives, wanted two: one to learn from, one to judge by"):
        share_labels(open_dataset(drives, "train"), drives, tmp_path / "x", split="train", share=0.2)
    with pytest.raises(InputError, match="does not tell which samples follow each other"):
        share_labels(MadeUpDataset(3), drives, tmp_path / "x", split=None, share=0.5)
    assert not (tmp_path / "x").exists()


def test_boxes_are_followed_over_a_drive(share, drives):
    unlabeled = open_dataset(share, "unlabeled")
    followed = follow(Knowing(drives, alarm=0.0).opened(), unlabeled, RULES)
    truths = {sample.key: sample.boxes for sample in (open_dataset(drives, "train")[index] for index in range(20))}
    assert len(followed) == len(unlabeled)
    for index, boxes in enumerate(followed):
        own = truths[unlabeled[index].key]
        near = np.linalg.norm(boxes.geometry[:, None, :2] - own.geometry[None, :, :2], axis=-1)
        assert near.min(axis=1).max() < 0.5
        assert len(np.unique(boxes.track_ids)) == len(boxes)
    assert sum(map(len, followed)) > 20


@pytest.fixture(scope="module")
def labeled(share, drives, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("labeled") / "s40-labeled"
    model = Knowing(drives).opened()
    unlabeled = open_dataset(share, "unlabeled")
    made = label_drives(
        unlabeled, open_dataset(share, "held_out"), Networks(model, model), out, RULES, {"base": "a", "teacher": "b"}
    )
    lines = describe_labels(made, RULES.precision, unlabeled.labels_used)
    assert max(map(len, lines)) <= 100
    assert sum(entry.num_boxes for entry in made) > 20
    assert all(entry.threshold is None or entry.precision >= RULES.precision for entry in made)
    return out


def test_made_labels_stand_on_objects_and_know_their_points(labeled, drives):
    truths = {sample.key: sample.boxes for sample in (open_dataset(drives, "train")[index] for index in range(20))}
    dataset = open_dataset(labeled, "unlabeled")
    assert len(dataset) == 8
    for index in range(len(dataset)):
        sample = dataset[index]
        boxes = sample.boxes
        near = np.linalg.norm(boxes.geometry[:, None, :2] - truths[sample.key].geometry[None, :, :2], axis=-1)
        assert near.min(axis=1).max() < 1e-3  # the false alarm stays out
        assert len(sample.doubtful)
        ego = sample.rig.lidars["lidar"].ego_from_sensor.pose().apply(sample.frame.clouds["lidar"].points[:, :3])
        np.testing.assert_array_equal(boxes.num_points, boxes.contains(ego).sum(axis=1))
        assert sample.boxes.scores is not None
        assert len(np.unique(sample.boxes.track_ids)) == len(sample.boxes)


def test_what_is_doubtful_is_neither_asked_for_nor_background(labeled):
    dataset = open_dataset(labeled, "unlabeled")
    sample, frame = dataset[0], TrainingFrames(dataset, None, 100.0, None)[0]
    assert len(frame.boxes) == len(sample.boxes) + len(sample.doubtful)
    boxes = batch_boxes([frame.boxes], sample.boxes.class_names, GRID, min_points=0)
    targets = make_targets(boxes, GRID, 1, 4, overlap=0.1, min_radius=2)
    assert int(targets.mask.sum()) == len(sample.boxes)
    for x, y in sample.doubtful.geometry[:, :2]:
        row, column = int((y - GRID.y_range_m[0]) / GRID.cell_m), int((x - GRID.x_range_m[0]) / GRID.cell_m)
        assert targets.background[0, 0, row, column] == 0
    for x, y in sample.boxes.geometry[:, :2]:
        row, column = int((y - GRID.y_range_m[0]) / GRID.cell_m), int((x - GRID.x_range_m[0]) / GRID.cell_m)
        assert targets.heatmap[0, :, row, column].max() == 1


def test_what_is_doubtful_stays_so_whatever_befalls_its_points(labeled):
    dataset = open_dataset(labeled, "unlabeled")
    frame = TrainingFrames(dataset, None, 100.0, None)[0]
    scene = Scene(frame.points, frame.boxes)
    row = int(np.flatnonzero(scene.boxes.num_points == NOT_ASKED)[0])
    inside = np.tile(scene.boxes.geometry[row, :3], (9, 1))
    more = scene.joined(np.column_stack([inside, np.ones(9)]).astype(np.float32))
    assert more.boxes.num_points[row] == NOT_ASKED
    assert more.kept(np.zeros(len(more.points), bool)).boxes.num_points[row] == NOT_ASKED


def test_doubt_goes_with_its_labels_and_not_into_others(labeled):
    dataset = open_dataset(labeled, "unlabeled")
    assert len(dataset[0].doubtful)
    assert Unlabeled(dataset)[0].doubtful is None
    assert RelabeledFrames(dataset, [None] * len(dataset))[0].doubtful is None


def test_doubtful_boxes_stay_so_where_labels_have_no_counts(labeled):
    sample = open_dataset(labeled, "unlabeled")[0]
    joined = _with_doubtful(replace(sample.boxes, num_points=None), sample.doubtful)
    batch = batch_boxes([joined], joined.class_names, GRID, min_points=3)
    assert (int(batch.valid.sum()), int(batch.ignored.sum())) == (len(sample.boxes), len(sample.doubtful))
    with pytest.raises(InputError, match="doubtful boxes: found of the classes"):
        _with_doubtful(sample.boxes, Boxes.empty(("object",)))


def test_no_doubtful_box_overlaps_a_label(labeled):
    dataset = open_dataset(labeled, "unlabeled")
    for sample in (dataset[index] for index in range(len(dataset))):
        assert not bev_iou(sample.doubtful.geometry, sample.boxes.geometry).any()


def test_shards_do_not_lose_doubt_silently(labeled, tmp_path):
    with pytest.raises(InputError, match=r"found \d+ doubtful boxes, wanted labels or background"):
        write_shards(open_dataset(labeled, "unlabeled"), tmp_path / "shards", source="s", split=None, images=False)


def test_without_doubt_all_else_is_background(share, drives, tmp_path):
    model, rules = Knowing(drives).opened(), RULES.model_copy(update={"doubtful_score": None})
    made = label_drives(
        open_dataset(share, "unlabeled"),
        open_dataset(share, "held_out"),
        Networks(model, model),
        tmp_path / "s",
        rules,
        {},
    )
    assert not any(entry.num_doubtful for entry in made)
    dataset = open_dataset(tmp_path / "s", "unlabeled")
    assert all(len(dataset[index].doubtful) == 0 for index in range(len(dataset)))


def test_training_sees_as_many_labeled_as_unlabeled_frames(labeled, share):
    train = open_dataset(labeled, "train")
    by_hand, made = drives_in(share, "train"), drives_in(share, "unlabeled")
    places = [train.place(index).drive.split("~")[0] for index in range(len(train))]
    assert [sum(place in part for place in places) for part in (by_hand, made)] == [12, 8]
    assert all(train[index].boxes is not None for index in range(len(train)))
    assert labels_used_by(train).frames == 12


def test_few_frames_with_labels_are_repeated_as_drives_of_their_own(labeled, drives, tmp_path):
    description = yaml.safe_load((labeled / "labels.yaml").read_text())
    for drive in description["drives"]:
        drive["role"] = "unlabeled" if drive["role"] == "labeled" else drive["role"]
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "labels.yaml").write_text(yaml.safe_dump(description | {"source": str(drives)}))
    train = open_dataset(tmp_path / "s", "train")
    assert len(train) == 16 + 4 * 4
    repeated = {train.place(index).drive for index in range(16)}
    assert len(repeated) == 4
    assert len({place.split("~")[0] for place in repeated}) == 1


def test_a_teacher_that_is_never_right_labels_nothing(share, drives, tmp_path):
    good, blind = Knowing(drives), Knowing(drives, alarm=0.9)
    blind.boxes = {key: boxes[:0] for key, boxes in blind.boxes.items()}
    unlabeled, held_out = open_dataset(share, "unlabeled"), open_dataset(share, "held_out")
    with pytest.raises(InputError, match="no class in which 95% of the teacher's boxes are right"):
        label_drives(unlabeled, held_out, Networks(good.opened(), blind.opened()), tmp_path / "x", RULES, {})
    assert not (tmp_path / "x").exists()


def test_what_lies_without_a_pose_cannot_be_followed(share, drives):
    class Lost(RelabeledFrames):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return replace(sample, frame=replace(sample.frame, world_from_ego=None))

    unlabeled = open_dataset(share, "unlabeled")
    with pytest.raises(InputError, match="nothing of where the ego was, wanted a pose to follow objects"):
        follow(Knowing(drives).opened(), Lost(unlabeled, [None] * len(unlabeled)), RULES)
    several = Knowing(drives).opened()
    swept = replace(several, contract=several.contract.model_copy(update={"sweeps": 3}))
    with pytest.raises(InputError, match="tiny, which takes 3 sweeps, wanted a network of single sweeps"):
        follow(swept, unlabeled, RULES)


def test_a_network_is_shown_both_kinds_of_frames(drives):
    """The stand-in does not see what fewer than three points show; on complete frames it does."""
    raw, complete = compare_frames(Knowing(drives).opened(), open_dataset(drives, "all"), CompleteObjects())
    assert [entry.num_truths for entry in raw.entries] == [entry.num_truths for entry in complete.entries]
    assert complete.mean_ap_percent() >= raw.mean_ap_percent()
    assert raw.data != complete.data


def test_a_moved_source_or_damaged_boxes_are_told(labeled, drives, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    description = yaml.safe_load((labeled / "labels.yaml").read_text())

    def opened(**changes: object) -> RelabeledDataset:
        (copy / "labels.yaml").write_text(yaml.safe_dump(description | {"source": str(drives)} | changes))
        return open_dataset(copy, "unlabeled")

    with pytest.raises(InputError, match=r"boxes.\d+\.npz: found no such file; make the labels anew"):
        opened()[0]
    with pytest.raises(InputError, match="no folder"):
        opened(source="../gone")
    with pytest.raises(InputError, match="source: found 20 frames, wanted 21 frames"):
        opened(source_frames=21)
    with pytest.raises(InputError, match=r"source: found .*, wanted 000000000000"):
        opened(source_fingerprint="0" * 64).fingerprint  # noqa: B018
    (copy / "boxes").mkdir()
    for file in (labeled / "boxes").glob("*.npz"):
        (copy / "boxes" / file.name).write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match=r"00\d+\.npz: found .*, wanted boxes"):
        opened()[0]


def test_the_commands(drives, tmp_path):
    def run(*command: str) -> tuple[int, str]:
        result = CliRunner().invoke(build_app(), ["xray", *command])
        return result.exit_code, result.output + str(result.exception or "")

    code, said = run("share", str(drives), "--out", str(tmp_path / "s"), "--share", "0.5")
    assert code == 0, said
    assert "labels used:" in said
    code, said = run("complete", str(drives), "--out", str(tmp_path / "whole"), "--split", "val")
    assert "4 complete frames in 1 shards" in said
    own, whole = open_dataset(drives, "val")[1], open_dataset(tmp_path / "whole", "val")[1]
    assert len(whole.frame.clouds["lidar"]) > len(own.frame.clouds["lidar"])
    code, said = run("label", str(drives), "--base", "b", "--teacher", "t", "--out", str(tmp_path / "x"))
    assert code != 0
    assert "split" in said
