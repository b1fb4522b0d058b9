from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from understudy_training.models.head import REGRESSION_CHANNELS
from understudy_training.models.observed import Observed
from understudy_training.models.sizes import Size


@pytest.mark.parametrize("size", get_args(Size))
@pytest.mark.parametrize("output_stride", [1, 2, 4, 8])
def test_maps_have_the_shapes_they_promise(build, cloud: np.ndarray, size: Size, output_stride: int) -> None:
    detector = build(size, output_stride=output_stride).eval()
    with torch.no_grad():
        outputs = detector(detector.collate([Observed(cloud), Observed(cloud[:100])]))
    rows, columns = 48 // output_stride, 64 // output_stride
    config = detector.config
    assert outputs.heatmap.shape == (2, 2, rows, columns)
    assert outputs.regression.shape == (2, len(REGRESSION_CHANNELS), rows, columns)
    assert outputs.low.shape == (2, config.backbone.widths[0], 24, 32)
    assert outputs.high.shape == (2, 3 * config.neck_width, rows, columns)
    assert detector.output_stride == output_stride


def test_strides_are_free(build, cloud: np.ndarray) -> None:
    detector = build("nano", strides=(1, 2, 2), output_stride=1).eval()
    with torch.no_grad():
        outputs = detector(detector.collate([Observed(cloud)]))
    assert outputs.low.shape[-2:] == outputs.heatmap.shape[-2:] == (48, 64)


def test_centers_are_rare_at_the_start(build, cloud: np.ndarray) -> None:
    detector = build("small").eval()
    with torch.no_grad():
        probability = torch.sigmoid(detector(detector.collate([Observed(cloud)])).heatmap)
    assert 0.05 < probability.mean() < 0.15


@pytest.mark.parametrize("size", ["teacher", "small"])
def test_every_parameter_learns(build, cloud: np.ndarray, size: Size) -> None:
    detector = build(size, output_stride=2).train()
    outputs = detector(detector.collate([Observed(cloud), Observed(cloud[::2])]))
    (outputs.heatmap.square().mean() + outputs.regression.square().mean()).backward()
    silent = [name for name, value in detector.named_parameters() if value.grad is None or not value.grad.any()]
    assert silent == []


def test_a_detector_can_be_taught_where_one_box_is(build) -> None:
    detector = build("nano", output_stride=2).train()
    car = np.random.default_rng(0).uniform((3, 2, 0, 0), (7, 4, 1.6, 1), (300, 4)).astype(np.float32)
    inputs = detector.collate([Observed(car)])
    target = torch.zeros(1, 2, 24, 32)
    target[0, 0, 15, 22] = 1  # x 5 m, y 3 m in cells of 0.8 m
    optimizer = torch.optim.Adam(detector.parameters(), lr=3e-3)
    for _ in range(25):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(detector(inputs).heatmap, target, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = detector.decode(detector(inputs))
    assert found.labels[0, 0] == 0
    assert abs(found.boxes[0, 0, 0] - 5) < 1.3
    assert abs(found.boxes[0, 0, 1] - 3) < 1.3


def test_works_under_autocast(build, cloud: np.ndarray) -> None:
    detector = build("teacher", output_stride=2).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = detector(detector.collate([Observed(cloud), Observed(cloud[:0])]))
    outputs.heatmap.float().sum().backward()
    assert detector.decode(outputs).boxes.dtype == torch.float32


@pytest.mark.parametrize("size", ["teacher", "medium"])
def test_the_exported_module_says_what_the_detector_says(build, cloud: np.ndarray, size: Size) -> None:
    detector = build(size, output_stride=2).eval()
    with torch.no_grad():
        inputs = detector.collate([Observed(cloud)])
        wanted = detector.decode(detector(inputs))
        feeds = (torch.from_numpy(cloud), torch.eye(3, 4), torch.ones(1))
        if size == "teacher":
            feeds = (inputs.pillars, inputs.num_points, inputs.cells.int())
        boxes, scores, labels = detector.export_spec().module(*feeds)
    torch.testing.assert_close(scores, wanted.scores[0], rtol=0, atol=1e-5)
    rows = (scores > 0).nonzero()[:20, 0]
    torch.testing.assert_close(boxes[rows], wanted.boxes[0, rows], rtol=0, atol=1e-3)
    assert torch.equal(labels[rows], wanted.labels[0, rows])


def test_the_exported_module_is_a_copy(build) -> None:
    detector = build("nano").train()
    spec = detector.export_spec()
    assert detector.training
    assert not spec.module.training
    assert not {id(p) for p in spec.module.parameters()} & {id(p) for p in detector.parameters()}
