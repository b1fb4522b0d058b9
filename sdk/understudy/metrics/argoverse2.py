"""The Argoverse 2 detection metrics: average precision by center distance, three true-positive errors, and CDS.

Source: B. Wilson et al., "Argoverse 2: next generation datasets for self-driving perception and forecasting" (NeurIPS
2021), and the rules as av2 0.3 applies them. Not applied: the region of interest around the map's drivable area, which
the leaderboard cuts both sides to.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from understudy.errors import InputError

THRESHOLDS_M = (0.5, 1.0, 2.0, 4.0)
"""Distances of centers, in space, below which a detection is a hit; average precision is the mean over them."""
ERROR_THRESHOLD_M = 2.0
"""The distance at which the errors of true positives are measured, and what the translation error is divided by."""
MAX_RANGE_M = 150.0
"""Distance from the vehicle's origin, in space, below which objects count."""
MAX_PER_CATEGORY = 100
"""Detections of one category that count in a sweep, the best first."""
ERROR_NAMES = ("ATE", "ASE", "AOE")
"""Translation (m), scale (1 - IoU of aligned boxes), orientation (rad)."""

_WORST = np.array([ERROR_THRESHOLD_M, 1.0, np.pi])
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class Argoverse2Objects:
    """Labels or detections of many sweeps, each in the vehicle frame of its sweep, in the order of their files.

    Attributes:
        sweeps: `(N,)` int64 number of the sweep, ascending as logs and stamps do.
        categories: `(N,)` int64 index into the categories that are scored.
        centers_m: `(N, 3)` float64.
        sizes_m: `(N, 3)` float64 length, width, height, all above zero.
        rotations_wxyz: `(N, 4)` float64 quaternions of any length but zero.
        scores: `(N,)` float64; zeros for labels.
        num_points: `(N,)` int64 returns inside; any number above 0 for detections.

    Raises:
        InputError: when shapes differ or a value is not what is said above.
    """

    sweeps: NDArray[np.int64]
    categories: NDArray[np.int64]
    centers_m: NDArray[np.float64]
    sizes_m: NDArray[np.float64]
    rotations_wxyz: NDArray[np.float64]
    scores: NDArray[np.float64]
    num_points: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.sweeps)
        widths = {"centers_m": 3, "sizes_m": 3, "rotations_wxyz": 4}
        for column in fields(self):
            wanted = (count, widths[column.name]) if column.name in widths else (count,)
            found = getattr(self, column.name).shape
            if found != wanted:
                raise InputError(f"Argoverse 2 objects: {column.name}", found=f"shape {found}", wanted=f"{wanted}")
        for name, wanted_values, usable in (
            ("centers_m", "finite numbers", np.isfinite(self.centers_m)),
            ("sizes_m", "sizes above 0", np.isfinite(self.sizes_m) & (self.sizes_m > 0)),
            ("rotations_wxyz", "a quaternion", np.isfinite(self.rotations_wxyz) & self._turned()),
            ("scores", "a finite number", np.isfinite(self.scores)[:, None]),
        ):
            rows = np.flatnonzero(~np.logical_and.reduce(usable, axis=1))
            if len(rows):
                found_value = np.asarray(getattr(self, name)[rows[0]]).tolist()
                what = f"Argoverse 2 objects: {name} of row {rows[0]}"
                raise InputError(what, found=found_value, wanted=wanted_values)

    def _turned(self) -> NDArray[np.bool_]:
        """`(N, 1)`: whether the quaternion is more than zeros."""
        turned: NDArray[np.bool_] = np.abs(self.rotations_wxyz).sum(axis=1, keepdims=True) > 0
        return turned

    def __len__(self) -> int:
        return len(self.sweeps)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.integer]) -> Argoverse2Objects:
        """The objects chosen by a mask or an index array."""
        return replace(self, **{column.name: getattr(self, column.name)[index] for column in fields(self)})

    @classmethod
    def concatenate(cls, parts: list[Argoverse2Objects]) -> Argoverse2Objects:
        """Several sets as one, in order."""
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))

    @property
    def yaw_rad(self) -> NDArray[np.float64]:
        """`(N,)` heading about z, in [-pi, pi], of the turns about fixed x, y, z that make up each rotation."""
        w, x, y, z = self.rotations_wxyz.T
        yaw: NDArray[np.float64] = np.arctan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)
        return yaw


@dataclass(frozen=True, eq=False)
class Argoverse2Scores:
    """What the benchmark says, by category.

    Attributes:
        average_precisions: `(C, 4)` float64 in 0..1, by `THRESHOLDS_M`.
        errors: `(C, 3)` float64 by `ERROR_NAMES`; the worst value of each where nothing was hit.
        num_truths: `(C,)` int64 labels that counted.
        num_detections: `(C,)` int64 detections that counted.
    """

    average_precisions: NDArray[np.float64]
    errors: NDArray[np.float64]
    num_truths: NDArray[np.int64]
    num_detections: NDArray[np.int64]

    @property
    def ap(self) -> NDArray[np.float64]:
        """`(C,)` mean over the distances."""
        return np.asarray(self.average_precisions.mean(axis=1))

    @property
    def cds(self) -> NDArray[np.float64]:
        """`(C,)` composite detection score: average precision times what the errors leave of one, on average."""
        left: NDArray[np.float64] = 1.0 - self.errors / _WORST
        return np.asarray(self.ap * left.mean(axis=1))

    def table(self) -> NDArray[np.float64]:
        """`(C, 5)` AP, ATE, ASE, AOE, CDS; the official average is its mean over all categories, labeled or not."""
        return np.column_stack([self.ap, self.errors, self.cds])


