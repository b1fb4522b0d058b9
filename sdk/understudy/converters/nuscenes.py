"""nuScenes' conventions: center, size as width, length, height, and a quaternion w, x, y, z, in any frame.

Source: H. Caesar et al., "nuScenes: a multimodal dataset for autonomous driving" (CVPR 2020) and its schema.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.boxes import Boxes
from understudy.converters.class_maps import ClassChoice, chosen_map
from understudy.converters.headings import project_yaw, unproject_yaw
from understudy.errors import InputError
from understudy.pose import Pose


@dataclass(frozen=True, eq=False)
class NuscenesBoxes:
    """Annotations as nuScenes' tables hold them.

    Attributes:
        names: N detection class names.
        translations_m: `(N, 3)` centers.
        sizes_m: `(N, 3)` width, length, height.
        rotations_wxyz: `(N, 4)` unit quaternions; x of the box points along its length.
    """

    names: tuple[str, ...]
    translations_m: NDArray[np.float64]
    sizes_m: NDArray[np.float64]
    rotations_wxyz: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.names)
        shapes = self.translations_m.shape, self.sizes_m.shape, self.rotations_wxyz.shape
        if shapes != ((count, 3), (count, 3), (count, 4)):
            raise InputError(
                "nuScenes boxes", found=f"shapes {shapes}", wanted=f"({count}, 3), ({count}, 3), ({count}, 4)"
            )


def boxes_from_nuscenes(annotations: NuscenesBoxes, ego_from_source: Pose, classes: ClassChoice | None = None) -> Boxes:
    """Boxes in ego from annotations in the source frame (global or LiDAR); names the class map lacks are dropped.

    Headings are projected onto ego's ground plane; roll and pitch of a box are lost, as a box has none.
    """
    class_map = chosen_map("nuscenes", classes)
    labels = class_map.labels(annotations.names)
    known = labels >= 0
    width, length, height = annotations.sizes_m[known].T
    yaw = project_yaw(ego_from_source.rotation, yaw_from_quaternions(annotations.rotations_wxyz[known]))
    centers = ego_from_source.apply(annotations.translations_m[known])
    geometry = np.column_stack([centers, length, width, height, yaw]).astype(np.float32)
    return Boxes(geometry, labels[known], class_map.class_names)


def nuscenes_from_boxes(boxes: Boxes, source_from_ego: Pose) -> NuscenesBoxes:
    """Boxes in ego as annotations in the source frame, named by our classes: the inverse for boxes level there."""
    geometry = boxes.geometry.astype(np.float64)
    yaw = unproject_yaw(source_from_ego.inverse().rotation, geometry[:, 6])
    return NuscenesBoxes(
        names=tuple(boxes.class_names[label] for label in boxes.labels),
        translations_m=source_from_ego.apply(geometry[:, :3]),
        sizes_m=geometry[:, [4, 3, 5]],
        rotations_wxyz=quaternions_from_yaw(yaw),
    )


def yaw_from_quaternions(wxyz: ArrayLike) -> NDArray[np.float64]:
    """`(N,)` heading of the x axis in the x-y plane from `(N, 4)` quaternions."""
    w, x, y, z = np.asarray(wxyz, np.float64).reshape(-1, 4).T
    yaw: NDArray[np.float64] = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return yaw


def quaternions_from_yaw(yaw_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(N, 4)` quaternions w, x, y, z of turns about z."""
    zero = np.zeros_like(yaw_rad)
    return np.stack([np.cos(yaw_rad / 2), zero, zero, np.sin(yaw_rad / 2)], axis=1)
