"""UniDistill as a whole: hand examples beyond those of the terms, its options, and the four paths on tiny drives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from understudy.boxes import Boxes
from understudy.bundle.manifest import Grid
from understudy.cli import build_app
from understudy.datasets.opening import open_dataset
from understudy.errors import RecipeError
from understudy_training.batches import Collate, Shown, TrainingFrames, View, Views
from understudy_training.checkpoint import load_detector
from understudy_training.distillation.answers import Answers
from understudy_training.distillation.asking import answers_of
from understudy_training.distillation.distiller import DistillationConfig, Distiller
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.opened_teacher import OpenedTeacher
from understudy_training.distillation.sampling import box_points, sample_boxes
from understudy_training.distillation.teacher_cache import CachedTeacher, weights_bytes
from understudy_training.distillation.teaching import make_teacher, refuse_unless_comparable
from understudy_training.distillation.terms import FeatureConfig, RelationConfig, ResponseConfig, Widths
from understudy_training.fitting import Teaching, build_detector, fit, widths_of
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe, check_recipe, read_recipe, shipped_recipes
from understudy_training.targets import make_targets
from understudy_training.testing import recipe_values
from understudy_training.tracking.metrics import read_metrics

AREA = Grid(x_range_m=(-8, 8), y_range_m=(-8, 8), z_range_m=(-1, 3), cell_m=0.5)
WIDTHS = Widths(low=4, high=4, grid=AREA)
CLASSES = ["car", "truck", "pedestrian", "cyclist"]

PATHS = {
    "lidar-to-camera": ("lidar", "camera", (100, 40, 10)),
    "fusion-to-camera": ("fusion", "camera", (10, 5, 10)),
    "camera-to-lidar": ("camera", "lidar", (10, 5, 1)),
    "fusion-to-lidar": ("fusion", "lidar", (10, 1, 10)),
}
"""Teacher, student, and the method's weights of feature, relation and response."""


def boxes(*centers: tuple[float, float]) -> torch.Tensor:
    """`(1, N, 7)` small boxes."""
    return torch.tensor([[[x, y, 0.8, 1.0, 1.0, 1.6, 0.0] for x, y in centers]])


def said(heatmap: torch.Tensor, geometry: torch.Tensor, seed: int = 0, *, grad: bool = False) -> Answers:
    """Answers on 32 x 32 cells with four channels at both levels."""
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(1, 4, 32, 32, generator=generator).requires_grad_(grad) for _ in range(2)]
    sampled = [sample_boxes(dense, geometry, AREA) for dense in maps]
    regression = torch.randn(1, 8, 32, 32, generator=generator).requires_grad_(grad)
    return Answers(heatmap, regression, *sampled, torch.ones(geometry.shape[:2], dtype=torch.bool), boxes=geometry)


def peak(x: float, y: float, logit: float, classes: int = 2, label: int = 0) -> torch.Tensor:
    """A heatmap that is -4 everywhere and `logit` on the 3 x 3 cells around a place."""
    heatmap = torch.full((1, classes, 32, 32), -4.0)
    row, column = int((y + 8) / 0.5), int((x + 8) / 0.5)
    heatmap[0, label, row - 1 : row + 2, column - 1 : column + 2] = logit
    return heatmap


def mask_at(*centers: tuple[float, float]) -> torch.Tensor:
    """The `(1, 2, 32, 32)` target with single cells."""
    mask = torch.zeros(1, 2, 32, 32)
    for x, y in centers:
        mask[0, 0, int((y + 8) / 0.5), int((x + 8) / 0.5)] = 1
    return mask


def test_a_turned_box_is_read_along_its_length():
    box = torch.tensor([[[1.0, 0.0, 0.0, 4.0, 2.0, 1.5, np.pi / 2]]])
    points = box_points(box)[0, 0]
    corners, center, middles = points[:4], points[4], points[5:]
    assert sorted((round(float(x)), round(float(y))) for x, y in corners) == [(0, -2), (0, 2), (2, -2), (2, 2)]
    assert center.tolist() == pytest.approx([1, 0])
    assert sorted((round(float(x)), round(float(y))) for x, y in middles) == [(0, 0), (1, -2), (1, 2), (2, 0)]
    dense = torch.zeros(1, 1, 32, 32)
    dense[0, 0, int((2 + 8) / 0.5) - 1 : int((2 + 8) / 0.5) + 1, 17:19] = 1.0  # around x 1, y 2: its front's middle
    assert sample_boxes(dense, box, AREA)[0, 0, :, 0].gt(0.5).tolist() == [False] * 5 + [True] + [False] * 3


