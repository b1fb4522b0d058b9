"""The rates that this very machine reaches: a wide convolution and a plain pass over memory, by ONNX Runtime.

Not the processor's peak but what good kernels attain here and now: what a layer could hope for. Needs the package onnx.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy import machine
from understudy.layers.measuring import ProfilePlan, profile_files
from understudy.layers.profiles import Profile
from understudy.layers.roofline import Peak

_CHANNELS, _SIDE = 64, 48
"""A convolution of a millisecond or two: on a busy machine some of its runs are not interrupted."""
_NUM_CONVOLUTIONS, _NUM_PASSES = 60, 20
_FLOATS = 16 * 2**20
"""64 MB: more than a processor keeps to itself."""
_OPSET, _IR_VERSION = 18, 10


def measure_peak(threads: int) -> Peak:
    """Rates of float32 and int8 convolutions and of memory with so many threads; takes about a second.

    float16 counts as float32: CPUs' runtimes carry it there and back.

    Raises:
        EngineError: when ONNX Runtime is missing.
    """
    with tempfile.TemporaryDirectory(prefix="understudy-peak-") as scratch:
        folder = Path(scratch)
        image: NDArray[Any] = np.random.default_rng(0).random((1, _CHANNELS, _SIDE, _SIDE), np.float32)
        convolutions = {"float32": _convolution(folder / "float.onnx"), "int8": _quantized(folder / "int.onnx")}
        found = profile_files(convolutions, {"x": image}, ProfilePlan(threads=threads, num_runs=_NUM_CONVOLUTIONS))
        wide = {"x": np.zeros(_FLOATS, np.float32)}
        passes = ProfilePlan(threads=threads, num_runs=_NUM_PASSES)
        memory = profile_files({"memory": _pass(folder / "pass.onnx")}, wide, passes)["memory"]
    giga_ops = 2 * 9 * _CHANNELS**2 * _SIDE**2 / 1e9
    rates = {dtype: giga_ops / _longest_ms(profile) for dtype, profile in found.items()}
    return Peak(
        name=f"this CPU, {threads} thread{'s' * (threads > 1)}",
        tera_ops={**rates, "float16": rates["float32"], "uint8": rates["int8"]},
        gigabytes_per_s=2 * 4 * _FLOATS / 1e6 / _longest_ms(memory),
        source=(
            f"measured just now on {machine.look().cpu} by ONNX Runtime: a 3x3 convolution of {_CHANNELS} channels,"
            " a ReLU over 64 MB"
        ),
    )


def _longest_ms(profile: Profile) -> float:
    """Time of the node that took longest: the one looked for, not the reordering about it."""
    return max(node.least_ms for node in profile.nodes)


def _convolution(path: Path) -> Path:
    weights = np.random.default_rng(1).normal(0, 0.05, (_CHANNELS, _CHANNELS, 3, 3)).astype(np.float32)
    return _save(path, [("Conv", ["x", "w"], "y", {"pads": [1, 1, 1, 1]})], {"w": weights}, _image_shape())


def _quantized(path: Path) -> Path:
    """Uint8 by int8, as the CPU twin has it, from quantized to quantized."""
    weights = np.random.default_rng(1).integers(-100, 100, (_CHANNELS, _CHANNELS, 3, 3)).astype(np.int8)
    constants: dict[str, NDArray[Any]] = {
        "w": weights,
        "w_scale": np.full(_CHANNELS, 5e-4, np.float32),
        "w_zero": np.zeros(_CHANNELS, np.int8),
        "scale": np.array(1 / 255, np.float32),
        "out_scale": np.array(0.05, np.float32),
        "zero": np.array(0, np.uint8),
    }
    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("QuantizeLinear", ["x", "scale", "zero"], "xq", {}),
        ("DequantizeLinear", ["xq", "scale", "zero"], "xd", {}),
        ("DequantizeLinear", ["w", "w_scale", "w_zero"], "wd", {"axis": 0}),
        ("Conv", ["xd", "wd"], "c", {"pads": [1, 1, 1, 1]}),
        ("QuantizeLinear", ["c", "out_scale", "zero"], "cq", {}),
        ("DequantizeLinear", ["cq", "out_scale", "zero"], "y", {}),
    ]
    return _save(path, nodes, constants, _image_shape())


def _pass(path: Path) -> Path:
    return _save(path, [("Relu", ["x"], "y", {})], {}, [_FLOATS])


def _image_shape() -> list[int]:
    return [1, _CHANNELS, _SIDE, _SIDE]


def _save(
    path: Path,
    nodes: list[tuple[str, list[str], str, dict[str, Any]]],
    constants: Mapping[str, NDArray[Any]],
    shape: list[int],
) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node(kind, given, [made], name=f"node_{made}", **more) for kind, given, made, more in nodes],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", _OPSET)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION), path)
    return path
