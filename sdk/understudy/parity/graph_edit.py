"""Small operations on an ONNX graph, by which faults are planted in it. Needs the package onnx."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.onnx_facts import load_onnx
from understudy.errors import InputError


class GraphEdit:
    """An ONNX file that is being changed; nothing is written before `write`.

    Args:
        path: the file.

    Raises:
        BundleError: when onnx is not installed, or the file is missing or not ONNX.
    """

    def __init__(self, path: Path) -> None:
        self._model = load_onnx(path)
        self._source = path

    def write(self, path: Path) -> Path:
        """Writes the graph as it is now."""
        path.write_bytes(self._model.SerializeToString())
        return path

    @property
    def _graph(self) -> Any:
        return self._model.graph

    def nodes(self, operator: str) -> list[Any]:
        """All nodes of a kind, in graph order."""
        return [node for node in self._graph.node if node.op_type == operator]

    def first(self, operator: str) -> Any:
        """The first node of a kind.

        Raises:
            InputError: when there is none.
        """
        nodes = self.nodes(operator)
        if not nodes:
            raise self.lacks(f"no {operator}")
        return nodes[0]

    def lacks(self, what: str) -> InputError:
        """The error for a graph in which a fault has no place."""
        return InputError(f"{self._source.name}", found=what, wanted="a graph in which this fault has a place")

    def producer(self, tensor: str) -> Any:
        """The node that makes a tensor; None where none does."""
        return next((node for node in self._graph.node if tensor in node.output), None)

    def upstream(self, tensor: str) -> Iterator[Any]:
        """Nodes from the one that makes a tensor back to the inputs, nearest first."""
        pending, seen = [tensor], set[str]()
        while pending:
            node = self.producer(pending.pop(0))
            if node is not None and node.output[0] not in seen:
                seen.add(node.output[0])
                pending += list(node.input)
                yield node

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of an initializer or Constant node; None where a tensor is neither."""
        from onnx import numpy_helper

        for tensor in self._graph.initializer:
            if tensor.name == name:
                return np.array(numpy_helper.to_array(tensor))
        node = self.producer(name)
        if node is not None and node.op_type == "Constant":
            return np.array(numpy_helper.to_array(node.attribute[0].t))
        return None

    def set_constant(self, name: str, value: NDArray[Any]) -> None:
        """Gives an initializer another value, of the same shape and type."""
        from onnx import numpy_helper

        for tensor in self._graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
                return
        raise self.lacks(f"no initializer {name}")

    def add_constant(self, name: str, value: NDArray[Any]) -> str:
        """A new initializer; returns its name."""
        from onnx import numpy_helper

        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def reroute(self, tensor: str, make: Callable[[str, str], list[Any]]) -> None:
        """Puts nodes between a tensor and all that use it; outside it keeps its name.

        Args:
            tensor: made by a node.
            make: from the name of what was there and the name of what is to be, to the nodes between.
        """
        producer = self.producer(tensor)
        if producer is None:
            raise self.lacks(f"no tensor {tensor}")
        before = f"{tensor}__before"
        producer.output[list(producer.output).index(tensor)] = before
        place = list(self._graph.node).index(producer) + 1
        for offset, node in enumerate(make(before, tensor)):
            self._graph.node.insert(place + offset, node)

    def reroute_input(self, name: str, make: Callable[[str, str], list[Any]]) -> None:
        """Puts nodes between an input of the graph and all that use it."""
        after = f"{name}__after"
        for node in self._graph.node:
            for index, used in enumerate(node.input):
                if used == name:
                    node.input[index] = after
        for offset, node in enumerate(make(name, after)):
            self._graph.node.insert(offset, node)

    def give_own_constant(self, node: Any, position: int, value: NDArray[Any]) -> None:
        """Gives one node a constant of its own in the place of one that others may share."""
        name = f"{node.output[0]}__constant"
        self.add_constant(name, value)
        node.input[position] = name

    def fix_rows(self, name: str, rows: int) -> None:
        """Fixes the first dimension of an input of the graph."""
        for value in self._graph.input:
            if value.name == name:
                value.type.tensor_type.shape.dim[0].dim_value = rows


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    """A node of one output, named after it."""
    from onnx import helper

    return helper.make_node(operator, inputs, [output], name=f"planted_{output}", **attributes)


def onnx_type(dtype: str) -> int:
    """ONNX's number of a numpy type."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
