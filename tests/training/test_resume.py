"""A run that was killed and resumed ends with the bytes of one that never was."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.training.launching import rows_of, run_cases
from tests.training.processes import ALL_TERMS, recipe_of, train
from understudy.errors import InputError
from understudy_training.distillation.study import load_frames
from understudy_training.fitting import FitOptions, fit
from understudy_training.loop.options import Interval, parse_interval
from understudy_training.loop.random_states import random_states, restore_random_states
from understudy_training.testing import MadeUpDataset

SCHEDULE = {"epochs": 3, "accumulate": 2, "ema": {"decay": 0.9}}
RICH = {
    "changes": {
        "data": {"batch_size": 4, "preload": False, "augmentation": {"variants": 2}},
        "schedule": SCHEDULE,
        "distillation": {"terms": ALL_TERMS},
    },
    "taught": True,
    "frames": 20,
    "checkpoint_every_steps": 2,
}
"""Five steps of four frames each epoch; checkpoints after two, four and five."""


def weights_of(run: Path) -> bytes:
    return (run / "weights.safetensors").read_bytes()


def step_of(run: Path) -> int:
    return int(torch.load(run / "resume" / "last.ckpt", weights_only=True)["global_step"])


@pytest.mark.parametrize(
    ("reads", "step"),
    [pytest.param(7, 0, marks=pytest.mark.slow), (34, 7), pytest.param(41, 10, marks=pytest.mark.slow)],
)
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, reads, step, whole):
    """Killed in the first steps, in the middle of the second epoch, and right after it."""
    done = run_cases(tmp_path, [RICH | {"out": tmp_path / "run", "reads_left": reads}])
    assert done.returncode == -9, done.stderr
    checkpoint = tmp_path / "run" / "resume" / "last.ckpt"
    assert (step_of(tmp_path / "run") if checkpoint.is_file() else 0) == step
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write('{"kind": "steps", "step": 1000}\n')
    train(tmp_path / "run", resume=True, **RICH)
    assert weights_of(tmp_path / "run") == weights_of(whole)
    assert rows_of(tmp_path / "run") == rows_of(whole)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    train(run, **RICH)
    assert len(rows_of(run)) == 15 + 3
    return run


@pytest.mark.slow
def test_two_processes_go_on_to_the_same_bytes_when_one_is_killed(tmp_path):
    case = {name: value for name, value in RICH.items() if name != "taught"}
    case["changes"] = {name: value for name, value in RICH["changes"].items() if name != "distillation"}
    assert run_cases(tmp_path, [case | {"out": tmp_path / "whole"}], processes=2).returncode == 0
    killed = run_cases(tmp_path, [case | {"out": tmp_path / "run", "reads_left": 17}], processes=2)
    assert killed.returncode != 0
    assert 0 < step_of(tmp_path / "run") < 15
    resumed = run_cases(tmp_path, [case | {"out": tmp_path / "run", "resume": True}], processes=2)
    assert resumed.returncode == 0, resumed.stderr[-4000:]
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")


def fit_tiny(folder: Path, **options) -> None:
    recipe = recipe_of({})
    fit(recipe, load_frames(recipe, MadeUpDataset(6)), folder, FitOptions(**options))


def test_checkpoints_within_epochs_change_nothing(tmp_path):
    fit_tiny(tmp_path / "without")
    fit_tiny(tmp_path / "steps", checkpoint_every=Interval(steps=1))
    fit_tiny(tmp_path / "seconds", checkpoint_every=Interval(seconds=0.001))
    assert weights_of(tmp_path / "without") == weights_of(tmp_path / "steps") == weights_of(tmp_path / "seconds")
    assert not list((tmp_path / "steps" / "resume").glob("*.part"))


def test_a_finished_run_is_left_as_it_is(tmp_path):
    fit_tiny(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    fit_tiny(tmp_path, resume=True)
    assert (tmp_path / "run.json").read_bytes() == before
    with pytest.raises(InputError, match="another seed"):
        fit_tiny(tmp_path, resume=True, seed=1)


def test_two_trainings_into_one_folder_are_refused(tmp_path):
    """A job that is started again while the first one lives; once it is gone, the folder is free."""
    code = (
        "import sys, time, pathlib; from understudy_training.resuming import alone_in\n"
        "with alone_in(pathlib.Path(sys.argv[1])): print('in', flush=True); time.sleep(100)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(InputError, match="another process that trains into it"):
            fit_tiny(tmp_path)
        assert not (tmp_path / "metrics.jsonl").exists()
    finally:
        other.kill()
        other.wait()
    fit_tiny(tmp_path)
    assert (tmp_path / "weights.safetensors").is_file()


def test_a_checkpoint_holds_every_generator():
    before = random_states()
    before = {name: torch.stack([state, state])[1] for name, state in before.items()}  # as gathered from two processes
    drawn = random.random(), np.random.rand(), torch.rand(1).item(), random.gauss(0, 1), np.random.randn()  # noqa: NPY002
    restore_random_states(before)
    again = random.random(), np.random.rand(), torch.rand(1).item(), random.gauss(0, 1), np.random.randn()  # noqa: NPY002
    assert drawn == again


def test_what_resumes_holds_generators_averages_and_sums_and_no_code(whole):
    kept = torch.load(whole / "resume" / "last.ckpt", weights_only=True)
    names = set(kept["callbacks"])
    assert {"Checkpoints", "MetricLines", "WeightAverage"} <= names
    assert kept["callbacks"]["Checkpoints"]["random_states"]["torch"].shape[0] == 1
    assert kept["callbacks"]["WeightAverage"]["num_steps"] == 15


def test_intervals_are_steps_or_times():
    assert parse_interval(None) is None
    assert parse_interval("500") == Interval(steps=500)
    assert parse_interval("10m") == Interval(seconds=600.0)
    assert parse_interval("90s") == Interval(seconds=90.0)
    for wrong in ("0", "x", "5h", "-3", ""):
        with pytest.raises(InputError, match="--checkpoint-every"):
            parse_interval(wrong)


@pytest.fixture(scope="module")
def study_of(tmp_path_factory):
    """Runs `understudy distill` on small scenes with a teacher, into a folder."""
    from tests.training.distillation.test_study import values
    from understudy.cli import build_app

    folder = tmp_path_factory.mktemp("study")
    scenes = ["scenes", str(folder / "data"), "--drives", "2", "--frames", "3", "--val-drives", "1", "--no-camera"]
    assert CliRunner().invoke(build_app(), [*scenes, "--beams", "16", "--workers", "1"]).exit_code == 0
    for name, changes in (("teacher", {}), ("student", {"distillation": {"terms": [{"kind": "dense_response"}]}})):
        (folder / f"{name}.yaml").write_text(json.dumps(values(**changes)))
    data = ["--data", str(folder / "data"), "--threads", "1"]
    trained = CliRunner().invoke(
        build_app(), ["train", str(folder / "teacher.yaml"), *data, "--out", str(folder / "teacher")]
    )
    assert trained.exit_code == 0, trained.output

    def distill(out: Path, *options: str):
        command = ["distill", str(folder / "student.yaml"), "--teacher", str(folder / "teacher"), *data]
        return CliRunner().invoke(build_app(), [*command, "--out", str(out), *options])

    return distill


def test_a_study_goes_on_where_it_was_interrupted(tmp_path, study_of):
    """As if killed after the control was finished and the student had reached its first checkpoint."""
    assert study_of(tmp_path / "whole").exit_code == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    student = tmp_path / "broken" / "student-seed0"
    for name in ("weights.safetensors", "run.json", "evaluation.json"):
        (student / name).unlink()
    (tmp_path / "broken" / "ledger.json").unlink()
    control = tmp_path / "broken" / "control-seed0" / "weights.safetensors"
    before_ns = control.stat().st_mtime_ns
    refused = study_of(tmp_path / "broken")
    assert isinstance(refused.exception, InputError)
    other = study_of(tmp_path / "broken", "--resume", "--epochs", "5")
    assert isinstance(other.exception, InputError)
    assert "another recipe" in str(other.exception)
    resumed = study_of(tmp_path / "broken", "--resume")
    assert resumed.exit_code == 0, resumed.exception
    assert "finished before" in resumed.output
    assert control.stat().st_mtime_ns == before_ns
    assert weights_of(student) == weights_of(tmp_path / "whole" / "student-seed0")
    assert rows_of(student) == rows_of(tmp_path / "whole" / "student-seed0")
    assert _accuracy(tmp_path / "broken") == _accuracy(tmp_path / "whole")
    nowhere = study_of(tmp_path / "nowhere", "--resume")
    assert "nothing to resume" in str(nowhere.exception)


def _accuracy(out: Path) -> list[object]:
    return [entry["ap_percent"] for entry in json.loads((out / "ledger.json").read_text())["entries"]]


def test_a_study_under_torchrun_is_refused(tmp_path, study_of, monkeypatch):
    names = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in names.items():
        monkeypatch.setitem(os.environ, name, value)
    refused = study_of(tmp_path / "out")
    assert "--jobs" in str(refused.exception)
