"""Multiplications and bytes against sums done by hand, and rooflines over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from understudy.errors import BundleError, InputError
from understudy.layers.costs import Cost, layer_cost
from understudy.layers.graph import Graph, read_graph
from understudy.layers.roofline import PEAKS, Peak, bound_by, estimate_ms, peak_named
from understudy.testing import write_tiny_model

TOY = Peak(name="toy", tera_ops={"float32": 2.0, "int8": 8.0}, gigabytes_per_s=100.0, source="made up")


def save(path: Path, nodes: list[Any], constants: dict[str, np.ndarray], given: list[Any], made: list[Any]) -> Path:
    tensors = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values]
        for values in (given, made)
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", *tensors, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, [output], name=f"node_{output}", **attributes)


def costs(graph: Graph) -> dict[str, Cost]:
    return {layer.name: layer_cost(layer, graph) for layer in graph.layers}


def test_convolutions_and_products(tmp_path: Path) -> None:
    constants = {
        "w": np.zeros((8, 4, 3, 3), np.float32),
        "d": np.zeros((8, 1, 3, 3), np.float32),
        "t": np.zeros((8, 6, 2, 2), np.float32),
        "m": np.zeros((20, 5), np.float32),
    }
    nodes = [
        node("Conv", ["x", "w"], "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c"], "r"),
        node("Conv", ["r", "d"], "e", pads=[1, 1, 1, 1], group=8),
        node("ConvTranspose", ["e", "t"], "u", strides=[2, 2]),
        node("MatMul", ["u", "m"], "y"),
    ]
    path = save(tmp_path / "a.onnx", nodes, constants, [("x", [1, 4, 12, "W"])], [("y", [1, 6, 12, 5])])
    found = costs(read_graph(path, {"x": (1, 4, 12, 20)}))
    assert list(found) == ["node_c", "node_e", "node_u", "node_y"], "a ReLU belongs to its convolution"
    assert found["node_c"].giga_macs * 1e9 == pytest.approx(8 * 6 * 10 * 4 * 9)
    assert found["node_e"].giga_macs * 1e9 == pytest.approx(8 * 6 * 10 * 9)
    assert found["node_u"].giga_macs * 1e9 == pytest.approx(8 * 6 * 10 * 6 * 4)
    assert found["node_y"].giga_macs * 1e9 == pytest.approx(6 * 12 * 20 * 5)
    read, weights, written = 4 * 12 * 20, 8 * 4 * 9, 8 * 6 * 10
    assert found["node_c"].megabytes * 1e6 == pytest.approx(4 * (read + weights + written))
    assert {cost.dtype for cost in found.values()} == {"float32"}


def quantized(tmp_path: Path) -> Graph:
    constants = {
        "w": np.zeros((8, 4, 1, 1), np.int8),
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.uint8),
        "zw": np.array(0, np.int8),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], "xq"),
        node("DequantizeLinear", ["xq", "s", "z"], "xd"),
        node("DequantizeLinear", ["w", "s", "zw"], "wd"),
        node("Conv", ["xd", "wd"], "c"),
        node("Relu", ["c"], "r"),
        node("QuantizeLinear", ["r", "s", "z"], "rq"),
        node("DequantizeLinear", ["rq", "s", "z"], "y"),
    ]
    given, made = [("x", [1, 4, 10, 10])], [("y", [1, 8, 10, 10])]
    return read_graph(save(tmp_path / "q.onnx", nodes, constants, given, made), {})


def test_what_is_quantized_is_stored_in_one_byte(tmp_path: Path) -> None:
    (cost,) = costs(quantized(tmp_path)).values()
    assert cost.dtype == "uint8"
    assert cost.megabytes * 1e6 == pytest.approx(400 + 32 + 800)


def test_views_cost_nothing_and_slices_what_they_give(tmp_path: Path) -> None:
    constants = {name: np.array([value], np.int64) for name, value in {"from": 0, "to": 5, "flat": -1}.items()}
    nodes = [node("Slice", ["x", "from", "to"], "s"), node("Reshape", ["s", "flat"], "y")]
    path = save(tmp_path / "a.onnx", nodes, constants, [("x", [1000, 2])], [("y", [10])])
    found = costs(read_graph(path, {}))
    assert found["node_s"].megabytes * 1e6 == pytest.approx(2 * 5 * 2 * 4 + 2 * 8)
    assert found["node_y"] == Cost()


def test_every_size_of_a_student_can_be_told(tmp_path: Path) -> None:
    shapes = {"points": (1234, 4), "ego_from_sensor": (3, 4), "intensity_factor": (1,)}
    graph = read_graph(write_tiny_model(tmp_path / "tiny.onnx"), shapes)
    unknown = [name for node in graph.nodes for name in node.outputs if name not in graph.sizes]
    assert unknown == []
    assert sum(cost.giga_macs for cost in costs(graph).values()) * 1e9 == 32 * 32 * (8 * 9 + 8 * 4)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"a\.onnx"):
        read_graph(tmp_path / "a.onnx", {})


def test_the_longer_of_computing_and_moving() -> None:
    computing, moving = Cost(1.0, 10.0, "float32"), Cost(0.01, 10.0, "float32")
    assert estimate_ms(computing, TOY) == pytest.approx(1.0)
    assert estimate_ms(moving, TOY) == pytest.approx(0.1)
    assert estimate_ms(Cost(1.0, 1.0, "int8"), TOY) == pytest.approx(0.25)
    assert estimate_ms(Cost(megabytes=5.0), TOY) == pytest.approx(0.05)
    assert estimate_ms(Cost(1.0, 1.0, "uint8"), TOY) is None, "a type that it does not compute in"
    assert [bound_by(cost, TOY) for cost in (computing, moving, Cost())] == ["compute", "memory", ""]


def test_peaks_name_their_sources_and_leave_out_the_twin() -> None:
    for peak in PEAKS.values():
        assert "NVIDIA" in peak.source
        assert "derived" in peak.source, "what was not published says how it was found"
        rates = [peak.tera_ops[dtype] for dtype in ("float32", "float16", "int8")]
        assert rates == sorted(rates)
        assert peak.rate("uint8") is None
    with pytest.raises(InputError, match="target: found abacus, wanted this or orin or thor or rtx4060"):
        peak_named("abacus")
