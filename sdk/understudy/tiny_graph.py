"""The graph of the tiny model that tests, `doctor` and builders of engines use: real operators, no training.

Imported only by `understudy.testing`; needs the package onnx.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from understudy.bundle.manifest import Contract, Grid, Pictures, Tensor
from understudy.bundle.signature import expected_inputs

OPSET = 18
IR_VERSION = 10
_CHANNELS = 8
_BRIGHT = 127.0
"""Mean of a cell of a picture's features, on the scale 0 to 255, above which something stands there."""
_DTYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "uint8": TensorProto.UINT8}


class _Graph:
    """Collects nodes and constants; every method returns the name of what it added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes))
        return output


def build_tiny_graph(contract: Contract, sizes_m: NDArray[np.float32], max_detections: int) -> Any:
    """The model: points or pictures, or both, to occupancy, occupancy to heat map, heat map to boxes.

    Args:
        contract: grid and number of classes; raw points, pictures, or both.
        sizes_m: `(C, 3)` length, width, height of each class.
        max_detections: rows of the outputs.
    """
    graph = _Graph()
    seen = [_occupancy(graph, contract)] if contract.sees_points else []
    seen += [_brightness(graph, contract.pictures, contract.grid)] if contract.pictures is not None else []
    occupancy = seen[0] if len(seen) == 1 else graph.add("Max", seen, "seen_by_any")
    heat = _heat(graph, occupancy, len(contract.classes))
    _detections(graph, contract, heat, sizes_m, max_detections)
    inputs = [(tensor.name, _DTYPES[tensor.dtype], _shape(tensor, contract)) for tensor in expected_inputs(contract)]
    outputs = [
        ("boxes", TensorProto.FLOAT, [max_detections, 7]),
        ("scores", TensorProto.FLOAT, [max_detections]),
        ("labels", TensorProto.INT32, [max_detections]),
    ]
    proto = helper.make_graph(
        graph.nodes,
        "tiny",
        [helper.make_tensor_value_info(name, dtype, shape) for name, dtype, shape in inputs],
        [helper.make_tensor_value_info(name, dtype, shape) for name, dtype, shape in outputs],
        graph.constants,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def _shape(tensor: Tensor, contract: Contract) -> list[int | str]:
    cells = contract.grid.height * contract.grid.width
    return [cells if size == "cells" else size for size in tensor.shape]


def _brightness(graph: _Graph, pictures: Pictures, grid: Grid) -> str:
    """`(1, 1, H, W)`: 1 where a picture that is there is bright at the cell's lowest height; every depth is as good."""
    number, (height, width), stride = pictures.num_cameras, pictures.feature_size, pictures.feature_stride
    colors = graph.add("Cast", ["images"], "colors", to=TensorProto.FLOAT)
    gray = graph.add("ReduceMean", [colors, graph.constant("color_axis", _i64(3))], "gray", keepdims=0)
    planes = graph.add("Unsqueeze", [gray, graph.constant("plane_axis", _i64(1))], "planes")
    means = graph.add("AveragePool", [planes], "means", kernel_shape=[stride, stride], strides=[stride, stride])
    mask = graph.add("Reshape", ["camera_mask", graph.constant("mask_shape", _i64(number, 1, 1, 1))], "mask")
    flat = graph.add("Reshape", [graph.add("Mul", [means, mask], "shown"), graph.constant("all", _i64(-1))], "pixels")
    rows = graph.add("Concat", [flat, graph.constant("nothing", np.zeros(1, np.float32))], "rows", axis=0)
    looked_up = graph.add("Gather", [rows, "lift_pixels"], "looked_up")
    no_depth = np.array(number * height * width * pictures.depth.count, np.int32)
    known = graph.add("Less", ["lift_depths", graph.constant("no_depth", no_depth)], "known")
    weighted = graph.add("Mul", [looked_up, graph.add("Cast", [known], "share", to=TensorProto.FLOAT)], "weighted")
    zero, hits = graph.constant("slot_0", _i64(0)), graph.constant("slots_of_a_height", _i64(pictures.hits))
    lowest = graph.add("Slice", [weighted, zero, hits, zero], "lowest")
    best = graph.add("ReduceMax", [lowest, zero], "brightest", keepdims=0)
    bright = graph.add("Greater", [best, graph.constant("bright_from", _f32(_BRIGHT))], "bright")
    cells = graph.constant("picture_cells", _i64(1, 1, grid.height, grid.width))
    return graph.add("Reshape", [graph.add("Cast", [bright], "bright_f", to=TensorProto.FLOAT), cells], "pictured")


