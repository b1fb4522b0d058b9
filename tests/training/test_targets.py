import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy.boxes import Boxes
from understudy_training.losses import (
    DIRECTION_SHARE,
    cells_where,
    detection_loss,
    focal_loss,
    gather_cells,
    residual_error,
)
from understudy_training.targets import batch_boxes, draw_gaussians, gaussian_radius, make_targets
from understudy_training.testing import CLASSES, GRID, boxes_in


def targets_of(*samples: Boxes, stride: int = 2):
    boxes = batch_boxes(samples, CLASSES, GRID, min_points=3)
    return make_targets(boxes, GRID, stride, len(CLASSES), overlap=0.1, min_radius=1)


def one_box(x: float, y: float, *, label: int = 0, num_points: int = 60, yaw: float = 0.5) -> Boxes:
    geometry = np.array([[x, y, 0.8, 4.4, 1.9, 1.6, yaw]], np.float32)
    return Boxes(geometry, np.array([label], np.int32), CLASSES, num_points=np.array([num_points], np.int32))


@pytest.mark.parametrize(
    ("length_m", "width_m", "unfloored"), [(4.5, 1.9, 1.23), (0.8, 0.7, 0.34)], ids=["car", "pedestrian"]
)
def test_gaussian_radius_is_the_published_rule(length_m, width_m, unfloored):
    scale = 100.0  # radii are homogeneous, so a hundredfold box shows two decimals through the floor
    radius = gaussian_radius(torch.tensor(scale * length_m / 0.6), torch.tensor(scale * width_m / 0.6), 0.7)
    assert float(radius) / scale == pytest.approx(unfloored, abs=0.01)


def test_a_box_becomes_a_peak_and_residuals_at_its_own_cell():
    targets = targets_of(one_box(1.0, -2.3, label=1))
    column, row = int((1.0 + 12.8) / 1.6), int((-2.3 + 12.8) / 1.6)
    assert targets.heatmap[0, 1, row, column] == 1
    assert (targets.heatmap[0, 1] == 1).sum() == 1
    assert targets.heatmap[0, 0].sum() == 0
    assert targets.cells[0, 0] == row * 16 + column
    dx, dy = (1.0 + 12.8) / 1.6 - column, (-2.3 + 12.8) / 1.6 - row
    wanted = [dx, dy, 0.8, np.log(4.4), np.log(1.9), np.log(1.6), np.sin(0.5), np.cos(0.5)]
    np.testing.assert_allclose(targets.regression[0, 0], wanted, atol=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_the_drawn_map_is_the_slow_one(seed):
    generator = np.random.default_rng(seed)
    samples = [boxes_in(generator, int(generator.integers(0, 6))) for _ in range(2)]
    targets = targets_of(*samples)
    wanted = np.zeros_like(targets.heatmap)
    for sample, boxes in enumerate(samples):
        for (x, y, _, length, width, *_), label in zip(boxes.geometry, boxes.labels, strict=True):
            radius = max(1, int(gaussian_radius(torch.tensor(length / 1.6), torch.tensor(width / 1.6), 0.1)))
            column, row = int((x + 12.8) / 1.6), int((y + 12.8) / 1.6)
            for i in range(max(0, row - radius), min(16, row + radius + 1)):
                for j in range(max(0, column - radius), min(16, column + radius + 1)):
                    value = np.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * ((2 * radius + 1) / 6) ** 2))
                    wanted[sample, label, i, j] = max(wanted[sample, label, i, j], value)
    np.testing.assert_allclose(targets.heatmap, wanted, atol=1e-6)


def test_boxes_hit_too_rarely_are_neither_asked_for_nor_background():
    targets = targets_of(one_box(1.0, 1.0, num_points=2))
    assert targets.heatmap.sum() == 0
    assert not targets.mask.any()
    assert targets.background[0, 0, 8, 8] == 0
    assert targets.background.sum() > 200


def test_boxes_off_the_grid_and_of_other_classes_are_left_out():
    assert not targets_of(one_box(40.0, 0.0)).mask.any()
    stranger = Boxes(np.ones((1, 7), np.float32), np.zeros(1, np.int32), ("tram",))
    assert not batch_boxes([stranger], CLASSES, GRID, 3).valid.any()


