from __future__ import annotations

import pickle
import shutil
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather

from understudy.converters.class_maps import ARGOVERSE2_CATEGORIES, ClassMap
from understudy.datasets.argoverse2 import DOWN_LIDAR, LIDAR, UP_LIDAR, Argoverse2Dataset
from understudy.datasets.argoverse2_log import track_velocities_mps
from understudy.datasets.opening import open_dataset
from understudy.errors import InputError, UnderstudyError
from understudy.images import encode_jpeg
from understudy.interior import count_points_inside

LOG = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"
STAMP_NS = 315_966_265_259_836_000
CATEGORIES = {*ARGOVERSE2_CATEGORIES, "ANIMAL", "OFFICIAL_SIGNALER", "RAILED_VEHICLE", "TRAFFIC_LIGHT_TRAILER"}
ALL = ClassMap(class_names=("any",), of=dict.fromkeys(CATEGORIES, "any"))


@pytest.fixture
def log(data_root):
    return data_root / "argoverse2" / "sensor" / "val" / LOG


@pytest.fixture
def copied(log, tmp_path):
    """A log of one sweep that a test may damage."""
    place = tmp_path / "val" / LOG
    for name in (
        f"sensors/lidar/{STAMP_NS}.feather",
        "annotations.feather",
        "city_SE3_egovehicle.feather",
        "calibration/intrinsics.feather",
        "calibration/egovehicle_SE3_sensor.feather",
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log / name, place / name)
    return place


def points_ego(sample, name=LIDAR):
    return sample.rig.lidars[name].ego_from_sensor.pose().apply(sample.frame.clouds[name].points[:, :3])


@pytest.mark.data
def test_one_cloud_holds_both_lidars_with_laser_numbers_and_firing_times(log):
    sample = Argoverse2Dataset(log)[0]
    cloud = sample.frame.clouds[LIDAR]
    assert len(cloud) == 99_229
    assert sorted(set(cloud.ring.tolist())) == list(range(64))
    assert cloud.time_offset_s.min() == pytest.approx(0.002654)
    assert cloud.time_offset_s.max() == pytest.approx(0.106, abs=1e-3)
    assert cloud.points[:, 3].max() == sample.rig.lidars[LIDAR].intensity_scale == 255
    assert sample.frame.stamp_ns == cloud.stamp_ns == STAMP_NS
    assert sample.rig.lidar()[0] == LIDAR, "one LiDAR: a student need not say which"


@pytest.mark.data
def test_separate_lidars_are_the_same_points_in_their_own_frames(log):
    merged, apart = Argoverse2Dataset(log)[0], Argoverse2Dataset(log, lidars="separate")[0]
    upper = merged.frame.clouds[LIDAR].ring < 32
    np.testing.assert_allclose(points_ego(apart, UP_LIDAR), points_ego(merged)[upper], atol=2e-5)
    np.testing.assert_allclose(points_ego(apart, DOWN_LIDAR), points_ego(merged)[~upper], atol=2e-5)
    for name in (UP_LIDAR, DOWN_LIDAR):
        cloud = apart.frame.clouds[name]
        far = np.hypot(cloud.points[:, 0], cloud.points[:, 1]) > 10
        elevations = np.degrees(np.arctan2(cloud.points[:, 2], np.hypot(cloud.points[:, 0], cloud.points[:, 1])))
        spreads = [elevations[far & (cloud.ring == ring)].std() for ring in np.unique(cloud.ring[far])]
        assert np.median(spreads) < 0.07, "seen from its own center, a laser keeps its elevation"
        assert apart.rig.lidars[name].ego_from_sensor.translation_m[2] > 1.8


@pytest.mark.data
def test_ego_stands_on_the_road(log):
    points = points_ego(Argoverse2Dataset(log)[0])
    near = (np.hypot(points[:, 0], points[:, 1]) < 8) & (np.abs(points[:, 2]) < 0.3)
    plane = np.column_stack([points[near, :2], np.ones(near.sum())])
    assert np.linalg.lstsq(plane, points[near, 2], rcond=None)[0][2] == pytest.approx(0.0, abs=0.02)


@pytest.mark.data
def test_cameras_are_in_the_rig_and_absent_from_frames_without_pictures(log):
    sample = Argoverse2Dataset(log)[0]
    assert len(sample.rig.cameras) == 9
    assert len(sample.frame.images) == 0
    front = sample.rig.cameras["ring_front_center"]
    assert (front.width_px, front.height_px) == (1550, 2048)
    np.testing.assert_allclose(front.ego_from_sensor.pose().rotation[:, 2], [1, 0, 0], atol=0.01)
    assert front.distortion == ()


