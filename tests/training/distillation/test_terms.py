import numpy as np
import pytest
import torch

from understudy.bundle.manifest import Grid
from understudy.errors import RecipeError
from understudy_training.distillation.answers import Answers
from understudy_training.distillation.distiller import DistillationConfig, Distiller
from understudy_training.distillation.sampling import box_points, sample_boxes, sample_map
from understudy_training.distillation.terms import (
    DenseResponseConfig,
    FeatureConfig,
    RelationConfig,
    ResponseConfig,
    Widths,
)
from understudy_training.recipe import check_recipe
from understudy_training.testing import recipe_values

GRID = Grid(x_range_m=(-8, 8), y_range_m=(-8, 8), z_range_m=(-1, 3), cell_m=0.5)
ALL_TERMS = (
    ResponseConfig(),
    DenseResponseConfig(),
    FeatureConfig(level="low"),
    FeatureConfig(level="high"),
    RelationConfig(),
)


def answers(seed: int = 0, *, boxes: int = 3, low: int = 6, high: int = 5, grad: bool = False) -> Answers:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_(grad)

    valid = torch.ones(2, max(boxes, 1), dtype=torch.bool) if boxes else torch.zeros(2, 1, dtype=torch.bool)
    places = max(boxes, 1)
    return Answers(draw(2, 2, 8, 8), draw(2, 8, 8, 8), draw(2, places, 9, low), draw(2, places, 9, high), valid)


def centres() -> torch.Tensor:
    heatmap = torch.zeros(2, 2, 8, 8)
    heatmap[0, 0, 2, 3], heatmap[1, 1, 5, 5] = 1.0, 0.5
    return heatmap


def test_sampler_reads_metric_places():
    xs = torch.arange(32) * 0.5 - 8 + 0.25
    plane = 3 * xs[None, :] + 5 * xs[:, None]
    values = sample_map(plane[None, None], torch.tensor([[[1.3, -2.7], [5.05, 4.4]]]), GRID)
    np.testing.assert_allclose(values.flatten(), [-9.6, 37.15], atol=1e-4)


def test_sampler_agrees_between_strides():
    coarse = torch.arange(8) * 2.0 - 8 + 1
    fine = torch.arange(32) * 0.5 - 8 + 0.25
    places = torch.tensor([[[1.3, -2.7]]])
    by_stride = [sample_map((3 * x[None] + 5 * x[:, None])[None, None], places, GRID) for x in (coarse, fine)]
    torch.testing.assert_close(by_stride[0], by_stride[1], atol=1e-4, rtol=0)


def test_a_spike_is_found_in_its_column_and_row():
    spike = torch.zeros(1, 1, 32, 32)
    spike[0, 0, 2, 5] = 1.0  # row 2 along y, column 5 along x
    place = torch.tensor([[[5 * 0.5 - 8 + 0.25, 2 * 0.5 - 8 + 0.25]]])
    assert sample_map(spike, place, GRID).item() == pytest.approx(1.0)
    assert sample_map(spike, place.flip(-1), GRID).item() == 0.0


def test_nine_points_of_a_box():
    box = torch.tensor([[[10.0, 0.0, 0.0, 4.0, 2.0, 1.5, np.pi / 2]]])
    points = box_points(box)[0, 0]
    assert set(points[:, 0].round().tolist()) == {9.0, 10.0, 11.0}
    assert set(points[:, 1].round().tolist()) == {-2.0, 0.0, 2.0}
    assert len({tuple(point) for point in points.round().tolist()}) == 9


def test_sampling_boxes_keeps_the_boxes_apart():
    dense = torch.randn(2, 3, 16, 16)
    geometry = torch.randn(2, 4, 7).abs()
    assert sample_boxes(dense, geometry, GRID).shape == (2, 4, 9, 3)
    one = sample_boxes(dense, geometry[:, 2:3], GRID)
    torch.testing.assert_close(sample_boxes(dense, geometry, GRID)[:, 2:3], one)


def test_feature_term_by_hand():
    term = FeatureConfig(level="low").build(Widths(low=6, high=5), Widths(low=6, high=5))
    term.adapter = torch.nn.Identity()
    teacher = answers()
    student = Answers(teacher.heatmap, teacher.regression, teacher.low + 0.5, teacher.high, teacher.valid)
    assert term(student, teacher, centres())["feature_low"].item() == pytest.approx(0.5, abs=1e-4)


def test_relation_term_by_hand():
    term = RelationConfig(weight=1.0).build(Widths(low=6, high=2), Widths(low=6, high=2))
    teacher = answers(boxes=1, high=2)
    ones = torch.tensor([1.0, 0.0]).expand(2, 1, 9, 2)
    turned = ones.clone()
    turned[:, :, 0] = torch.tensor([0.0, 1.0])
    said = Answers(teacher.heatmap, teacher.regression, teacher.low, ones, teacher.valid)
    student = Answers(teacher.heatmap, teacher.regression, teacher.low, turned, teacher.valid)
    assert term(student, said, centres())["relation_high"].item() == pytest.approx(16 / 81, abs=1e-4)


