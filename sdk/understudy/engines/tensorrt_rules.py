"""What must never reach a TensorRT build, looked for by name before building.

A refusal by the builder names an internal layer, and one mistake, uint8 activations, it accepts with a mere warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from understudy.bundle.onnx_facts import load_onnx
from understudy.errors import EngineError
from understudy.onnx_rules import check_graph

_UINT8 = 2
_TYPE_ATTRIBUTES = frozenset({"to", "output_dtype"})


def refuse_forbidden_graph(model: Path) -> None:
    """Raises EngineError when the graph holds UINT8 or an operator that no TensorRT builds."""
    found = sorted(set(_uint8_tensors(load_onnx(model).graph)))
    if found:
        raise EngineError(
            f"{model}: tensor {found[0]} and {len(found) - 1} more",
            found="UINT8, which TensorRT silently clips at 127",
            wanted="symmetric INT8",
            remedy="compile with --precision int8",
        )
    check_graph(model)


def _uint8_tensors(graph: Any) -> Iterator[str]:
    """Names of the UINT8 tensors of a graph and of the graphs inside its nodes."""
    yield from (tensor.name for tensor in graph.initializer if tensor.data_type == _UINT8)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == _UINT8:
            yield value.name
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.t.data_type == _UINT8 or (attribute.name in _TYPE_ATTRIBUTES and attribute.i == _UINT8):
                yield node.output[0]
            for inner in (attribute.g, *attribute.graphs):
                yield from _uint8_tensors(inner)
