from __future__ import annotations

import pickle
from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.datasets.dataset import PartlyLabeled, Sequential
from understudy.datasets.kitti import EGO_FROM_LIDAR, LIDAR
from understudy.datasets.kitti_oxts import EARTH_RADIUS_M, OxtsTrack
from understudy.datasets.kitti_raw import KittiRawDataset
from understudy.datasets.opening import open_dataset
from understudy.datasets.stamps import read_dates_ns
from understudy.errors import InputError, UnderstudyError
from understudy.images import encode_png
from understudy.pose import Pose

WIDTH, HEIGHT = 1242, 375
VELO = """calib_time: 15-Mar-2012 11:37:16
R: 0 -1 0 0 0 -1 1 0 0
T: 0 -0.08 -0.27
delta_f: 0.0e+00 0.0e+00
"""
IMU = "calib_time: 25-May-2012 16:47:16\nR: 1 0 0 0 1 0 0 0 1\nT: -0.81 0.32 -0.80\n"
CAMERAS = "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.95e-02\nR_rect_00: 1 0 0 0 1 0 0 0 1\n" + "".join(
    f"S_rect_0{number}: {WIDTH} {HEIGHT}\nP_rect_0{number}: 720 0 610 {-720 * baseline_m} 0 720 173 0 0 0 1 0\n"
    for number, baseline_m in enumerate((0.0, 0.54, -0.06, 0.47))
)
POINTS = np.float32([[10, 0.2, -1.0, 0.4], [10.5, -0.5, -0.9, 0.2], [30, 5, 0, 0.1]])
LIDAR_DATES = "2011-09-26 13:02:25.951199337\n2011-09-26 13:02:26.054651337\n"
START_NS = 1_317_042_145_951_199_337
TRACKLET = """<item class_id="8"><objectType>{name}</objectType><h>1.5</h><w>1.8</w><l>4</l>
<first_frame>{first}</first_frame>
<poses><count>1</count><item_version>2</item_version>{poses}</poses><finished>1</finished></item>"""
TRACKED = (
    "<item><tx>{x}</tx><ty>0.1</ty><tz>-1.7</tz><rx>0</rx><ry>0</ry><rz>{yaw}</rz><state>2</state>"
    "<occlusion>{occlusion}</occlusion><occlusion_kf>1</occlusion_kf><truncation>{truncation}</truncation></item>"
)
TRACKLETS = """<?xml version="1.0" encoding="UTF-8" standalone="yes" ?><!DOCTYPE boost_serialization>
<boost_serialization signature="serialization::archive" version="9"><tracklets class_id="0"><count>2</count>
<item_version>1</item_version>{items}</tracklets></boost_serialization>"""


def tracklets():
    car = "".join(TRACKED.format(x=10 + step, yaw=0.1, occlusion=step, truncation=99 * step) for step in (0, 1))
    sitting = TRACKED.format(x=10.5, yaw=-4.0, occlusion=255, truncation=255)
    items = TRACKLET.format(name="Car", first=0, poses=car)
    items += TRACKLET.format(name="Person (sitting)", first=1, poses=sitting)
    return TRACKLETS.format(items=items + TRACKLET.format(name="Tram", first=1, poses=car))


def packet(latitude_deg, longitude_deg, altitude_m=112.0, roll=0.0, pitch=0.0, yaw=0.0):
    return " ".join(
        f"{float(value)!r}" for value in (latitude_deg, longitude_deg, altitude_m, roll, pitch, yaw, *[0.0] * 24)
    )


@pytest.fixture
def drive(tmp_path):
    """A drive of two frames with everything KITTI raw has, of known values; 4.5 m north between the frames."""
    day = tmp_path / "2011_09_26"
    path = day / "2011_09_26_drive_0001_sync"
    for folder in ("velodyne_points", "oxts", *(f"image_0{number}" for number in range(4))):
        (path / folder / "data").mkdir(parents=True)
        (path / folder / "timestamps.txt").write_text(LIDAR_DATES.replace(".0", ".1").replace(".95", ".96"))
    (path / "velodyne_points" / "timestamps.txt").write_text(LIDAR_DATES)
    north_deg = np.degrees(4.5 / EARTH_RADIUS_M)
    for number in range(2):
        POINTS.tofile(path / "velodyne_points" / "data" / f"{number:010d}.bin")
        north = packet(49.0 + number * north_deg, 8.4, yaw=np.pi / 2)
        (path / "oxts" / "data" / f"{number:010d}.txt").write_text(north)
        for camera in range(4):
            channels = (3,) if camera > 1 else ()
            picture = encode_png(np.full((HEIGHT, WIDTH, *channels), 40 * camera, np.uint8))
            (path / f"image_0{camera}" / "data" / f"{number:010d}.png").write_bytes(picture)
    (path / "tracklet_labels.xml").write_text(tracklets())
    for name, text in (("cam_to_cam", CAMERAS), ("velo_to_cam", VELO), ("imu_to_velo", IMU)):
        (day / f"calib_{name}.txt").write_text(text)
    return path