def test_axes_are_not_swapped():
    """The release reads (y, x) where (x, y) is meant, in both networks, so that its losses still fall."""
    geometry = boxes((3.25, -2.75))
    spike = torch.zeros(1, 4, 32, 32)
    spike[0, :, 10, 22] = 1.0  # row 10 along y, column 22 along x
    assert sample_boxes(spike, geometry, AREA)[0, 0, 4].tolist() == pytest.approx([1.0] * 4)
    term = FeatureConfig(level="low").build(WIDTHS, WIDTHS)
    term.adapter = nn.Identity()
    nothing = said(peak(0, 0, -4.0), geometry)
    student = replace(nothing, low=sample_boxes(spike, geometry, AREA))
    teacher = replace(nothing, low=torch.zeros_like(student.low))
    assert term(student, teacher, mask_at())["feature_low"].item() > 0
    swapped = replace(nothing, low=sample_boxes(spike.transpose(2, 3), geometry, AREA))
    assert term(swapped, teacher, mask_at())["feature_low"].item() == 0


def test_background_beyond_the_places_does_not_count():
    geometry, generator = boxes((2, 2), (-4, 1)), torch.Generator().manual_seed(0)
    near = torch.zeros(32, 32, dtype=torch.bool)
    for x, y in box_points(geometry)[0].flatten(0, 1).tolist():
        row, column = int((y + 8) / 0.5), int((x + 8) / 0.5)
        near[row - 1 : row + 2, column - 1 : column + 2] = True
    dense = torch.randn(1, 4, 32, 32, generator=generator)
    other = torch.where(near, dense, torch.randn(1, 4, 32, 32, generator=generator))
    torch.testing.assert_close(sample_boxes(dense, geometry, AREA), sample_boxes(other, geometry, AREA))


@pytest.mark.parametrize("kind", ["relation", "feature"])
def test_relations_hold_when_the_channels_are_turned_and_features_do_not(kind):
    config = RelationConfig() if kind == "relation" else FeatureConfig(level="high")
    term = config.build(WIDTHS, WIDTHS)
    term.adapter = nn.Identity()
    geometry = boxes((2, 2), (-4, 1))
    student, teacher = said(peak(0, 0, 0), geometry, 1), said(peak(0, 0, 0), geometry, 2)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0]
    turned = replace(student, high=student.high @ turn * 2.5)
    before, after = (next(iter(term(one, teacher, mask_at()).values())) for one in (student, turned))
    assert torch.allclose(before, after, atol=1e-4) == (kind == "relation")


def test_each_class_by_itself_sees_a_peak_of_the_wrong_class():
    geometry = boxes((2.25, 2.25))
    teacher, student = (said(peak(2.25, 2.25, 2.0, label=label), geometry) for label in (0, 1))
    teacher = replace(teacher, regression=student.regression)
    by = {
        mode: ResponseConfig(class_weight=1, classes=mode).build(WIDTHS, WIDTHS)(
            student, teacher, mask_at((2.25, 2.25))
        )
        for mode in ("strongest", "each")
    }
    assert by["strongest"]["response_class"].item() == pytest.approx(0)
    high, low = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(4.0))
    assert by["each"]["response_class"].item() == pytest.approx(2 * (high - low), rel=1e-5)


def configs(**options: object) -> tuple[ResponseConfig, FeatureConfig, RelationConfig]:
    return (
        ResponseConfig(class_weight=1, regression_weight=1, **options),
        FeatureConfig(level="low", **options),
        RelationConfig(weight=1, **options),
    )


@pytest.mark.parametrize("number", range(3))
def test_a_gate_leaves_out_boxes_at_which_the_teacher_is_less_sure(number):
    """Of two boxes far from each other the teacher is surer at the first; the mean is still over both."""
    first, second = (-4.25, 1.25), (4.25, 1.25)
    geometry, mask = boxes(first, second), mask_at(first, second)
    teacher = said(torch.maximum(peak(*first, 2.0), peak(*second, -1.0)), geometry, 1)
    student = said(torch.maximum(peak(*first, 0.0), peak(*second, 0.0)), geometry, 2)
    torch.manual_seed(0)
    gated = configs(gated=True)[number].build(WIDTHS, WIDTHS)
    torch.manual_seed(0)
    plain = configs()[number].build(WIDTHS, WIDTHS)
    assert "boxes" in configs(gated=True)[number].asks
    assert "boxes" not in configs()[number].asks
    alone = replace(student, valid=torch.tensor([[True, False]]))
    both = gated(student, teacher, mask)
    for name, value in plain(alone, teacher, mask_at(first)).items():
        torch.testing.assert_close(both[name], value / 2)
    surer = gated(student, replace(teacher, heatmap=teacher.heatmap + 6), mask)
    for name, value in plain(student, replace(teacher, heatmap=teacher.heatmap + 6), mask).items():
        torch.testing.assert_close(surer[name], value)