def evaluate(truths: Argoverse2Objects, detections: Argoverse2Objects, num_categories: int) -> Argoverse2Scores:
    """Scores detections against labels.

    Each detection stands for the label of its category and sweep whose center is nearest (of equals the first). Of
    those that stand for the same label, the one with the highest score (of equals the first) may be a hit; all others
    are false alarms, even if another label would be near enough.
    """
    truths = truths[_in_range(truths) & (truths.num_points > 0)]
    detections = _counted(detections[np.lexsort((-detections.scores, *_keys(detections)))])
    hits, errors = _hits(truths, detections)
    by_score = np.lexsort((*_keys(detections), -detections.scores))
    classes = []
    for category in range(num_categories):
        rows = by_score[detections.categories[by_score] == category]
        num_truths = int((truths.categories == category).sum())
        classes.append(_category_scores(hits[rows], errors[rows], num_truths))
    precisions, class_errors = (np.array(column) for column in zip(*classes, strict=True))
    return Argoverse2Scores(
        average_precisions=precisions,
        errors=class_errors,
        num_truths=np.bincount(truths.categories, minlength=num_categories),
        num_detections=np.bincount(detections.categories, minlength=num_categories),
    )


def _keys(objects: Argoverse2Objects) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Category and sweep, for sorting by sweep first."""
    return objects.categories, objects.sweeps


def _in_range(objects: Argoverse2Objects) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.linalg.norm(objects.centers_m, axis=1) < MAX_RANGE_M
    return inside


def _groups(objects: Argoverse2Objects, num_categories: int) -> NDArray[np.int64]:
    return objects.sweeps * num_categories + objects.categories


def _counted(detections: Argoverse2Objects) -> Argoverse2Objects:
    """Those in range, of each sweep and category the best hundred; given in order of sweep, category and score."""
    near = detections[_in_range(detections)]
    if not len(near):
        return near
    changes = (np.diff(near.sweeps) != 0) | (np.diff(near.categories) != 0)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    sizes = np.diff(np.append(starts, len(near)))
    ranks = np.arange(len(near)) - np.repeat(starts, sizes)
    return near[ranks < MAX_PER_CATEGORY]


def _hits(truths: Argoverse2Objects, detections: Argoverse2Objects) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """`(D, 4)` whether each detection is a hit, by threshold, and `(D, 3)` its errors, the worst where it is none."""
    nearest, distances_m = _nearest(truths, detections)
    candidates = np.flatnonzero(nearest >= 0)
    _, first = np.unique(nearest[candidates], return_index=True)
    chosen = candidates[first]
    hits = np.zeros((len(detections), len(THRESHOLDS_M)), bool)
    hits[chosen] = distances_m[chosen, None] < np.array(THRESHOLDS_M)
    errors = np.tile(_WORST, (len(detections), 1))
    rows = np.flatnonzero(hits[:, THRESHOLDS_M.index(ERROR_THRESHOLD_M)])
    errors[rows] = _errors(truths[nearest[rows]], detections[rows])
    return hits, errors


def _nearest(truths: Argoverse2Objects, detections: Argoverse2Objects) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`(D,)` nearest label of the same sweep and category, -1 where there is none, and its distance."""
    num_categories = 1 + max(truths.categories.max(initial=0), detections.categories.max(initial=0))
    truth_groups, groups = _groups(truths, num_categories), _groups(detections, num_categories)
    order = np.argsort(truth_groups, kind="stable")
    first = np.searchsorted(truth_groups[order], groups, side="left")
    counts = np.searchsorted(truth_groups[order], groups, side="right") - first
    nearest, distances_m = np.full(len(detections), -1), np.full(len(detections), np.inf)
    for place in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > place)
        candidates = order[first[rows] + place]
        offsets_m = detections.centers_m[rows] - truths.centers_m[candidates]
        apart_m = np.sqrt((offsets_m**2).sum(axis=1))
        nearer = apart_m < distances_m[rows]
        nearest[rows[nearer]] = candidates[nearer]
        distances_m[rows[nearer]] = apart_m[nearer]
    return nearest, distances_m


def _errors(truths: Argoverse2Objects, detections: Argoverse2Objects) -> NDArray[np.float64]:
    """`(N, 3)` by `ERROR_NAMES`, of pairs."""
    translations_m = np.linalg.norm(detections.centers_m - truths.centers_m, axis=1)
    common = np.minimum(detections.sizes_m, truths.sizes_m).prod(axis=1)
    hull = np.maximum(detections.sizes_m, truths.sizes_m).prod(axis=1)
    turns_rad = np.abs(detections.yaw_rad - truths.yaw_rad)
    turns_rad = np.minimum(turns_rad, 2 * np.pi - turns_rad)
    return np.column_stack([translations_m, 1.0 - common / hull, turns_rad])


def _category_scores(
    hits: NDArray[np.bool_], errors: NDArray[np.float64], num_truths: int
) -> tuple[list[float], NDArray[np.float64]]:
    """Average precision by threshold and the three errors, from detections in descending order of score."""
    middle = hits[:, THRESHOLDS_M.index(ERROR_THRESHOLD_M)]
    precisions = [_average_precision(hits[:, column], num_truths) for column in range(len(THRESHOLDS_M))]
    return precisions, errors[middle].mean(axis=0) if middle.any() else _WORST


def _average_precision(hit: NDArray[np.bool_], num_truths: int) -> float:
    """Mean over 101 recalls of the precision, which never rises with recall; 0 beyond the recall reached."""
    if not hit.any():
        return 0.0
    num_hits = np.cumsum(hit)
    precisions = num_hits / np.arange(1, len(hit) + 1)
    never_rising = np.maximum.accumulate(precisions[::-1])[::-1]
    return float(np.interp(_RECALLS, num_hits / num_truths, never_rising, right=0).mean())
