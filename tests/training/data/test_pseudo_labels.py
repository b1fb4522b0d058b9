"""A teacher's boxes as labels: changed views carry answers along, each rule drops what it should, precision rises."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.training.data.recordings import Drive, write_drive
from understudy.boxes import Boxes, wrap_angle
from understudy.cli import build_app
from understudy.datasets.recorded import RecordedDataset
from understudy.datasets.scenes import ScenesDataset
from understudy.frame import Frame
from understudy.interior import count_points_inside
from understudy.overlap import bev_iou
from understudy.recording import record_bag
from understudy.rig import Rig
from understudy.testing import frame_of, road_cloud, simple_rig, tiny_bundle
from understudy.tracking_drive import Tracked
from understudy_training.data.pseudo_labels import Annotator, Detector, PseudoRules, View, judge
from understudy_training.scenes.config import LidarConfig, SceneConfig
from understudy_training.scenes.writer import make_scenes

NAMES = ("car", "pedestrian")


def _boxes(rng: np.random.Generator, num: int) -> Boxes:
    geometry = rng.uniform(-20, 20, (num, 7)).astype(np.float32)
    geometry[:, 3:6] = rng.uniform(0.5, 5, (num, 3))
    geometry[:, 6] = rng.uniform(-np.pi, np.pi, num)
    labels = rng.integers(0, 2, num).astype(np.int32)
    return Boxes(geometry, labels, NAMES, scores=rng.random(num).astype(np.float32))


@given(st.integers(0, 10**6), st.booleans(), st.floats(-3, 3))
@settings(max_examples=30)
def test_a_view_moves_points_with_boxes(seed: int, mirrored: bool, turn_rad: float) -> None:
    """A box around points of the changed scene, carried back, is a box around the same points."""
    rng = np.random.default_rng(seed)
    rig = simple_rig()
    lidar = rig.lidars["lidar"].ego_from_sensor.pose()
    frame = frame_of(road_cloud(rng, 500))
    view = View(mirrored=mirrored, turn_rad=turn_rad)
    there = _boxes(rng, 4)
    changed = lidar.apply(view.of(frame, rig).clouds["lidar"].points[:, :3])
    straight = lidar.apply(frame.clouds["lidar"].points[:, :3])
    grown = there.geometry.copy()
    grown[:, 3:6] += 0.01
    back = view.back(replace(there, geometry=grown))
    inside = there.contains(changed)
    assert not (inside & ~back.contains(straight)).any()
    assert back.labels.tolist() == there.labels.tolist()


def _tracked(scores: list[float], seen: list[int], points: list[int], filled: list[bool]) -> Tracked:
    num = len(scores)
    geometry = np.zeros((num, 7), np.float32)
    geometry[:, 0], geometry[:, 3:6] = np.arange(num) * 10, 2.0
    boxes = Boxes(
        geometry,
        np.zeros(num, np.int32),
        NAMES,
        scores=np.array(scores, np.float32),
        num_points=np.array(points, np.int32),
    )
    return Tracked(boxes, np.array(filled), np.array(seen, np.int32))


def test_each_rule_drops_its_own_and_the_first_reason_counts() -> None:
    tracked = _tracked(
        [0.9, 0.2, 0.9, 0.9, 0.9, 0.9, 0.2],
        [9, 9, 2, 9, 9, 9, 1],
        [50, 50, 50, 4, 50, 50, 0],
        [False, False, False, False, False, True, False],
    )
    view = tracked.boxes[np.array([0, 1, 2, 3])]
    verdicts = judge(tracked, [view, tracked.boxes], PseudoRules(agreeing_views=2))
    assert verdicts == ["kept", "score", "short track", "few points", "inconsistent", "kept", "score"]
    assert judge(tracked, [view, tracked.boxes], PseudoRules())[4] == "kept"
    pedestrians = replace(view, labels=np.ones(4, np.int32))
    assert judge(tracked, [pedestrians], PseudoRules())[0] == "inconsistent"
    assert judge(tracked, [Boxes.empty(NAMES)], PseudoRules())[0] == "inconsistent"
    assert judge(tracked, [], PseudoRules(min_scores={"car": 0.95})) == ["score"] * 7


def test_one_place_gets_one_label_whatever_the_classes_say() -> None:
    geometry = np.float32(
        [[10, 0, 1, 1, 1, 2, 0], [10, 0.1, 1, 1, 1, 2, 0], [10, 0.2, 1, 1, 1, 2, 0], [20, 0, 1, 1, 1, 2, 0]]
    )
    scores, counts = np.float32([0.6, 0.9, 0.7, 0.5]), np.int32([9, 9, 9, 9])
    boxes = Boxes(geometry, np.int32([0, 1, 0, 0]), NAMES, scores=scores, num_points=counts)
    tracked = Tracked(boxes, np.zeros(4, bool), np.int32([9, 9, 9, 9]))
    assert judge(tracked, [], PseudoRules()) == ["same place", "kept", "same place", "kept"]
    assert judge(tracked, [], PseudoRules(same_place_iou=0.95)) == ["kept"] * 4
    certain = PseudoRules(min_scores={NAMES[1]: 0.95})
    assert judge(tracked, [], certain) == ["same place", "score", "kept", "kept"]


def _noisy(truths: dict[int, Boxes], rng: np.random.Generator) -> Detector:
    """Finds 95 % of what is there, a little off, and now and then something that is not: of that some is real clutter
    that stays where it is for a moment, and none is seen again in a changed view."""

    def detect(frame: Frame) -> Boxes:
        truth = truths[frame.stamp_ns]
        visible = truth[(truth.num_points >= 5) & (rng.random(len(truth)) < 0.95)]  # type: ignore[operator]
        geometry = visible.geometry + rng.normal(0, 0.08, visible.geometry.shape).astype(np.float32)
        geometry[:, 3:6] = np.maximum(geometry[:, 3:6], 0.2)
        num = int(rng.poisson(6))
        ghosts = np.zeros((num, 7), np.float32)
        ghosts[:, :2] = rng.uniform(-50, 50, (num, 2))
        ghosts[:, 2], ghosts[:, 3:6] = 0.8, (4.0, 1.8, 1.6)
        return Boxes(
            np.concatenate([geometry, ghosts]),
            np.concatenate([visible.labels, np.zeros(num, np.int32)]),
            truth.class_names,
            scores=rng.uniform(0.35, 1.0, len(visible) + num).astype(np.float32),
        )

    return detect


class _Views:
    """The detector's answers to changed views, from truths changed along; told by the mirrored or turned cloud."""

    def __init__(self, detector: Detector, rules: PseudoRules) -> None:
        self._detector, self._views, self._calls, self._last = detector, rules.views(), 0, -1

    def __call__(self, frame: Frame) -> Boxes:
        self._calls = self._calls + 1 if frame.stamp_ns == self._last else 0
        self._last = frame.stamp_ns
        boxes = self._detector(frame)
        if self._calls == 0:
            return boxes
        view = self._views[self._calls - 1]
        turned = View(turn_rad=-view.turn_rad).back(boxes)
        return View(mirrored=view.mirrored).back(turned) if view.mirrored else turned