def test_relation_term_ignores_turned_and_scaled_channels():
    term = RelationConfig().build(Widths(low=6, high=5), Widths(low=6, high=5))
    teacher, student = answers(0), answers(1)
    turn = torch.linalg.qr(torch.randn(5, 5))[0]
    scale = torch.rand(2, 3, 9, 1) + 0.5
    changed = Answers(student.heatmap, student.regression, student.low, student.high @ turn * scale, student.valid)
    before, after = (term(said, teacher, centres())["relation_high"] for said in (student, changed))
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_response_term_by_hand():
    term = ResponseConfig(class_weight=1, regression_weight=1, teacher_temperature=2).build(None, None)
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 1, 2] = 1
    teacher = Answers(torch.full((1, 1, 4, 4), 2.0), torch.zeros(1, 8, 4, 4), *[torch.zeros(1, 1, 9, 1)] * 2, None)
    student = Answers(torch.zeros(1, 1, 4, 4), torch.full((1, 8, 4, 4), 0.3), *[torch.zeros(1, 1, 9, 1)] * 2, None)
    parts = term(student, teacher, mask)
    assert parts["response_class"].item() == pytest.approx(0.7311 - 0.5, abs=1e-4)
    assert parts["response_regression"].item() == pytest.approx(0.3)


def test_response_term_looks_only_under_the_mask():
    term = ResponseConfig().build(None, None)
    teacher, student = answers(0), answers(1)
    elsewhere = (centres().amax(1, keepdim=True) == 0).float()
    changed = Answers(student.heatmap + elsewhere, student.regression + elsewhere, student.low, student.high, None)
    for name, value in term(student, teacher, centres()).items():
        torch.testing.assert_close(value, term(changed, teacher, centres())[name])


def test_dense_term_by_hand():
    term = DenseResponseConfig(seen_from=0.5).build(None, None)
    teacher = answers()
    heatmap = torch.full((1, 1, 2, 2), -30.0)
    heatmap[0, 0, 0, 1] = float(np.log(4))  # probability 0.8
    said = Answers(heatmap, torch.ones(1, 8, 2, 2), teacher.low, teacher.high, teacher.valid)
    student = Answers(heatmap.clone(), torch.zeros(1, 8, 2, 2), teacher.low, teacher.high, teacher.valid)
    student.heatmap[0, 0, 0, 1] = 0.0
    parts = term(student, said, centres())
    assert parts["dense_class"].item() == pytest.approx(0.3**2 * np.log(2) / 1.0, rel=1e-4)
    assert parts["dense_regression"].item() == pytest.approx(8 * 0.8)


@pytest.mark.parametrize("config", [ResponseConfig(), FeatureConfig(), RelationConfig()])
def test_a_batch_without_boxes_costs_exactly_nothing(config):
    widths = Widths(low=6, high=5)
    student, teacher = answers(0, boxes=0, grad=True), answers(1, boxes=0)
    total = torch.stack(list(config.build(widths, widths)(student, teacher, torch.zeros(2, 2, 8, 8)).values())).sum()
    assert total.item() == 0
    total.backward()
    gradients = [part.grad for part in student.parts()[:4] if part.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_copy_of_the_teacher_costs_nothing():
    widths = Widths(low=6, high=5)
    for config in (ResponseConfig(), DenseResponseConfig(), RelationConfig()):
        for value in config.build(widths, widths)(answers(), answers(), centres()).values():
            assert value.item() == pytest.approx(0, abs=1e-5)


def test_gradients_reach_student_and_adapters_and_not_the_teacher():
    distiller = Distiller(DistillationConfig(terms=ALL_TERMS), Widths(low=6, high=5), Widths(low=4, high=3))
    student, teacher = answers(0, low=4, high=3, grad=True), answers(1)
    loss = distiller(student, teacher, centres(), progress=1.0)
    loss.total.backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in student.parts()[:4])
    assert all(parameter.grad.abs().sum() > 0 for parameter in distiller.parameters())
    assert not any(part.requires_grad for part in teacher.parts())
    assert all(not value.requires_grad for value in loss.by_term.values())


def test_warmup_grows_from_nothing():
    distiller = Distiller(DistillationConfig(terms=ALL_TERMS, warmup=0.2), Widths(low=6, high=5), Widths(low=6, high=5))
    totals = [distiller(answers(0), answers(1), centres(), progress).total.item() for progress in (0, 0.1, 0.2, 1)]
    assert totals[0] == 0
    assert totals[1] == pytest.approx(totals[2] / 2, rel=1e-5)
    assert totals[2] == totals[3]


def test_an_unknown_term_is_refused_with_the_known_ones():
    with pytest.raises(RecipeError, match=r"terms\.0.*osmosis.*dense_response"):
        check_recipe(recipe_values(distillation={"terms": [{"kind": "osmosis"}]}), "r.yaml")


@pytest.mark.parametrize("shape", [(16, 16), (5, 9), (1, 1)])
def test_maps_are_read_as_torch_samples_them(shape):
    """With zeros outside, up to places far from the grid; values and gradients."""
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)
    places = torch.rand(2, 50, 2, generator=generator, dtype=torch.float64) * 40 - 20
    places[:, 0] = torch.tensor([GRID.x_range_m[0], GRID.y_range_m[1]])
    low = torch.tensor([GRID.x_range_m[0], GRID.y_range_m[0]], dtype=torch.float64)
    high = torch.tensor([GRID.x_range_m[1], GRID.y_range_m[1]], dtype=torch.float64)
    results = []
    for ours in (True, False):
        own = dense.clone().requires_grad_()
        if ours:
            values = sample_map(own, places, GRID)
        else:
            at = (2 * (places - low) / (high - low) - 1)[:, :, None]
            values = torch.nn.functional.grid_sample(own, at, align_corners=False)[..., 0].transpose(1, 2)
        values.pow(2).sum().backward()
        results.append((values.detach(), own.grad))
    torch.testing.assert_close(results[0], results[1])
