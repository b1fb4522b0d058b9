"""Where Q/DQ pairs go: the one module that asks ONNX Runtime's quantizer to place them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx

from understudy_calibration.activations.graphs import CONV
from understudy_calibration.activations.ranges import Range

_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": [CONV],
}
"""What TensorRT takes: zero points of 0, biases in float, pairs on the inputs of convolutions only."""


def insert_pairs(model: Any, ranges: Mapping[str, Range], kept_float: Sequence[str]) -> Any:
    """A copy with symmetric int8 pairs on the inputs of convolutions and int8 weights, a scale per output channel.

    The graph is taken whole and as it is: ONNX Runtime's own preparation folds the empty bird's-eye grid into a
    constant and makes the file several times larger.

    Args:
        model: `ModelProto` in float.
        ranges: what each convolution's input must hold, by tensor.
        kept_float: names of convolutions to leave as they are.
    """
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData

    limits = {name: (np.float32(entry.low), np.float32(entry.high)) for name, entry in ranges.items()}
    with _quiet():
        quantizer = QDQQuantizer(
            onnx.shape_inference.infer_shapes(model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
            nodes_to_quantize=[],
            nodes_to_exclude=list(kept_float),
            op_types_to_quantize=[CONV],
            extra_options=dict(_OPTIONS),
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()  # pairs are appended at the end, which ONNX does not allow
    return quantizer.model.model


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's quantizer advises, on the root logger, what would break our graphs."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
