from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.sdk.parity_cases import Drive
from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision
from understudy.parity.departing import FLOORS_DB, GraphReport, Rounding, compare_graphs, rounding_between
from understudy.parity.explaining import Explanation, explain
from understudy.parity.explaining_table import describe_explanation
from understudy.parity.graph_edit import GraphEdit, node
from understudy.parity.ladder import choose_frames, climb, pipeline_of
from understudy.parity.replayed import Vehicle
from understudy.parity.rungs import rungs_of
from understudy.parity.stage import Stage, stage_of
from understudy.parity.taps import read_graph, tapped_engine
from understudy.testing import simple_rig, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("inside") / "bundle", precisions=("fp32", "int8", "uint8"))


def feeds_of(bundle: Bundle) -> list[dict[str, np.ndarray]]:
    opened = rungs_of(bundle, None)[0].open()
    with opened.engine:
        return [pipeline_of(opened, sample, None).prepare(sample.frame) for sample in (Drive()[0], Drive()[1])]


def scaled(name: str, factor: float) -> Callable[[GraphEdit], None]:
    def change(edit: GraphEdit) -> None:
        constant = edit.add_constant("factor", np.array(factor, np.float32))
        edit.reroute(name, lambda before, after: [node("Mul", [before, constant], after)])

    return change


def compared(bundle: Bundle, path: Path, change: Callable[[GraphEdit], None], rounding: Rounding) -> GraphReport:
    edit = GraphEdit(bundle.model("fp32"))
    change(edit)
    edit.write(path / "changed.onnx")
    graphs = read_graph(bundle.model("fp32")), read_graph(path / "changed.onnx")
    return compare_graphs(*graphs, feeds_of(bundle), rounding)


def test_every_tensor_that_a_node_makes_is_a_tap(bundle: Bundle) -> None:
    graph = read_graph(bundle.model("fp32"))
    made = {name for entry in onnx.load(graph.path).graph.node for name in entry.output}
    assert {tap.name for tap in graph.taps} == made
    assert graph.selection == "top"
    assert graph.heads_of("hidden") == ("boxes", "scores", "labels")
    assert graph.heads_of("x_flat") == ("boxes",)
    assert graph.heads_of("scores") == ("scores",)


def test_taps_do_not_change_what_the_graph_says(bundle: Bundle) -> None:
    feed = feeds_of(bundle)[0]
    with tapped_engine(bundle.model("fp32"), ["hidden", "top", "inside"], "onnxruntime") as tapped:
        found = tapped(feed)
    with rungs_of(bundle, None)[0].open().engine as engine:
        wanted = engine(feed)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    assert found["hidden"].shape == (1, 8, 32, 32)
    assert found["inside"].dtype == bool


@pytest.mark.parametrize(
    "tensor", ["points_ego", "occupancy", "hidden", "logits", "peaks", "x_scaled", "size", "boxes"]
)
def test_the_changed_tensor_is_the_first_to_depart(bundle: Bundle, tmp_path: Path, tensor: str) -> None:
    report = compared(bundle, tmp_path, scaled(tensor, 0.9), "exact")
    assert report.first is not None
    assert report.first.name == tensor
    assert report.first.before_db == 200.0
    assert report.floor_db == FLOORS_DB["exact"]


def test_a_decision_among_selected_candidates_is_found_where_values_are_rounded(bundle: Bundle, tmp_path: Path) -> None:
    report = compared(bundle, tmp_path, scaled("x_scaled", 1.01), "int8")
    assert report.first is not None
    assert report.first.name == "x_scaled"


def test_rounding_is_allowed_up_to_its_floor(bundle: Bundle, tmp_path: Path) -> None:
    for factor, is_first in ((1.001, False), (0.9, True)):
        report = compared(bundle, tmp_path, lambda edit, factor=factor: _weights_scaled(edit, factor), "fp16")  # type: ignore[misc]
        assert (report.first is not None and report.first.name == "hidden") == is_first
        worst = report.losses[0]
        assert worst.before_db is not None
        assert worst.sqnr_db < worst.before_db


def _weights_scaled(edit: GraphEdit, factor: float) -> None:
    value = edit.constant("w1")
    assert value is not None
    edit.set_constant("w1", (value * factor).astype(np.float32))


