"""Made-up drives seen by a LiDAR and cameras: colored blocks on a gray floor, past a moving ego."""

from __future__ import annotations

import numpy as np

from understudy.boxes import Boxes
from understudy.bundle.inputs import DepthBins, Pictures
from understudy.datasets.dataset import Place, Sample
from understudy.frame import Frame, Image, PointCloud
from understudy.pose import Pose
from understudy.rig import Rig
from understudy_training.made_up_feeds import made_up_rig
from understudy_training.testing import CLASSES, GRID, RIG, boxes_in, points_of

FRAMES_PER_DRIVE = 3
COLORS = np.array([[220, 40, 40], [40, 40, 220]], np.uint8)


def pictures_of(num_cameras: int) -> Pictures:
    """Small ones."""
    depth = DepthBins(near_m=1.0, far_m=20.0, count=10)
    return Pictures(num_cameras=num_cameras, width_px=64, height_px=32, focal_px=40.0, depth=depth)


class CameraDrives:
    """Drives of three frames each; objects stand still in the world, the ego goes forward and turns."""

    class_names = CLASSES

    def __init__(self, num_drives: int = 2, num_cameras: int = 2) -> None:
        self.num_drives = num_drives
        cameras = made_up_rig(pictures_of(num_cameras)).sensors
        self.rig = Rig(name="made up", sensors={**RIG.sensors, **cameras})

    @property
    def fingerprint(self) -> str:
        """Of the numbers."""
        return f"{self.num_drives:032d}{len(self.rig.cameras):032d}"

    def __len__(self) -> int:
        return FRAMES_PER_DRIVE * self.num_drives

    def place(self, index: int) -> Place:
        """See `Sequential`."""
        return Place(f"drive {index // FRAMES_PER_DRIVE}", index)

    def __getitem__(self, index: int) -> Sample:
        drive, number = divmod(index, FRAMES_PER_DRIVE)
        world_from_ego = Pose.from_yaw(0.1 * number, (1.5 * number, 0.0, 0.0))
        boxes = boxes_in(np.random.default_rng([5, drive]), 4).transformed(world_from_ego.inverse())
        generator = np.random.default_rng([6, index])
        points = points_of(generator, boxes) - np.array([0.5, 0.0, 1.8, 0.0], np.float32)
        points[:, 3] *= 255.0
        images = {name: Image(self._picture(name, boxes, generator), index) for name in self.rig.cameras}
        frame = Frame(index, {"top": PointCloud(points, index)}, images, world_from_ego)
        return Sample(f"{index:03d}", frame, self.rig, boxes, {})

    def _picture(self, name: str, boxes: Boxes, generator: np.random.Generator) -> np.ndarray:
        camera = self.rig.cameras[name]
        pixels = generator.integers(90, 130, (camera.height_px, camera.width_px, 3), np.uint8)
        for corners_m, label in zip(boxes.corners(), boxes.labels, strict=True):
            corners, depth_m = camera.project(corners_m)
            if depth_m.min() > 0.5:
                (left, top), (right, bottom) = np.clip([corners.min(0), corners.max(0)], 0, 64).astype(int)
                pixels[top:bottom, left:right] = COLORS[label]
        return pixels


def camera_detector(num_cameras: int = 2, width: int = 8, **camera: object) -> dict[str, object]:
    """A camera detector written out, a few thousand parameters small."""
    encoder = {
        "kind": "camera",
        "pictures": pictures_of(num_cameras).model_dump(),
        "image": {"stem": 8, "widths": [8, 8, 8], "layers": [0, 0, 0]},
        "feature_channels": 6,
        "channels": width,
    }
    return {
        "kind": "pillar",
        "grid": GRID.model_dump(),
        "class_names": list(CLASSES),
        "encoder": encoder | camera,
        "backbone": {"widths": [8, 8, 8], "layers": [1, 1, 1], "strides": [1, 2, 2]},
        "neck_width": width,
        "output_stride": 2,
        "head": {"width": 8, "branch_width": 8},
    }
