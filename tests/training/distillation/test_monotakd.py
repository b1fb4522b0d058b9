import math
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, get_ident

import numpy as np
import pytest
import torch
from torch import nn

from understudy.bundle.inputs import DepthBins, Pictures
from understudy.rig import Camera, Mounting
from understudy_training.distillation import residuals
from understudy_training.distillation.residuals import (
    FittedProjection,
    Matched,
    Standardization,
    residual_target,
    unscaled,
)
from understudy_training.distillation.terms.monotakd import monotakd
from understudy_training.distillation.terms.quality_focal import HeadMaps, box_errors, class_error, quality_focal
from understudy_training.models.camera import one_hot_depth
from understudy_training.models.camera_config import ResidualBranch
from understudy_training.models.residual_branch import DilatedBlock, TwoBranches
from understudy_training.models.true_depth import mean_depth_bins

PAPERS_BINS = DepthBins(near_m=2.0, far_m=46.8, count=120)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def heads(seed: int = 0, *, grad: bool = False) -> HeadMaps:
    return HeadMaps(*(draw(2, channels, 6, 6, seed=seed + channels).requires_grad_(grad) for channels in (3, 8)))


def parts(f_t, f_a, f_vis, f_spa, head_t=None, head_s=None, mode="top", scale=unscaled):
    return monotakd(f_t, f_a, f_vis, f_spa, head_t or heads(1), head_s or heads(2), mode, scale)


def test_residuals_of_the_release_by_hand():
    away = torch.tensor([0.1, 0.5, 1.0]).view(1, 1, 1, 3)
    zero = torch.zeros_like(away)
    assert residual_target(away, zero, "max").flatten().tolist() == [0, 0, 1]
    assert residual_target(zero, 2 * away, "max").flatten().tolist() == [0, 0, 2]
    assert residual_target(2 * away, zero, "binary").flatten().tolist() == [0, 0, 1]


def test_the_strongest_tenth_of_the_cells_keeps_its_sign():
    f_t, f_a = draw(2, 4, 10, 10, seed=1), draw(2, 4, 10, 10, seed=2)
    kept = residual_target(f_t, f_a, "top")
    norm = (f_t - f_a).norm(dim=1).flatten(1)
    for frame in range(2):
        held = kept[frame].abs().sum(0).flatten() > 0
        assert held.sum() == 10
        assert norm[frame][held].min() > norm[frame][~held].max()
        torch.testing.assert_close(kept[frame].flatten(1)[:, held], (f_t - f_a)[frame].flatten(1)[:, held])
    alone = residual_target(f_t[1:], f_a[1:], "top")
    torch.testing.assert_close(kept[1:], alone)


@pytest.mark.parametrize("mode", ["top", "binary", "max"])
def test_equal_maps_leave_no_residual(mode):
    dense = draw(2, 4, 6, 6)
    assert residual_target(dense, dense.clone(), mode).abs().sum() == 0
    empty = torch.zeros(2, 4, 6, 6)
    said = parts(empty, empty, empty, empty, mode=mode)
    assert said["imd"] == said["cmrd"] == 0
    assert torch.isfinite(said["logit"])


def test_quality_focal_loss_by_hand():
    assert quality_focal(torch.tensor(0.0), torch.tensor(0.8)).item() == pytest.approx(0.09 * math.log(2), abs=1e-6)
    assert 0.09 * math.log(2) == pytest.approx(0.06238, abs=1e-5)


def test_classes_are_divided_by_what_the_teacher_sees_of_each():
    probability = torch.tensor([[[[0.8, 0.8, 0.0]], [[0.0, 0.0, 0.0]]]])
    teacher = HeadMaps(torch.logit(probability, eps=1e-7), torch.zeros(1, 8, 1, 3))
    student = HeadMaps(
        torch.logit(torch.tensor([[[[0.5, 0.5, 0.0]], [[0.0, 0.0, 0.0]]]]), eps=1e-7), teacher.regression
    )
    assert class_error(student, teacher, 0.1).item() == pytest.approx(0.06238, abs=1e-5)


