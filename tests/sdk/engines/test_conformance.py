"""One suite that every engine passes. A new runtime adds one row to `_openers`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest

from tests.sdk.engines.emulated_gpu import HostCuda, HostTensorRt
from understudy.bundle.bundle import Bundle
from understudy.engines import tensorrt_engine
from understudy.engines.cuda_runtime import Cuda, unavailable_reason
from understudy.engines.engine import Engine
from understudy.engines.opening import open_engine
from understudy.engines.openvino_engine import available as openvino_is_available
from understudy.errors import EngineError
from understudy.testing import FakeEngine, road_cloud, tiny_bundle, tiny_contract

Feeds = dict[str, np.ndarray]


def torch_engine(bundle: Bundle) -> Engine:
    """The smallest detector, untrained, in the framework it is trained in; skipped where that is not installed."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    torch_engines = pytest.importorskip("understudy_training.torch_engine")
    sizes = pytest.importorskip("understudy_training.models.sizes")
    detectors = pytest.importorskip("understudy_training.models.detector")
    contract = tiny_contract()
    detector = detectors.BevDetector(sizes.detector_config("nano", contract.grid, contract.class_names))
    return cast(Engine, torch_engines.TorchEngine(detector.eval(), contract))


def skip_without_openvino() -> None:
    """Looks without importing it: that alone would call its maker."""
    if not openvino_is_available():
        pytest.skip("OpenVINO is not installed: pip install 'understudy[openvino]'")


def openvino_engine(bundle: Bundle) -> Engine:
    """Skipped where the extra is not installed."""
    skip_without_openvino()
    return open_engine(bundle, "fp32", "openvino")


def tensorrt_engine_on_host(bundle: Bundle) -> Engine:
    """Our side of TensorRT, on a GPU made of host memory; its network is ONNX Runtime's."""
    gpu = HostCuda()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorrt_engine, "load", lambda library: HostTensorRt(gpu))
        blob = str(bundle.model("fp32")).encode()
        return tensorrt_engine.TensorRtEngine(blob, "tensorrt", cuda=Cuda(gpu))


_ROWS: dict[str, Callable[[Bundle], Engine]] = {
    "onnxruntime, 1 thread": lambda bundle: open_engine(bundle, "fp32"),
    "onnxruntime, 2 threads": lambda bundle: open_engine(bundle, "fp32", threads=2),
    "openvino, 1 thread": openvino_engine,
    "tensorrt, emulated GPU": tensorrt_engine_on_host,
    "torch": torch_engine,
    "fake": lambda bundle: FakeEngine.detecting(tiny_contract(), [[0, 0, 0, 1, 1, 1, 0]], [0.5], [0]),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("conformance") / "bundle")


@pytest.fixture(params=list(_ROWS))
def engine(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[Engine]:
    with _ROWS[request.param](bundle) as opened:
        yield opened


@pytest.fixture
def feeds() -> Feeds:
    return feeds_of(seed=0)


def feeds_of(seed: int, num_points: int = 500) -> Feeds:
    cloud = road_cloud(np.random.default_rng(seed), num_points)
    ego_from_sensor = np.eye(4, dtype=np.float32)[:3]
    return {
        "points": cloud.points,
        "ego_from_sensor": ego_from_sensor,
        "intensity_factor": np.ones(1, np.float32),
    }


def test_declares_what_it_takes_and_says(engine: Engine) -> None:
    assert [spec.name for spec in engine.inputs] == ["points", "ego_from_sensor", "intensity_factor"]
    assert {spec.name: spec.dtype for spec in engine.outputs} == {
        "boxes": "float32",
        "scores": "float32",
        "labels": "int32",
    }
    assert engine.description


def test_outputs_are_what_was_declared(engine: Engine, feeds: Feeds) -> None:
    outputs = engine(feeds)
    assert list(outputs) == [spec.name for spec in engine.outputs]
    for spec in engine.outputs:
        assert outputs[spec.name].dtype == np.dtype(spec.dtype)
        assert outputs[spec.name].ndim == len(spec.shape)


def test_same_feeds_same_bits(engine: Engine, feeds: Feeds) -> None:
    first = engine(feeds)
    engine(feeds_of(seed=1))
    second = engine(feeds)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_outputs_belong_to_the_caller(engine: Engine, feeds: Feeds) -> None:
    first = engine(feeds)
    kept = {name: values.copy() for name, values in first.items()}
    engine(feeds_of(seed=2))
    assert all(np.array_equal(first[name], kept[name]) for name in first)
    first["scores"][:] = -1.0
    assert np.array_equal(engine(feeds)["scores"], kept["scores"])


def test_feeds_are_left_alone(engine: Engine, feeds: Feeds) -> None:
    before = {name: values.copy() for name, values in feeds.items()}
    engine(feeds)
    assert all(np.array_equal(feeds[name], before[name]) for name in feeds)


@pytest.mark.parametrize("num_points", [1, 7, 4096])
def test_the_number_of_points_may_vary(engine: Engine, num_points: int) -> None:
    assert np.isfinite(engine(feeds_of(0, num_points))["scores"]).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("points", np.zeros((5, 4), np.float64), "input points: found float64"),
        ("points", np.zeros((5, 3), np.float32), "input points: found float32 (5, 3)"),
        ("points", np.zeros((1, 5, 4), np.float32), "input points: found float32 (1, 5, 4)"),
        ("intensity_factor", np.ones(2, np.float32), "input intensity_factor: found float32 (2,)"),
    ],
)
def test_refuses_wrong_dtype_and_shape(
    engine: Engine, feeds: Feeds, name: str, value: np.ndarray, message: str
) -> None:
    with pytest.raises(EngineError) as refusal:
        engine({**feeds, name: value})
    assert message in str(refusal.value)


