from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from understudy.bundle.manifest import Contract, DetectedClass, Grid, PointsInput
from understudy.configuration import write_yaml
from understudy.datasets.dataset import Sample
from understudy.frame import Frame, PointCloud
from understudy.rig import Lidar, Mounting, Rig

CELLS = 64
SLICES = 4
K = 20


class GraphBuilder:
    """Nodes and constants with names, in order."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.generator = np.random.default_rng(seed)

    def constant(self, value: np.ndarray, name: str = "") -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def conv(self, source: str, channels: tuple[int, int], output: str, size: int = 3, stride: int = 1) -> str:
        taken, given = channels
        fan_in = taken * size * size
        weight = self.generator.normal(0, (2 / fan_in) ** 0.5, (given, taken, size, size)).astype(np.float32)
        bias = self.generator.normal(0, 0.1, given).astype(np.float32)
        inputs = [source, self.constant(weight, f"{output}_w"), self.constant(bias, f"{output}_b")]
        pad = size // 2
        return self.add("Conv", inputs, output, strides=[stride] * 2, pads=[pad] * 4, kernel_shape=[size] * 2)

    def conv_relu(self, source: str, channels: tuple[int, int], output: str, stride: int = 1) -> str:
        return self.add("Relu", [self.conv(source, channels, f"{output}_linear", stride=stride)], output)


def occupancy(build: GraphBuilder) -> str:
    """Points to a 0/1 grid (1, SLICES, CELLS, CELLS): cells of 1 m from the origin, one plain ScatterND."""
    limits = np.array([CELLS, CELLS, SLICES], np.float32)
    build.add("Slice", ["points", build.constant(np.array([0])), build.constant(np.array([3])), _axis(build)], "xyz")
    build.add("Floor", ["xyz"], "floored")
    build.add("Cast", ["floored"], "cells", to=TensorProto.INT64)
    top = build.constant((limits - 1).astype(np.int64))
    build.add("Min", [build.add("Max", ["cells", build.constant(np.zeros(3, np.int64))], "raised"), top], "clipped")
    strides = build.constant(np.array([1, CELLS, CELLS * CELLS], np.int64))
    build.add("Mul", ["clipped", strides], "parts")
    build.add("ReduceSum", ["parts", _axis(build)], "index", keepdims=1)
    build.add("Shape", ["points"], "count", end=1)
    one = numpy_helper.from_array(np.ones(1, np.float32))
    build.add("ConstantOfShape", ["count"], "ones", value=one)
    build.add("ScatterND", [build.constant(np.zeros(SLICES * CELLS**2, np.float32)), "index", "ones"], "flat")
    return build.add("Reshape", ["flat", build.constant(np.array([1, SLICES, CELLS, CELLS]))], "grid")


def _axis(build: GraphBuilder) -> str:
    return build.constant(np.array([1]))


def detector(seed: int = 0) -> onnx.ModelProto:
    """A whole graph: points, grid, backbone, neck with resize and concatenation, two heads, the K best cells."""
    build = GraphBuilder(seed)
    first = build.conv_relu(occupancy(build), (SLICES, 8), "first", stride=2)
    second = build.conv_relu(first, (8, 16), "second", stride=2)
    lateral = build.conv_relu(first, (8, 8), "lateral")
    deep = build.conv_relu(second, (16, 8), "deep")
    scales = build.constant(np.array([1, 1, 2, 2], np.float32))
    modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    build.add("Resize", [deep, "", scales], "upsampled", **modes)
    build.add("Concat", [lateral, "upsampled"], "joined", axis=1)
    neck = build.conv_relu("joined", (16, 16), "neck")
    mixed = build.conv(neck, (16, 8), "mixed")  # no ReLU: what follows is signed
    build.conv(mixed, (8, 1), "heatmap", size=1)
    build.conv(mixed, (8, 7), "regression", size=1)
    _decode(build)
    return _model(build)


def _decode(build: GraphBuilder) -> None:
    flat = build.add("Reshape", ["heatmap", build.constant(np.array([-1]))], "flat_heatmap")
    build.add("Sigmoid", [flat], "probabilities")
    build.nodes.append(helper.make_node("TopK", ["probabilities", build.constant(np.array([K]))], ["scores", "best"]))
    rows = build.add("Reshape", ["regression", build.constant(np.array([7, -1]))], "rows")
    build.add("Gather", [build.add("Transpose", [rows], "columns", perm=[1, 0]), "best"], "gathered")
    build.add("Abs", ["gathered"], "boxes")
    build.add("Mul", ["best", build.constant(np.array(0, np.int64))], "zeros")
    build.add("Cast", ["zeros"], "labels", to=TensorProto.INT32)


def _model(build: GraphBuilder) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    inputs = [
        value("points", TensorProto.FLOAT, ["N", 4]),
        value("ego_from_sensor", TensorProto.FLOAT, [3, 4]),
        value("intensity_factor", TensorProto.FLOAT, [1]),
    ]
    outputs = [
        value("boxes", TensorProto.FLOAT, [K, 7]),
        value("scores", TensorProto.FLOAT, [K]),
        value("labels", TensorProto.INT32, [K]),
    ]
    graph = helper.make_graph(build.nodes, "detector", inputs, outputs, build.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


CONTRACT = Contract(
    name="toy",
    classes=(DetectedClass(name="car", score_threshold=0.3),),
    grid=Grid(x_range_m=(0, CELLS), y_range_m=(0, CELLS), z_range_m=(0, SLICES), cell_m=1.0),
    input=PointsInput(),
)
RIG = Rig(name="toy", sensors={"top": Lidar(ego_from_sensor=Mounting(translation_m=(0, 0, 1.7)))})


@dataclass(frozen=True)
class RandomClouds:
    """Clustered random clouds: frame `i` is always the same."""

    num_frames: int = 12
    class_names: tuple[str, ...] = ("car",)
    fingerprint: str = "0" * 64

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Sample:
        generator = np.random.default_rng(index)
        centers = generator.uniform(2, CELLS - 2, (40, 2)).repeat(50, axis=0)
        xy = centers + generator.normal(0, 1.5, centers.shape)
        z, intensity = generator.uniform(0, SLICES, len(xy)), generator.uniform(0, 1, len(xy))
        points = np.column_stack([xy, z, intensity]).astype(np.float32)
        frame = Frame(stamp_ns=index, clouds={"top": PointCloud(points, stamp_ns=index)})
        return Sample(f"{index:06d}", frame, RIG, boxes=None, segments={})


def write_export(folder: Path) -> None:
    """What `understudy export` leaves in a folder, as far as quantization looks at it."""
    onnx.save(detector(), folder / "model.onnx")
    write_yaml(folder / "contract.yaml", CONTRACT)


@pytest.fixture(scope="session")
def clouds() -> RandomClouds:
    return RandomClouds()


@pytest.fixture
def detector_model() -> onnx.ModelProto:
    return detector()


@pytest.fixture(scope="session")
def fill_export_folder() -> Callable[[Path], None]:
    return write_export


@pytest.fixture
def export_folder(tmp_path: Path) -> Path:
    write_export(tmp_path)
    return tmp_path
