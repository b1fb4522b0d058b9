from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from understudy.bundle.bundle import Bundle, PackedModel, write_bundle
from understudy.bundle.packing import DEFAULT_TOLERANCES
from understudy.engines import tensorrt_bridge
from understudy.engines.compiling import Compiled, compile_bundle
from understudy.engines.engine_key import EngineKey, known_engines
from understudy.engines.tensorrt_builder import BuildSettings, profile_of
from understudy.engines.tensorrt_rules import refuse_forbidden_graph
from understudy.errors import BundleError, EngineError
from understudy.progress import PhaseBars
from understudy.testing import tiny_bundle, tiny_contract, tiny_outputs, write_tiny_model

needs_rtx = pytest.mark.skipif(not tensorrt_bridge.available("tensorrt_rtx"), reason="tensorrt-rtx is not installed")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "bundle")


def compiled(bundle: Bundle, target: str, precision: str | None = None) -> list[Compiled]:
    return list(compile_bundle(bundle, target, precision))  # type: ignore[arg-type]


def quantized(path: Path, dtype: type[np.generic]) -> Path:
    """The tiny model with Q/DQ around its first convolution."""
    model = onnx.load(write_tiny_model(path))
    graph = model.graph
    conv = next(node for node in graph.node if node.op_type == "Conv")
    pairs: list[onnx.NodeProto] = []
    for index, scale, zero in ((0, 0.01, dtype(0)), (1, 0.02, np.int8(0))):
        source = conv.input[index]
        graph.initializer.append(numpy_helper.from_array(np.float32(scale), f"scale_{index}"))
        graph.initializer.append(numpy_helper.from_array(np.asarray(zero), f"zero_{index}"))
        parameters = [f"scale_{index}", f"zero_{index}"]
        pairs.append(helper.make_node("QuantizeLinear", [source, *parameters], [f"q_{index}"]))
        pairs.append(helper.make_node("DequantizeLinear", [f"q_{index}", *parameters], [f"dq_{index}"]))
        conv.input[index] = f"dq_{index}"
    place = list(graph.node).index(conv)
    nodes = [*graph.node[:place], *pairs, *graph.node[place:]]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def quantized_bundle(folder: Path) -> Bundle:
    from understudy.bundle.onnx_facts import read_onnx_facts

    contract = tiny_contract()
    paths = {
        "fp32": write_tiny_model(folder.parent / "fp32.onnx"),
        "int8": quantized(folder.parent / "int8.onnx", np.int8),
        "uint8": quantized(folder.parent / "uint8.onnx", np.uint8),
    }
    return write_bundle(
        folder,
        contract,
        {name: PackedModel(path, 18, 10) for name, path in paths.items()},  # type: ignore[misc]
        inputs=read_onnx_facts(paths["fp32"]).inputs,
        outputs=tiny_outputs(),
        tolerances=DEFAULT_TOLERANCES,
    )


def test_the_cpu_session_is_proved_each_time(bundle: Bundle) -> None:
    (first,) = compiled(bundle, "cpu")
    assert first.is_new
    assert first.record.library.startswith("onnxruntime ")
    assert first.record.first_run_s is not None
    (again,) = compiled(bundle, "cpu")
    assert again.is_new  # a record that came with a copied folder proves nothing here
    assert again.record.key == first.record.key
    assert [known.state for known in known_engines(bundle)] == ["ready"]


@needs_rtx
def test_rtx_builds_reuses_and_rebuilds(bundle: Bundle, tmp_path: Path) -> None:
    (first,) = compiled(bundle, "rtx-sm86")
    path = bundle.engines_folder / first.record.file
    assert first.is_new
    assert first.record.size_bytes == path.stat().st_size > 10_000
    assert first.record.layer_types is not None
    assert first.record.layer_types["CONVOLUTION"] == {"FLOAT": 2}
    assert "network definition" in first.record.types_read_from
    assert not compiled(bundle, "rtx-sm86")[0].is_new

    table = path.with_suffix(".layers.json")
    for text in ("", table.read_text().replace("FLOAT", "HALF"), None):
        table.unlink() if text is None else table.write_text(text)
        assert compiled(bundle, "rtx-sm86")[0].is_new
        assert table.stat().st_size > 100

    path.write_bytes(path.read_bytes()[:-1])
    assert [known.state for known in known_engines(bundle)] == ["damaged"]
    (repaired,) = compiled(bundle, "rtx-sm86")
    assert repaired.is_new
    assert repaired.record.key == first.record.key
    assert [known.state for known in known_engines(bundle)] == ["ready"]

    retrained = tiny_contract().model_copy(update={"grid": tiny_contract().grid.model_copy(update={"cell_m": 0.5})})
    model = write_tiny_model(tmp_path / "retrained.onnx", retrained)
    newer = write_bundle(
        bundle.folder,
        retrained,
        {"fp32": PackedModel(model, 18, 10)},
        inputs=bundle.manifest.inputs,
        outputs=bundle.manifest.outputs,
        tolerances=DEFAULT_TOLERANCES,
    )
    assert [known.state for known in known_engines(newer)] == ["stale"]
    (rebuilt,) = compiled(newer, "rtx-sm86")
    assert rebuilt.is_new
    assert rebuilt.record.key != first.record.key
    assert not path.exists()
    assert [known.state for known in known_engines(newer)] == ["ready"]


@needs_rtx
@pytest.mark.parametrize("target", ["rtx-sm75", "rtx-sm80", "rtx-sm89", "rtx-sm120"])
def test_every_rtx_generation_builds(bundle: Bundle, target: str) -> None:
    (result,) = compiled(bundle, target)
    assert result.record.flags[-1] == target.removeprefix("rtx-").upper()


