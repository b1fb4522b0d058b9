"""Every size of the family, in FP32, FP16 and INT8, builds for every architecture that TensorRT-RTX builds for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from tests.training.test_export import GRID, contract_of, spread_detector
from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision
from understudy.bundle.packing import pack
from understudy.datasets.dataset import Sample
from understudy.engines import tensorrt_bridge
from understudy.engines.attestation import requested_types
from understudy.engines.engine_key import attestation_of
from understudy.engines.tensorrt_builder import RTX_TARGETS, build_rtx_engine
from understudy.frame import Frame, PointCloud
from understudy.rig import Lidar, Mounting, Rig
from understudy_calibration.activations.quantization import QuantizationOptions, quantize_folder
from understudy_training.export import export_detector
from understudy_training.made_up_feeds import made_up_cloud
from understudy_training.models.sizes import GMAC_LIMITS, Size

TARGETS = [name for name in RTX_TARGETS if name != "rtx"]
COMPUTES: dict[Precision, str] = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8"}


@dataclass(frozen=True)
class MadeUpClouds:
    """Frame `i` is always the same."""

    class_names: tuple[str, ...] = ("car", "pedestrian")
    fingerprint: str = "0" * 64

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        rig = Rig(name="made up", sensors={"top": Lidar(ego_from_sensor=Mounting(translation_m=(0, 0, 1.7)))})
        points = made_up_cloud(GRID, 8_000, np.random.default_rng(index)) - np.array([0, 0, 1.7, 0], np.float32)
        frame = Frame(stamp_ns=index, clouds={"top": PointCloud(points, stamp_ns=index)})
        return Sample(f"{index:06d}", frame, rig, boxes=None, segments={})


@pytest.fixture(scope="module", params=list(GMAC_LIMITS))
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    size: Size = request.param
    detector, folder = spread_detector(size), tmp_path_factory.mktemp(size)
    export_detector(detector, contract_of(detector), folder / "export", half=True)
    quantize_folder(folder / "export", MadeUpClouds(), QuantizationOptions(num_frames=6, threads=1))
    return pack(folder / "export", folder / "bundle", name=size)


@pytest.mark.slow
@pytest.mark.skipif(not tensorrt_bridge.available("tensorrt_rtx"), reason="tensorrt-rtx is not installed")
@pytest.mark.parametrize("precision", list(COMPUTES))
def test_builds_for_every_architecture(bundle: Bundle, precision: Precision, tmp_path: Path) -> None:
    wanted = requested_types(bundle.model(precision))
    assert COMPUTES[precision] in wanted.values()
    for target in TARGETS:
        record, is_new = build_rtx_engine(bundle, precision, target)
        assert is_new
        table = attestation_of(bundle, record)
        assert table is not None
        built = {node: row.inputs[0] for row in table.layers for node in row.onnx_nodes if node in wanted}
        assert built == wanted, target
