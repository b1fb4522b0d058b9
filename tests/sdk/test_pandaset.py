from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from understudy.converters.class_maps import ClassMap
from understudy.datasets.pandaset import EGO_FROM_SENSOR, LIDAR, PandasetSequence
from understudy.datasets.pandaset_tables import read_arrays
from understudy.datasets.pose_tracks import PoseTrack
from understudy.errors import InputError
from understudy.pose import Pose


@pytest.fixture
def sequence(data_root):
    return PandasetSequence(data_root / "pandaset" / "002")


@pytest.mark.data
def test_points_in_car_cuboids_are_car_points(sequence):
    assert len(sequence) == 4
    for sample in sequence:
        cloud, segments = sample.frame.clouds[LIDAR], sample.segments[LIDAR]
        inside = sample.boxes.contains(EGO_FROM_SENSOR.apply(cloud.points[:, :3]))
        np.testing.assert_array_equal(sample.boxes.num_points, inside.sum(axis=1))
        in_cars = inside[sample.boxes.labels == 0].any(axis=0)
        share = (segments.labels[in_cars] == segments.class_names.index("Car")).mean()
        assert 0.97 < share < 0.99, "the recordings' README says 97-98 %"
        assert (sample.boxes.num_points > 0).sum() >= 76


@pytest.mark.data
def test_ego_stands_on_the_road(sequence):
    sample = sequence[0]
    cloud, segments = sample.frame.clouds[LIDAR], sample.segments[LIDAR]
    points = EGO_FROM_SENSOR.apply(cloud.points[:, :3])
    road = (segments.labels == segments.class_names.index("Road")) & (np.hypot(points[:, 0], points[:, 1]) < 15)
    plane = np.column_stack([points[road, :2], np.ones(road.sum())])
    _, _, height_m = np.linalg.lstsq(plane, points[road, 2], rcond=None)[0]
    assert height_m == pytest.approx(0.0, abs=0.02)


@pytest.mark.data
def test_boxes_standing_still_stay_where_they_are_in_the_world(sequence):
    first, last = sequence[0], sequence[3]
    in_world = [sample.boxes.transformed(sample.frame.world_from_ego) for sample in (first, last)]
    moved = last.frame.world_from_ego.translation_m - first.frame.world_from_ego.translation_m
    assert np.linalg.norm(moved) == pytest.approx(3 * 0.34, abs=0.1)
    rows = {int(track): row for row, track in enumerate(in_world[1].track_ids)}
    pairs = [(row, rows[int(track)]) for row, track in enumerate(in_world[0].track_ids) if int(track) in rows]
    shifts = [np.linalg.norm(in_world[0].geometry[a, :3] - in_world[1].geometry[b, :3]) for a, b in pairs]
    assert len(pairs) > 80
    assert np.median(shifts) < 0.05


@pytest.mark.data
def test_one_rig_places_cameras_by_their_calibration(sequence):
    assert sequence[0].rig.hash == sequence[3].rig.hash
    front = sequence.rig.cameras["front_camera"].ego_from_sensor.pose()
    np.testing.assert_allclose(front.rotation[:, 2], [1, 0, 0], atol=0.02)
    np.testing.assert_allclose(front.translation_m[1], 0.0, atol=0.02)
    left = sequence.rig.cameras["left_camera"].ego_from_sensor.pose()
    np.testing.assert_allclose(left.rotation[:, 2], [0, 1, 0], atol=0.04)
    sample = sequence[1]
    assert sample.frame.images["front_camera"].pixels.shape == (1080, 1920, 3)
    assert sample.frame.images["front_camera"].stamp_ns != sample.frame.stamp_ns


@pytest.mark.data
def test_points_carry_the_time_they_were_fired(sequence):
    offsets_s = sequence[0].frame.clouds[LIDAR].time_offset_s
    assert offsets_s.min() == pytest.approx(-0.101, abs=0.002)
    assert offsets_s.max() == pytest.approx(0.0, abs=0.002)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("lidar/40.npz", b"PK no archive", r"lidar/40\.npz: .*wanted an npz file"),
        ("lidar/poses.json", b"[{}]", r"lidar/poses\.json: .*wanted position x, y, z and heading"),
        ("lidar/timestamps.json", b"[1.0]", r"poses\.json: found 80 poses, wanted 1, one per stamp"),
        ("lidar/timestamps.json", b"[1.0", r"timestamps\.json: .*wanted JSON"),
        ("annotations/cuboids/40.json", b"[{}]", r"cuboids/40\.json: found records without these keys"),
        ("annotations/cuboids/40.json", None, r"cuboids/40\.json: found no such file"),
        ("camera/front_camera/40.jpg", None, r"front_camera/40\.jpg: found no such file"),
    ],
)
def test_damaged_sequences_are_refused_by_file(data_root, tmp_path, file, content, message):
    source = data_root / "pandaset" / "002"
    for folder in ("lidar", "annotations/cuboids", "camera/front_camera"):
        (tmp_path / folder).mkdir(parents=True)
        for path in [*(source / folder).glob("40.*"), *(source / folder).glob("*s.json")]:
            shutil.copyfile(path, tmp_path / folder / path.name)
    assert PandasetSequence(tmp_path)[0].segments == {}
    path = tmp_path / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        PandasetSequence(tmp_path)[0]


