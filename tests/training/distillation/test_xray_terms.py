"""The terms of X-Ray Distillation: by hand, what costs nothing, who gets gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.distillation.made_up_answers import centres, whole_answers
from understudy.bundle.manifest import Grid
from understudy_training.distillation.answers import Answers
from understudy_training.distillation.distiller import DistillationConfig, Distiller
from understudy_training.distillation.terms import Widths, XRayBoxConfig, XRayEmbeddingConfig, XRayHeadConfig
from understudy_training.distillation.terms.xray import box_cells, teacher_targets, xray_losses
from understudy_training.losses import detection_loss

GRID = Grid(x_range_m=(0, 8), y_range_m=(-4, 4), z_range_m=(-1, 3), cell_m=0.5)
"""16 x 16 cells of half a meter: the made-up heatmaps have cells of a meter."""
TEACHER, STUDENT = Widths(low=6, high=5, grid=GRID), Widths(low=4, high=3, grid=GRID)
ALL_TERMS = (XRayHeadConfig(), XRayEmbeddingConfig(), XRayEmbeddingConfig(level="low"), XRayBoxConfig())


def boxes() -> torch.Tensor:
    one = torch.tensor([3.5, -1.5, 0.5, 2.2, 0.8, 1.5, 0.0])
    return torch.stack([one, one + torch.tensor([2.0, 3.0, 0, 0, 0, 0, np.pi / 2]), torch.zeros(7)]).repeat(2, 1, 1)


def labeled(seed: int, widths: Widths = TEACHER, **kwargs: object) -> Answers:
    said = whole_answers(seed, widths, **kwargs)
    return replace(said, boxes=boxes(), valid=torch.tensor([[True, True, False]] * 2) & said.valid)


def plain(heatmap: torch.Tensor, regression: torch.Tensor) -> Answers:
    none = torch.zeros(1, 1, 9, 1)
    return Answers(heatmap, regression, none, none, torch.ones(1, 1, dtype=torch.bool))


def test_head_by_hand():
    """A label's Gaussian of 0.6 in one cell, a center that only the teacher sees in another, 0.05 in a third."""
    term = XRayHeadConfig(weight=2.0).build(TEACHER, STUDENT)
    mask = torch.zeros(1, 1, 2, 2)
    mask[0, 0, 0, 0] = 0.6
    logits = torch.logit(torch.tensor([[[[0.02, 0.5], [0.05, 0.02]]]]))
    teacher = plain(logits, torch.zeros(1, 8, 2, 2))
    student = plain(torch.logit(torch.tensor([[[[0.12, 0.3], [0.9, 0.9]]]])), torch.full((1, 8, 2, 2), 0.4))
    wanted = 2.0 * (0.6 * (0.1 + 0.4) + 1.0 * (0.2 + 0.4)) / 1.6
    assert term(student, teacher, mask)["xray_head"].item() == pytest.approx(wanted, rel=1e-5)
    assert term.count(teacher, student.valid, mask).item() == pytest.approx(1.6)
    assert term(student, teacher, mask, torch.tensor(3.2))["xray_head"].item() == pytest.approx(wanted / 2, rel=1e-5)


def test_cells_of_boxes_by_hand():
    cells = box_cells(boxes()[:1], torch.tensor([[True, True, False]]), GRID, (8, 8))[0]
    assert cells.nonzero().tolist() == [[2, 2], [2, 3], [2, 4], [4, 5], [5, 5], [6, 5]]
    assert not box_cells(boxes()[:1], torch.zeros(1, 3, dtype=torch.bool), GRID, (8, 8)).any()


def test_a_box_smaller_than_a_cell_has_the_cell_it_stands_in():
    walker = torch.tensor([[[1.9, 0.1, 0.9, 0.3, 0.3, 1.8, 0.4]]])
    assert box_cells(walker, torch.ones(1, 1, dtype=torch.bool), GRID, (8, 8))[0].nonzero().tolist() == [[4, 1]]


def test_embedding_by_hand():
    same = Widths(low=5, high=5, grid=GRID)
    term = XRayEmbeddingConfig().build(same, same)
    assert isinstance(term.adapter, torch.nn.Identity)
    teacher = labeled(0, same)
    cells = box_cells(boxes(), teacher.valid, GRID, (8, 8))
    student = replace(teacher, high_map=teacher.high_map + 0.5 * cells[:, None] + 7.0 * ~cells[:, None])
    assert term(student, teacher, centres())["xray_embedding_high"].item() == pytest.approx(0.25, rel=1e-5)
    assert term.count(teacher, teacher.valid, centres()).item() == cells.sum()


def test_embedding_reads_a_finer_map_where_the_teacher_has_cells():
    term = XRayEmbeddingConfig().build(TEACHER, STUDENT)
    coarse, fine = labeled(0, stride=2), labeled(1, STUDENT)
    assert term(fine, coarse, centres())["xray_embedding_high"].isfinite()


def one_center(score: float) -> Answers:
    """A car in row 2, column 3 of 8 x 8 cells of a meter, exactly in the middle of its cell."""
    heatmap = torch.full((1, 2, 8, 8), -12.0)
    heatmap[0, 1, 2, 3] = float(np.log(score / (1 - score)))
    shape = torch.tensor([0.5, 0.5, 0.5, np.log(2.0), 0.0, np.log(1.5), 0.0, 1.0])
    return plain(heatmap, shape[None, :, None, None].expand(1, 8, 8, 8).contiguous())


