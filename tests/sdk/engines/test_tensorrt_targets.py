"""Engines for the GPU that is here, and which of a bundle's engines may run on it; on an emulated GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.sdk.engines.emulated_gpu import HostCuda, HostTensorRt
from tests.sdk.engines.test_tensorrt_engine import assert_same, feeds_of
from understudy.bundle.bundle import Bundle
from understudy.engines import tensorrt_bridge, tensorrt_engine
from understudy.engines.attestation import SOURCES, Attestation
from understudy.engines.cuda_runtime import Cuda
from understudy.engines.engine_key import EngineRecord, attestation_of, known_engines
from understudy.engines.sealed import write_sealed
from understudy.engines.tensorrt_builder import BuildSettings, build_device_engine
from understudy.engines.tensorrt_opening import POINTS_MULTIPLE, open_tensorrt_engine
from understudy.errors import EngineError
from understudy.testing import tiny_bundle


class Vehicle:
    """A machine with an emulated GPU and the packages named."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, **gpu: object) -> None:
        self.gpu = HostCuda(**gpu)  # type: ignore[arg-type]
        self.cuda = Cuda(self.gpu)
        self.trt = HostTensorRt(self.gpu, largest=150_000, folder=folder)
        self.installed = {"tensorrt"}
        for module in (tensorrt_bridge, tensorrt_engine):
            monkeypatch.setattr(module, "load", lambda library: self.trt)
        monkeypatch.setattr(tensorrt_bridge, "available", lambda library: library in self.installed)

    def build(self, bundle: Bundle, target: str = "this", **settings: object) -> tuple[EngineRecord, bool]:
        return build_device_engine(bundle, "fp32", target, BuildSettings(**settings), self.cuda)  # type: ignore[arg-type]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vehicle:
    (tmp_path / "built").mkdir()
    return Vehicle(monkeypatch, tmp_path / "built", capability=(8, 7))


def test_built_read_back_run_once_and_found_again(orin: Vehicle, bundle: Bundle) -> None:
    record, is_new = orin.build(bundle, "orin")
    assert is_new
    assert orin.trt.cleared_flags == ["TF32"]
    assert (record.gpu, record.architectures, record.library) == ("Emulated GPU", ("SM87",), "tensorrt 11.4.0")
    assert record.first_run_s is not None
    table = attestation_of(bundle, record)
    assert table is not None
    assert table.source == "engine"
    assert table.num_by_type == {"FLOAT": 2}
    again, is_new = orin.build(bundle, "orin")
    assert not is_new
    assert again == record
    with open_tensorrt_engine(bundle, "fp32", orin.cuda) as engine:
        for num_points in (500, POINTS_MULTIPLE + 1):
            feeds = feeds_of(num_points)
            assert_same(bundle, engine(feeds), feeds)
    assert orin.gpu.is_all_given_back


def test_an_engine_that_computes_in_something_else_fails_the_build_by_node(orin: Vehicle, bundle: Bundle) -> None:
    orin.trt.built_type = "Half"
    with pytest.raises(EngineError, match=r"precision of 2 of 2 nodes: found \S+ in HALF, asked for FLOAT"):
        orin.build(bundle)
    assert known_engines(bundle) == []
    assert not list(bundle.folder.glob("engines/*.engine"))


@pytest.mark.parametrize("library", ["tensorrt", "tensorrt_rtx"])
def test_only_of_tensorrt_rtx_the_network_may_speak_where_the_inspector_tells_nothing(
    orin: Vehicle, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    def silent(library: str, blob: bytes) -> Attestation:
        raise EngineError("engine inspector", found="{}")

    monkeypatch.setattr(tensorrt_bridge, "inspect", silent)
    orin.installed = {library}
    if library == "tensorrt":
        with pytest.raises(EngineError, match="engine inspector"):
            orin.build(bundle)
        return
    record, _ = orin.build(bundle)
    table = attestation_of(bundle, record)
    assert table is not None
    assert table.source == "network"
    assert record.types_read_from == SOURCES["network"]


def test_only_building_takes_no_memory_of_the_gpu(orin: Vehicle, bundle: Bundle) -> None:
    record, _ = orin.build(bundle, only_build=True)
    assert record.first_run_s is None
    assert "cudaMalloc" not in orin.gpu.calls


def test_what_was_only_built_runs_when_it_is_compiled_again(orin: Vehicle, bundle: Bundle) -> None:
    orin.build(bundle, only_build=True)
    record, is_new = orin.build(bundle)
    assert not is_new
    assert record.first_run_s is not None
    assert known_engines(bundle)[0].record == record


def test_an_engine_that_does_not_run_once_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Bundle
) -> None:
    (tmp_path / "built").mkdir()
    small = Vehicle(monkeypatch, tmp_path / "built", memory=100_000)
    for _ in range(2):
        with pytest.raises(EngineError, match="found out of memory"):
            small.build(bundle)
        assert known_engines(bundle) == []
        assert list(bundle.engines_folder.iterdir()) == []


