from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from understudy.bundle.manifest import Contract
from understudy.cli import build_app
from understudy.configuration import file_sha256, read_config, read_yaml
from understudy.datasets.dataset import Dataset
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.errors import EngineError, InputError
from understudy_calibration.activations import checks
from understudy_calibration.activations.qdq import insert_pairs
from understudy_calibration.activations.quantization import (
    INT8,
    RECORD,
    UINT8,
    QuantizationOptions,
    QuantizationRecord,
    quantize_folder,
)
from understudy_calibration.activations.ranges import Range, clip_to_percentile, measure_extremes
from understudy_calibration.activations.samples import SampleFeeds, select_samples
from understudy_calibration.activations.summary import describe

OPTIONS = QuantizationOptions(num_frames=6, threads=1)


@pytest.fixture(scope="module")
def quantized(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, QuantizationRecord]:
    folder = tmp_path_factory.mktemp("quantized")
    request.getfixturevalue("fill_export_folder")(folder)
    return folder, quantize_folder(folder, request.getfixturevalue("clouds"), OPTIONS)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_pairs_are_on_convolution_inputs_only(quantized: tuple[Path, QuantizationRecord]) -> None:
    model = onnx.load(quantized[0] / INT8)
    convolution_inputs = {node.input[0] for node in model.graph.node if node.op_type == "Conv"}
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert convolution_inputs <= dequantized
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    original = onnx.load(quantized[0] / "model.onnx")
    assert {node.input[0] for node in quantizers} == {
        node.input[0] for node in original.graph.node if node.op_type == "Conv"
    }


def test_int8_is_what_tensorrt_takes(quantized: tuple[Path, QuantizationRecord]) -> None:
    model = onnx.load(quantized[0] / INT8)
    values = constants(model)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert values[node.input[2]].dtype == np.int8
            assert not values[node.input[2]].any()
    biases = [node.input[2] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2]
    assert len(biases) == 8
    assert all(values[bias].dtype == np.float32 for bias in biases)
    assert {entry.version for entry in model.opset_import} == {18}
    assert model.ir_version == 9


def test_weights_have_a_scale_per_channel(quantized: tuple[Path, QuantizationRecord]) -> None:
    model = onnx.load(quantized[0] / INT8)
    values = constants(model)
    weights = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in values]
    assert len(weights) == 8
    original = constants(onnx.load(quantized[0] / "model.onnx"))
    for node in weights:
        weight, scale = values[node.input[0]], values[node.input[1]]
        assert weight.dtype == np.int8
        assert scale.shape == (weight.shape[0],)
        wanted = original[node.input[0].removesuffix("_quantized")]
        assert np.abs(weight * scale[:, None, None, None] - wanted).max() <= scale.max() * 0.501


def test_both_files_say_nearly_what_fp32_says(quantized: tuple[Path, QuantizationRecord]) -> None:
    quality = quantized[1].sqnr_db
    assert set(quality[INT8]) == {"heatmap", "regression"}
    for name in ("heatmap", "regression"):
        assert quality[INT8][name] > 20.0
        assert quality[UINT8][name] > quality[INT8][name] + 1.0


