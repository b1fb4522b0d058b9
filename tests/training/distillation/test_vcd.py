import math

import numpy as np
import pytest
import torch

from understudy.bundle.inputs import DepthBins, Pictures
from understudy.bundle.manifest import Grid
from understudy.pose import Pose
from understudy.rig import Camera, Mounting
from understudy_training.distillation.occupancy import (
    OccupancyGeometry,
    VoxelGrid,
    box_gaussians,
    occupancy,
)
from understudy_training.distillation.terms.vcd import normalized, vcd
from understudy_training.distillation.trajectories import FrameBoxes, trajectory_mask, warped
from understudy_training.models.frustum import Frustum

GRID = Grid(x_range_m=(-16.0, 16.0), y_range_m=(-8.0, 8.0), z_range_m=(-1.0, 3.0), cell_m=0.5)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def car(x: float, y: float, yaw: float = 0.0, valid: bool = True) -> FrameBoxes:
    return FrameBoxes(torch.tensor([[[x, y, 0.8, 4.4, 1.9, 1.6, yaw]]], dtype=torch.float32), torch.tensor([[valid]]))


def poses(*world_from_ego: Pose) -> torch.Tensor:
    return torch.from_numpy(np.stack([pose.matrix for pose in world_from_ego]))[None]


def peak(mask: torch.Tensor) -> tuple[int, int]:
    place = int(mask[0, 0].argmax())
    return place // mask.shape[3], place % mask.shape[3]


def test_the_trajectory_term_by_hand():
    mask = torch.tensor([1.0, 0.5]).view(1, 1, 1, 2)
    f_s = torch.ones(1, 1, 1, 2, requires_grad=True)
    loss = vcd(torch.zeros(1, 1, 1, 2), f_s, mask, None, None, None, trajectory_weight=0.4)["traj"]
    assert loss.item() == pytest.approx(0.3333, abs=1e-4)
    loss.backward()
    np.testing.assert_allclose(f_s.grad.flatten(), [0.5333, 0.1333], atol=1e-4)


def test_the_mean_over_channels_is_the_releases_sum_at_256():
    f_t, f_s, mask = draw(2, 256, 4, 5), draw(2, 256, 4, 5, seed=1), draw(2, 1, 4, 5, seed=2).sigmoid()
    mean, spread = f_t.mean((0, 2, 3), keepdim=True), f_t.var((0, 2, 3), unbiased=False, keepdim=True).add(1e-5).sqrt()
    release = 0.4 / mask.sum() * (mask * f_s - mask * (f_t - mean) / spread).square().sum()
    torch.testing.assert_close(vcd(f_t, f_s, mask, None, None, None)["traj"], release)


def test_occupancy_by_hand():
    geom = OccupancyGeometry(torch.zeros(1, 1, 1, 1, 1, dtype=torch.int64), torch.ones(1, 1, 1, 1))
    said, own = (torch.full((1, 1, 1, 1, 1), value) for value in (0.9, 0.1))
    f_t, mask = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    assert vcd(f_t, f_t, mask, said, own, geom)["occ"].item() == pytest.approx(0.744, abs=1e-3)
    sigmoid = [1 / (1 + math.exp(-value)) - 0.5 for value in (0.9, 0.1)]
    assert sigmoid == pytest.approx([0.2109, 0.0250], abs=1e-4)
    assert vcd(f_t, f_t, mask, said, said, geom)["occ"] == 0


def test_the_experts_channels_have_mean_0_and_variance_1_and_only_the_students_have_a_gradient():
    f_t = 5 * draw(2, 3, 8, 8) + 2
    normal = normalized(f_t.movedim(1, -1).flatten(0, -2), f_t)
    torch.testing.assert_close(normal.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.var(0, unbiased=False), torch.ones(3), atol=1e-3, rtol=0)
    f_s = draw(2, 3, 8, 8, seed=1).requires_grad_()
    logits = draw(2, 1, 4, 2, 2).requires_grad_()
    geom = OccupancyGeometry(torch.arange(32).view(2, 1, 4, 2, 2) % 16, torch.ones(2, 1, 4, 4))
    said = vcd(f_t, f_s, torch.ones(2, 1, 8, 8), draw(2, 1, 4, 2, 2, seed=3).softmax(2), logits.softmax(2), geom)
    (said["traj"] + said["occ"]).backward()
    assert f_s.grad.abs().sum() > 0
    assert logits.grad.abs().sum() > 0
    with pytest.raises(AssertionError):
        vcd(f_t.requires_grad_(), f_s, torch.ones(2, 1, 8, 8), None, None, None)


