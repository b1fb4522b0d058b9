from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from understudy.bundle.manifest import Contract, DetectedClass, Fingerprints, Grid
from understudy.bundle.onnx_facts import read_onnx_facts
from understudy.bundle.packing import pack
from understudy.configuration import file_sha256, read_config
from understudy.engines.attestation import requested_types
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.engines.opening import open_reference
from understudy.errors import BundleError, EngineError, InputError
from understudy.pillars import group_points
from understudy.testing import tiny_bundle
from understudy_training import export_command
from understudy_training.checkpoint import RunRecord, save_run
from understudy_training.export import ExportRecord, export_detector, export_run, onnx_bytes, parity_of
from understudy_training.made_up_feeds import made_up_cloud
from understudy_training.models.detector import BevDetector
from understudy_training.models.observed import Observed
from understudy_training.models.sizes import Size, detector_config
from understudy_training.recipe import check_recipe
from understudy_training.torch_engine import TorchEngine, open_torch_engine

CLASSES = ("car", "pedestrian")
GRID = Grid(x_range_m=(0.0, 51.2), y_range_m=(-25.6, 25.6), z_range_m=(-1.0, 3.0), cell_m=0.4)
EGO_FROM_KITTI = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1.73]], np.float32)
TARGETS = ["SM75", "SM80", "SM86", "SM89", "SM120"]
Exported = tuple[BevDetector, Contract, Path, ExportRecord]


def contract_of(detector: BevDetector) -> Contract:
    classes = tuple(DetectedClass(name=name, score_threshold=0.3) for name in CLASSES)
    return Contract(name="test", classes=classes, grid=GRID, input=detector.config.graph_input())


def spread_detector(size: Size) -> BevDetector:
    """Random weights whose activations have the spread of a trained network's, so that boxes differ."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = BevDetector(detector_config(size, GRID, CLASSES, output_stride=2)).train()
    layers = [layer for layer in detector.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for layer in layers:
            layer.momentum = None
        detector(detector.collate([Observed(made_up_cloud(GRID, 5000, np.random.default_rng(1)))]))
        for branch in (detector.head.heatmap, detector.head.regression):
            branch[-1].weight.mul_(20)
    return detector.eval()


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Size], Exported]:
    """Each size exported once."""
    made: dict[Size, Exported] = {}

    def get(size: Size) -> Exported:
        if size not in made:
            detector, folder = spread_detector(size), tmp_path_factory.mktemp(size)
            contract = contract_of(detector)
            record = export_detector(detector, contract, folder, Fingerprints(weights="a" * 64))
            made[size] = detector, contract, folder, record
        return made[size]

    return get


def feeds_of(contract: Contract, cloud: np.ndarray) -> dict[str, np.ndarray]:
    """The pipeline's feeds for a LiDAR 1.73 m above the road."""
    if contract.input.kind == "points":
        return {"points": cloud, "ego_from_sensor": EGO_FROM_KITTI, "intensity_factor": np.ones(1, np.float32)}
    moved = cloud + np.array([0, 0, 1.73, 0], np.float32)
    grouped = group_points(moved, contract.grid, contract.input.max_points_per_pillar, contract.input.max_pillars)
    return {"pillars": grouped.points, "num_points": grouped.num_points, "cells": grouped.cells}


@pytest.mark.parametrize("size", ["small", "teacher"])
def test_writes_a_complete_folder(export, size: Size) -> None:
    detector, contract, folder, record = export(size)
    assert read_config(folder / "contract.yaml", Contract) == contract
    assert read_config(folder / "export.yaml", ExportRecord) == record
    assert record.onnx_sha256 == file_sha256(folder / "model.onnx")
    assert (record.opset, record.ir_version) == (18, 10)
    assert record.parameters == sum(parameter.numel() for parameter in detector.parameters())
    assert [(t.name, t.dtype, t.shape) for t in record.outputs] == [
        ("boxes", "float32", (100, 7)),
        ("scores", "float32", (100,)),
        ("labels", "int32", (100,)),
    ]
    assert record.parity.rows > 50
    assert record.parity.matched_share >= 0.98


def test_inputs_are_those_of_the_contract(export) -> None:
    points = [(t.name, t.dtype, t.shape) for t in export("small")[3].inputs]
    assert points == [
        ("points", "float32", ("N", 4)),
        ("ego_from_sensor", "float32", (3, 4)),
        ("intensity_factor", "float32", (1,)),
    ]
    pillars = [(t.name, t.dtype, t.shape) for t in export("teacher")[3].inputs]
    assert pillars == [
        ("pillars", "float32", ("V", 20, 4)),
        ("num_points", "int32", ("V",)),
        ("cells", "int32", ("V",)),
    ]


