import math
from dataclasses import replace

import pytest
import torch

from tests.training.distillation.made_up_answers import STUDENT, TEACHER, as_student, centres, whole_answers
from tests.training.distillation.test_terms import GRID
from understudy_training.distillation.asking import attention
from understudy_training.distillation.distiller import DistillationConfig, Distiller
from understudy_training.distillation.sampling import on_grid_of, sample_map
from understudy_training.distillation.terms import (
    AttentionTransferConfig,
    CWDConfig,
    FitNetConfig,
    LogitKDConfig,
    MaskedFeatureConfig,
    PointDistillerConfig,
    RKDConfig,
)
from understudy_training.distillation.terms.cwd import channel_divergence
from understudy_training.distillation.terms.logit_kd import binary_divergence
from understudy_training.distillation.terms.rkd import angle_error, distance_error

NEW_TERMS = [
    LogitKDConfig(),
    FitNetConfig(level="low"),
    FitNetConfig(level="high"),
    AttentionTransferConfig(level="low"),
    AttentionTransferConfig(level="high"),
    MaskedFeatureConfig(level="low"),
    MaskedFeatureConfig(level="high"),
    RKDConfig(level="low"),
    RKDConfig(level="high"),
    CWDConfig(),
    CWDConfig(level="low"),
    CWDConfig(level="high"),
    PointDistillerConfig(level="pillar"),
    PointDistillerConfig(level="low"),
    PointDistillerConfig(level="high", mode="paper"),
]
LABELS = [term.label for term in NEW_TERMS]


def total_of(term, student, teacher, targets=None):
    return sum(term(student, teacher, centres() if targets is None else targets).values())


def test_logit_kd_by_hand():
    # softmax((2, 0) / 2) against softmax((0, 0) / 2), times 2^2
    wanted, found = torch.tensor([2.0]), torch.tensor([0.0])
    assert 4 * binary_divergence(wanted / 2, found / 2).item() == pytest.approx(0.44378, abs=1e-5)
    term = LogitKDConfig(temperature=2).build(TEACHER, STUDENT)
    said, own = (replace(whole_answers(), heatmap=torch.full((2, 2, 8, 8), value)) for value in (2.0, 0.0))
    assert total_of(term, own, said).item() == pytest.approx(0.44378, abs=1e-5)
    by_center = LogitKDConfig(temperature=2, per="centers").build(TEACHER, STUDENT)
    assert total_of(by_center, own, said).item() == pytest.approx(0.44378 * 256 / 2, rel=1e-4)


def test_fitnet_by_hand():
    term = FitNetConfig(level="low").build(TEACHER, TEACHER)
    term.adapter = torch.nn.Identity()
    said = whole_answers()
    assert total_of(term, replace(said, low_map=said.low_map + 0.6), said).item() == pytest.approx(0.18, abs=1e-5)


def test_attention_transfer_by_hand():
    # of length 1: teacher (0.6, 0.8), student (1, 0): 0.16 + 0.64 over 4 cells
    said = torch.tensor([0.6, 0.8, 0.0, 0.0]).reshape(1, 2, 2)
    own = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 2, 2)
    term = AttentionTransferConfig(beta=1000).build(TEACHER, STUDENT)
    answers = [replace(whole_answers(), high_attention=each) for each in (own, said)]
    assert total_of(term, *answers).item() == pytest.approx(1000 / 2 * (0.16 + 0.64) / 4, rel=1e-5)


def test_attention_ignores_the_width_and_scale_of_a_map():
    term = AttentionTransferConfig(level="low").build(TEACHER, STUDENT)
    said = whole_answers()
    doubled = torch.cat([said.low_map, said.low_map], 1) * 3
    assert total_of(term, replace(said, low_attention=attention(doubled)), said).item() == pytest.approx(0, abs=1e-8)


