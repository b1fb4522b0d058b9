from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy.bundle.manifest import Grid
from understudy.pillars import group_points
from understudy_training.models.config import LearnedPillarEncoder, OccupancyEncoder
from understudy_training.models.encoders import OccupancyMap, PillarFeatureNet


def columns(cloud: np.ndarray) -> tuple[torch.Tensor, ...]:
    return torch.from_numpy(cloud).unbind(1)


@pytest.fixture
def occupancy(small_grid: Grid) -> OccupancyMap:
    return OccupancyMap(OccupancyEncoder(height_slices=8, intensity_slices=3), small_grid)


@pytest.fixture
def feature_net(small_grid: Grid) -> PillarFeatureNet:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = PillarFeatureNet(LearnedPillarEncoder(channels=6, max_points_per_pillar=3), small_grid)
        torch.nn.init.normal_(net.normalization.bias)
        net.normalization.running_mean.normal_()
    return net.eval()


def test_occupancy_says_which_voxels_hold_a_point(occupancy: OccupancyMap, cloud: np.ndarray) -> None:
    grid = occupancy.grid
    wanted = np.zeros((11, grid.height, grid.width), np.float32)
    for x, y, z, intensity in cloud:
        if not (np.isfinite((x, y, z)).all() and -12.8 <= x < 12.8 and -9.6 <= y < 9.6 and -1 <= z < 3):
            continue
        row, column = int((y + 9.6) / 0.4), int((x + 12.8) / 0.4)
        wanted[int((z + 1) * 2), row, column] = 1
        wanted[8 + int(intensity * 3), row, column] = 1
    found = occupancy.map_from_columns(*columns(cloud))
    assert found.shape == (1, 11, 48, 64)
    assert (found[0].numpy() != wanted).sum() <= 4  # points on a border may round to either side
    assert wanted.sum() > 1000


def test_one_point_in_one_voxel(occupancy: OccupancyMap) -> None:
    found = occupancy.map_from_columns(*columns(np.array([[0.1, -9.5, 2.9, 0.0]], np.float32)))
    assert found.nonzero().tolist() == [[0, 7, 0, 32], [0, 8, 0, 32]]


def test_intensity_beyond_its_range_is_clamped_and_nan_is_left_out(occupancy: OccupancyMap) -> None:
    points = np.array([[0, 0, 0, 7.0], [1, 0, 0, -2.0], [2, 0, 0, np.nan]], np.float32)
    found = occupancy.map_from_columns(*columns(points))[0]
    assert found[8:].sum((1, 2)).tolist() == [1.0, 0.0, 1.0]
    assert found[:8].sum() == 3


def test_batched_occupancy_is_the_exported_one(occupancy: OccupancyMap, cloud: np.ndarray) -> None:
    clouds = [cloud, cloud[:0], cloud[500:900]]
    batched = occupancy(occupancy.collate(clouds))
    for one, part in zip(batched, clouds, strict=True):
        assert torch.equal(one, occupancy.map_from_columns(*columns(part))[0])


def test_occupancy_does_not_depend_on_order(occupancy: OccupancyMap, cloud: np.ndarray) -> None:
    shuffled = np.random.default_rng(0).permutation(cloud)
    assert torch.equal(occupancy.map_from_columns(*columns(cloud)), occupancy.map_from_columns(*columns(shuffled)))


def test_batched_pillars_are_the_exported_ones(feature_net: PillarFeatureNet, cloud: np.ndarray) -> None:
    clouds = [cloud, cloud[:0], cloud[500:900]]
    with torch.no_grad():
        batched = feature_net(feature_net.collate(clouds))
        for one, part in zip(batched, clouds, strict=True):
            group = group_points(part, feature_net.grid, 3, 12_000)
            tensors = (torch.from_numpy(values) for values in (group.points, group.num_points, group.cells))
            torch.testing.assert_close(one, feature_net.map_from_pillars(*tensors)[0], rtol=1e-5, atol=1e-5)
    assert batched[1].count_nonzero() == 0
    assert batched[0].count_nonzero() > 1000


def test_pillar_features_by_hand(feature_net: PillarFeatureNet) -> None:
    points = np.array([[0.1, -9.5, 0.5, 0.2], [0.3, -9.3, 1.5, 0.6]], np.float32)
    center, mean = np.array([0.2, -9.4]), points[:, :3].mean(0)
    decorated = np.column_stack([points, points[:, :3] - mean, points[:, :2] - center])
    norm = feature_net.normalization
    linear = decorated @ feature_net.linear.weight[:, :, 0, 0].detach().numpy().T
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
    wanted = np.maximum((linear - norm.running_mean.numpy()) * scale + norm.bias.detach().numpy(), 0).max(0)
    with torch.no_grad():
        found = feature_net(feature_net.collate([points]))
    np.testing.assert_allclose(found[0, :, 0, 32].numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_the_feature_net_learns_from_every_point_kept(feature_net: PillarFeatureNet, cloud: np.ndarray) -> None:
    feature_net.train()
    feature_net(feature_net.collate([cloud, cloud])).square().sum().backward()
    assert feature_net.linear.weight.grad is not None
    assert feature_net.linear.weight.grad.abs().sum() > 0