def test_a_gate_needs_to_know_the_area():
    with pytest.raises(RecipeError, match=r"term response: gated: found a student without a grid"):
        ResponseConfig(gated=True).build(WIDTHS, Widths(low=4, high=4))


@pytest.mark.parametrize("options", [{}, {"gated": True}])
def test_a_scene_without_boxes_costs_nothing_with_any_option(options):
    geometry = torch.zeros(1, 1, 7)
    student, teacher = said(peak(0, 0, 0), geometry, 1, grad=True), said(peak(0, 0, 1), geometry, 2)
    student, teacher = (replace(one, valid=torch.zeros(1, 1, dtype=torch.bool)) for one in (student, teacher))
    terms = [*configs(**options), RelationConfig(adaptive=True, **options), ResponseConfig(classes="each", **options)]
    parts = [part for config in terms for part in config.build(WIDTHS, WIDTHS)(student, teacher, mask_at()).values()]
    total = torch.stack(parts).sum()
    assert total.item() == 0
    total.backward()
    assert student.regression.grad is not None
    assert torch.isfinite(student.regression.grad).all()


def test_the_adaptive_layer_stands_before_the_similarities_and_learns():
    geometry = boxes((2, 2), (-4, 1))
    student, teacher = said(peak(0, 0, 0), geometry, 1, grad=True), said(peak(0, 0, 0), geometry, 2)
    narrow = Widths(low=4, high=4, grid=AREA)
    config = DistillationConfig(terms=(RelationConfig(adaptive=True),), warmup=0)
    distiller = Distiller(config, Widths(low=4, high=6), narrow)
    wide = replace(teacher, high=torch.randn(1, 2, 9, 6, generator=torch.Generator().manual_seed(3)))
    distiller(student, wide, mask_at(), 1.0).total.backward()
    assert [value.grad.abs().sum().item() > 0 for value in distiller.parameters()] == [True, True]
    plain = Distiller(DistillationConfig(terms=(RelationConfig(),)), narrow, narrow)
    assert not list(plain.parameters())