def test_masked_feature_by_hand():
    # 3 cells at 0.5 or more; each 5 channels off by 2: 1 / (2 * 3) * 3 * 5 * 4 = 10
    term = MaskedFeatureConfig(weight=1.0, level="high").build(TEACHER, TEACHER)
    term.adapter = torch.nn.Identity()
    said = whole_answers()
    assert total_of(term, replace(said, high_map=said.high_map + 2), said).item() == pytest.approx(10, rel=1e-5)
    assert term.count(said, said.valid, centres()).item() == 3


def test_masked_feature_leaves_the_rest_alone():
    term = MaskedFeatureConfig(weight=1.0, level="high").build(TEACHER, TEACHER)
    said, own = whole_answers(0), whole_answers(1)
    elsewhere = (centres().amax(1, keepdim=True) < 0.5).float()
    changed = replace(own, high_map=own.high_map + 7 * elsewhere)
    torch.testing.assert_close(total_of(term, own, said), total_of(term, changed, said))


def test_the_mask_keeps_an_object_on_a_coarser_map():
    term = MaskedFeatureConfig(level="low").build(TEACHER, STUDENT)
    assert term.count(whole_answers(stride=4), None, centres()).item() == 2  # one cell of 4 x 4 in each frame
    assert term.count(whole_answers(stride=2), None, centres()).item() == 3  # columns 5 and 6 are in different cells


def test_rkd_by_hand():
    # teacher 3-4-5 triangle, distances over their mean (0.75, 1, 1.25), cosines (0, 0.6, 0.8);
    # student 1-1-sqrt 2: (0.87868, 0.87868, 1.24264), (0, 0.70711, 0.70711)
    said = torch.tensor([[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    own = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [5.0, 2.0]]])
    valid = torch.tensor([[True, True, True, False]])
    away = [0.75 - 0.878680, 1 - 0.878680, 1.25 - 1.242641]
    assert distance_error(own, said, valid).item() == pytest.approx(sum(a * a for a in away) / 6, abs=1e-6)
    bent = [0.0, 0.6 - math.sqrt(0.5), 0.8 - math.sqrt(0.5)]
    assert angle_error(own, said, valid).item() == pytest.approx(sum(b * b for b in bent) / 6, abs=1e-6)


def test_rkd_is_blind_to_scale_turn_and_place():
    term = RKDConfig().build(TEACHER, TEACHER)
    said = whole_answers()
    turn = torch.linalg.qr(torch.randn(5, 5))[0]
    assert total_of(term, replace(said, high=said.high @ turn * 3 + 1), said).item() == pytest.approx(0, abs=1e-6)


def test_rkd_of_equal_features_has_a_finite_gradient():
    own = torch.zeros(1, 3, 4, requires_grad=True)
    valid = torch.ones(1, 3, dtype=torch.bool)
    total = (distance_error(own, torch.randn(1, 3, 4), valid) + angle_error(own, torch.randn(1, 3, 4), valid)).sum()
    total.backward()
    assert torch.isfinite(own.grad).all()


def test_cwd_by_hand():
    said, own = torch.tensor([4.0, 0.0]).reshape(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    assert channel_divergence(said, own, 4.0).item() == pytest.approx(1.77511, abs=1e-5)
    shifts = torch.tensor([3.0, -7.0]).reshape(1, 2, 1, 1)
    dense = torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4)
    shifted = channel_divergence(dense[0], dense[1] + shifts, 4.0)
    torch.testing.assert_close(channel_divergence(*dense, 4.0), shifted, atol=1e-5, rtol=1e-5)


def test_cwd_has_an_adapter_only_where_widths_differ():
    assert not list(CWDConfig(level="low").build(TEACHER, TEACHER).parameters())
    assert list(CWDConfig(level="low").build(TEACHER, STUDENT).parameters())