def test_boxes_count_where_the_teacher_sees_them_by_its_probability():
    logits = torch.logit(torch.tensor([[[[0.8, 0.01]], [[0.1, 0.01]]]]))
    said, own = torch.zeros(1, 8, 1, 2), torch.zeros(1, 8, 1, 2)
    said[:, 7], own[:, 7], own[:, 0] = 1.0, -1.0, 2.0  # the other way round, and 2 cells off
    located, directed = box_errors(HeadMaps(logits, own), HeadMaps(logits, said), 0.1)
    assert located.item() == pytest.approx(0.9 * 1.5, abs=1e-6)
    assert directed.item() == pytest.approx(0.9 * 1.5, abs=1e-6)


def test_depth_bins_of_the_paper_by_hand():
    assert PAPERS_BINS.bin_of(np.array([10.0, 30.0, 1.9, 46.8, 2.0])).tolist() == [50, 94, -1, -1, 0]


def test_points_fall_into_the_blocks_they_are_seen_in():
    looking_ahead = Mounting(translation_m=(0.0, 0.0, 0.0), rotation_wxyz=(0.5, -0.5, 0.5, -0.5))
    camera = Camera(ego_from_sensor=looking_ahead, width_px=32, height_px=16, fx_px=16, fy_px=16, cx_px=15.5, cy_px=7.5)
    pictures = Pictures(num_cameras=1, width_px=32, height_px=16, focal_px=16, depth=PAPERS_BINS)
    ahead_m = np.array([[8.0, 2.0, 1.0, 0.3], [12.0, 3.0, 1.0, 0.3], [30.0, -2.0, -5.0, 0.3], [-9.0, 0, 0, 0]])
    bins = mean_depth_bins(ahead_m, [camera], pictures)
    assert bins.shape == (1, 2, 4)
    assert bins[0].tolist() == [[-1, 50, -1, -1], [-1, -1, 94, -1]]
    farther = pictures.model_copy(update={"focal_px": 32.0})
    assert mean_depth_bins(ahead_m[:2], [camera], farther)[0, 0, 1] == PAPERS_BINS.bin_of(np.array(20.0))