@pytest.mark.data
def test_the_nearest_picture_within_fifty_milliseconds_is_taken(copied):
    stamps_ns = {
        "ring_front_center": (STAMP_NS - 30_000_000, STAMP_NS + 20_000_000),
        "ring_side_left": (STAMP_NS + 10**9,),
    }
    for name, stamps in stamps_ns.items():
        (copied / "sensors" / "cameras" / name).mkdir(parents=True)
        for stamp_ns in stamps:
            picture = copied / "sensors" / "cameras" / name / f"{stamp_ns}.jpg"
            picture.write_bytes(encode_jpeg(np.zeros((32, 16, 3), np.uint8)))
    images = Argoverse2Dataset(copied)[0].frame.images
    assert list(images) == ["ring_front_center"]
    assert images["ring_front_center"].stamp_ns == STAMP_NS + 20_000_000
    (copied / "sensors" / "cameras" / "ring_side_left" / "first.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"ring_side_left: found first\.jpg, wanted <stamp in nanoseconds>\.jpg"):
        Argoverse2Dataset(copied)[0]


@pytest.mark.data
def test_tracks_keep_their_velocity_between_sweeps(log):
    dataset = Argoverse2Dataset(log, classes=ALL)
    first, second = dataset[0], dataset[1]
    earlier, later = (sample.boxes.transformed(sample.frame.world_from_ego) for sample in (first, second))
    rows = {int(track): row for row, track in enumerate(later.track_ids)}
    pairs = [(row, rows[int(track)]) for row, track in enumerate(earlier.track_ids) if int(track) in rows]
    assert len(pairs) == 81
    seconds = (second.frame.stamp_ns - first.frame.stamp_ns) * 1e-9
    moved = np.array([later.geometry[b, :2] - earlier.geometry[a, :2] for a, b in pairs]) / seconds
    said = np.array([(earlier.velocities_mps[a] + later.velocities_mps[b]) / 2 for a, b in pairs])
    assert np.linalg.norm(said, axis=1).max() > 5
    assert np.median(np.linalg.norm(moved - said, axis=1)) < 0.1
    assert np.linalg.norm(moved - said, axis=1).max() < 1.5, "the middle of two central differences, on moving cars"


@pytest.mark.data
def test_classes_are_ours_or_the_twenty_six_of_the_competition(log):
    ours, official = Argoverse2Dataset(log)[0].boxes, Argoverse2Dataset(log, classes="official")[0].boxes
    assert ours.class_names == ("car", "truck", "pedestrian", "cyclist")
    assert len(official.class_names) == 26
    assert (len(ours), len(official)) == (72, 81)


@pytest.mark.data
@pytest.mark.parametrize("below", ["", "sensor", "sensor/val", f"sensor/val/{LOG}"])
def test_logs_are_found_from_every_folder_above(data_root, below):
    dataset = open_dataset(data_root / "argoverse2" / below, "val")
    assert [dataset.place(index).drive for index in range(len(dataset))] == [LOG, LOG]
    assert dataset.place(1).stamp_ns - dataset.place(0).stamp_ns == 100_196_000
    with pytest.raises(InputError, match="split train: found val, wanted a folder train that holds logs"):
        open_dataset(data_root / "argoverse2" / below, "train")


@pytest.mark.data
def test_a_dataset_travels_to_workers_without_its_tables(log):
    dataset = Argoverse2Dataset(log)
    assert len(dataset[0].boxes) == 72
    sent = pickle.dumps(dataset)
    assert len(sent) < 10_000
    assert len(pickle.loads(sent)[0].boxes) == 72


@pytest.mark.data
def test_logs_without_annotations_are_unlabeled_outside_train_and_val_only(copied):
    (copied / "annotations.feather").unlink()
    with pytest.raises(InputError, match=r"annotations\.feather: found no such file"):
        Argoverse2Dataset(copied)[0]
    copied.parent.rename(copied.parent.parent / "test")
    assert Argoverse2Dataset(copied.parent.parent, "test")[0].boxes is None


@pytest.mark.data
def test_without_pyarrow_it_says_what_to_install(copied, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnderstudyError, match=r"feather: found no pyarrow.*pip install 'understudy\[argoverse2\]'"):
        Argoverse2Dataset(copied)[0]


def change(name, changed):
    """Rewrites columns of a table of the log: the new values from the old ones."""

    def write(path):
        table = feather.read_table(path / name, memory_map=False)
        columns = {column: table[column] for column in table.column_names}
        for column, made in changed.items():
            if made is None:
                del columns[column]
            else:
                columns[column] = pa.array(made(columns[column].to_pylist()))
        feather.write_feather(pa.table(columns), path / name)

    return write


SWEEP = f"sensors/lidar/{STAMP_NS}.feather"
POSES, LABELS = "city_SE3_egovehicle.feather", "annotations.feather"
MOUNTINGS, INTRINSICS = "calibration/egovehicle_SE3_sensor.feather", "calibration/intrinsics.feather"


@pytest.mark.data
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / SWEEP).write_bytes(b"ARROW1 cut"), rf"{STAMP_NS}\.feather: .*wanted a Feather table"),
        (
            lambda path: (path / SWEEP).rename(path / "sensors/lidar/first.feather"),
            r"found first\.feather, wanted <stamp",
        ),
        (lambda path: (path / POSES).unlink(), r"city_SE3_egovehicle\.feather: found no such file"),
        (lambda path: (path / MOUNTINGS).unlink(), r"egovehicle_SE3_sensor\.feather: found no such file"),
        (lambda path: (path / INTRINSICS).write_bytes(b""), r"intrinsics\.feather: .*wanted a Feather table"),
        (change(SWEEP, {"laser_number": None}), r"feather: found columns x, y, .*wanted laser_number"),
        (change(SWEEP, {"x": lambda x: [None, *x[1:]]}), r"feather: x: found 1 empty cells"),
        (change(SWEEP, {"y": lambda y: [float("inf"), *y[1:]]}), r"feather: y: found 1 values that are not finite"),
        (
            change(SWEEP, {"z": lambda z: ["high"] * len(z)}),
            r"feather: z: found values of type object, wanted type float32",
        ),
        (
            change(POSES, {"timestamp_ns": lambda t: [t[1], t[0], *t[2:]]}),
            r"row 1: found \d+ after \d+, wanted ascending",
        ),
        (change(POSES, {"timestamp_ns": lambda t: [s + 1 for s in t]}), rf"found no pose at {STAMP_NS}"),
        (
            change(LABELS, {"timestamp_ns": lambda t: [float(s) for s in t]}),
            r"timestamp_ns: found values of type float64",
        ),
        (change(POSES, {"qw": lambda q: [2.0] * len(q)}), r"egovehicle\.feather: quaternion: found length"),
        (
            change(LABELS, {"length_m": lambda v: [-1.0, *v[1:]]}),
            r"feather row 0: size: found \[-1",
        ),
        (change(LABELS, {"track_uuid": lambda v: ["third car", *v[1:]]}), r"track_uuid: found third car"),
        (
            change(MOUNTINGS, {"sensor_name": lambda v: ["mirror", *v[1:]]}),
            r"sensor\.feather: found no ring_front_center",
        ),
        (change(INTRINSICS, {"fx_px": lambda v: [-1.0, *v[1:]]}), r"intrinsics\.feather: sensors\..*fx_px"),
    ],
)
def test_damaged_logs_are_refused_by_file(copied, damage, message):
    damage(copied)
    with pytest.raises(UnderstudyError, match=message) as caught:
        Argoverse2Dataset(copied)[0]
    assert str(copied) in str(caught.value)