def test_the_timing_cache_is_kept_and_read(orin: Vehicle, bundle: Bundle, tmp_path: Path) -> None:
    cache = tmp_path / "kernels.cache"
    orin.build(bundle, timing_cache=cache)
    assert cache.read_bytes() == b"times of every kernel"
    orin.build(bundle, "orin", timing_cache=cache)
    assert orin.trt.caches == [b"", b"times of every kernel"]
    cache.write_bytes(b"other GPU")
    next(bundle.engines_folder.glob("this-*.engine")).unlink()
    with pytest.raises(EngineError, match=r"kernels\.cache: found no timing cache of this GPU"):
        orin.build(bundle, timing_cache=cache)
    assert cache.read_bytes() == b"other GPU"


def test_another_machine_is_refused_by_name(orin: Vehicle, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"target thor: found Emulated GPU \(SM87\), wanted a GPU of SM110 or SM101"):
        orin.build(bundle, "thor")
    orin.gpu.capability = (11, 0)
    assert orin.build(bundle, "thor")[0].architectures == ("SM110",)


def test_without_a_gpu_the_reason_is_cudas(bundle: Bundle) -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    try:
        Cuda().device()
    except EngineError:
        with pytest.raises(EngineError, match=r"target orin: found .*; run this on the machine that will run"):
            build_device_engine(bundle, "fp32", "orin")
        with pytest.raises(EngineError, match="CUDA: cudaGetDevice"):
            open_tensorrt_engine(bundle, "fp32")


def found_when(vehicle: Vehicle, bundle: Bundle) -> str:
    with pytest.raises(EngineError, match="wanted one built for it from this model") as refusal:
        open_tensorrt_engine(bundle, "fp32", vehicle.cuda)
    assert "understudy compile" in str(refusal.value)
    return str(refusal.value)


def test_an_engine_that_does_not_fit_is_refused_with_the_reason(
    orin: Vehicle, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "found none" in found_when(orin, bundle)
    record, _ = orin.build(bundle)
    orin.gpu.capability = (8, 9)
    assert "built for SM87" in found_when(orin, bundle)
    orin.gpu.capability = (8, 7)
    monkeypatch.setattr(HostTensorRt, "__version__", "10.3.0")
    assert "built by tensorrt 11.4.0, here is tensorrt 10.3.0" in found_when(orin, bundle)
    monkeypatch.undo()
    path = bundle.engines_folder / record.file
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"y")
    again = Vehicle(monkeypatch, path.parent, capability=(8, 7))
    assert "its file is missing or was changed" in found_when(again, bundle)
    path.write_bytes(whole)
    again.installed.clear()
    assert "tensorrt is not installed" in found_when(again, bundle)


def test_zeros_fit_every_input(orin: Vehicle, bundle: Bundle) -> None:
    orin.build(bundle)
    with open_tensorrt_engine(bundle, "fp32", orin.cuda) as engine:
        outputs = engine({spec.name: spec.zeros(7) for spec in engine.inputs})
    assert all(np.isfinite(values).all() for values in outputs.values())


def test_a_sidecar_that_names_a_file_elsewhere_opens_the_one_whose_hash_was_checked(
    orin: Vehicle, bundle: Bundle, tmp_path: Path
) -> None:
    record, _ = orin.build(bundle)
    (tmp_path / record.file).write_bytes(b"planted")
    [sidecar] = bundle.engines_folder.glob("*.yaml")
    write_sealed(sidecar, record.model_copy(update={"file": f"../../{record.file}"}))
    feeds = feeds_of(300)
    with open_tensorrt_engine(bundle, "fp32", orin.cuda) as engine:
        assert_same(bundle, engine(feeds), feeds)
