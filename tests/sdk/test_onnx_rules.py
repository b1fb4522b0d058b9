from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from understudy.errors import BundleError, EngineError
from understudy.onnx_rules import check_graph, uint8_tensors

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name: str, kind: int = FLOAT, shape: tuple[int | str, ...] | None = (8,)) -> object:
    return helper.make_tensor_value_info(name, kind, shape)


def write(
    path: Path, nodes: list, inputs: list, outputs: list, constants: dict | None = None, opset: int = 18, ir: int = 10
) -> Path:
    initializers = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir), path)
    return path


def top_k(path: Path, k: int) -> Path:
    node = helper.make_node("TopK", ["x", "k"], ["values", "indices"])
    outputs = [value("values", FLOAT, (k,)), value("indices", INT64, (k,))]
    return write(path, [node], [value("x", FLOAT, (5000,))], outputs, {"k": np.array([k])})


def scatter_nd(path: Path, reduction: str) -> Path:
    node = helper.make_node("ScatterND", ["x", "where", "what"], ["y"], reduction=reduction)
    inputs = [value("x"), value("where", INT64, (3, 1)), value("what", FLOAT, (3,))]
    return write(path, [node], inputs, [value("y")])


def test_takes_a_plain_graph(tmp_path: Path) -> None:
    facts = check_graph(scatter_nd(tmp_path / "a.onnx", "none"))
    assert (facts.opset, facts.ir_version) == (18, 10)
    assert check_graph(top_k(tmp_path / "b.onnx", 3840)).opset == 18


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_names_scatter_reductions(tmp_path: Path, reduction: str) -> None:
    with pytest.raises(EngineError, match=f"ScatterND with reduction {reduction}"):
        check_graph(scatter_nd(tmp_path / "a.onnx", reduction))


def test_names_scatter_elements_reductions(tmp_path: Path) -> None:
    node = helper.make_node("ScatterElements", ["x", "where", "what"], ["y"], reduction="add")
    inputs = [value("x"), value("where", INT64, (3,)), value("what", FLOAT, (3,))]
    with pytest.raises(EngineError, match="ScatterElements with reduction add"):
        check_graph(write(tmp_path / "a.onnx", [node], inputs, [value("y")]))


def test_names_a_large_top_k(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"TopK with K = 3841 \(K may be 3840 at most\)"):
        check_graph(top_k(tmp_path / "a.onnx", 3841))


def test_names_a_computed_top_k(tmp_path: Path) -> None:
    nodes = [helper.make_node("Shape", ["m"], ["k"]), helper.make_node("TopK", ["x", "k"], ["values", "indices"])]
    outputs = [value("values", FLOAT, ("k",)), value("indices", INT64, ("k",))]
    with pytest.raises(EngineError, match="K that is computed"):
        check_graph(write(tmp_path / "a.onnx", nodes, [value("x"), value("m")], outputs))


def refused(operator: str, tmp_path: Path) -> Path:
    path, one = tmp_path / f"{operator}.onnx", [value("x")]
    if operator == "Unique":
        return write(path, [helper.make_node("Unique", ["x"], ["y"])], one, [value("y", FLOAT, ("u",))])
    if operator == "NonZero":
        return write(path, [helper.make_node("NonZero", ["x"], ["y"])], one, [value("y", INT64, (1, "n"))])
    if operator == "Compress":
        node = helper.make_node("Compress", ["x", "c"], ["y"])
        return write(path, [node], [*one, value("c", BOOL)], [value("y", FLOAT, ("n",))])
    if operator == "NonMaxSuppression":
        node = helper.make_node("NonMaxSuppression", ["b", "s"], ["y"])
        inputs = [value("b", FLOAT, (1, 8, 4)), value("s", FLOAT, (1, 2, 8))]
        return write(path, [node], inputs, [value("y", INT64, ("n", 3))])
    node = helper.make_node("RoiAlign", ["x", "r", "i"], ["y"], output_height=2, output_width=2)
    inputs = [value("x", FLOAT, (1, 1, 8, 8)), value("r", FLOAT, (3, 4)), value("i", INT64, (3,))]
    return write(path, [node], inputs, [value("y", FLOAT, (3, 1, 2, 2))])


@pytest.mark.parametrize("operator", ["Unique", "NonZero", "Compress", "NonMaxSuppression", "RoiAlign"])
def test_names_operators_that_no_builder_takes(tmp_path: Path, operator: str) -> None:
    with pytest.raises(EngineError, match=rf"{operator}\.onnx: found {operator} \(.+\)"):
        check_graph(refused(operator, tmp_path))


def test_looks_into_subgraphs(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["n"]), helper.make_node("Identity", ["x"], ["z"])],
        "then",
        [],
        [value("z")],
    )
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["w"])], "else", [], [value("w")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other)
    with pytest.raises(EngineError, match="NonZero"):
        check_graph(write(tmp_path / "a.onnx", [node], [value("x"), value("c", BOOL, ())], [value("y")]))


def test_names_operators_of_other_domains(tmp_path: Path) -> None:
    node = helper.make_node("Voxelize", ["x"], ["y"], domain="my.plugins")
    graph = helper.make_graph([node], "graph", [value("x")], [value("y")])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my.plugins", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "a.onnx")
    with pytest.raises(EngineError, match=r"my\.plugins\.Voxelize"):
        check_graph(tmp_path / "a.onnx")


@pytest.mark.parametrize(("opset", "ir"), [(18, 11), (22, 10), (11, 6)])
def test_refuses_other_versions(tmp_path: Path, opset: int, ir: int) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = write(tmp_path / "a.onnx", nodes, [value("x")], [value("y")], opset=opset, ir=ir)
    with pytest.raises(EngineError, match=rf"found opset {opset}, IR {ir}, wanted opset 17\.\.20, IR 8\.\.10"):
        check_graph(path)


def test_refuses_what_is_no_onnx(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        check_graph(tmp_path / "missing.onnx")
    (tmp_path / "a.onnx").write_bytes(b"hello, this is text")
    with pytest.raises(BundleError):
        check_graph(tmp_path / "a.onnx")


def test_refuses_an_invalid_graph(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["nowhere"], ["y"])]
    with pytest.raises(EngineError, match="wanted a valid ONNX file"):
        check_graph(write(tmp_path / "a.onnx", nodes, [value("x")], [value("y")]))


def quantize(kind: int | None, **attributes: int) -> object:
    """A graph with one QuantizeLinear; `kind` is its zero point's type, None leaves the zero point out."""
    inputs = ["x", "scale"] if kind is None else ["x", "scale", "zero"]
    constants = [helper.make_tensor("scale", FLOAT, [], [0.1])]
    constants += [] if kind is None else [helper.make_tensor("zero", kind, [], [0])]
    node = helper.make_node("QuantizeLinear", inputs, ["q"], **attributes)
    return helper.make_graph([node], "graph", [value("x")], [], constants)


def test_a_quantization_without_zero_point_is_uint8() -> None:
    assert list(uint8_tensors(quantize(None))) == ["q"]
    assert list(uint8_tensors(quantize(TensorProto.UINT8))) == ["zero"]
    assert list(uint8_tensors(quantize(None, output_dtype=TensorProto.UINT8))) == ["q"]
    assert list(uint8_tensors(quantize(None, output_dtype=TensorProto.INT8))) == []
    assert list(uint8_tensors(quantize(TensorProto.INT8))) == []
