"""PointCloud2 and images in every form a driver may send them; outputs field by field."""

from __future__ import annotations

import array
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.bags.types import make_message, typestore
from understudy.boxes import Boxes
from understudy.errors import FrameError, GeometryError, UnderstudyError
from understudy.frame import Image, PointCloud
from understudy.images import encode_png
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.clouds import cloud_from_message
from understudy.messages.frame_tree import FrameTree
from understudy.messages.images import (
    camera_from_info,
    camera_info_message,
    compressed_image_message,
    image_from_message,
)
from understudy.messages.outputs import boxes_from_detections, detections_message, markers_message
from understudy.messages.transforms import odometry_message, rig_transforms_message
from understudy.pose import Pose
from understudy.testing import simple_rig

STAMP_NS = 1_700_000_000_123_456_789
DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


@dataclass
class Stamp:
    sec: int = STAMP_NS // 10**9
    nanosec: int = STAMP_NS % 10**9


@dataclass
class Header:
    stamp: Stamp = field(default_factory=Stamp)
    frame_id: str = "lidar"


@dataclass
class Field:
    name: str
    offset: int
    datatype: int
    count: int = 1


@dataclass
class Cloud:
    """What rclpy's PointCloud2 looks like to a reader of attributes."""

    fields: list[Field]
    data: Any
    point_step: int
    width: int
    height: int = 1
    row_step: int = 0
    is_bigendian: bool = False
    is_dense: bool = True
    header: Header = field(default_factory=Header)

    def __post_init__(self) -> None:
        self.row_step = self.row_step or self.width * self.point_step


def cloud_of(columns: list[tuple[str, str, Any]], **changes: Any) -> Cloud:
    """A packed cloud of these columns, by name, format and values."""
    order = ">" if changes.get("is_bigendian") else "<"
    dtype = np.dtype([(name, order + kind) for name, kind, _ in columns])
    rows = np.zeros(len(columns[0][2]), dtype)
    for name, _, values in columns:
        rows[name] = values
    fields = [Field(name, dtype.fields[name][1], DATATYPES[kind]) for name, kind, _ in columns]
    defaults = {"data": array.array("B", rows.tobytes()), "point_step": dtype.itemsize, "width": len(rows)}
    return Cloud(fields=fields, **{**defaults, **changes})


