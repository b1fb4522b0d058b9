"""What precision each layer of an engine really has: read back, kept beside the engine, held against what was asked.

What was asked is in the ONNX graph: a node whose input comes from an INT8 DequantizeLinear is to compute in INT8, one
whose input is float16 in HALF. What was built is read from the engine by TensorRT's inspector, on the GPU it is for; on
a machine without that GPU it is read from the strongly typed network that was built, and says so. Where the inspector
does not tell a node apart, as in what Myelin fused, the network speaks for that node alone.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from understudy.bundle.onnx_facts import load_onnx
from understudy.configuration import Config
from understudy.errors import EngineError

Source = Literal["engine", "network"]
SOURCES: dict[Source, str] = {
    "engine": "the built engine (inspector)",
    "network": "the network definition (strongly typed); reading the engine itself needs its GPU",
}
COMPUTING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""ONNX operators whose precision decides speed and accuracy."""

_WITHOUT_WORK = frozenset({"CONSTANT", "SHAPE", "SHUFFLE", "IDENTITY"})
_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_INSPECTED_TYPE = re.compile(r"\b(FP32|FP16|BF16|BFLOAT16|FP8|INT8|INT32|INT64|UINT8|BOOL|FLOAT|HALF)\b", re.IGNORECASE)
_SAME = {"FP32": "FLOAT", "FP16": "HALF", "BFLOAT16": "BF16", "BOOLEAN": "BOOL"}
_TYPE_KEYS = ("Format/Datatype", "Datatype", "DataType", "Format")
"""Of an inspected input or output; 11.x has split what was one entry up to 10.x."""
_COMPUTING_KINDS = ("conv", "gemm", "matmul", "matrix")
_MOST_NAMED = 3


class LayerPrecision(Config):
    """One layer; types are FLOAT, HALF, INT8, ... as TensorRT calls them."""

    name: str
    kind: str
    onnx_nodes: tuple[str, ...] = ()
    """Nodes of the ONNX file it was made from; several where TensorRT fused them."""
    inputs: tuple[str, ...] = ()
    """What it computes with: behind a DEQUANTIZE, what that was fed with."""
    weights: str = ""
    """Empty where it has none."""
    outputs: tuple[str, ...] = ()


class Attestation(Config):
    """Every layer that does work."""

    schema_version: Literal[1] = 1
    source: Source
    layers: tuple[LayerPrecision, ...]
    from_network: tuple[LayerPrecision, ...] = ()
    """Of an engine's table: layers of the network for the nodes that the inspector does not tell apart."""

    @property
    def num_by_type(self) -> dict[str, int]:
        """Layers with weights, by the type of what they compute with."""
        return dict(sorted(Counter(row.inputs[0] for row in self.layers if row.weights and row.inputs).items()))