def test_the_same_file_has_no_departing_tensor(bundle: Bundle, tmp_path: Path) -> None:
    report = compared(bundle, tmp_path, lambda edit: None, "exact")
    assert report.first is None
    assert report.losses == ()
    assert report.num_taps > 40


def test_more_points_in_one_graph_are_seen_at_the_first_tensor(bundle: Bundle, tmp_path: Path) -> None:
    def padded(edit: GraphEdit) -> None:
        rows = edit.add_constant("rows", np.ones((7, 4), np.float32))
        edit.reroute_input("points", lambda before, after: [node("Concat", [before, rows], after, axis=0)])

    report = compared(bundle, tmp_path, padded, "exact")
    assert report.first is not None
    assert report.first.name == "xyz"


@pytest.mark.parametrize(
    ("reference", "candidate", "rounding"),
    [("fp32", "fp32", "exact"), ("int8", "int8", "exact"), ("fp32", "fp16", "fp16"), ("fp32", "uint8", "int8")],
)
def test_what_may_be_rounded(reference: Precision, candidate: Precision, rounding: Rounding) -> None:
    assert rounding_between(reference, candidate) == rounding


def explained(bundle: Bundle, folder: Path, change: Callable[[Stage], None], **options: object) -> Explanation:
    stage = stage_of(bundle, 100)
    change(stage)
    copy = stage.write(folder / "copy")
    rungs = rungs_of(copy, None, source=bundle, vehicle=stage.vehicle, **options)  # type: ignore[arg-type]
    report = climb(rungs, Drive(), num_frames=3)
    assert report.first_departing is not None
    explanation = explain(rungs, report, choose_frames(Drive(), 3))
    lines = list(describe_explanation(explanation, report.first_departing))
    assert all(len(line) <= 100 for line in lines)
    assert lines[0] == f"why {explanation.rung} departs, held against {explanation.partner}:"
    return explanation


def test_explanation_names_the_tensor(bundle: Bundle, tmp_path: Path) -> None:
    found = explained(bundle, tmp_path, lambda stage: scaled("heat", 0.5)(stage.graph("fp32")))
    assert (found.rung, found.partner) == ("onnx-fp32", "source")
    assert found.graph is not None
    assert found.graph.first is not None
    assert found.graph.first.name == "heat"
    assert not any(found.feeds.values())
    assert found.contract == ()


def test_explanation_of_a_higher_rung_is_held_against_full_precision(bundle: Bundle, tmp_path: Path) -> None:
    found = explained(bundle, tmp_path, lambda stage: scaled("logits", -1.0)(stage.graph("int8")))
    assert (found.rung, found.partner) == ("onnx-int8", "source")
    assert found.graph is not None
    assert found.graph.first is not None
    assert found.graph.first.name == "logits"


def test_explanation_names_the_feed(bundle: Bundle, tmp_path: Path) -> None:
    def lower(stage: Stage) -> None:
        stage.vehicle = Vehicle(rig=lambda rig: simple_rig(intensity_scale=51.0))

    with pytest.raises(AssertionError):
        explained(bundle, tmp_path, lower)  # this student does not look at intensity: nothing departs

    def mirrored(stage: Stage) -> None:
        turn = np.array([1, -1, 1, 1], np.float32)
        stage.vehicle = Vehicle(sweep=lambda cloud: type(cloud)(cloud.points * turn, cloud.stamp_ns, cloud.frame_id))

    found = explained(bundle, tmp_path / "mirrored", mirrored)
    assert found.rung == "replay"
    assert found.feeds["points"].startswith("differs by up to")
    assert found.feeds["ego_from_sensor"] == found.feeds["intensity_factor"] == ""
    assert found.outside == "both run the same file"
    assert not any(found.outputs.values()), "on the same feeds"


def test_explanation_of_a_refusal_is_its_message(bundle: Bundle, tmp_path: Path) -> None:
    found = explained(bundle, tmp_path, lambda stage: stage.graph("fp32").fix_rows("points", 10))
    assert "input points: found float32 (600, 4), wanted float32 (10, 4)" in found.refusal
