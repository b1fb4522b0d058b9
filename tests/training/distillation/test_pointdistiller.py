import pytest
import torch
from torch import nn

from tests.training.distillation.made_up_answers import STUDENT, TEACHER, centres, whole_answers
from understudy.errors import RecipeError
from understudy_training.distillation.terms import PointDistillerConfig, Widths
from understudy_training.distillation.terms.graphs import graphs_of, pairs_of, softmax_in_frames
from understudy_training.distillation.terms.pointdistiller import GraphLayer, pointdistiller

Z_T = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0], [5.0, 5.0]])
Z_S = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [5.0, 5.0]])
POINTS = torch.tensor([4.0, 1.0, 2.0, 1.0])
ONE_FRAME = torch.zeros(4, dtype=torch.long)
IDENTITY = nn.Identity()


def loss_of(z_t, z_s, points=POINTS, frame=ONE_FRAME, n=2, k=2, tau=1.0, mode="paper", layers=(IDENTITY, IDENTITY)):
    return pointdistiller(z_t, z_s, points, frame, *layers, n=n, k=k, tau=tau, mode=mode)


def weights_of(points, tau, mode):
    points = torch.tensor(points)
    graphs = graphs_of(
        torch.zeros(len(points), 1), points, torch.zeros(len(points), dtype=torch.long), [len(points)], 1
    )
    said = points[graphs.center] if mode == "paper" else points[graphs.center].log1p()
    return softmax_in_frames(graphs, said / tau)


def test_the_loss_by_hand():
    graphs = graphs_of(Z_T, POINTS, ONE_FRAME, [2], 2)
    assert graphs.center.tolist() == [0, 2]
    assert graphs.neighbor.tolist() == [0, 1, 2, 0]
    assert graphs.owner.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(
        softmax_in_frames(graphs, POINTS[[0, 2]]), torch.tensor([1.7616, 0.2384]), atol=1e-4, rtol=0
    )
    z_s = Z_S.clone().requires_grad_()
    loss = loss_of(Z_T, z_s)
    assert loss.item() == pytest.approx(0.22020, abs=1e-5)
    loss.backward()
    wanted = torch.zeros(4, 2)
    wanted[1, 0] = 0.44040
    torch.testing.assert_close(z_s.grad, wanted, atol=1e-5, rtol=0)


def test_weights_by_hand():
    torch.testing.assert_close(weights_of([3.0, 1.0], 1.0, "corrected"), torch.tensor([4 / 3, 2 / 3]))
    torch.testing.assert_close(weights_of([32.0, 32.0, 31.0], 0.01, "paper"), torch.tensor([1.5, 1.5, 0.0]))
    assert weights_of([5.0, 4.0, 1.0, 1.0], 0.3, "corrected").mean().item() == pytest.approx(1, abs=1e-6)


def test_permuted_pillars_and_a_doubled_batch_change_nothing():
    generator = torch.Generator().manual_seed(0)
    z_t, z_s = torch.randn(20, 5, generator=generator), torch.randn(20, 3, generator=generator)
    points = torch.randperm(20, generator=generator).float()
    layers = GraphLayer(5, 3, affine=False).eval(), GraphLayer(3, 3, affine=False).eval()
    settings = {"n": 6, "k": 4, "mode": "corrected", "layers": layers}
    before = loss_of(z_t, z_s, points, torch.zeros(20, dtype=torch.long), **settings)
    order = torch.randperm(20, generator=generator)
    permuted = loss_of(z_t[order], z_s[order], points[order], torch.zeros(20, dtype=torch.long), **settings)
    torch.testing.assert_close(before, permuted)
    frames = torch.arange(2).repeat_interleave(20)
    doubled = loss_of(z_t.repeat(2, 1), z_s.repeat(2, 1), points.repeat(2), frames, **settings)
    torch.testing.assert_close(before, doubled)


def test_graphs_never_mix_frames_and_are_cut_to_what_is_there():
    rows = torch.zeros(5, 2)
    frame = torch.tensor([0, 0, 1, 1, 1])
    graphs = graphs_of(rows, torch.arange(5.0), frame, [2, 3], 16)
    assert (frame[graphs.neighbor] == graphs.frame[graphs.owner]).all()
    assert torch.bincount(graphs.owner).tolist() == [2, 2, 3, 3, 3]


def test_a_frame_without_pillars_has_no_graphs():
    graphs = graphs_of(torch.randn(3, 2), torch.ones(3), torch.tensor([1, 1, 1]), [0, 2], 2)
    assert graphs.frame.tolist() == [1, 1]
    term = PointDistillerConfig(level="pillar").build(TEACHER, STUDENT)
    student, teacher = whole_answers(0, STUDENT, grad=True, encoded=True), whole_answers(1)
    teacher.pillar_cells.fill_(-1)
    total = term(student, teacher, centres())["pointdistiller_pillar"]
    assert total.item() == 0
    assert term.count(teacher, None, centres()).item() == 0
    total.backward()


@pytest.mark.parametrize(
    ("values", "rows", "wanted"),
    [
        ({}, 3000, (256, 16, 1.0)),
        ({}, 400, (100, 16, 1.0)),
        ({"mode": "paper", "level": "pillar"}, 9000, (6000, 128, 0.01)),
        ({"mode": "paper", "level": "pillar"}, 900, (900, 128, 0.01)),
        ({"mode": "paper"}, 9000, (256, 128, 0.01)),
        ({"num_graphs": 12, "num_neighbors": 3, "temperature": 0.5}, 3000, (12, 3, 0.5)),
    ],
)
def test_defaults_of_both_modes(values, rows, wanted):
    config = PointDistillerConfig(**values)
    assert (config.graphs_among(rows), config.neighbors(), config.tau()) == wanted


def test_corrected_layers_cannot_shrink_and_papers_can():
    corrected, paper = (PointDistillerConfig(mode=mode).build(TEACHER, STUDENT) for mode in ("corrected", "paper"))
    assert {name for name, _ in corrected.named_parameters()} == {
        "teacher_layer.linear.weight",
        "student_layer.linear.weight",
    }
    assert "teacher_layer.normalization.weight" in dict(paper.named_parameters())
    with torch.no_grad():
        corrected.teacher_layer.linear.weight.mul_(1e-2)
    pairs = torch.randn(500, 12)
    spread = corrected.teacher_layer(pairs).std()
    assert spread > 0.4  # of a rectified normal distribution, 0.58


def test_pillars_that_nobody_learned_are_refused():
    with pytest.raises(RecipeError, match="a student whose encoder learns no pillar features"):
        PointDistillerConfig(level="pillar").build(TEACHER, Widths(low=4, high=3))
    with pytest.raises(RecipeError, match="a teacher whose encoder"):
        PointDistillerConfig(level="pillar").build(Widths(low=4, high=3), TEACHER)


def test_rows_that_are_multiplied_once_give_what_pairs_give():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    importance = torch.rand(40, generator=generator)
    graphs = graphs_of(rows, importance, torch.arange(2).repeat_interleave(20), [7, 9], 6)
    layer = GraphLayer(5, 3, affine=True).double()
    found, wanted = [], []
    for kept in (found, wanted):
        own = rows.clone().requires_grad_()
        layer.zero_grad()
        encoded = layer.of_graphs(graphs, own) if kept is found else layer(pairs_of(graphs, own))
        encoded.square().sum().backward()
        kept += [encoded.detach(), own.grad, layer.linear.weight.grad.clone(), layer.normalization.weight.grad.clone()]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
