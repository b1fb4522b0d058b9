"""The CPU twin: the same network, weights and ranges with uint8 activations, which CPUs run two to three times faster.

It is never for TensorRT, which takes uint8 with a mere warning and clips it at 127.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_SIGNED_ZERO_POINT = 128


def cpu_twin(model: Any, non_negative: Collection[str]) -> Any:
    """Rewrites every activation pair of a symmetric int8 model to uint8; weights are untouched.

    Args:
        model: `ModelProto` with explicit Q/DQ.
        non_negative: names of the quantized tensors that are never below zero, as those after a ReLU: they use all
            256 steps from zero point 0. The others keep their scale, at zero point 128.
    """
    twin = copy.deepcopy(model)
    for quantize in [node for node in twin.graph.node if node.op_type == QUANTIZE]:
        _rewrite_pair(twin.graph, quantize, quantize.input[0] in non_negative)
    _drop_unused_constants(twin.graph)
    _carry_pairs_up(twin.graph)
    _write_grids_in_integers(twin.graph)
    return twin


def _rewrite_pair(graph: Any, quantize: Any, is_non_negative: bool) -> None:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    scale = numpy_helper.to_array(constants[quantize.input[1]]).astype(np.float32)
    zero_point = np.array(0 if is_non_negative else _SIGNED_ZERO_POINT, np.uint8)
    scale = (scale * np.float32(127.0 / 255.0)).astype(np.float32) if is_non_negative else scale
    names = [f"{quantize.input[0]}_uint8_scale", f"{quantize.input[0]}_uint8_zero_point"]
    for name, value in zip(names, (scale, zero_point), strict=True):
        if name not in constants:
            graph.initializer.append(numpy_helper.from_array(value, name))
    readers = [node for node in graph.node if node.op_type == DEQUANTIZE and node.input[0] == quantize.output[0]]
    for node in (quantize, *readers):
        node.input[1], node.input[2] = names
    _forget_types(graph, quantize.output[0])


def _carry_pairs_up(graph: Any) -> None:
    """Repeats a pair on the inputs of what only moves values, so that the convolutions before it stay in integers.

    Quantizing before or after a concatenation, a nearest-neighbor resize or a maximum gives the same numbers.
    """
    waiting = [node for node in graph.node if node.op_type == QUANTIZE]
    while waiting:
        quantize = waiting.pop()
        mover = _only_producer(graph, quantize)
        if mover is not None:
            waiting += [_insert_pair(graph, mover, place, quantize) for place in _float_inputs(graph, mover)]


def _only_producer(graph: Any, quantize: Any) -> Any | None:
    """The node before `quantize`, when it only moves values and nobody else reads what it puts out."""
    tensor = quantize.input[0]
    readers = [node for node in graph.node if tensor in node.input]
    if len(readers) != 1 or any(output.name == tensor for output in graph.output):
        return None
    return next((node for node in graph.node if tensor in node.output and _only_moves_values(node)), None)


def _only_moves_values(node: Any) -> bool:
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Resize":
        return bool(attributes.get("mode", b"nearest") == b"nearest")
    return node.op_type in ("Concat", "MaxPool") and len(node.output) == 1


def _float_inputs(graph: Any, mover: Any) -> list[int]:
    """Places of the mover's inputs that hold values and do not come out of a pair already."""
    dequantized = {node.output[0] for node in graph.node if node.op_type == DEQUANTIZE}
    places = range(len(mover.input)) if mover.op_type == "Concat" else range(1)
    return [place for place in places if mover.input[place] not in dequantized]


def _insert_pair(graph: Any, mover: Any, place: int, like: Any) -> Any:
    source = mover.input[place]
    name = f"{source}_before_{mover.output[0]}"
    quantize = onnx.helper.make_node(QUANTIZE, [source, *like.input[1:]], [f"{name}_uint8"], name=f"{name}_q")
    dequantize = onnx.helper.make_node(
        DEQUANTIZE, [quantize.output[0], *like.input[1:]], [f"{name}_float"], name=f"{name}_dq"
    )
    at = next(number for number, node in enumerate(graph.node) if node.output[0] == mover.output[0])
    graph.node[at].input[place] = dequantize.output[0]
    graph.node.insert(at, dequantize)
    graph.node.insert(at, quantize)
    return graph.node[at]


def _write_grids_in_integers(graph: Any) -> None:
    """Quantizes what is written into a grid instead of the grid: a quarter of the memory, and the same numbers."""
    for quantize in [node for node in graph.node if node.op_type == QUANTIZE]:
        path = _path_to_scatter(graph, quantize.input[0])
        if path and path[-1].op_type == "ScatterND" and not path[-1].attribute:
            _quantize_before(graph, path, quantize)


def _path_to_scatter(graph: Any, tensor: str) -> list[Any]:
    """Nodes from the one that puts `tensor` out back to a scatter, through cuts and shapes that nobody else reads."""
    producers = {output: node for node in graph.node for output in node.output}
    public = {output.name for output in graph.output}
    path: list[Any] = []
    while tensor in producers and tensor not in public and sum(tensor in node.input for node in graph.node) == 1:
        node = producers[tensor]
        path.append(node)
        if node.op_type not in ("Reshape", "Slice"):
            break
        tensor = node.input[0]
    return path


def _quantize_before(graph: Any, path: list[Any], quantize: Any) -> None:
    scatter, data, updates = path[-1], 0, 2
    for place in (data, updates):
        source = scatter.input[place]
        name = f"{source}_before_{scatter.output[0]}"
        earlier = onnx.helper.make_node(QUANTIZE, [source, *quantize.input[1:]], [f"{name}_uint8"], name=f"{name}_q")
        scatter.input[place] = earlier.output[0]
        graph.node.insert(next(at for at, node in enumerate(graph.node) if node == scatter), earlier)
    for reader in (node for node in graph.node if quantize.output[0] in node.input):
        reader.input[0] = quantize.input[0]
    graph.node.remove(quantize)
    for node in path:
        _forget_types(graph, node.output[0])


def _drop_unused_constants(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _forget_types(graph: Any, tensor: str) -> None:
    """Drops the declared type of a tensor that has changed; runtimes infer it."""
    kept = [info for info in graph.value_info if info.name != tensor]
    del graph.value_info[:]
    graph.value_info.extend(kept)
