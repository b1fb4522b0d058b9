"""Which boxes of successive sweeps are the same object: constant-velocity Kalman filters and greedy matching.

Sources: X. Weng et al., "3D Multi-Object Tracking: A Baseline and New Evaluation Metrics" (AB3DMOT, IROS 2020) for
tracking boxes by a Kalman filter with births and deaths; T. Yin et al., "Center-based 3D Object Detection and Tracking"
(CVPR 2021) for matching centers greedily, nearest first, within a distance by class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.boxes import Boxes
from understudy.configuration import Config
from understudy.errors import InputError

NO_TRACK = -1


class Gate(Config):
    """How far from where it is expected a box of a class may be."""

    distance_m: float = Field(2.0, gt=0)
    """From the place that the track's velocity leads to."""
    speed_mps: float = Field(25.0, ge=0)
    """Fastest that such an object moves: added, times the time passed, for a track whose velocity is not known yet."""


class TrackingSettings(Config):
    """How objects are followed."""

    gates: dict[str, Gate] = Field(
        default_factory=lambda: {
            "pedestrian": Gate(distance_m=1.0, speed_mps=3.0),
            "cyclist": Gate(distance_m=1.5, speed_mps=10.0),
        }
    )
    """Gates by class."""
    other_gate: Gate = Gate()
    """Gate of every other class."""
    max_gap_s: float = Field(0.55, gt=0)
    """Longest that a track lives on unseen."""
    acceleration_mps2: float = Field(3.0, gt=0)
    """Standard deviation of what changes the velocity."""
    position_noise_m: float = Field(0.25, gt=0)
    """Standard deviation of a box's center."""

    def gate(self, class_name: str) -> Gate:
        """The gate of a class."""
        return self.gates.get(class_name, self.other_gate)


class Filters:
    """Constant-velocity Kalman filters of many objects, advanced together.

    Attributes:
        means: `(T, 4)` x, y (m), vx, vy (m/s).
        covariances: `(T, 4, 4)`.
    """

    def __init__(self, means: NDArray[np.float64], covariances: NDArray[np.float64]) -> None:
        self.means, self.covariances = means, covariances

    @classmethod
    def born(cls, centers_m: NDArray[np.float64], speeds_mps: NDArray[np.float64], noise_m: float) -> Filters:
        """Filters of objects seen once, at `(T, 2)` centers, that move at most about as fast as said."""
        variances = np.stack([np.full(len(centers_m), noise_m**2)] * 2 + [speeds_mps**2] * 2, axis=1)
        return cls(np.hstack([centers_m, np.zeros_like(centers_m)]), variances[:, :, None] * np.eye(4))

    def predict(self, passed_s: float, settings: TrackingSettings) -> None:
        """Time passes."""
        step = motion(passed_s)
        self.means = self.means @ step.T
        self.covariances = step @ self.covariances @ step.T + motion_noise(passed_s, settings)

    def update(self, rows: NDArray[np.int64], centers_m: NDArray[np.float64], noise_m: float) -> None:
        """Some of them, by row, are seen at `(M, 2)` centers."""
        before = self.covariances[rows]
        innovation = before[:, :2, :2] + noise_m**2 * np.eye(2)
        gains = before[:, :, :2] @ np.linalg.inv(innovation)
        self.means[rows] += (gains @ (centers_m - self.means[rows, :2])[..., None])[..., 0]
        self.covariances[rows] = before - gains @ before[:, :2]

    def joined(self, other: Filters) -> Filters:
        """These and others."""
        return Filters(np.concatenate([self.means, other.means]), np.concatenate([self.covariances, other.covariances]))

    def chosen(self, kept: NDArray[np.bool_]) -> Filters:
        """Those that a mask keeps."""
        return Filters(self.means[kept], self.covariances[kept])