def test_stamps_keep_every_nanosecond(drive):
    dataset = KittiRawDataset(drive)
    first, second = dataset[0], dataset[1]
    assert first.frame.stamp_ns == START_NS
    assert second.frame.stamp_ns == START_NS + 103_452_000
    assert dataset.place(1).stamp_ns == second.frame.stamp_ns
    assert isinstance(dataset, Sequential)
    assert first.frame.images["camera_3"].stamp_ns == START_NS + 10_000_000


@given(st.integers(0, 2**61))
@settings(max_examples=50)
def test_dates_come_back_to_the_nanosecond(tmp_path_factory, stamp_ns):
    moment = datetime.fromtimestamp(stamp_ns // 10**9, timezone.utc)
    path = tmp_path_factory.getbasetemp() / "timestamps.txt"
    path.write_text(f"{moment:%Y-%m-%d %H:%M:%S}.{stamp_ns % 10**9:09d}\n")
    assert read_dates_ns(path) == (stamp_ns,)


def test_poses_follow_the_packets(drive):
    samples = list(KittiRawDataset(drive))
    poses = [sample.frame.world_from_ego for sample in samples]
    # Facing north: ego's x is the world's y. The unit sits 0.81 m behind, 0.32 m left of and 0.80 m below the LiDAR.
    assert poses[0].yaw_rad == pytest.approx(np.pi / 2)
    np.testing.assert_allclose(poses[0].apply(np.array([-0.81, 0.32, 1.73 - 0.80])), np.zeros(3), atol=1e-9)
    moved = poses[0].inverse() @ poses[1]
    np.testing.assert_allclose(moved.translation_m, [4.5, 0, 0], atol=1e-4)


@given(
    st.floats(-70, 70),
    st.floats(-179, 179),
    st.lists(st.tuples(st.floats(-200, 200), st.floats(-200, 200), st.floats(-9, 9)), min_size=1, max_size=4),
    st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(-3, 3)),
)
@settings(max_examples=30)
def test_known_motion_survives_the_way_to_packets_and_back(tmp_path_factory, latitude, longitude, moves, angles):
    """Meters to degrees by the inverse of the projection, written out and read again."""
    folder = tmp_path_factory.mktemp("oxts")
    scale = np.cos(np.radians(latitude))
    start = np.log(np.tan(np.pi * (90 + latitude) / 360))
    for number, (east_m, north_m, up_m) in enumerate([(0.0, 0.0, 0.0), *moves]):
        there = 360 / np.pi * np.arctan(np.exp(start + north_m / (scale * EARTH_RADIUS_M))) - 90
        lon = longitude + np.degrees(east_m / (scale * EARTH_RADIUS_M))
        (folder / f"{number:010d}.txt").write_text(packet(there, lon, 100.0 + up_m, *angles))
    track = OxtsTrack(folder)
    for number, move in enumerate([(0.0, 0.0, 0.0), *moves]):
        pose = track.world_from_imu(f"{number:010d}")
        np.testing.assert_allclose(pose.translation_m, move, atol=1e-5)
        assert pose.yaw_rad == pytest.approx(angles[2], abs=1e-9)
        assert np.arcsin(-pose.rotation[2, 0]) == pytest.approx(angles[1], abs=1e-9)
        assert np.arctan2(pose.rotation[2, 1], pose.rotation[2, 2]) == pytest.approx(angles[0], abs=1e-9)