def _occupancy(graph: _Graph, contract: Contract) -> str:
    """`(1, 1, H, W)`: 1 where a cell holds a point; rows along y, columns along x."""
    grid = contract.grid
    height, width = grid.height, grid.width
    low = np.array([grid.x_range_m[0], grid.y_range_m[0], grid.z_range_m[0]], np.float32)
    high = np.array([grid.x_range_m[1], grid.y_range_m[1], grid.z_range_m[1]], np.float32)
    points_ego = _points_ego(graph)
    above = graph.add("GreaterOrEqual", [points_ego, graph.constant("low", low)], "above")
    below = graph.add("Less", [points_ego, graph.constant("high", high)], "below")
    inside3 = graph.add("Cast", [graph.add("And", [above, below], "inside_axes")], "inside_f", to=TensorProto.FLOAT)
    axis1 = graph.constant("axis1", np.array([1], np.int64))
    inside_f = graph.add("ReduceMin", [inside3, axis1], "inside_min", keepdims=0)
    inside = graph.add("Greater", [inside_f, graph.constant("half", np.array(0.5, np.float32))], "inside")
    offset = graph.add("Sub", [points_ego, "low"], "offset")
    cells = graph.add("Floor", [graph.add("Div", [offset, graph.constant("cell", _f32(grid.cell_m))], "scaled")], "rc")
    strides = graph.constant("strides", np.array([1.0, width, 0.0], np.float32))
    flat = graph.add("ReduceSum", [graph.add("Mul", [cells, strides], "strided"), axis1], "flat", keepdims=0)
    safe = graph.add("Where", [inside, flat, graph.constant("dump", _f32(height * width))], "safe")
    index = graph.add("Cast", [safe], "index_flat", to=TensorProto.INT64)
    index = graph.add("Unsqueeze", [index, axis1], "index")
    shape = graph.add("Shape", [safe], "num_points_shape")
    ones = graph.add("Expand", [graph.constant("one", _f32(1.0)), shape], "ones")
    empty = graph.constant("empty", np.zeros(height * width + 1, np.float32))
    filled = graph.add("ScatterND", [empty, index, ones], "filled")
    start, stop = graph.constant("start", _i64(0)), graph.constant("stop", _i64(height * width))
    cropped = graph.add("Slice", [filled, start, stop], "cropped")
    return graph.add("Reshape", [cropped, graph.constant("nchw", _i64(1, 1, height, width))], "occupancy")


def _points_ego(graph: _Graph) -> str:
    """`(N, 3)` points in ego, by products and sums (some targets have no float matrix product)."""
    axis1, axis2 = graph.constant("axis_1", _i64(1)), graph.constant("axis_2", _i64(2))
    zero, three, four = (graph.constant(f"to_{n}", _i64(n)) for n in (0, 3, 4))
    xyz = graph.add("Slice", ["points", zero, three, axis1], "xyz")
    rotation = graph.add("Slice", ["ego_from_sensor", zero, three, axis1], "rotation")
    translation = graph.add("Slice", ["ego_from_sensor", three, four, axis1], "translation_column")
    translation = graph.add("Reshape", [translation, three], "translation")
    products = graph.add("Mul", [graph.add("Unsqueeze", [xyz, axis1], "xyz_rows"), rotation], "products")
    rotated = graph.add("ReduceSum", [products, axis2], "rotated", keepdims=0)
    return graph.add("Add", [rotated, translation], "points_ego")


