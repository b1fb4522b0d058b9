"""Ground-truth sampling: objects of other frames put into this one, where there is room, with what they hide.

Idea: Y. Yan et al., "SECOND: sparsely embedded convolutional detection" (Sensors 2018); what is hidden by whom after
it: P. Hu et al., "What you see is what you get" (CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from understudy.boxes import NOT_ASKED, Boxes, wrap_angle
from understudy.configuration import Config
from understudy.errors import InputError
from understudy_training.augmentation.membership import members
from understudy_training.augmentation.object_database import Crop, ObjectDatabase, open_database
from understudy_training.augmentation.object_frame import local_points, placed_points
from understudy_training.augmentation.object_jitter import touches
from understudy_training.augmentation.occlusion import Horizon, in_sectors, rays_of
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.step import Step

ROAD_SLACK_M = 0.25
"""Points this near to the road are the road: they neither stand in the way nor hide anything."""
_ROAD_RADIUS_M = 3.0
_ROAD_SEARCH_M = 1.5
_ROAD_POINTS = 5
_TRIES = 4
"""Objects that are tried for each that is missing."""


class Placed(Config):
    """One object and where it stands."""

    class_name: str
    number: int
    turn_rad: float
    """Turn about the LiDAR against where it was seen."""
    road_z_m: float

    def geometry(self, crop: Crop, lidar_m: NDArray[np.float64]) -> NDArray[np.float32]:
        """Its `(7,)` box in ego: as far from this LiDAR as it was from its own, on the road."""
        box = crop.geometry.astype(np.float64)
        x, y = _rotation(self.turn_rad) @ (box[:2] - crop.lidar_m[:2]) + lidar_m[:2]
        yaw = wrap_angle(np.array(box[6] + self.turn_rad))
        return np.array([x, y, self.road_z_m + box[5] / 2, *box[3:6], yaw], np.float32)


@dataclass(frozen=True, eq=False)
class _Body:
    """A placed object with its points."""

    label: int
    geometry: NDArray[np.float32]
    velocity_mps: NDArray[np.float64]
    points: NDArray[np.float32]
    ring: NDArray[np.int16]


class DrawnObjectPaste(Config):
    """The objects that come in; those of which too little would be seen are left out when it is applied."""

    kind: Literal["object_paste"] = "object_paste"
    database: Path
    min_visible_points: int
    objects: tuple[Placed, ...]

    def apply(self, scene: Scene) -> Scene:
        """See `Drawn`. Points inside the new boxes and behind the new objects go; so do new points that are hidden."""
        if not self.objects:
            return scene
        database, lidar_m = open_database(self.database), scene.ego_from_lidar.translation_m
        bodies = [_body(placed, database, scene) for placed in self.objects]
        boxes = replace(_boxes(bodies, scene.boxes), num_points=None)
        inside = np.zeros(len(scene.points), bool)
        inside[np.concatenate(members(boxes, scene.points))] = True
        offsets_m = scene.from_lidar()
        centers_m = boxes.geometry[:, :2].astype(np.float64) - lidar_m[:2]
        rows = in_sectors(offsets_m, centers_m, np.hypot(boxes.geometry[:, 3], boxes.geometry[:, 4]) / 2.0)
        rays = rays_of(offsets_m[rows])
        standing = scene.points[rows, 2] > min(placed.road_z_m for placed in self.objects) + ROAD_SLACK_M
        before, pasted = Horizon(), Horizon()
        before.add(rays[standing & ~inside[rows]])
        seen = []
        for place in np.argsort(np.hypot(*centers_m.T), kind="stable"):
            body = bodies[place]
            own = rays_of(body.points[:, :3] - lidar_m.astype(np.float32))
            visible = ~before.hides(own)
            if visible.sum() >= self.min_visible_points:
                before.add(own[visible])
                pasted.add(own[visible])
                seen.append(replace(body, points=body.points[visible], ring=body.ring[visible]))
        return _with_bodies(scene, seen, rows[pasted.hides(rays)])


class ObjectPaste(Step):
    """Fills a frame up with objects from a database, class by class, where they meet nothing."""

    kind: Literal["object_paste"] = "object_paste"
    database: Path
    """Folder made by `understudy dataset objects`, of the training split."""
    counts: dict[str, int] = Field(min_length=1)
    """How many objects of a class a frame is filled up to."""
    azimuth: Literal["original", "any"] = "original"
    """Where an object goes: where it was seen, or anywhere about the LiDAR at the same range, turned along."""
    min_visible_points: int = Field(5, gt=0)
    """An object of which fewer points would be seen is left out."""
    gap_m: float = Field(0.2, ge=0)
    """Distance that is kept to other boxes."""
    max_points_in_the_way: int = Field(10, ge=0)
    """Returns above the road, where the object would stand, beyond which the place is taken by something unlabeled."""

    @field_validator("counts")
    @classmethod
    def _not_negative(cls, value: dict[str, int]) -> dict[str, int]:
        if min(value.values()) < 0:
            raise ValueError("counts: not negative")
        return value

    def draw(self, generator: np.random.Generator, scene: Scene) -> DrawnObjectPaste:
        """Objects and places without collision.

        Raises:
            InputError: when there is no database, it or the data lack a class, or there are pictures.
        """
        scene.refuse_pictures(self.kind)
        self.refuse_unless_ready(scene.boxes.class_names)
        database, lidar_m = open_database(self.database), scene.ego_from_lidar.translation_m
        counts = scene.boxes.num_points
        asked = slice(None) if counts is None else counts != NOT_ASKED
        present = np.bincount(scene.boxes.labels[asked], minlength=len(scene.boxes.class_names))
        standing, accepted, ground = scene.boxes.geometry, [], _Ground(scene.points)
        for class_name, wanted in self.counts.items():
            missing = wanted - int(present[_label(class_name, scene.boxes)])
            for placed in self._candidates(generator, database, class_name, missing):
                geometry = placed.geometry(database.crop(class_name, placed.number), lidar_m)
                about = None if missing == 0 or touches(geometry, standing, self.gap_m) else ground.about(geometry)
                if about is not None and about[1] <= self.max_points_in_the_way:
                    accepted.append(placed.model_copy(update={"road_z_m": about[0]}))
                    standing = np.concatenate([standing, geometry[None]])
                    missing -= 1
        settings = {"database": self.database, "min_visible_points": self.min_visible_points}
        return DrawnObjectPaste(objects=tuple(accepted), **settings)

    def refuse_unless_ready(self, class_names: tuple[str, ...]) -> None:
        """Raises InputError when there is no database, or it or the data lack a class of `counts`."""
        database = open_database(self.database)
        for class_name in self.counts:
            if class_name not in class_names:
                wanted = f"classes of the data: {', '.join(class_names)}"
                raise InputError("augmentation step object_paste", found=f"class {class_name}", wanted=wanted)
            if database.count(class_name) == 0:
                wanted = f"one of: {', '.join(database.card.counts)}"
                raise InputError(f"{self.database}", found=f"no objects of class {class_name}", wanted=wanted)

    def _candidates(
        self, generator: np.random.Generator, database: ObjectDatabase, class_name: str, missing: int
    ) -> list[Placed]:
        """Objects to try, drawn without repetition; the first that find room are taken."""
        count = database.count(class_name)
        numbers = generator.permutation(count)[: max(_TRIES * missing, 0)]
        turns = generator.uniform(-np.pi, np.pi, len(numbers)) * (self.azimuth == "any")
        return [
            Placed(class_name=class_name, number=int(number), turn_rad=float(turn), road_z_m=0.0)
            for number, turn in zip(numbers, turns, strict=True)
        ]


class _Ground:
    """The road of a scene, and what stands on it, asked place by place."""

    def __init__(self, points: NDArray[np.float32]) -> None:
        self._points = points
        self._xs, self._ys = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])

    def about(self, box: NDArray[np.float32]) -> tuple[float, int] | None:
        """Height of the road about a `(7,)` box, and how many points stand above it where the box would be.

        The road is the lower tenth of what lies within 3 m and not far from ego's own height; None where too little
        does to know it.
        """
        reach_m = np.float32(np.hypot(box[3], box[4]) / 2 + _ROAD_RADIUS_M)
        rows = np.flatnonzero(np.abs(self._xs - box[0]) < reach_m)
        near = self._points[rows[np.abs(self._ys[rows] - box[1]) < reach_m]]
        low = near[np.abs(near[:, 2]) < _ROAD_SEARCH_M, 2]
        if len(low) < _ROAD_POINTS:
            return None
        road_z_m = float(np.percentile(low, 10))
        standing = box.copy()
        standing[2], standing[5] = road_z_m + (ROAD_SLACK_M + box[5]) / 2, max(box[5] - ROAD_SLACK_M, 0.1)
        inside = Boxes(standing[None], np.zeros(1, np.int32), ("",)).contains(near)
        return road_z_m, int(inside.sum())


def _body(placed: Placed, database: ObjectDatabase, scene: Scene) -> _Body:
    crop = database.crop(placed.class_name, placed.number)
    geometry = placed.geometry(crop, scene.ego_from_lidar.translation_m)
    points = crop.points.copy()
    points[:, :3] = placed_points(local_points(crop.points, crop.geometry), geometry)
    velocity_mps = _rotation(placed.turn_rad) @ crop.velocity_mps
    return _Body(_label(placed.class_name, scene.boxes), geometry, velocity_mps, points, crop.ring)


def _boxes(bodies: Sequence[_Body], like: Boxes) -> Boxes:
    """The objects as labels, with the optional columns that the scene's labels have; new tracks are -1."""
    return Boxes(
        geometry=np.stack([body.geometry for body in bodies]),
        labels=np.array([body.label for body in bodies], np.int32),
        class_names=like.class_names,
        num_points=np.array([len(body.points) for body in bodies], np.int32),
        track_ids=None if like.track_ids is None else np.full(len(bodies), -1, np.int64),
        velocities_mps=None if like.velocities_mps is None else np.stack([b.velocity_mps for b in bodies]).astype("f4"),
    )


def _with_bodies(scene: Scene, bodies: Sequence[_Body], hidden: NDArray[np.intp]) -> Scene:
    if not bodies:
        return scene
    boxes = _boxes(bodies, scene.boxes)
    keep = np.ones(len(scene.points), bool)
    keep[hidden] = False
    keep[np.concatenate(members(boxes, scene.points))] = False
    points, ring = np.concatenate([body.points for body in bodies]), np.concatenate([body.ring for body in bodies])
    joined = scene.kept(keep).joined(points, ring)
    return replace(joined, boxes=Boxes.concatenate([joined.boxes, boxes]))


def _label(class_name: str, boxes: Boxes) -> int:
    return boxes.class_names.index(class_name)


def _rotation(turn_rad: float) -> NDArray[np.float64]:
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    return np.array([[cos, -sin], [sin, cos]])
