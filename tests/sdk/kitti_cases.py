"""Random and adversarial KITTI frames as plain lines, and the same lines as the library takes them."""

from __future__ import annotations

import numpy as np

from tests.sdk.kitti_by_the_book import Line
from understudy.converters.kitti import KittiObjects

TRUTH_TYPES = ("Car", "Car", "Car", "Van", "Pedestrian", "Pedestrian", "Person_sitting", "Cyclist", "Truck", "DontCare")
NO_SIZE = (-1.0, -1.0, -1.0, -1000.0, -1000.0, -1000.0, -10.0)
SIZES = {"Car": (1.5, 1.6, 3.9), "Van": (2.0, 1.9, 4.8), "Truck": (3.0, 2.5, 9.0)}


def objects_of(lines, *, scored):
    rows = np.array([line[1:] for line in lines], np.float64).reshape(-1, 15)
    return KittiObjects(
        types=tuple(line.type for line in lines),
        truncated=rows[:, 0],
        occluded=rows[:, 1].astype(np.int64),
        alpha_rad=rows[:, 2],
        boxes_px=rows[:, 3:7],
        sizes_m=rows[:, 7:10],
        locations_m=rows[:, 10:13],
        rotations_y_rad=rows[:, 13],
        scores=rows[:, 14] if scored else None,
    )


def random_truth(random):
    name = str(random.choice(TRUTH_TYPES))
    left, top = random.uniform(0, 400), random.uniform(100, 200)
    height = float(random.choice([25.0, 26.0, 40.0, 41.0, random.uniform(15, 90)]))
    box = (left, top, left + random.uniform(10, 120), top + height)
    if name == "DontCare":
        return Line(name, -1.0, -1, -10.0, left - 40, top - 40, box[2] + 40, box[3] + 40, *NO_SIZE)
    alpha = random.uniform(-3.14, 3.14)
    truncated = float(random.choice([0.0, 0.15, 0.3, 0.31, 0.5, 0.9]))
    sizes = SIZES.get(name, (1.7, 0.6, 0.9))
    place = (random.uniform(-8, 8), random.uniform(1, 2), random.uniform(5, 25))
    return Line(name, truncated, int(random.integers(0, 4)), alpha, *box, *sizes, *place, random.uniform(-3.2, 3.2))


def near(line, random, spread, score):
    """A detection near a label: `spread` 0 repeats it exactly."""
    jitter = random.normal(0, 1, 11) * spread
    box = np.array(line[4:8]) + jitter[:4] * 6
    place = np.array(line[11:14]) + jitter[4:7] * 0.3
    sizes = np.abs(np.array(line[8:11]) * (1 + jitter[7:10] * 0.05))
    turn = line.ry + jitter[10] * 0.1
    if line.type == "DontCare":
        sizes, place, turn = (-1.0, -1.0, -1.0), (-1000.0, -1000.0, -1000.0), -10.0
    swaps = {"Van": "Car", "Person_sitting": "Pedestrian", "DontCare": "Car", "Truck": "Car"}
    name = swaps.get(line.type, line.type) if random.random() < 0.8 else str(random.choice(["Car", "Cyclist", "bus"]))
    name = name.upper() if random.random() < 0.1 else name
    alpha = line.alpha + jitter[0] if line.alpha > -9 else 0.3
    return Line(name, -1.0, -1, float(alpha), *map(float, (*box, *sizes, *place, turn)), score)


def random_frame(random, max_truths=6, max_copies=4):
    """Labels and detections that crowd, with ties, duplicates, exact copies and strays."""
    truths = [random_truth(random) for _ in range(random.integers(0, max_truths + 1))]
    if truths and random.random() < 0.5:  # a crowd: the same place again
        truths += [near(truths[0], random, 0.5, 0.0)._replace(type=truths[0].type, occluded=0, truncated=0.0)]
    coarse = random.random() < 0.5
    detections = []
    for truth in truths:
        for _ in range(random.integers(0, max_copies + 1)):
            score = float(random.integers(0, 4)) / 4 if coarse else float(random.normal())
            detections.append(near(truth, random, float(random.choice([0.0, 0.15, 0.5, 1.0])), score))
    for _ in range(random.integers(0, 3)):
        stray = random_truth(random)
        detections.append(near(stray, random, 0.2, float(random.random())))
    order = random.permutation(len(detections))
    return truths, [detections[row] for row in order]
