from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from typer.testing import CliRunner

from understudy.boxes import Boxes
from understudy.bundle.bundle import PackedModel, write_bundle
from understudy.bundle.manifest import Contract, Tolerance
from understudy.bundle.signature import expected_inputs
from understudy.cli import build_app
from understudy.datasets.dataset import Sample
from understudy.engines.engine import Arrays
from understudy.engines.opening import OpenedModel
from understudy.errors import BundleError, EngineError, InputError
from understudy.parity.agreement import compare_boxes
from understudy.parity.ladder import LadderReport, climb
from understudy.parity.rungs import Rung, rungs_of
from understudy.parity.table import describe, verdict
from understudy.parity.verdict import NOTHING_COMPARED
from understudy.testing import (
    CLASS_NAMES,
    FakeEngine,
    frame_of,
    road_cloud,
    simple_rig,
    tiny_bundle,
    tiny_contract,
    tiny_outputs,
    write_tiny_model,
)

TOLERANCE = Tolerance(min_matched=0.9, position_m=0.3, size_m=0.3, yaw_rad=0.3, score=0.1)
TIGHT = Tolerance(min_matched=0.99, position_m=0.02, size_m=0.02, yaw_rad=0.02, score=0.01)
THRESHOLDS = np.full(len(CLASS_NAMES), 0.3, np.float32)
CONTRACT = tiny_contract(uses_intensity=True)
INTENSITY_SCALE = 255.0
_SIZES_M = np.array([[4.2, 1.8, 1.6], [8.0, 2.5, 3.2], [0.7, 0.6, 1.7], [1.8, 0.7, 1.6]], np.float32)


@dataclass(frozen=True)
class Drive:
    """Clouds of a road, the same for the same number."""

    num_frames: int = 6
    class_names: tuple[str, ...] = CLASS_NAMES
    fingerprint: str = "d" * 64

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Sample:
        cloud = road_cloud(np.random.default_rng(index), 600, intensity_scale=INTENSITY_SCALE, stamp_ns=index)
        rig = simple_rig(intensity_scale=INTENSITY_SCALE)
        return Sample(f"frame-{index}", frame_of(cloud), rig, boxes=None, segments={})


def toy_answer(feeds: Arrays) -> dict[str, np.ndarray]:
    """A box at every 40th point: its place from the point moved to ego, its score from the scaled intensity."""
    points = feeds["points"][::40]
    transform = feeds["ego_from_sensor"]
    centers = points[:, :3] @ transform[:, :3].T + transform[:, 3]
    labels = np.arange(len(points), dtype=np.int32) % len(CLASS_NAMES)
    yaw = np.arctan2(points[:, 1], points[:, 0])[:, None]
    scores = np.clip(points[:, 3] * feeds["intensity_factor"], 0, 1)
    scores[np.abs(scores - 0.3) < 0.11] = 0.5
    return {
        "boxes": np.concatenate([centers, _SIZES_M[labels], yaw], axis=1).astype(np.float32),
        "scores": scores.astype(np.float32),
        "labels": labels,
    }


Answer = Callable[[Arrays], Mapping[str, np.ndarray]]


def rung(name: str, answer: Answer = toy_answer, contract: Contract = CONTRACT, tolerance: Tolerance = TIGHT) -> Rung:
    return Rung(name, lambda: OpenedModel(contract, FakeEngine(contract, answer)), tolerance)


def with_boxes(change: Callable[[np.ndarray], None]) -> Answer:
    def answer(feeds: Arrays) -> dict[str, np.ndarray]:
        outputs = toy_answer(feeds)
        change(outputs["boxes"])
        return outputs

    return answer


def swap_axes(boxes: np.ndarray) -> None:
    boxes[:, [0, 1]] = boxes[:, [1, 0]]


def flip_yaw(boxes: np.ndarray) -> None:
    boxes[:, 6] *= -1


def turn_around(boxes: np.ndarray) -> None:
    boxes[:, 6] += np.pi