def _precision_and_recall(found: list[Boxes], truths: list[Boxes]) -> tuple[float, float]:
    """Boxes that lie on an object, and objects with five returns or more on which a box lies."""
    hits, num_found, recalled, num_truths = 0, 0, 0, 0
    for boxes, truth in zip(found, truths, strict=True):
        overlaps = bev_iou(truth.geometry, boxes.geometry) if len(boxes) else np.zeros((len(truth), 0))
        overlaps[truth.labels[:, None] != boxes.labels[None]] = 0
        assert truth.num_points is not None
        visible = truth.num_points >= 5
        hits += int((overlaps.max(axis=0, initial=0) >= 0.4).sum())
        recalled += int((overlaps[visible].max(axis=1, initial=0) >= 0.4).sum())
        num_found, num_truths = num_found + len(boxes), num_truths + int(visible.sum())
    return hits / max(num_found, 1), recalled / max(num_truths, 1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> ScenesDataset:
    folder = tmp_path_factory.mktemp("pseudo") / "scenes"
    config = SceneConfig(
        seed=11,
        num_drives=1,
        num_val_drives=0,
        num_frames=20,
        lidar=LidarConfig(beams=16, azimuth_steps=540),
        camera=None,
    )
    make_scenes(config, folder, workers=1)
    return ScenesDataset(folder)


def _labeled(scenes: ScenesDataset, rules: PseudoRules) -> tuple[list[Boxes], Counter[tuple[str, str]]]:
    samples = [scenes[index] for index in range(len(scenes))]
    truths = {sample.frame.stamp_ns: sample.boxes for sample in samples if sample.boxes is not None}
    detector = _Views(_noisy(truths, np.random.default_rng(0)), rules)
    annotator = Annotator(detector, scenes.rig, scenes.class_names, rules)
    for sample in samples:
        annotator.see(sample.frame, is_key=True)
    annotator.follow()
    lidar = scenes.rig.lidars["lidar"].ego_from_sensor.pose()
    points = [lidar.apply(sample.frame.clouds["lidar"].points[:, :3]) for sample in samples]
    return [annotator.labels(number, cloud) for number, cloud in enumerate(points)], annotator.counts


def test_filtered_labels_are_more_precise_and_hardly_fewer(scenes: ScenesDataset) -> None:
    truths = [sample.boxes for sample in (scenes[index] for index in range(len(scenes))) if sample.boxes is not None]
    everything = PseudoRules(min_score=0, min_track_sweeps=1, min_points=0, consistency_iou=0)
    before, _ = _labeled(scenes, everything)
    after, counts = _labeled(scenes, PseudoRules())
    precision_before, recall_before = _precision_and_recall(before, truths)
    precision_after, recall_after = _precision_and_recall(after, truths)
    numbers = (
        f"precision {precision_before:.3f} -> {precision_after:.3f}, recall {recall_before:.3f} -> {recall_after:.3f}"
    )
    assert precision_before < 0.8, numbers
    assert precision_after > 0.97, numbers
    assert recall_after > recall_before - 0.15, numbers
    assert {reason for _, reason in counts} >= {"kept", "short track"}
    for boxes in after:
        assert boxes.track_ids is not None
        assert boxes.velocities_mps is not None
        assert len(set(boxes.track_ids.tolist())) == len(boxes)


def test_a_teacher_labels_a_bag(tmp_path: Path, scenes: ScenesDataset) -> None:
    """The tiny network, as a bundle, over a bag: scores kept, labels marked, counts stored, deterministic."""
    bag = record_bag(scenes, tmp_path / "bag", frames=range(12)).bag
    bundle = tmp_path / "bundle"
    tiny_bundle(bundle, score_threshold=0.05)
    (tmp_path / "rules.yaml").write_text("min_score: 0.1\nconsistency_iou: 0.01\nmin_points: 1\nturned_deg: 0\n")
    options = ["--teacher", f"{bundle}", "--rules", f"{tmp_path / 'rules.yaml'}", "--key-frame-hz", "5"]
    results = []
    for name in ("one", "two"):
        words = ["dataset", "from-bag", f"{bag}", "--out", f"{tmp_path / name}", *options]
        results.append(CliRunner().invoke(build_app(), words))
        assert results[-1].exit_code == 0, f"{results[-1].output} {results[-1].exception}"
    dataset = RecordedDataset(tmp_path / "one")
    entry = dataset.description.drives[0]
    assert entry.labels == "pseudo"
    assert len(dataset) == 6
    pseudo = entry.provenance.pseudo_labels
    assert len(pseudo["sha256"]) == 64
    boxes = [dataset[index].boxes for index in range(len(dataset))]
    kept = sum(row.get("kept", 0) for row in pseudo["boxes"].values())
    assert kept == sum(len(entry) for entry in boxes if entry is not None)
    assert "boxes of tiny in key frames" in results[0].output
    for here, there in zip(boxes, (RecordedDataset(tmp_path / "two")[index].boxes for index in range(6)), strict=True):
        assert here is not None
        assert there is not None
        assert here.scores is not None
        assert here.geometry.tobytes() == there.geometry.tobytes()


def test_a_teacher_is_not_set_over_recorded_labels(tmp_path: Path) -> None:
    bag = write_drive(tmp_path / "bag", Drive(labels=True, num=4))
    tiny_bundle(tmp_path / "bundle")
    words = ["dataset", "from-bag", f"{bag}", "--out", f"{tmp_path / 'set'}", "--teacher", f"{tmp_path / 'bundle'}"]
    result = CliRunner().invoke(build_app(), words)
    assert "4 recorded labels; say --labels-topic none" in str(result.exception)


def test_points_are_counted_in_what_is_kept(scenes: ScenesDataset) -> None:
    after, _ = _labeled(scenes, PseudoRules())
    rig: Rig = scenes.rig
    points = rig.lidars["lidar"].ego_from_sensor.pose().apply(scenes[3].frame.clouds["lidar"].points[:, :3])
    assert after[3].num_points is not None
    np.testing.assert_array_equal(after[3].num_points, count_points_inside(after[3], points))
    assert (np.abs(wrap_angle(after[3].geometry[:, 6])) <= np.pi + 1e-6).all()