def test_teacher_boxes_become_targets():
    targets, scores = teacher_targets(one_center(0.8), GRID, 0.3, overlap=0.1, min_radius=2)
    assert scores[0, 0].item() == pytest.approx(0.8, rel=1e-5)
    assert scores[0, 1:].eq(0).all()
    assert targets.cells[0, 0].item() == 2 * 8 + 3
    torch.testing.assert_close(targets.regression[0, 0], one_center(0.8).regression[0, :, 2, 3])
    assert teacher_targets(one_center(0.29), GRID, 0.3, overlap=0.1, min_radius=2)[1].sum() == 0


def test_box_term_is_the_detection_loss_for_a_certain_teacher():
    """With one box of score 1 it is the detection loss on that box as a label."""
    term = XRayBoxConfig(weight=1.0, regression_weight=1.0).build(TEACHER, STUDENT)
    teacher, student = one_center(0.999999), whole_answers(3)
    student = plain(student.heatmap[:1], student.regression[:1])
    targets, _ = teacher_targets(teacher, GRID, 0.3, overlap=0.1, min_radius=2)
    only_first = replace(targets, mask=targets.mask & (torch.arange(targets.mask.shape[1]) == 0))
    wanted = detection_loss(student.heatmap, student.regression, only_first, 1.0)
    parts = term(student, teacher, torch.zeros(1, 2, 8, 8))
    torch.testing.assert_close(parts["xray_box_class"], wanted.heatmap, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts["xray_box_regression"], wanted.regression, rtol=1e-4, atol=1e-4)


def test_an_unsure_teacher_counts_less_beside_a_sure_one():
    def parts(score: float) -> torch.Tensor:
        sure, unsure = one_center(0.9), one_center(score)
        both = plain(torch.cat([sure.heatmap, unsure.heatmap]), torch.cat([sure.regression, unsure.regression]))
        student = plain(torch.full((2, 2, 8, 8), -4.0), torch.zeros(2, 8, 8, 8))
        student.regression[1] = 3.0
        term = XRayBoxConfig().build(TEACHER, STUDENT)
        return term(student, both, torch.zeros(2, 2, 8, 8))["xray_box_regression"]

    assert parts(0.4) < parts(0.6) < parts(0.9)


def test_what_a_label_calls_an_object_is_no_background():
    term = XRayBoxConfig().build(TEACHER, STUDENT)
    student = plain(torch.full((1, 2, 8, 8), -6.0), torch.zeros(1, 8, 8, 8))
    student.heatmap[0, 0, 6, 6] = 3.0
    label = torch.zeros(1, 2, 8, 8)
    label[0, 0, 6, 6] = 1.0
    without, with_label = (term(student, one_center(0.9), mask)["xray_box_class"] for mask in (label * 0, label))
    probability = 1 / (1 + np.exp(-3))
    miss = 0.5 * probability**2 * np.log1p(np.exp(3))
    assert (without - with_label).item() == pytest.approx(miss, rel=1e-5)


def test_nothing_to_complete_and_the_teacher_itself_costs_nothing():
    said = labeled(0)
    parts = xray_losses(said, said, centres(), GRID)
    assert parts["head"].item() == 0
    assert parts["embedding"].item() == 0
    assert set(parts) == {"head", "embedding", "box"}


def test_frames_without_boxes_cost_nothing_but_false_alarms():
    teacher, student = labeled(0, boxes=0), labeled(1, STUDENT, boxes=0, grad=True)
    teacher = replace(teacher, heatmap=torch.full_like(teacher.heatmap, -9.0))
    for config in ALL_TERMS:
        term = config.build(TEACHER, STUDENT)
        parts = term(student, teacher, torch.zeros(2, 2, 8, 8))
        total = torch.stack([*parts.values()]).sum()
        total.backward()
        if not isinstance(config, XRayBoxConfig):
            assert total.item() == 0
        assert total.isfinite()
    for part in (student.heatmap, student.regression, student.high_map, student.low_map):
        assert part.grad is None or part.grad.isfinite().all()


def test_order_of_boxes_does_not_matter():
    teacher, student = labeled(0), labeled(1)
    turned = replace(student, boxes=student.boxes.flip(1), valid=student.valid.flip(1))
    same = Widths(low=6, high=5, grid=GRID)
    term = XRayEmbeddingConfig().build(same, same)
    before, after = (term(own, teacher, centres())["xray_embedding_high"] for own in (student, turned))
    torch.testing.assert_close(before, after)


def test_gradients_reach_student_and_adapters_and_not_the_teacher():
    distiller = Distiller(DistillationConfig(terms=ALL_TERMS), TEACHER, STUDENT)
    student, teacher = labeled(0, STUDENT, grad=True), labeled(1)
    counts = distiller.counts(teacher, student.valid, centres())
    assert counts.shape == (4,)
    loss = distiller(student, teacher, centres(), progress=1.0)
    loss.total.backward()
    for part in (student.heatmap, student.regression, student.high_map, student.low_map):
        assert part.grad.abs().sum() > 0
    adapters = list(distiller.parameters())
    assert len(adapters) == 4
    assert all(parameter.grad.abs().sum() > 0 for parameter in adapters)
    assert not any(part.requires_grad for part in teacher.parts())
    divided = distiller(student, teacher, centres(), 1.0, counts)
    torch.testing.assert_close(divided.total, loss.total)
