from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from understudy.bags.reader import BagReader
from understudy.cli import build_app
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError, UnderstudyError
from understudy.images import image_size_px
from understudy_training.data.pictures import edges_in_picture
from understudy_training.data.showing import chosen
from understudy_training.data.showing_bag import LABEL_MARKERS_TOPIC


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


@pytest.mark.data
def test_a_bag_to_look_at_takes_rigs_that_differ(data_root, tmp_path):
    out = tmp_path / "bag"
    command = ["dataset", "show", str(data_root / "kitti" / "object"), "--as", "mcap", "--out", str(out)]
    assert not build_app()(args=[*command, "--frames", ":2"], standalone_mode=False)
    with BagReader(out) as bag:
        counts = {name: topic.num_messages for name, topic in bag.topics.items()}
        first = next(iter(bag.messages([LABEL_MARKERS_TOPIC])))
        markers = bag.decode(first).markers
    assert counts["/tf_static"] == 2
    assert counts["/sensors/velodyne/points"] == counts[LABEL_MARKERS_TOPIC] == 2
    assert len(markers) == 1 + 1 + 1  # the deletion, the pedestrian, its name


@pytest.mark.data
def test_rerun_says_how_to_get_it(data_root, tmp_path):
    command = ["dataset", "show", str(data_root / "nuscenes"), "--as", "rerun", "--out", str(tmp_path / "a.rrd")]
    if find_spec("rerun") is None:
        with pytest.raises(UnderstudyError, match=r"module rerun: found not installed.*understudy\[rerun\]"):
            build_app()(args=command, standalone_mode=False)
    else:
        assert not build_app()(args=command, standalone_mode=False)
        assert (tmp_path / "a.rrd").stat().st_size > 100_000
