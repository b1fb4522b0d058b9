"""Six short generated drives, and networks that say what is there as far as points show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from understudy.boxes import Boxes
from understudy.bundle.manifest import Grid
from understudy.cli import build_app
from understudy.datasets.opening import open_dataset
from understudy.engines.opening import OpenedModel
from understudy.testing import FakeEngine, tiny_contract


@pytest.fixture(scope="session")
def drives(tmp_path_factory) -> Path:
    """Five drives of four frames to train on, one to evaluate on."""
    out: Path = tmp_path_factory.mktemp("xray") / "data"
    few = ["--drives", "6", "--frames", "4", "--val-drives", "1", "--no-camera", "--beams", "16", "--range-m", "30"]
    result = CliRunner().invoke(build_app(), ["scenes", str(out), *few, "--workers", "1"])
    assert result.exit_code == 0, result.output
    return out


class Knowing:
    """A stand-in for a trained network: it knows the boxes, and is the surer the more points lie in one.

    It also sees, with score `alarm`, a car where none is.
    """

    def __init__(self, data: Path, alarm: float = 0.3) -> None:
        dataset, self.alarm = open_dataset(data, "all"), alarm
        self.boxes: dict[bytes, Boxes] = {}
        for index in range(len(dataset)):
            sample = dataset[index]
            assert sample.boxes is not None
            self.boxes[sample.frame.clouds["lidar"].points[0].tobytes()] = sample.boxes
            self.ego_from_lidar = sample.rig.lidars["lidar"].ego_from_sensor.pose()

    def __call__(self, feeds: Any) -> dict[str, np.ndarray]:
        boxes = self.boxes[feeds["points"][0].tobytes()]
        counts = boxes.contains(self.ego_from_lidar.apply(feeds["points"][:, :3])).sum(axis=1)
        seen = np.flatnonzero(counts >= 3)
        geometry = np.concatenate([boxes.geometry[seen], [[0, 12, 1, 4, 2, 1.5, 0]]]).astype(np.float32)
        scores = np.append(np.minimum(0.35 + 0.005 * counts[seen], 0.95), self.alarm).astype(np.float32)
        return {"boxes": geometry, "scores": scores, "labels": np.append(boxes.labels[seen], 0).astype(np.int32)}

    def opened(self) -> OpenedModel:
        """The stand-in behind the engine contract."""
        grid = Grid(x_range_m=(-32, 32), y_range_m=(-32, 32), z_range_m=(-1, 3), cell_m=1.0)
        contract = tiny_contract().model_copy(update={"grid": grid})
        return OpenedModel(contract, FakeEngine(contract, self))
