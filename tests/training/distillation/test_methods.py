"""The methods with real detectors: what is asked of them, what is kept, and whole studies."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from tests.training.distillation.test_study import CLASSES as ROAD_USERS
from understudy.cli import build_app
from understudy.errors import InputError
from understudy_training.batches import Batch, Collate, TrainingFrames, Views
from understudy_training.checkpoint import load_detector
from understudy_training.distillation.answers import WHOLE_MAPS
from understudy_training.distillation.asking import answers_of
from understudy_training.distillation.distiller import Distiller
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.teacher_cache import CachedTeacher
from understudy_training.distillation.teaching import make_teacher, refuse_unless_comparable
from understudy_training.distillation.terms.pointdistiller import PointDistillerTerm
from understudy_training.fitting import Teaching, build_detector, fit, widths_of
from understudy_training.ledger import read_ledger
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe, check_recipe
from understudy_training.targets import make_targets
from understudy_training.testing import CLASSES, GRID, MadeUpDataset, recipe_values
from understudy_training.tracking.metrics import read_metrics

BASELINES = [
    {"kind": "logit_kd"},
    {"kind": "fitnet", "level": "low", "schedule": {"stop_epoch": 1}},
    {"kind": "attention_transfer"},
    {"kind": "masked_feature"},
    {"kind": "rkd", "schedule": {"decay": "cosine"}},
    {"kind": "cwd"},
    {"kind": "cwd", "level": "high"},
]
GRAPHS = [
    {"kind": "pointdistiller", "level": "pillar"},
    {"kind": "pointdistiller", "level": "low"},
    {"kind": "pointdistiller", "level": "high", "mode": "paper", "num_neighbors": 8},
]


def learned(width: int, strides: list[int], **encoder: int) -> dict[str, object]:
    """A detector with learned pillars, `width` wide."""
    grouping = {"max_pillars": 2048, "max_points_per_pillar": 8}
    return {
        "kind": "pillar",
        "grid": GRID.model_dump(),
        "class_names": list(CLASSES),
        "encoder": {"kind": "learned", "channels": width, **grouping, **encoder},
        "backbone": {"widths": [width, width, width], "layers": [1, 1, 1], "strides": strides},
        "neck_width": width,
        "output_stride": 2,
        "head": {"width": 16, "branch_width": 16},
    }


def recipe_of(terms: list[dict[str, object]] | None, **changes: object) -> Recipe:
    taught = {} if terms is None else {"distillation": {"terms": terms}}
    return check_recipe(recipe_values(**{"detector": learned(8, [2, 1, 2]), **taught, **changes}), "x")


def big_teacher() -> BevDetector:
    return build_detector(check_recipe(recipe_values(detector=learned(16, [1, 2, 2])), "teacher"), 9)


def batch_of(recipe: Recipe, clouds: TrainingFrames, detector: BevDetector, seed: int = 0) -> Batch:
    views = Views(clouds, recipe.data.augmentation, seed=seed)
    teachers = {"teacher": big_teacher().collate}
    return Collate(detector.collate, CLASSES, GRID, 3, teachers)([views[3, index] for index in (2, 0)])


def kept_teacher(recipe: Recipe, teacher: BevDetector, folder: Path, *, shuffle: bool = False) -> CachedTeacher:
    cached = make_teacher(recipe, teacher, load_frames(recipe, MadeUpDataset(4)), folder, shuffle=shuffle)
    assert isinstance(cached, CachedTeacher)
    return cached


def test_what_is_kept_is_what_a_live_teacher_says_of_the_replayed_version(tmp_path):
    recipe = recipe_of([*BASELINES, *GRAPHS])
    cached = kept_teacher(recipe, big_teacher(), tmp_path)
    assert len(list(tmp_path.rglob("*.heatmap.npy"))) == 4 * 2
    batch = batch_of(recipe, load_frames(recipe, MadeUpDataset(4)), build_detector(recipe, 0), seed=11)
    assert {shown.version for shown in batch.shown} == {1}
    with torch.autocast("cpu", torch.bfloat16):
        kept = cached(batch).named()
    live = cached.live(batch).named()
    assert kept.keys() == live.keys()
    assert set(kept) >= {"low_map", "high_map", "high_attention", "pillars", "pillar_points", "pillar_cells"}
    for name, part in live.items():
        wanted = part.half() if part.is_floating_point() else part
        assert kept[name].dtype == (torch.float16 if name in WHOLE_MAPS else part.dtype)
        torch.testing.assert_close(kept[name].to(wanted.dtype), wanted, msg=name)


@pytest.mark.parametrize(
    ("term", "names"),
    [
        ({"kind": "logit_kd"}, []),
        ({"kind": "cwd"}, []),
        ({"kind": "rkd"}, []),
        ({"kind": "attention_transfer"}, ["high_attention"]),
        ({"kind": "fitnet"}, ["low_map"]),
        ({"kind": "masked_feature"}, ["high_map"]),
        (GRAPHS[0], ["pillar_cells", "pillar_points", "pillars"]),
    ],
)
def test_only_what_a_term_asks_for_is_kept(tmp_path, term, names):
    recipe = recipe_of([term])
    cached = kept_teacher(recipe, big_teacher(), tmp_path)
    files = {path.name.split(".")[1]: path for path in tmp_path.rglob("000000-0000.*.npy")}
    sampled = {"high"} if term["kind"] == "rkd" else set()
    assert set(files) == {"heatmap", "regression", "valid", *sampled, *names}
    assert set(cached.parts) == set(files)
    kib = sum(np.load(path).nbytes for path in files.values()) / 2**10
    assert cached.summary().startswith("teacher's answers: 8 of ")
    limits = {"fitnet": 40, "masked_feature": 40}  # 32 x 32 x 16 and 16 x 16 x 48 halves, and 5 KiB of heads
    assert kib < limits.get(term["kind"], 24)


def test_kept_maps_come_back_as_they_were_said_channels_last(tmp_path):
    recipe = recipe_of([{"kind": "fitnet"}, {"kind": "masked_feature"}])
    cached = kept_teacher(recipe, big_teacher(), tmp_path)
    batch = batch_of(recipe, load_frames(recipe, MadeUpDataset(4)), build_detector(recipe, 0))
    said, live = cached(batch), cached.live
    for name in ("low_map", "high_map"):
        kept = getattr(said, name)
        assert kept.is_contiguous(memory_format=torch.channels_last)
        file = next(tmp_path.rglob(f"{batch.shown[0].index:06d}-{batch.shown[0].version:04d}.{name}.channels-last.npy"))
        assert np.array_equal(np.load(file), kept[0].permute(1, 2, 0).numpy())
    assert set(cached.parts) >= {"low_map", "high_map"}
    assert {"low_map", "high_map"} <= set(live.asked)


@pytest.mark.parametrize("part", ["heatmap", "low_map.channels-last"])
@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_a_damaged_answer_is_told(tmp_path, part, keep):
    recipe = recipe_of([{"kind": "fitnet"}])
    cached = kept_teacher(recipe, big_teacher(), tmp_path)
    for file in tmp_path.rglob(f"*.{part}.npy"):
        whole = file.read_bytes()
        file.write_bytes(whole[: int(keep * len(whole)) if keep >= 0 else keep])
    batch = batch_of(recipe, load_frames(recipe, MadeUpDataset(4)), build_detector(recipe, 0))
    with pytest.raises(InputError, match="wanted a teacher's answer; delete it; the teacher is asked again"):
        cached(batch)


def test_terms_share_what_was_said_before(tmp_path):
    """Whoever asks for more asks only for that; whoever asks for less reads only that."""
    heads, maps = recipe_of([{"kind": "logit_kd"}]), recipe_of([{"kind": "fitnet"}, {"kind": "logit_kd"}])
    kept_teacher(maps, big_teacher(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    first = kept_teacher(heads, big_teacher(), tmp_path)
    again = kept_teacher(recipe_of([{"kind": "fitnet"}, {"kind": "rkd"}]), big_teacher(), tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert before.items() <= after.items()
    assert {path.name.split(".")[1] for path in after.keys() - before.keys()} == {"high"}
    assert set(first.parts) == {"heatmap", "regression", "valid"}
    assert set(again.parts) == {"heatmap", "regression", "valid", "low_map", "high"}
    batch = batch_of(maps, load_frames(maps, MadeUpDataset(4)), build_detector(maps, 0))
    assert set(first(batch).named()) == {"heatmap", "regression", "low", "high", "valid"}
    assert first(batch).high.shape == (2, batch.boxes.geometry.shape[1], 9, 0)


def test_a_twin_of_the_teacher_has_its_pillars():
    recipe = recipe_of(GRAPHS[:1], detector=learned(16, [1, 2, 2]))
    teacher = big_teacher().eval()
    batch = batch_of(recipe, load_frames(recipe, MadeUpDataset(4)), teacher)
    outputs = teacher(batch.inputs)
    own = answers_of(outputs, batch.boxes, GRID, recipe.distillation.asked)
    said = answers_of(outputs, batch.boxes, GRID, recipe.distillation.asked, batch.inputs)
    assert own.pillars is None
    assert own.encoded is not None
    assert said.encoded is None
    for frame, cells in enumerate(said.pillar_cells):
        real = cells >= 0
        group = batch.inputs.cells // (GRID.height * GRID.width) == frame
        assert said.pillar_points[frame][real].tolist() == batch.inputs.num_points[group].tolist()
        torch.testing.assert_close(own.encoded[frame].flatten(1).T[cells[real]], said.pillars[frame][real])
        assert said.pillars[frame][~real].abs().sum() == 0


def test_graph_layers_learn_and_pillars_leave_the_backbone_alone(tmp_path):
    recipe = recipe_of(GRAPHS[:1])
    student, teacher = build_detector(recipe, 0), big_teacher()
    distiller = Distiller(recipe.distillation, widths_of(teacher), widths_of(student), 2)
    batch = batch_of(recipe, load_frames(recipe, MadeUpDataset(4)), student)
    said = kept_teacher(recipe, teacher, tmp_path)(batch)
    own = answers_of(student(batch.inputs), batch.boxes, GRID, distiller.asked)
    targets = make_targets(batch.boxes, GRID, 2, 2, overlap=0.1, min_radius=2)
    distiller(own, said, targets.heatmap, 1.0).total.backward()
    reached = {name.split(".")[0] for name, value in student.named_parameters() if value.grad is not None}
    assert reached == {"encoder"}
    assert isinstance(distiller.terms[0], PointDistillerTerm)
    assert all(value.grad.abs().sum() > 0 for value in distiller.parameters())
    assert all(value.grad is None for value in teacher.parameters())


@pytest.mark.parametrize("shuffle", [False, True])
def test_all_methods_at_once_leave_no_trace_in_the_student(tmp_path, shuffle):
    recipe = recipe_of([*BASELINES, *GRAPHS])
    teacher = big_teacher()
    cached = kept_teacher(recipe, teacher, tmp_path / "answers", shuffle=shuffle)
    fit(recipe, load_frames(recipe, MadeUpDataset(4)), tmp_path / "s", teaching=Teaching(cached, widths_of(teacher)))
    fit(recipe_of(None), load_frames(recipe, MadeUpDataset(4)), tmp_path / "control")
    student, control = (load_detector(tmp_path / name)[0].state_dict() for name in ("s", "control"))
    assert {name: value.shape for name, value in student.items()} == {
        name: value.shape for name, value in control.items()
    }
    row = read_metrics(tmp_path / "s")[-1]
    assert all(np.isfinite(value) for value in row.values() if isinstance(value, float))
    assert {"logit_kd", "fitnet_low", "rkd_distance_high", "cwd_high", "pointdistiller_pillar"} <= row.keys()


def test_pillars_that_are_grouped_otherwise_are_refused():
    other = build_detector(recipe_of(None, detector=learned(16, [1, 2, 2], max_pillars=100)), 0)
    with pytest.raises(InputError, match="teacher's pillars: found 100 pillars of 8 points, wanted 2048 pillars of 8"):
        refuse_unless_comparable(recipe_of(GRAPHS[:1]), other)
    refuse_unless_comparable(recipe_of(GRAPHS[1:]), other)
    nano = recipe_values()["detector"] | {"output_stride": 2}
    with pytest.raises(InputError, match=r"teacher's pillars: .*wanted a student that has any; .*level: low"):
        refuse_unless_comparable(recipe_of(GRAPHS[:1], detector=nano), big_teacher())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "data"
    command = ["scenes", str(out), "--drives", "4", "--frames", "3", "--val-drives", "1", "--no-camera"]
    result = CliRunner().invoke(build_app(), [*command, "--beams", "16", "--workers", "1"])
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.slow
@pytest.mark.parametrize("terms", [BASELINES, GRAPHS], ids=["baselines", "pointdistiller"])
def test_a_study_on_scenes_lowers_every_term(scenes, tmp_path, terms):
    grid = {"x_range_m": [-25.6, 25.6], "y_range_m": [-25.6, 25.6], "z_range_m": [-1.0, 3.0], "cell_m": 0.8}
    schedule = {"epochs": 6, "peak_learning_rate": 0.01}
    for name, width in (("teacher", 16), ("student", 8)):
        values = recipe_values(
            detector=learned(width, [1, 2, 2] if name == "teacher" else [2, 1, 2])
            | {"grid": grid, "class_names": ROAD_USERS},
            schedule=schedule,
            **({"distillation": {"terms": terms}} if name == "student" else {}),
        )
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    shared = ["--data", str(scenes), "--threads", "1"]
    train = ["train", str(tmp_path / "teacher.yaml"), *shared, "--out", str(tmp_path / "teacher")]
    distill = ["distill", str(tmp_path / "student.yaml"), *shared, "--teacher", str(tmp_path / "teacher")]
    for command in (train, [*distill, "--out", str(tmp_path / "out")]):
        result = CliRunner().invoke(build_app(), command)
        assert result.exit_code == 0, result.output
    assert "teacher's answers: " in result.output
    assert [entry.role for entry in read_ledger(tmp_path / "out" / "ledger.json").entries][1:] == ["control", "student"]
    rows = [row for row in read_metrics(tmp_path / "out" / "student-seed0") if row["kind"] == "epoch"]
    first, last = rows[0], rows[-1]
    lowered = {name: last[name] < first[name] for name in first if f"share_{name}" in first or name == "detection"}
    assert len(lowered) >= len(terms) + 1
    assert all(lowered.values()), {name: (first[name], last[name]) for name in lowered}
