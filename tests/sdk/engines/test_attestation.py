"""The precision of every layer: from real networks of TensorRT-RTX, and from the inspector's documented JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.sdk.engines.test_compiling import needs_rtx, quantized_bundle
from understudy.bundle.card import precision_tables
from understudy.engines.attestation import (
    Attestation,
    LayerPrecision,
    attest_inspection,
    completed,
    describe,
    refuse_departures,
    requested_types,
)
from understudy.engines.compiling import compile_bundle
from understudy.engines.engine_key import attestation_of, known_engines
from understudy.errors import EngineError
from understudy.testing import tiny_bundle, write_tiny_model


def inspected(**changes: Any) -> dict[str, Any]:
    """A layer as TensorRT's documentation of the engine inspector shows it."""
    return {
        "Name": "conv1 + relu",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Dimensions": [1, 8, 64, 64], "Format/Datatype": "Row major linear FP32"}],
        "Outputs": [{"Name": "y", "Dimensions": [1, 8, 64, 64], "Format/Datatype": "Channel major FP16 format"}],
        "ParameterType": "Convolution",
        "Weights": {"Type": "Half", "Count": 576},
        "Metadata": "[ONNX Layer: node_conv2d]\x1e[ONNX Layer: node_relu]",
        **changes,
    }


def test_an_inspected_layer_tells_types_and_onnx_nodes() -> None:
    [row] = attest_inspection(json.dumps({"Layers": [inspected()], "Bindings": []})).layers
    assert row == LayerPrecision(
        name="conv1 + relu",
        kind="Convolution",
        onnx_nodes=("node_conv2d", "node_relu"),
        inputs=("FLOAT",),
        weights="HALF",
        outputs=("HALF",),
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Thirty-two wide channel vectorized row major Int8 format", "INT8"),
        ("Row major linear INT8 format", "INT8"),
        ("Channel major FP16 format where channel % 8 == 0", "HALF"),
        ("Row major linear FP32", "FLOAT"),
        ("Row major linear Bool format", "BOOL"),
        ("Row major linear BF16", "BF16"),
        ("BFloat16", "BF16"),
        ("Half", "HALF"),
    ],
)
def test_types_are_found_in_the_inspectors_sentences(text: str, kind: str) -> None:
    layer = inspected(Inputs=[{"Name": "x", "Format/Datatype": text}])
    assert attest_inspection(json.dumps({"Layers": [layer]})).layers[0].inputs == (kind,)


def test_tensorrt_11_tells_the_type_apart_from_the_format() -> None:
    ports = [{"Name": "x", "Format": "Row major linear (kLINEAR)", "Datatype": "Half", "Dimensions": [1, 8]}]
    [row] = attest_inspection(json.dumps({"Layers": [inspected(Inputs=ports)], "I/O Tensors": []})).layers
    assert row.inputs == ("HALF",)


@pytest.mark.parametrize("text", ["", "{}", '{"Layers": ["conv1 + relu"]}', '{"Layers": [{"Name": "a"}]}', "[]"])
def test_an_engine_without_details_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="detailed profiling verbosity"):
        attest_inspection(text)


@needs_rtx
def test_a_real_network_tells_which_onnx_node_computes_in_what(tmp_path: Path) -> None:
    bundle = quantized_bundle(tmp_path / "bundle")
    list(compile_bundle(bundle, "rtx-sm86", "int8"))
    list(compile_bundle(bundle, "rtx-sm86", "fp32"))
    tables = {known.record.precision: attestation_of(bundle, known.record) for known in known_engines(bundle)}
    assert tables["int8"] is not None
    assert tables["fp32"] is not None
    assert tables["int8"].source == "network"
    assert tables["int8"].num_by_type == {"FLOAT": 1, "INT8": 1}
    assert tables["fp32"].num_by_type == {"FLOAT": 2}
    wanted = requested_types(bundle.model("int8"))
    assert sorted(wanted.values()) == ["FLOAT", "INT8"]
    built = {node: layer.inputs[0] for layer in tables["int8"].layers for node in layer.onnx_nodes if node in wanted}
    assert built == wanted
    shown = list(precision_tables(bundle))
    assert any("INT8   INT8" in line for line in shown)
    assert max(map(len, shown)) <= 100


