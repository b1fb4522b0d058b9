"""Detectors with random weights on the design grid, exported and quantized for timing, and rounds that are fair.

The weights are seeded, not trained: what a convolution costs does not depend on them. Batch normalization is set from a
real sweep, so that ranges and boxes have a trained network's spread.
"""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from understudy.bundle.manifest import Contract, DetectedClass
from understudy.datasets.dataset import Dataset, Sample
from understudy.datasets.kitti import KittiDataset
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.errors import InputError
from understudy.pipeline import Pipeline
from understudy.testing import frame_of, road_cloud, simple_rig
from understudy_calibration.activations.quantization import QuantizationOptions, quantize_folder
from understudy_training.export import export_detector
from understudy_training.models.detector import BevDetector
from understudy_training.models.observed import Observed
from understudy_training.models.sizes import DESIGN_GRID, Size, detector_config

CLASSES = ("car", "truck", "pedestrian", "cyclist")
NUM_SYNTHETIC_POINTS = 115_000
SCORE_THRESHOLD = 0.3


class SyntheticSweeps:
    """Stands in for KITTI where the recordings are absent: as many points, spread over road and blocks."""

    class_names = CLASSES
    fingerprint = hashlib.sha256(b"synthetic sweeps").hexdigest()

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        generator = np.random.default_rng(index)
        places = [(float(x), float(y)) for x, y in generator.uniform((5, -30), (65, 30), (40, 2))]
        cloud = road_cloud(generator, NUM_SYNTHETIC_POINTS, objects_m=places, reach_m=60.0)
        return Sample(f"synthetic {index}", frame_of(cloud), simple_rig(), None, {})


def sweeps() -> tuple[Dataset, str]:
    """KITTI's frames where they are, else synthetic ones; and which it was."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("UNDERSTUDY_DATA", default)) / "kitti" / "object"
    try:
        return KittiDataset(root), "KITTI object"
    except InputError:
        return SyntheticSweeps(), "synthetic"


def make(size: Size, dataset: Dataset, folder: Path, *, quantized: bool, half: bool = False) -> tuple[Path, Contract]:
    """Exports (and quantizes) a seeded detector, in float16 too with `half`; the model's file and its contract."""
    torch.manual_seed(0)
    detector = BevDetector(detector_config(size, DESIGN_GRID, CLASSES))
    _set_normalization(detector, _ego_cloud(dataset[0]))
    classes = tuple(DetectedClass(name=name, score_threshold=SCORE_THRESHOLD) for name in CLASSES)
    contract = Contract(name=size, classes=classes, grid=DESIGN_GRID, input=detector.config.graph_input())
    record = export_detector(detector, contract, folder, half=half)
    print(f"{size}: {record.gmacs:.2f} GMAC, {record.parameters:,} parameters, random seeded weights")
    if not quantized:
        return folder / "model.onnx", contract
    quantize_folder(folder, dataset, QuantizationOptions(num_frames=min(3, len(dataset) - 1)))
    return folder / "model.uint8.onnx", contract


def open_pipeline(model: Path, contract: Contract, sample: Sample) -> Pipeline:
    """The one path from frame to boxes, on ONNX Runtime with one thread."""
    return Pipeline(contract, OnnxRuntimeEngine(model, threads=1), sample.rig)


def interleaved_ms(work: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3) -> dict[str, list[float]]:
    """Wall milliseconds of every call, one of each kind per round, every other round backwards.

    Other load on the machine then falls on all alike, and the ratio within a round is what to look at.
    """
    for _ in range(warm_up):
        for call in work.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in work}
    kinds = list(work.items())
    for number in range(rounds):
        for name, call in kinds if number % 2 else reversed(kinds):
            started = time.perf_counter_ns()
            call()
            times[name].append((time.perf_counter_ns() - started) / 1e6)
    return times


def summary(times: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median and minimum of each kind."""
    return {
        name: {"median_ms": round(statistics.median(values), 3), "min_ms": round(min(values), 3)}
        for name, values in times.items()
    }


def ratios(times: Mapping[str, list[float]], above: str, below: str) -> dict[str, float]:
    """How many times longer `above` took than `below`: the median over the rounds, of medians and of minima."""
    pairs = [one / other for one, other in zip(times[above], times[below], strict=True)]
    return {
        "median_of_rounds": round(statistics.median(pairs), 4),
        "of_medians": round(statistics.median(times[above]) / statistics.median(times[below]), 4),
        "of_minima": round(min(times[above]) / min(times[below]), 4),
    }


def machine() -> dict[str, object]:
    """What the numbers depend on."""
    return {
        "cpu": _cpu_model(),
        "threads": 1,
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _ego_cloud(sample: Sample) -> np.ndarray:
    name, lidar = sample.rig.lidar()
    points = sample.frame.clouds[name].points.copy()
    points[:, :3] = lidar.ego_from_sensor.pose().apply(points[:, :3])
    return points


def _set_normalization(detector: BevDetector, cloud: np.ndarray) -> None:
    layers = [layer for layer in detector.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for layer in layers:
            layer.momentum = None
        detector.train()(detector.collate([Observed(cloud)]))
        for branch in (detector.head.heatmap, detector.head.regression):
            branch[-1].weight.mul_(10)
    detector.eval()