def test_tracklets_are_boxes_with_identity_state_and_points(drive):
    dataset = KittiRawDataset(drive)
    first, second = dataset[0].boxes, dataset[1].boxes
    np.testing.assert_allclose(first.geometry, [[10, 0.1, 1.73 - 1.7 + 0.75, 4, 1.8, 1.5, 0.1]], atol=1e-6)
    assert first.num_points.tolist() == [2]
    assert second.track_ids.tolist() == [0, 1], "the tram, track 2, has no class of ours"
    assert [second.class_names[label] for label in second.labels] == ["car", "pedestrian"]
    assert second.geometry[1, 6] == pytest.approx(2 * np.pi - 4.0, abs=1e-6)
    states = [(box.name, box.occlusion, box.truncation) for box in dataset.tracked(1)]
    assert states == [
        ("Car", "partly", "behind image"),
        ("Person_sitting", "unset", "unset"),
        ("Tram", "visible", "in image"),
    ]
    assert isinstance(dataset, PartlyLabeled)
    assert dataset.labeled(dataset[1], second).all()
    turned = second.transformed(Pose.from_yaw(np.pi))
    assert not dataset.labeled(dataset[1], turned).any()


def test_four_cameras_stand_side_by_side(drive):
    sample = KittiRawDataset(drive)[0]
    lefts_m = [sample.rig.cameras[f"camera_{number}"].ego_from_sensor.translation_m[1] for number in range(4)]
    np.testing.assert_allclose(lefts_m, [0.0, -0.54, 0.06, -0.47], atol=1e-9)
    np.testing.assert_allclose(sample.rig.cameras["camera_0"].ego_from_sensor.translation_m, [0.27, 0, 1.65], atol=1e-9)
    gray, color = (sample.frame.images[name].pixels for name in ("camera_1", "camera_2"))
    assert gray.shape == color.shape == (HEIGHT, WIDTH, 3)
    assert (gray == 40).all()


def test_official_files_and_the_object_format_give_the_same_rig(drive):
    official = KittiRawDataset(drive)
    rig, pose, fingerprint = official.rig, official[1].frame.world_from_ego, official.fingerprint
    rows = [f"P{number}: {CAMERAS.split(f'P_rect_0{number}: ')[1].splitlines()[0]}" for number in range(4)]
    rows += ["R0_rect: 1 0 0 0 1 0 0 0 1", "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27"]
    rows += ["Tr_imu_to_velo: 1 0 0 -0.81 0 1 0 0.32 0 0 1 -0.80"]
    for path in drive.parent.glob("calib_*.txt"):
        path.unlink()
    (drive.parent / "calib_object_format.txt").write_text("\n".join(rows))
    other = KittiRawDataset(drive)
    assert other.rig.hash == rig.hash
    np.testing.assert_allclose(other[1].frame.world_from_ego.matrix, pose.matrix, atol=1e-12)
    assert other.fingerprint != fingerprint


def test_a_bare_drive_has_synthetic_stamps_and_neither_poses_nor_boxes(drive):
    for path in (*drive.glob("*/timestamps.txt"), *drive.glob("oxts/data/*"), drive / "tracklet_labels.xml"):
        path.unlink()
    (drive / "oxts" / "data").rmdir()
    (drive / "oxts").rmdir()
    sample = KittiRawDataset(drive)[1]
    assert sample.frame.stamp_ns == 100_000_000
    assert sample.frame.world_from_ego is None
    assert sample.boxes is None


def test_drives_travel_and_their_fingerprint_follows_each_description(drive):
    seen = {pickle.loads(pickle.dumps(KittiRawDataset(drive))).fingerprint}
    for name in ("tracklet_labels.xml", "oxts/data/0000000001.txt", "../calib_imu_to_velo.txt"):
        path = drive / name
        path.write_text(path.read_text().replace("0.1", "0.2").replace("112.0", "113.0").replace("0.81", "0.82"))
        seen.add(open_dataset(drive).fingerprint)
    assert len(seen) == 4


