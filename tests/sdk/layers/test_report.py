"""The report: what was promised, what was lost, in which order; and the command that prints it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sdk.engines.test_tensorrt_targets import Vehicle
from tests.sdk.test_commands_bundles import Shell
from understudy.bundle.bundle import Bundle
from understudy.errors import EngineError, InputError
from understudy.layers.graph import Graph, Node, TensorSize
from understudy.layers.inspection import inspect_layers, made_up_scene
from understudy.layers.measuring import ProfilePlan, profile_engines
from understudy.layers.profiles import NodeTime, Profile
from understudy.layers.report import LayerReport, Measured, layer_rows, place, total
from understudy.layers.roofline import Peak
from understudy.layers.table import describe
from understudy.layers.this_cpu import measure_peak
from understudy.testing import tiny_bundle, tiny_contract

TOY = Peak(name="toy", tera_ops={"float32": 0.1, "int8": 0.4}, gigabytes_per_s=10.0, source="made up")


def float_size(*shape: int) -> TensorSize:
    return TensorSize(shape, "float32", 4)


def graph(*, is_quantized: bool) -> Graph:
    """Two convolutions of 0.01 and 0.05 GMAC."""
    sizes = {name: float_size(1, 100, 10, 10) for name in ("x", "a", "ad", "y", "xd")}
    sizes |= {name: TensorSize((1, 100, 10, 10), "int8", 1) for name in ("xq", "aq")}
    sizes |= {"w1": float_size(100, 100, 10, 1), "w2": float_size(100, 100, 50, 1)}
    if not is_quantized:
        nodes = (Node("one", "Conv", ("x", "w1"), ("a",)), Node("two", "Conv", ("a", "w2"), ("y",)))
        return Graph(nodes, sizes)
    nodes = (
        Node("q1", "QuantizeLinear", ("x",), ("xq",)),
        Node("d1", "DequantizeLinear", ("xq",), ("xd",)),
        Node("one", "Conv", ("xd", "w1"), ("a",)),
        Node("q2", "QuantizeLinear", ("a",), ("aq",)),
        Node("d2", "DequantizeLinear", ("aq",), ("ad",)),
        Node("two", "Conv", ("ad", "w2"), ("y",)),
    )
    return Graph(nodes, sizes)


def measured() -> dict[str, Measured]:
    fp32 = (NodeTime("one", "Conv", (2.0, 3.0)), NodeTime("two", "Conv", (9.0, 8.0)), NodeTime("?", "Odd", (0.5, 0.5)))
    int8 = (
        NodeTime("one", "QLinearConv", (0.5,)),
        NodeTime("two", "FusedConv", (9.0,)),
        NodeTime("d2", "DequantizeLinear", (0.25,)),
    )
    return {
        "fp32": Measured(graph(is_quantized=False), Profile(fp32, (12.0, 13.0))),
        "int8": Measured(graph(is_quantized=True), Profile(int8, (10.0,))),
    }


def test_what_was_lost_comes_first() -> None:
    rows = layer_rows(measured(), TOY, {"toy": TOY})
    assert [row.name for row in rows] == ["two", "one"]
    two, one = (row.times["int8"] for row in rows)
    assert two.promised_ms == pytest.approx(8.0 / 4), "bound by computing: int8 is promised four times the rate"
    assert two.lost_ms == pytest.approx(9.0 - 2.0)
    assert one.lost_ms == pytest.approx(0.5 - 2.0 / 4)
    assert (one.is_integer, two.is_integer) == (True, False)
    assert two.kernels == ("FusedConv",)
    assert rows[0].times["fp32"].lost_ms is None
    assert rows[0].times["fp32"].estimate_ms["toy"] == pytest.approx(2 * 0.05 / 0.1)
    assert rows[0].times["int8"].bound_by["toy"] == "compute"


def test_totals_account_for_all_time() -> None:
    found = measured()
    rows = layer_rows(found, TOY, {"toy": TOY})
    reference = found["fp32"].graph
    fp32, int8 = (total(found[name], place(reference, found[name]).unmapped_ms, rows, name) for name in found)
    assert (fp32.run_ms, fp32.nodes_ms, fp32.mapped_ms) == (12.0, 10.5, 10.0)
    assert fp32.coverage == pytest.approx(10 / 10.5)
    assert (int8.num_quantized, int8.num_integer) == (2, 1)
    assert int8.mapped_ms == int8.nodes_ms == 9.75
    assert place(reference, found["int8"]).overhead == {"DequantizeLinear": 0.25}


def test_without_a_roofline_of_the_machine_nothing_is_promised() -> None:
    rows = layer_rows(measured(), None, {})
    assert [row.name for row in rows] == ["two", "one"], "the longest first"
    assert all(time.promised_ms is None and time.lost_ms is None for row in rows for time in row.times.values())


def test_rates_of_this_machine_are_measured() -> None:
    peak = measure_peak(threads=1)
    assert peak.tera_ops["uint8"] == peak.tera_ops["int8"] > 0
    assert peak.tera_ops["float16"] == peak.tera_ops["float32"] > 0
    assert peak.gigabytes_per_s > 0
    assert "measured just now" in peak.source


def test_command_prints_tables_of_a_hundred_columns_and_writes_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_bundle(tmp_path / "bundle", precisions=("fp32", "fp16", "int8", "uint8")).folder
    shell = Shell(monkeypatch, capsys)
    words = ("inspect", folder, "--layers", "--runs", 3, "--rows", 4, "--target", "orin,thor,this", "--threads", 2)
    status, out, _ = shell(*words, "--json", tmp_path / "layers.json")
    assert status == 0
    assert max(len(line) for line in out.splitlines()) <= 100
    for part in (
        "other layers",
        "whole run",
        "is mapped",
        "2 threads",
        "made-up cloud",
        "115000 points",
    ):
        assert part in out
    for target in ("Jetson AGX Orin 64GB", "Jetson T5000", "this CPU, 2 threads"):
        assert f"ESTIMATE for {target}" in out
    report = LayerReport.model_validate(json.loads((tmp_path / "layers.json").read_text()))
    assert set(report.totals) == {"fp32", "fp16", "int8", "uint8"}
    assert {"Conv_hidden", "Conv_logits"} <= {row.name for row in report.layers}
    assert set(report.peaks) == {"orin", "thor", "this"}
    assert min(entry.coverage for entry in report.totals.values()) > 0.9


def test_command_takes_a_precision_and_a_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    folder = tiny_bundle(tmp_path / "bundle", precisions=("fp32", "int8", "uint8")).folder
    shell = Shell(monkeypatch, capsys)
    status, out, _ = shell("inspect", folder, "--layers", "--runs", 3, "--precision", "uint8", "--runtime", "openvino")
    assert status == 0
    assert "mean of 3 runs" in out
    assert "uint8" in out
    assert "int8 " not in out.replace("uint8 ", "").replace("int8 GMAC", "")


def test_wrong_words_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_bundle(tmp_path / "bundle").folder
    shell = Shell(monkeypatch, capsys)
    for words, message in [
        (("--layers", "--target", "abacus"), "target: found abacus"),
        (("--layers", "--precision", "int3"), "precision: found int3"),
        (("--layers", "--precision", "int8"), "int8"),
        (("--layers", "--runs", 2), "--runs: found 2, wanted 3 or more"),
        (("--layers", "--threads", 0), "threads: found 0"),
        (("--layers", "--data", tmp_path / "absent"), "absent"),
        (("--layers", "--runtime", "tensorrt"), "error:"),
        (("--json", tmp_path / "a.json"), "--json: found without --layers"),
        (("--target", "orin"), "add --layers"),
        (("--runtime", "openvino"), "--runtime: found without --layers"),
        (("--rows", 3), "--rows: found without --layers"),
        (("--layers", "--lidar", "top"), "--lidar: found without --data"),
        (("--layers", "--json", tmp_path), "found a folder, wanted a file"),
        (("--precisions",), "engines with layers: found none"),
    ]:
        status, out, err = shell("inspect", folder, *words)
        assert (status, out) == (2, ""), words
        assert err.count("\n") == 1
        assert message in err
    assert not (tmp_path / "a.json").exists()


def test_without_onnx_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(Exception, match=r"package onnx.*understudy\[calibration\]"):
        inspect_layers(bundle, [], made_up_scene(bundle.manifest), ProfilePlan(num_runs=3))


def test_made_up_scene_is_always_the_same_and_no_larger_than_the_student_takes() -> None:
    one, other = (made_up_scene(tiny_contract()).frame.clouds["lidar"].points for _ in range(2))
    assert one.tobytes() == other.tobytes()
    assert len(one) <= tiny_contract().input.max_points


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "bundle")


def test_tensorrt_reports_its_layers_run_by_run(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "built").mkdir()
    vehicle = Vehicle(monkeypatch, tmp_path / "built", capability=(8, 7))
    vehicle.build(bundle)
    feeds = frame_feeds()
    found = profile_engines(bundle, ["fp32"], feeds, ProfilePlan("tensorrt", num_runs=3), cuda=vehicle.cuda)["fp32"]
    times = {node.name: node for node in found.nodes}
    assert {name: len(node.runs_ms) for name, node in times.items()} == {
        "Reformatting CopyNode for Input Tensor 0": 3,
        "Conv_hidden": 3,
        "Conv_logits": 3,
    }
    assert times["Conv_hidden"].sources == ("Conv_hidden",)
    assert times["Reformatting CopyNode for Input Tensor 0"].kind == "Reformat"
    assert vehicle.gpu.is_all_given_back
    with pytest.raises(EngineError, match="silently clips"):
        profile_engines(bundle, ["uint8"], feeds, ProfilePlan("tensorrt"), cuda=vehicle.cuda)


def frame_feeds() -> dict[str, object]:
    import numpy as np

    from understudy.testing import road_cloud

    return {
        "points": road_cloud(np.random.default_rng(0), 500).points,
        "ego_from_sensor": np.eye(4, dtype=np.float32)[:3].copy(),
        "intensity_factor": np.ones(1, np.float32),
    }


def test_describe_leaves_columns_out_where_nothing_is_compared(bundle: Bundle) -> None:
    report = inspect_layers(bundle, [], made_up_scene(bundle.manifest), ProfilePlan(num_runs=3))
    lines = list(describe(report, num_rows=2))
    assert "got/est" not in "\n".join(lines)
    with pytest.raises(InputError):
        ProfilePlan("abacus")  # type: ignore[arg-type]
