"""What a layer costs, whatever runs it: multiplications, and bytes that must move at least once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from understudy.layers.graph import COMPUTING, Graph, Layer, Node

_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Shape"})
"""Moves nothing: the same bytes under another shape."""
_PICKS = frozenset({"Slice", "Gather", "GatherND", "GatherElements", "Split"})
"""Reads of its first input only what it gives out."""


@dataclass(frozen=True)
class Cost:
    """Of one layer for one cloud.

    Attributes:
        giga_macs: 10^9 multiplications with addition.
        megabytes: 10^6 bytes of inputs, weights and outputs, each once, in the types they are stored in.
        dtype: what it multiplies; empty where it multiplies nothing.
    """

    giga_macs: float = 0.0
    megabytes: float = 0.0
    dtype: str = ""


def cost_of(nodes: Iterable[Node], graph: Graph) -> Cost:
    """Cost of nodes that run as one: what passes between them stays in the processor.

    A tensor whose size cannot be told counts as nothing.
    """
    nodes = tuple(nodes)
    inside = {tensor for node in nodes for tensor in node.outputs}
    read = sum(_read_bytes(node, graph, inside) for node in nodes)
    written = sum(_written_bytes(node, graph, nodes) for node in nodes)
    computing = [node for node in nodes if node.kind in COMPUTING]
    macs = sum(_macs(node, graph) for node in computing)
    stored = graph.stored(computing[0].inputs[0]) if computing else None
    return Cost(macs / 1e9, (read + written) / 1e6, stored.dtype if stored else "")


def layer_cost(layer: Layer, graph: Graph) -> Cost:
    """Cost of a layer in the graph it was found in."""
    return cost_of(layer.nodes, graph)


def _read_bytes(node: Node, graph: Graph, inside: set[str]) -> int:
    if node.kind in _VIEWS:
        return 0
    given = _bytes(graph, node.outputs)
    total = 0
    for place, tensor in enumerate(dict.fromkeys(node.inputs)):
        if tensor and tensor not in inside:
            size = _bytes(graph, (tensor,))
            total += min(size, given) if place == 0 and node.kind in _PICKS else size
    return total


def _written_bytes(node: Node, graph: Graph, nodes: tuple[Node, ...]) -> int:
    if node.kind in _VIEWS:
        return 0
    leaving = [
        tensor
        for tensor in node.outputs
        if not (readers := graph.readers.get(tensor, [])) or any(reader not in nodes for reader in readers)
    ]
    return _bytes(graph, leaving)


def _bytes(graph: Graph, tensors: Iterable[str]) -> int:
    sizes = [graph.stored(tensor) for tensor in tensors]
    return sum(size.num_elements * size.item_bytes for size in sizes if size is not None)


def _macs(node: Node, graph: Graph) -> int:
    """Multiplications of a computing node; 0 where a size is not known."""
    sizes = [graph.sizes.get(tensor) for tensor in (*node.inputs[:2], node.outputs[0])]
    if any(size is None for size in sizes) or len(sizes) < 3:
        return 0
    given, weights, result = (size.shape for size in sizes if size is not None)
    return _MACS[node.kind](given, weights, result, node.group)


Shape = tuple[int, ...]


def _conv(given: Shape, weights: Shape, result: Shape, group: int) -> int:
    """Each number of the result takes one filter: `(out, in / group, ...kernel)`."""
    return math.prod(result) * math.prod(weights[1:])


def _conv_transpose(given: Shape, weights: Shape, result: Shape, group: int) -> int:
    """Each number of the input goes through one filter: `(in, out / group, ...kernel)`."""
    return math.prod(given) * math.prod(weights[1:])


def _product(given: Shape, weights: Shape, result: Shape, group: int) -> int:
    """Every number of the input meets as many weights as the result has columns."""
    return math.prod(given) * result[-1] if result else math.prod(given)


_MACS: dict[str, Callable[[Shape, Shape, Shape, int], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _product,
    "MatMul": _product,
}
