from __future__ import annotations

import numpy as np
import pytest

from understudy.cli import build_app
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError
from understudy.images import image_size_px
from understudy_training.data.pictures import edges_in_picture
from understudy_training.data.showing import chosen


class Ten:
    def __len__(self) -> int:
        return 10


@pytest.mark.parametrize(("part", "numbers"), [("3", [0, 4, 9]), ("2:4", [2, 3]), (":2", [0, 1]), ("8:", [8, 9])])
def test_parts(part, numbers):
    assert chosen(Ten(), part) == numbers


@pytest.mark.parametrize("part", ["", "a", "1:2:3", "20:30", "0", "-1"])
def test_parts_that_choose_nothing_are_refused(part):
    with pytest.raises(InputError, match="--frames"):
        chosen(Ten(), part)


@pytest.mark.data
def test_edges_are_cut_in_front_of_the_camera(data_root):
    sample = open_dataset(data_root / "nuscenes")[0]
    camera = sample.rig.cameras["CAM_FRONT"]
    around = np.float32([[x, y, z] for z in (0, 2) for x, y in ((30, 3), (-30, 3), (-30, -3), (30, -3))])
    strokes = edges_in_picture(around, camera)
    assert strokes
    assert all(np.isfinite(stroke).all() for stroke in strokes)
    behind = around - np.float32([60, 0, 0])
    assert edges_in_picture(behind, camera) == []


@pytest.mark.data
@pytest.mark.parametrize(("name", "pictures"), [("kitti/object", 2), ("nuscenes", 1)])
def test_pictures_are_written_without_a_display(data_root, tmp_path, name, pictures, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    out = tmp_path / "shown"
    command = ["dataset", "show", str(data_root / name), "--out", str(out), "--frames", str(pictures)]
    assert not build_app()(args=command, standalone_mode=False)
    files = sorted(out.iterdir())
    assert len(files) == pictures
    assert all(min(image_size_px(file)) > 500 for file in files)