def xyzi(rng: np.random.Generator, n: int = 50) -> np.ndarray:
    return np.column_stack([rng.uniform(-50, 50, (n, 3)), rng.integers(0, 256, n)]).astype(np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


class TestCloud:
    @pytest.mark.parametrize("wrap", [lambda b: array.array("B", b), bytes, lambda b: _read_only(b), bytearray])
    def test_bytes_of_any_kind_give_the_same_points(self, rng: np.random.Generator, wrap: Any) -> None:
        points = xyzi(rng)
        message = cloud_of([(n, "f4", points[:, i]) for i, n in enumerate(("x", "y", "z", "intensity"))])
        cloud = cloud_from_message(replace(message, data=wrap(bytes(message.data))))
        np.testing.assert_array_equal(cloud.points, points)
        assert cloud.points.flags.c_contiguous
        assert (cloud.stamp_ns, cloud.frame_id) == (STAMP_NS, "lidar")
        assert cloud.time_offset_s is None
        assert cloud.ring is None

    def test_points_are_a_copy(self, rng: np.random.Generator) -> None:
        message = cloud_of([(n, "f4", xyzi(rng)[:, 0]) for n in ("x", "y", "z", "intensity")])
        cloud = cloud_from_message(message)
        before = cloud.points.copy()
        message.data[:] = array.array("B", bytes(len(message.data)))
        np.testing.assert_array_equal(cloud.points, before)

    @settings(max_examples=60)
    @given(
        order=st.permutations(["x", "y", "z", "intensity", "ring", "time"]),
        kinds=st.lists(st.sampled_from(["f4", "f8"]), min_size=3, max_size=3),
        intensity=st.sampled_from(["u1", "u2", "f4", "f8", "i2", "u4", "i4"]),
        padding=st.lists(st.integers(0, 5), min_size=7, max_size=7),
        shape=st.sampled_from([(1, 12), (3, 4), (12, 1)]),
        row_padding=st.integers(0, 9),
        big=st.booleans(),
        numpy=st.booleans(),
    )
    def test_any_layout_gives_what_was_put_in(
        self,
        order: list[str],
        kinds: list[str],
        intensity: str,
        padding: list[int],
        shape: tuple[int, int],
        row_padding: int,
        big: bool,
        numpy: bool,
    ) -> None:
        rng = np.random.default_rng(1)
        (height, width), formats = shape, dict(zip("xyz", kinds, strict=True))
        formats |= {"intensity": intensity, "ring": "u2", "time": "f4"}
        points, ring = xyzi(rng, height * width), rng.integers(0, 128, height * width)
        points[:, 3] %= 100
        columns = {"x": points[:, 0], "y": points[:, 1], "z": points[:, 2], "intensity": points[:, 3]}
        columns |= {"ring": ring, "time": rng.uniform(0, 0.1, height * width).astype(np.float32)}
        offsets, at = {}, padding[6]
        for name, gap in zip(order, padding, strict=False):
            offsets[name], at = at + gap, at + gap + np.dtype(formats[name]).itemsize
        endian = ">" if big else "<"
        dtype = np.dtype(
            {
                "names": order,
                "formats": [endian + formats[n] for n in order],
                "offsets": [offsets[n] for n in order],
                "itemsize": at + padding[5],
            }
        )
        rows = np.zeros(height * width, dtype)
        for name in order:
            rows[name] = columns[name]
        lines = rows.view(np.uint8).reshape(height, -1)
        lines = np.pad(lines, ((0, 0), (0, row_padding)), constant_values=255)
        data = lines.reshape(-1) if numpy else array.array("B", lines.tobytes())
        fields = [Field(n, offsets[n], DATATYPES[formats[n]]) for n in order]
        message = Cloud(fields, data, dtype.itemsize, width, height, lines.shape[1], big)
        cloud = cloud_from_message(message)
        np.testing.assert_array_equal(cloud.points, points)
        np.testing.assert_array_equal(cloud.ring, ring)
        np.testing.assert_array_equal(cloud.time_offset_s, columns["time"])

    def test_without_intensity_it_is_zero_or_refused(self, rng: np.random.Generator) -> None:
        message = cloud_of([(n, "f4", xyzi(rng)[:, 0]) for n in ("x", "y", "z")])
        assert (cloud_from_message(message).points[:, 3] == 0).all()
        with pytest.raises(FrameError, match="intensity, which the student needs"):
            cloud_from_message(message, require_intensity=True)

    def test_points_that_are_not_finite_stay(self) -> None:
        message = cloud_of([(n, "f4", [np.nan, 1.0, np.inf]) for n in ("x", "y", "z")], is_dense=False)
        cloud = cloud_from_message(message)
        assert len(cloud) == 3
        assert np.isnan(cloud.points[0, 0])

    @pytest.mark.parametrize(
        ("kind", "values", "unit", "wanted"),
        [
            ("f4", [0.0, 0.05], None, [0.0, 0.05]),
            ("u4", [0, 50_000_000], None, [0.0, 0.05]),
            ("u4", [0, 50_000], "us", [0.0, 0.05]),
            ("f8", [STAMP_NS / 1e9, STAMP_NS / 1e9 + 0.05], None, [0.0, 0.05]),
            ("f8", [float(STAMP_NS), float(STAMP_NS + 50_000_000)], None, [0.0, 0.05]),
            ("f4", [0.0, -0.1], None, [0.0, -0.1]),
        ],
    )
    @pytest.mark.parametrize("name", ["time", "t", "timestamp", "time_stamp", "time_offset", "offset_time"])
    def test_time_fields_become_seconds_from_the_stamp(
        self, name: str, kind: str, values: list[float], unit: Any, wanted: list[float]
    ) -> None:
        message = cloud_of([*((n, "f4", [1.0, 2.0]) for n in ("x", "y", "z")), (name, kind, values)])
        offsets_s = cloud_from_message(message, time_unit=unit).time_offset_s
        np.testing.assert_allclose(offsets_s, wanted, atol=1e-6)

    def test_times_that_no_sweep_lasts_are_dropped(self) -> None:
        message = cloud_of([*((n, "f4", [1.0, 2.0]) for n in ("x", "y", "z")), ("time", "f4", [0.0, 5e7])])
        assert cloud_from_message(message).time_offset_s is None

    def test_extras_can_be_left(self) -> None:
        message = cloud_of([*((n, "f4", [1.0]) for n in ("x", "y", "z")), ("ring", "u2", [3])])
        assert cloud_from_message(message, extras=False).ring is None

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"width": 0, "data": b""}, "0 x 1 points"),
            ({"height": 0}, "4 x 0 points"),
            ({"data": bytes(40)}, "found 40 bytes, wanted row_step 48 x height 1 = 48"),
            ({"point_step": 8}, "point field z: found bytes 8 to 12, wanted within point_step 8"),
            ({"row_step": 40}, "row_step"),
            ({"fields": [Field("x", 0, 7), Field("y", 4, 7)]}, "z is missing"),
            ({"fields": []}, "found no field"),
            ({"fields": [Field("x", 0, 7), Field("y", 4, 9), Field("z", 8, 7)]}, "point field y: found datatype 9"),
            ({"fields": [Field("x", -4, 7), Field("y", 4, 7), Field("z", 8, 7)]}, "point field x"),
            ({"data": "text"}, "wanted bytes"),
            ({"header": Header(Stamp(1, 10**9))}, "nanoseconds"),
            ({"header": None}, "message header"),
            ({"fields": None}, "point cloud|PointCloud2"),
        ],
    )
    def test_contradictions_are_refused_in_one_line(self, changes: dict[str, Any], reason: str) -> None:
        message = cloud_of([(n, "f4", [1.0, 2, 3, 4]) for n in ("x", "y", "z")])
        for name, value in changes.items():
            setattr(message, name, value)
        with pytest.raises(FrameError, match=reason) as caught:
            cloud_from_message(message)
        assert "\n" not in str(caught.value)


