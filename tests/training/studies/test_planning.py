from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.training.studies.tiny_study import DENSE, FITNET, recipe, write_study
from understudy.cli import build_app
from understudy.errors import InputError, RecipeError
from understudy_training.studies.planning import Planned, StudyPlan, check_plan, make_plan, share_of
from understudy_training.studies.study_file import Study, read_study


def plan_of(folder: Path, scenes: Path, preset: str | None = None, **changes) -> StudyPlan:
    study, beside = read_study(write_study(folder, **changes))
    study, changed = study.with_preset(preset)
    return make_plan(study, beside, {"main": scenes}, changed)


def test_methods_share_one_control_per_seed(tmp_path, scenes):
    plan = plan_of(tmp_path, scenes, methods=[DENSE, FITNET], seeds=[0, 1, 2])
    assert Counter(job.label for job in plan.jobs) == {"control": 3, "dense": 3, "fitnet": 3}
    assert len({job.address for job in plan.all}) == len(plan.all)
    control = next(job for job in plan.jobs if job.label == "control")
    assert control.recipe.distillation is None
    assert control.teachers == {}


def test_the_reference_is_also_tried_with_a_shuffled_and_with_an_untrained_teacher(tmp_path, scenes):
    plan = plan_of(tmp_path, scenes, methods=[DENSE, FITNET], reference="dense")
    jobs = {(job.label, job.seed): job for job in plan.jobs}
    dense, shuffled, random = (jobs[name, 0] for name in ("dense", "dense-shuffled", "dense-random"))
    assert (shuffled.part, random.part) == ("shuffled", "random")
    assert shuffled.teachers == dense.teachers == {"teacher": "big"}
    assert random.teachers == {"teacher": "big-random"}
    assert plan.teachers["big-random"].untrained
    assert dense.recipe == shuffled.recipe == random.recipe
    assert len({dense.address, shuffled.address, random.address}) == 3
    assert "fitnet-shuffled" not in {job.label for job in plan.jobs}


def test_an_address_says_what_decides_the_weights_and_nothing_else(tmp_path, scenes):
    first = {job.name: job.address for job in plan_of(tmp_path / "a", scenes).all}
    more = {job.name: job.address for job in plan_of(tmp_path / "b", scenes, methods=[FITNET, DENSE]).all}
    assert first.items() <= more.items()
    longer = {job.name: job.address for job in plan_of(tmp_path / "c", scenes, student={"schedule": {"epochs": 3}}).all}
    assert longer["teacher big"] == first["teacher big"]
    assert not {name for name in first if name != "teacher big" and longer[name] == first[name]}
    other = {"big": {"recipe": "teacher.yaml", "seed": 1}}
    taught = {job.name: job.address for job in plan_of(tmp_path / "d", scenes, teachers=other).all}
    assert {name for name in first if taught[name] == first[name]} == {
        "small control, seed 0",
        "small control, seed 1",
    }


def test_a_preset_makes_the_study_smaller(tmp_path, scenes):
    presets = {"glance": {"seeds": [3], "epochs": 1, "teacher_epochs": 4, "max_frames": 2, "batch_size": 1}}
    plan = plan_of(tmp_path, scenes, preset="glance", presets=presets)
    assert {job.seed for job in plan.jobs} == {3}
    assert {job.recipe.schedule.epochs for job in plan.jobs} == {1}
    assert plan.teachers["big"].recipe.schedule.epochs == 4
    assert {job.frames for job in plan.all} == {2}
    assert {job.recipe.data.batch_size for job in plan.all} == {1}
    assert plan.jobs[0].gmacs < plan_of(tmp_path, scenes).jobs[0].gmacs


@pytest.mark.parametrize("part", [{"schedule": {"epochs": 3}}, {"loss": {"regression_weight": 2.0}}])
def test_recipes_that_would_make_an_unfair_comparison_are_refused(tmp_path, scenes, part):
    write_study(tmp_path)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe("own", **part)))
    with pytest.raises(RecipeError, match=f"longer: {next(iter(part))} of own.yaml.* only the teaching may differ"):
        plan_of(tmp_path, scenes, methods=[{"label": "longer", "recipes": {"small": "own.yaml"}}])


def test_a_method_may_bring_its_own_recipe(tmp_path, scenes):
    write_study(tmp_path)
    taught = recipe("own", distillation={"terms": [{"kind": "fitnet"}]}, data={"batch_size": 2, "min_points": 1})
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(taught))
    plan = plan_of(tmp_path, scenes, methods=[{"label": "own", "recipes": {"small": "own.yaml"}}])
    own = next(job for job in plan.jobs if job.label == "own")
    assert own.teachers == {"teacher": "big"}
    assert own.recipe.data.min_points == 1
    control = next(job for job in plan.jobs if job.label == "control")
    assert (control.recipe.distillation, control.recipe.data.min_points) == (None, 3)


