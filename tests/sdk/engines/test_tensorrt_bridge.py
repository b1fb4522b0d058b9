"""The bridge against a TensorRT that has only the calls every version shares; anything else raises AttributeError."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from understudy.engines import tensorrt_bridge
from understudy.errors import EngineError


def tensor(name: str, dtype: str, *shape: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, shape=shape, dtype=SimpleNamespace(name=dtype))


def layer(kind: str, source: SimpleNamespace, output: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(
        type=SimpleNamespace(name=kind),
        name=kind.lower(),
        metadata=f"[ONNX Layer: {kind.lower()}_node]",
        num_inputs=1,
        num_outputs=1,
        get_output=lambda index: output,
        get_input=lambda index: source,
    )


def library(*, blob: bytes | None = b"engine", parses: bool = True, has_strong_types: bool = True) -> SimpleNamespace:
    """A stand-in for the module: a network of one quantized convolution."""
    x, q, dq, y = (tensor(n, t, -1, 4) for n, t in (("x", "FLOAT"), ("q", "INT8"), ("dq", "FLOAT"), ("y", "HALF")))
    layers = [layer("QUANTIZE", x, q), layer("DEQUANTIZE", q, dq), layer("CONVOLUTION", dq, y)]
    network = SimpleNamespace(
        num_layers=3,
        num_inputs=1,
        num_outputs=1,
        get_layer=lambda index: layers[index],
        get_input=lambda index: x,
        get_output=lambda index: y,
    )
    cleared: list[str] = []
    seen: dict[str, Any] = {"cleared": cleared}

    class Builder:
        def __init__(self, log: Any) -> None:
            self.log = log

        def create_network(self, flags: int) -> SimpleNamespace:
            seen["flags"] = flags
            return network

        def create_builder_config(self) -> SimpleNamespace:
            return SimpleNamespace(add_optimization_profile=lambda profile: 0, clear_flag=cleared.append)

        def create_optimization_profile(self) -> SimpleNamespace:
            return SimpleNamespace(set_shape=lambda name, *shapes: seen.update({name: shapes}))

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            self.log.log(1, "no runner implements it")
            self.log.log(3, "chatter")
            return blob

    return SimpleNamespace(
        __version__="10.3.0",
        seen=seen,
        ILogger=type("ILogger", (), {}),
        IProgressMonitor=type("IProgressMonitor", (), {}),
        Builder=Builder,
        OnnxParser=lambda network, log: SimpleNamespace(
            parse=lambda data: parses, num_errors=1, get_error=lambda index: SimpleNamespace(desc=lambda: "bad node")
        ),
        BuilderFlag=SimpleNamespace(TF32="TF32"),
        ProfilingVerbosity=SimpleNamespace(DETAILED=2),
        NetworkDefinitionCreationFlag=SimpleNamespace(**({"STRONGLY_TYPED": 1} if has_strong_types else {})),
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    return tmp_path / "model.onnx"


def installed(monkeypatch: pytest.MonkeyPatch, module: SimpleNamespace) -> SimpleNamespace:
    monkeypatch.setattr(tensorrt_bridge, "load", lambda name: module)
    return module


@pytest.mark.parametrize(("has_strong_types", "flags"), [(True, 2), (False, 0)])
def test_builds_with_the_shared_calls_alone(
    monkeypatch: pytest.MonkeyPatch, model: Path, has_strong_types: bool, flags: int
) -> None:
    trt = installed(monkeypatch, library(has_strong_types=has_strong_types))
    built = tensorrt_bridge.build("tensorrt", model, {"x": ((1, 4), (2, 4), (3, 4))})
    assert trt.seen == {"flags": flags, "cleared": ["TF32"], "x": ((1, 4), (2, 4), (3, 4))}
    assert built.blob == b"engine"
    assert built.inputs[0].shape == ("?", 4)
    assert built.outputs[0].dtype == "float16"
    assert built.layer_types == {"CONVOLUTION": {"HALF": 1}, "DEQUANTIZE": {"FLOAT": 1}, "QUANTIZE": {"INT8": 1}}
    assert (built.num_int8_convolutions, built.num_convolutions) == (1, 1)
    convolution = built.attestation.layers[-1]
    assert (convolution.onnx_nodes, convolution.inputs) == (("convolution_node",), ("INT8",))


def test_none_from_the_builder_is_an_error_in_its_loggers_words(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    installed(monkeypatch, library(blob=None))
    with pytest.raises(EngineError, match="found no runner implements it, wanted an engine"):
        tensorrt_bridge.build("tensorrt", model, {})


def test_a_refusal_of_the_parser_is_an_error_in_its_words(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    installed(monkeypatch, library(parses=False))
    with pytest.raises(EngineError, match="found bad node"):
        tensorrt_bridge.build("tensorrt", model, {})


def test_a_version_without_capabilities_says_so(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    installed(monkeypatch, library())
    with pytest.raises(EngineError, match=r"tensorrt 10\.3\.0: compute capability: found SM86"):
        tensorrt_bridge.build("tensorrt", model, {}, ("SM86",))