class TestLayouts:
    @pytest.mark.parametrize("name", list(LAYOUTS))
    @pytest.mark.parametrize("known", [True, False])
    def test_round_trip_through_cdr(self, rng: np.random.Generator, name: Any, known: bool) -> None:
        points, n = xyzi(rng), 50
        ring = rng.integers(0, 64, n).astype(np.int16) if known else None
        offsets_s = rng.uniform(-0.1, 0, n).astype(np.float32) if known else None
        cloud = PointCloud(points, STAMP_NS, "roof", offsets_s, ring)
        back = cloud_from_message(through_cdr(cloud_message(make_message, cloud, LAYOUTS[name], 255.0)))
        np.testing.assert_array_equal(back.points, points)
        assert (back.stamp_ns, back.frame_id) == (STAMP_NS, "roof")
        if known:
            np.testing.assert_array_equal(back.ring, ring)
            np.testing.assert_array_equal(back.time_offset_s, offsets_s)
        else:
            assert back.ring is None

    def test_shuffled_brings_intensity_to_bytes(self, rng: np.random.Generator) -> None:
        points = xyzi(rng)
        points[:, 3] /= 255.0
        message = cloud_message(make_message, PointCloud(points, 0), LAYOUTS["shuffled"], 1.0)
        np.testing.assert_allclose(cloud_from_message(message).points[:, 3], points[:, 3] * 255, atol=1e-3)


