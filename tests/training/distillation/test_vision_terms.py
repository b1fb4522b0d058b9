"""MonoTAKD and VCD with real detectors: cameras with true depth, past boxes in the batches, whole trainings."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.distillation.camera_drives import CameraDrives, camera_detector
from understudy.bundle.manifest import Fingerprints
from understudy.errors import EngineError, InputError, RecipeError
from understudy.metrics.average_precision import MetricSettings
from understudy_training.batches import Batch, Collate, Views
from understudy_training.checkpoint import load_detector
from understudy_training.distillation import study
from understudy_training.distillation.answers import Answers
from understudy_training.distillation.asking import answers_of
from understudy_training.distillation.distiller import Distiller
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.opened_teacher import OpenedTeacher
from understudy_training.distillation.teacher_cache import CachedTeacher, LiveTeacher
from understudy_training.distillation.teacher_evaluation import evaluate_as_asked, needs_true_depth
from understudy_training.distillation.teaching import make_teacher, pictures_for, refuse_unless_comparable
from understudy_training.distillation.terms import MonoTAKDConfig, VCDConfig, Widths
from understudy_training.export import export_detector
from understudy_training.fitting import Teaching, build_detector, fit, widths_of
from understudy_training.models.camera import CameraLift, ImagesBatch
from understudy_training.models.detector import BevDetector
from understudy_training.models.frustum import Frustum
from understudy_training.recipe import Recipe, check_recipe, read_recipe
from understudy_training.targets import make_targets
from understudy_training.testing import CLASSES, GRID, MadeUpDataset, recipe_values
from understudy_training.tracking.metrics import read_metrics

MONOTAKD = {"kind": "monotakd"}
VCD = {"kind": "vcd", "past_frames": 2}
BRANCH = {"inner": 4, "hidden": 8}


def recipe_of(terms: list[dict[str, object]] | None, detector: dict[str, object] | None = None) -> Recipe:
    taught = {} if terms is None else {"distillation": {"terms": terms}}
    return check_recipe(recipe_values(detector=detector or camera_detector(), **taught), "x")


def network(seed: int = 0, **changes: object) -> BevDetector:
    return build_detector(recipe_of(None, camera_detector(**changes)), seed)


def lidar_teacher() -> BevDetector:
    nano = recipe_values()["detector"] | {"output_stride": 2}
    return build_detector(check_recipe(recipe_values(detector=nano), "x"), 3)


def batch_of(recipe: Recipe, detector: BevDetector, teachers: Mapping[str, BevDetector], epoch: int = 1) -> Batch:
    views = Views(load_frames(recipe, CameraDrives()), recipe.data.augmentation, seed=0)
    encoders = {name: teacher.collate for name, teacher in teachers.items()}
    collate = Collate(detector.collate, CLASSES, GRID, 3, encoders, in_pictures=True)
    return collate([views[epoch, index] for index in (2, 4)])


def asked(recipe: Recipe, batch: Batch, teachers: Mapping[str, BevDetector]) -> dict[str, Answers]:
    return {
        name: LiveTeacher(teacher, recipe.distillation.asked_of(name), name=name)(batch)
        for name, teacher in teachers.items()
    }


def own_answers(recipe: Recipe, student: BevDetector, batch: Batch) -> Answers:
    return answers_of(student(batch.inputs), batch.boxes, GRID, recipe.distillation.asked)


def heatmap_of(batch: Batch) -> torch.Tensor:
    return make_targets(batch.boxes, GRID, 2, len(CLASSES), overlap=0.1, min_radius=2).heatmap


def distiller_of(recipe: Recipe, student: BevDetector, teachers: Mapping[str, BevDetector]) -> Distiller:
    torch.manual_seed(0)
    widths = {name: widths_of(teacher) for name, teacher in teachers.items()}
    return Distiller(recipe.distillation, widths, widths_of(student))


def without_points(batch: ImagesBatch) -> ImagesBatch:
    return replace(batch, depth_bins=torch.full_like(batch.depth_bins, -1))


def test_an_assistant_sees_nothing_where_no_point_fell_and_one_bin_elsewhere():
    assistant = network(depth="assistant").eval()
    batch = batch_of(recipe_of(None), assistant, {}).inputs
    shares = assistant(batch).camera.shares
    hit = batch.depth_bins >= 0
    assert 0.05 < hit.float().mean() < 0.95
    assert shares.sum(2)[~hit].abs().sum() == 0
    assert (shares.amax(2)[hit] == 1).all()
    assert torch.equal(shares.argmax(2)[hit], batch.depth_bins[hit].long())


def test_an_expert_that_saw_no_hit_is_a_camera_network():
    expert, plain = network(depth="expert").eval(), network().eval()
    batch = batch_of(recipe_of(None), plain, {}).inputs
    blind, sighted, own = expert(without_points(batch)), expert(batch), plain(batch)
    torch.testing.assert_close(blind.heatmap, own.heatmap)
    torch.testing.assert_close(blind.regression, own.regression)
    hit = (batch.depth_bins >= 0)[:, :, None].expand_as(own.camera.shares)
    torch.testing.assert_close(sighted.camera.shares[~hit], own.camera.shares[~hit])
    assert not torch.equal(sighted.heatmap, own.heatmap)


def test_an_expert_learns_with_a_part_of_the_hits_and_teaches_with_all():
    expert = network(depth="expert", kept_hits=(0.3, 0.7))
    batch = batch_of(recipe_of(None), expert, {}).inputs
    many = replace(batch, depth_bins=torch.zeros_like(batch.depth_bins))
    lift = expert.encoder
    assert isinstance(lift, CameraLift)
    logits = torch.zeros(*many.depth_bins.shape[:2], 10, *many.depth_bins.shape[2:])

    def shown() -> torch.Tensor:
        """`(B,)` part of each frame's cells that are told the true bin."""
        return (lift._shares(logits, many.depth_bins)[:, :, 0] == 1).float().mean((1, 2, 3))

    torch.manual_seed(0)
    shares = torch.stack([shown() for _ in range(40)])
    assert 0.15 < shares.min() < 0.42
    assert 0.58 < shares.max() < 0.85
    assert 0.45 < shares.mean() < 0.55
    expert.eval()
    assert (shown() == 1).all()