class Lift(nn.Module):
    """A picture row of 6 features lifted along 8 bins of depth, and collapsed: the smallest camera student."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.depth, self.branches = nn.Conv2d(3, 8, 1), TwoBranches(ResidualBranch(), 3, channels)

    def forward(self, features: torch.Tensor, depth: torch.Tensor | None = None):
        distribution = self.depth(features).softmax(1) if depth is None else depth
        lifted = (distribution[:, None] * features[:, :, None]).squeeze(3)
        return self.branches(lifted)


@pytest.fixture
def lifts():
    torch.manual_seed(0)
    student, assistant = Lift(), Lift()
    assistant.load_state_dict(student.state_dict())
    return student.eval(), assistant.eval()


PICTURE = draw(2, 3, 1, 6, seed=5)
TRUE_DEPTH = one_hot_depth(torch.tensor([[[[1, 3, 3, -1, 7, 0]]], [[[2, 2, 4, 6, -1, 5]]]]), 8)[:, 0]


@pytest.mark.parametrize("scale", [unscaled, "standardize", "project"])
def test_gradients_reach_the_collapse_of_the_student_and_nothing_else(lifts, scale):
    student, assistant = lifts
    teacher = nn.Conv2d(4, 4, 1)
    scale = {"standardize": Standardization(4), "project": FittedProjection(4, 4)}.get(scale, scale)
    with torch.no_grad():
        f_a = assistant(PICTURE, TRUE_DEPTH).visual
        f_t = teacher(draw(2, 4, 8, 6, seed=9))
    own = student(PICTURE)
    said = parts(f_t, f_a, own.visual, own.spatial, heads(1), heads(2, grad=True), scale=scale)
    said["imd"].backward(retain_graph=True)
    collapse = student.branches.collapse_visual[0].weight
    assert collapse.grad.abs().sum() > 0
    assert student.depth.weight.grad.abs().sum() > 0
    assert student.branches.collapse_spatial[0].weight.grad is None
    (said["cmrd"] + said["logit"]).backward()
    assert student.branches.collapse_spatial[0].weight.grad.abs().sum() > 0
    assert all(part.grad is None for part in [*assistant.parameters(), *teacher.parameters()])


def test_targets_with_a_gradient_are_our_bug():
    maps = [draw(2, 4, 6, 6, seed=seed) for seed in range(4)]
    for number in range(2):
        wrong = [part.clone().requires_grad_(place == number) for place, part in enumerate(maps)]
        with pytest.raises(AssertionError, match="constants"):
            parts(*wrong)


def test_a_student_with_true_depth_and_the_assistants_weights_has_nothing_to_learn_from_it(lifts):
    student, assistant = lifts
    with torch.no_grad():
        f_a = assistant(PICTURE, TRUE_DEPTH).visual
    f_t = draw(2, 4, 8, 6)
    predicted = student.depth(PICTURE).softmax(1)
    away = [
        parts(f_t, f_a, student(PICTURE, (1 - share) * predicted + share * TRUE_DEPTH).visual, None)["imd"].item()
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert away[-1] == 0
    assert away == sorted(away, reverse=True)
    assert away[0] > 0


def test_maps_are_brought_to_the_assistants_units_before_they_are_subtracted():
    f_a, scale = 3 * draw(4, 3, 16, 16) + 2, Standardization(3)
    matched = scale(50 * (f_a - 1), f_a)
    torch.testing.assert_close(matched.teacher, f_a, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(matched.unit.flatten(), f_a.std(dim=(0, 2, 3)), atol=1e-3, rtol=1e-3)
    scale.eval()
    once = scale(draw(1, 3, 4, 4), draw(1, 3, 4, 4, seed=1)).teacher
    torch.testing.assert_close(scale(draw(1, 3, 4, 4), 9 * f_a[:1, :, :4, :4]).teacher, once)


def test_channels_that_never_vary_stay_finite():
    scale = Standardization(2)
    matched = scale(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
    assert torch.isfinite(matched.teacher).all()
    assert matched.unit.flatten().tolist() == [1, 1]


def test_a_projection_finds_the_mixing_of_channels_and_then_stays():
    mixing, f_t = draw(3, 5, seed=3), draw(4, 5, 16, 16)
    f_a = torch.einsum("dc,bchw->bdhw", mixing, f_t) + 0.7
    scale = FittedProjection(5, 3, fit_maps=4, ridge=1e-9)
    torch.testing.assert_close(scale(f_t, f_a).teacher, f_a, atol=1e-3, rtol=1e-3)
    weight = scale.weight.clone()
    scale(f_t, -f_a)
    torch.testing.assert_close(scale.weight, weight)
    assert not list(scale.parameters())


class Together:
    """Stands in for `ranks`: two threads that are the processes of one training, sums by way of a barrier."""

    def __init__(self) -> None:
        self.barrier, self.said = Barrier(2, timeout=20), {}

    def world_size(self) -> int:
        return 2

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        self.said[get_ident()] = values
        self.barrier.wait()
        total = torch.stack([*self.said.values()]).sum(0)
        self.barrier.wait()
        return total


@pytest.mark.parametrize("build", [lambda: Standardization(4), lambda: FittedProjection(4, 4)])
def test_two_processes_match_their_maps_as_one_with_all_of_them(build, monkeypatch):
    torch.manual_seed(3)
    f_t, f_a = torch.randn(3, 4, 4, 8, 8).double(), torch.randn(3, 4, 4, 8, 8).double()
    alone = build().double()
    for seen in zip(f_t, f_a, strict=True):
        wanted = alone(*seen)
    halves = [build().double() for _ in range(2)]
    monkeypatch.setattr(residuals, "ranks", Together())

    def half(number: int) -> Matched:
        mine = slice(2 * number, 2 * number + 2)
        return [halves[number](t[mine], a[mine]) for t, a in zip(f_t, f_a, strict=True)][-1]

    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(half, range(2))]
    assert [scale.assistant.num_maps for scale in halves] == [alone.assistant.num_maps] * 2
    torch.testing.assert_close(torch.cat([matched.teacher for matched in found]), wanted.teacher)
    for matched in found:
        torch.testing.assert_close(matched.unit, wanted.unit)


def test_a_folded_student_is_taught_by_both_targets():
    f_t, f_a = draw(2, 4, 10, 10, seed=1), draw(2, 4, 10, 10, seed=2)
    both = f_a + residual_target(f_t, f_a, "top")
    said = parts(f_t, f_a, both, None, heads(1), heads(1))
    assert said["cmrd"].item() == pytest.approx(0, abs=1e-6)
    assert parts(f_t, f_a, f_a, None)["imd"] == 0


def test_the_order_of_frames_does_not_matter_and_a_batch_is_the_mean_of_its_frames():
    maps = [draw(2, 4, 6, 6, seed=seed) for seed in range(4)]
    head_t, head_s = heads(1), heads(2)
    swap = torch.tensor([1, 0])
    swapped_heads = [HeadMaps(head.heatmap[swap], head.regression[swap]) for head in (head_t, head_s)]
    whole, swapped = parts(*maps, head_t, head_s), parts(*(part[swap] for part in maps), *swapped_heads)
    single = [
        parts(
            *(part[i : i + 1] for part in maps),
            *(HeadMaps(head.heatmap[i : i + 1], head.regression[i : i + 1]) for head in (head_t, head_s)),
        )
        for i in range(2)
    ]
    for name, value in whole.items():
        torch.testing.assert_close(value, swapped[name])
        torch.testing.assert_close(value, (single[0][name] + single[1][name]) / 2)


def test_no_channel_counts_for_its_scale():
    f_t, f_a, f_vis, f_spa = (draw(2, 4, 6, 6, seed=seed) for seed in range(4))
    stretch = torch.tensor([1.0, 10.0, 0.1, 3.0]).view(1, 4, 1, 1)
    head = heads(1)

    def scaled(by):
        def scale(teacher: torch.Tensor, assistant: torch.Tensor) -> Matched:
            return Matched(teacher, by)

        return scale

    plain = parts(f_t, f_a, f_vis, f_spa, head, head, scale=unscaled)
    wide = parts(*(stretch * part for part in (f_t, f_a, f_vis, f_spa)), head, head, scale=scaled(stretch))
    for name in ("imd", "cmrd"):
        torch.testing.assert_close(plain[name], wide[name])


def test_branches_keep_the_maps_size_and_the_residual_has_both_signs():
    branches = TwoBranches(ResidualBranch(inner=4, hidden=8), 6, 8).eval()
    maps = branches(draw(1, 6, 12, 10))
    assert maps.fused.shape == maps.visual.shape == maps.spatial.shape == (1, 8, 12, 10)
    assert maps.spatial.min() < 0 < maps.spatial.max()


def test_dilated_layers_learn_the_same_in_half_precision():
    block = DilatedBlock(24, 48, 2).to(memory_format=torch.channels_last)
    dense = draw(2, 24, 64, 64).contiguous(memory_format=torch.channels_last)
    gradients = []
    for narrow in (False, True):
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            out = block(dense)
        out.square().sum().backward()
        gradients.append(block[0].weight.grad.clone())
    assert torch.isfinite(gradients[1]).all()
    torch.testing.assert_close(gradients[1], gradients[0])
