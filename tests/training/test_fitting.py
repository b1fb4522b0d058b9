import json
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.training.distillation.camera_drives import CameraDrives, camera_detector
from understudy.errors import GeometryError, InputError, UnderstudyError
from understudy_training.augmentation import Augmentation
from understudy_training.batches import TrainingFrames, labelled_frame, reach_of
from understudy_training.checkpoint import RunRecord, load_detector, read_record, save_run
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.teacher_cache import CachedTeacher, LiveTeacher, weights_bytes
from understudy_training.fitting import FitOptions, Teaching, build_detector, fit, one_cycle, use_threads, widths_of
from understudy_training.recipe import Recipe, check_recipe
from understudy_training.testing import GRID, MadeUpDataset, recipe_values
from understudy_training.tracking.metrics import read_metrics

ALL_TERMS = [{"kind": kind} for kind in ("response", "dense_response", "feature", "relation")]


def tiny(**changes: object) -> Recipe:
    return check_recipe(recipe_values(**changes), "tiny")


@pytest.fixture(scope="module")
def clouds() -> TrainingFrames:
    return load_frames(tiny(), MadeUpDataset(6))


def state_of(run):
    return {name: value.numpy() for name, value in load_detector(run)[0].state_dict().items()}


def assert_equal_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_a_run_leaves_everything_and_lowers_its_loss(tmp_path, clouds):
    lines: list[str] = []
    recipe = tiny(schedule={"epochs": 6})
    detector = fit(recipe, clouds, tmp_path, say=lines.append)
    assert len(lines) == 6 + 1
    rows = read_metrics(tmp_path)
    assert [row["epoch"] for row in rows] == [*range(6)]
    assert rows[-1]["detection"] < 0.7 * rows[0]["detection"]
    loaded, contract = load_detector(tmp_path)
    assert not loaded.training
    assert contract == recipe.contract()
    assert weights_bytes(loaded) == weights_bytes(detector)
    record = read_record(tmp_path)
    assert (record.steps, record.frames, record.seed) == (18, 6, 0)
    assert (tmp_path / "tensorboard").is_dir()
    assert json.loads((tmp_path / "run.json").read_text())["precision"] == "32-true"


def test_the_same_seed_gives_the_same_bits(tmp_path, clouds):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        fit(tiny(), clouds, tmp_path / name, FitOptions(seed=seed))
    assert_equal_weights(state_of(tmp_path / "a"), state_of(tmp_path / "b"))
    assert read_record(tmp_path / "a").weights == read_record(tmp_path / "b").weights
    assert read_record(tmp_path / "a").weights != read_record(tmp_path / "c").weights


