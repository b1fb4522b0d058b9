from __future__ import annotations

from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from understudy.bundle.manifest import Grid, PillarsInput, PointsInput
from understudy.errors import RecipeError
from understudy_training.models.config import Backbone, DetectorConfig
from understudy_training.models.counting import Cost, count_macs, detector_cost
from understudy_training.models.detector import BevDetector
from understudy_training.models.sizes import DESIGN_GRID, GMAC_LIMITS, Size, detector_config

CLASSES = ("car", "truck", "pedestrian", "cyclist")
DEMO_GRID = Grid(x_range_m=(-25.6, 25.6), y_range_m=(-25.6, 25.6), z_range_m=(-1.0, 3.0), cell_m=0.4)


def cost(size: Size, grid: Grid = DESIGN_GRID, **options: int) -> Cost:
    return detector_cost(BevDetector(detector_config(size, grid, CLASSES, **options)))


def test_the_design_grid_is_the_one_of_the_limits() -> None:
    assert (DESIGN_GRID.height, DESIGN_GRID.width) == (496, 432)


@pytest.mark.parametrize("size", get_args(Size))
def test_every_size_keeps_its_limit(size: Size) -> None:
    assert 0.8 * GMAC_LIMITS[size] < cost(size).gmacs <= GMAC_LIMITS[size]


@pytest.mark.parametrize("grid", [DESIGN_GRID, DEMO_GRID])
def test_the_teacher_costs_ten_students_even_at_equal_resolution(grid: Grid) -> None:
    assert cost("teacher", grid, output_stride=2).macs >= 10 * cost("small", grid, output_stride=2).macs


def test_counts_what_a_hand_counts() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 5, 7))
    assert count_macs(net, torch.zeros(1, 3, 8, 10)) == 8 * 3 * 9 * 4 * 5 + 8 * 4 * 5 * 7


def test_counts_groups_and_every_call_of_a_shared_layer() -> None:
    grouped = nn.Conv2d(4, 4, 3, groups=4, padding=1)
    assert count_macs(nn.Sequential(grouped, grouped), torch.zeros(1, 4, 6, 6)) == 2 * 4 * 9 * 36


def test_counting_leaves_the_detector_alone() -> None:
    detector = BevDetector(detector_config("nano", DEMO_GRID, CLASSES)).train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    detector_cost(detector)
    assert detector.training
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())


def test_says_what_its_graph_takes() -> None:
    assert detector_config("small", DEMO_GRID, CLASSES).graph_input() == PointsInput(uses_intensity=False)
    assert detector_config("medium", DEMO_GRID, CLASSES).graph_input() == PointsInput(uses_intensity=True)
    assert isinstance(detector_config("teacher", DEMO_GRID, CLASSES).graph_input(), PillarsInput)


def test_unknown_size() -> None:
    with pytest.raises(RecipeError, match="found huge, wanted one of: teacher, medium, small, nano"):
        detector_config("huge", DEMO_GRID, CLASSES)  # type: ignore[arg-type]


def test_a_grid_that_does_not_suit_the_strides_is_one_clear_line() -> None:
    grid = Grid(x_range_m=(0, 10), y_range_m=(-5, 5), z_range_m=(-1, 3), cell_m=0.4)
    with pytest.raises(RecipeError, match=r"detector of size small: .*25 x 25 cells is not a whole multiple"):
        detector_config("small", grid, CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output_stride": 3}, "output_stride 3 does not divide"),
        ({"output_stride": 16}, "above the deepest stride"),
        ({"backbone": Backbone(widths=(8, 8, 8), layers=(1, 1, 1), strides=(3, 2, 2))}, "not a whole multiple"),
        ({"max_detections": 4000}, "less than or equal to 3840"),
        ({"class_names": tuple(map(str, range(500))), "output_stride": 1}, "entries"),
    ],
)
def test_refuses_what_cannot_be_built(change: dict, message: str) -> None:
    good = detector_config("small", DEMO_GRID, CLASSES)
    if "class_names" in change:
        change["grid"] = DESIGN_GRID
    with pytest.raises(ValidationError, match=message):
        DetectorConfig.model_validate({**dict(good), **change})