class Tracker:
    """Gives each box of each sweep an identity; sees one sweep after the other.

    Args:
        settings: how objects are followed.
    """

    def __init__(self, settings: TrackingSettings | None = None) -> None:
        self._settings = settings or TrackingSettings()
        self._filters = Filters(np.zeros((0, 4)), np.zeros((0, 4, 4)))
        self._labels = np.zeros(0, np.int32)
        self._ids = np.zeros(0, np.int64)
        self._seen_ns = np.zeros(0, np.int64)
        self._num_seen = np.zeros(0, np.int64)
        self._next_id = 0
        self._now_ns: int | None = None

    def update(self, stamp_ns: int, boxes: Boxes) -> NDArray[np.int64]:
        """`(N,)` identities of the boxes of a sweep, new ones for objects not seen before.

        Args:
            stamp_ns: time of the sweep.
            boxes: in a frame that does not move; better ones first where two are equally near.

        Raises:
            InputError: when the stamp is not after the one before.
        """
        self._advance(stamp_ns)
        centers_m = boxes.geometry[:, :2].astype(np.float64)
        rows = self._match(boxes, centers_m, stamp_ns)
        known = rows != NO_TRACK
        noise_m = self._settings.position_noise_m
        self._filters.update(rows[known], centers_m[known], noise_m)
        self._seen_ns[rows[known]] = stamp_ns
        self._num_seen[rows[known]] += 1
        ids = np.full(len(boxes), NO_TRACK, np.int64)
        ids[known] = self._ids[rows[known]]
        ids[~known] = self._give_birth(boxes[~known], stamp_ns)
        return ids

    def _advance(self, stamp_ns: int) -> None:
        """Moves the tracks to the sweep's time and lets those die that were not seen for too long."""
        if self._now_ns is not None:
            if stamp_ns <= self._now_ns:
                raise InputError("tracking", found=f"{stamp_ns} ns after {self._now_ns} ns", wanted="stamps that rise")
            self._filters.predict((stamp_ns - self._now_ns) / 1e9, self._settings)
        self._now_ns = stamp_ns
        alive: NDArray[np.bool_] = (stamp_ns - self._seen_ns) / 1e9 <= self._settings.max_gap_s
        self._filters = self._filters.chosen(alive)
        self._labels, self._ids = self._labels[alive], self._ids[alive]
        self._seen_ns, self._num_seen = self._seen_ns[alive], self._num_seen[alive]

    def _match(self, boxes: Boxes, centers_m: NDArray[np.float64], stamp_ns: int) -> NDArray[np.int64]:
        """`(N,)` row of each box's track; pairs of one class within its gate, nearest first."""
        offsets_m = centers_m[:, None] - self._filters.means[None, :, :2]
        distances_m: NDArray[np.float64] = np.hypot(offsets_m[..., 0], offsets_m[..., 1])
        gates = [self._settings.gate(boxes.class_names[label]) for label in self._labels]
        slack_s = np.where(self._num_seen == 1, (stamp_ns - self._seen_ns) / 1e9, 0.0)
        limits_m = np.array([gate.distance_m for gate in gates]) + slack_s * [gate.speed_mps for gate in gates]
        distances_m[(distances_m > limits_m) | (boxes.labels[:, None] != self._labels)] = np.inf
        return greedy_assignment(distances_m)

    def _give_birth(self, boxes: Boxes, stamp_ns: int) -> NDArray[np.int64]:
        speeds_mps = np.array([self._settings.gate(boxes.class_names[label]).speed_mps for label in boxes.labels])
        centers_m = boxes.geometry[:, :2].astype(np.float64)
        newborn = Filters.born(centers_m, speeds_mps, self._settings.position_noise_m)
        ids = self._next_id + np.arange(len(boxes))
        self._next_id += len(boxes)
        self._filters = self._filters.joined(newborn)
        self._labels = np.concatenate([self._labels, boxes.labels])
        self._ids = np.concatenate([self._ids, ids])
        self._seen_ns = np.concatenate([self._seen_ns, np.full(len(boxes), stamp_ns)])
        self._num_seen = np.concatenate([self._num_seen, np.ones(len(boxes), np.int64)])
        return ids


def greedy_assignment(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """`(N,)` column of each row, `NO_TRACK` where none is left: the cheapest pair first, infinite ones never.

    Args:
        costs: `(N, M)`.
    """
    columns = np.full(len(costs), NO_TRACK, np.int64)
    rows, others = np.nonzero(np.isfinite(costs))
    taken = np.zeros(costs.shape[1], bool)
    for pair in np.argsort(costs[rows, others], kind="stable"):
        row, column = rows[pair], others[pair]
        if columns[row] == NO_TRACK and not taken[column]:
            columns[row], taken[column] = column, True
    return columns


def motion(passed_s: float) -> NDArray[np.float64]:
    """`(4, 4)` of a state x, y, vx, vy: velocity is kept."""
    step = np.eye(4)
    step[0, 2] = step[1, 3] = passed_s
    return step


def motion_noise(passed_s: float, settings: TrackingSettings) -> NDArray[np.float64]:
    """`(4, 4)` covariance that a constant, unknown acceleration over that time adds."""
    gain = np.vstack([np.eye(2) * passed_s**2 / 2, np.eye(2) * passed_s])
    noise: NDArray[np.float64] = gain @ gain.T * settings.acceleration_mps2**2
    return noise