def test_refuses_missing_and_unknown_names(engine: Engine, feeds: Feeds) -> None:
    with pytest.raises(EngineError, match="engine inputs"):
        engine({"points": feeds["points"]})
    with pytest.raises(EngineError, match="engine inputs"):
        engine({**feeds, "extra": feeds["points"]})


def test_still_works_after_a_refusal(engine: Engine, feeds: Feeds) -> None:
    before = engine(feeds)
    with pytest.raises(EngineError):
        engine({})
    assert np.array_equal(engine(feeds)["scores"], before["scores"])


def test_use_after_close_is_an_error(engine: Engine, feeds: Feeds) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine(feeds)


def test_threads_change_no_box(bundle: Bundle, feeds: Feeds) -> None:
    with open_engine(bundle, "fp32", threads=1) as one, open_engine(bundle, "fp32", threads=2) as two:
        np.testing.assert_allclose(one(feeds)["boxes"], two(feeds)["boxes"], atol=1e-5)


def test_refusals_of_opening(bundle: Bundle, tmp_path: Path) -> None:
    for precision, runtime, threads, message in [
        ("fp32", "onnxruntime-cuda", 1, "CUDAExecutionProvider"),
        ("fp32", "tensorrt", 1, "cuda" if unavailable_reason() else "found none"),
        ("fp32", "coreml", 1, "runtime: found coreml, wanted onnxruntime or"),
        ("uint8", "tensorrt", 1, "silently clips"),
        ("uint8", "onnxruntime-tensorrt", 1, "silently clips"),
        ("fp32", "onnxruntime", 0, "threads: found 0"),
    ]:
        with pytest.raises(EngineError) as refusal:
            open_engine(bundle, precision, runtime, threads)  # type: ignore[arg-type]
        assert message in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_openvino_calls_nobody(tmp_path: Path) -> None:
    """Imported alone, it would write an id for its maker's statistics into the home folder."""
    skip_without_openvino()
    model = tiny_bundle(tmp_path / "bundle").model("fp32")
    program = (
        "import sys; from pathlib import Path\n"
        "from understudy.engines.openvino_engine import OpenVinoEngine\n"
        f"OpenVinoEngine(Path({str(model)!r}))\n"
        "assert not [name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module]"
    )
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "HOME": str(home)}, check=True)
    assert not list(home.iterdir())


@pytest.mark.parametrize(("flags", "is_set"), [("avx2 fma", True), ("avx2 avx512_vnni", False), ("avx_vnni", False)])
def test_sessions_avoid_saturation_only_where_it_can_happen(
    flags: str, is_set: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    from understudy import machine
    from understudy.engines.onnxruntime_engine import _session_options

    monkeypatch.setattr(machine, "_cpu_info", lambda key: [flags])
    options = _session_options(onnxruntime, 1)
    if is_set:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="does not have configuration"):
            options.get_session_config_entry("session.x64quantprecision")


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine

    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(EngineError) as refusal:
        OnnxRuntimeEngine(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    with pytest.raises(EngineError, match="no such file"):
        OnnxRuntimeEngine(tmp_path / "absent.onnx")


def test_float32_on_a_gpu_is_not_tf32(bundle: Bundle) -> None:
    from understudy.engines.onnxruntime_engine import _open_session

    seen: dict[str, Any] = {}
    runtime: Any = ModuleType("onnxruntime")
    runtime.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    runtime.InferenceSession = lambda path, options, **providers: seen.update(providers)
    _open_session(runtime, bundle.model("fp32"), None, "cuda")
    assert seen == {
        "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "provider_options": [{"use_tf32": "0"}, {}],
    }