@pytest.mark.data
def test_stored_counts_equal_ours_in_separate_clouds_too(log):
    sample = Argoverse2Dataset(log, classes=ALL, lidars="separate")[0]
    both = np.concatenate([points_ego(sample, UP_LIDAR), points_ego(sample, DOWN_LIDAR)])
    counts = count_points_inside(replace(sample.boxes, num_points=None), both)
    assert np.abs(counts - sample.boxes.num_points).max() <= 2, "rounding to the sensors' frames moves points by 10 um"


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=20, unique=True),
    st.tuples(st.floats(-20, 20), st.floats(-20, 20), st.floats(-2, 2)),
)
@settings(max_examples=40)
def test_steady_motion_has_its_velocity_everywhere_on_the_track(steps, velocity):
    stamps_ns = np.sort(np.array(steps)) * 100_000_000
    centers = stamps_ns[:, None] * 1e-9 * np.array(velocity)
    found = track_velocities_mps(stamps_ns, np.zeros(len(steps), np.int64), centers)
    gaps = np.diff(stamps_ns) > 1_500_000_000
    alone = np.concatenate([[True], gaps]) & np.concatenate([gaps, [True]])
    assert np.isnan(found[alone]).all()
    np.testing.assert_allclose(found[~alone], np.tile(velocity, (int((~alone).sum()), 1)), atol=1e-6)


@pytest.mark.data
def test_fingerprint_is_the_same_from_whichever_folder_a_log_is_opened(data_root):
    places = ("argoverse2", "argoverse2/sensor", "argoverse2/sensor/val", f"argoverse2/sensor/val/{LOG}")
    assert len({open_dataset(data_root / place).fingerprint for place in places}) == 1
