"""The evaluation program of KITTI's development kit, written out loop by loop from its description.

It shares no code with the library: lines are plain tuples in the order of the label file, polygons are shapely's.
Slow on purpose. Divisions of nothing by nothing give NaN, and NaN never exceeds a threshold, as in C++.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from shapely.geometry import Polygon

CLASSES = ("Car", "Pedestrian", "Cyclist")
NEIGHBOR = {"car": "van", "pedestrian": "person_sitting"}
LEVELS = {"easy": (40, 0, 0.15), "moderate": (25, 1, 0.3), "hard": (25, 2, 0.5)}
STRICT = {kind: {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5} for kind in ("2d", "bev", "3d")}
NO_DETECTION = -10000000.0


class Line(NamedTuple):
    type: str
    truncated: float
    occluded: int
    alpha: float
    x1: float
    y1: float
    x2: float
    y2: float
    h: float
    w: float
    l: float  # noqa: E741
    x: float
    y: float
    z: float
    ry: float
    score: float = 0.0


def divided(above, below):
    if below == 0:
        return math.nan
    return above / below


def image_overlap(a, b, criterion):
    x1, y1, x2, y2 = max(a.x1, b.x1), max(a.y1, b.y1), min(a.x2, b.x2), min(a.y2, b.y2)
    width, height = x2 - x1, y2 - y1
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    a_area, b_area = (a.x2 - a.x1) * (a.y2 - a.y1), (b.x2 - b.x1) * (b.y2 - b.y1)
    return divided(shared, a_area + b_area - shared) if criterion == -1 else divided(shared, a_area)


def outline(line):
    corners = []
    for along, across in ((0.5, 0.5), (0.5, -0.5), (-0.5, -0.5), (-0.5, 0.5)):
        dx, dz = along * line.l, across * line.w
        x = math.cos(line.ry) * dx + math.sin(line.ry) * dz + line.x
        z = -math.sin(line.ry) * dx + math.cos(line.ry) * dz + line.z
        corners.append((x, z))
    return Polygon(corners)


@lru_cache(maxsize=1 << 18)
def shared_ground(a, b):
    """Area that two footprints share; those whose circles do not meet share nothing."""
    reach = math.hypot(a.l, a.w) / 2 + math.hypot(b.l, b.w) / 2
    if math.hypot(a.x - b.x, a.z - b.z) > reach + 1e-6 or 0 in (a.l, a.w, b.l, b.w):
        return 0.0
    return outline(a).intersection(outline(b)).area


def ground_overlap(a, b, criterion):
    shared = shared_ground(a, b)
    a_area, b_area = abs(a.l * a.w), abs(b.l * b.w)
    return divided(shared, a_area + b_area - shared) if criterion == -1 else divided(shared, a_area)


def volume_overlap(a, b, criterion):
    low, high = min(a.y, b.y), max(a.y - a.h, b.y - b.h)
    shared = shared_ground(a, b) * max(0.0, low - high)
    a_volume, b_volume = a.h * a.l * a.w, b.h * b.l * b.w
    return divided(shared, a_volume + b_volume - shared) if criterion == -1 else divided(shared, a_volume)


OVERLAPS = {"2d": image_overlap, "bev": ground_overlap, "3d": volume_overlap}


def clean_data(name, truths, detections, level):
    min_height, max_occlusion, max_truncation = LEVELS[level]
    ignored_truths, ignored_detections, regions, count = [], [], [], 0
    for truth in truths:
        kind = truth.type.lower()
        if kind == name.lower():
            valid = 1
        elif NEIGHBOR.get(name.lower()) == kind:
            valid = 0
        else:
            valid = -1
        ignore = truth.occluded > max_occlusion or truth.truncated > max_truncation or truth.y2 - truth.y1 <= min_height
        if valid == 1 and not ignore:
            ignored_truths.append(0)
            count += 1
        elif valid == 0 or (ignore and valid == 1):
            ignored_truths.append(1)
        else:
            ignored_truths.append(-1)
        if kind == "dontcare":
            regions.append(truth)
    for detection in detections:
        height = int(abs(detection.y1 - detection.y2))
        if height < min_height:
            ignored_detections.append(1)
        elif detection.type.lower() == name.lower():
            ignored_detections.append(0)
        else:
            ignored_detections.append(-1)
    return ignored_truths, ignored_detections, regions, count


class Statistics:
    def __init__(self):
        self.scores, self.similarity, self.tp, self.fp, self.fn = [], 0.0, 0, 0, 0


def compute_statistics(frame, ignored, min_overlap, overlap, with_fp, threshold):  # noqa: C901
    truths, detections, regions = frame
    ignored_truths, ignored_detections = ignored
    stats, deltas = Statistics(), []
    assigned = [False] * len(detections)
    below = [with_fp and detection.score < threshold for detection in detections]
    for i, truth in enumerate(truths):
        if ignored_truths[i] == -1:
            continue
        taken, valid, max_overlap, took_ignored = -1, NO_DETECTION, 0.0, False
        for j, detection in enumerate(detections):
            if ignored_detections[j] == -1 or assigned[j] or below[j]:
                continue
            value = overlap(detection, truth, -1)
            if not with_fp and value > min_overlap and detection.score > valid:
                taken, valid = j, detection.score
            elif (
                with_fp and value > min_overlap and (value > max_overlap or took_ignored) and not ignored_detections[j]
            ):
                max_overlap, taken, valid, took_ignored = value, j, 1.0, False
            elif with_fp and value > min_overlap and valid == NO_DETECTION and ignored_detections[j] == 1:
                taken, valid, took_ignored = j, 1.0, True
        if valid == NO_DETECTION and ignored_truths[i] == 0:
            stats.fn += 1
        elif valid != NO_DETECTION and (ignored_truths[i] == 1 or ignored_detections[taken] == 1):
            assigned[taken] = True
        elif valid != NO_DETECTION:
            stats.tp += 1
            stats.scores.append(detections[taken].score)
            deltas.append(truth.alpha - detections[taken].alpha)
            assigned[taken] = True
    if with_fp:
        for j in range(len(detections)):
            if not (assigned[j] or ignored_detections[j] == -1 or ignored_detections[j] == 1 or below[j]):
                stats.fp += 1
        for region in regions:
            for j, detection in enumerate(detections):
                if assigned[j] or ignored_detections[j] != 0 or below[j]:
                    continue
                if overlap(detection, region, 0) > min_overlap:
                    assigned[j] = True
                    stats.fp -= 1
        stats.similarity = sum((1.0 + math.cos(delta)) / 2.0 for delta in deltas)
    return stats


def get_thresholds(scores, count):
    scores = sorted(scores, reverse=True)
    thresholds, current = [], 0.0
    for i, score in enumerate(scores):
        left = (i + 1) / count
        right = (i + 2) / count if i < len(scores) - 1 else left
        if right - current < current - left and i < len(scores) - 1:
            continue
        thresholds.append(score)
        current += 1.0 / (41 - 1.0)
    return thresholds


def max_element(values):
    """C++'s: a NaN in front stays, one behind is never larger."""
    best = values[0]
    for value in values[1:]:
        if best < value:
            best = value
    return best


def eval_class(name, kind, level, truths, detections, min_overlap):
    """Precision and orientation similarity, 41 values each, and the number of labels that count."""
    overlap, frames, total, scores = OVERLAPS[kind], [], 0, []
    for some_truths, some_detections in zip(truths, detections, strict=True):
        ignored_truths, ignored_detections, regions, count = clean_data(name, some_truths, some_detections, level)
        frames.append(((some_truths, some_detections, regions), (ignored_truths, ignored_detections)))
        total += count
    for frame, ignored in frames:
        scores += compute_statistics(frame, ignored, min_overlap, overlap, False, 0.0).scores
    thresholds = get_thresholds(scores, total)
    precision, similarity = [0.0] * 41, [0.0] * 41
    for row, threshold in enumerate(thresholds):
        every = [compute_statistics(frame, ignored, min_overlap, overlap, True, threshold) for frame, ignored in frames]
        tp, fp = sum(part.tp for part in every), sum(part.fp for part in every)
        precision[row] = divided(tp, tp + fp)
        similarity[row] = divided(sum(part.similarity for part in every), tp + fp)
    for row in range(len(thresholds)):
        precision[row] = max_element(precision[row:])
        similarity[row] = max_element(similarity[row:])
    return precision, similarity, total