@pytest.mark.parametrize("size", ["small", "teacher"])
def test_torch_engine_declares_what_the_graph_declares(export, size: Size) -> None:
    detector, contract, folder, _ = export(size)
    with TorchEngine(detector, contract) as reference, OnnxRuntimeEngine(folder / "model.onnx") as candidate:
        assert reference.inputs == candidate.inputs
        assert reference.outputs == candidate.outputs


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50_000])
def test_any_number_of_points(export, count: int) -> None:
    detector, contract, folder, _ = export("small")
    feeds = feeds_of(contract, made_up_cloud(GRID, count, np.random.default_rng(count)))
    with TorchEngine(detector, contract) as reference, OnnxRuntimeEngine(folder / "model.onnx") as candidate:
        assert parity_of([(reference(feeds), candidate(feeds))]).matched_share >= 0.98


def test_a_cloud_without_a_point_in_the_grid(export) -> None:
    detector, contract, folder, _ = export("teacher")
    feeds = feeds_of(contract, np.full((5, 4), 500.0, np.float32))
    with TorchEngine(detector, contract) as reference, OnnxRuntimeEngine(folder / "model.onnx") as candidate:
        assert parity_of([(reference(feeds), candidate(feeds))]).matched_share >= 0.98


def test_nan_points_change_nothing(export) -> None:
    _, contract, folder, _ = export("small")
    cloud = made_up_cloud(GRID, 3000, np.random.default_rng(0))
    bad = np.array([[np.nan, 1, 1, 0], [1, np.inf, 1, 0], [1, 1, -np.inf, 0], [1e30, 1, 1, 0]], np.float32)
    with OnnxRuntimeEngine(folder / "model.onnx") as engine:
        clean = engine(feeds_of(contract, cloud[np.isfinite(cloud).all(1)]))
        dirty = engine(feeds_of(contract, np.concatenate([bad, cloud, bad])))
    assert all(np.array_equal(clean[name], dirty[name]) for name in clean)


@pytest.mark.data
@pytest.mark.parametrize("size", ["small", "teacher"])
def test_same_boxes_on_real_sweeps(export, data_root: Path, size: Size) -> None:
    paths = sorted((data_root / "kitti/object/training/velodyne").glob("*.bin"))[:3]
    if not paths:
        pytest.skip("no KITTI sweeps")
    detector, contract, folder, _ = export(size)
    with TorchEngine(detector, contract) as reference, OnnxRuntimeEngine(folder / "model.onnx") as candidate:
        feeds = [feeds_of(contract, np.fromfile(path, np.float32).reshape(-1, 4)) for path in paths]
        parity = parity_of([(reference(each), candidate(each)) for each in feeds])
    assert parity.rows > 100
    assert parity.matched_share >= 0.98


def test_same_weights_give_the_same_bytes_and_no_path_is_in_them(export) -> None:
    detector, _, folder, _ = export("small")
    data = onnx_bytes(detector.export_spec())
    assert data == (folder / "model.onnx").read_bytes()
    assert str(Path(torch.__file__).parents[1]).encode() not in data
    assert str(Path(__file__).parents[2]).encode() not in data


@pytest.mark.parametrize("size", ["small", "teacher"])
def test_float16_keeps_every_box_and_no_coordinate(size: Size, tmp_path: Path) -> None:
    detector = spread_detector(size)
    record = export_detector(detector, contract_of(detector), tmp_path, half=True)
    assert record.fp16_sha256 == file_sha256(tmp_path / "model.fp16.onnx")
    assert record.fp16_parity is not None
    assert record.fp16_parity.rows > 50
    assert record.fp16_parity.matched_share >= 0.9
    learned_encoder = {"FLOAT"} if size == "teacher" else set()
    assert set(requested_types(tmp_path / "model.fp16.onnx").values()) == {"HALF"} | learned_encoder
    facts = [read_onnx_facts(tmp_path / name) for name in ("model.onnx", "model.fp16.onnx")]
    assert facts[0].inputs == facts[1].inputs
    assert facts[0].outputs == facts[1].outputs


def test_float16_of_an_earlier_export_is_never_packed(tmp_path: Path) -> None:
    detector = spread_detector("nano")
    export_detector(detector, contract_of(detector), tmp_path, half=True)
    assert set(pack(tmp_path, tmp_path / "bundle").manifest.models) == {"fp32", "fp16"}
    stale = (tmp_path / "model.fp16.onnx").read_bytes()
    export_detector(detector, contract_of(detector), tmp_path)
    assert set(pack(tmp_path, tmp_path / "bundle").manifest.models) == {"fp32"}
    (tmp_path / "model.fp16.onnx").write_bytes(stale)
    with pytest.raises(BundleError, match="export --fp16"):
        pack(tmp_path, tmp_path / "bundle")