@pytest.mark.parametrize("config", NEW_TERMS, ids=LABELS)
def test_a_copy_of_the_teacher_costs_nothing(config):
    term = config.build(TEACHER, TEACHER)
    if hasattr(term, "adapter"):
        term.adapter = torch.nn.Identity()
    if isinstance(config, PointDistillerConfig):
        term.student_layer.load_state_dict(term.teacher_layer.state_dict())
    said = whole_answers()
    assert total_of(term, as_student(said), said).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("config", NEW_TERMS, ids=LABELS)
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_reach_student_and_adapter_and_never_the_teacher(config, stride):
    distiller = Distiller(DistillationConfig(terms=(config,), warmup=0), TEACHER, STUDENT)
    student, teacher = whole_answers(0, STUDENT, grad=True, encoded=True), whole_answers(1, stride=stride)
    loss = distiller(student, teacher, centres(), progress=1.0)
    assert loss.total.item() > 0
    loss.total.backward()
    own = {name: part.grad for name, part in student.named().items() if part.is_leaf}
    reached = {name for name, grad in own.items() if grad is not None and grad.abs().sum() > 0}
    level = getattr(config, "level", "logits")
    sampled = {"rkd": level}
    wanted = {"logits": "heatmap", "pillar": "encoded"}.get(level, sampled.get(config.kind, f"{level}_map"))
    assert reached == {wanted}
    assert all(parameter.grad.abs().sum() > 0 for parameter in distiller.parameters())
    assert not any(part.requires_grad for part in teacher.parts())
    assert set(loss.by_term) >= {config.label} or config.kind == "rkd"


@pytest.mark.parametrize("config", NEW_TERMS, ids=LABELS)
def test_half_precision_answers_are_compared_in_float32(config):
    distiller = Distiller(DistillationConfig(terms=(config,), warmup=0), TEACHER, STUDENT)
    torch.manual_seed(0)
    student, teacher = whole_answers(0, STUDENT, encoded=True), whole_answers(1)

    def lower(answers, kind):
        return replace(
            answers, **{name: part.to(kind) for name, part in answers.named().items() if part.is_floating_point()}
        )

    wanted = distiller(student, teacher, centres(), 1.0).total
    with torch.autocast("cpu", torch.bfloat16):
        found = distiller(lower(student, torch.bfloat16), lower(teacher, torch.float16), centres(), 1.0).total
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("config", NEW_TERMS, ids=LABELS)
def test_a_batch_in_parts_adds_up_to_the_whole(config):
    distiller = Distiller(DistillationConfig(terms=(config,), warmup=0), TEACHER, STUDENT).eval()
    student, teacher, targets = whole_answers(0, STUDENT, encoded=True), whole_answers(1), centres()
    whole = distiller(student, teacher, targets, 1.0).total
    divisors = distiller.counts(teacher, student.valid, targets).clamp(min=1)
    rows = [slice(0, 1), slice(1, 2)]

    def part(answers, row):
        return replace(answers, **{name: value[row] for name, value in answers.named().items()})

    halves = [distiller(part(student, row), part(teacher, row), targets[row], 1.0, divisors).total for row in rows]
    torch.testing.assert_close(sum(halves), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("config", [MaskedFeatureConfig(), RKDConfig()], ids=["masked_feature", "rkd"])
def test_frames_without_boxes_cost_exactly_nothing(config):
    student, teacher = whole_answers(0, STUDENT, boxes=0, grad=True), whole_answers(1, boxes=0)
    total = total_of(config.build(TEACHER, STUDENT), student, teacher, torch.zeros(2, 2, 8, 8))
    assert total.item() == 0
    total.backward()
    gradients = [part.grad for part in student.parts() if part.is_leaf and part.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_map_on_another_grid_is_read_at_metric_places():
    fine, coarse = torch.randn(1, 3, 32, 32), torch.zeros(1, 1, 16, 16)
    centers_m = torch.arange(16) - 8 + 0.5
    places_m = torch.stack(torch.meshgrid(centers_m, centers_m, indexing="xy"), -1).reshape(1, -1, 2)
    wanted = sample_map(fine, places_m, GRID).transpose(1, 2).reshape(1, 3, 16, 16)
    torch.testing.assert_close(on_grid_of(fine, coarse), wanted, atol=1e-5, rtol=1e-5)
    assert on_grid_of(fine, fine) is fine
