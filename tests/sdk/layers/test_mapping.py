"""From a runtime's names back to the FP32 file's layers, on hand-made cases and on real profiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from understudy.engines import openvino_engine
from understudy.layers.graph import Graph, Node, read_graph
from understudy.layers.mapping import Mapping, Place
from understudy.layers.measuring import ProfilePlan, profile_files
from understudy.layers.profiles import NodeTime
from understudy.testing import road_cloud, write_tiny_model
from understudy_calibration.activations.quantization import QuantizationOptions, quantize_folder


def conv_relu(names: tuple[str, str, str] = ("node_conv", "node_relu", "node_cast")) -> Graph:
    conv, relu, cast = names
    nodes = (
        Node(conv, "Conv", ("x", "w"), ("conv_out",)),
        Node(relu, "Relu", ("conv_out",), ("relu_out",)),
        Node(cast, "Cast", ("relu_out",), ("cast_out",)),
    )
    return Graph(nodes, {})


def quantized() -> Graph:
    nodes = (
        Node("x_QuantizeLinear", "QuantizeLinear", ("x", "s"), ("xq",)),
        Node("x_DequantizeLinear", "DequantizeLinear", ("xq", "s"), ("xd",)),
        Node("node_conv", "Conv", ("xd", "w"), ("conv_out",)),
        Node("node_relu", "Relu", ("conv_out",), ("relu_out",)),
        Node("node_cast", "Cast", ("relu_out",), ("cast_out",)),
        Node("extra", "Add", ("cast_out", "cast_out"), ("sum",)),
    )
    return Graph(nodes, {})


def place(name: str, kind: str, *sources: str, own: Graph | None = None) -> Place:
    return Mapping(conv_relu(), own or quantized()).place(NodeTime(name, kind, (1.0,), sources))


@pytest.mark.parametrize(
    ("name", "kind", "sources"),
    [
        ("node_conv", "Conv", ()),
        ("node_relu", "Relu", ()),
        ("relu_out_nchwc", "Conv", ()),
        ("node_conv_token_75", "QLinearConv", ()),
        ("node_conv_quant", "QLinearConv", ()),
        ("node_conv_token_3_nchwc", "Conv", ()),
        ("InsertedPrecisionFreeCast_conv_out_nchwc", "Conv", ()),
        ("node_conv/WithoutBiases", "Convolution", ()),
        ("fused_7", "Convolution", ("Multiply_1", "node_conv", "node_relu")),
        ("node_conv + node_relu", "", ()),
        ("[ONNX Layer: node_conv]", "", ()),
        ("PWN({node_conv || node_relu})", "", ("node_conv",)),
    ],
)
def test_renamed_and_fused_nodes_find_their_layer(name: str, kind: str, sources: tuple[str, ...]) -> None:
    assert place(name, kind, *sources) == Place(layer="node_conv")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x_QuantizeLinear", "QuantizeLinear"),
        ("x_DequantizeLinear", "DequantizeLinear"),
        ("ReorderInput_token_1", "ReorderInput"),
        ("node_conv_abcd_acdb_node_relu", "Reorder"),
        ("Transpose_token_77", "Transpose"),
        ("node_conv_cast", "Cast"),
    ],
)
def test_what_only_carries_data_is_overhead_by_its_kind(name: str, kind: str) -> None:
    assert place(name, kind) == Place(overhead=kind)


def test_a_cast_of_the_file_is_a_layer_and_what_is_unknown_is_nowhere() -> None:
    assert place("node_cast", "Cast") == Place(layer="node_cast")
    assert place("Squeeze_token_8", "Squeeze") == Place()
    assert place("extra", "Add") == Place(), "the FP32 file has no such node"


def test_convolutions_that_an_export_named_anew_are_found_by_their_order() -> None:
    renamed = conv_relu(("node_conv_12", "node_relu_9", "node_cast_4"))
    assert place("node_conv_12", "Conv", own=renamed) == Place(layer="node_conv")
    assert place("node_relu_9", "Relu", own=renamed) == Place(layer="node_conv")
    more = Graph((Node("first", "Conv", ("x", "w"), ("a",)), *renamed.nodes), {})
    assert place("node_conv_12", "Conv", own=more) == Place(), "not as many: which is which cannot be told"


def test_a_convolution_named_after_what_was_fused_behind_it_is_found() -> None:
    nodes = (
        Node("node_conv", "Conv", ("x", "w"), ("conv_out",)),
        Node("node_sigmoid", "Sigmoid", ("conv_out",), ("heat",)),
    )
    mapping = Mapping(Graph(nodes, {}), Graph(nodes, {}))
    assert mapping.place(NodeTime("heat_nchwc", "Conv", (1.0,))) == Place(layer="node_conv")
    assert mapping.place(NodeTime("node_sigmoid", "Sigmoid", (1.0,))) == Place(layer="node_sigmoid")
    assert mapping.place(NodeTime("heat", "Convert", (1.0,))) == Place(overhead="Convert")


class Sweeps:
    """Four clouds for the quantizer."""

    fingerprint = "f" * 64

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> object:
        from understudy.datasets.dataset import Sample
        from understudy.testing import frame_of, simple_rig

        cloud = road_cloud(np.random.default_rng(index), 5000)
        return Sample(f"{index}", frame_of(cloud), simple_rig(), None, {})


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_nearly_all_time_of_real_runs_is_mapped(runtime: str, tmp_path: Path) -> None:
    if runtime == "openvino" and not openvino_engine.available():
        pytest.skip("openvino is not installed")
    models = quantized_tiny(tmp_path)
    feeds = {
        "points": road_cloud(np.random.default_rng(0), 30_000).points,
        "ego_from_sensor": np.eye(4, dtype=np.float32)[:3].copy(),
        "intensity_factor": np.ones(1, np.float32),
    }
    shapes = {name: array.shape for name, array in feeds.items()}
    profiles = profile_files(models, feeds, ProfilePlan(runtime, num_runs=4))  # type: ignore[arg-type]
    reference = read_graph(models["fp32"], shapes)
    for name, model in models.items():
        mapping = Mapping(reference, read_graph(model, shapes))
        nodes = profiles[name].nodes
        mapped = sum(node.least_ms for node in nodes if mapping.place(node) != Place())
        assert mapped > 0.9 * sum(node.least_ms for node in nodes)
        convolutions = [node for node in nodes if "Conv" in node.kind and node.kind != "Convert"]
        assert {mapping.place(node).layer for node in convolutions} == {"Conv_hidden", "Conv_logits"}


def quantized_tiny(folder: Path) -> dict[str, Path]:
    """The tiny model as exported and quantized."""
    from understudy.configuration import write_yaml
    from understudy.testing import tiny_contract

    write_tiny_model(folder / "model.onnx")
    write_yaml(folder / "contract.yaml", tiny_contract())
    quantize_folder(folder, Sweeps(), QuantizationOptions(num_frames=3))  # type: ignore[arg-type]
    return {"fp32": folder / "model.onnx", "int8": folder / "model.int8.onnx", "uint8": folder / "model.uint8.onnx"}