@needs_rtx
def test_an_interrupted_build_ends_and_leaves_nothing(bundle: Bundle) -> None:
    class Impatient(PhaseBars):
        def start(self, phase: str, parent: str | None, num_steps: int) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            list(compile_bundle(bundle, "rtx-sm86", settings=BuildSettings(track=Impatient())))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not bundle.engines_folder.exists()


@needs_rtx
def test_all_is_the_cpu_and_one_engine_for_all_rtx(tmp_path: Path) -> None:
    bundle = quantized_bundle(tmp_path / "bundle")
    cpu, rtx = compiled(bundle, "all")
    assert (cpu.record.precision, rtx.record.precision) == ("uint8", "int8")
    assert (rtx.record.num_int8_convolutions, rtx.record.num_convolutions) == (1, 2)
    assert rtx.record.flags[-4:] == ("SM80", "SM86", "SM89", "SM120")


@needs_rtx
def test_a_precision_that_is_not_in_the_graph_is_an_error(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", precisions=("fp32", "int8"))
    with pytest.raises(EngineError, match="0 of 2 convolutions in INT8, wanted int8"):
        compiled(bundle, "rtx", "int8")
    assert known_engines(bundle) == []


def test_uint8_never_reaches_tensorrt(tmp_path: Path) -> None:
    bundle = quantized_bundle(tmp_path / "bundle")
    with pytest.raises(EngineError, match="silently clips"):
        compiled(bundle, "rtx", "uint8")
    with pytest.raises(EngineError, match=r"tensor .* found UINT8, which TensorRT silently clips"):
        refuse_forbidden_graph(bundle.model("uint8"))
    refuse_forbidden_graph(bundle.model("int8"))


def test_a_quantization_without_zero_point_never_reaches_tensorrt(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [value], [output], [helper.make_tensor("scale", TensorProto.FLOAT, [], [1])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(EngineError, match=r"tensor q and .* found UINT8"):
        refuse_forbidden_graph(tmp_path / "m.onnx")


def test_a_forbidden_operator_is_named(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])
    output = helper.make_tensor_value_info("y", TensorProto.INT64, [1, "M"])
    graph = helper.make_graph([helper.make_node("NonZero", ["x"], ["y"])], "g", [value], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(EngineError, match="NonZero"):
        refuse_forbidden_graph(tmp_path / "m.onnx")


@needs_rtx
def test_a_refusal_of_the_builder_carries_its_words(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "model.onnx")
    with pytest.raises(EngineError, match="no optimization profile has been defined"):
        tensorrt_bridge.build("tensorrt_rtx", path, {}, ("SM86",))
    with pytest.raises(EngineError, match="compute capability: found SM999"):
        tensorrt_bridge.build("tensorrt_rtx", path, {"points": ((1, 4), (5, 4), (9, 4))}, ("SM999",))
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    with pytest.raises(EngineError, match="a graph its parser takes"):
        tensorrt_bridge.build("tensorrt_rtx", tmp_path / "broken.onnx", {})


@needs_rtx
def test_a_builders_phases_are_told_as_it_goes(bundle: Bundle) -> None:
    told: list[tuple[object, ...]] = []
    track = SimpleNamespace(
        start=lambda phase, parent, num_steps: told.append(("start", phase, parent)),
        step=lambda phase, step: told.append(("step", phase, step)),
        finish=lambda phase: told.append(("finish", phase)),
    )
    list(compile_bundle(bundle, "rtx-sm86", settings=BuildSettings(track=track)))
    started = {entry[1] for entry in told if entry[0] == "start"}
    assert ("start", "Building engine", None) in told
    assert started == {entry[1] for entry in told if entry[0] == "finish"}
    assert told[-1] == ("finish", "Building engine")


def test_wrong_requests(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="target: found jetson, wanted cpu or rtx-sm75"):
        compiled(bundle, "jetson")
    with pytest.raises(BundleError, match="precision int8"):
        compiled(bundle, "cpu", "int8")


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(tensorrt_bridge.importlib, "import_module", missing)
    with pytest.raises(EngineError, match=r"pip install 'understudy\[rtx\]'"):
        tensorrt_bridge.load("tensorrt_rtx")


def test_an_unreadable_sidecar_is_named(bundle: Bundle) -> None:
    compiled(bundle, "cpu")
    (sidecar,) = bundle.engines_folder.glob("*.yaml")
    values = yaml.safe_load(sidecar.read_text())
    sidecar.write_text(yaml.safe_dump({**values, "color": "red"}))
    with pytest.raises(EngineError, match="unknown key color"):
        known_engines(bundle)


def test_the_profile_covers_what_the_student_takes(bundle: Bundle) -> None:
    assert profile_of(bundle) == {"points": ((1, 4), (37_500, 4), (150_000, 4))}


def test_every_part_of_the_key_counts() -> None:
    base = EngineKey("a" * 64, "rtx", "int8", "tensorrt_rtx 1.7", ("x",))
    others = [
        EngineKey("b" * 64, "rtx", "int8", "tensorrt_rtx 1.7", ("x",)),
        EngineKey("a" * 64, "rtx-sm86", "int8", "tensorrt_rtx 1.7", ("x",)),
        EngineKey("a" * 64, "rtx", "fp32", "tensorrt_rtx 1.7", ("x",)),
        EngineKey("a" * 64, "rtx", "int8", "tensorrt_rtx 1.8", ("x",)),
        EngineKey("a" * 64, "rtx", "int8", "tensorrt_rtx 1.7", ("y",)),
    ]
    assert len({key.digest for key in (base, *others)}) == 6
