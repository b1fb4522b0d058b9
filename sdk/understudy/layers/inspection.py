"""`understudy inspect --layers`: from a bundle and a cloud to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from understudy import machine
from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Contract, Precision
from understudy.datasets.opening import open_dataset
from understudy.datasets.sweeps import with_sweeps
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.errors import InputError
from understudy.frame import Frame
from understudy.layers.graph import read_graph
from understudy.layers.measuring import Feeds, ProfilePlan, profile_engines, profile_files
from understudy.layers.report import REFERENCE, LayerReport, Measured, layer_rows, place, total
from understudy.layers.roofline import THIS, Peak, peak_named
from understudy.layers.this_cpu import measure_peak
from understudy.pipeline import Pipeline
from understudy.progress import Track, silent
from understudy.rig import Rig
from understudy.testing import noise_pictures, rig_for, road_cloud

NUM_MADE_UP_POINTS = 115_000


@dataclass(frozen=True, eq=False)
class Scene:
    """What the layers are timed on.

    Attributes:
        name: for the record.
        rig: whose sensors saw it.
        frame: with what they saw.
        lidar: which LiDAR; None where there is one.
    """

    name: str
    rig: Rig
    frame: Frame
    lidar: str | None = None

    @property
    def num_points(self) -> int:
        """In the cloud of the student's LiDAR; 0 of a frame without one."""
        clouds = self.frame.clouds
        return len(clouds[self.rig.lidar(self.lidar)[0]]) if clouds else 0


def made_up_scene(contract: Contract) -> Scene:
    """What the student looks at, always the same: points, half of them on forty objects, and pictures of noise."""
    rng = np.random.default_rng(0)
    (x_low, x_high), (y_low, y_high) = contract.grid.x_range_m, contract.grid.y_range_m
    places = [(float(x), float(y)) for x, y in rng.uniform((x_low, y_low), (x_high, y_high), (40, 2))]
    reach_m = max(abs(value) for value in (x_low, x_high, y_low, y_high))
    num_points = min(NUM_MADE_UP_POINTS, contract.input.max_points)
    clouds = {"lidar": road_cloud(rng, num_points, objects_m=places, reach_m=reach_m)} if contract.sees_points else {}
    rig = rig_for(contract)
    parts = ["cloud"] * contract.sees_points + ["pictures"] * (contract.pictures is not None)
    return Scene(f"made-up {' and '.join(parts)}", rig, Frame(0, clouds, noise_pictures(rig, rng)))


def recorded_scene(contract: Contract, data: Path, split: str, lidar: str | None) -> Scene:
    """The frame in the middle of a data set.

    Raises:
        InputError: when there is no data set, or no frame in it.
    """
    dataset = with_sweeps(open_dataset(data, split=split), contract.sweeps, lidar)
    if not len(dataset):
        raise InputError(f"{data}", found="no frame", wanted="at least one", remedy="choose another --split")
    sample = dataset[len(dataset) // 2]
    return Scene(f"{data.name} {sample.key}", sample.rig, sample.frame, lidar)


def inspect_layers(
    bundle: Bundle,
    precisions: Sequence[Precision],
    scene: Scene,
    plan: ProfilePlan,
    targets: Sequence[str] = (),
    track: Track = silent,
) -> LayerReport:
    """Times all layers of a bundle's models, FP32 always among them, and holds them against what they cost.

    Args:
        bundle: the student.
        precisions: which models to compare with FP32; all that the bundle has and the runtime runs when empty.
        scene: what to run on.
        plan: runtime, threads, runs.
        targets: names from `roofline.PEAKS`, or `this`, for which to estimate.
        track: draws progress.

    Raises:
        UnderstudyError: when the package onnx or the runtime is missing, or the bundle lacks a precision.
    """
    published = {name: peak_named(name) for name in targets if name != THIS}
    chosen = _chosen(bundle, precisions, plan)
    feeds = _feeds(bundle, scene)
    shapes = {name: tuple(array.shape) for name, array in feeds.items()}
    graphs = {name: read_graph(bundle.model(name), shapes) for name in chosen}
    this = None if plan.runtime == "tensorrt" else measure_peak(plan.threads)
    before = machine.look()
    if plan.runtime == "tensorrt":
        profiles = profile_engines(bundle, chosen, feeds, plan, track)
    else:
        profiles = profile_files({name: bundle.model(name) for name in chosen}, feeds, plan, track)
    measured = {str(name): Measured(graphs[name], profiles[name]) for name in chosen}
    peaks = {**published, **({THIS: this} if this else {})}
    return _report(bundle, scene, plan, measured, peaks, [name for name in targets if name in peaks], before)


def _report(
    bundle: Bundle,
    scene: Scene,
    plan: ProfilePlan,
    measured: Mapping[str, Measured],
    peaks: Mapping[str, Peak],
    targets: Sequence[str],
    before: machine.Machine,
) -> LayerReport:
    rows = layer_rows(measured, peaks.get(THIS), peaks)
    placed = {name: place(measured[REFERENCE].graph, entry) for name, entry in measured.items()}
    kinds = sorted({kind for entry in placed.values() for kind in entry.overhead})
    is_mean = plan.runtime == "openvino"
    return LayerReport(
        student=bundle.manifest.name,
        bundle=bundle.fingerprint,
        engine=f"{plan.runtime}, {plan.threads} thread{'s' * (plan.threads > 1)}",
        data=scene.name,
        num_points=scene.num_points if bundle.manifest.sees_points else 0,
        num_runs=plan.num_runs,
        statistic="mean" if is_mean else "least",
        layers=rows,
        overhead_ms={
            kind: {name: entry.overhead[kind] for name, entry in placed.items() if kind in entry.overhead}
            for kind in kinds
        },
        unmapped_ms={name: entry.unmapped_ms for name, entry in placed.items()},
        totals={name: total(entry, placed[name].unmapped_ms, rows, name) for name, entry in measured.items()},
        peaks=dict(peaks),
        targets=tuple(dict.fromkeys(targets)),
        machine=before,
    )


def _chosen(bundle: Bundle, precisions: Sequence[Precision], plan: ProfilePlan) -> tuple[Precision, ...]:
    """FP32 first; what the user asked for, or all that this runtime may run."""
    runs_uint8 = plan.runtime != "tensorrt"
    everything: list[Precision] = [name for name in bundle.manifest.models if runs_uint8 or name != "uint8"]
    chosen = tuple(dict.fromkeys(["fp32", *(precisions or everything)]))
    for name in chosen:
        bundle.model(name)
    return chosen


def _feeds(bundle: Bundle, scene: Scene) -> Feeds:
    """What every model is fed: they share one contract."""
    with OnnxRuntimeEngine(bundle.model("fp32")) as engine:
        rig, sweeps = scene.rig, bundle.manifest.sweeps
        return Pipeline(bundle.manifest, engine, rig, lidar=scene.lidar, sweeps=sweeps).prepare(scene.frame)