def test_nothing_to_draw_draws_nothing():
    empty = torch.zeros(1, 1)
    drawn = draw_gaussians(empty, empty, empty, empty.long(), empty.bool(), (1, 2, 4, 4))
    assert drawn.shape == (1, 2, 4, 4)
    assert drawn.sum() == 0


def test_perfect_outputs_cost_almost_nothing_and_wrong_ones_do():
    targets = targets_of(one_box(1.0, -2.3))
    logits = torch.where(targets.heatmap == 1, 12.0, -12.0)
    regression = torch.zeros(1, 8, 16, 16)
    regression.flatten(2)[0, :, targets.cells[0, 0]] = targets.regression[0, 0]
    assert detection_loss(logits, regression, targets, 1.0).total < 1e-3
    assert detection_loss(-logits, regression + 1, targets, 1.0).total > 8


def test_focal_loss_by_hand():
    target = torch.tensor([1.0, 0.5]).view(1, 1, 1, 2)
    loss = focal_loss(torch.zeros(1, 1, 1, 2), target, torch.ones(1, 1, 1, 2))
    assert float(loss) == pytest.approx(np.log(2) * (0.25 + 0.5**4 * 0.25))


def test_an_empty_batch_has_finite_gradients():
    targets = targets_of(Boxes.empty(CLASSES))
    logits, regression = torch.zeros(1, 2, 16, 16, requires_grad=True), torch.zeros(1, 8, 16, 16, requires_grad=True)
    detection_loss(logits, regression, targets, 1.0).total.backward()
    assert torch.isfinite(logits.grad).all()
    assert (regression.grad == 0).all()


def test_gather_reads_rows_then_columns():
    dense = torch.arange(12.0).view(1, 1, 3, 4)
    assert gather_cells(dense, torch.tensor([[1 * 4 + 2]])).item() == 6


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_cells_of_several_frames_are_read_each_in_its_own(layout):
    torch.manual_seed(0)
    dense = torch.randn(3, 5, 4, 6).contiguous(memory_format=layout).requires_grad_()
    cells = torch.randint(0, 24, (3, 7))
    wanted = dense.flatten(2).gather(2, cells[:, None].expand(-1, 5, -1)).transpose(1, 2)
    found = gather_cells(dense, cells)
    assert torch.equal(found, wanted)
    weight = torch.randn_like(wanted)
    slopes = [torch.autograd.grad((values * weight).sum(), dense)[0] for values in (found, wanted)]
    torch.testing.assert_close(*slopes)
    assert gather_cells(dense, cells[:, :0]).shape == (3, 0, 5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_chosen_cells_are_read_frame_by_frame_and_row_by_row(layout):
    torch.manual_seed(0)
    dense = torch.randn(3, 5, 4, 6).contiguous(memory_format=layout).requires_grad_()
    chosen = torch.rand(3, 4, 6) * (torch.rand(3, 4, 6) > 0.6)
    frame, row, column = chosen.nonzero(as_tuple=True)
    found, wanted = cells_where(dense, chosen), dense[frame, :, row, column]
    assert len(wanted) > 5
    assert torch.equal(found, wanted)
    weight = torch.randn_like(wanted)
    slopes = [torch.autograd.grad((values * weight).sum(), dense)[0] for values in (found, wanted)]
    torch.testing.assert_close(*slopes)
    assert cells_where(dense, torch.zeros_like(chosen)).shape == (0, 5)


def test_the_heading_counts_mostly_as_an_axis():
    wanted = torch.tensor([0.0, 0.0, 0.8, 1.5, 0.6, 0.4, np.sin(0.5), np.cos(0.5)], dtype=torch.float32)
    turned = wanted.clone()
    turned[6:] *= -1
    reach = 2 * (abs(np.sin(0.5)) + abs(np.cos(0.5)))
    assert residual_error(wanted, wanted) == 0
    assert float(residual_error(turned, wanted)) == pytest.approx(DIRECTION_SHARE * reach, rel=1e-5)
    vanished = wanted.clone()
    vanished[6:] = 0
    both_ways = (residual_error(vanished, wanted) + residual_error(vanished, turned)) / 2
    either_way = (residual_error(wanted, wanted) + residual_error(wanted, turned)) / 2
    assert either_way < both_ways
