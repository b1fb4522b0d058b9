"""A sharded copy is the data set it was made of, in bounded memory, and says which shard is damaged."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tests.sdk.fleet.drives import Drive
from understudy.boxes import Boxes
from understudy.converters.class_maps import ClassMap
from understudy.datasets.dataset import Dataset, Sample, Sequential
from understudy.datasets.image_files import ImageFiles
from understudy.datasets.npz_views import npz_views
from understudy.datasets.opening import open_dataset
from understudy.datasets.shard_writer import write_shards
from understudy.datasets.shards import ShardedDataset, ShardPictures
from understudy.errors import InputError
from understudy.frame import Frame, Image, PointCloud
from understudy.testing import road_cloud, simple_rig

SMALL_MB = 0.1


class Rich:
    """Everything a sample may hold: two drives, labels now and then, a picture in memory, times and rings."""

    class_names = ("car", "truck")
    fingerprint = "rich"

    def __init__(self, num: int = 9) -> None:
        self._num = num

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        plain = road_cloud(rng, 1000, stamp_ns=index)
        offsets_s = rng.uniform(-0.1, 0, 1000).astype(np.float32)
        cloud = PointCloud(plain.points, index, "lidar", offsets_s, rng.integers(0, 32, 1000).astype(np.int16))
        geometry = rng.uniform(1, 2, (index, 7)).astype(np.float32)
        boxes = Boxes(geometry, (np.arange(index) % 2).astype(np.int32), self.class_names) if index != 3 else None
        pixels = rng.integers(0, 255, (96, 160, 3)).astype(np.uint8)
        images = {"front": Image(pixels, index + 7, "front")} if index % 2 else {}
        return Sample(f"ключ/{index}", Frame(index, {"lidar": cloud}, images), simple_rig(camera=True), boxes, {})


def sharded(dataset: Dataset, folder: Path, shard_mb: float = SMALL_MB) -> ShardedDataset:
    write_shards(dataset, folder, source="test", shard_mb=shard_mb)
    return ShardedDataset(folder)


def assert_same_array(one: object, other: object) -> None:
    if one is None or other is None:
        assert one is other
        return
    assert isinstance(one, np.ndarray)
    assert isinstance(other, np.ndarray)
    assert one.dtype == other.dtype
    assert one.flags.aligned
    np.testing.assert_array_equal(one, other)


def assert_same(copy: Sample, sample: Sample) -> None:
    """Equal to the last bit, pictures byte for byte where they were files."""
    assert (copy.key, copy.frame.stamp_ns) == (sample.key, sample.frame.stamp_ns)
    assert copy.rig == sample.rig
    poses = [frame.world_from_ego for frame in (copy.frame, sample.frame)]
    assert_same_array(*[None if pose is None else pose.matrix for pose in poses])
    assert list(copy.frame.clouds) == list(sample.frame.clouds)
    for name, cloud in sample.frame.clouds.items():
        twin = copy.frame.clouds[name]
        assert (twin.stamp_ns, twin.frame_id) == (cloud.stamp_ns, cloud.frame_id)
        for column in ("points", "time_offset_s", "ring"):
            assert_same_array(getattr(twin, column), getattr(cloud, column))
    assert (copy.boxes is None) == (sample.boxes is None)
    for entry in fields(Boxes) if sample.boxes is not None else ():
        one, other = getattr(copy.boxes, entry.name), getattr(sample.boxes, entry.name)
        assert one == other if entry.name == "class_names" else assert_same_array(one, other) is None
    assert list(copy.segments) == list(sample.segments)
    for name, segments in sample.segments.items():
        assert copy.segments[name].class_names == segments.class_names
        assert_same_array(copy.segments[name].labels, segments.labels)
    assert_same_pictures(copy, sample)


def assert_same_pictures(copy: Sample, sample: Sample) -> None:
    images, pictures = sample.frame.images, copy.frame.images
    assert list(pictures) == list(images)
    assert isinstance(pictures, ShardPictures)
    for name in images:
        if isinstance(images, ImageFiles):
            file, picture = images.file(name), pictures.picture(name)
            assert picture.data == file.path.read_bytes()
            assert (picture.entry.stamp_ns, picture.entry.frame_id) == (file.stamp_ns, file.frame_id)
        else:
            assert_same_array(pictures[name].pixels, images[name].pixels)
            assert pictures[name].stamp_ns == images[name].stamp_ns


class TestEqual:
    def test_everything_a_sample_may_hold(self, tmp_path: Path) -> None:
        copy = sharded(Rich(), tmp_path / "shards")
        assert len(copy) == 9
        assert len(copy.description.shards) > 1
        for index in (8, 0, 3, 5, 1, 2, 4, 6, 7):
            assert_same(copy[index], Rich()[index])
        assert copy[-1].key == copy[8].key
        with pytest.raises(IndexError):
            copy[9]

    @pytest.mark.data
    @pytest.mark.parametrize("name", ["kitti/object", "pandaset/002", "semantickitti", "nuscenes", "argoverse2"])
    def test_real_recordings(self, data_root: Path, tmp_path: Path, name: str) -> None:
        original = open_dataset(data_root / name)
        write_shards(original, tmp_path / "shards", source=name, shard_mb=5)
        copy = open_dataset(tmp_path / "shards")
        assert isinstance(copy, ShardedDataset)
        assert (len(copy), copy.class_names) == (len(original), original.class_names)
        for index in range(len(original)):
            assert_same(copy[index], original[index])
            if isinstance(original, Sequential):
                assert copy.place(index) == original.place(index)
        copy.verify()

    def test_a_copy_of_a_copy(self, tmp_path: Path) -> None:
        first = sharded(Rich(), tmp_path / "first")
        second = sharded(first, tmp_path / "second", shard_mb=1000)
        assert len(second.description.shards) == 1
        for index in range(9):
            assert_same(second[index], Rich()[index])

    def test_any_tar_can_open_a_shard(self, tmp_path: Path) -> None:
        copy = sharded(Rich(), tmp_path / "shards", shard_mb=1000)
        with tarfile.open(tmp_path / "shards" / copy.description.shards[0].file) as archive:
            names = archive.getnames()
            member = archive.extractfile("000000001.npz")
            assert member is not None
            with np.load(member, allow_pickle=False) as arrays:
                np.testing.assert_array_equal(arrays["lidar0.points"], Rich()[1].frame.clouds["lidar"].points)
        assert names[:5] == [
            *("000000000.npz", "000000000.rig.json"),
            *("000000001.npz", "000000001.rig.json", "000000001.0.front.png"),
        ]

    def test_classes_may_be_mapped_anew(self, tmp_path: Path) -> None:
        write_shards(Rich(), tmp_path / "shards", source="test")
        only_trucks = ClassMap(class_names=("big",), of={"truck": "big"})
        sample = ShardedDataset(tmp_path / "shards", classes=only_trucks)[8]
        assert sample.boxes is not None
        assert (sample.boxes.class_names, len(sample.boxes)) == (("big",), 4)
        with pytest.raises(InputError, match="class map official"):
            open_dataset(tmp_path / "shards", classes="official")

    def test_pictures_left_out(self, tmp_path: Path) -> None:
        write_shards(Rich(), tmp_path / "shards", source="test", images=False)
        assert not ShardedDataset(tmp_path / "shards")[1].frame.images
        write_shards(Rich(), tmp_path / "with", source="test")
        assert not ShardedDataset(tmp_path / "with", images=False)[1].frame.images


class TestReading:
    def test_the_split_is_remembered(self, tmp_path: Path) -> None:
        write_shards(Rich(), tmp_path / "shards", source="test", split="train")
        assert len(open_dataset(tmp_path / "shards", "train")) == len(open_dataset(tmp_path / "shards", "all")) == 9
        with pytest.raises(InputError, match="split val: found shards of the split train"):
            open_dataset(tmp_path / "shards", "val")

    def test_pickled_and_forked_it_opens_the_files_anew(self, tmp_path: Path) -> None:
        copy = sharded(Rich(), tmp_path / "shards")
        copy[0]
        assert_same(pickle.loads(pickle.dumps(copy))[4], Rich()[4])
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(_KeyOf(copy), range(9)) == [Rich()[index].key for index in range(9)]

    def test_a_samples_pictures_travel_without_the_index(self, tmp_path: Path) -> None:
        copies = [sharded(Rich(num), tmp_path / f"{num}") for num in (4, 40)]
        sizes = [len(pickle.dumps(copy[1].frame.images)) for copy in copies]
        assert abs(sizes[1] - sizes[0]) < 50, "what travels does not grow with the data set"
        assert_same_array(
            pickle.loads(pickle.dumps(copies[0][1])).frame.images["front"].pixels,
            Rich()[1].frame.images["front"].pixels,
        )

    def test_arrays_may_be_written_to(self, tmp_path: Path) -> None:
        cloud = sharded(Rich(), tmp_path / "shards")[2].frame.clouds["lidar"]
        cloud.points[0] = 0.0

    def test_memory_does_not_grow_with_the_data(self, tmp_path: Path) -> None:
        copy = sharded(Drive(0, num=40, num_points=50_000), tmp_path / "shards", shard_mb=8)
        total = sum(shard.size_bytes for shard in copy.description.shards)
        copy[0]
        tracemalloc.start()
        try:
            points = sum(len(copy[index].frame.clouds["lidar"]) for index in range(len(copy)))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert points == 40 * 50_000
        assert total > 32_000_000
        assert peak < total / 6

    def test_a_process_that_may_not_hold_the_data_reads_all_of_it(self, tmp_path: Path) -> None:
        """140 MB of shards under a limit of what Python and numpy need and 60 MB."""
        write_shards(Drive(0, num=70, num_points=125_000), tmp_path / "shards", source="test", shard_mb=20)
        code = (
            "import resource, sys; from pathlib import Path\n"
            "from understudy.datasets.shards import ShardedDataset\n"
            "data = ShardedDataset(Path(sys.argv[1])); data[0]\n"
            "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000,) * 2)\n"
            "print(sum(len(data[index].frame.clouds['lidar']) for index in range(len(data))))\n"
            "kept = [data[index] for index in range(len(data))]\n"
        )
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        arguments = [sys.executable, "-c", code, str(tmp_path / "shards")]
        done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
        assert done.stdout.split() == [str(70 * 125_000)], done.stderr
        assert "MemoryError" in done.stderr  # holding everything is what the limit forbids

    def test_the_shard_of_each(self, tmp_path: Path) -> None:
        copy = sharded(Rich(), tmp_path / "shards")
        held = [entry.num_samples for entry in copy.description.shards]
        wanted = [shard for shard, count in enumerate(held) for _ in range(count)]
        assert [copy.shard_of(index) for index in range(9)] == wanted
        assert copy.shard_of(-1) == wanted[-1]


class TestWriting:
    def test_killed_and_called_again_it_keeps_whole_shards(self, tmp_path: Path) -> None:
        whole = sharded(Rich(), tmp_path / "whole")

        reads: list[int] = []

        class Dying(Rich):
            def __getitem__(self, index: int) -> Sample:
                reads.append(index)
                if index == 6 and reads.count(6) == 1:
                    raise KeyboardInterrupt
                return super().__getitem__(index)

        with pytest.raises(KeyboardInterrupt):
            write_shards(Dying(), tmp_path / "out", source="test", shard_mb=SMALL_MB)
        assert not (tmp_path / "out").exists()
        assert reads == list(range(7))
        write_shards(Dying(), tmp_path / "out", source="test", shard_mb=SMALL_MB)
        assert 0 not in reads[7:]
        assert ShardedDataset(tmp_path / "out").description == whole.description
        assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {
            file.name: file.read_bytes() for file in (tmp_path / "whole").iterdir()
        }

    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(InputError, match="something there already"):
            write_shards(Rich(), tmp_path / "out", source="test")
        sharded(Rich(), tmp_path / "shards")
        with pytest.raises(InputError, match="a sharded data set"):
            write_shards(Rich(), tmp_path / "shards", source="test")
        with pytest.raises(InputError, match="0 samples"):
            write_shards(Rich(0), tmp_path / "none", source="test")


class TestDamage:
    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        sharded(Rich(), tmp_path / "shards")
        return tmp_path / "shards"

    def test_a_shard_that_was_cut_short_or_is_missing(self, copy: Path) -> None:
        shard = copy / "shard-000001.tar"
        dataset, whole = ShardedDataset(copy), shard.read_bytes()
        shard.write_bytes(whole[:2000])
        with pytest.raises(InputError, match=r"shard-000001\.tar: found 2000 bytes, wanted"):
            ShardedDataset(copy)
        index = [dataset.shard_of(number) for number in range(9)].index(1)
        with pytest.raises(InputError, match=r"shard-000001\.tar: found an end at 2000 bytes"):
            dataset[index]
        shard.unlink()
        with pytest.raises(InputError, match=r"shard-000001\.tar: found no such file"):
            ShardedDataset(copy)

    def test_a_shard_that_was_changed(self, copy: Path) -> None:
        shard = copy / "shard-000000.tar"
        changed = bytearray(shard.read_bytes())
        changed[3000] ^= 1
        shard.write_bytes(changed)
        dataset = ShardedDataset(copy)
        with pytest.raises(InputError, match=r"shard-000000\.tar: ключ/0: found another checksum"):
            dataset[0]
        with pytest.raises(InputError, match=r"shard-000000\.tar: sha256"):
            dataset.verify()

    def test_an_index_that_does_not_fit(self, copy: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        shutil.copytree(copy, other)
        (other / "index.npz").write_bytes(b"nothing")
        with pytest.raises(InputError, match=r"index\.npz: found another file than the index names"):
            ShardedDataset(other)
        values = json.loads((copy / "index.json").read_text())
        (copy / "index.json").write_text(json.dumps(values | {"schema_version": 9}))
        with pytest.raises(InputError, match=r"index\.json: schema_version: found 9, wanted 1"):
            ShardedDataset(copy)
        (copy / "index.json").write_text("{")
        with pytest.raises(InputError, match=r"index\.json"):
            ShardedDataset(copy)

    def test_arrays_of_a_damaged_npz(self) -> None:
        for data in (b"", b"PK\x03\x04 nothing", bytes(100)):
            with pytest.raises(InputError, match="here: found"):
                npz_views(memoryview(data), "here")


class _KeyOf:
    """Picklable for a pool."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __call__(self, index: int) -> str:
        return self._dataset[index].key