def shift_half_a_cell(boxes: np.ndarray) -> None:
    boxes[:, 0] += CONTRACT.grid.cell_m / 2


def double_heights(boxes: np.ndarray) -> None:
    boxes[:, 5] *= 2


def lift(boxes: np.ndarray) -> None:
    boxes[:, 2] += 0.4


def wrong_intensity(feeds: Arrays) -> dict[str, np.ndarray]:
    return toy_answer({**feeds, "intensity_factor": feeds["intensity_factor"] * np.float32(255)})


def forgotten_intensity(feeds: Arrays) -> dict[str, np.ndarray]:
    return toy_answer({**feeds, "intensity_factor": feeds["intensity_factor"] / np.float32(255)})


def transposed_rotation(feeds: Arrays) -> dict[str, np.ndarray]:
    moved = feeds["ego_from_sensor"].copy()
    moved[:, 3] *= -1
    return toy_answer({**feeds, "ego_from_sensor": moved})


def halved_scores(feeds: Arrays) -> dict[str, np.ndarray]:
    outputs = toy_answer(feeds)
    return {**outputs, "scores": np.maximum(outputs["scores"] * 0.9, 0.31 * (outputs["scores"] > 0.3))}


FAULTS: dict[str, tuple[Answer, Contract, str]] = {
    "swapped axes": (with_boxes(swap_axes), CONTRACT, "missing"),
    "yaw sign": (with_boxes(flip_yaw), CONTRACT, "yaw "),
    "facing backwards": (with_boxes(turn_around), CONTRACT, "yaw 3.14 rad > 0.02 rad"),
    "half a cell": (with_boxes(shift_half_a_cell), CONTRACT, "position 0.5 m > 0.02 m"),
    "heights doubled": (with_boxes(double_heights), CONTRACT, "size 3.2 m > 0.02 m"),
    "lifted": (with_boxes(lift), CONTRACT, "position 0.4 m > 0.02 m"),
    "intensity scaled twice": (forgotten_intensity, CONTRACT, "missing"),
    "intensity not scaled": (wrong_intensity, CONTRACT, "score "),
    "mounting the wrong way": (transposed_rotation, CONTRACT, "missing"),
    "threshold dropped": (toy_answer, tiny_contract(score_threshold=0.0, uses_intensity=True), "not in the reference"),
    "scores shrunk": (halved_scores, CONTRACT, "score 0.0968 > 0.01"),
}


def ladder(planted_at: int, answer: Answer, contract: Contract) -> LadderReport:
    """Four rungs; the fault is in one and, as what is built on it, in all above."""
    names = ("torch", "onnx-fp32", "onnx-int8", "onnx-uint8")
    rungs = [
        rung(name, *((answer, contract) if place >= planted_at else (toy_answer, CONTRACT)))
        for place, name in enumerate(names)
    ]
    return climb(rungs, Drive(), num_frames=4)


