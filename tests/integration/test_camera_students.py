"""Camera and fusion students from generated pictures to a bundle: trained a few steps, exported, quantized, judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from understudy.bundle.bundle import Bundle, open_bundle
from understudy.bundle.manifest import Precision
from understudy.bundle.packing import pack
from understudy.datasets.dataset import Dataset
from understudy.datasets.opening import open_dataset
from understudy.engines import tensorrt_bridge
from understudy.engines.attestation import requested_types
from understudy.engines.engine_key import attestation_of
from understudy.engines.model import open_model
from understudy.engines.tensorrt_builder import RTX_TARGETS, build_rtx_engine
from understudy.errors import FrameError, GeometryError, InputError
from understudy.evaluation import evaluate_model
from understudy.network_pictures import shown_in_pictures
from understudy.pipeline import Pipeline, open_pipeline
from understudy_calibration.activations.quantization import QuantizationOptions, quantize_folder
from understudy_training.distillation.frames import load_frames
from understudy_training.export import export_run
from understudy_training.fitting import FitOptions, fit
from understudy_training.recipe import Recipe, check_recipe
from understudy_training.scenes.config import SceneConfig
from understudy_training.scenes.writer import make_scenes
from understudy_training.torch_engine import open_torch_engine

CLASSES = ("car", "truck", "pedestrian", "cyclist")
COMPUTES: dict[Precision, str] = {"fp32": "FLOAT", "fp16": "HALF", "int8": "INT8"}


def recipe_of(sensors: str) -> Recipe:
    cell_m = 0.8 if sensors == "camera" else 0.4
    pictures = {"num_cameras": 1, "cameras": ["camera"], "width_px": 96, "height_px": 48, "focal_px": 57.0}
    detector = {
        "kind": "sized",
        "size": "nano",
        "sensors": sensors,
        "grid": {
            "x_range_m": [0.0, 25.6],
            "y_range_m": [-12.8, 12.8],
            "z_range_m": [-1.0, 3.0],
            "cell_m": cell_m,
        },
        "class_names": list(CLASSES),
        "strides": [1, 2, 2] if sensors == "camera" else [2, 2, 2],
        "output_stride": 1 if sensors == "camera" else 2,
        "pictures": pictures | ({} if sensors == "camera" else {"cell_stride": 2}),
    }
    values = {
        "name": f"tiny-{sensors}",
        "detector": detector,
        "score_threshold": 0.02,
        "data": {"batch_size": 2, "augmentation": {"max_turn_rad": 0.1}},
        "schedule": {"epochs": 3, "batch_norm_momentum": 0.5},
        "loss": {"depth_weight": 0.2},
        "precision": "32-true",
    }
    return check_recipe(values, sensors)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "scenes"
    config = SceneConfig.model_validate(
        {
            "num_drives": 3,
            "num_val_drives": 1,
            "num_frames": 4,
            "lidar": {"beams": 16, "azimuth_steps": 360},
            "camera": {"width_px": 96, "height_px": 56},
        }
    )
    make_scenes(config, folder)
    return folder


@pytest.fixture(scope="module", params=["camera", "fusion"])
def run(request: pytest.FixtureRequest, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe, folder = recipe_of(request.param), tmp_path_factory.mktemp(request.param) / "run"
    fit(recipe, load_frames(recipe, open_dataset(scenes, "train")), folder, FitOptions(seed=1))
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path, scenes: Path) -> Bundle:
    export_run(run, run.parent / "export", half=True)
    dataset = open_dataset(scenes, "train")
    quantize_folder(run.parent / "export", dataset, QuantizationOptions(num_frames=4, threads=1))
    return pack(run.parent / "export", run.parent / "bundle")


def test_every_precision_says_what_the_run_says(run: Path, bundle: Bundle, scenes: Path) -> None:
    sample = open_dataset(scenes, "val")[1]
    opened = open_torch_engine(run)
    with Pipeline(opened.contract, opened.engine, sample.rig) as reference:
        wanted = reference.engine(reference.prepare(sample.frame))
    assert wanted["scores"].max() > 0
    for precision, within in (("fp32", 1e-4), ("fp16", 0.05), ("int8", 0.2), ("uint8", 0.2)):
        with open_pipeline(bundle.folder, sample.rig, precision) as pipeline:  # type: ignore[arg-type]
            found = pipeline.engine(pipeline.prepare(sample.frame))
        assert abs(found["scores"].max() - wanted["scores"].max()) < within, precision


def test_a_silent_camera(bundle: Bundle, scenes: Path) -> None:
    sample = open_dataset(scenes, "val")[0]
    blind = replace(sample.frame, images={})
    with open_pipeline(bundle.folder, sample.rig, "fp32") as pipeline:
        if not bundle.manifest.sees_points:
            with pytest.raises(FrameError, match="found no picture, wanted a picture of camera"):
                pipeline(blind)
            return
        feeds = pipeline.prepare(blind)
        assert feeds["camera_mask"].tolist() == [0.0]
        pipeline(blind)


def test_a_rig_without_its_camera_is_refused(bundle: Bundle, scenes: Path) -> None:
    rig = open_dataset(scenes, "val")[0].rig
    without = rig.model_copy(update={"sensors": {name: rig.sensors[name] for name in rig.lidars}})
    with pytest.raises(GeometryError, match="cameras: found none, wanted 1 called camera, or that many in all"):
        open_pipeline(bundle.folder, without)


def test_the_evaluation_leaves_out_what_no_picture_shows(bundle: Bundle, scenes: Path) -> None:
    dataset = open_dataset(scenes, "val")
    with open_model(bundle.folder, "fp32").engine as engine:
        opened = replace(open_model(bundle.folder, "fp32"), engine=engine)
        evaluation = evaluate_model(opened, dataset)
        with pytest.raises(InputError, match="cameras to do without: found rear, wanted among camera"):
            evaluate_model(opened, dataset, without=["rear"])
    whole = [entry for entry in evaluation.entries if entry.range_m == evaluation.settings.metric.ranges_m[0]]
    truths = sum(entry.num_truths for entry in whole if entry.overlap == "bev")
    on_grid, in_picture = _labels(dataset, bundle)
    assert in_picture < on_grid
    assert truths <= (on_grid if bundle.manifest.sees_points else in_picture)
    assert (truths > in_picture) == bundle.manifest.sees_points


def _labels(dataset: Dataset, bundle: Bundle) -> tuple[int, int]:
    """Labels over the grid, and those of them that the picture shows; with at least five points, as the metric asks."""
    on_grid = in_picture = 0
    for sample in (dataset[number] for number in range(len(dataset))):
        assert sample.boxes is not None
        assert sample.boxes.num_points is not None
        x, y = sample.boxes.geometry[:, 0], sample.boxes.geometry[:, 1]
        grid = bundle.manifest.grid
        inside = (x >= grid.x_range_m[0]) & (x < grid.x_range_m[1]) & (abs(y) < grid.y_range_m[1])
        inside &= sample.boxes.num_points >= 5
        on_grid += int(inside.sum())
        in_picture += int((inside & shown_in_pictures(sample.boxes, sample.rig.cameras.values())).sum())
    return on_grid, in_picture


@pytest.mark.slow
@pytest.mark.skipif(not tensorrt_bridge.available("tensorrt_rtx"), reason="tensorrt-rtx is not installed")
@pytest.mark.parametrize("precision", list(COMPUTES))
def test_builds_for_every_architecture(bundle: Bundle, precision: Precision) -> None:
    wanted = requested_types(bundle.model(precision))
    assert COMPUTES[precision] in wanted.values()
    for target in (name for name in RTX_TARGETS if name != "rtx"):
        record, _ = build_rtx_engine(bundle, precision, target)
        table = attestation_of(bundle, record)
        assert table is not None
        built = {node: row.inputs[0] for row in table.layers for node in row.onnx_nodes if node in wanted}
        assert built == wanted, target


def test_the_bundle_says_which_pictures_it_takes(bundle: Bundle) -> None:
    again = open_bundle(bundle.folder).manifest
    assert again.pictures is not None
    assert again.pictures.cameras == ("camera",)
    assert {"images", "camera_mask", "lift_pixels", "lift_depths"} <= {tensor.name for tensor in again.inputs}