def _heat(graph: _Graph, occupancy: str, num_classes: int) -> str:
    """`(1, C, H, W)` in (0, 1), zero except at peaks."""
    rng = np.random.default_rng(7)
    blob = np.array([[0.3, 0.6, 0.3], [0.6, 1.0, 0.6], [0.3, 0.6, 0.3]], np.float32)
    first = blob * rng.uniform(0.5, 1.5, (_CHANNELS, 1, 3, 3)).astype(np.float32)
    second = rng.uniform(0.02, 0.3, (num_classes, _CHANNELS, 1, 1)).astype(np.float32)
    hidden = graph.add(
        "Conv",
        [occupancy, graph.constant("w1", first), graph.constant("b1", np.full(_CHANNELS, -0.5, np.float32))],
        "hidden",
        pads=[1, 1, 1, 1],
    )
    hidden = graph.add("Relu", [hidden], "active")
    logits = graph.add(
        "Conv",
        [hidden, graph.constant("w2", second), graph.constant("b2", np.full(num_classes, -3.0, np.float32))],
        "logits",
    )
    heat = graph.add("Sigmoid", [logits], "heat")
    highest = graph.add("MaxPool", [heat], "highest", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    is_peak = graph.add("Cast", [graph.add("Equal", [heat, highest], "peak")], "peak_f", to=TensorProto.FLOAT)
    return graph.add("Mul", [heat, is_peak], "peaks")


def _detections(
    graph: _Graph, contract: Contract, heat: str, sizes_m: NDArray[np.float32], max_detections: int
) -> None:
    """`boxes`, `scores` and `labels` of the highest peaks."""
    grid = contract.grid
    flat = graph.add("Reshape", [heat, graph.constant("flat_shape", _i64(-1))], "heat_flat")
    count = graph.constant("k", _i64(max_detections))
    graph.nodes.append(helper.make_node("TopK", [flat, count], ["scores", "top"], name="TopK_scores", axis=0))
    plane, width = graph.constant("plane", _i64(grid.height * grid.width)), graph.constant("width", _i64(grid.width))
    label = graph.add("Div", ["top", plane], "label")
    graph.add("Cast", [label], "labels", to=TensorProto.INT32)
    cell = graph.add("Sub", ["top", graph.add("Mul", [label, plane], "label_start")], "cell_index")
    row = graph.add("Div", [cell, width], "row")
    column = graph.add("Sub", [cell, graph.add("Mul", [row, width], "row_start")], "column")
    x = _coordinate(graph, "x", column, grid.x_range_m[0], grid.cell_m)
    y = _coordinate(graph, "y", row, grid.y_range_m[0], grid.cell_m)
    size = graph.add("Gather", [graph.constant("sizes", sizes_m), label], "size", axis=0)
    z = graph.add("Gather", [graph.constant("centers_z", sizes_m[:, 2:] / np.float32(2)), label], "z", axis=0)
    yaw = graph.constant("yaw", np.zeros((max_detections, 1), np.float32))
    graph.add("Concat", [x, y, z, size, yaw], "boxes", axis=1)


def _coordinate(graph: _Graph, name: str, index: str, low_m: float, cell_m: float) -> str:
    """`(K, 1)` center of a cell along one axis, in meters."""
    value = graph.add("Cast", [index], f"{name}_index", to=TensorProto.FLOAT)
    scaled = graph.add("Mul", [value, graph.constant(f"{name}_cell", _f32(cell_m))], f"{name}_scaled")
    center = graph.add("Add", [scaled, graph.constant(f"{name}_first", _f32(low_m + cell_m / 2))], f"{name}_flat")
    return graph.add("Reshape", [center, graph.constant(f"{name}_shape", _i64(-1, 1))], f"{name}_column")


def _f32(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


def _i64(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)