@pytest.fixture(scope="module")
def drives(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "data"
    few = ["--drives", "2", "--frames", "2", "--val-drives", "1", "--beams", "16", "--range-m", "30"]
    result = CliRunner().invoke(build_app(), ["scenes", str(out), *few, "--workers", "1"])
    assert result.exit_code == 0, result.output
    return out


def tiny(sensors: str, role: str, **changes: object) -> Recipe:
    """A network a few channels wide on the demo's area: a LiDAR's at half the cells, a camera's at output cells."""
    width = 12 if role == "teacher" else 6
    pictures = {"num_cameras": 1, "width_px": 64, "height_px": 32, "focal_px": 38.0, "depth": {"count": 8, "far_m": 36}}
    image = {"stem": 4, "widths": [4, 6, 8], "layers": [0, 0, 0]}
    camera = {"kind": "camera", "pictures": pictures, "image": image, "feature_channels": 4, "channels": width}
    lidar = {"kind": "occupancy", "height_slices": 4}
    joined = {"kind": "fusion", "lidar": lidar, "camera": camera | {"pictures": pictures | {"cell_stride": 2}}}
    coarse = sensors == "camera"
    detector = {
        "kind": "pillar",
        "grid": AREA.model_dump()
        | {"x_range_m": [-12.8, 12.8], "y_range_m": [-12.8, 12.8], "cell_m": 1.6 if coarse else 0.8},
        "class_names": CLASSES,
        "encoder": {"lidar": lidar, "camera": camera, "fusion": joined}[sensors],
        "backbone": {"widths": [width] * 3, "layers": [0, 0, 0], "strides": [1, 2, 2] if coarse else [2, 2, 2]},
        "neck_width": width,
        "output_stride": 1 if coarse else 2,
        "head": {"width": 8, "branch_width": 8},
    }
    data = {"batch_size": 2, "augmentation": {"flip_y": True, "variants": 2}}
    return check_recipe(recipe_values(name=role, detector=detector, data=data) | changes, role)


def path_recipe(path: str) -> Recipe:
    """A tiny student with exactly the terms of the path's shipped recipe."""
    distillation = read_recipe(f"unidistill-{path}").distillation
    assert distillation is not None
    return tiny(PATHS[path][1], "student", distillation=distillation.model_dump())


def teacher_of(path: str) -> BevDetector:
    """One that nobody trained and that is sure of everything, so that no gate keeps its boxes back."""
    teacher = build_detector(tiny(PATHS[path][0], "teacher"), 5).eval()
    nn.init.constant_(teacher.head.heatmap[-1].bias, 3.0)
    return teacher


@pytest.mark.parametrize("path", PATHS)
def test_each_path_teaches_and_leaves_no_trace(drives, tmp_path, path):
    recipe, teacher = path_recipe(path), teacher_of(path)
    before = weights_bytes(teacher)
    refuse_unless_comparable(recipe, teacher)
    dataset = open_dataset(drives, "train")
    frames = load_frames(recipe, dataset, pictures=tiny("fusion", "teacher").detector_config().pictures)
    taught = make_teacher(recipe, teacher, frames, tmp_path / "answers")
    assert isinstance(taught, CachedTeacher)
    fit(recipe, frames, tmp_path / "student", teaching=Teaching(taught, OpenedTeacher(teacher).widths))
    assert weights_bytes(teacher) == before
    row = read_metrics(tmp_path / "student")[-1]
    parts = {"feature_low", "relation_high", "response_class", "response_regression"}
    assert parts <= row.keys()
    assert all(np.isfinite(row[name]) and row[name] >= 0 for name in parts)
    assert row["feature_low"] > 0
    assert load_detector(tmp_path / "student")[0].state_dict().keys() == build_detector(recipe, 0).state_dict().keys()


@pytest.mark.parametrize("path", PATHS)
def test_gradients_reach_the_student_whatever_it_sees_with(drives, path):
    recipe, teacher = path_recipe(path), teacher_of(path)
    student = build_detector(recipe, 0)
    frames = load_frames(
        recipe, open_dataset(drives, "train"), pictures=tiny("fusion", "teacher").detector_config().pictures
    )
    grid = student.config.grid
    collate = Collate(student.collate, tuple(CLASSES), grid, 1, {"teacher": teacher.collate})
    batch = collate([Views(frames, None, 0)[0, index] for index in (0, 1)])
    assert bool(batch.boxes.valid.any())
    config = recipe.distillation
    assert config is not None
    ungated = config.model_copy(
        update={"terms": tuple(term.model_copy(update={"gated": False}) for term in config.terms), "warmup": 0.0}
    )
    distiller = Distiller(ungated, widths_of(teacher), widths_of(student), 1)
    own = answers_of(student(batch.inputs), batch.boxes, grid, distiller.asked)
    with torch.no_grad():
        its = answers_of(
            teacher(batch.teachers["teacher"]),
            batch.boxes,
            teacher.config.grid,
            distiller.asked,
            batch.teachers["teacher"],
        )
    targets = make_targets(batch.boxes, grid, student.output_stride, 4, overlap=0.1, min_radius=2)
    distiller(own, its, targets.heatmap, 1.0).total.backward()
    reached = {name.split(".")[0] for name, value in student.named_parameters() if value.grad is not None}
    learned = {"backbone", "neck", "head"} | ({"encoder"} if PATHS[path][1] == "camera" else set())
    assert reached == learned
    assert all(value.grad is not None for value in distiller.parameters())
    assert all(value.grad is None for value in teacher.parameters())


def test_a_camera_student_is_not_asked_for_what_no_picture_shows(drives):
    recipe = path_recipe("lidar-to-camera")
    frames = TrainingFrames(open_dataset(drives, "train"), None, 30.0, None, recipe.detector_config().pictures)
    geometry = np.array([[x, 0, 0.8, 4.0, 1.8, 1.6, 0] for x in (8, -8)], np.float32)
    seen = frames[0]
    around = replace(seen, boxes=Boxes(geometry, np.zeros(2, np.int32), tuple(CLASSES), num_points=np.full(2, 9)))
    student = build_detector(recipe, 0)
    in_pictures, everywhere = (
        Collate(student.collate, tuple(CLASSES), student.config.grid, 1, in_pictures=only)([View(around, Shown(0, 0))])
        for only in (True, False)
    )
    assert in_pictures.boxes.valid.tolist() == [[True, False]]
    assert in_pictures.boxes.ignored.tolist() == [[False, True]]
    assert everywhere.boxes.valid.tolist() == [[True, True]]


@pytest.mark.parametrize("path", PATHS)
def test_shipped_recipes_have_the_methods_weights_and_fit_each_other(path):
    recipe = read_recipe(f"unidistill-{path}")
    teacher, student, weights = PATHS[path]
    names = {"lidar": "demo-teacher", "camera": "unidistill-camera-teacher", "fusion": "unidistill-fusion-teacher"}
    assert {f"unidistill-{path}", names[teacher]} <= shipped_recipes().keys()
    refuse_unless_comparable(recipe, BevDetector(read_recipe(names[teacher]).detector_config()))
    config = recipe.detector_config()
    assert (config.camera_encoder is not None, config.lidar_encoder is not None) == {
        "camera": (True, False),
        "lidar": (False, True),
    }[student]
    assert recipe.distillation is not None
    feature, relation, response = recipe.distillation.terms
    assert (feature.weight, relation.weight, response.class_weight, response.regression_weight) == (
        *weights,
        weights[2],
    )
    assert (feature.level, relation.level) == ("low", "high")