def test_pickles_and_uneven_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="without pickled objects"):
        read_arrays(tmp_path / "objects.npz", ("x",))
    np.savez(tmp_path / "uneven.npz", x=np.zeros(3), y=np.zeros(2))
    with pytest.raises(InputError, match="found x 3, y 2"):
        read_arrays(tmp_path / "uneven.npz", ("x", "y"))
    with pytest.raises(InputError, match="no array"):
        read_arrays(tmp_path / "uneven.npz", ("z",))


def test_a_track_is_interpolated_and_gives_the_mounting_back():
    stamps_s = np.arange(5.0)
    vehicle = PoseTrack(stamps_s, tuple(Pose.from_yaw(0.1 * t, (3 * t, t, 0)) for t in stamps_s))
    halfway = vehicle.at(1.5)
    assert halfway.yaw_rad == pytest.approx(0.15)
    np.testing.assert_allclose(halfway.translation_m, [4.5, 1.5, 0])
    np.testing.assert_allclose(vehicle.at(9.0).translation_m, [12, 4, 0])
    vehicle_from_camera = Pose.from_quaternion([0.5, -0.5, 0.5, -0.5], [1.5, 0.1, 1.2])
    late_s = stamps_s + 0.3
    camera = PoseTrack(late_s, tuple(vehicle.at(t) @ vehicle_from_camera for t in late_s))
    mounting = camera.mounting_on(vehicle)
    np.testing.assert_allclose(mounting.matrix, vehicle_from_camera.matrix, atol=1e-9)


def test_a_track_of_one_pose_knows_its_own_time_only():
    pose = Pose.from_yaw(0.1, (3, 1, 0))
    track = PoseTrack(np.array([2.0]), (pose,))
    np.testing.assert_array_equal(track.at(2.0).matrix, pose.matrix)
    with pytest.raises(InputError, match=r"found one pose, at 2\.0+ s, wanted poses around 2\.10+ s"):
        track.at(2.1)


@pytest.mark.data
def test_class_maps_decide_what_counts_and_frames_are_of_one_drive(data_root, sequence):
    cones = ClassMap(class_names=("vehicle", "cone"), of={"Car": "vehicle", "Cones": "cone"})
    mapped = PandasetSequence(data_root / "pandaset" / "002", classes=cones)
    assert mapped.class_names == ("vehicle", "cone")
    assert (mapped[0].boxes.labels == 0).sum() == (sequence[0].boxes.labels == 0).sum()
    assert mapped[0].boxes.class_names == ("vehicle", "cone")
    places = [sequence.place(index) for index in range(4)]
    assert {place.drive for place in places} == {"002"}
    assert [place.stamp_ns for place in places] == [sequence[index].frame.stamp_ns for index in range(4)]
    with pytest.raises(InputError, match="class map official of pandaset: found no such map, wanted understudy"):
        PandasetSequence(data_root / "pandaset" / "002", classes="official")


@pytest.mark.data
def test_fingerprint_follows_every_file_that_a_sample_is_made_of(data_root, tmp_path):
    copy = tmp_path / "002"
    shutil.copytree(data_root / "pandaset" / "002", copy, copy_function=os.symlink)
    before = PandasetSequence(copy).fingerprint
    for name in (
        *("lidar/40.npz", "lidar/poses.json", "lidar/timestamps.json", "camera/front_camera/40.jpg"),
        *(
            "camera/front_camera/intrinsics.json",
            "camera/front_camera/poses.json",
            "camera/front_camera/timestamps.json",
        ),
        *("annotations/cuboids/40.json", "annotations/semseg/40.npz", "annotations/semseg/classes.json"),
    ):
        file = copy / name
        original = file.readlink()
        file.unlink()
        file.write_bytes(original.read_bytes() + b" ")
        assert PandasetSequence(copy).fingerprint != before, name
        file.unlink()
        file.symlink_to(original)
    assert PandasetSequence(copy).fingerprint == before