def test_a_method_on_other_data_makes_as_many_steps_as_the_control(tmp_path, scenes):
    few = tmp_path / "few"
    sizes = ["--drives", "2", "--frames", "1", "--val-drives", "1", "--beams", "16"]
    made = CliRunner().invoke(build_app(), ["scenes", str(few), *sizes, "--no-camera", "--workers", "1"])
    assert made.exit_code == 0, made.output
    methods = [{"label": "more", "data": "more"}]
    student = {"schedule": {"epochs": 30}, "data": {"batch_size": 1}}
    study, beside = read_study(write_study(tmp_path, student=student, methods=methods, teachers={}))
    plan = make_plan(study, beside, {"main": few, "more": scenes})
    assert plan.teachers == {}
    epochs = {job.label: (job.frames, job.recipe.schedule.epochs) for job in plan.jobs}
    frames_of_control, frames = epochs["control"][0], epochs["more"][0]
    assert frames > frames_of_control
    assert epochs == {"control": (frames_of_control, 30), "more": (frames, 30 * frames_of_control // frames)}
    own = recipe("own", **student | {"data": {"batch_size": 1, "max_frames": 2}})
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))  # other frames, which must not change the control's length
    methods = [{"label": "own", "data": "more", "recipes": {"small": "own.yaml"}}]
    other = Study.model_validate(study.model_dump() | {"methods": methods})
    plan = make_plan(other, beside, {"main": few, "more": scenes})
    assert {job.label: (job.frames, job.recipe.schedule.epochs) for job in plan.jobs}["own"] == (2, 15)
    short = recipe("small", schedule={"epochs": 1}, data={"batch_size": 1})
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(short))
    found = rf"method more: data more: found {frames} steps in 1 epochs, 1 of the control, wanted as many within 5%"
    with pytest.raises(InputError, match=found):
        make_plan(study, beside, {"main": few, "more": scenes})


def test_a_reference_must_be_taught(tmp_path, scenes):
    study, beside = read_study(write_study(tmp_path, methods=[{"label": "more", "data": "more"}], reference="more"))
    with pytest.raises(InputError, match="reference: more: found a method without a teacher"):
        make_plan(study, beside, {"main": scenes, "more": scenes})


def test_a_study_without_teachers_cannot_be_taught(tmp_path, scenes):
    with pytest.raises(RecipeError, match="dense: teachers: found teacher, wanted a study with teachers"):
        plan_of(tmp_path, scenes, teachers={})


def test_data_sets_that_are_missing_are_named(tmp_path, scenes):
    pseudo = {"label": "pseudo", "data": "pseudo"}
    with pytest.raises(InputError, match="--data pseudo=DIR"):
        plan_of(tmp_path, scenes, methods=[pseudo])


def test_what_a_job_would_stumble_over_is_found_before(tmp_path, scenes):
    check_plan(plan_of(tmp_path / "a", scenes, methods=[DENSE, FITNET], reference="dense"))
    pillars = {"label": "pillars", "distillation": {"terms": [{"kind": "pointdistiller", "level": "pillar"}]}}
    with pytest.raises(InputError, match="teacher's pillars"):
        check_plan(plan_of(tmp_path / "b", scenes, methods=[pillars]))
    endless = {"data": {"batch_size": 2, "augmentation": {}}}
    with pytest.raises(InputError, match="endless"):
        check_plan(plan_of(tmp_path / "c", scenes, student=endless, reference="dense"))


def test_only_takes_methods_that_there_are(tmp_path, scenes):
    plan = plan_of(tmp_path, scenes, methods=[DENSE, FITNET])
    assert {job.label for job in plan.only(("fitnet",))} == {"fitnet"}
    assert plan.only(()) == plan.jobs
    assert [teacher.label for teacher in plan.teachers_of(plan.only(("fitnet",)))] == ["big"]
    assert plan.teachers_of(plan.only(("control",))) == ()
    with pytest.raises(InputError, match="--only: found cwd"):
        plan.only(("cwd",))


@pytest.fixture(scope="module")
def one_job(tmp_path_factory, scenes) -> Planned:
    return plan_of(tmp_path_factory.mktemp("one"), scenes).jobs[0]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 7))
def test_shares_divide_the_jobs_exactly_and_evenly(one_job, costs, shares):
    jobs = tuple(replace(one_job, address=str(number), gmacs=float(cost)) for number, cost in enumerate(costs))
    parts = [share_of(jobs, number, shares) for number in range(1, shares + 1)]
    assert sorted(job.address for part in parts for job in part) == sorted(job.address for job in jobs)
    again = [share_of(tuple(reversed(jobs)), number, shares) for number in range(1, shares + 1)]
    assert [{job.address for job in part} for part in parts] == [{job.address for job in part} for part in again]
    spent = [sum(job.gmacs for job in part) for part in parts]
    assert max(spent) - min(spent) <= max(costs, default=0)
