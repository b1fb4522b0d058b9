"""KITTI's conventions: label lines (h, w, l, bottom center, rotation_y, rectified camera frame) and calibration files.

Source: A. Geiger, P. Lenz, R. Urtasun, "Are we ready for autonomous driving?" (CVPR 2012) and the benchmark's
development kit. The rectified frame is that of camera 0 after R0_rect: x right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes, wrap_angle
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.converters.headings import project_yaw, unproject_yaw
from understudy.errors import GeometryError, InputError
from understudy.pose import Pose

_NAMES_FOR_WRITING: Mapping[str, str] = {
    "car": "Car",
    "truck": "Truck",
    "pedestrian": "Pedestrian",
    "cyclist": "Cyclist",
}
_SIZED_TYPES = {"Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc"}
"""Everything but DontCare, whose size is written as -1."""

_LABEL_FIELDS = 15
_OCCLUSIONS = (-1, 0, 1, 2, 3)
_FARTHEST_M = 1e5
_MATRIX_SIZES: Mapping[str, int] = {"P2": 12, "R0_rect": 9, "Tr_velo_to_cam": 12}

# A level frame at the camera (x forward, y left, z up) from the rectified one (x right, y down, z forward).
_RECT_FROM_LEVEL = Pose(np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), np.zeros(3))


@dataclass(frozen=True, eq=False)
class KittiCalibration:
    """What a calibration file of the object benchmark says about camera 2 and the LiDAR.

    Attributes:
        camera_matrix: `(3, 3)` intrinsics of camera 2 in pixels.
        camera2_from_rect: the baseline that hides in the fourth column of P2, in meters.
        rect_from_lidar: R0_rect after Tr_velo_to_cam.
    """

    camera_matrix: NDArray[np.float64]
    camera2_from_rect: Pose
    rect_from_lidar: Pose

    @property
    def camera2_from_lidar(self) -> Pose:
        """LiDAR points to camera 2's optical frame."""
        return self.camera2_from_rect @ self.rect_from_lidar


@dataclass(frozen=True, eq=False)
class KittiObjects:
    """The lines of one label file, column by column; DontCare included.

    Attributes:
        types: N class names as written.
        truncated: `(N,)` float64, 0 to 1.
        occluded: `(N,)` int64, 0 to 3; -1 unknown.
        alpha_rad: `(N,)` observation angle.
        boxes_px: `(N, 4)` left, top, right, bottom in image 2.
        sizes_m: `(N, 3)` height, width, length.
        locations_m: `(N, 3)` center of the bottom face, rectified camera frame.
        rotations_y_rad: `(N,)` turn about the camera's y axis (down); 0 points along camera x.
        scores: `(N,)` for results, None for labels.
    """

    types: tuple[str, ...]
    truncated: NDArray[np.float64]
    occluded: NDArray[np.int64]
    alpha_rad: NDArray[np.float64]
    boxes_px: NDArray[np.float64]
    sizes_m: NDArray[np.float64]
    locations_m: NDArray[np.float64]
    rotations_y_rad: NDArray[np.float64]
    scores: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.types)


def parse_objects(text: str, source: str) -> KittiObjects:
    """Label or result lines; `source` names the file in messages.

    Raises:
        InputError: naming file and line, when a line has neither 15 nor 16 fields, mixes both, or holds no numbers.
    """
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    rows = [_numbers(fields, f"{source} line {number}") for number, fields in lines]
    scored = bool(lines) and len(lines[0][1]) == _LABEL_FIELDS + 1
    for number, fields in lines:
        if (len(fields) == _LABEL_FIELDS + 1) != scored:
            raise InputError(f"{source} line {number}", found="lines with and without a score", wanted="one kind")
    table = np.array(rows, np.float64).reshape(len(rows), -1 if rows else _LABEL_FIELDS - 1)
    types = tuple(fields[0] for _, fields in lines)
    return _objects(types, table[:, :14], table[:, 14] if scored else None)


def format_objects(objects: KittiObjects) -> str:
    """Label lines with two decimals, as KITTI writes them; result lines where there are scores."""
    lines = []
    for row, name in enumerate(objects.types):
        values = [objects.alpha_rad[row], *objects.boxes_px[row], *objects.sizes_m[row], *objects.locations_m[row]]
        values.append(objects.rotations_y_rad[row])
        score = "" if objects.scores is None else f" {objects.scores[row]:.4f}"
        numbers = " ".join(f"{value:.2f}" for value in values)
        lines.append(f"{name} {objects.truncated[row]:.2f} {objects.occluded[row]} {numbers}{score}\n")
    return "".join(lines)


def boxes_from_objects(objects: KittiObjects, ego_from_rect: Pose, classes: ClassChoice | None = None) -> Boxes:
    """Boxes in ego; objects whose type the class map lacks are dropped.

    The camera is tilted by up to a degree against the road: centers move with the full pose, the heading is
    projected onto ego's ground plane, and the box stands upright in ego.
    """
    class_map = chosen_map("kitti", classes)
    labels = class_map.labels(objects.types)
    known = labels >= 0
    height, width, length = objects.sizes_m[known].T
    centers_rect = objects.locations_m[known] - np.stack([0 * height, height / 2, 0 * height], axis=1)
    ego_from_level = ego_from_rect @ _RECT_FROM_LEVEL
    yaw = project_yaw(ego_from_level.rotation, -objects.rotations_y_rad[known] - np.pi / 2)
    geometry = np.column_stack([ego_from_rect.apply(centers_rect), length, width, height, yaw]).astype(np.float32)
    scores = None if objects.scores is None else objects.scores[known].astype(np.float32)
    return Boxes(geometry, labels[known], class_map.class_names, scores=scores)


