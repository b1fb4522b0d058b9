"""The model package against Autoware's schema and what its node reads; boxes as its message, through real CDR."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from understudy.autoware.labels import LABELS, labels_of
from understudy.autoware.objects import OBJECTS_TYPE, detected_objects_message
from understudy.autoware.package import export_package
from understudy.boxes import Boxes
from understudy.bundle.bundle import Bundle, open_bundle
from understudy.errors import InputError
from understudy.testing import tiny_bundle

# Required by perception/autoware_lidar_centerpoint/schema/ml_package.schema.json, with their types, and what
# src/node.cpp declares below model_params: integers and floats are different types to ROS.
REQUIRED: dict[str, type] = {
    "version": str,
    "encoder_onnx_path": str,
    "encoder_engine_path": str,
    "head_onnx_path": str,
    "head_engine_path": str,
    "class_remapper_param_path": str,
    "trt_precision": str,
    "model_params": dict,
}
MODEL_PARAMS: dict[str, type | list[type]] = {
    "class_names": [str],
    "has_twist": bool,
    "point_feature_size": int,
    "has_variance": bool,
    "max_voxel_size": int,
    "point_cloud_range": [float],
    "voxel_size": [float],
    "downsample_factor": int,
    "encoder_in_feature_size": int,
    "yaw_norm_thresholds": [float],
    "detection_score_thresholds": dict,
}
FILES = [
    "README.md",
    "bundle.zip",
    "deploy_metadata.yaml",
    "detection_class_remapper.param.yaml",
    "ml_package.param.yaml",
    "model.int8.onnx",
]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "bundle", precisions=("fp32", "int8", "uint8"))


@pytest.fixture
def package(bundle: Bundle, tmp_path: Path) -> Path:
    return export_package(bundle, tmp_path / "package").folder


def parameters(path: Path) -> dict[str, Any]:
    """As rclcpp reads them."""
    tree = yaml.safe_load(path.read_text())
    assert list(tree) == ["/**"]
    assert list(tree["/**"]) == ["ros__parameters"]
    found = tree["/**"]["ros__parameters"]
    assert isinstance(found, dict)
    return found


def is_of(value: object, kind: type | list[type]) -> bool:
    """A list has elements of one type, as ROS wants; no bool is an int."""
    if isinstance(kind, list):
        return isinstance(value, list) and len(value) > 0 and all(type(part) is kind[0] for part in value)
    return type(value) is kind


def test_the_folder_holds_what_autowares_layout_names(package: Path) -> None:
    assert sorted(path.name for path in package.iterdir()) == FILES


def test_the_manifest_keeps_the_schema(package: Path, bundle: Bundle) -> None:
    found = parameters(package / "ml_package.param.yaml")
    for name, kind in REQUIRED.items():
        assert is_of(found[name], kind), name
    model = found["model_params"]
    for name, wanted in MODEL_PARAMS.items():
        assert is_of(model[name], wanted), name
    assert set(model) == set(MODEL_PARAMS)
    assert re.fullmatch(r"v?[0-9]+\.[0-9]+", found["version"])
    assert found["trt_precision"] in {"fp32", "fp16"}
    assert len(set(model["class_names"])) == len(model["class_names"]) == len(bundle.manifest.classes)
    assert len(model["yaw_norm_thresholds"]) == len(model["class_names"])  # the node checks it
    assert model["downsample_factor"] >= 1
    limits = model["detection_score_thresholds"]["distance_bin_upper_limits"]
    scores = model["detection_score_thresholds"]["min_confidence_scores"]
    assert is_of(limits, [float])
    assert list(scores) == model["class_names"]
    assert all(is_of(values, [float]) and len(values) == len(limits) for values in scores.values())


def test_what_maps_is_the_bundles_own(package: Path, bundle: Bundle) -> None:
    model, grid = parameters(package / "ml_package.param.yaml")["model_params"], bundle.manifest.grid
    assert model["class_names"] == ["CAR", "TRUCK", "PEDESTRIAN", "BICYCLE"]
    assert model["point_cloud_range"][0::3] == list(grid.x_range_m)
    assert model["point_cloud_range"][1::3] == list(grid.y_range_m)
    assert model["point_cloud_range"][2::3] == list(grid.z_range_m)
    assert model["voxel_size"] == [grid.cell_m, grid.cell_m, grid.z_range_m[1] - grid.z_range_m[0]]
    assert model["detection_score_thresholds"]["min_confidence_scores"]["CAR"] == [0.3]


def test_autowares_node_refuses_it_by_its_version(package: Path) -> None:
    """As `lib/ml_package_version.cpp` judges; it is the first thing that the node does."""
    major, minor = map(int, parameters(package / "ml_package.param.yaml")["version"].removeprefix("v").split("."))
    assert not (major == 4 and minor >= 1)


def test_the_remapper_leaves_every_class_as_it_is(package: Path) -> None:
    found = parameters(package / "detection_class_remapper.param.yaml")
    matrices = {"allow_remapping_by_area_matrix": [int], "min_area_matrix": [float], "max_area_matrix": [float]}
    assert set(found) == set(matrices)
    for name, kind in matrices.items():
        assert is_of(found[name], kind)
        assert len(found[name]) == 64  # labels 0 to 7 on both axes
        assert not any(found[name])


def test_the_metadata_names_files_that_are_there(package: Path, bundle: Bundle) -> None:
    found = yaml.safe_load((package / "deploy_metadata.yaml").read_text())
    assert re.fullmatch(r"v?[0-9]+\.[0-9]+", found["version"])
    for name, value in found.items():
        if name.endswith("_path"):
            assert (package / value).is_file()
    assert (package / found["onnx_path"]).read_bytes() == bundle.model("int8").read_bytes()
    assert open_bundle(package / found["bundle_path"]).fingerprint == found["bundle_fingerprint"] == bundle.fingerprint


def test_every_parameter_is_in_the_readme(package: Path) -> None:
    text = (package / "README.md").read_text()
    assert "does not run in `autoware_lidar_centerpoint`" in text
    for name in (*REQUIRED, *MODEL_PARAMS):
        assert name in text
    assert "| cyclist | BICYCLE |" in text


def test_precisions(bundle: Bundle, tmp_path: Path) -> None:
    assert export_package(bundle, tmp_path / "package", "fp32").onnx_name == "model.onnx"
    assert not (tmp_path / "package" / "model.int8.onnx").exists()
    assert export_package(bundle, tmp_path / "package").onnx_name == "model.int8.onnx"  # replaced as a whole
    assert not (tmp_path / "package" / "model.onnx").exists()
    with pytest.raises(InputError, match="uint8, for CPUs alone"):
        export_package(bundle, tmp_path / "other", "uint8")
    assert not (tmp_path / "other").exists()


def test_a_folder_of_something_else_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("x")
    for place in (tmp_path / "photos", bundle.folder):
        before = sorted(place.rglob("*"))
        with pytest.raises(InputError, match="choose another --out"):
            export_package(bundle, place)
        assert sorted(place.rglob("*")) == before
    package = export_package(bundle, tmp_path / "package").folder
    (package / "another.onnx").write_text("x")
    with pytest.raises(InputError, match=r"found another\.onnx"):
        export_package(bundle, package)


def test_labels_of_classes() -> None:
    names = ("Car", "construction vehicle", "van", "cyclist")
    assert labels_of(names) == ("CAR", "UNKNOWN", "CAR", "BICYCLE")
    assert labels_of(names, {"construction vehicle": "TRUCK"})[1] == "TRUCK"
    with pytest.raises(InputError, match="found tram, wanted Car or"):
        labels_of(names, {"tram": "BUS"})
    with pytest.raises(InputError, match="found LORRY, wanted UNKNOWN or CAR"):
        labels_of(names, {"van": "LORRY"})


def test_classes_that_share_a_label_keep_names_of_their_own(bundle: Bundle, tmp_path: Path) -> None:
    package = export_package(bundle, tmp_path / "package", chosen={"truck": "CAR"})
    names = parameters(package.folder / "ml_package.param.yaml")["model_params"]["class_names"]
    assert names == ["CAR", "TRUCK", "PEDESTRIAN", "BICYCLE"]
    metadata = yaml.safe_load((package.folder / "deploy_metadata.yaml").read_text())
    assert not next(entry.maps for entry in package.entries if entry.name == "model_params.class_names")
    assert metadata["classes"][1] == {"name": "truck", "label": "CAR", "class_name": "TRUCK"}


# The fields of autoware_perception_msgs, as its .msg files have them.
MESSAGES = {
    "ObjectClassification": "uint8 label\nfloat32 probability",
    "Shape": "uint8 type\ngeometry_msgs/Polygon footprint\ngeometry_msgs/Vector3 dimensions",
    "DetectedObjectKinematics": (
        "geometry_msgs/PoseWithCovariance pose_with_covariance\nbool has_position_covariance\n"
        "uint8 orientation_availability\ngeometry_msgs/TwistWithCovariance twist_with_covariance\n"
        "bool has_twist\nbool has_twist_covariance"
    ),
    "DetectedObject": (
        "float32 existence_probability\nautoware_perception_msgs/ObjectClassification[] classification\n"
        "autoware_perception_msgs/DetectedObjectKinematics kinematics\nautoware_perception_msgs/Shape shape"
    ),
    "DetectedObjects": "std_msgs/Header header\nautoware_perception_msgs/DetectedObject[] objects",
}


def test_boxes_as_autowares_message_through_cdr() -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for name, text in MESSAGES.items():
        types.update(get_types_from_msg(text, f"autoware_perception_msgs/msg/{name}"))
    store.register(types)

    def make(type_name: str, /, **fields: Any) -> Any:
        return store.types[type_name](**fields)

    geometry = np.array([[10, -2, 0.8, 4.2, 1.8, 1.6, 0.5], [5, 1, 0.9, 0.7, 0.6, 1.7, -3.0]], np.float32)
    boxes = Boxes(geometry, np.array([0, 1], np.int32), ("car", "walker"), scores=np.array([0.9, 0.4], np.float32))
    message = detected_objects_message(make, boxes, ("CAR", "PEDESTRIAN"), 1_500_000_000)
    read = store.deserialize_cdr(store.serialize_cdr(message, OBJECTS_TYPE), OBJECTS_TYPE)
    assert (read.header.frame_id, read.header.stamp.sec, read.header.stamp.nanosec) == ("base_link", 1, 500_000_000)
    car, walker = read.objects
    assert [entry.classification[0].label for entry in (car, walker)] == [LABELS["CAR"], LABELS["PEDESTRIAN"]]
    assert car.existence_probability == pytest.approx(0.9)
    assert (car.shape.dimensions.x, car.shape.dimensions.y) == pytest.approx((4.2, 1.8))
    turn = car.kinematics.pose_with_covariance.pose.orientation
    assert 2 * np.arctan2(turn.z, turn.w) == pytest.approx(0.5)
    assert car.kinematics.orientation_availability == 1
    assert walker.kinematics.orientation_availability == 0
    assert not car.kinematics.has_twist
