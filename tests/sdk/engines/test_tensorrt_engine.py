"""The engine's own work, on an emulated GPU with a real network; on a real GPU it has not run here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.sdk.engines.emulated_gpu import HostCuda, HostTensorRt
from understudy.bundle.bundle import Bundle
from understudy.engines import tensorrt_engine
from understudy.engines.cuda_runtime import Cuda, unavailable_reason
from understudy.engines.opening import open_engine
from understudy.engines.tensorrt_engine import EngineOptions, TensorRtEngine
from understudy.errors import EngineError
from understudy.testing import road_cloud, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("trt") / "bundle")


@pytest.fixture
def gpu() -> HostCuda:
    return HostCuda()


@pytest.fixture
def opened(bundle: Bundle, gpu: HostCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[TensorRtEngine]:
    with emulated(bundle, gpu, monkeypatch) as engine:
        yield engine


def emulated(
    bundle: Bundle, gpu: HostCuda, monkeypatch: pytest.MonkeyPatch, options: EngineOptions | None = None
) -> TensorRtEngine:
    trt = HostTensorRt(gpu)
    monkeypatch.setattr(tensorrt_engine, "load", lambda library: trt)
    blob = str(bundle.model("fp32")).encode()
    return TensorRtEngine(blob, "tensorrt", options, source="tiny.engine", cuda=Cuda(gpu))


def feeds_of(num_points: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {
        "points": road_cloud(np.random.default_rng(seed), num_points).points,
        "ego_from_sensor": np.eye(4, dtype=np.float32)[:3].copy(),
        "intensity_factor": np.ones(1, np.float32),
    }


def assert_same(bundle: Bundle, found: dict[str, Any], feeds: dict[str, np.ndarray]) -> None:
    with open_engine(bundle, "fp32") as reference:
        for name, values in reference(feeds).items():
            np.testing.assert_array_equal(found[name], values)


def test_says_what_onnx_runtime_says_at_every_size(opened: TensorRtEngine, bundle: Bundle) -> None:
    for num_points in (500, 1, 4999, 500, 5000):
        feeds = feeds_of(num_points, seed=num_points)
        assert_same(bundle, opened(feeds), feeds)


def test_a_shape_that_comes_again_runs_as_a_graph_with_the_new_values(
    opened: TensorRtEngine, bundle: Bundle, gpu: HostCuda
) -> None:
    for seed in range(5):
        feeds = feeds_of(800, seed)
        assert_same(bundle, opened(feeds), feeds)
    assert gpu.calls.count("capture") == 1
    assert gpu.calls.count("launch") == 3
    other = feeds_of(900)
    assert_same(bundle, opened(other), other)
    again = feeds_of(800, 9)
    assert_same(bundle, opened(again), again)


def test_padded_rows_change_no_bit_and_make_shapes_come_again(
    bundle: Bundle, gpu: HostCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(bundle, gpu, monkeypatch, EngineOptions(pad_rows={"points": 1024})) as engine:
        for num_points in (700, 701, 1024, 650, 4990, 5000):
            feeds = feeds_of(num_points, seed=num_points)
            assert_same(bundle, engine(feeds), feeds)
    assert gpu.calls.count("capture") == 2  # 1,024 rows, and the 5,000 that the profile ends at


def test_the_loop_takes_no_memory_of_the_gpu(opened: TensorRtEngine, gpu: HostCuda) -> None:
    gpu.calls.clear()
    for seed in range(4):
        opened(feeds_of(700 + seed, seed))
    assert "cudaMalloc" not in gpu.calls


def test_everything_is_given_back(bundle: Bundle, gpu: HostCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = emulated(bundle, gpu, monkeypatch)
    for _ in range(3):
        engine(feeds_of(600))
    engine.close()
    engine.close()
    assert gpu.is_all_given_back
    with pytest.raises(EngineError, match="closed"):
        engine(feeds_of(600))


def test_what_was_taken_before_memory_ran_out_is_given_back(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = HostCuda(memory=100_000)
    with pytest.raises(EngineError, match=r"CUDA: cudaMalloc: found out of memory \(2\)"):
        emulated(bundle, gpu, monkeypatch)
    assert gpu.is_all_given_back


def lent(values: np.ndarray, **changes: Any) -> SimpleNamespace:
    interface = {
        "shape": values.shape,
        "typestr": values.dtype.str,
        "data": (values.ctypes.data, False),
        "strides": None,
        "version": 3,
        "stream": 42,
    }
    return SimpleNamespace(__cuda_array_interface__={**interface, **changes})


def test_arrays_on_the_gpu_are_read_where_they_are(opened: TensorRtEngine, bundle: Bundle, gpu: HostCuda) -> None:
    feeds = feeds_of(800, 1)
    feeds["points"] = at_address(feeds["points"], 0)
    assert_same(bundle, opened({**feeds, "points": lent(feeds["points"])}), feeds)
    assert "wait 42" in gpu.calls
    other = feeds_of(800, 2)  # from the host again: the lent address must be forgotten
    feeds["points"][:] = np.nan
    for _ in range(3):
        assert_same(bundle, opened(other), other)


def test_the_stride_of_an_axis_with_one_entry_means_nothing(opened: TensorRtEngine, bundle: Bundle) -> None:
    feeds = feeds_of(1)
    assert_same(bundle, opened({**feeds, "points": lent(at_address(feeds["points"], 0), strides=(999, 4))}), feeds)


def at_address(values: np.ndarray, remainder: int) -> np.ndarray:
    """A copy whose first byte lies so far behind a multiple of 256."""
    memory = np.zeros(values.nbytes + 512, np.uint8)
    start = -memory.ctypes.data % 256 + remainder
    copied = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copied[:] = values
    return copied


@pytest.mark.parametrize("remainder", [0, 16])
def test_a_slice_on_the_gpu_is_copied_where_tensorrt_could_not_read_it(
    opened: TensorRtEngine, bundle: Bundle, remainder: int
) -> None:
    feeds = feeds_of(800, 1)
    points = at_address(feeds["points"], remainder)
    for _ in range(2):
        assert_same(bundle, opened({**feeds, "points": lent(points)}), feeds)
        assert opened._staged["points"].is_lent == (remainder == 0)


@pytest.mark.parametrize(
    ("changes", "waits"),
    [({"stream": 1}, "wait 1"), ({"stream": 2}, "wait 2"), ({"version": 2, "stream": None}, "wait for all")],
)
def test_the_makers_stream_is_waited_for_or_all_where_it_names_none(
    opened: TensorRtEngine, gpu: HostCuda, changes: dict[str, Any], waits: str
) -> None:
    feeds = feeds_of(300)
    gpu.calls.clear()
    opened({**feeds, "points": lent(feeds["points"], **changes)})
    assert gpu.calls == [waits, "wait 7"]


def test_an_engine_that_cannot_be_captured_goes_on_without_graphs_and_says_so(
    opened: TensorRtEngine, bundle: Bundle, gpu: HostCuda
) -> None:
    gpu.refuses_capture = True
    assert "graphs" not in opened.description
    for seed in range(4):
        feeds = feeds_of(800, seed)
        assert_same(bundle, opened(feeds), feeds)
    assert gpu.calls.count("capture") == 1
    assert gpu.calls.count("forget error") == 1
    assert "launch" not in gpu.calls
    assert "no CUDA graphs: invalid argument (1)" in opened.description


def test_runs_on_the_gpu_it_was_opened_on_whichever_thread_calls(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = HostCuda(num_devices=2)
    gpu.cudaSetDevice(1)
    used: list[int] = []
    with emulated(bundle, gpu, monkeypatch) as engine:
        assert "Emulated GPU 2" in engine.description

        def run() -> None:
            engine(feeds_of(300))
            used.append(gpu.cudaGetDevice()[1])

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert used == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": (32, 4)}, r"input points: found strides \(32, 4\)"),
        ({"mask": object()}, "masked"),
        ({"typestr": "<f8"}, "input points: found float64"),
        ({"shape": (100, 3)}, r"input points: found float32 \(100, 3\)"),
    ],
)
def test_refused_arrays_on_the_gpu(opened: TensorRtEngine, changes: dict[str, Any], message: str) -> None:
    feeds = feeds_of(100)
    with pytest.raises(EngineError, match=message):
        opened({**feeds, "points": lent(feeds["points"], **changes)})


def test_more_than_the_profile_allows_is_refused_and_the_next_run_is_right(
    opened: TensorRtEngine, bundle: Bundle
) -> None:
    with pytest.raises(EngineError, match=r"input points: found shape \(5001, 4\), wanted \(5000, 4\) at most"):
        opened(feeds_of(5001))
    feeds = feeds_of(300)
    assert_same(bundle, opened(feeds), feeds)


def test_bytes_of_another_kind_are_refused_in_the_runtimes_words(
    gpu: HostCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_engine, "load", lambda library: HostTensorRt(gpu))
    with pytest.raises(EngineError, match=r"x\.engine: deserialize: found Magic tag does not match, wanted") as refusal:
        TensorRtEngine(b"garbage", "tensorrt", source="x.engine", cuda=Cuda(gpu))
    assert "compile it again" in str(refusal.value)


def test_a_run_that_fails_says_why_and_leaves_the_engine_usable(opened: TensorRtEngine, bundle: Bundle) -> None:
    opened._context.fails = True
    with pytest.raises(EngineError, match=r"tiny\.engine: run: found no reason given"):
        opened(feeds_of(100))
    opened._context.fails = False
    feeds = feeds_of(100)
    assert_same(bundle, opened(feeds), feeds)


def test_without_a_driver_the_reason_is_cudas_own() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    reason = unavailable_reason()
    if reason:
        assert "CUDA: cudaGetDeviceCount: found" in reason or "shows no GPU" in reason


def test_every_call_is_one_that_cuda_bindings_has() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    ours = [name for name in dir(HostCuda) if name.startswith("cuda")]
    assert len(ours) > 15
    assert [name for name in ours if not hasattr(runtime, name)] == []