def test_same_inputs_same_bytes_in_another_process(
    quantized: tuple[Path, QuantizationRecord], tmp_path: Path, fill_export_folder: object
) -> None:
    code = (
        "import sys, importlib.util, pathlib\n"
        "spec = importlib.util.spec_from_file_location('toys', sys.argv[1])\n"
        "toys = importlib.util.module_from_spec(spec); sys.modules['toys'] = toys; spec.loader.exec_module(toys)\n"
        "from understudy_calibration.activations.quantization import QuantizationOptions, quantize_folder\n"
        "folder = pathlib.Path(sys.argv[2]); toys.write_export(folder)\n"
        "quantize_folder(folder, toys.RandomClouds(), QuantizationOptions(num_frames=6, threads=1))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    toys = Path(__file__).with_name("conftest.py")
    subprocess.run([sys.executable, "-c", code, str(toys), str(tmp_path)], check=True, env=environment)
    for name in (INT8, UINT8, RECORD):
        assert (tmp_path / name).read_bytes() == (quantized[0] / name).read_bytes(), name


def test_record_names_what_it_was_made_from(quantized: tuple[Path, QuantizationRecord], clouds: Dataset) -> None:
    folder, record = quantized
    assert read_config(folder / RECORD, QuantizationRecord) == record
    values = read_yaml(folder / RECORD)
    assert values["source_sha256"] == file_sha256(folder / "model.onnx")
    assert values["int8_sha256"] == file_sha256(folder / INT8)
    assert record.data == clouds.fingerprint
    assert len(record.frames) == 6
    assert not set(record.frames) & set(record.held_out_frames)
    assert record.activations["grid"].high == 1.0
    assert record.activations["mixed"].low < 0.0
    assert record.num_quantized_convolutions == 8


def test_calibration_fingerprint_tells_data_and_frames_apart(export_folder: Path, clouds: Dataset) -> None:
    first = quantize_folder(export_folder, clouds, OPTIONS).calibration
    fewer = quantize_folder(export_folder, clouds, replace(OPTIONS, num_frames=4)).calibration
    other = quantize_folder(export_folder, replace(clouds, fingerprint="1" * 64), OPTIONS).calibration  # type: ignore[type-var]
    assert len({first, fewer, other}) == 3


def test_ranges_equal_those_of_onnx_runtimes_own_calibration(
    quantized: tuple[Path, QuantizationRecord], clouds: Dataset, tmp_path: Path
) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    folder, record = quantized
    contract = read_config(folder / "contract.yaml", Contract)
    selection = select_samples(len(clouds), 6)
    with OnnxRuntimeEngine(folder / "model.onnx") as engine:
        feeds = SampleFeeds(contract, engine, clouds)(selection.calibration)

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> object:
                return next(feeds, None)

        source = tmp_path / "model.onnx"
        source.write_bytes((folder / "model.onnx").read_bytes())
        quantize_static(
            source,
            tmp_path / "theirs.onnx",
            Reader(),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
    theirs, ours = constants(onnx.load(tmp_path / "theirs.onnx")), constants(onnx.load(folder / INT8))
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, err_msg=name)
    scales = {name.removesuffix("_scale"): value for name, value in ours.items() if name.endswith("_scale")}
    for name, entry in record.activations.items():
        np.testing.assert_allclose(scales[name], entry.scale, rtol=1e-6)


def test_percentile_cuts_the_rarest_values(export_folder: Path, clouds: Dataset) -> None:
    extremes = quantize_folder(export_folder, clouds, OPTIONS)
    cut = quantize_folder(export_folder, clouds, replace(OPTIONS, method="percentile"))
    assert cut.method == "percentile"
    for name, entry in cut.activations.items():
        assert entry.scale <= extremes.activations[name].scale * 1.001
    assert cut.activations["neck"].scale < extremes.activations["neck"].scale
    assert cut.activations["grid"].high == 1.0


class Replayed:
    """Puts out prepared arrays, whatever it is fed."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = iter(arrays)

    def __call__(self, feeds: object) -> dict[str, np.ndarray]:
        return {"x": next(self.arrays)}


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.9])
def test_percentile_agrees_with_numpy(percentile: float) -> None:
    generator = np.random.default_rng(3)
    arrays = [generator.normal(0, scale, 20_000).astype(np.float32) for scale in (1.0, 2.0, 0.5)]
    extremes = measure_extremes(Replayed(arrays), ("x",), [{}] * 3)  # type: ignore[arg-type]
    assert extremes["x"] == Range(float(np.min(arrays)), float(np.max(arrays)))
    cut = clip_to_percentile(Replayed(arrays), extremes, [{}] * 3, percentile)["x"]  # type: ignore[arg-type]
    wanted = float(np.percentile(np.abs(arrays), percentile, method="inverted_cdf"))
    assert abs(cut.magnitude - wanted) <= extremes["x"].magnitude / 8192 + 1e-6


def test_activation_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="activation x: found values that are not finite"):
        measure_extremes(Replayed([np.array([1.0, np.nan])]), ("x",), [{}])  # type: ignore[arg-type]


def test_keep_float_leaves_convolutions_alone(export_folder: Path, clouds: Dataset) -> None:
    record = quantize_folder(export_folder, clouds, replace(OPTIONS, keep_float=("node_heat*", "node_first_linear")))
    assert record.float_convolutions == ("node_first_linear", "node_heatmap")
    assert record.num_quantized_convolutions == 6
    values = constants(onnx.load(export_folder / INT8))
    assert values["heatmap_w"].dtype == np.float32
    assert "regression_w" not in values
    assert "grid" not in record.activations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep_float": ("node_heatmop",)}, "--keep-float: found node_heatmop, wanted the name of a convolution"),
        ({"keep_float": ("*",)}, "no convolution to quantize"),
        ({"num_frames": 12}, "calibration frames: found 12 asked for, 12 in the data set"),
        ({"num_frames": 0}, "calibration frames: found 0 asked for"),
        ({"threads": 0}, "threads: found 0, wanted 1 or more"),
    ],
)
def test_wrong_options_are_refused(
    export_folder: Path, clouds: Dataset, change: dict[str, object], message: str
) -> None:
    with pytest.raises((InputError, EngineError), match=message.replace("*", r"\*")):
        quantize_folder(export_folder, clouds, replace(OPTIONS, **change))
    assert not (export_folder / INT8).exists()
    assert not (export_folder / RECORD).exists()


def test_folder_without_a_model_or_with_a_broken_one_is_refused(export_folder: Path, clouds: Dataset) -> None:
    (export_folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"model\.onnx: found .*, wanted an ONNX model"):
        quantize_folder(export_folder, clouds, OPTIONS)
    (export_folder / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"model\.onnx: found no such file; export the student first"):
        quantize_folder(export_folder, clouds, OPTIONS)


def test_frames_are_spread_and_repeatable() -> None:
    selection = select_samples(100, 32)
    assert selection == select_samples(100, 32)
    assert len(set(selection.calibration)) == 32
    assert selection.calibration[0] == 0
    assert selection.calibration[-1] == 99
    assert len(selection.held_out) == 8
    assert not set(selection.calibration) & set(selection.held_out)
    assert len(select_samples(4, 3).held_out) == 1


def test_nothing_but_the_results_is_left_in_the_folder(quantized: tuple[Path, QuantizationRecord]) -> None:
    names = sorted(path.name for path in quantized[0].iterdir())
    assert names == sorted(["contract.yaml", "model.onnx", INT8, UINT8, RECORD])


def test_command_quantizes_and_says_what_it_did(
    export_folder: Path, clouds: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.datasets.opening.open_dataset", lambda path, split=None: clouds)
    arguments = ["quantize", str(export_folder), "--data", ".", "--frames", "4", "--keep-float", "node_heat*"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "quantized 7 convolutions, 1 kept in float with minmax ranges from 4 frames" in result.stdout
    assert read_config(export_folder / RECORD, QuantizationRecord).float_convolutions == ("node_heatmap",)


def test_closing_lines_say_sizes_and_losses(quantized: tuple[Path, QuantizationRecord]) -> None:
    lines = list(describe(*quantized))
    assert lines[0] == "quantized 8 convolutions with minmax ranges from 6 frames"
    assert any("model.int8.onnx" in line and "MB  for TensorRT" in line for line in lines)
    assert any("heatmap" in line and "int8" in line and "uint8" in line for line in lines)
    assert all(len(line) <= 100 for line in lines)


def test_twin_is_refused_by_name_where_tensorrt_files_are_checked(
    quantized: tuple[Path, QuantizationRecord],
) -> None:
    checks.refuse_uint8(onnx.load(quantized[0] / INT8), INT8)
    with pytest.raises(EngineError, match=r"model\.uint8\.onnx: tensor \w+: found uint8"):
        checks.refuse_uint8(onnx.load(quantized[0] / UINT8), UINT8)


def with_cast(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Cast", ["scores"], ["hidden"], to=TensorProto.UINT8))


def with_default_zero_point(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "unit"))
    model.graph.node.append(helper.make_node("QuantizeLinear", ["scores", "unit"], ["hidden"]))


def with_attribute(model: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(1, np.uint8), "value")
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=value))


def with_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("hidden", TensorProto.UINT8, [1]))


@pytest.mark.parametrize("hide", [with_cast, with_default_zero_point, with_attribute, with_output])
def test_uint8_is_found_wherever_it_hides(detector_model: onnx.ModelProto, hide: object) -> None:
    hide(detector_model)  # type: ignore[operator]
    with pytest.raises(EngineError, match=r"m: tensor hidden: found uint8"):
        checks.refuse_uint8(detector_model, "m")


def test_asymmetric_zero_point_is_refused(quantized: tuple[Path, QuantizationRecord]) -> None:
    model = onnx.load(quantized[0] / INT8)
    checks.refuse_asymmetric(model, INT8)
    node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    model.graph.initializer.append(numpy_helper.from_array(np.int8(3), "three"))
    node.input[2] = "three"
    with pytest.raises(EngineError, match=r"zero point of .*: found not zero"):
        checks.refuse_asymmetric(model, INT8)


def test_other_versions_are_refused(detector_model: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(detector_model)
    other.ir_version = 11
    with pytest.raises(EngineError, match=r"found ai\.onnx 18, IR 11, wanted ai\.onnx 18, IR 9"):
        checks.refuse_other_versions(other, detector_model, "m")


def test_insertion_leaves_the_original_untouched(detector_model: onnx.ModelProto) -> None:
    before = detector_model.SerializeToString(deterministic=True)
    ranges = {name: Range(0.0, 1.0) for name in ("grid", "first", "second", "joined", "neck", "mixed")}
    insert_pairs(detector_model, ranges, ())
    assert detector_model.SerializeToString(deterministic=True) == before


def test_tensorrt_rtx_builds_the_int8_file(quantized: tuple[Path, QuantizationRecord]) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse((quantized[0] / INT8).read_bytes()), parser.get_error(0).desc()
    profile = builder.create_optimization_profile()
    profile.set_shape("points", (2, 4), (2000, 4), (4000, 4))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    assert engine.nbytes > 1000
