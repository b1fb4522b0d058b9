"""Two students on one bag, and a student against the bag's own labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.sdk.replay_cases import Edit, outputs, pipeline_for, write_drive
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.boxes import Boxes
from understudy.cli import build_app
from understudy.datasets.pandaset import PandasetSequence
from understudy.engines.opening import OpenedModel
from understudy.errors import BagError, EngineError, FrameError, GeometryError, InputError
from understudy.evaluation import Evaluation, EvaluationSettings, evaluate_model
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.outputs import detections_message
from understudy.pipeline import Pipeline, open_pipeline
from understudy.recording import record_bag
from understudy.replay.against import AGAINST_FILE, DEFAULT_TOLERANCE, Against, tolerance_from
from understudy.replay.labels import Scoring
from understudy.replay.options import ReplayOptions
from understudy.replay.player import replay_bag
from understudy.rig import Rig, read_rig
from understudy.testing import FakeEngine, road_cloud, simple_rig, tiny_bundle, tiny_contract

MS = 1_000_000
Answer = Callable[[int], list[list[float]]]


@pytest.fixture
def rig() -> Rig:
    return simple_rig(camera=True)


def pipeline_saying(rig: Rig, answer: Answer) -> Pipeline:
    """A student whose boxes depend on the number of the frame: rows of x, y, score, label."""
    calls = iter(range(1000))

    def said(feeds: Any) -> dict[str, Any]:
        rows = np.array(answer(next(calls)), np.float32).reshape(-1, 4)
        boxes = np.zeros((len(rows), 7), np.float32)
        boxes[:, :2], boxes[:, 3:6] = rows[:, :2], (4, 2, 1.5)
        return {"boxes": boxes, "scores": rows[:, 2], "labels": rows[:, 3].astype(np.int32)}

    contract = tiny_contract(uses_intensity=False)
    return Pipeline(contract, FakeEngine(contract, said), rig)


class TestAgainst:
    def compared(self, tmp_path: Path, rig: Rig, mine: Answer, other: Answer, name: str = "out") -> Any:
        bag = tmp_path / "bag"
        bag = bag if bag.exists() else write_drive(bag, rig)
        pipeline = pipeline_saying(rig, mine)
        against = Against(pipeline, pipeline_saying(rig, other))
        summary = replay_bag(bag, pipeline, tmp_path / name / "out", against=against)
        return summary, against.report()

    def test_the_same_student_agrees_with_itself(self, tmp_path: Path, rig: Rig) -> None:
        def answer(number: int) -> list[list[float]]:
            return [[5, 0, 0.9, 0], [9, number, 0.8, 1]]

        _, report = self.compared(tmp_path, rig, answer, answer)
        assert report.difference.passes
        assert report.difference.total.matched == 1.0
        assert report.worst() == []
        assert [frame.num_within for frame in report.frames] == [2] * 6

    def test_the_frame_that_differs_is_named_with_its_stamp(self, tmp_path: Path, rig: Rig) -> None:
        def mine(number: int) -> list[list[float]]:
            moved = 0.7 if number == 3 else 0.0
            return [[5 + moved, 0, 0.9, 0], *([[20, 5, 0.9, 1]] if number == 3 else [])]

        def other(number: int) -> list[list[float]]:
            return [[5, 0, 0.9, 0], *([[30, -5, 0.9, 0]] if number in {3, 4} else [])]

        summary, report = self.compared(tmp_path, rig, mine, other)
        total, classes = report.difference.total, list(report.difference.classes.values())
        assert (total.num_pairs, total.num_within, total.num_extra, total.num_missing) == (6, 5, 1, 2)
        assert (classes[0].num_missing, classes[0].num_extra) == (2, 0)
        assert (classes[1].num_missing, classes[1].num_extra) == (0, 1)
        assert not report.difference.passes
        assert [frame.stamp_ns for frame in report.worst()] == [1300 * MS, 1400 * MS]
        assert [frame.num_departing for frame in report.worst()] == [3, 1]
        assert report.frames[3].largest["position_m"] == pytest.approx(0.7, abs=1e-5)
        lines = list(report.lines())
        assert max(len(line) for line in lines) <= 100
        assert any(line.startswith("frame 1.300000000: 3 boxes depart") for line in lines)
        out = tmp_path / "out/out"
        assert json.loads((out / AGAINST_FILE).read_text())["frames"][3]["num_extra"] == 1
        assert [len(m.detections) for m in outputs(out, "/understudy/against/detections")] == [1, 1, 1, 2, 2, 1]
        assert len(outputs(out, "/understudy/against/markers")) == summary.num_frames == 6
        self.compared(tmp_path, rig, mine, other, "again")
        again = tmp_path / "again/out"
        for name in ("out.mcap", AGAINST_FILE):
            assert (out / name).read_bytes() == (again / name).read_bytes()

    def test_the_replay_itself_is_not_changed(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        alone = replay_bag(bag, pipeline_for(rig), tmp_path / "alone")
        pipeline = pipeline_for(rig)
        both = replay_bag(bag, pipeline, tmp_path / "both", against=Against(pipeline, pipeline_for(rig)))
        assert alone.digest == both.digest

    def test_frames_that_the_other_cannot_use_are_counted(self, tmp_path: Path, rig: Rig) -> None:
        def broken(number: int) -> list[list[float]]:
            return [[5, 0, float("nan") if number % 2 else 0.9, 0]]

        _, report = self.compared(tmp_path, rig, lambda _: [[5, 0, 0.9, 0]], broken)
        assert len(report.frames) == 3
        assert sum(report.not_compared.values()) == 3
        with pytest.raises(FrameError, match=r"no frame could be compared.*not finite"):
            self.compared(tmp_path, rig, lambda _: [[5, 0, 0.9, 0]], lambda _: [[5, 0, float("nan"), 0]], "none")
        assert not (tmp_path / "none/out").exists()

    def test_other_classes_are_refused(self, rig: Rig) -> None:
        contract = tiny_contract(uses_intensity=False)
        renamed = [entry.model_copy(update={"name": f"my_{entry.name}"}) for entry in contract.classes]
        other = contract.model_copy(update={"classes": tuple(renamed)})
        with pytest.raises(EngineError, match="--against: classes: found my_"):
            Against(pipeline_for(rig), Pipeline(other, FakeEngine(other, lambda _: {}), rig))

    @pytest.mark.parametrize("text", ["speed=1", "min_matched", "min_matched=2", "position_m=x", "=", ",", "yaw_rad=0"])
    def test_wrong_tolerances(self, text: str) -> None:
        with pytest.raises(InputError, match="--tolerance") as caught:
            tolerance_from(text)
        assert "\n" not in str(caught.value)

    def test_a_tolerance_is_read(self) -> None:
        found = tolerance_from("min_matched=0.99, score=0.5")
        assert (found.min_matched, found.score, found.yaw_rad) == (0.99, 0.5, DEFAULT_TOLERANCE.yaw_rad)


def write_labeled(
    path: Path, rig: Rig, *, num: int = 6, lonely: int = 0, frame_id: str = "base_link", edit: Edit | None = None
) -> Path:
    """Sweeps with a car at 5 m in each; labels of `lonely` more stamps have no sweep."""
    rng = np.random.default_rng(3)
    names = tiny_contract(uses_intensity=False).class_names
    truth = Boxes(np.array([[5, 0, 0, 4, 2, 1.5, 0]], np.float32), np.zeros(1, np.int32), names)
    with BagWriter(path) as writer:
        for number in range(num + lonely):
            stamp_ns = (1000 + 100 * number) * MS
            cloud = road_cloud(rng, 400, stamp_ns=stamp_ns)
            if number < num:
                message = cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)
                message = edit(number, message) if edit else message
                writer.write("/sensors/lidar/points", message, stamp_ns + 40 * MS)
            labels = detections_message(make_message, truth, stamp_ns, frame_id)
            writer.write("/labels/boxes", labels, stamp_ns + 41 * MS)
    return path


def evaluated(pipeline: Pipeline, bag: Path, options: ReplayOptions | None = None) -> tuple[Evaluation, str]:
    scoring, options = Scoring(pipeline), replace(options or ReplayOptions(), overwrite=True)
    replay_bag(bag, pipeline, bag.with_name(f"{bag.name}_out"), options, scoring=scoring)
    return scoring.evaluation(), scoring.told


class TestLabels:
    def test_right_boxes_score_full_and_wrong_ones_nothing(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_labeled(tmp_path / "bag", rig, lonely=2)
        right, told = evaluated(pipeline_saying(rig, lambda _: [[5, 0, 0.9, 0]]), bag)
        wrong, _ = evaluated(pipeline_saying(rig, lambda _: [[50, 0, 0.9, 0]]), bag)
        name = tiny_contract(uses_intensity=False).class_names[0]
        assert right.entry(name).num_truths == wrong.entry(name).num_truths
        assert right.entry(name, "bev").num_correct == right.entry(name, "bev").num_truths
        assert wrong.entry(name, "bev").num_correct == 0
        assert told == "labels read 8 = used 6 + without a sweep that could be used 2"
        assert right.data == wrong.data

    def test_the_student_runs_once_and_says_what_it_says_without_labels(self, tmp_path: Path, rig: Rig) -> None:
        """Boxes below the student's own threshold are scored, and not published."""
        bag = write_labeled(tmp_path / "bag", rig)

        def answer(number: int) -> list[list[float]]:
            return [[5, 0, 0.1, 0], [9, number, 0.9, 0]]

        alone = replay_bag(bag, pipeline_saying(rig, answer), tmp_path / "alone")
        pipeline = pipeline_saying(rig, answer)
        scoring = Scoring(pipeline)
        both = replay_bag(bag, pipeline, tmp_path / "both", scoring=scoring)
        assert isinstance(pipeline.engine, FakeEngine)
        assert pipeline.engine.num_calls == 6
        assert (both.digest, both.num_detections) == (alone.digest, 6)
        entry = scoring.evaluation().entry(tiny_contract(uses_intensity=False).class_names[0], "bev")
        assert (entry.num_detections, entry.num_correct) == (12, 6)

    def test_frames_that_the_student_cannot_use_count_as_missed_and_lost_sweeps_are_told(
        self, tmp_path: Path, rig: Rig
    ) -> None:
        def spoil(number: int, message: Any) -> Any:
            return replace(message, data=message.data[:50]) if number == 1 else message

        bag = write_labeled(tmp_path / "bag", rig, edit=spoil)
        pipeline = pipeline_saying(rig, lambda number: [[5, 0, float("nan") if number == 0 else 0.9, 0]])
        found, told = evaluated(pipeline, bag)
        entry = found.entry(tiny_contract(uses_intensity=False).class_names[0], "bev")
        assert (found.num_frames, entry.num_truths, entry.num_correct) == (5, 5, 4)
        assert told == "labels read 6 = used 5 + without a sweep that could be used 1"

    def test_a_part_of_the_bag(self, tmp_path: Path, rig: Rig) -> None:
        bag = write_labeled(tmp_path / "bag", rig)
        options = ReplayOptions(start_s=0.15, end_s=0.45)
        found, told = evaluated(pipeline_saying(rig, lambda _: [[5, 0, 0.9, 0]]), bag, options)
        assert found.num_frames == 3
        assert told == "labels read 3 = used 3 + without a sweep that could be used 0"

    def test_labels_of_another_frame_or_without_sweeps_are_refused(self, tmp_path: Path, rig: Rig) -> None:
        pipeline = pipeline_for(rig)
        with pytest.raises(GeometryError, match="found map, wanted base_link"):
            evaluated(pipeline, write_labeled(tmp_path / "a", rig, frame_id="map"))
        with pytest.raises(BagError, match="wanted /labels/boxes"):
            evaluated(pipeline, write_drive(tmp_path / "b", rig))


