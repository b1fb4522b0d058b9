"""The parameters of an Autoware model package, and of each whether it means there what it means here.

The layout is that of model bundles since v4.0: one folder with fixed names. Sources, in autowarefoundation's repository
autoware_universe, `perception/autoware_lidar_centerpoint`: `schema/ml_package.schema.json`, `src/node.cpp`,
`lib/ml_package_version.cpp` and `config/detection_class_remapper.param.yaml`; its pull requests 13087 and 13211.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from understudy.bundle.manifest import Manifest, PillarsInput

PACKAGE_VERSION = "v1.0"
"""Of the right form, but not of the major version that Autoware's CenterPoint node reads: it says so and stops, before
it would open an ONNX file that has no voxel encoder."""

REMAPPER_FILE = "detection_class_remapper.param.yaml"
_NUM_REMAPPED = 8
"""Labels from UNKNOWN to PEDESTRIAN, on both axes of the remapper's matrices."""


@dataclass(frozen=True)
class Entry:
    """One parameter: its name below `ros__parameters`, value, and what becomes of it.

    Attributes:
        name: dots separate levels.
        value: None when the package does not write it.
        maps: whether Autoware's parameter and ours are the same thing.
        meaning: one line for people.
    """

    name: str
    value: Any
    maps: bool
    meaning: str


def entries_of(manifest: Manifest, labels: Sequence[str], onnx_name: str) -> list[Entry]:
    """Every parameter of the package, those that Autoware requires and that mean nothing here included."""
    return [*_files(onnx_name), *_model(manifest, labels), *_without_meaning(manifest), *_elsewhere(manifest)]


def ml_package(entries: Sequence[Entry]) -> dict[str, Any]:
    """`ml_package.param.yaml`: the entries that are written, nested as ROS parameters are."""
    root: dict[str, Any] = {}
    for entry in entries:
        if entry.value is not None:
            *levels, name = entry.name.split(".")
            place = root
            for level in levels:
                place = place.setdefault(level, {})
            place[name] = entry.value
    return {"/**": {"ros__parameters": root}}


def class_remapper() -> dict[str, Any]:
    """`detection_class_remapper.param.yaml` that changes nothing: what the student says stays."""
    size = _NUM_REMAPPED**2
    matrices = {
        "allow_remapping_by_area_matrix": [0] * size,
        "min_area_matrix": [0.0] * size,
        "max_area_matrix": [0.0] * size,
    }
    return {"/**": {"ros__parameters": matrices}}


def class_names_of(manifest: Manifest, labels: Sequence[str]) -> list[str]:
    """Names for Autoware, which wants each once: the label, or the class's own name where several share one."""
    return [
        label if label != "UNKNOWN" and labels.count(label) == 1 else name.upper()
        for name, label in zip(manifest.class_names, labels, strict=True)
    ]


def _files(onnx_name: str) -> list[Entry]:
    split = "the node's voxel encoder and head are two files; here one graph goes from points to boxes"
    return [
        Entry("version", PACKAGE_VERSION, False, "of this package; the CenterPoint node reads v4.1 up and refuses it"),
        Entry("onnx_path", onnx_name, True, "the graph, relative to the folder, as single-file models name it"),
        Entry("class_remapper_param_path", REMAPPER_FILE, True, "remaps nothing"),
        *(
            Entry(f"{part}_{kind}_path", "", False, split)
            for part in ("encoder", "head")
            for kind in ("onnx", "engine")
        ),
        Entry(
            "trt_precision", "fp32", False, "precision is in the graph, which is strongly typed; no flag may change it"
        ),
    ]


def _model(manifest: Manifest, labels: Sequence[str]) -> list[Entry]:
    grid, names = manifest.grid, class_names_of(manifest, labels)
    ranges = (grid.x_range_m, grid.y_range_m, grid.z_range_m)
    height_m = grid.z_range_m[1] - grid.z_range_m[0]
    farthest_m = math.ceil(math.hypot(max(map(abs, grid.x_range_m)), max(map(abs, grid.y_range_m))))
    thresholds = {name: [entry.score_threshold] for name, entry in zip(names, manifest.classes, strict=True)}
    lows, highs = ([float(side[end]) for side in ranges] for end in (0, 1))
    is_named = names == list(labels)
    named = "in label order" + (
        "" if is_named else "; a label is named once: deploy_metadata.yaml has each class's own"
    )
    below = "model_params."
    return [
        Entry(f"{below}class_names", names, is_named, named),
        Entry(f"{below}point_cloud_range", [*lows, *highs], True, "m, in base_link with z = 0 on the road"),
        Entry(f"{below}voxel_size", [grid.cell_m, grid.cell_m, height_m], True, "m; the grid's cell, its whole height"),
        Entry(f"{below}point_feature_size", len(manifest.input.point_fields), True, "x, y, z, intensity"),
        Entry(f"{below}has_twist", False, True, "the student says no velocity"),
        Entry(f"{below}has_variance", False, True, "nor how sure it is of a place"),
        Entry(
            f"{below}detection_score_thresholds.distance_bin_upper_limits",
            [float(farthest_m)],
            True,
            "m; one bin to the farthest corner: thresholds do not depend on distance",
        ),
        Entry(f"{below}detection_score_thresholds.min_confidence_scores", thresholds, True, "by class"),
    ]


def _without_meaning(manifest: Manifest) -> list[Entry]:
    pillars = manifest.input.max_pillars if isinstance(manifest.input, PillarsInput) else 0
    in_graph = "required by Autoware's schema; it is inside the graph here"
    return [
        Entry("model_params.max_voxel_size", pillars, False, in_graph),
        Entry("model_params.downsample_factor", 1, False, in_graph),
        Entry("model_params.encoder_in_feature_size", 0, False, in_graph),
        Entry("model_params.yaw_norm_thresholds", [0.0] * len(manifest.classes), False, "yaw comes decoded"),
    ]


def _elsewhere(manifest: Manifest) -> list[Entry]:
    sweeps = f"{manifest.sweeps} sweep{'s' if manifest.sweeps > 1 else ''} a cloud, gathered by our node"
    return [
        Entry("post_process_params.*", None, False, "decoding and suppression are in the graph"),
        Entry("densification_params.*", None, False, sweeps),
        Entry("cloud_capacity", None, False, f"max_points of the bundle: {manifest.input.max_points}"),
        Entry("intensity", None, False, "Autoware's is 0 to 255: intensity_scale: 255 in the rig"),
    ]


def deploy_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """`deploy_metadata.yaml`: version and file names, as Autoware's system designer reads them, then what it is."""
    return {"version": PACKAGE_VERSION, "ml_package_path": "ml_package.param.yaml", **facts}
