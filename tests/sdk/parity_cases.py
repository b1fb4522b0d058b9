"""What the tests of the parity ladder share: a road, a student whose answer is a function, rungs around it, boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from understudy.boxes import Boxes
from understudy.bundle.manifest import Contract, Tolerance
from understudy.datasets.dataset import Sample
from understudy.engines.engine import Arrays
from understudy.engines.opening import OpenedModel
from understudy.parity.rungs import Rung
from understudy.testing import CLASS_NAMES, FakeEngine, frame_of, road_cloud, simple_rig, tiny_contract

TOLERANCE = Tolerance(min_matched=0.9, position_m=0.3, size_m=0.3, yaw_rad=0.3, score=0.1)
TIGHT = Tolerance(min_matched=0.99, position_m=0.02, size_m=0.02, yaw_rad=0.02, score=0.01)
THRESHOLDS = np.full(len(CLASS_NAMES), 0.3, np.float32)
CONTRACT = tiny_contract(uses_intensity=True)
INTENSITY_SCALE = 255.0
_SIZES_M = np.array([[4.2, 1.8, 1.6], [8.0, 2.5, 3.2], [0.7, 0.6, 1.7], [1.8, 0.7, 1.6]], np.float32)


@dataclass(frozen=True)
class Drive:
    """Clouds of a road, the same for the same number."""

    num_frames: int = 6
    class_names: tuple[str, ...] = CLASS_NAMES
    fingerprint: str = "d" * 64

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Sample:
        cloud = road_cloud(np.random.default_rng(index), 600, intensity_scale=INTENSITY_SCALE, stamp_ns=index)
        rig = simple_rig(intensity_scale=INTENSITY_SCALE)
        return Sample(f"frame-{index}", frame_of(cloud), rig, boxes=None, segments={})


def toy_answer(feeds: Arrays) -> dict[str, np.ndarray]:
    """A box at every 40th point: its place from the point moved to ego, its score from the scaled intensity."""
    points = feeds["points"][::40]
    transform = feeds["ego_from_sensor"]
    centers = points[:, :3] @ transform[:, :3].T + transform[:, 3]
    labels = np.arange(len(points), dtype=np.int32) % len(CLASS_NAMES)
    yaw = np.arctan2(points[:, 1], points[:, 0])[:, None]
    scores = np.clip(points[:, 3] * feeds["intensity_factor"], 0, 1)
    scores[np.abs(scores - 0.3) < 0.11] = 0.5
    return {
        "boxes": np.concatenate([centers, _SIZES_M[labels], yaw], axis=1).astype(np.float32),
        "scores": scores.astype(np.float32),
        "labels": labels,
    }


Answer = Callable[[Arrays], Mapping[str, np.ndarray]]


def rung(name: str, answer: Answer = toy_answer, contract: Contract = CONTRACT, tolerance: Tolerance = TIGHT) -> Rung:
    return Rung(name, lambda: OpenedModel(contract, FakeEngine(contract, answer)), tolerance)


def with_boxes(change: Callable[[np.ndarray], None]) -> Answer:
    def answer(feeds: Arrays) -> dict[str, np.ndarray]:
        outputs = toy_answer(feeds)
        change(outputs["boxes"])
        return outputs

    return answer


def boxes_of(rows: Sequence[Sequence[float]], scores: Sequence[float], labels: Sequence[int]) -> Boxes:
    geometry = np.array(rows, np.float32).reshape(-1, 7)
    return Boxes(geometry, np.array(labels, np.int32), CLASS_NAMES, scores=np.array(scores, np.float32))


CAR = (10.0, 2.0, 0.8, 4.2, 1.8, 1.6, 0.1)