def attest_network(network: Any) -> Attestation:
    """Reads an `INetworkDefinition`."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    producer = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
    rows = [_network_row(layer, producer) for layer in layers if layer.type.name not in _WITHOUT_WORK]
    return Attestation(source="network", layers=tuple(rows))


def attest_inspection(text: str) -> Attestation:
    """Reads what `EngineInspector.get_engine_information` gives of an engine built with detailed verbosity, as JSON.

    Raises:
        EngineError: when it is not JSON with layers and their types.
    """
    try:
        layers = json.loads(text)["Layers"]
        rows = tuple(_inspected_row(entry) for entry in layers)
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise EngineError(
            "engine inspector",
            found=f"{type(error).__name__} in {text[:60]!r}",
            wanted="layers with their types",
            remedy="build with detailed profiling verbosity: understudy compile does",
        ) from error
    return Attestation(source="engine", layers=rows)


def requested_types(model: Path) -> dict[str, str]:
    """What the graph asks of each node that computes, by name: INT8, HALF or FLOAT.

    Raises:
        BundleError: when the file cannot be read.
    """
    import onnx

    loaded = onnx.shape_inference.infer_shapes(load_onnx(model))
    graph = loaded.graph
    maker = {name: node for node in graph.node for name in node.output}
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    types |= {constant.name: constant.data_type for constant in graph.initializer}
    return {
        node.name: _requested(node, maker, types, onnx.TensorProto) for node in graph.node if node.op_type in COMPUTING
    }


def completed(inspected: Attestation, defined: Attestation, model: Path) -> Attestation:
    """An engine's table, with the network's layers for nodes that compute and that the inspector does not tell."""
    untold = {node for node in requested_types(model) if not any(_tells(row, node) for row in inspected.layers)}
    rows = tuple(row for row in defined.layers if any(_tells(row, node) for node in untold))
    return inspected.model_copy(update={"from_network": rows})


def refuse_departures(model: Path, attestation: Attestation) -> None:
    """Raises EngineError when a node that computes is not in the table, or not in the precision the graph asks for."""
    wanted = requested_types(model)
    rows = (*attestation.layers, *attestation.from_network)
    found = [
        f"{node} in {row.inputs[0]}, asked for {kind}"
        for node, kind in wanted.items()
        for row in rows
        if _tells(row, node) and kind not in (row.inputs[:1] if row.weights else row.inputs)
    ]
    found += [f"{node} in no layer of the table" for node in wanted if not any(_tells(row, node) for row in rows)]
    if found:
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise EngineError(
            f"{model}: precision of {len(found)} of {len(wanted)} nodes",
            found="; ".join(found[:_MOST_NAMED]) + more,
            wanted="what the graph asks for",
            remedy="quantize with other layers, or compile with the precision it can have",
        )


def describe(attestation: Attestation) -> list[str]:
    """A table of the layers with weights, at most 100 columns wide."""
    rows = [row for row in attestation.layers if row.weights]
    told = len(rows)
    rows += attestation.from_network
    kinds = Counter(row.kind for row in attestation.layers if not row.weights)
    lines = [f"read from {SOURCES[attestation.source]}", f"{'onnx node':<58} {'kind':<14} {'in':<6} {'weights':<8} out"]
    for number, row in enumerate(rows):
        if number == told:
            lines.append(f"not told apart by the inspector; read from {SOURCES['network'].partition(';')[0]}:")
        name = ", ".join(row.onnx_nodes) or row.name
        taken, given = (types[0] if types else "-" for types in (row.inputs, row.outputs))
        lines.append(f"{_cut(name, 58):<58} {row.kind[:14]:<14} {taken:<6} {row.weights:<8} {given}")
    if kinds:
        others = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(5))
        lines.append(f"and without weights: {others}{', ...' if len(kinds) > 5 else ''}")
    return lines


def _network_row(layer: Any, producer: dict[str, Any]) -> LayerPrecision:
    inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
    types = [_behind_dequantize(tensor, producer) for tensor in inputs if tensor is not None]
    has_weights = layer.type.name in {"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"}
    weights = (types[1] if len(types) > 1 else types[0]) if has_weights and types else ""
    return LayerPrecision(
        name=layer.name,
        kind=layer.type.name,
        onnx_nodes=tuple(_ONNX_NODE.findall(layer.metadata)),
        inputs=tuple(types[:1] if has_weights else types),
        weights=weights,
        outputs=tuple(layer.get_output(index).dtype.name for index in range(layer.num_outputs)),
    )


def _behind_dequantize(tensor: Any, producer: dict[str, Any]) -> str:
    """The type that is computed with: a DEQUANTIZE before a layer is fused into it."""
    layer = producer.get(tensor.name)
    if layer is not None and layer.type.name == "DEQUANTIZE":
        return str(layer.get_input(0).dtype.name)
    return str(tensor.dtype.name)


def _inspected_row(entry: dict[str, Any]) -> LayerPrecision:
    weights = entry.get("Weights") or {}
    return LayerPrecision(
        name=entry["Name"],
        kind=entry.get("ParameterType") or entry["LayerType"],
        onnx_nodes=tuple(_ONNX_NODE.findall(entry.get("Metadata", ""))),
        inputs=tuple(_inspected_type(port) for port in entry.get("Inputs", [])),
        weights=_type_named(weights["Type"]) if weights.get("Count", 0) else "",
        outputs=tuple(_inspected_type(port) for port in entry.get("Outputs", [])),
    )


def _tells(row: LayerPrecision, node: str) -> bool:
    """Whether a layer computes a node; copies around a kernel carry its node's name, too."""
    computes = bool(row.weights) or any(kind in row.kind.lower() for kind in _COMPUTING_KINDS)
    return computes and bool(row.inputs) and node in row.onnx_nodes


def _inspected_type(port: dict[str, Any]) -> str:
    return _type_named(next(port[key] for key in _TYPE_KEYS if port.get(key)))


def _type_named(text: str) -> str:
    """As in `Thirty-two wide channel vectorized row major Int8 format`."""
    found = _INSPECTED_TYPE.search(text)
    name = found.group(1).upper() if found else text.upper()
    return _SAME.get(name, name)


def _requested(node: Any, maker: dict[str, Any], types: dict[str, int], kinds: Any) -> str:
    source = maker.get(node.input[0])
    if source is not None and source.op_type == "DequantizeLinear":
        return {kinds.INT8: "INT8", kinds.UINT8: "UINT8"}.get(types.get(source.input[0], 0), "INT8")
    return {kinds.FLOAT16: "HALF", kinds.BFLOAT16: "BF16"}.get(types.get(node.input[0], 0), "FLOAT")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"...{text[-width + 3 :]}"
