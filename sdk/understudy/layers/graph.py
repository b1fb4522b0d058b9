"""An ONNX graph with every tensor's size, and its layers: what one must know to say what a layer costs.

Needs the package onnx, as packing does: this is for whoever makes a student, not for the vehicle.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from understudy.bundle.onnx_facts import load_onnx
from understudy.errors import BundleError

COMPUTING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_JOINS = frozenset({"Relu", "LeakyRelu", "Clip", "HardSigmoid", "BatchNormalization"})
"""What every runtime computes within the layer before it."""


@dataclass(frozen=True)
class TensorSize:
    """Shape and type of a tensor."""

    shape: tuple[int, ...]
    dtype: str
    item_bytes: int

    @property
    def num_elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """A node of the file; `group` is that of a convolution."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    group: int = 1


@dataclass(frozen=True)
class Layer:
    """A node, and the activation behind it where that is its only reader; named after the first."""

    name: str
    kind: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in order and what is known of tensors; those whose size cannot be told are not in `sizes`."""

    nodes: tuple[Node, ...]
    sizes: Mapping[str, TensorSize]

    @cached_property
    def maker(self) -> dict[str, Node]:
        """The node that makes a tensor."""
        return {tensor: node for node in self.nodes for tensor in node.outputs if tensor}

    @cached_property
    def readers(self) -> dict[str, list[Node]]:
        """The nodes that take a tensor."""
        readers: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for tensor in dict.fromkeys(node.inputs):
                readers[tensor].append(node)
        return readers

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Nodes by name; those without a name are left out."""
        return {node.name: node for node in self.nodes if node.name}

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All nodes as layers, in order; constants and nodes that only quantize are none."""
        layers: dict[str, list[Node]] = {}
        head_of: dict[str, str] = {}
        for node in self.nodes:
            if node.kind in {"Constant", "QuantizeLinear", "DequantizeLinear"} or not node.name:
                continue
            head = self._head(node, head_of)
            layers.setdefault(head, []).append(node)
            head_of[node.name] = head
        return tuple(Layer(head, nodes[0].kind, tuple(nodes)) for head, nodes in layers.items())

    def _head(self, node: Node, head_of: Mapping[str, str]) -> str:
        """Name of the layer that a node belongs to: the one before it, or its own."""
        before = self.maker.get(node.inputs[0]) if node.inputs else None
        if node.kind not in _JOINS or before is None or len(self.readers[node.inputs[0]]) != 1:
            return node.name
        head = head_of.get(before.name, "")
        return head if head and self.by_name[head].kind in COMPUTING else node.name

    def stored(self, tensor: str) -> TensorSize | None:
        """Size of a tensor as it lies in memory: what is dequantized where it is used is stored as integers."""
        maker, readers = self.maker.get(tensor), self.readers.get(tensor, [])
        if maker is not None and maker.kind == "DequantizeLinear":
            return self.sizes.get(maker.inputs[0])
        if readers and all(reader.kind == "QuantizeLinear" for reader in readers):
            return self.sizes.get(readers[0].outputs[0])
        return self.sizes.get(tensor)


def read_graph(model: Path, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """Reads an ONNX file and infers the size of every tensor.

    Args:
        model: the file.
        shapes: of each input, as it will be fed: what costs depend on must be a number.

    Raises:
        BundleError: when onnx is not installed, or the file is missing or is not ONNX.
    """
    loaded = load_onnx(model)
    import onnx

    for value in loaded.graph.input:
        for size, number in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            size.dim_value = number
    try:
        graph = onnx.shape_inference.infer_shapes(loaded, data_prop=True).graph
    except Exception as error:  # shape inference's errors share no base
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BundleError(f"{model}", found=found, wanted="a graph whose shapes can be told") from error
    return Graph(tuple(_node(node) for node in graph.node), _sizes(onnx, graph))


def _node(node: Any) -> Node:
    group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return Node(node.name, node.op_type, tuple(node.input), tuple(node.output), int(group))


def _sizes(onnx: Any, graph: Any) -> dict[str, TensorSize]:
    sizes = {constant.name: _size(onnx, constant.data_type, tuple(constant.dims)) for constant in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and kind.elem_type and all(size.HasField("dim_value") for size in kind.shape.dim):
            sizes[value.name] = _size(onnx, kind.elem_type, tuple(size.dim_value for size in kind.shape.dim))
    return sizes


def _size(onnx: Any, element: int, shape: tuple[int, ...]) -> TensorSize:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
    return TensorSize(tuple(int(size) for size in shape), dtype.name, int(dtype.itemsize))
