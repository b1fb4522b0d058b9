"""Reading and editing ONNX graphs: what quantization must know about one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnx

from understudy.errors import InputError

CONV = "Conv"


def read_model(path: Path) -> Any:
    """An ONNX file as a `ModelProto`.

    Raises:
        InputError: when it is missing or is not ONNX.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file", remedy="export the student first") from None
    except Exception as error:  # protobuf and onnx raise types of their own, with no common base
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}", found=first_line, wanted="an ONNX model") from error
    return model


def with_outputs(model: Any, tensors: tuple[str, ...]) -> Any:
    """A copy whose graph also puts out the float tensors named; those it has already are not repeated."""
    probed = copy.deepcopy(model)
    present = {output.name for output in probed.graph.output}
    for name in tensors:
        if name not in present:
            probed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return probed


def convolutions(model: Any) -> list[Any]:
    """Convolutions whose weights are constants, in the graph's order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type == CONV and node.input[1] in constants]


def head_tensors(model: Any) -> tuple[str, ...]:
    """Outputs of the convolutions after which none comes: a detector's heat map and regression maps."""
    followed = _tensors_before_a_convolution(model)
    return tuple(node.output[0] for node in convolutions(model) if node.output[0] not in followed)


def _tensors_before_a_convolution(model: Any) -> set[str]:
    before: set[str] = set()
    for node in reversed(model.graph.node):
        if node.op_type == CONV or before.intersection(node.output):
            before.update(node.input)
    return before