class TestCommand:
    @pytest.fixture(scope="class")
    def bundle(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("student") / "bundle"
        tiny_bundle(folder)
        return folder

    def run(self, *words: object) -> Any:
        return CliRunner().invoke(build_app(), ["replay", *(str(word) for word in words)])

    def test_all_of_it_at_once(self, tmp_path: Path, rig: Rig, bundle: Path) -> None:
        bag = write_labeled(tmp_path / "bag", rig)
        rig.write(bag / "rig.yaml")
        words = (bag, bundle, "--out", tmp_path / "out", "--against", bundle, "--evaluate", "--with-input")
        result = self.run(*words, "--tolerance", "min_matched=0")
        files = sorted(file.name for file in (tmp_path / "out").iterdir())
        assert files == ["against.json", "evaluation.json", "metadata.yaml", "out.mcap", "replay.json"]
        assert "labels read 6 = used 6 + without a sweep that could be used 0" in result.output
        assert "average precision in %" in result.output
        assert self.run(*words, "--overwrite").exit_code == 0, result.output

    def test_a_tolerance_that_is_not_met_ends_with_1(self, tmp_path: Path, rig: Rig, bundle: Path) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        rig.write(bag / "rig.yaml")
        tiny_bundle(tmp_path / "stern", score_threshold=0.99)
        words = (bag, bundle, "--out", tmp_path / "out", "--overwrite", "--against")
        same = self.run(*words, bundle, "--tolerance", "min_matched=1")
        assert same.exit_code == 0, same.output
        assert "100.0 % of 48 boxes agree, 100.0 % wanted" in same.output
        assert self.run(*words, tmp_path / "stern").exit_code == 0
        other = self.run(*words, tmp_path / "stern", "--tolerance", "min_matched=1,score=0.001")
        assert other.exit_code == 1, other.output
        assert "--tolerance is not met: " in other.output
        assert "boxes depart" in other.output

    def test_salvage_ends_with_1_and_damage_without_it_is_refused(self, tmp_path: Path, rig: Rig, bundle: Path) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        rig.write(tmp_path / "rig.yaml")
        (bag / "metadata.yaml").unlink()
        words = (bag, bundle, "--out", tmp_path / "out", "--rig", tmp_path / "rig.yaml")
        assert isinstance(self.run(*words).exception, BagError)
        result = self.run(*words, "--salvage")
        assert result.exit_code == 1
        assert "DAMAGED: metadata.yaml: missing or damaged; 12 messages saved" in result.output

    def test_wrong_words(self, tmp_path: Path, rig: Rig, bundle: Path) -> None:
        bag = write_drive(tmp_path / "bag", rig, num=1)
        rig.write(bag / "rig.yaml")
        words = (bag, bundle, "--out", tmp_path / "out")
        for wrong, kind in (
            (("--tolerance", "score=1"), InputError),
            (("--against", bundle, "--tolerance", "nothing=1"), InputError),
            (("--evaluate",), BagError),
            (("--evaluate", "--labels-topic", "/sensors/lidar/points"), BagError),
        ):
            result = self.run(*words, *wrong)
            assert isinstance(result.exception, kind), result.output
            assert "\n" not in str(result.exception)
            assert not (tmp_path / "out").exists()


@pytest.mark.data
def test_labels_of_a_real_recording_score_as_in_the_data_set(tmp_path: Path, data_root: Path) -> None:
    """The bag's evaluation is the data set's own: the same frames, labels and student."""
    dataset = PandasetSequence(data_root / "pandaset/002")
    bag = record_bag(dataset, tmp_path / "bag", images=False, labels=True).bag
    folder = tmp_path / "bundle"
    tiny_bundle(folder)
    with open_pipeline(folder, read_rig(bag / "rig.yaml")) as pipeline:
        found, told = evaluated(pipeline, bag)
        wanted = evaluate_model(OpenedModel(pipeline.contract, pipeline.engine), dataset, EvaluationSettings())
    assert told == f"labels read {len(dataset)} = used {len(dataset)} + without a sweep that could be used 0"
    assert found.num_frames == wanted.num_frames
    shared = [name for name in found.class_names if name in wanted.class_names]
    assert shared
    for name in shared:
        for overlap in ("bev", "3d"):
            one, two = found.entry(name, overlap), wanted.entry(name, overlap)  # type: ignore[arg-type]
            assert (one.num_truths, one.num_detections, one.num_correct) == (
                two.num_truths,
                two.num_detections,
                two.num_correct,
            )