@pytest.mark.parametrize("planted_at", [1, 2, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found_at_its_rung(fault: str, planted_at: int) -> None:
    answer, contract, kind = FAULTS[fault]
    report = ladder(planted_at, answer, contract)
    departing = report.first_departing
    assert departing is not None
    assert departing.name == ("torch", "onnx-fp32", "onnx-int8", "onnx-uint8")[planted_at]
    assert kind in departing.reason
    assert "frame-" in departing.reason
    assert [entry.passes for entry in report.rungs] == [place < planted_at for place in (1, 2, 3)]


def test_clean_ladder_passes() -> None:
    report = ladder(9, toy_answer, CONTRACT)
    assert report.first_departing is None
    assert verdict(report) == "every rung agrees with the reference"
    assert report.reference == "torch"
    assert report.frames == ("frame-0", "frame-2", "frame-3", "frame-5")
    for entry in report.rungs:
        assert entry.total.matched == 1.0
        assert entry.total.num_compared == report.num_reference_boxes > 20
        assert entry.total.deviations["position_m"].max == 0.0
        assert sum(departures.num_compared for departures in entry.classes.values()) == entry.total.num_compared


def test_noise_within_tolerance_passes_and_is_measured() -> None:
    def tremble(boxes: np.ndarray) -> None:
        boxes += np.random.default_rng(0).uniform(-0.01, 0.01, boxes.shape).astype(np.float32)

    report = climb([rung("torch"), rung("onnx-fp32", with_boxes(tremble))], Drive())
    assert report.first_departing is None
    spread = report.rungs[0].total.deviations["position_m"]
    assert spread.p99 is not None
    assert spread.max is not None
    assert 0.0 < spread.p99 <= spread.max < 0.02


def test_few_departures_are_allowed_up_to_the_fraction() -> None:
    def one_in(share: int) -> Callable[[np.ndarray], None]:
        def move(boxes: np.ndarray) -> None:
            boxes[::share, 0] += 0.5

        return move

    loose = rung("onnx-int8", with_boxes(one_in(15)), tolerance=TOLERANCE)
    report = climb([rung("torch"), loose], Drive())
    assert report.rungs[0].passes
    assert report.rungs[0].total.num_within < report.rungs[0].total.num_pairs
    assert not climb([rung("torch"), rung("x", with_boxes(one_in(5)), tolerance=TOLERANCE)], Drive()).rungs[0].passes


def test_nothing_to_compare_is_no_pass() -> None:
    def silence(feeds: Arrays) -> dict[str, np.ndarray]:
        outputs = toy_answer(feeds)
        return {**outputs, "scores": np.zeros_like(outputs["scores"])}

    report = climb([rung("torch", silence), rung("onnx-fp32", silence)], Drive())
    assert report.first_departing is not None
    assert report.first_departing.reason == NOTHING_COMPARED
    assert verdict(report).startswith("first departing rung: onnx-fp32 (nothing was compared")


def test_frames_without_boxes_do_not_disturb() -> None:
    def sometimes(feeds: Arrays) -> dict[str, np.ndarray]:
        outputs = toy_answer(feeds)
        return outputs if feeds["points"][0, 0] > 7.0 else {**outputs, "scores": np.zeros_like(outputs["scores"])}

    report = climb([rung("torch", sometimes), rung("onnx-fp32", sometimes)], Drive())
    assert report.first_departing is None
    assert report.num_reference_boxes > 0


def test_silent_rung_departs() -> None:
    def silence(feeds: Arrays) -> dict[str, np.ndarray]:
        outputs = toy_answer(feeds)
        return {**outputs, "scores": np.zeros_like(outputs["scores"])}

    report = climb([rung("torch"), rung("onnx-fp32", silence)], Drive())
    assert report.first_departing is not None
    assert f"{report.num_reference_boxes} boxes of the reference are missing" in report.first_departing.reason


def test_other_classes_are_refused() -> None:
    other = CONTRACT.model_copy(update={"classes": CONTRACT.classes[::-1]})
    with pytest.raises(EngineError, match="classes: found cyclist, pedestrian, truck, car, wanted car"):
        climb([rung("torch"), rung("onnx-fp32", contract=other)], Drive())


def test_no_frame_is_refused() -> None:
    with pytest.raises(InputError, match="frames to compare: found 0 of 6"):
        climb([rung("a"), rung("b")], Drive(), num_frames=0)
    with pytest.raises(InputError, match="frames to compare: found 8 of 0"):
        climb([rung("a"), rung("b")], Drive(0))


def test_engines_are_closed() -> None:
    engines = [FakeEngine(CONTRACT, toy_answer) for _ in range(2)]
    rungs = [Rung(str(at), lambda at=at: OpenedModel(CONTRACT, engines[at]), TIGHT) for at in range(2)]  # type: ignore[misc]
    climb(rungs, Drive(), num_frames=2)
    assert all(engine.closed and engine.num_calls == 2 for engine in engines)


def boxes_of(rows: Sequence[Sequence[float]], scores: Sequence[float], labels: Sequence[int]) -> Boxes:
    geometry = np.array(rows, np.float32).reshape(-1, 7)
    return Boxes(geometry, np.array(labels, np.int32), CLASS_NAMES, scores=np.array(scores, np.float32))


CAR = (10.0, 2.0, 0.8, 4.2, 1.8, 1.6, 0.1)


@pytest.mark.parametrize(("score", "is_excused"), [(0.35, True), (0.39, True), (0.41, False), (0.9, False)])
def test_box_near_its_threshold_may_be_missing_on_either_side(score: float, is_excused: bool) -> None:
    one, none = boxes_of([CAR], [score], [0]), Boxes.empty(CLASS_NAMES, scored=True)
    missing = compare_boxes(one, none, THRESHOLDS, TOLERANCE)
    extra = compare_boxes(none, one, THRESHOLDS, TOLERANCE)
    assert len(missing.missing) == len(extra.extra) == (not is_excused)
    assert len(missing.excused) == len(extra.excused) == is_excused


def test_box_far_below_the_threshold_is_not_excused() -> None:
    agreement = compare_boxes(
        Boxes.empty(CLASS_NAMES, scored=True), boxes_of([CAR], [0.05], [0]), THRESHOLDS, TOLERANCE
    )
    assert agreement.extra.tolist() == [0]


def test_boxes_of_other_classes_are_no_partners() -> None:
    agreement = compare_boxes(boxes_of([CAR], [0.9], [0]), boxes_of([CAR], [0.9], [1]), THRESHOLDS, TOLERANCE)
    assert agreement.missing.tolist() == [0]
    assert agreement.extra.tolist() == [1]
    assert not len(agreement.labels)


def test_nearest_pairs_come_first() -> None:
    reference = boxes_of([CAR, (11.5, *CAR[1:])], [0.9, 0.8], [0, 0])
    candidate = boxes_of([(11.4, *CAR[1:]), (9.9, *CAR[1:])], [0.9, 0.8], [0, 0])
    agreement = compare_boxes(reference, candidate, THRESHOLDS, TOLERANCE)
    np.testing.assert_allclose(agreement.deviations[:, 0], [0.1, 0.1], atol=1e-5)


def test_yaw_is_compared_across_the_seam() -> None:
    reference, candidate = boxes_of([(*CAR[:6], 3.1)], [0.9], [0]), boxes_of([(*CAR[:6], -3.1)], [0.9], [0])
    agreement = compare_boxes(reference, candidate, THRESHOLDS, TOLERANCE)
    assert agreement.deviations[0, 2] == pytest.approx(2 * np.pi - 6.2, abs=1e-5)


@st.composite
def detections(draw: st.DrawFn) -> Boxes:
    count = draw(st.integers(0, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = generator.uniform(-6, 6, (count, 7)).astype(np.float32)
    rows[:, 3:6] = np.abs(rows[:, 3:6])
    scores, labels = generator.uniform(0.3, 1, count), generator.integers(0, len(CLASS_NAMES), count)
    return Boxes(rows, labels.astype(np.int32), CLASS_NAMES, scores=scores.astype(np.float32))


@given(detections())
def test_boxes_agree_with_themselves(boxes: Boxes) -> None:
    agreement = compare_boxes(boxes, boxes, THRESHOLDS, TOLERANCE)
    assert len(agreement.labels) == len(boxes)
    assert not agreement.deviations.any()


@given(detections(), detections(), st.randoms(use_true_random=False))
def test_sides_and_order_do_not_matter(first: Boxes, second: Boxes, random: Any) -> None:
    order = list(range(len(second)))
    random.shuffle(order)
    forth = compare_boxes(first, second[np.array(order, np.intp)], THRESHOLDS, TOLERANCE)
    back = compare_boxes(second, first, THRESHOLDS, TOLERANCE)
    assert sorted(forth.missing) == sorted(back.extra)
    assert sorted(forth.extra) == sorted(back.missing)
    assert sorted(forth.excused) == sorted(back.excused)
    np.testing.assert_allclose(np.sort(forth.deviations[:, 0]), np.sort(back.deviations[:, 0]))
    num_lonely = len(forth.missing) + len(forth.extra) + len(forth.excused)
    assert 2 * len(forth.labels) + num_lonely == len(first) + len(second)


def test_table_fits_and_names_what_was_allowed() -> None:
    answer, contract, _ = FAULTS["half a cell"]
    lines = list(describe(ladder(2, answer, contract)))
    assert all(len(line) <= 100 for line in lines)
    assert any(line.startswith("onnx-fp32") and line.endswith("pass") for line in lines)
    assert any(line.startswith("onnx-int8") and line.endswith("DEPARTS") for line in lines)
    assert any(line.startswith("  pedestrian") for line in lines)
    last = next(line for line in lines if line.startswith("first departing rung"))
    assert last.startswith("first departing rung: onnx-int8 (position 0.5 m > 0.02 m, frame frame-")


def test_bundle_of_one_model_has_no_ladder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="parity ladder: found one rung, onnx-fp32"):
        rungs_of(tiny_bundle(tmp_path / "bundle"), None)


def faulty_bundle(folder: Path) -> Path:
    """A real bundle whose INT8 model puts its boxes half a cell off."""
    contract = tiny_contract()
    good = write_tiny_model(folder / "good.onnx", contract)
    model = onnx.load(good)
    for tensor in model.graph.initializer:
        if tensor.name == "x_first":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.5), "x_first"))
    onnx.save(model, folder / "bad.onnx")
    write_bundle(
        folder / "bundle",
        contract,
        {"fp32": PackedModel(good, 18, 10), "int8": PackedModel(folder / "bad.onnx", 18, 10)},
        inputs=expected_inputs(contract),
        outputs=tiny_outputs(),
        tolerances={"fp32": TIGHT, "int8": TOLERANCE},
    )
    return folder / "bundle"


