"""What contradicts a rig: transforms through many frames, camera infos in any of their forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from understudy.bags.types import make_message
from understudy.errors import GeometryError
from understudy.messages.frame_tree import FrameTree
from understudy.messages.headers import header_message
from understudy.messages.images import camera_info_message
from understudy.messages.rig_comparison import camera_info_difference, mounting_difference, turned_deg
from understudy.messages.transforms import rig_transforms_message
from understudy.pose import Pose
from understudy.rig import Camera
from understudy.testing import simple_rig

RIG = simple_rig(camera=True)
FRONT = RIG.cameras["front"]
BENT = FRONT.model_copy(update={"distortion": (-0.1, 0.02, 0.001, -0.002, 0.0)})


def transforms(*entries: tuple[str, str, Pose]) -> Any:
    def one(parent: str, child: str, pose: Pose) -> Any:
        w, x, y, z = (float(value) for value in pose.quaternion_wxyz)
        shift = dict(zip("xyz", (float(value) for value in pose.translation_m), strict=True))
        transform = make_message(
            "geometry_msgs/msg/Transform",
            translation=make_message("geometry_msgs/msg/Vector3", **shift),
            rotation=make_message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        )
        header = header_message(make_message, 0, parent)
        return make_message(
            "geometry_msgs/msg/TransformStamped", header=header, child_frame_id=child, transform=transform
        )

    return make_message("tf2_msgs/msg/TFMessage", transforms=[one(*entry) for entry in entries])


def info_of(camera: Camera, **changed: Any) -> Any:
    return replace(camera_info_message(make_message, camera, 0, camera.frame_id), **changed)


class TestFrameTree:
    def test_a_chain_in_any_order_and_over_a_common_ancestor(self) -> None:
        tree = FrameTree()
        base_from_roof, roof_from_lidar = Pose.from_yaw(0.3, (1.0, 2.0, 1.5)), Pose.from_yaw(-1.0, (0.1, 0.0, 0.2))
        base_from_front = Pose.from_yaw(2.0, (2.0, 0.0, 1.0))
        assert tree.is_empty
        tree.add(transforms(("roof", "/lidar", roof_from_lidar), ("base_link", "roof", base_from_roof)))
        tree.add(transforms(("base_link", "front", base_from_front)))
        found = tree.pose("base_link", "lidar")
        assert found is not None
        np.testing.assert_allclose(found.matrix, (base_from_roof @ roof_from_lidar).matrix, atol=1e-12)
        across = tree.pose("front", "lidar")
        assert across is not None
        wanted = base_from_front.inverse() @ base_from_roof @ roof_from_lidar
        np.testing.assert_allclose(across.matrix, wanted.matrix, atol=1e-12)
        assert tree.pose("base_link", "rear") is None

    def test_the_rigs_own_transforms_are_no_contradiction(self) -> None:
        tree = FrameTree()
        tree.add(rig_transforms_message(make_message, RIG, 0))
        for sensor in RIG.sensors.values():
            pose = tree.pose("base_link", sensor.frame_id)
            assert pose is not None
            assert mounting_difference(sensor, pose) == ""

    def test_a_later_transform_takes_the_place_and_a_bad_message_changes_nothing(self) -> None:
        tree = FrameTree()
        tree.add(transforms(("base_link", "lidar", Pose.identity())))
        tree.add(transforms(("base_link", "lidar", Pose.from_yaw(0.0, (1.0, 0.0, 0.0)))))
        with pytest.raises(GeometryError, match="tree"):
            tree.add(transforms(("lidar", "top", Pose.identity()), ("top", "base_link", Pose.identity())))
        bad = transforms(("base_link", "lidar", Pose.identity()))
        bad.transforms[0].transform.rotation.w = 0.2
        with pytest.raises(GeometryError, match="quaternion"):
            tree.add(bad)
        found = tree.pose("base_link", "lidar")
        assert found is not None
        np.testing.assert_array_equal(found.translation_m, [1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("moved", "text"),
    [
        (Pose.from_yaw(0.0, (0.009, 0.0, 0.0)), ""),
        (Pose.from_yaw(np.radians(0.09)), ""),
        (Pose.from_yaw(0.0, (0.0, 0.011, 0.0)), "0.011 m and 0.00 degrees"),
        (Pose.from_yaw(np.radians(0.11)), "0.000 m and 0.11 degrees"),
        (Pose.from_yaw(np.pi), "180.00 degrees"),
    ],
)
def test_a_centimeter_and_a_tenth_of_a_degree(moved: Pose, text: str) -> None:
    difference = mounting_difference(FRONT, FRONT.ego_from_sensor.pose() @ moved)
    assert (text in difference) if text else (difference == "")


def test_small_turns_are_measured_exactly() -> None:
    for angle_deg in (1e-6, 0.1, 45.0, 179.0):
        turned = turned_deg(Pose.from_yaw(np.radians(angle_deg)), Pose.identity())
        assert turned == pytest.approx(angle_deg, rel=1e-6)


class TestCameraInfo:
    @pytest.mark.parametrize("camera", [FRONT, BENT])
    def test_the_rigs_own_is_no_difference(self, camera: Camera) -> None:
        assert camera_info_difference(camera, info_of(camera)) == ""

    def test_the_same_lens_in_another_model(self) -> None:
        rational = info_of(BENT, distortion_model="rational_polynomial", d=np.array([*BENT.distortion, 0.0, 0.0, 0.0]))
        assert camera_info_difference(BENT, rational) == ""

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"fx_px": 122.0}, "fx 122.0, the rig has 120.0"),
            ({"cy_px": 52.0}, "cy 52.0, the rig has 48.0"),
            ({"distortion": (-0.2, 0.0, 0.0, 0.0, 0.0)}, "another distortion"),
            ({"width_px": 320}, "320 x 96 pixels, the rig has 160 x 96"),
            ({"frame_id": "rear"}, "frame_id rear, the rig has front"),
        ],
    )
    def test_what_differs_is_named(self, changed: dict[str, Any], reason: str) -> None:
        other = FRONT.model_copy(update=changed)
        # Without P: the rectified pictures of such a lens would fit.
        info = info_of(other, p=np.zeros(12)) if "distortion" in changed else info_of(other)
        assert reason in camera_info_difference(FRONT, info)

    @pytest.mark.parametrize("frame_id", ["/front", ""])
    def test_a_frame_id_as_ros_1_wrote_it_or_none_contradicts_nothing(self, frame_id: str) -> None:
        assert camera_info_difference(FRONT, info_of(FRONT.model_copy(update={"frame_id": frame_id}))) == ""

    def test_an_uncalibrated_camera_and_one_without_a_size(self) -> None:
        """Zeros are the message's way to say that nobody knows; drivers without a calibration file send them."""
        assert camera_info_difference(FRONT, info_of(FRONT, k=np.zeros(9))) == ""
        assert "focal length" in camera_info_difference(FRONT, info_of(FRONT, k=np.diag([0.0, 1.0, 1.0]).reshape(-1)))
        difference = camera_info_difference(FRONT, info_of(FRONT, width=0))
        assert difference
        assert "\n" not in difference

    def test_a_rectified_rig_fits_the_rectified_matrix_of_a_bent_lens(self) -> None:
        raw = BENT.model_copy(update={"fx_px": 130.0})
        info = info_of(raw, p=info_of(FRONT).p)
        assert camera_info_difference(FRONT, info) == ""
        assert "apart" in camera_info_difference(BENT, info)

    def test_region_of_interest_and_binning(self) -> None:
        large = FRONT.model_copy(
            update={"width_px": 400, "height_px": 300, "fx_px": 240.0, "fy_px": 240.0, "cx_px": 200.0, "cy_px": 140.0}
        )
        region = replace(info_of(large).roi, x_offset=40, y_offset=44, width=320, height=192)
        info = info_of(large, roi=region, binning_x=2, binning_y=2)
        assert camera_info_difference(FRONT, info) == ""
