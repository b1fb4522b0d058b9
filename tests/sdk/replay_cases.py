"""Small recordings and a counting student for the tests of replays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from understudy.bags.reader import BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.engines.engine import Engine
from understudy.frame import Image
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.images import compressed_image_message
from understudy.messages.transforms import rig_transforms_message
from understudy.pipeline import Pipeline
from understudy.rig import Rig
from understudy.testing import FakeEngine, road_cloud, tiny_contract

MS = 1_000_000
POINTS, IMAGE = "/sensors/lidar/points", "/sensors/front/image/compressed"
POINTS_TYPE = "sensor_msgs/msg/PointCloud2"


class CountingEngine(FakeEngine):
    """Says one box whose place depends on every byte of the points."""

    @classmethod
    def made(cls) -> CountingEngine:
        def answer(feeds: Any) -> dict[str, Any]:
            points = feeds["points"]
            x, y = (float(value) for value in points[:, :2].mean(axis=0))
            boxes = np.array([[x, y, 1.0, 4.0, 2.0, 1.5, 0.3]], np.float32)
            return {"boxes": boxes, "scores": np.array([0.9], np.float32), "labels": np.array([0], np.int32)}

        return cls(tiny_contract(), answer)


def pipeline_for(rig: Rig, *, uses_intensity: bool = False) -> Pipeline:
    contract = tiny_contract(uses_intensity=uses_intensity)
    engine: Engine = CountingEngine.made()
    return Pipeline(contract, engine, rig)


Edit = Callable[[int, Any], Any]


def write_drive(path: Path, rig: Rig, *, num: int = 6, edit: Edit | None = None, tf: Any = None) -> Path:
    """Sweeps every 100 ms, pictures 10 ms after each; `edit` changes the message of a sweep or gives raw bytes.

    `tf` is a rig, or a message, for `/tf_static`.
    """
    rng = np.random.default_rng(3)
    with BagWriter(path) as writer:
        if tf is not None:
            static = rig_transforms_message(make_message, tf, 1) if isinstance(tf, Rig) else tf
            writer.write("/tf_static", static, 1)
        for number in range(num):
            stamp_ns = (1000 + 100 * number) * MS
            cloud = road_cloud(rng, 400, stamp_ns=stamp_ns)
            message = cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)
            message = edit(number, message) if edit else message
            if isinstance(message, bytes):
                writer.write_raw(POINTS, POINTS_TYPE, message, stamp_ns + 40 * MS)
            else:
                writer.write(POINTS, message, stamp_ns + 40 * MS)
            image = Image(np.full((96, 160, 3), 20 * number, np.uint8), stamp_ns + 10 * MS, "front")
            writer.write(IMAGE, compressed_image_message(make_message, image), stamp_ns + 45 * MS)
    return path


def outputs(bag: Path, topic: str = "/understudy/detections") -> list[Any]:
    with BagReader(bag) as reader:
        return [reader.decode(message) for message in reader.messages([topic])]
