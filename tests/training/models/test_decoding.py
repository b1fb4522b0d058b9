from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.bundle.manifest import Grid
from understudy_training.models.decoding import _greedy_keep, _is_peak, _quotient_and_rest, _yaw, decode, prob_iou

GRID = Grid(x_range_m=(-12.8, 12.8), y_range_m=(-9.6, 9.6), z_range_m=(-1.0, 3.0), cell_m=0.4)
CLASSES, HEIGHT, WIDTH, STEP_M = 3, 24, 32, 0.8


def encode(boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps of stride 2 that say exactly these boxes."""
    heatmap, regression = np.full((1, CLASSES, HEIGHT, WIDTH), -9.0), np.zeros((1, 8, HEIGHT, WIDTH))
    for (x, y, z, length, width, height, yaw), label, score in zip(boxes, labels, scores, strict=True):
        u, v = (x + 12.8) / STEP_M, (y + 9.6) / STEP_M
        row, column = int(v), int(u)
        heatmap[0, label, row, column] = np.log(score / (1 - score))
        sizes = np.log([length, width, height])
        regression[0, :, row, column] = u - column, v - row, z, *sizes, np.sin(yaw), np.cos(yaw)
    return torch.from_numpy(heatmap).float(), torch.from_numpy(regression).float()


def cosine_and_sine(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cos(boxes[..., 6]), torch.sin(boxes[..., 6])


def test_gives_back_what_was_encoded() -> None:
    yaws = np.linspace(-3.1, 3.1, 8)
    boxes = np.array([[-10 + 2.9 * i, -8.3 + 2.1 * i, 0.7, 4.2, 1.8, 1.5, yaw] for i, yaw in enumerate(yaws)])
    labels, scores = np.arange(8) % 3, np.linspace(0.9, 0.2, 8)
    found = decode(*encode(boxes, labels, scores), GRID, 2, max_detections=20)
    assert found.boxes.shape == (1, 20, 7)
    assert found.labels.dtype == torch.int32
    np.testing.assert_allclose(found.boxes[0, :8].numpy(), boxes, atol=1e-4)
    np.testing.assert_allclose(found.scores[0, :8].numpy(), scores, atol=1e-5)
    assert found.labels[0, :8].tolist() == labels.tolist()
    assert found.scores[0, 8:].max() < 1e-3


def test_the_weaker_of_two_on_one_object_goes_and_other_classes_stay() -> None:
    car = [0.2, 0.2, 0.8, 4.2, 1.8, 1.5, 0.3]
    shifted = [1.9, 0.2, 0.8, 4.2, 1.8, 1.5, 0.3]
    beside = [0.2, 4.2, 0.8, 4.2, 1.8, 1.5, 0.3]
    boxes, labels = np.array([car, shifted, beside, shifted]), np.array([0, 0, 0, 1])
    boxes[3, 1] += 0.8
    found = decode(*encode(boxes, labels, np.array([0.9, 0.8, 0.7, 0.6])), GRID, 2, max_detections=4)
    np.testing.assert_allclose(found.scores[0].numpy(), [0.9, 0.0, 0.7, 0.6], atol=1e-5)


def test_fewer_entries_than_detections_asked_for() -> None:
    found = decode(torch.zeros(2, 1, 2, 3), torch.zeros(2, 8, 2, 3), GRID, 2)
    assert found.boxes.shape == (2, 6, 7)


def test_each_cloud_of_a_batch_is_decoded_on_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    heatmap, regression = (torch.randn(3, c, 24, 32, generator=generator) for c in (CLASSES, 8))
    together = decode(heatmap, regression, GRID, 2)
    for row in range(3):
        alone = decode(heatmap[row : row + 1], regression[row : row + 1], GRID, 2)
        assert torch.equal(alone.boxes[0], together.boxes[row])
        assert torch.equal(alone.scores[0], together.scores[row])


def test_nothing_the_network_says_gives_a_value_that_is_not_finite() -> None:
    wild = torch.full((1, 8, 4, 4), 1e4)
    for sign in (1, -1, 0):
        found = decode(torch.randn(1, 2, 4, 4), wild * sign, GRID, 2)
        assert torch.isfinite(found.boxes).all()
        assert torch.isfinite(found.scores).all()


def test_a_plateau_counts_once_at_its_first_cell() -> None:
    heatmap = torch.full((1, 1, 6, 7), -3.0)
    heatmap[0, 0, 2:4, 3:6] = 1.0
    heatmap[0, 0, 5, 0] = 0.5
    peaks = _is_peak(heatmap)[0, 0].nonzero().tolist()
    assert [2, 3] in peaks
    assert [5, 0] in peaks
    assert not [cell for cell in peaks if cell != [2, 3] and heatmap[0, 0, cell[0], cell[1]] == 1.0]
    assert _is_peak(torch.zeros(1, 1, 5, 5)).sum() == 1


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_peaks_are_the_strict_local_maxima(seed: int) -> None:
    heatmap = np.random.default_rng(seed).permutation(63).reshape(7, 9).astype(np.float32)
    padded = np.pad(heatmap, 1, constant_values=-1)
    wanted = [[heatmap[r, c] == padded[r : r + 3, c : c + 3].max() for c in range(9)] for r in range(7)]
    found = _is_peak(torch.from_numpy(heatmap)[None, None])[0, 0].bool().numpy()
    assert (found == np.array(wanted)).all()


@pytest.mark.parametrize("divisor", [1, 7, 432, 13_392])
def test_whole_number_division_is_exact_below_its_limit(divisor: int) -> None:
    numbers = np.unique(np.r_[np.arange(5 * divisor), np.arange(1, 2**22 // divisor, 101) * divisor - 1, 2**22 - 1])
    quotient, rest = _quotient_and_rest(torch.from_numpy(numbers).float(), divisor)
    assert (quotient.numpy() == numbers // divisor).all()
    assert (rest.numpy() == numbers % divisor).all()


def test_yaw_is_atan2() -> None:
    angles = np.linspace(-np.pi + 1e-3, np.pi, 721)
    for norm in (0.05, 1.0, 3.0):
        sine, cosine = (torch.from_numpy(norm * f(angles)).float() for f in (np.sin, np.cos))
        np.testing.assert_allclose(_yaw(sine, cosine).numpy(), angles, atol=2e-5)
    assert _yaw(torch.zeros(1), torch.zeros(1)).item() == 0


def gaussian_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """ProbIoU from its definition, with matrices."""

    def covariance(box: np.ndarray) -> np.ndarray:
        rotation = np.array([[np.cos(box[6]), -np.sin(box[6])], [np.sin(box[6]), np.cos(box[6])]])
        return rotation @ np.diag(box[3:5] ** 2 / 12) @ rotation.T

    a, b = covariance(one), covariance(other)
    middle, shift = (a + b) / 2, one[:2] - other[:2]
    distance = shift @ np.linalg.inv(middle) @ shift / 8
    distance += np.log(np.linalg.det(middle) / np.sqrt(np.linalg.det(a) * np.linalg.det(b))) / 2
    return float(1 - np.sqrt(1 - np.exp(-distance)))


def random_boxes(seed: int, count: int, spread_m: float) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centers = generator.uniform(-spread_m, spread_m, (count, 3))
    return np.column_stack([centers, generator.uniform(0.5, 5, (count, 3)), generator.uniform(-3, 3, count)])


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_overlap_is_its_definition_in_closed_form(seed: int) -> None:
    boxes = random_boxes(seed, 6, 4.0)
    tensor = torch.from_numpy(boxes)[None].float()
    found = prob_iou(tensor, *cosine_and_sine(tensor))[0].numpy()
    wanted = np.array([[gaussian_overlap(a, b) if a is not b else 1.0 for b in boxes] for a in boxes])
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    np.testing.assert_allclose(found, found.T, atol=1e-5)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), spread_m=st.floats(5, 40))
def test_suppression_is_greedy(seed: int, spread_m: float) -> None:
    boxes = torch.from_numpy(random_boxes(seed, 60, spread_m))[None].float()
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (1, 60)))
    overlaps = prob_iou(boxes, *cosine_and_sine(boxes)) > 0.3
    kept: list[int] = []
    for row in range(60):
        if not any(overlaps[0, other, row] and labels[0, other] == labels[0, row] for other in kept):
            kept.append(row)
    assert _greedy_keep(overlaps, labels)[0].nonzero()[:, 0].tolist() == kept