def objects_from_boxes(boxes: Boxes, ego_from_rect: Pose) -> KittiObjects:
    """Boxes in ego as KITTI objects: the inverse of `boxes_from_objects` in center, size and rotation_y.

    Truncation, occlusion and image box are not known to a box: they become -1, -1 and zeros, as results may have them.
    """
    geometry = boxes.geometry.astype(np.float64)
    ego_from_level = ego_from_rect @ _RECT_FROM_LEVEL
    rotations_y = wrap_angle(-unproject_yaw(ego_from_level.rotation, geometry[:, 6]) - np.pi / 2)
    locations = ego_from_rect.inverse().apply(geometry[:, :3])
    locations[:, 1] += geometry[:, 5] / 2
    count = len(boxes)
    return KittiObjects(
        types=tuple(_NAMES_FOR_WRITING.get(name, name) for name in np.array(boxes.class_names)[boxes.labels]),
        truncated=np.full(count, -1.0),
        occluded=np.full(count, -1),
        alpha_rad=wrap_angle(rotations_y - np.arctan2(locations[:, 0], locations[:, 2])).astype(np.float64),
        boxes_px=np.zeros((count, 4)),
        sizes_m=geometry[:, [5, 4, 3]],
        locations_m=locations,
        rotations_y_rad=rotations_y.astype(np.float64),
        scores=None if boxes.scores is None else boxes.scores.astype(np.float64),
    )


def parse_calibration(text: str, source: str) -> KittiCalibration:
    """A calibration file of the object benchmark; `source` names the file in messages.

    Raises:
        InputError: when P2, R0_rect or Tr_velo_to_cam is missing, has the wrong size or is not finite.
        GeometryError: when R0_rect or Tr_velo_to_cam is no rigid transform.
    """
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    p2, r0, velo = (_matrix(lines, name, source) for name in _MATRIX_SIZES)
    camera_matrix = p2.reshape(3, 4)[:, :3]
    try:
        baseline_m = np.asarray(np.linalg.solve(camera_matrix, p2.reshape(3, 4)[:, 3]), np.float64)
        rect_from_lidar = Pose(r0.reshape(3, 3), np.zeros(3)) @ Pose.from_matrix(velo.reshape(3, 4))
    except np.linalg.LinAlgError:
        raise InputError(f"{source}: P2", found="a singular camera matrix", wanted="focal lengths above 0") from None
    except GeometryError as error:
        raise GeometryError(f"{source}: {error.what}", found=error.found, wanted=error.wanted) from None
    return KittiCalibration(camera_matrix, Pose(np.eye(3), baseline_m), rect_from_lidar)


def _objects(types: tuple[str, ...], table: NDArray[np.float64], scores: NDArray[np.float64] | None) -> KittiObjects:
    return KittiObjects(
        types=types,
        truncated=table[:, 0],
        occluded=table[:, 1].astype(np.int64),
        alpha_rad=table[:, 2],
        boxes_px=table[:, 3:7],
        sizes_m=table[:, 7:10],
        locations_m=table[:, 10:13],
        rotations_y_rad=table[:, 13],
        scores=scores,
    )


def _numbers(fields: list[str], where: str) -> list[float]:
    if len(fields) not in {_LABEL_FIELDS, _LABEL_FIELDS + 1}:
        raise InputError(where, found=f"{len(fields)} fields", wanted="15, or 16 with a score")
    try:
        values = [float(field) for field in fields[1:]]
    except ValueError as error:
        raise InputError(where, found=str(error), wanted="a class name and numbers") from None
    if not np.isfinite(values).all():
        raise InputError(where, found="a value that is not finite", wanted="finite numbers")
    if values[1] not in _OCCLUSIONS:
        raise InputError(where, found=f"occlusion {fields[2]}", wanted="-1 to 3")
    if max(map(abs, values[7:13])) > _FARTHEST_M:
        raise InputError(where, found=f"size and place {values[7:13]}", wanted="meters")
    if fields[0] in _SIZED_TYPES and min(values[7:10]) < 0:
        raise InputError(where, found=f"size {values[7:10]}", wanted="sizes >= 0")
    return values


def _matrix(lines: Mapping[str, str], name: str, source: str) -> NDArray[np.float64]:
    if name not in lines:
        found = ", ".join(lines) or "no matrices"
        raise InputError(f"{source}: {name}", found=found, wanted=f"a line starting with {name}:")
    try:
        values = np.array([float(value) for value in lines[name].split()])
    except ValueError as error:
        raise InputError(f"{source}: {name}", found=str(error), wanted="numbers") from None
    if len(values) != _MATRIX_SIZES[name]:
        raise InputError(f"{source}: {name}", found=f"{len(values)} numbers", wanted=f"{_MATRIX_SIZES[name]}")
    if not np.isfinite(values).all():
        raise InputError(f"{source}: {name}", found="a value that is not finite", wanted="finite numbers")
    return values
