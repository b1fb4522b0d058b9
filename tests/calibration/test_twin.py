from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from understudy.datasets.dataset import Dataset
from understudy_calibration.activations.quantization import INT8, UINT8, QuantizationOptions, quantize_folder
from understudy_calibration.activations.twin import cpu_twin


@pytest.fixture
def quantized_folder(export_folder: Path, clouds: Dataset) -> Path:
    quantize_folder(export_folder, clouds, QuantizationOptions(num_frames=6, threads=1))
    return export_folder


def session(model: Path | bytes, *, optimized: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_steps_follow_the_rule(quantized_folder: Path) -> None:
    int8, uint8 = onnx.load(quantized_folder / INT8), onnx.load(quantized_folder / UINT8)
    steps = {
        node.input[0]: constants(int8)[node.input[1]] for node in int8.graph.node if node.op_type == "QuantizeLinear"
    }
    values = constants(uint8)
    for name, step in steps.items():
        zero_point = values[f"{name}_uint8_zero_point"]
        assert zero_point.dtype == np.uint8
        signed = name == "mixed"
        assert zero_point == (128 if signed else 0)
        np.testing.assert_allclose(values[f"{name}_uint8_scale"], step * (1.0 if signed else 127 / 255), rtol=1e-6)


def test_weights_are_untouched(quantized_folder: Path) -> None:
    before, after = constants(onnx.load(quantized_folder / INT8)), constants(onnx.load(quantized_folder / UINT8))
    weights = [name for name in before if name.endswith("_w_quantized")]
    assert len(weights) == 8
    for name in weights:
        np.testing.assert_array_equal(after[name], before[name])
    assert not any(value.dtype == np.int8 and not value.ndim for value in after.values()), "int8 zero points are left"


def test_every_convolution_but_the_last_runs_in_integers(quantized_folder: Path, tmp_path: Path) -> None:
    session(quantized_folder / UINT8, optimized=tmp_path / "optimized.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert operators.count("QLinearConv") == 6
    assert operators.count("Conv") == 2
    assert "FusedConv" not in operators
    assert "QLinearConcat" in operators


def test_symmetric_file_runs_in_float_on_cpus(quantized_folder: Path, tmp_path: Path) -> None:
    """Why there is a twin: when ONNX Runtime learns to run the symmetric file in integers, drop it."""
    session(quantized_folder / INT8, optimized=tmp_path / "optimized.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert operators.count("QLinearConv") < 6


def mover_model(mover: onnx.NodeProto, extra: list[onnx.TensorProto]) -> onnx.ModelProto:
    """Two float inputs, what moves their values, a symmetric int8 pair, and the result."""
    pair = [
        helper.make_node("QuantizeLinear", ["moved", "step", "zero"], ["integers"], name="q"),
        helper.make_node("DequantizeLinear", ["integers", "step", "zero"], ["y"], name="dq"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 8, 8]) for name in ("a", "b")]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    step, zero = numpy_helper.from_array(np.float32(0.01), "step"), numpy_helper.from_array(np.int8(0), "zero")
    graph = helper.make_graph([mover, *pair], "mover", ends, [result], [step, zero, *extra])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


MOVERS = {
    "concat": (helper.make_node("Concat", ["a", "b"], ["moved"], axis=1), 2),
    "maximum": (helper.make_node("MaxPool", ["a"], ["moved"], kernel_shape=[3, 3], pads=[1] * 4), 1),
    "nearest": (helper.make_node("Resize", ["a", "", "scales"], ["moved"], mode="nearest"), 1),
    "linear": (helper.make_node("Resize", ["a", "", "scales"], ["moved"], mode="linear"), 0),
    "sum": (helper.make_node("Add", ["a", "b"], ["moved"]), 0),
}


@pytest.mark.parametrize("name", MOVERS)
@pytest.mark.parametrize("non_negative", [True, False])
def test_pairs_are_carried_only_over_what_moves_values(name: str, non_negative: bool) -> None:
    mover, num_carried = MOVERS[name]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    model = mover_model(mover, [scales] if "scales" in mover.input else [])
    twin = cpu_twin(model, {"moved"} if non_negative else set())
    onnx.checker.check_model(twin, full_check=True)
    assert sum(node.op_type == "QuantizeLinear" for node in twin.graph.node) == 1 + num_carried


@pytest.mark.parametrize("name", ["concat", "maximum", "nearest"])
def test_carrying_changes_no_number(name: str) -> None:
    mover, _ = MOVERS[name]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    model = mover_model(mover, [scales] if "scales" in mover.input else [])
    twin = cpu_twin(model, set())
    generator = np.random.default_rng(5)
    feeds = {key: generator.normal(0, 0.6, (1, 2, 8, 8)).astype(np.float32) for key in ("a", "b")}
    before, after = (session(each.SerializeToString()).run(None, feeds)[0] for each in (model, twin))
    np.testing.assert_allclose(after, np.maximum(before, -1.28), atol=1e-6)


def test_grid_is_written_in_integers_and_says_the_same(quantized_folder: Path, clouds: Dataset) -> None:
    uint8 = onnx.load(quantized_folder / UINT8)
    scatter = next(node for node in uint8.graph.node if node.op_type == "ScatterND")
    quantized = {node.output[0] for node in uint8.graph.node if node.op_type == "QuantizeLinear"}
    assert {scatter.input[0], scatter.input[2]} <= quantized
    assert "grid" not in {node.input[0] for node in uint8.graph.node if node.op_type == "QuantizeLinear"}
    grid = next(
        node.output[0] for node in uint8.graph.node if node.op_type == "DequantizeLinear" and node.input[0] == "grid"
    )
    uint8.graph.output.append(helper.make_tensor_value_info(grid, TensorProto.FLOAT, None))
    original = onnx.load(quantized_folder / "model.onnx")
    original.graph.output.append(helper.make_tensor_value_info("grid", TensorProto.FLOAT, None))
    cloud = clouds[3].frame.clouds["top"]
    feeds = {
        "points": cloud.points,
        "ego_from_sensor": np.eye(3, 4, dtype=np.float32),
        "intensity_factor": np.ones(1, np.float32),
    }
    found, wanted = (session(each.SerializeToString()).run(None, feeds)[-1] for each in (uint8, original))
    assert set(np.unique(wanted)) == {0.0, 1.0}
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_tensor_that_is_also_an_output_keeps_its_pair(detector_model: onnx.ModelProto) -> None:
    mover, _ = MOVERS["concat"]
    model = mover_model(mover, [])
    model.graph.output.append(helper.make_tensor_value_info("moved", TensorProto.FLOAT, None))
    twin = cpu_twin(model, set())
    assert sum(node.op_type == "QuantizeLinear" for node in twin.graph.node) == 1
