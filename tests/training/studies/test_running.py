"""Studies of a few steps, trained for real."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.launching import ROOT
from tests.training.studies.tiny_study import DENSE, FITNET, write_study
from understudy.cli import build_app
from understudy.errors import InputError
from understudy_training.checkpoint import read_record
from understudy_training.distillation.study import EVALUATION
from understudy_training.fitting import InterruptionError
from understudy_training.ledger_command import parse_data, parse_share
from understudy_training.loop.checkpoints import Checkpoints
from understudy_training.studies.planning import StudyPlan, check_plan, make_plan, share_of
from understudy_training.studies.records import collect, read_study_ledger
from understudy_training.studies.running import refuse_missing_teachers, run_study, state_of
from understudy_training.studies.study_file import read_study


def ledger(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(build_app(), ["ledger", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


def plan_of(study: Path, scenes: Path) -> StudyPlan:
    read, beside = read_study(study)
    return make_plan(read, beside, {"main": scenes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory, scenes) -> tuple[Path, Path, str]:
    """The file of a study, its folder after it was carried out, and what was printed."""
    folder = tmp_path_factory.mktemp("study")
    study = write_study(folder, seeds=[1], methods=[DENSE], reference="dense")
    printed = ledger("run", study, "--data", scenes, "--out", folder / "out", "--threads", 1)
    return study, folder / "out", printed


def test_every_network_is_trained_once_and_compared(whole, scenes):
    study, out, printed = whole
    found = read_study_ledger(out)
    assert len(found.rows) == 1 + 4
    assert "no gain shown" in printed
    plan = plan_of(study, scenes)
    assert {state_of(job, out) for job in plan.all} == {"done"}
    records = {(job.label, job.seed): read_record(out / job.folder) for job in plan.jobs}
    control, dense, shuffled, random = (
        records[name, 1] for name in ("control", "dense", "dense-shuffled", "dense-random")
    )
    assert {(each.steps, each.frames, each.seed) for each in (control, dense, shuffled, random)} == {
        (dense.steps, dense.frames, 1)
    }
    trained, untrained = (read_record(out / plan.teachers[name].folder) for name in ("big", "big-random"))
    assert control.teacher == ""
    assert dense.teacher == shuffled.teacher == trained.weights
    assert random.teacher == untrained.weights != trained.weights
    assert (untrained.steps, dense.teacher_shuffled, shuffled.teacher_shuffled) == (0, False, True)
    assert len({each.weights for each in (control, dense, shuffled, random)}) == 4


def test_a_second_run_trains_nothing_and_a_new_method_only_itself(whole, scenes, tmp_path):
    study, out, _ = whole
    copy = Path(shutil.copytree(out, tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("weights.safetensors")}
    write_study(study.parent / "more", seeds=[1], methods=[DENSE, FITNET], reference="dense")
    more = study.parent / "more" / "study.yaml"
    listed = ledger("run", more, "--data", scenes, "--out", copy, "--list")
    assert "6 of 7 done" in listed
    assert "as measured on jobs of this study" in listed
    assert all(len(line) <= 100 for line in listed.splitlines())
    ledger("run", more, "--data", scenes, "--out", copy, "--only", "fitnet", "--threads", 1)
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("weights.safetensors")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert {row.label for row in read_study_ledger(copy).rows} >= {"control", "dense", "fitnet"}


def test_killed_in_the_middle_and_run_again_it_ends_with_the_same_bytes(whole, scenes, tmp_path):
    study, out, _ = whole
    partial = tmp_path / "out"
    shutil.copytree(out / "teachers", partial / "teachers")
    plan = plan_of(study, scenes)
    dense = next(job for job in plan.jobs if (job.label, job.seed) == ("dense", 1))
    run = partial / dense.folder
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training.studies.mortal_study", str(study), str(scenes), str(partial)]
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=200, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert state_of(dense, partial) == "begun"
    assert (run / "resume" / "last.ckpt").is_file()
    ledger("run", study, "--data", scenes, "--out", partial, "--only", "dense", "--threads", 1)
    for name in ("weights.safetensors", EVALUATION, "recipe.yaml"):
        assert (run / name).read_bytes() == (out / dense.folder / name).read_bytes(), name
    row = next(row for row in read_study_ledger(partial).rows if (row.label, row.seed) == ("dense", 1))
    assert row.cpu_s is None, "the processor time of a part is not that of the whole"


def test_told_to_end_it_ends_and_calls_nothing_failed(whole, scenes, tmp_path, monkeypatch):
    study, out, _ = whole
    shutil.copytree(out / "teachers", tmp_path / "teachers")
    plan = plan_of(study, scenes)
    finish_epoch = Checkpoints.on_train_epoch_end

    def and_be_told(self: Checkpoints, *arguments: object) -> None:
        finish_epoch(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Checkpoints, "on_train_epoch_end", and_be_told)
    with pytest.raises(InterruptionError, match=r"study, small control, seed 1: .*the same command goes on"):
        run_study(plan, (*plan.teachers.values(), *plan.jobs), tmp_path, threads=1)
    states = {job.label: state_of(job, tmp_path) for job in plan.jobs}
    assert states == {"control": "begun", "dense": "open", "dense-shuffled": "open", "dense-random": "open"}


def test_a_job_that_fails_is_told_and_the_others_are_done(whole, scenes, tmp_path):
    study, out, _ = whole
    partial = tmp_path / "out"
    shutil.copytree(out / "teachers", partial / "teachers")
    plan = plan_of(study, scenes)
    jobs = plan.only(("control", "dense"))
    begun = partial / jobs[0].folder / "resume"
    begun.mkdir(parents=True)
    (begun / "begun-with.json").write_text(json.dumps({"recipe": "another"}))
    failures = run_study(plan, jobs, partial, threads=1)
    assert list(failures) == [jobs[0].name]
    assert "begun with another" in failures[jobs[0].name]
    assert [state_of(job, partial) for job in jobs] == ["failed", "done"]
    assert list(collect(plan, partial).failures) == [jobs[0].name]


def test_a_study_does_not_move_in_with_something_else(whole, scenes, tmp_path):
    study, out, _ = whole
    plan = plan_of(study, scenes)
    trained = out / plan.teachers["big"].folder
    for folder, says in ((scenes, "a data set"), (trained, "a training run")):
        before = sorted(folder.iterdir())
        with pytest.raises(InputError, match=f"found {says}, wanted a new folder, or a study's"):
            run_study(plan, plan.jobs, folder, threads=1)
        assert sorted(folder.iterdir()) == before
    other = dataclasses.replace(plan, study=plan.study.model_copy(update={"name": "other"}))
    with pytest.raises(InputError, match=f"found study {plan.study.name}, wanted study other"):
        run_study(other, other.jobs, out, threads=1)


def test_machines_share_the_jobs_but_not_the_training_of_teachers(whole, scenes, tmp_path):
    study, out, _ = whole
    plan = plan_of(study, scenes)
    shares = [share_of(plan.jobs, number, 3) for number in (1, 2, 3)]
    assert sorted(job.address for share in shares for job in share) == sorted(job.address for job in plan.jobs)
    refuse_missing_teachers(plan, plan.jobs, out)
    with pytest.raises(InputError, match="--only teachers"):
        refuse_missing_teachers(plan, plan.jobs, tmp_path)


def test_a_teacher_may_be_a_run_that_is_there(whole, scenes, tmp_path):
    study, out, _ = whole
    trained = out / plan_of(study, scenes).teachers["big"].folder
    given = write_study(tmp_path, seeds=[1], teachers={"given": {"run": str(trained)}}, reference="dense")
    plan = plan_of(given, scenes)
    check_plan(plan)
    dense = plan.only(("dense", "dense-random"))
    assert run_study(plan, (*plan.teachers_of(dense), *dense), tmp_path / "out", threads=1) == {}
    known = {job.label: read_record(out / job.folder).weights for job in plan_of(study, scenes).jobs}
    found = {job.label: read_record(tmp_path / "out" / job.folder).weights for job in dense}
    assert found == {name: known[name] for name in found}


@pytest.mark.slow
def test_jobs_in_processes_give_the_same_networks(whole, scenes, tmp_path):
    study, out, _ = whole
    ledger("run", study, "--data", scenes, "--out", tmp_path / "out", "--jobs", 2, "--threads", 1)
    for job in plan_of(study, scenes).all:
        assert read_record(tmp_path / "out" / job.folder).weights == read_record(out / job.folder).weights


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1", "a/b", "1/0", "-1/2", f"1/{10**20}"])
def test_shares_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="--share"):
        parse_share(text)


def test_shares_and_data_sets_are_read(tmp_path):
    (tmp_path / "a=b").mkdir()
    assert parse_share("2/3") == (2, 3)
    assert parse_data([str(tmp_path / "a=b"), "pseudo=elsewhere"]) == {
        "main": tmp_path / "a=b",
        "pseudo": Path("elsewhere"),
    }
    with pytest.raises(InputError, match="each data set once"):
        parse_data(["a", "b"])