CALIB_CAMERA, CALIB_LIDAR, CALIB_IMU = (f"../calib_{name}.txt" for name in ("cam_to_cam", "velo_to_cam", "imu_to_velo"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "velodyne_points/timestamps.txt",
            "\n".join(LIDAR_DATES.split("\n")[1::-1]),
            r"timestamps\.txt line 2: found 2011-",
        ),
        ("velodyne_points/timestamps.txt", LIDAR_DATES[:29], r"timestamps\.txt: found 1 lines, wanted at least 2"),
        ("velodyne_points/timestamps.txt", LIDAR_DATES.replace("13:02:26", "25:02"), r"line 2: found .*wanted a date"),
        ("velodyne_points/timestamps.txt", LIDAR_DATES.replace("\n", "\n\n", 1), r"timestamps\.txt line 2: found ''"),
        ("image_02/timestamps.txt", None, r"image_02/timestamps\.txt: found no such file"),
        ("image_03/timestamps.txt", LIDAR_DATES[:29] + "\n" + LIDAR_DATES[:29], r"image_03/timestamps\.txt line 2"),
        ("oxts/data/0000000001.txt", None, r"oxts/data/0000000001\.txt: found no such file"),
        ("oxts/data/0000000001.txt", "49 8.4", r"0000000001\.txt: found 2 numbers"),
        ("oxts/data/0000000001.txt", packet(49, float("nan")), r"0000000001\.txt: found 30 numbers, 29 finite"),
        ("oxts/data/0000000001.txt", packet(490, 8.4), r"0000000001\.txt: found latitude 490"),
        ("tracklet_labels.xml", tracklets()[:-40], r"tracklet_labels\.xml: found .*wanted XML"),
        ("tracklet_labels.xml", "<boost/>", r"tracklet_labels\.xml: found <boost> without <tracklets>"),
        ("tracklet_labels.xml", tracklets().replace("<h>1.5</h>", ""), r"xml: tracklet 0: found no <h>"),
        ("tracklet_labels.xml", tracklets().replace("<l>4", "<l>-4"), r"xml: tracklet 0: found size -4"),
        ("tracklet_labels.xml", tracklets().replace("<tx>11", "<tx>inf"), r"xml: tracklet 0 frame 1: tx: found inf"),
        ("tracklet_labels.xml", tracklets().replace("<occlusion>0", "<occlusion>7"), r"frame 0: occlusion: found 7"),
        ("tracklet_labels.xml", "<!DOCTYPE b [<!ENTITY a 'aa'>]><b/>", r"labels\.xml: found an entity definition"),
        (CALIB_LIDAR, None, r"calib_velo_to_cam\.txt: found no such file"),
        (CALIB_IMU, None, r"calib_imu_to_velo\.txt: found no such file, wanted the inertial unit's place"),
        (CALIB_CAMERA, CAMERAS.replace("P_rect_02", "P_02"), r"calib_cam_to_cam\.txt: found no P of camera 2"),
        (
            CALIB_CAMERA,
            CAMERAS.replace("S_rect_02: 1242", "S_rect_02: 1392"),
            r"png: found 1242 x 375 pixels, wanted .*1392",
        ),
        (CALIB_CAMERA, CAMERAS.replace("720 0 610 43", "720 0 9999 43"), r"cam_to_cam\.txt: P2: found center \(9999"),
        (
            CALIB_CAMERA,
            CAMERAS.replace("173 0 0 0 1 0", "173 0 0 1 1 0"),
            r"cam_to_cam\.txt: P0: found .*wanted a rectified camera",
        ),
        (CALIB_LIDAR, VELO.replace("R: 0 -1", "R: 0 -2"), r"velo_to_cam\.txt: pose rotation: found"),
        (CALIB_LIDAR, VELO.replace("T: 0 -0.08", "T: -0.08"), r"velo_to_cam\.txt: T: found 2 numbers"),
        ("velodyne_points/data/0000000001.bin", b"\0\0\xc0\x7f" * 4, r"0000000001\.bin: found point 0 is nan"),
        ("image_01/data/0000000001.png", None, r"image_01/data/0000000001\.png: found no such file"),
    ],
)
def test_damaged_drives_are_refused_by_file(drive, file, content, message):
    path = drive / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UnderstudyError, match=message):
        list(KittiRawDataset(drive))


def test_folders_without_a_drive_are_refused(drive):
    for path in (drive / "velodyne_points" / "data").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"found no sweeps, wanted velodyne_points/data/\*\.bin"):
        KittiRawDataset(drive)
    for path in drive.parent.glob("calib*"):
        path.unlink()
    with pytest.raises(InputError, match=r"found no calibration, wanted calib_cam_to_cam\.txt"):
        KittiRawDataset(drive)


@pytest.mark.data
def test_the_real_pair_has_one_camera_and_knows_no_more(data_root):
    drive = next((data_root / "kitti" / "raw" / "2011_09_26").glob("*_sync"))
    sample = KittiRawDataset(drive)[0]
    assert list(sample.rig.cameras) == list(sample.frame.images) == ["camera_2"]
    assert sample.frame.world_from_ego is None
    assert sample.boxes is None
    np.testing.assert_allclose(sample.rig.lidars[LIDAR].ego_from_sensor.pose().matrix, EGO_FROM_LIDAR.matrix)
