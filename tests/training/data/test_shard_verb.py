"""`understudy dataset shard`: generated scenes as shards, read back equal, by the loop's own loader too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.sdk.test_shards import assert_same
from understudy.cli import build_app
from understudy.datasets.opening import open_dataset
from understudy.datasets.scenes import ScenesDataset
from understudy.datasets.shards import ShardedDataset
from understudy.datasets.sweeps import MultiSweep
from understudy_training.loop.order import epoch_order, shards_of
from understudy_training.scenes.config import LidarConfig, SceneConfig
from understudy_training.scenes.writer import make_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    config = SceneConfig(num_drives=2, num_val_drives=1, num_frames=3, lidar=LidarConfig(beams=16, azimuth_steps=180))
    make_scenes(config, folder, workers=1)
    return folder


def shard(*arguments: object) -> str:
    result = CliRunner().invoke(build_app(), ["dataset", "shard", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_split_of_scenes(scenes: Path, tmp_path: Path) -> None:
    output = shard(scenes, "--out", tmp_path / "out", "--split", "train", "--shard-mb", "0.1")
    assert "3 samples" in output
    original, copy = ScenesDataset(scenes, "train"), open_dataset(tmp_path / "out", "train")
    assert isinstance(copy, ShardedDataset)
    for index in range(3):
        assert_same(copy[index], original[index])
        assert copy.place(index) == original.place(index)
    shards = shards_of(copy, len(copy))
    assert shards is not None
    assert sorted(epoch_order(len(copy), 0, 0, shards).tolist()) == [0, 1, 2]


def test_sweeps_are_accumulated_before(scenes: Path, tmp_path: Path) -> None:
    shard(scenes, "--out", tmp_path / "out", "--sweeps", "2")
    copy, original = open_dataset(tmp_path / "out"), MultiSweep(ScenesDataset(scenes), 2)
    assert len(copy) == 6
    assert len(copy[1].frame.clouds["lidar"]) > len(ScenesDataset(scenes)[1].frame.clouds["lidar"])
    np.testing.assert_array_equal(copy[1].frame.clouds["lidar"].points, original[1].frame.clouds["lidar"].points)


@pytest.mark.data
def test_what_shards_do_not_tell_is_said(data_root: Path, tmp_path: Path) -> None:
    assert "labels only a part" in shard(data_root / "kitti" / "object", "--out", tmp_path / "out", "--no-images")
