"""The first pseudo-boxes: from clusters, from pictures, merged; and what is kept of each frame for later rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Boxes
from understudy.datasets.dataset import Sample
from understudy.datasets.files import BROKEN_ARRAYS
from understudy.errors import InputError
from understudy.interior import count_points_inside
from understudy.metrics.matching import ground_ranges_m
from understudy.progress import Track, silent
from understudy_training.label_free.classes import UNKNOWN, classes_by_size, classes_in_pictures
from understudy_training.label_free.cues import PictureBoxes, PictureCues
from understudy_training.label_free.ground import Plane, find_ground
from understudy_training.label_free.labels import Unlabeled
from understudy_training.label_free.lidar_boxes import boxes_from_clusters
from understudy_training.label_free.merging import merge, suppressed, without_doubles
from understudy_training.label_free.passes import OtherPasses, points_in_ego, pose_of
from understudy_training.label_free.picture_boxes import lifted_boxes
from understudy_training.label_free.pseudo_boxes import PseudoBoxes, boxes_of
from understudy_training.label_free.recipe import LabelFreeRecipe

_UNKNOWN_CLASS = "unknown"


@dataclass(frozen=True, eq=False)
class Look:
    """What is known of a frame without labels.

    Attributes:
        points: `(N, 4)` in ego.
        persistency: `(N,)` float32; 1 for what does not stand.
        stands: `(N,)` above the ground and near enough.
        ground: the plane.
    """

    points: NDArray[np.float32]
    persistency: NDArray[np.float32]
    stands: NDArray[np.bool_]
    ground: Plane


class Looks:
    """Looks at frames one by one, and keeps what is dear to compute in a folder.

    Args:
        dataset: the frames.
        passes: other passes of their streets.
        recipe: the rules.
        folder: where the persistency is kept.
        seed: of the search for the ground.
    """

    def __init__(
        self, dataset: Unlabeled, passes: OtherPasses, recipe: LabelFreeRecipe, folder: Path, seed: int
    ) -> None:
        self.dataset, self._passes, self._recipe, self._folder, self._seed = dataset, passes, recipe, folder, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def look(self, index: int, sample: Sample | None = None) -> Look:
        """What is known of a frame.

        Raises:
            InputError: when the frame has no cloud or pose, or what was kept of it is damaged.
        """
        sample = self.dataset[index] if sample is None else sample
        points = points_in_ego(sample, self._recipe.student.data.lidar)
        path = self._folder / f"{index:06d}.npz"
        if path.is_file():
            scores, ground = _read(path, len(points))
        else:
            ground = find_ground(points, np.random.default_rng([self._seed, index]), self._recipe.ground)
            scores = np.ones(len(points), np.float32)
            stands = self._stands(points, ground)
            scores[stands] = self._passes.persistency(index, pose_of(sample), points[stands])
            _write(path, scores, ground)
        return Look(points, scores, self._stands(points, ground), ground)

    def grounds(self) -> tuple[Plane, ...]:
        """Of all frames that were looked at."""
        return tuple(_read(self._folder / f"{index:06d}.npz", None)[1] for index in range(len(self)))

    def _stands(self, points: NDArray[np.float32], ground: Plane) -> NDArray[np.bool_]:
        near = np.hypot(points[:, 0], points[:, 1]) < self._recipe.reach_m
        stands: NDArray[np.bool_] = near & (ground.above(points) > self._recipe.ground.margin_m)
        return stands


@dataclass(frozen=True, eq=False)
class Seeds:
    """The boxes of round 0, and how they came about.

    Attributes:
        boxes: of all frames.
        counts: what became of clusters and 2D boxes, and which source the boxes are from.
    """

    boxes: PseudoBoxes
    counts: dict[str, int]


def find_seeds(looks: Looks, cues: PictureCues | None, recipe: LabelFreeRecipe, track: Track = silent) -> Seeds:
    """Pseudo-boxes of all frames without a detector.

    Args:
        looks: the frames.
        cues: 2D boxes, or None for the LiDAR alone.
        recipe: the rules.
        track: progress.

    Raises:
        InputError: when no box is found in any frame.
    """
    counts: Counter[str] = Counter()
    indices = range(len(looks))
    frames = [_seeds_of(looks, index, cues, recipe, counts) for index in track(indices, "seeds", len(looks))]
    if not sum(len(boxes) for boxes in frames):
        remedy = "look at persistency and cluster_rules; do the passes share the frames' world?"
        raise InputError("seeds", found=f"no boxes in {len(frames)} frames", wanted="some", remedy=remedy)
    return Seeds(_classed(frames, recipe, counts), dict(sorted(counts.items())))


def _seeds_of(
    looks: Looks, index: int, cues: PictureCues | None, recipe: LabelFreeRecipe, counts: Counter[str]
) -> Boxes:
    """A frame's seeds; the class after the student's last one means that nobody said which."""
    sample, merging = looks.dataset[index], recipe.merging
    seen = looks.look(index, sample)
    in_pictures = {} if cues is None else dict(cues.of(sample))
    lidar = _from_clusters(seen, recipe, counts)
    if not recipe.is_class_agnostic:
        names = tuple(recipe.student.detector.class_names)
        labels = classes_in_pictures(lidar, in_pictures, sample.rig.cameras, names, recipe.classes)
        lidar = replace(lidar, labels=np.where(labels == UNKNOWN, len(names), labels).astype(np.int32))
    pictures = _from_pictures(in_pictures, sample, seen, recipe)
    counts["2D boxes"] += sum(len(boxes) for boxes in in_pictures.values())
    counts["2D boxes lifted"] += len(pictures)
    pictures = pictures[ground_ranges_m(pictures) >= merging.min_range_m]
    lidar, pictures = without_doubles(lidar, pictures, iou=merging.same_iou, lidar_wins_m=merging.lidar_wins_m)
    counts.update({"boxes from clusters": len(lidar), "boxes from pictures": len(pictures)})
    return merge(lidar, pictures, merging.min_range_m)


def _from_clusters(seen: Look, recipe: LabelFreeRecipe, counts: Counter[str]) -> Boxes:
    found = boxes_from_clusters(
        seen.points, seen.stands, seen.persistency, seen.ground, recipe.clusters, recipe.cluster_rules
    )
    counts.update(f"clusters {verdict}" for verdict in found.verdicts)
    return _counted(found.boxes, np.full(len(found.boxes), _nobody_said(recipe)), seen, recipe)


def _from_pictures(cues: Mapping[str, PictureBoxes], sample: Sample, seen: Look, recipe: LabelFreeRecipe) -> Boxes:
    """Of all cameras; where two see the same object, the first speaks."""
    names, heights_m = tuple(recipe.student.detector.class_names), seen.ground.above(seen.points)
    parts = [_counted(np.zeros((0, 7), np.float32), np.zeros(0), seen, recipe)]
    for camera, found in cues.items():
        lifted = lifted_boxes(found, sample.rig.cameras[camera], seen.points, seen.stands, heights_m, recipe.growing)
        said = [found.class_names[row] for row in lifted.cues]
        if recipe.is_class_agnostic:
            parts.append(_counted(lifted.boxes, np.zeros(len(said)), seen, recipe))
        else:
            wanted = np.array([name in names for name in said], bool)
            labels = np.array([names.index(name) for name in said if name in names])
            parts.append(_counted(lifted.boxes[wanted], labels, seen, recipe))
    return suppressed(Boxes.concatenate(parts), recipe.merging.same_iou)


def _nobody_said(recipe: LabelFreeRecipe) -> int:
    return 0 if recipe.is_class_agnostic else len(recipe.student.detector.class_names)


def _counted(
    geometry: NDArray[np.float32],
    labels: NDArray[np.integer] | NDArray[np.floating],
    seen: Look,
    recipe: LabelFreeRecipe,
) -> Boxes:
    """The boxes with their margin, the number of points in each, and a score of 1."""
    names = (*recipe.student.detector.class_names, _UNKNOWN_CLASS)
    grown = geometry.copy()
    grown[:, 3:5] += 2 * recipe.grow_m
    boxes = boxes_of(grown, labels, names, np.zeros(len(grown)), np.ones(len(grown)))
    return replace(boxes, num_points=count_points_inside(boxes, seen.points))


def _classed(frames: Sequence[Boxes], recipe: LabelFreeRecipe, counts: Counter[str]) -> PseudoBoxes:
    """With a class for every box; those for which there is none hold no points, so that training ignores them."""
    names = tuple(recipe.student.detector.class_names)
    every = Boxes.concatenate(frames)
    assert every.num_points is not None
    assert every.scores is not None
    said = np.where(every.labels == len(names), UNKNOWN, every.labels).astype(np.int64)
    labels = said if recipe.is_class_agnostic else classes_by_size(every.geometry, said, len(names), recipe.classes)
    counts.update({"boxes without a class": int((labels == UNKNOWN).sum())})
    num_points = np.where(labels == UNKNOWN, 0, every.num_points)
    whole = boxes_of(every.geometry, np.maximum(labels, 0), names, num_points, every.scores)
    ends = np.cumsum([0, *(len(boxes) for boxes in frames)])
    parts = [whole[begin:end] for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    return PseudoBoxes(tuple(parts), names)


def _write(path: Path, scores: NDArray[np.float32], ground: Plane) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.part.npz")
    plane = np.array([ground.x_slope, ground.y_slope, ground.z_m])
    np.savez(unfinished, allow_pickle=False, persistency=scores, ground=plane)
    unfinished.replace(path)


def _read(path: Path, num_points: int | None) -> tuple[NDArray[np.float32], Plane]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            scores, plane = stored["persistency"], stored["ground"]
        ground = Plane(*(float(value) for value in plane))
    except (KeyError, *BROKEN_ARRAYS) as error:
        remedy = "remove it; it is made anew"
        raise InputError(f"{path}", found=str(error), wanted="what was kept of a frame", remedy=remedy) from error
    if num_points not in {None, len(scores)}:
        remedy = "remove its folder; it is made anew"
        raise InputError(f"{path}", found=f"{len(scores)} points", wanted=f"{num_points}", remedy=remedy)
    return scores, ground
