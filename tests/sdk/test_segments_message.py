"""A class for each point as a cloud: read back by ours, and as any other cloud."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from understudy.bags.types import make_message, typestore
from understudy.boxes import Segments
from understudy.errors import FrameError, UnderstudyError
from understudy.messages.clouds import cloud_from_message
from understudy.messages.outputs import COLORS_RGB
from understudy.messages.segments import SEGMENTS_TYPE, segments_from_message, segments_message
from understudy.testing import road_cloud

CLASSES = ("road", "other", *(f"class {number}" for number in range(12)))


def test_round_trip_through_cdr() -> None:
    cloud = road_cloud(np.random.default_rng(0), 300, stamp_ns=7_000_000_001)
    cloud.points[5] = np.nan
    labels = np.random.default_rng(1).integers(-1, len(CLASSES), 300).astype(np.int16)
    message = segments_message(make_message, Segments(labels, CLASSES), cloud)
    raw = typestore().serialize_cdr(message, SEGMENTS_TYPE)
    back = typestore().deserialize_cdr(raw, SEGMENTS_TYPE)
    np.testing.assert_array_equal(segments_from_message(back, CLASSES).labels, labels)
    seen = cloud_from_message(back)
    np.testing.assert_array_equal(seen.points[:, :3], cloud.points[:, :3])
    assert (seen.stamp_ns, seen.frame_id, back.is_dense) == (cloud.stamp_ns, "lidar", False)
    with pytest.raises(UnderstudyError):
        segments_from_message(back, CLASSES[:2])
    with pytest.raises(FrameError, match="bytes"):
        segments_from_message(replace(back, data=back.data[:-20]), CLASSES)
    with pytest.raises(FrameError, match="label"):
        segments_from_message(replace(back, fields=back.fields[:3]), CLASSES)


def test_colors_are_those_of_the_boxes() -> None:
    cloud = road_cloud(np.random.default_rng(0), 3)
    message = segments_message(make_message, Segments(np.array([0, 7, -1], np.int16), CLASSES), cloud)
    rgb = np.frombuffer(message.data, np.uint8).reshape(3, 20)[:, [14, 13, 12]]
    wanted = np.rint(np.array([COLORS_RGB[0], COLORS_RGB[1], (0.35, 0.35, 0.35)]) * 255)
    np.testing.assert_array_equal(rgb, wanted)


def test_an_empty_cloud_and_a_wrong_number() -> None:
    cloud = road_cloud(np.random.default_rng(0), 0)
    message = segments_message(make_message, Segments(np.zeros(0, np.int16), CLASSES), cloud)
    assert len(segments_from_message(message, CLASSES)) == 0
    with pytest.raises(FrameError, match="one for each point"):
        segments_message(make_message, Segments(np.zeros(2, np.int16), CLASSES), cloud)
