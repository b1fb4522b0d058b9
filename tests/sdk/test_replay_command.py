"""`understudy replay` as a command, and on real recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.sdk.replay_cases import pipeline_for, write_drive
from understudy.cli import build_app
from understudy.datasets.kitti_raw import KittiRawDataset
from understudy.datasets.pandaset import PandasetSequence
from understudy.errors import BagError, GeometryError, InputError, UnderstudyError
from understudy.pipeline import open_pipeline
from understudy.recording import record_bag
from understudy.replay.player import ReplayOptions, replay_bag
from understudy.replay.summary import detections_digest
from understudy.rig import Rig, read_rig
from understudy.testing import simple_rig, tiny_bundle


@pytest.fixture
def rig() -> Rig:
    return simple_rig(camera=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student") / "bundle"
    tiny_bundle(folder)
    return folder


class TestCommand:
    def run(self, *words: object) -> Any:
        return CliRunner().invoke(build_app(), [str(word) for word in words])

    def test_replay_prints_the_table(self, tmp_path: Path, rig: Rig, bundle: Path) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        rig.write(bag / "rig.yaml")
        result = self.run("replay", bag, bundle, "--out", tmp_path / "out")
        assert result.exit_code == 0, result.output
        assert "read 6 = used" in result.output
        assert detections_digest(tmp_path / "out") in result.output

    def test_damage_prints_the_table_and_then_refuses(self, tmp_path: Path, rig: Rig, bundle: Path) -> None:
        bag = write_drive(tmp_path / "bag", rig)
        metadata = bag / "metadata.yaml"
        metadata.write_text(metadata.read_text().replace("message_count: 6", "message_count: 9"))
        rig.write(tmp_path / "rig.yaml")
        result = self.run("replay", bag, bundle, "--rig", tmp_path / "rig.yaml", "--out", tmp_path / "out")
        assert isinstance(result.exception, BagError)
        assert "6 frames before it are in" in str(result.exception)
        assert "read 6 = used" in result.output

    @pytest.mark.parametrize(
        ("words", "kind"),
        [
            (["--precision", "int3"], InputError),
            (["--rig", "absent.yaml"], InputError),
            (["--topic", "/nowhere"], BagError),
            (["--lidar", "roof"], GeometryError),
            (["--rate", "-1"], InputError),
        ],
    )
    def test_wrong_words_are_refused(
        self, tmp_path: Path, rig: Rig, bundle: Path, words: list[str], kind: type[UnderstudyError]
    ) -> None:
        bag = write_drive(tmp_path / "bag", rig, num=1)
        rig.write(bag / "rig.yaml")
        result = self.run("replay", bag, bundle, "--out", tmp_path / "out", *words)
        assert isinstance(result.exception, kind)
        assert "\n" not in str(result.exception)

    def test_without_a_rig(self, tmp_path: Path, rig: Rig, bundle: Path) -> None:
        result = self.run("replay", write_drive(tmp_path / "bag", rig, num=1), bundle, "--out", tmp_path / "out")
        assert "--rig RIG.yaml" in str(result.exception)
        result = self.run("replay", tmp_path / "absent", bundle, "--out", tmp_path / "out")
        assert "nothing there" in str(result.exception)


@pytest.mark.data
class TestRealRecordings:
    def recordings(self, data_root: Path, tmp_path: Path) -> Iterator[tuple[Path, int]]:
        raw = KittiRawDataset(next((data_root / "kitti/raw/2011_09_26").glob("*_sync")))
        pandaset = PandasetSequence(data_root / "pandaset/002")
        for name, dataset, images in (("kitti", raw, True), ("pandaset", pandaset, False)):
            for layout in ("plain", "shuffled"):
                bag = tmp_path / f"{name}_{layout}"
                yield record_bag(dataset, bag, layout=layout, images=images).bag, len(dataset)  # type: ignore[arg-type]

    def test_kitti_and_pandaset_in_both_layouts(self, tmp_path: Path, data_root: Path, bundle: Path) -> None:
        digests: dict[str, set[str]] = {}
        for bag, num_frames in self.recordings(data_root, tmp_path):
            rig = read_rig(bag / "rig.yaml")
            with open_pipeline(bundle, rig) as pipeline:
                options = ReplayOptions(cameras=bag.name.startswith("kitti"))
                one = replay_bag(bag, pipeline, tmp_path / f"{bag.name}_one", options)
                two = replay_bag(bag, pipeline, tmp_path / f"{bag.name}_two")
            assert one.num_frames == num_frames
            assert one.digest == two.digest
            assert one.num_detections > 0
            digests.setdefault(bag.name.split("_")[0], set()).add(one.digest)
        assert [len(found) for found in digests.values()] == [1, 1]

    def test_raw_packets_are_refused_with_their_topics(self, tmp_path: Path, data_root: Path) -> None:
        bag = next(path for path in (data_root / "bags/velodyne_vlp16").iterdir() if path.is_dir())
        with pytest.raises(BagError, match=r"velodyne_msgs/msg/VelodyneScan.*wanted any sensor_msgs/msg/PointCloud2"):
            replay_bag(bag, pipeline_for(simple_rig()), tmp_path / "out")
