"""From what a runtime calls its nodes back to layers of the FP32 file.

Runtimes fuse and rename: ONNX Runtime names a convolution after the tensor it makes (`relu_12_nchwc`) or adds a number
(`node_Conv_534_token_75`), OpenVINO adds what it took away (`node_Conv_534/WithoutBiases`), TensorRT joins names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from understudy.layers.graph import COMPUTING, Graph, Layer
from understudy.layers.profiles import NodeTime

OVERHEAD = frozenset(
    {
        *("QuantizeLinear", "DequantizeLinear", "FakeQuantize", "Cast", "Convert", "Transpose"),
        *("Reorder", "ReorderInput", "ReorderOutput", "Reformat", "MemcpyFromHost", "MemcpyToHost"),
    }
)
"""Kinds that carry data between precisions or layouts; overhead where the FP32 file has no such node."""

_ENDINGS = re.compile(
    r"(_nchwc|_token_\d+|_quant|_QuantizeLinear|_DequantizeLinear|/[^/]+|\.\d+|_kernel_time|_myl\w*)$"
)
_BEGINNINGS = re.compile(r"^InsertedPrecisionFreeCast_")
_JOINED = re.compile(r" \+ | \|\| |\{\||,")
_COMPUTES = re.compile(r"Conv(?!ert)|MatMul|Gemm|FullyConnected")
_ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


@dataclass(frozen=True)
class Place:
    """Where a node of a runtime belongs: to a layer, to a kind of overhead, or nowhere."""

    layer: str = ""
    overhead: str = ""


@dataclass(frozen=True, eq=False)
class Mapping:
    """Places nodes of one model's runtime on the layers of a reference.

    Args:
        reference: the FP32 graph.
        own: the graph that the runtime was given.
    """

    reference: Graph
    own: Graph

    @cached_property
    def layer_of_node(self) -> dict[str, str]:
        """Name of a node of the own graph to the layer of the reference."""
        return {node.name: twin for layer, twin in self.pairs for node in layer.nodes}

    @cached_property
    def pairs(self) -> tuple[tuple[Layer, str], ...]:
        """Layers of the own graph that the reference has, with its name for them.

        They are the same by name and kind, or, where an export named them anew, the n-th of those that multiply.
        """
        by_name = {layer.name: layer for layer in self.reference.layers}
        by_order = self._by_order()
        found = []
        for layer in self.own.layers:
            same = by_name.get(layer.name)
            if same is not None and same.kind == layer.kind:
                found.append((layer, same.name))
            elif layer.name in by_order:
                found.append((layer, by_order[layer.name]))
        return tuple(found)

    def place(self, node: NodeTime) -> Place:
        """Where its time counts."""
        if node.kind in OVERHEAD and not self._is_in_reference(node):
            return Place(overhead=node.kind)
        for name in _names(node):
            found = self.layer_of_node.get(name) or self._through_tensor(name)
            if found:
                return Place(layer=self._computing_before(found) if _COMPUTES.search(node.kind) else found)
        return Place()

    def _computing_before(self, layer: str) -> str:
        """A convolution that goes by the name of what was fused behind it is the one before that."""
        node = self.reference.by_name[layer]
        while node.kind not in COMPUTING:
            before = self.reference.maker.get(node.inputs[0]) if node.inputs else None
            if before is None:
                return layer
            node = before
        return self._layer_of_reference[node.name]

    @cached_property
    def _layer_of_reference(self) -> dict[str, str]:
        return {node.name: layer.name for layer in self.reference.layers for node in layer.nodes}

    def _by_order(self) -> dict[str, str]:
        ours, theirs = ([layer for layer in graph.layers if layer.kind in COMPUTING] for graph in self._graphs)
        if [layer.kind for layer in ours] != [layer.kind for layer in theirs]:
            return {}
        return {own.name: other.name for own, other in zip(ours, theirs, strict=True)}

    @property
    def _graphs(self) -> tuple[Graph, Graph]:
        return self.own, self.reference

    def _through_tensor(self, name: str) -> str:
        maker = self.own.maker.get(name)
        return "" if maker is None else self.layer_of_node.get(maker.name, "")

    def _is_in_reference(self, node: NodeTime) -> bool:
        names = {node.name, *node.sources}
        return any(name in self.reference.by_name and name in self.layer_of_node for name in names)


def _names(node: NodeTime) -> Iterator[str]:
    """Names it may go by in the file, the surest first."""
    told = [*node.sources, *_ONNX_LAYER.findall(node.name)]
    parts = [part.strip(" {}|") for part in _JOINED.split(node.name)]
    yield from _shortened([*told, node.name, *parts])


def _shortened(names: Iterable[str]) -> Iterator[str]:
    for name in dict.fromkeys(names):
        yield name
        name = _BEGINNINGS.sub("", name)
        yield name
        while shorter := _ENDINGS.sub("", name):
            if shorter == name:
                break
            name = shorter
            yield name