@pytest.mark.parametrize("size", ["small", "teacher"])
@pytest.mark.parametrize("target", TARGETS)
def test_tensorrt_rtx_builds_it(export, size: Size, target: str) -> None:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install 'understudy[rtx]'")
    from understudy.engines.tensorrt_bridge import build

    lengths = (1, 30_000, 200_000) if size == "small" else (1, 3000, 12_000)
    varying = [tensor for tensor in export(size)[3].inputs if isinstance(tensor.shape[0], str)]
    profile = {tensor.name: tuple((n, *tensor.shape[1:]) for n in lengths) for tensor in varying}
    built = build("tensorrt_rtx", export(size)[2] / "model.onnx", profile, (target,))
    assert len(built.blob) > 100_000


def test_parity_sees_a_box_that_moved(export) -> None:
    detector, contract, *_ = export("small")
    with TorchEngine(detector, contract) as engine:
        wanted = engine(feeds_of(contract, made_up_cloud(GRID, 5000, np.random.default_rng(2))))
    moved = {**wanted, "boxes": wanted["boxes"] + np.float32(0.05)}
    assert parity_of([(wanted, wanted)]).matched_share == 1.0
    assert parity_of([(wanted, moved)]).matched_share == 0.0
    assert parity_of([(wanted, {**wanted, "scores": wanted["scores"] * 0})]).matched_share == 0.0
    assert parity_of([(wanted, {**wanted, "labels": 1 - wanted["labels"]})]).matched_share < 0.1


def test_torch_engine_refuses_wrong_feeds_and_closes(export) -> None:
    detector, contract, *_ = export("small")
    engine = TorchEngine(detector, contract, threads=2)
    feeds = feeds_of(contract, made_up_cloud(GRID, 10, np.random.default_rng(0)))
    assert "2 threads" in engine.description
    with pytest.raises(EngineError, match="points: found float64"):
        engine({**feeds, "points": feeds["points"].astype(np.float64)})
    with pytest.raises(EngineError, match="engine inputs"):
        engine({"points": feeds["points"]})
    with engine:
        engine(feeds)
    with pytest.raises(EngineError, match="found closed"):
        engine(feeds)
    with pytest.raises(EngineError, match="threads: found 0"):
        TorchEngine(detector, contract, threads=0)


def test_outputs_belong_to_the_caller(export) -> None:
    detector, contract, *_ = export("small")
    with TorchEngine(detector, contract) as engine:
        feeds = feeds_of(contract, made_up_cloud(GRID, 5000, np.random.default_rng(2)))
        first = engine(feeds)
        kept = first["scores"].copy()
        engine(feeds_of(contract, made_up_cloud(GRID, 50, np.random.default_rng(3))))
        assert np.array_equal(first["scores"], kept)
        first["scores"][:] = -1
        assert np.array_equal(engine(feeds)["scores"], kept)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wanted a finished run"):
        open_torch_engine(tmp_path)


def saved_run(folder: Path) -> Path:
    """A run's folder as training leaves it, with untrained weights."""
    detector = {"kind": "sized", "size": "nano", "grid": GRID.model_dump(), "class_names": CLASSES}
    recipe = check_recipe({"name": "nano", "detector": detector, "schedule": {"epochs": 1}}, "test")
    record = RunRecord(
        seed=0, epochs=1, steps=1, frames=1, data="d" * 64, precision="32-true", device="cpu", threads=1,
        wall_s=1, cpu_s=1, parameters=1, gmacs=1,
    )  # fmt: skip
    save_run(folder, BevDetector(recipe.detector_config()), recipe, record)
    return folder


def test_exports_a_run_and_carries_its_fingerprints(tmp_path: Path) -> None:
    run, out = saved_run(tmp_path / "run"), tmp_path / "out"
    app = typer.Typer()
    app.command()(export_command.export)
    result = CliRunner().invoke(app, [str(run), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "model.onnx: opset 18, IR 10\n  takes points (N, 4), ego_from_sensor (3, 4)" in result.output
    record = read_config(out / "export.yaml", ExportRecord)
    assert record.fingerprints.weights == file_sha256(run / "weights.safetensors")
    assert record.fingerprints.data == "d" * 64
    assert len(record.fingerprints.recipe) == 64
    opened = open_reference(run)
    with opened.engine as engine, OnnxRuntimeEngine(out / "model.onnx") as candidate:
        assert opened.contract == read_config(out / "contract.yaml", Contract)
        assert engine.inputs == candidate.inputs


def test_a_bundle_is_not_exported_over(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle").folder
    before = {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}
    with pytest.raises(InputError, match="found a bundle, wanted a folder for the export"):
        export_run(saved_run(tmp_path / "run"), bundle)
    assert {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()} == before


def test_a_bundle_can_be_packed_from_an_export(export, tmp_path: Path) -> None:
    _, contract, folder, record = export("small")
    bundle = pack(folder, tmp_path / "bundle")
    assert bundle.manifest.fingerprints.weights == "a" * 64
    assert bundle.manifest.inputs == record.inputs
    assert bundle.manifest.class_names == contract.class_names