def test_what_lies_outside_the_mask_does_not_matter():
    mask = trajectory_mask([car(2.0, 1.0)], poses(Pose.identity()), GRID)
    f_t, f_s = draw(1, 4, 32, 64), draw(1, 4, 32, 64, seed=1)
    before = vcd(f_t, f_s, mask, None, None, None)["traj"]
    perturbed = torch.where(mask > 0, f_s, f_s + 100 * draw(1, 4, 32, 64, seed=2))
    assert not torch.equal(perturbed, f_s)
    torch.testing.assert_close(vcd(f_t, perturbed, mask, None, None, None)["traj"], before)
    inside = torch.where(mask > 0, f_s + 1, f_s)
    assert vcd(f_t, inside, mask, None, None, None)["traj"] != before


def test_a_parked_car_leaves_no_trail_when_the_ego_moves():
    world_from_car = Pose.from_yaw(0.4, (103.0, 52.0, 0.8))
    egos = [
        Pose.from_yaw(turn, (x, y, 0.0)) for turn, x, y in ((0.3, 98.0, 50.0), (0.1, 95.5, 49.0), (-0.2, 93.0, 49.0))
    ]
    seen = []
    for world_from_ego in egos:
        ego_from_car = world_from_ego.inverse() @ world_from_car
        x, y, _ = ego_from_car.translation_m
        seen.append(car(x, y, ego_from_car.yaw_rad))
    together = trajectory_mask(seen, poses(*egos), GRID)
    alone = trajectory_mask(seen[:1], poses(egos[0]), GRID)
    torch.testing.assert_close(together, alone)
    unwarped = trajectory_mask(seen, poses(*[egos[0]] * 3), GRID)
    assert (unwarped > 0).sum() > 1.5 * (alone > 0).sum()
    now_from_then = torch.from_numpy((egos[0].inverse() @ egos[2]).matrix)[None]
    carried = warped(seen[2].geometry.double(), now_from_then)
    torch.testing.assert_close(carried, seen[0].geometry.double(), atol=1e-5, rtol=0)


def test_a_moving_car_is_drawn_where_it_was_and_boxes_off_the_grid_are_not():
    still = Pose.identity()
    mask = trajectory_mask([car(6.0, 1.0), car(2.0, 1.0), car(-40.0, 0.0)], poses(still, still, still), GRID)
    row, column = 18, 44
    assert mask[0, 0, row, column] == mask[0, 0, row, column - 8] == 1
    assert mask.shape == (1, 1, 32, 64)
    both = trajectory_mask([car(6.0, 1.0), car(2.0, 1.0)], poses(still, still), GRID)
    torch.testing.assert_close(mask, both)
    nothing = trajectory_mask([car(6.0, 1.0, valid=False)], poses(still), GRID)
    assert nothing.sum() == 0


