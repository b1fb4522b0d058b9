"""Cutting an exported graph where its maps are: what teaches a student are heads and features, not boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from understudy.errors import InputError

_OUR_LAYERS = {
    "heatmap": ("head.heatmap.1.weight", "output"),
    "regression": ("head.regression.1.weight", "output"),
    "low": ("backbone.stages.1.0.0.weight", "input"),
    "high": ("head.shared.0.weight", "input"),
}
"""Weights of the convolutions in an exported detector of ours that give or take a map, and on which side it is."""


def read_graph(path: Path) -> Any:
    """An ONNX file as a `ModelProto`.

    Raises:
        InputError: when it is missing or is not ONNX.
    """
    if not path.is_file():
        raise InputError(f"{path}", found="no such file", wanted="an ONNX file")
    try:
        model = onnx.load(path)  # the runtime checks the rest, and takes more than onnx's own checker
    except Exception as error:  # protobuf raises types of its own
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}", found=first_line, wanted="an ONNX file") from error
    return model


def our_maps(model: Any, path: Path) -> dict[str, str]:
    """Tensors of heatmap, regression, low and high in the graph of an exported detector of ours.

    Raises:
        InputError: when it is none, or was changed since, as by quantization.
    """
    found = {name: _beside(model, ending, side) for name, (ending, side) in _OUR_LAYERS.items()}
    missing = [name for name, tensor in found.items() if tensor is None]
    if missing:
        remedy = f"describe its outputs in {path.with_suffix('.yaml').name} beside it"
        raise InputError(
            f"{path}", found=f"no {missing[0]}", wanted="an exported float32 detector of ours", remedy=remedy
        )
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _beside(model: Any, ending: str, side: str) -> str | None:
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) > 1 and node.input[1].endswith(ending):
            tensor: str = node.output[0] if side == "output" else node.input[0]
            return tensor
    return None


def cut_at(model: Any, tensors: Sequence[str], path: Path) -> Any:
    """The part of a graph that makes some tensors: they are its outputs, what they need its inputs.

    Args:
        model: the whole; left as it is.
        tensors: by name.
        path: of its file, for the message.

    Raises:
        InputError: when no node makes one of them.
    """
    made = {name for node in model.graph.node for name in node.output}
    missing = [name for name in tensors if name not in made]
    if missing:
        present = ", ".join(output.name for output in model.graph.output)
        raise InputError(
            f"{path}", found=f"no tensor {missing[0]}", wanted=f"one that its graph makes, such as {present}"
        )
    graph = model.graph
    needed, nodes = set(tensors), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(name for name in (*node.input, *_read_inside(node)) if name)
    cut = onnx.helper.make_graph(
        nodes[::-1],
        graph.name,
        [entry for entry in graph.input if entry.name in needed],
        [onnx.ValueInfoProto(name=name) for name in tensors],  # the runtime knows their types
        [entry for entry in graph.initializer if entry.name in needed],
        sparse_initializer=[entry for entry in graph.sparse_initializer if entry.values.name in needed],
    )
    return onnx.helper.make_model(
        cut, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )


def _read_inside(node: Any) -> set[str]:
    """Tensors of the graph around it that the branches or the body of a node read."""
    graphs = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    graphs += [graph for attribute in node.attribute for graph in attribute.graphs]
    inner = [entry for graph in graphs for entry in graph.node]
    return {name for entry in inner for name in (*entry.input, *_read_inside(entry))} | {
        output.name for graph in graphs for output in graph.output
    }
