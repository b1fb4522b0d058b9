"""What must hold for a quantized model before anyone may use it, and how much it lost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from understudy.engines.engine import Engine
from understudy.errors import EngineError
from understudy.onnx_rules import uint8_tensors
from understudy.pipeline import Feeds

_ACCEPTED_BY_DEQUANTIZE = (TensorProto.INT8,)


def refuse_uint8(model: Any, source: str) -> None:
    """TensorRT takes uint8 with a mere warning and clips it at 127; a model meant for it must not hold any.

    Raises:
        EngineError: naming the first tensor that is uint8.
    """
    for name in uint8_tensors(model.graph):
        raise EngineError(
            f"{source}: tensor {name}",
            found="uint8, which TensorRT silently clips at 127",
            wanted="symmetric int8",
            remedy="give TensorRT model.int8.onnx, never the CPU twin",
        )


def refuse_asymmetric(model: Any, source: str) -> None:
    """TensorRT refuses zero points other than 0, and int32 biases behind a DequantizeLinear.

    Raises:
        EngineError: naming the first node that has one.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero_point is None or zero_point.data_type not in _ACCEPTED_BY_DEQUANTIZE:
            raise EngineError(f"{source}: zero point of {node.name}", found="not a constant int8", wanted="int8 zero")
        if np.any(onnx.numpy_helper.to_array(zero_point)):
            raise EngineError(f"{source}: zero point of {node.name}", found="not zero", wanted="0 (symmetric)")


def refuse_other_versions(model: Any, original: Any, source: str) -> None:
    """Quantization keeps opset and IR version; converters that raise them break the vehicle's parser.

    Raises:
        EngineError: when they differ from the original's.
    """
    found, wanted = _versions(model), _versions(original)
    if found != wanted:
        raise EngineError(f"{source}: opset and IR version", found=found, wanted=wanted)


def sqnr_db(reference: Engine, candidate: Engine, tensors: tuple[str, ...], feeds: Iterable[Feeds]) -> dict[str, float]:
    """Signal to quantization noise of each map over all frames: `10 log10(sum((x - mean)^2) / sum((x - y)^2))`.

    The mean is each channel's in each frame: a constant offset, such as a heat map's bias, carries no signal.
    """
    signal, noise = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    for frame_feeds in feeds:
        wanted, found = reference(frame_feeds), candidate(frame_feeds)
        for name in tensors:
            signal[name] += _power(wanted[name] - wanted[name].mean(axis=(2, 3), keepdims=True))
            noise[name] += _power(wanted[name].astype(np.float64) - found[name])
    return {name: 10.0 * float(np.log10(max(signal[name], 1e-300) / max(noise[name], 1e-300))) for name in tensors}


def _power(values: NDArray[np.floating]) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _versions(model: Any) -> str:
    opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
    return f"{opsets}, IR {model.ir_version}"