class TestImages:
    def test_raw_encodings(self, rng: np.random.Generator) -> None:
        rgb = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        for encoding, stored in (("rgb8", rgb), ("bgr8", rgb[..., ::-1]), ("mono8", rgb[..., :1])):
            lines = np.pad(stored.reshape(4, -1), ((0, 0), (0, 3)))
            message = make_message(
                "sensor_msgs/msg/Image",
                header=header(),
                height=4,
                width=5,
                encoding=encoding,
                is_bigendian=0,
                step=lines.shape[1],
                data=lines.reshape(-1),
            )
            wanted = rgb if encoding != "mono8" else np.repeat(rgb[..., :1], 3, axis=2)
            np.testing.assert_array_equal(image_from_message(message).pixels, wanted)

    def test_jpeg_and_png(self, rng: np.random.Generator) -> None:
        pixels = np.full((16, 24, 3), 90, np.uint8)
        jpeg = compressed_image_message(make_message, Image(pixels, STAMP_NS, "front"))
        back = image_from_message(through_cdr(jpeg))
        assert (back.stamp_ns, back.frame_id) == (STAMP_NS, "front")
        np.testing.assert_allclose(back.pixels, pixels, atol=3)
        noise = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)
        data = np.frombuffer(encode_png(noise), np.uint8)
        png = make_message("sensor_msgs/msg/CompressedImage", header=header(), format="rgb8; png compressed", data=data)
        np.testing.assert_array_equal(image_from_message(png).pixels, noise)

    def test_bad_pictures_are_refused(self) -> None:
        whole = compressed_image_message(make_message, Image(np.zeros((64, 64, 3), np.uint8), 0))
        cut = replace(whole, data=whole.data[: len(whole.data) // 2])
        with pytest.raises(FrameError, match="JPEG"):
            image_from_message(cut)
        with pytest.raises(FrameError, match="format"):
            image_from_message(replace(whole, format="h264"))
        raw = make_message(
            "sensor_msgs/msg/Image",
            header=header(),
            height=4,
            width=5,
            encoding="bayer_rggb16",
            is_bigendian=0,
            step=5,
            data=np.zeros(20, np.uint8),
        )
        with pytest.raises(FrameError, match="bayer_rggb16"):
            image_from_message(raw)
        with pytest.raises(FrameError, match="sizes that agree"):
            image_from_message(replace(raw, encoding="rgb8"))

    def test_camera_info_round_trip(self) -> None:
        camera = simple_rig(camera=True).cameras["front"]
        message = through_cdr(camera_info_message(make_message, camera, STAMP_NS, camera.frame_id))
        assert camera_from_info(message, camera.ego_from_sensor) == camera
        message = replace(message, k=np.zeros(9))
        with pytest.raises(GeometryError, match="calibrate"):
            camera_from_info(message, camera.ego_from_sensor)

    def test_lenses_survive_and_unknown_ones_are_refused(self) -> None:
        plain = simple_rig(camera=True).cameras["front"]
        for model, count in (("plumb_bob", 5), ("rational_polynomial", 8), ("equidistant", 4)):
            lens = {"distortion_model": model, "distortion": tuple(0.01 * n for n in range(1, count + 1))}
            camera = plain.model_copy(update=lens)
            message = through_cdr(camera_info_message(make_message, camera, STAMP_NS, camera.frame_id))
            assert camera_from_info(message, camera.ego_from_sensor) == camera
            with pytest.raises(GeometryError, match=f"{model}: found 3 coefficients, wanted"):
                camera_from_info(replace(message, d=message.d[:3]), camera.ego_from_sensor)
        with pytest.raises(GeometryError, match="found kannala, wanted plumb_bob, rational_polynomial, equidistant"):
            camera_from_info(replace(message, distortion_model="kannala"), camera.ego_from_sensor)


class TestTransforms:
    def test_rig_round_trip(self) -> None:
        rig = simple_rig(camera=True)
        message = through_cdr(rig_transforms_message(make_message, rig, STAMP_NS))
        assert {entry.child_frame_id for entry in message.transforms} == {"lidar", "front"}
        tree = FrameTree()
        tree.add(message)
        for sensor in rig.sensors.values():
            found = tree.pose("base_link", sensor.frame_id)
            assert found is not None
            np.testing.assert_allclose(found.matrix, sensor.ego_from_sensor.pose().matrix, atol=1e-9)

    def test_odometry(self) -> None:
        message = through_cdr(odometry_message(make_message, Pose.from_yaw(0.5, (1, 2, 3)), STAMP_NS))
        assert message.child_frame_id == "base_link"
        assert (message.pose.pose.position.x, message.pose.pose.position.z) == (1.0, 3.0)
        assert message.pose.pose.orientation.z == pytest.approx(math.sin(0.25))


class TestOutputs:
    def boxes(self, rng: np.random.Generator, n: int = 6) -> Boxes:
        geometry = np.column_stack(
            [rng.uniform(-40, 40, (n, 3)), rng.uniform(0.5, 8, (n, 3)), rng.uniform(-np.pi, np.pi, n)]
        ).astype(np.float32)
        labels = np.arange(n, dtype=np.int32) % 3
        return Boxes(geometry, labels, ("car", "truck", "person"), scores=rng.uniform(0, 1, n).astype(np.float32))

    def test_detections_round_trip(self, rng: np.random.Generator) -> None:
        boxes = self.boxes(rng)
        message = through_cdr(detections_message(make_message, boxes, STAMP_NS))
        assert message.header.frame_id == "base_link"
        assert message.detections[0].bbox.size.x == pytest.approx(float(boxes.geometry[0, 3]))
        assert message.detections[1].results[0].hypothesis.class_id == "truck"
        back = boxes_from_detections(message, boxes.class_names)
        np.testing.assert_allclose(back.geometry, boxes.geometry, atol=1e-6)
        np.testing.assert_array_equal(back.labels, boxes.labels)
        np.testing.assert_array_equal(back.scores, boxes.scores)

    def test_a_class_that_is_not_known_is_refused(self, rng: np.random.Generator) -> None:
        with pytest.raises(UnderstudyError, match="labels"):
            boxes_from_detections(detections_message(make_message, self.boxes(rng), 0), ("car",))

    def test_markers_first_delete_then_outline_every_box(self, rng: np.random.Generator) -> None:
        boxes = self.boxes(rng)
        markers = through_cdr(markers_message(make_message, boxes, STAMP_NS)).markers
        assert markers[0].action == 3
        lines = [marker for marker in markers if marker.type == 5]
        assert [len(marker.points) for marker in lines] == [2 * 14 * 2] * 3
        texts = [marker.text for marker in markers if marker.type == 9]
        assert texts[1] == f"truck {boxes.scores[1]:.2f}"
        assert len({(marker.ns, marker.id) for marker in markers}) == len(markers)
        corner_set = boxes[boxes.labels == 1].corners().reshape(-1, 3)
        for point in lines[1].points:
            assert np.abs(corner_set - np.array([point.x, point.y, point.z])).sum(axis=1).min() < 1e-4

    def test_no_boxes_still_delete_the_old_ones(self) -> None:
        none = Boxes.empty(("car",), scored=True)
        assert len(through_cdr(markers_message(make_message, none, 0)).markers) == 1
        assert through_cdr(detections_message(make_message, none, 0)).detections == []


def header() -> Any:
    stamp = make_message("builtin_interfaces/msg/Time", sec=1, nanosec=2)
    return make_message("std_msgs/msg/Header", stamp=stamp, frame_id="front")


def through_cdr(message: Any) -> Any:
    """What a reader of the bag gets."""
    raw = typestore().serialize_cdr(message, message.__msgtype__)
    return typestore().deserialize_cdr(bytes(raw), message.__msgtype__)


def _read_only(data: bytes) -> np.ndarray:
    values = np.frombuffer(data, np.uint8).copy()
    values.flags.writeable = False
    return values
