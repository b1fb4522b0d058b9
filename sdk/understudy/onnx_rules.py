"""What an ONNX graph may hold so that every runtime of ours takes it. Needs the package onnx.

`OnnxParser.supports_operator()` answers yes for operators whose build then fails, so this is a table of what real
builds refused. It is a first sieve; only a build is a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.bundle.onnx_facts import load_onnx
from understudy.errors import EngineError

OPSETS = range(17, 21)
IR_VERSIONS = range(8, 11)
LARGEST_TOP_K = 3840

REFUSED_OPERATORS: dict[str, str] = {
    "Unique": "group points on the host",
    "NonZero": "write a mask and keep the shape",
    "Compress": "write a mask and keep the shape",
    "RoiAlign": "gather from the map instead",
    "DeformConv": "use a plain convolution",
    "NonMaxSuppression": "suppress with the overlap matrix of decoding.py",
    "BitShift": "use multiplication",
    "BitwiseAnd": "use Mod and Div",
}
"""Operator to what to do instead; the TensorRT-RTX parser or builder refuses each of them."""

_SCATTERS = frozenset({"ScatterND", "ScatterElements"})
_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_UINT8 = 2
_TYPE_ATTRIBUTES = frozenset({"to", "output_dtype"})


@dataclass(frozen=True)
class GraphFacts:
    """Versions of an ONNX file."""

    opset: int
    ir_version: int


def check_graph(path: Path) -> GraphFacts:
    """Reads an ONNX file and refuses what some runtime of ours will not take.

    Raises:
        BundleError: when onnx is not installed, or the file is missing or is not ONNX.
        EngineError: when the graph is invalid or breaks a rule; every operator that breaks one is named.
    """
    model = _load(path)
    facts = GraphFacts(_opset(model, path), int(model.ir_version))
    if facts.opset not in OPSETS or facts.ir_version not in IR_VERSIONS:
        raise EngineError(
            f"{path}",
            found=f"opset {facts.opset}, IR {facts.ir_version}",
            wanted=f"opset {OPSETS[0]}..{OPSETS[-1]}, IR {IR_VERSIONS[0]}..{IR_VERSIONS[-1]}",
            remedy="export again with opset 18",
        )
    constants = _constants(model.graph)
    problems = [problem for node in _nodes(model) if (problem := _problem(node, constants))]
    if problems:
        named = "; ".join(sorted(set(problems)))
        raise EngineError(f"{path}", found=named, wanted="operators that every runtime builds")
    return facts


def uint8_tensors(graph: Any) -> Iterator[str]:
    """Names of the UINT8 tensors of a graph and of the graphs inside its nodes: TensorRT silently clips them.

    An input that is cast before anything else is none of them: pictures come so. TensorRT takes UINT8 as an input or
    output of the network, to be converted to floating point before any other operation.
    """
    yield from (tensor.name for tensor in graph.initializer if tensor.data_type == _UINT8)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == _UINT8 and not _is_cast_first(graph, value.name):
            yield value.name
    for node in graph.node:
        if _makes_uint8(node):
            yield node.output[0]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from uint8_tensors(inner)


def _is_cast_first(graph: Any, name: str) -> bool:
    """Whether a tensor is an input of the graph that only casts read."""
    readers = [node for node in graph.node if name in node.input]
    is_input = any(value.name == name for value in graph.input)
    return is_input and bool(readers) and all(node.op_type == "Cast" for node in readers)


def _makes_uint8(node: Any) -> bool:
    """By a constant, a cast, or a QuantizeLinear that names neither a zero point nor a type: UINT8 is its default."""
    types = {attribute.name: attribute.i for attribute in node.attribute if attribute.name in _TYPE_ATTRIBUTES}
    if _UINT8 in types.values() or any(attribute.t.data_type == _UINT8 for attribute in node.attribute):
        return True
    has_zero_point = len(node.input) > 2 and bool(node.input[2])
    return node.op_type == "QuantizeLinear" and not has_zero_point and not types.get("output_dtype")


def _load(path: Path) -> Any:
    model = load_onnx(path)
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # checker and shape inference share no base
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EngineError(f"{path}", found=found, wanted="a valid ONNX file") from error
    return model


def _opset(model: Any, path: Path) -> int:
    versions = [int(entry.version) for entry in model.opset_import if entry.domain in _STANDARD_DOMAINS]
    if not versions:
        raise EngineError(f"{path}", found="no standard opset", wanted="an ONNX file of the standard operators")
    return versions[0]


def _nodes(model: Any) -> Iterator[Any]:
    """Every node, those of subgraphs and functions included."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                pending.extend(graph.node)


def _constants(graph: Any) -> dict[str, Any]:
    """Initializers and Constant nodes by name."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    return constants


def _problem(node: Any, constants: dict[str, Any]) -> str:
    """What is wrong with a node, with what to do; empty when nothing is."""
    if node.domain not in _STANDARD_DOMAINS:
        return f"{node.domain}.{node.op_type} (no standard operator: no runtime of ours has plugins)"
    if node.op_type in REFUSED_OPERATORS:
        return f"{node.op_type} ({REFUSED_OPERATORS[node.op_type]})"
    if node.op_type in _SCATTERS:
        return _scatter_problem(node)
    if node.op_type == "TopK":
        return _top_k_problem(node, constants)
    return ""


def _scatter_problem(node: Any) -> str:
    reductions = [attribute.s.decode() for attribute in node.attribute if attribute.name == "reduction"]
    if any(reduction != "none" for reduction in reductions):
        return f"{node.op_type} with reduction {reductions[0]} (write one constant, or unique cells)"
    return ""


def _top_k_problem(node: Any, constants: dict[str, Any]) -> str:
    from onnx import numpy_helper

    tensor = constants.get(node.input[1])
    if tensor is None:
        return "TopK with a K that is computed (make K a constant)"
    k = int(numpy_helper.to_array(tensor).reshape(-1)[0])
    return f"TopK with K = {k} (K may be {LARGEST_TOP_K} at most)" if k > LARGEST_TOP_K else ""
