from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.sdk.parity_cases import CONTRACT, TIGHT, TOLERANCE, Answer, Drive, rung, toy_answer, with_boxes
from understudy.bundle.manifest import Contract
from understudy.engines.engine import Arrays
from understudy.engines.opening import OpenedModel
from understudy.errors import EngineError, InputError
from understudy.parity.ladder import LadderReport, climb
from understudy.parity.rungs import Rung
from understudy.parity.table import describe, verdict
from understudy.parity.verdict import NOTHING_COMPARED
from understudy.testing import FakeEngine, tiny_contract


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


def test_table_fits_and_names_what_was_allowed() -> None:
    answer, contract, _ = FAULTS["half a cell"]
    lines = list(describe(ladder(2, answer, contract)))
    assert all(len(line) <= 100 for line in lines)
    assert any(line.startswith("onnx-fp32") and line.endswith("pass") for line in lines)
    assert any(line.startswith("onnx-int8") and line.endswith("DEPARTS") for line in lines)
    assert any(line.startswith("  pedestrian") for line in lines)
    last = next(line for line in lines if line.startswith("first departing rung"))
    assert last.startswith("first departing rung: onnx-int8 (position 0.5 m > 0.02 m, frame frame-")
