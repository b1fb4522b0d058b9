from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from understudy.cli import build_app
from understudy.datasets.scenes import ScenesDataset
from understudy.errors import InputError
from understudy_training.data.checking import check_dataset
from understudy_training.data.findings import CheckReport, describe
from understudy_training.scenes.config import LidarConfig, SceneConfig
from understudy_training.scenes.writer import make_scenes


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Two drives of five frames, one of them for validation."""
    folder = tmp_path_factory.mktemp("checked") / "scenes"
    lidar = LidarConfig(beams=32, azimuth_steps=360)
    make_scenes(SceneConfig(seed=3, num_drives=2, num_val_drives=1, num_frames=5, lidar=lidar), folder)
    return folder


@pytest.fixture
def damaged(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "scenes"))


def edit(file: Path, **changes) -> None:
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(file, **(arrays | {name: change(arrays[name]) for name, change in changes.items()}))


def frame_files(folder: Path, split: str) -> list[Path]:
    drives = [drive.name for drive in ScenesDataset(folder, split).drives]
    return sorted(file for drive in drives for file in (folder / "drives" / drive / "frames").glob("*.npz"))


def rules(report: CheckReport, severity: str | None = None) -> list[str]:
    return [finding.rule for finding in report.findings if severity in {None, finding.severity}]


def test_generated_scenes_are_without_error(whole):
    report = check_dataset(whole)
    assert set(report.splits) == {"train", "val"}
    assert sum(report.splits.values()) == 10
    assert rules(report, "error") == []


def test_one_broken_file_hides_nothing_else(damaged):
    first, _, third, *_ = frame_files(damaged, "train")
    first.write_bytes(first.read_bytes()[:1000])
    edit(third, boxes=lambda boxes: boxes * np.float32([1, 1, 1, np.nan, 1, 1, 1]))
    report = check_dataset(damaged)
    broken = [finding for finding in report.findings if finding.rule == "cannot be read"]
    assert len(broken) == 1
    assert str(first) in broken[0].message
    assert "box that cannot be" in rules(report, "error")
    assert report.splits["train"] == 4


def test_a_picture_that_is_none_is_named_unless_pictures_are_left_out(damaged):
    picture = next(iter(sorted(damaged.glob("drives/*/camera/*.jpg"))))
    picture.write_bytes(b"no picture")
    named = [finding.message for finding in check_dataset(damaged).findings if finding.rule == "cannot be read"]
    assert len(named) == 1
    assert str(picture) in named[0]
    assert "cannot be read" not in rules(check_dataset(damaged, images=False))


@pytest.mark.parametrize(
    ("changes", "rule", "severity"),
    [
        ({"boxes": lambda boxes: boxes * np.float32([1, 1, 1, 60, 1, 1, 1])}, "box that cannot be", "error"),
        ({"boxes": lambda boxes: boxes + np.float32([0, 0, 9, 0, 0, 0, 0])}, "box far from the road", "warning"),
        ({"boxes": lambda boxes: np.repeat(boxes[:1], len(boxes), axis=0)}, "box labeled twice", "warning"),
        ({"boxes": lambda boxes: boxes * np.float32([-1, 1, 1, 1, 1, 1, 1])}, "returns in a box", "warning"),
        ({"track_ids": lambda ids: np.full_like(ids, 7)}, "track on several boxes", "error"),
        ({"points": lambda points: points * np.nan}, "cloud without a point", "error"),
        ({"points": lambda points: points * np.float32(1000)}, "cloud that a pipeline refuses", "warning"),
        ({"points": lambda points: points * np.float32([1, 1, 1, 255])}, "cloud that a pipeline refuses", "warning"),
        ({"points": lambda points: _every_tenth_nan(points)}, "points that are not finite", "warning"),
        ({"stamp_ns": lambda stamp: stamp - 10**9}, "stamps that do not rise", "error"),
        ({"world_from_ego": lambda pose: _moved(pose, 500.0)}, "vehicle jumps", "warning"),
        ({"labels": lambda labels: (labels + 1) % 4}, "track changes class", "warning"),
    ],
)
def test_each_fault_is_found_by_its_rule(damaged, changes, rule, severity):
    edit(frame_files(damaged, "train")[2], **changes)
    assert rule in rules(check_dataset(damaged), severity)


def _every_tenth_nan(points):
    points[::10] = np.nan
    return points


def _moved(pose, meters):
    pose[0, 3] += meters
    return pose


def test_a_frame_that_stands_in_both_splits_is_a_leak(damaged):
    shutil.copy(frame_files(damaged, "train")[1], frame_files(damaged, "val")[3])
    assert "cloud in two splits" in rules(check_dataset(damaged), "error")
    assert "cloud in two splits" not in rules(check_dataset(damaged, ["train"]))


def test_a_frame_twice_in_a_split_is_told(damaged):
    first, second, *_ = frame_files(damaged, "train")
    shutil.copy(first, second)
    assert "cloud twice" in rules(check_dataset(damaged), "error")


def test_a_drive_cut_into_both_splits_is_a_leak(damaged):
    description = (damaged / "dataset.yaml").read_text()
    name = ScenesDataset(damaged, "train").drives[0].name
    entry = f"- name: '{name}'" if f"'{name}'" in description else f"- name: {name}"
    assert entry in description
    block = description[description.index(entry) :].split("\n- ")[0]
    extra = "\n".join(line for line in block.split("\n")[:3]).replace("train", "val")
    (damaged / "dataset.yaml").write_text(description.replace(entry, f"{extra}\n{entry}", 1))
    found = rules(check_dataset(damaged), "error")
    assert "drive in two splits" in found
    assert "cloud in two splits" in found


def test_the_text_names_every_rule_once_and_counts(damaged):
    for file in frame_files(damaged, "train"):
        edit(file, boxes=lambda boxes: boxes + np.float32([0, 0, 9, 0, 0, 0, 0]))
    report = check_dataset(damaged)
    lines = describe(report, most=2)
    heads = [line for line in lines if "box far from the road" in line]
    assert heads == [f"warning  box far from the road: {rules(report).count('box far from the road')}"]
    assert any(line.endswith("more") for line in lines)


def test_the_command_ends_with_1_on_errors_and_writes_them(damaged, tmp_path):
    frame_files(damaged, "val")[0].unlink()
    out = tmp_path / "findings.json"
    status = build_app()(args=["dataset", "check", str(damaged), "--out", str(out)], standalone_mode=False)
    assert status == 1
    record = json.loads(out.read_text())
    assert [finding["rule"] for finding in record["findings"] if finding["severity"] == "error"] == ["cannot be read"]


def turn(quarters: int, every: int = 1):
    """Wrongs the yaw of every so many frames."""

    def changed(number: int, geometry: np.ndarray) -> np.ndarray:
        return geometry + np.float32([0, 0, 0, 0, 0, 0, quarters * np.pi / 2 * (number % every == 0)])

    return changed


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (turn(1), {"moves aside of its heading"}),
        (turn(2), {"moves aside of its heading"}),
        (turn(2, every=2), {"track turns around"}),
        (turn(0), set()),
    ],
)
def test_yaw_that_is_wrong_shows_in_how_tracks_move(whole, damaged, wrong, found):
    for number, file in enumerate(frame_files(damaged, "train")):
        edit(file, boxes=lambda geometry, number=number: wrong(number, geometry))
    headings = {"moves aside of its heading", "track turns around"}
    assert headings & set(rules(check_dataset(damaged, images=False), "warning")) == found


@pytest.mark.data
@pytest.mark.parametrize(("name", "split"), [("pandaset/002", "all"), ("argoverse2", "val")])
def test_real_objects_look_where_they_drive(data_root, name, split):
    found = rules(check_dataset(data_root / name, [split], images=False))
    assert not {"moves aside of its heading", "track turns around"} & set(found)


@pytest.mark.parametrize("frames", [0, -1])
def test_looking_at_nothing_is_no_clean_bill(whole, frames):
    with pytest.raises(InputError, match=f"frames to check: found {frames}, wanted at least 1"):
        check_dataset(whole, num_frames=frames)


@pytest.mark.data
@pytest.mark.parametrize("name", ["kitti/object", "pandaset/002", "nuscenes"])
def test_real_recordings_are_without_error(data_root, name):
    report = check_dataset(data_root / name)
    assert rules(report, "error") == []
    assert rules(report, "warning") == []


@pytest.mark.data
def test_a_list_of_frames_that_is_broken_is_no_missing_split(data_root, tmp_path):
    copy = Path(shutil.copytree(data_root / "kitti" / "object", tmp_path / "kitti"))
    (copy / "ImageSets" / "val.txt").write_text("000134\nnot a frame\n")
    with pytest.raises(InputError, match=r"val\.txt: found a frame 'not'"):
        check_dataset(copy)
    (copy / "ImageSets" / "val.txt").write_text("000134\n")
    assert check_dataset(copy, images=False).splits == {"train": 6, "val": 1}