@pytest.mark.parametrize("share", [0.0, 0.31])
def test_a_share_of_hits_that_is_none_is_refused(share):
    with pytest.raises(RecipeError, match="kept_hits"):
        network(depth="expert", kept_hits=(share, 0.3))


def test_an_assistant_may_see_the_mean_depth_of_a_cell():
    kinds = [network(depth="assistant", true_depth=which) for which in ("nearest", "mean")]
    nearest, mean = (batch_of(recipe_of(None), assistant, {}).inputs.depth_bins for assistant in kinds)
    assert torch.equal(nearest >= 0, mean >= 0)
    assert (mean >= nearest).all()
    assert not torch.equal(mean, nearest)


def test_past_boxes_are_in_the_batch_and_moved_alike():
    recipe = recipe_of([VCD])
    frames = load_frames(recipe, CameraDrives())
    assert [len(frames[index].past) // 4 for index in range(6)] == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(frames[2].past.geometry[:4], frames[2].boxes.geometry, atol=1e-4)
    seen = Views(frames, recipe.data.augmentation, seed=0)[1, 2].frame
    np.testing.assert_allclose(seen.past.geometry[:4], seen.boxes.geometry, atol=1e-4)
    assert not np.allclose(seen.past.geometry, frames[2].past.geometry)
    batch = batch_of(recipe, network(), {})
    assert batch.boxes.past is not None
    assert load_frames(recipe_of(None), CameraDrives())[2].past is None
    with pytest.raises(InputError, match="does not tell which samples follow"):
        load_frames(recipe_of([VCD], recipe_values()["detector"]), MadeUpDataset(4))


def test_objects_that_stand_still_leave_no_trail():
    recipe, student = recipe_of([VCD]), network()
    batch = batch_of(recipe, student, {})
    own = own_answers(recipe, student, batch)
    torch.testing.assert_close(own.trajectory.flatten(1) > 0, heatmap_of(batch).amax(1).flatten(1) > 0)
    moved = replace(batch.boxes.past, geometry=batch.boxes.past.geometry + torch.tensor([4.0, 0, 0, 0, 0, 0, 0]))
    trail = answers_of(student(batch.inputs), replace(batch.boxes, past=moved), GRID, recipe.distillation.asked)
    assert (trail.trajectory > 0).sum() > 1.2 * (own.trajectory > 0).sum()


def test_a_student_that_is_its_assistant_has_nothing_to_learn_from_it():
    recipe = recipe_of([MONOTAKD])
    teachers = {"teacher": lidar_teacher(), "assistant": network(depth="assistant").eval()}
    twin, student = network(depth="assistant").eval(), network().eval()
    batch = batch_of(recipe, twin, teachers)
    said, distiller = asked(recipe, batch, teachers), distiller_of(recipe, twin, teachers)
    losses = distiller(own_answers(recipe, twin, batch), said, heatmap_of(batch), 1.0).by_term
    assert losses["monotakd_imd"] == 0
    assert losses["monotakd_cmrd"] > 0
    assert distiller(own_answers(recipe, student, batch), said, heatmap_of(batch), 1.0).by_term["monotakd_imd"] > 0


@pytest.mark.parametrize(("branch", "width"), [(None, 8), (BRANCH, 8), (BRANCH, 6)])
def test_monotakd_teaches_the_student_and_its_adapters_alone(branch, width):
    recipe = recipe_of([MONOTAKD])
    teachers = {"teacher": lidar_teacher(), "assistant": network(seed=1, depth="assistant")}
    student = network(width=width, residual_branch=branch)
    batch = batch_of(recipe, student, teachers)
    distiller = distiller_of(recipe, student, teachers)
    said = asked(recipe, batch, teachers)
    distiller(own_answers(recipe, student, batch), said, heatmap_of(batch), 1.0).total.backward()
    taught = [name for name, part in student.named_parameters() if part.grad is not None and part.grad.any()]
    reached = {name.rsplit(".", 2)[0] for name in taught}
    collapse = "encoder.collapse" if branch is None else "encoder.collapse.collapse_visual"
    assert collapse in reached
    assert (branch is None) == (not any("collapse_spatial" in name for name in reached))
    assert any(name.startswith("head") for name in reached)
    assert all(part.grad is None for teacher in teachers.values() for part in teacher.parameters())
    adapters = 0 if width == 8 else 4
    assert sum(part.grad.abs().sum() > 0 for part in distiller.parameters()) == adapters


def test_vcd_teaches_the_student_and_its_adapter_alone_and_an_equal_depth_is_no_lesson():
    recipe = recipe_of([VCD])
    teachers = {"teacher": network(seed=1, width=6, depth="expert")}
    student = network()
    batch = batch_of(recipe, student, teachers)
    distiller, said = distiller_of(recipe, student, teachers), asked(recipe, batch, teachers)
    own = own_answers(recipe, student, batch)
    distiller(own, said, heatmap_of(batch), 1.0).total.backward()
    assert student.encoder.head[1].weight.grad.abs().sum() > 0
    assert all(part.grad.abs().sum() > 0 for part in distiller.parameters())
    assert all(part.grad is None for part in teachers["teacher"].parameters())
    assert own.occupancy.sum() <= 2 * 2 * 4 * 8 + 1e-3
    equal = {"teacher": replace(said["teacher"], occupancy=own.occupancy.detach())}
    losses = distiller(own, equal, heatmap_of(batch), 1.0)
    assert losses.by_term["vcd_occ"] == 0
    assert losses.by_term["vcd_traj"] > 0


def test_frames_without_a_box_cost_next_to_nothing():
    recipe, student = recipe_of([VCD, MONOTAKD]), network()
    teachers = {"teacher": network(seed=1, depth="expert"), "assistant": network(seed=2, depth="assistant")}
    batch = batch_of(recipe, student, teachers)
    nothing = torch.zeros_like(batch.boxes.valid)
    past = replace(batch.boxes.past, valid=torch.zeros_like(batch.boxes.past.valid))
    batch = replace(batch, boxes=replace(batch.boxes, valid=nothing, past=past))
    distiller = distiller_of(recipe, student, teachers)
    loss = distiller(own_answers(recipe, student, batch), asked(recipe, batch, teachers), heatmap_of(batch), 1.0)
    assert loss.by_term["vcd_traj"] == 0
    assert loss.by_term["vcd_occ"] < 1e-3
    loss.total.backward()
    assert all(torch.isfinite(part.grad).all() for part in student.parameters() if part.grad is not None)


def test_the_order_of_cameras_does_not_change_what_is_occupied():
    recipe, student = recipe_of([VCD]), network().eval()
    batch = batch_of(recipe, student, {})
    outputs = student(batch.inputs)
    camera, frustum = outputs.camera, outputs.camera.frustum
    flipped = Frustum(*(part.flip(1) for part in (frustum.origins, frustum.rays, frustum.depths_m)))
    turned = replace(camera, shares=camera.shares.flip(1), frustum=flipped)
    first, second = (
        answers_of(replace(outputs, camera=entry), batch.boxes, GRID, recipe.distillation.asked).occupancy
        for entry in (camera, turned)
    )
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize(
    ("config", "teacher", "others", "wanted"),
    [
        (MonoTAKDConfig(), Widths(low=8, high=8), [Widths(low=8, high=8)], "an assistant without cameras"),
        (MonoTAKDConfig(scale="standardize"), Widths(low=9, high=8), [Widths(low=8, high=8, camera=8)], "9 channels"),
        (VCDConfig(), Widths(low=8, high=8), [], "a teacher without cameras"),
    ],
)
def test_networks_that_do_not_fit_are_refused(config, teacher, others, wanted):
    with pytest.raises(RecipeError, match=wanted):
        config.build(teacher, Widths(low=8, high=8, camera=8), *others)


def test_nothing_is_learned_beside_a_branch_that_a_student_lacks():
    """A layer without gradient stops a training on several devices."""
    teacher, assistant = Widths(low=8, high=8), Widths(low=8, high=8, camera=6)
    folded, branched = (Widths(low=8, high=8, camera=8, camera_residual=width) for width in (0, 8))
    learned = [[*MonoTAKDConfig().build(teacher, student, assistant).parameters()] for student in (folded, branched)]
    assert [len(parts) for parts in learned] == [2, 4]
    assert [widths_of(network(**more)).camera_residual > 0 for more in ({}, {"residual_branch": BRANCH})] == [
        False,
        True,
    ]


def test_what_is_exported_of_the_branch_says_what_the_trained_network_says():
    student = network(residual_branch=BRANCH).eval()
    batch = batch_of(recipe_of(None), student, {}).inputs
    rows = 2 * 4 * 8  # of the first frame's features; one past them all is one past the first frame's here
    alone = batch.lift_pixels[0].clamp(max=rows), batch.lift_depths[0].clamp(max=10 * rows)
    exported = student.encoder.map_from_images(batch.images[0], batch.camera_mask[0], *alone)
    torch.testing.assert_close(exported, student(batch).camera.bev[:1])
    named = [name.split(".")[2] for name in student.state_dict() if name.startswith("encoder.collapse")]
    assert set(named) == {"collapse_visual", "collapse_spatial", "align", "fuse"}


@pytest.mark.slow
def test_the_branch_passes_the_rules_of_the_runtimes(tmp_path: Path):
    recipe = recipe_of(None, camera_detector(residual_branch=BRANCH))
    export_detector(build_detector(recipe, 0).eval(), recipe.contract(), tmp_path, Fingerprints(weights="a" * 64))


@pytest.mark.parametrize("depth", ["assistant", "expert"])
def test_teachers_with_true_depth_are_judged_as_they_are_asked(depth: str):
    teacher = network(depth=depth)
    with pytest.raises(EngineError, match=f"depth: {depth}"):
        teacher.export_spec()
    assert needs_true_depth(teacher.config)
    assert not needs_true_depth(network().config)
    assert not needs_true_depth(lidar_teacher().config)
    evaluation = evaluate_as_asked(teacher, CameraDrives(), subject=depth)
    assert evaluation.num_frames == 6
    assert not teacher.training


def test_a_run_with_true_depth_is_judged_like_any_run_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe, drives = recipe_of(None, camera_detector(depth="assistant")), CameraDrives()
    fit(recipe, load_frames(recipe, drives), tmp_path / "run")
    monkeypatch.setattr(study, "open_dataset", lambda *_: drives)
    paths = study.StudyPaths(tmp_path / "teacher", tmp_path, tmp_path)
    evaluation = study.evaluate_run(tmp_path / "run", recipe, paths, metric=MetricSettings(min_points=2))
    assert (evaluation.subject, evaluation.num_frames, evaluation.settings.metric.min_points) == ("run", 6, 2)


def test_a_teacher_is_shown_its_own_cameras_and_the_student_its_own(tmp_path: Path):
    drives = CameraDrives(num_drives=1, num_cameras=2)
    single = camera_detector(1)
    single["encoder"]["pictures"]["cameras"] = ["camera_1"]
    student, teacher = recipe_of([{"kind": "dense_response"}], single), network()
    pictures = pictures_for(student, OpenedTeacher(teacher))
    assert pictures == teacher.config.pictures
    shown = load_frames(student, drives, pictures=pictures)
    assert [list(frames[0].images) for frames in (load_frames(student, drives), shown)] == [
        ["camera_1"],
        ["camera_0", "camera_1"],
    ]
    assert isinstance(make_teacher(student, teacher, shown, tmp_path), CachedTeacher)
    alike = camera_detector(2)
    alike["encoder"]["pictures"]["depth"]["count"] = 5
    own = recipe_of([{"kind": "dense_response"}], alike)
    assert pictures_for(own, OpenedTeacher(teacher)) == own.detector_config().pictures
    assert pictures_for(own, OpenedTeacher(lidar_teacher())) == own.detector_config().pictures


@pytest.mark.parametrize("name", ["monotakd-student", "vcd-student"])
def test_shipped_recipes_find_teachers_on_their_own_output_grid(name: str):
    student = read_recipe(name)
    networks = (
        {"teacher": "vcd-expert"}
        if name == "vcd-student"
        else {"teacher": "mono-teacher", "assistant": "mono-assistant"}
    )
    assert student.distillation is not None
    assert set(student.distillation.teachers) == set(networks)
    for teacher, recipe in networks.items():
        refuse_unless_comparable(student, build_detector(read_recipe(recipe), 0), name=teacher)
    widths = {teacher: widths_of(build_detector(read_recipe(recipe), 0)) for teacher, recipe in networks.items()}
    Distiller(student.distillation, widths, widths_of(build_detector(student, 0)))


@pytest.mark.parametrize(("kept", "num_cameras"), [(True, 1), (False, 2)], ids=["kept-mono", "live-two"])
def test_trainings_run_and_leave_no_trace_in_the_student(tmp_path: Path, kept: bool, num_cameras: int):
    terms = [MONOTAKD, VCD | {"teacher": "expert"}]
    detector = camera_detector(num_cameras, residual_branch=BRANCH)
    recipe, control = recipe_of(terms, detector), recipe_of(None, detector)
    networks = {
        "teacher": lidar_teacher(),
        "assistant": network(seed=1, num_cameras=num_cameras, depth="assistant"),
        "expert": network(seed=2, num_cameras=num_cameras, depth="expert"),
    }
    drives = CameraDrives(num_cameras=num_cameras)
    frames = load_frames(recipe, drives)
    teachings = {}
    for name, teacher in networks.items():
        live = LiveTeacher(teacher, recipe.distillation.asked_of(name), name=name)
        answering = make_teacher(recipe, teacher, frames, tmp_path / "answers", name=name) if kept else live
        teachings[name] = Teaching(answering, widths_of(teacher))
    fit(recipe, frames, tmp_path / "student", teaching=teachings)
    fit(control, load_frames(control, drives), tmp_path / "control")
    student, plain = (load_detector(tmp_path / name)[0].state_dict() for name in ("student", "control"))
    assert {name: part.shape for name, part in student.items()} == {name: part.shape for name, part in plain.items()}
    row = read_metrics(tmp_path / "student")[-1]
    names = {"monotakd_imd", "monotakd_cmrd", "monotakd_logit", "expert.vcd_traj", "expert.vcd_occ"}
    assert names <= row.keys()
    assert all(np.isfinite(row[name]) for name in names)