def test_a_coarser_mask_has_its_peaks_at_the_same_places():
    fine = trajectory_mask([car(6.2, -3.3)], poses(Pose.identity()), GRID)
    coarse = trajectory_mask([car(6.2, -3.3)], poses(Pose.identity()), GRID, stride=2)
    assert coarse.shape == (1, 1, 16, 32)
    assert tuple(place // 2 for place in peak(fine)) == peak(coarse)


def ring_of_cameras(count: int = 3) -> list[Camera]:
    cameras = []
    for turn_rad in np.linspace(0, 2 * np.pi, count, endpoint=False):
        forward = Pose.from_quaternion((0.5, -0.5, 0.5, -0.5), (0.0, 0.0, 1.5))
        mounting = Mounting.from_pose(Pose.from_yaw(float(turn_rad)) @ forward)
        size = {"width_px": 64, "height_px": 32, "fx_px": 40.0, "fy_px": 40.0, "cx_px": 31.5, "cy_px": 15.5}
        cameras.append(Camera(ego_from_sensor=mounting, **size))
    return cameras


PICTURES = Pictures(
    num_cameras=3, width_px=64, height_px=32, focal_px=40.0, depth=DepthBins(near_m=1.0, far_m=20.0, count=12)
)
VOXELS = VoxelGrid(GRID, stride=2)


def voxels_of(cameras: list[Camera], pictures: Pictures = PICTURES) -> torch.Tensor:
    return VOXELS.voxels(Frustum.of([cameras], pictures).places())


def test_no_voxel_gets_more_than_the_pixels_have_and_the_order_of_cameras_does_not_matter():
    voxels = voxels_of(ring_of_cameras())
    depth = draw(1, 3, 12, 4, 8).softmax(2)
    filled = occupancy(depth, voxels, VOXELS.shape)
    assert filled.shape == (1, 4, 16, 32)
    assert 0 < filled.sum() <= 3 * 4 * 8
    torch.testing.assert_close(filled.sum(), depth[voxels >= 0].sum())
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(occupancy(depth[:, order], voxels[:, order], VOXELS.shape), filled)


def test_a_pixels_bin_falls_where_the_camera_looks():
    voxels = voxels_of(ring_of_cameras(4))[0]
    middles_m = PICTURES.depth.middles_m()
    layers, height, width = VOXELS.shape
    for camera, (along_x, along_y) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        for number, depth_m in enumerate(middles_m):
            place = int(voxels[camera, number, 2, 4])
            if abs(depth_m) > 7.5:
                continue
            layer, row, column = place // (height * width), place // width % height, place % width
            assert abs(column - (along_x * depth_m + 16)) < 1.6
            assert abs(row - (along_y * depth_m + 8)) < 1.6
            assert layer in (1, 2)
    assert layers == 4
    assert (voxels[:, -1] == -1).any()


def test_depth_of_another_focal_length_lies_where_it_is_in_meters():
    farther = PICTURES.model_copy(update={"focal_px": 80.0})
    camera = ring_of_cameras(1)
    near, scaled = (voxels_of(camera, pictures)[0, 0, :, 2, 4] for pictures in (PICTURES, farther))
    depth_m = PICTURES.depth.middles_m()
    assert (scaled >= 0).sum() > (near >= 0).sum()
    assert int(scaled[-1]) % 32 == int(16 + depth_m[-1] / 2)


def test_boxes_weigh_the_voxels_about_their_centers():
    geometry = torch.tensor([[[10.2, -3.4, 1.1, 4.4, 1.9, 1.6, 0.3], [-10.0, 5.0, 0.4, 0.8, 0.7, 1.7, 0.0]]])
    weight = box_gaussians(geometry, torch.tensor([[True, True]]), VOXELS)
    assert weight.shape == (1, 4, 16, 32)
    for x, y, z in geometry[0, :, :3].tolist():
        layer, row, column = int(z + 1), int(y + 8), int(x + 16)
        assert weight[0, layer, row, column].item() == pytest.approx(1, abs=1e-6)
    empty = box_gaussians(geometry, torch.tensor([[False, False]]), VOXELS)
    torch.testing.assert_close(empty, torch.full_like(empty, 1e-7))


def test_an_empty_scene_is_finite_and_asks_for_next_to_nothing():
    mask = trajectory_mask([car(0.0, 0.0, valid=False)], poses(Pose.identity()), GRID, stride=2)
    weight = box_gaussians(torch.zeros(1, 1, 7), torch.tensor([[False]]), VOXELS)
    geom = OccupancyGeometry(voxels_of(ring_of_cameras()), weight)
    logits = draw(1, 3, 12, 4, 8).requires_grad_()
    f_s = draw(1, 4, 16, 32).requires_grad_()
    said = vcd(torch.zeros(1, 4, 16, 32), f_s, mask, draw(1, 3, 12, 4, 8, seed=1).softmax(2), logits.softmax(2), geom)
    assert said["traj"] == 0
    assert 0 <= said["occ"] < 1e-3
    (said["traj"] + said["occ"]).backward()
    assert torch.isfinite(f_s.grad).all()
    assert torch.isfinite(logits.grad).all()