@pytest.fixture
def drive_as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.datasets.opening.open_dataset", lambda path, split=None: Drive())


@pytest.mark.usefixtures("drive_as_data")
def test_command_passes_with_0_and_writes_its_record(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "bundle", precisions=("fp32", "int8", "uint8"))
    record = tmp_path / "new" / "parity.json"
    arguments = ["compare", str(tmp_path / "bundle"), "--data", ".", "--frames", "3", "--json", str(record)]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "every rung agrees with the reference" in result.stdout
    values = json.loads(record.read_text())
    assert [entry["name"] for entry in values["rungs"]] == ["onnx-int8", "onnx-uint8"]
    assert values["rungs"][0]["total"]["num_pairs"] == values["num_reference_boxes"] > 0
    assert values["frames"] == ["frame-0", "frame-2", "frame-5"]


@pytest.mark.usefixtures("drive_as_data")
def test_command_exits_with_1_and_names_the_rung(tmp_path: Path) -> None:
    bundle = faulty_bundle(tmp_path)
    result = CliRunner().invoke(build_app(), ["compare", str(bundle), "--data", ".", "--frames", "2"])
    assert result.exit_code == 1
    assert "first departing rung: onnx-int8 (position 0.5 m > 0.3 m, frame frame-" in result.stdout


@pytest.mark.data
def test_real_sweeps_agree_over_the_rungs(tmp_path: Path, data_root: Path) -> None:
    from understudy.datasets.kitti import KittiDataset

    bundle = tiny_bundle(tmp_path / "bundle", precisions=("fp32", "uint8"))
    report = climb(rungs_of(bundle, None), KittiDataset(data_root / "kitti" / "object"), num_frames=3)
    assert report.first_departing is None
    assert report.num_reference_boxes > 5