def test_the_sensors_that_training_hides_follow_from_the_seed_alone(tmp_path):
    encoder = {"kind": "fusion", "lidar": {"kind": "occupancy"}, "camera": camera_detector()["encoder"]}
    recipe = tiny(detector=camera_detector() | {"encoder": encoder})
    frames = load_frames(recipe, CameraDrives(1))
    for name, seed in (("control", 3), ("student", 3), ("other", 4)):
        before = torch.get_rng_state()
        fit(recipe, frames, tmp_path / name, FitOptions(seed=seed))
        assert torch.equal(before, torch.get_rng_state())
        torch.rand(1)  # as the jobs before it in the same process may have done
    assert_equal_weights(state_of(tmp_path / "control"), state_of(tmp_path / "student"))
    assert read_record(tmp_path / "control").weights != read_record(tmp_path / "other").weights


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path, clouds):
    recipe = tiny(schedule={"epochs": 4})

    def interrupt(line: str) -> None:
        if "epoch 3/4" in line:
            raise RuntimeError("power cut")

    fit(recipe, clouds, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        fit(recipe, clouds, tmp_path / "broken", say=interrupt)
    fit(recipe, clouds, tmp_path / "broken", FitOptions(resume=True))
    assert_equal_weights(state_of(tmp_path / "whole"), state_of(tmp_path / "broken"))


def test_a_terminated_run_says_so(tmp_path, clouds):
    def terminate(line: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(UnderstudyError, match="--resume"):
        fit(tiny(), clouds, tmp_path, say=terminate)
    assert not (tmp_path / "weights.safetensors").exists()


def test_what_resumes_holds_no_code(tmp_path, clouds):
    fit(tiny(), clouds, tmp_path)
    state = torch.load(tmp_path / "resume" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 6


def test_nothing_to_resume_is_refused(tmp_path, clouds):
    with pytest.raises(InputError, match="nothing to resume"):
        fit(tiny(), clouds, tmp_path, FitOptions(resume=True))


def test_a_teacher_never_moves_and_leaves_no_trace_in_the_student(tmp_path, clouds):
    recipe = tiny(distillation={"terms": ALL_TERMS})
    teacher = build_detector(tiny(), seed=9)
    before = weights_bytes(teacher)
    live = LiveTeacher(teacher, recipe.distillation.asked)
    fit(recipe, clouds, tmp_path / "student", teaching=Teaching(live, widths_of(teacher)))
    fit(recipe, clouds, tmp_path / "control")
    assert weights_bytes(teacher) == before
    student, control = state_of(tmp_path / "student"), state_of(tmp_path / "control")
    assert student.keys() == control.keys()
    assert any((student[name] != control[name]).any() for name in student)
    assert 0 < read_metrics(tmp_path / "student")[0]["share_dense_class"] < 1


def test_student_and_control_begin_alike_whatever_was_drawn_before():
    first = build_detector(tiny(), seed=5)
    torch.rand(3)
    assert weights_bytes(first) == weights_bytes(build_detector(tiny(), seed=5))


def test_kept_answers_are_the_live_ones_and_shuffled_ones_are_not(tmp_path, clouds):
    recipe = tiny(distillation={"terms": ALL_TERMS})
    teacher = build_detector(tiny(), seed=9)
    live = LiveTeacher(teacher, recipe.distillation.asked)
    batch = _batch(recipe, clouds)
    kept = CachedTeacher(live, tmp_path, num_frames=len(clouds))
    with pytest.raises(InputError, match="nothing about version 1 of frame 0"):
        kept(batch)
    kept.remember(batch)
    said, wanted = kept(batch), live(batch)
    for name, mine, theirs in zip(("heatmap", "regression", "low", "high"), said.parts(), wanted.parts(), strict=False):
        torch.testing.assert_close(mine, theirs.float(), atol=5e-3, rtol=5e-3, msg=name)
    assert torch.equal(said.valid, wanted.valid)
    everything = _batch(recipe, clouds, size=6)
    kept.remember(everything)
    shuffled = CachedTeacher(live, tmp_path, num_frames=len(clouds), shift=3)(batch)
    assert not torch.equal(shuffled.high, said.high)


def _batch(recipe: Recipe, clouds: TrainingFrames, size: int = 2):
    from understudy_training.batches import Collate, Views

    views = Views(clouds, recipe.data.augmentation, seed=0)
    config = recipe.detector_config()
    encode = build_detector(recipe, 0).collate
    collate = Collate(encode, config.class_names, config.grid, 3, {"teacher": encode})
    return collate([views[(1, index)] for index in range(size)])


def test_clouds_arrive_in_ego_with_intensity_to_one_and_no_nan():
    sample = MadeUpDataset(1)[0]
    cloud = labelled_frame(sample, None, reach_m=100.0)
    assert len(cloud.points) == len(sample.frame.clouds["top"].points) - 1
    assert np.isfinite(cloud.points).all()
    assert 0 <= cloud.points[:, 3].min() <= cloud.points[:, 3].max() <= 1
    assert abs(np.median(cloud.points[:400, 2])) < 1e-5
    with pytest.raises(GeometryError, match="roof"):
        labelled_frame(sample, "roof", 100.0)


def test_reach_covers_the_corners_at_the_smallest_scale():
    assert reach_of(GRID, Augmentation(scale_range=(0.8, 1.0))) == pytest.approx(12.8 * 2**0.5 / 0.8, rel=1e-6)


def test_learning_rate_rises_then_falls_to_nothing():
    rates = [one_cycle(progress / 100, 0.3) for progress in range(101)]
    assert rates[0] == pytest.approx(0.04)
    assert max(rates) == pytest.approx(1.0) == rates[30]
    assert rates[-1] == pytest.approx(0.0)
    assert one_cycle(1.2, 0.3) == pytest.approx(0.0)


def test_no_frames_is_refused():
    with pytest.raises(InputError, match="no samples"):
        TrainingFrames(MadeUpDataset(0), None, 10.0, None)


def test_damaged_weights_are_refused(tmp_path, clouds):
    fit(tiny(), clouds, tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="weights"):
        load_detector(tmp_path)
    with pytest.raises(InputError, match="finished run"):
        load_detector(tmp_path / "nowhere")


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(12)))
    try:
        for threads, sharing, wanted in ((None, 1, 12), (None, 4, 3), (None, 99, 1), (2, 4, 2)):
            use_threads(threads, sharing)
            assert torch.get_num_threads() == wanted
    finally:
        torch.set_num_threads(before)


def test_weights_that_were_changed_after_the_training_are_refused(tmp_path):
    recipe = check_recipe(recipe_values(), "x")
    run = tmp_path / "run"
    detector = build_detector(recipe, 0)
    zeros = {"wall_s": 0.0, "cpu_s": 0.0, "parameters": 1, "gmacs": 0.0}
    counts = {"seed": 0, "epochs": 1, "steps": 1, "frames": 1, "threads": 1}
    save_run(run, detector, recipe, RunRecord(precision="", device="", **counts, **zeros))
    load_detector(run)
    others = {name: value.contiguous() for name, value in build_detector(recipe, 1).state_dict().items()}
    save_file(others, run / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors: sha256: found \w{12}, wanted \w{12}"):
        load_detector(run)