@needs_rtx
def test_a_rebuilt_engine_leaves_no_table_of_the_old_one(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    list(compile_bundle(bundle, "rtx-sm86"))
    stale = bundle.engines_folder / "rtx-sm86-fp32-0123456789abcdef.layers.json"
    stale.write_text("{}")
    (bundle.engines_folder / stale.name.replace("layers.json", "engine")).write_bytes(b"old")
    next(bundle.engines_folder.glob("*.engine")).unlink()
    for path in bundle.engines_folder.glob("*.yaml"):
        path.unlink()
    list(compile_bundle(bundle, "rtx-sm86"))
    assert not stale.exists()
    assert len(list(bundle.engines_folder.glob("*.layers.json"))) == 1


def table_of(*rows: LayerPrecision, source: Literal["engine", "network"] = "engine") -> Attestation:
    return Attestation(source=source, layers=rows)


def float_rows(model: Path) -> list[LayerPrecision]:
    fine = LayerPrecision(name="a", kind="Convolution", inputs=("FLOAT",), weights="FLOAT")
    return [fine.model_copy(update={"onnx_nodes": (node,)}) for node in requested_types(model)]


def test_a_node_in_another_precision_is_named(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model.onnx")
    first, second = float_rows(model)
    refuse_departures(model, table_of(first, second))
    wrong = first.model_copy(update={"inputs": ("HALF",)})
    with pytest.raises(EngineError, match=rf"precision of 1 of 2 nodes: found {first.onnx_nodes[0]} in HALF, asked"):
        refuse_departures(model, table_of(wrong, second))


def test_a_node_that_no_layer_tells_of_is_no_proof(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model.onnx")
    first, second = float_rows(model)
    with pytest.raises(EngineError, match=rf"of 1 of 2 nodes: found {second.onnx_nodes[0]} in no layer of the table"):
        refuse_departures(model, table_of(first))
    with pytest.raises(EngineError, match="precision of 2 of 2 nodes"):
        refuse_departures(model, table_of())


def test_what_the_inspector_does_not_tell_apart_the_network_does(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model.onnx")
    first, second = float_rows(model)
    copying = second.model_copy(update={"kind": "kgen", "weights": "", "inputs": ("INT32",)})
    gemm = first.model_copy(update={"kind": "gemm", "weights": "", "inputs": ("INT32", "FLOAT")})
    table = completed(table_of(gemm, copying), table_of(first, second, source="network"), model)
    assert table.from_network == (second,)
    refuse_departures(model, table)
    assert any(line.startswith("not told apart by the inspector") for line in describe(table))
    other = second.model_copy(update={"inputs": ("HALF",)})
    with pytest.raises(EngineError, match=rf"{second.onnx_nodes[0]} in HALF, asked for FLOAT"):
        refuse_departures(model, completed(table_of(gemm, copying), table_of(first, other, source="network"), model))


def test_the_table_fits_a_hundred_columns() -> None:
    row = LayerPrecision(
        name="x", kind="MATRIX_MULTIPLY", onnx_nodes=("n" * 90,), inputs=("HALF",), weights="HALF", outputs=("FLOAT",)
    )
    bare = [row.model_copy(update={"kind": f"KIND_{i}", "weights": ""}) for i in range(8)]
    assert max(map(len, describe(Attestation(source="network", layers=(row, *bare))))) <= 100


def test_a_bundle_without_engines_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="engines with layers: found none, wanted one; understudy compile"):
        list(precision_tables(tiny_bundle(tmp_path / "bundle")))
