import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.launching import rows_of
from tests.training.processes import recipe_of
from understudy.errors import InputError
from understudy_training.distillation.study import load_frames
from understudy_training.fitting import FitOptions, build_detector, fit
from understudy_training.loop.averaging import WeightAverage
from understudy_training.testing import MadeUpDataset
from understudy_training.tracking.environment import (
    command_line,
    environment_now,
    git_state,
    variables_that_matter,
    write_environment,
)
from understudy_training.tracking.loggers import check_loggers
from understudy_training.tracking.metrics import Means, read_metrics, with_shares
from understudy_training.tracking.nested import flat


def fit_tiny(folder: Path, changes: dict[str, object] | None = None, **options) -> None:
    recipe = recipe_of(changes or {})
    fit(recipe, load_frames(recipe, MadeUpDataset(6)), folder, FitOptions(**options))


def test_a_run_folder_says_what_it_was_made_of(tmp_path):
    fit_tiny(tmp_path, metrics_every=2)
    names = {path.name for path in tmp_path.iterdir()}
    files = {"recipe.yaml", "data.json", "environment.json", "metrics.jsonl", "run.json", "weights.safetensors"}
    assert files | {"contract.yaml", "tensorboard", "resume"} == names
    data = json.loads((tmp_path / "data.json").read_text())
    assert data["fingerprint"] == MadeUpDataset(6).fingerprint
    assert (data["reader"], data["frames"]) == ("MadeUpDataset", 6)
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["python"] == sys.version.split()[0]
    assert environment["command"]
    rows = read_metrics(tmp_path)
    assert [(row["kind"], row["step"]) for row in rows] == [
        *(("steps", 2), ("epoch", 3), ("steps", 4), ("steps", 6), ("epoch", 6)),
    ]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_an_epochs_row_is_the_mean_of_its_steps(tmp_path):
    fit_tiny(tmp_path, metrics_every=1)
    rows = rows_of(tmp_path)
    steps = [row["detection"] for row in rows[:3]]
    assert [row["kind"] for row in rows[:4]] == ["steps"] * 3 + ["epoch"]
    assert rows[3]["detection"] == pytest.approx(sum(steps) / 3, rel=1e-6)


def test_rows_of_an_older_run_are_read(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,heatmap,seconds\n0,3,1.5,0.25\n1,6,1.25,0.5\n")
    assert read_metrics(tmp_path)[1] == {"kind": "epoch", "epoch": 1, "step": 6, "heatmap": 1.25, "seconds": 0.5}
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        read_metrics(tmp_path / "nowhere")
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0}\n{"epo')
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        read_metrics(tmp_path)


def test_means_go_on_after_a_checkpoint():
    whole, broken, resumed = Means(), Means(), Means()
    for value in (1.0, 2.0):
        whole.add({"loss": torch.tensor(value)})
        broken.add({"loss": torch.tensor(value)})
    resumed.restore(broken.state(), torch.device("cpu"))
    for means in (whole, resumed):
        means.add({"loss": torch.tensor(6.0)})
    assert whole.take() == resumed.take() == {"loss": 3.0}
    assert whole.take() == {}


def test_shares_add_up_with_the_detection_loss():
    means = {"heatmap": 1.0, "regression": 2.0, "detection": 1.5, "a": 0.5, "b": 2.0}
    shares = with_shares(means)
    assert shares["share_a"] == pytest.approx(0.125)
    assert shares["share_b"] == pytest.approx(0.5)


def test_the_average_is_what_a_hand_calculates():
    module = torch.nn.BatchNorm1d(1)
    average = WeightAverage(module, decay=0.3)
    average.on_train_start(None, None)
    expected, values = 1.0, (3.0, -2.0, 5.0, 4.0)
    for number, value in enumerate(values):
        with torch.no_grad():
            module.weight.fill_(value)
            module.num_batches_tracked.fill_(number)
        average.update()
        decay = min(0.3, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
    assert average.average["weight"].item() == pytest.approx(expected, rel=1e-6)
    assert average.average["num_batches_tracked"].item() == 3


def test_a_run_saves_its_average(tmp_path):
    fit_tiny(tmp_path / "plain")
    fit_tiny(tmp_path / "averaged", {"schedule": {"epochs": 2, "ema": {"decay": 0.9}}}, metrics_every=1)
    kept = torch.load(tmp_path / "averaged" / "resume" / "last.ckpt", weights_only=True)
    from safetensors.torch import load_file

    plain, averaged = (load_file(tmp_path / name / "weights.safetensors") for name in ("plain", "averaged"))
    for name, value in kept["callbacks"]["WeightAverage"]["average"].items():
        assert torch.equal(averaged[name], value), name
        assert torch.equal(plain[name], kept["state_dict"][f"detector.{name}"]), name
    assert any(not torch.equal(plain[name], averaged[name]) for name in plain)


def test_an_average_near_the_start_follows_the_weights():
    detector = build_detector(recipe_of({}), 0)
    average = WeightAverage(detector, decay=0.999)
    average.on_train_start(None, None)
    for parameter in detector.parameters():
        parameter.data.add_(1.0)
    average.update()
    weight = next(iter(detector.state_dict()))
    moved = average.average[weight] - (detector.state_dict()[weight] - 1.0)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.9))


def test_no_secret_is_written(tmp_path):
    variables = {"OMP_NUM_THREADS": "1", "NCCL_TOKEN": "x", "HOME": "/root", "TORCH_URL": "http://me:pw@host/x"}
    assert variables_that_matter(variables) == {"OMP_NUM_THREADS": "1", "TORCH_URL": "http://***@host/x"}
    assert command_line(["--logger", "mlflow=https://me:pw@host:5000"])[1] == "mlflow=https://***@host:5000"
    assert command_line(["mlflow=https://me:p@ss@host", "http://host/x?api_key=abc&run=2"]) == (
        "mlflow=https://***@host",
        "http://host/x?api_key=***&run=2",
    )
    assert command_line(["--out=runs/x", "--token=abc", "MY_SECRET=abc"]) == (
        "--out=runs/x",
        "--token=***",
        "MY_SECRET=***",
    )


def test_each_resumption_leaves_its_own_environment(tmp_path):
    names = [write_environment(tmp_path, environment_now()).name for _ in range(3)]
    assert names == ["environment.json", "environment-2.json", "environment-3.json"]


def test_the_state_of_the_code_is_told(tmp_path):
    assert git_state(tmp_path) is None

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "one")
    clean = git_state(tmp_path)
    assert clean is not None
    assert (clean.commit, clean.dirty, clean.diff_sha256) == (git("rev-parse", "HEAD"), False, "")
    (tmp_path / "a").write_text("2")
    dirty = git_state(tmp_path)
    assert dirty is not None
    assert dirty.dirty
    assert len(dirty.diff_sha256) == 64


def test_unknown_loggers_are_refused():
    with pytest.raises(InputError, match="tensorboard, mlflow"):
        check_loggers(("wandb",))
    check_loggers(())
    assert flat({"a": {"b": 1, "c": [1, 2]}, "d": "x"}) == {"a.b": 1, "a.c": "[1, 2]", "d": "x"}


def test_mlflow_takes_the_same_numbers(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is optional: pip install 'understudy[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = f"file://{tmp_path / 'store'}"
    fit_tiny(tmp_path / "run", loggers=(f"mlflow={store}",))
    run_id = json.loads((tmp_path / "run" / "mlflow-run.json").read_text())["run_id"]
    client = mlflow.tracking.MlflowClient(store)
    history = client.get_metric_history(run_id, "detection")
    rows = [row for row in read_metrics(tmp_path / "run") if row["kind"] == "epoch"]
    assert [(item.step, item.value) for item in history] == [(row["step"], row["detection"]) for row in rows]
    run = client.get_run(run_id)
    assert run.data.params["schedule.epochs"] == "2"
    assert run.info.status == "FINISHED"


def test_an_address_that_mlflow_cannot_use_is_refused(tmp_path):
    pytest.importorskip("mlflow", reason="mlflow is optional: pip install 'understudy[mlflow]'")
    with pytest.raises(InputError, match="--logger mlflow"):
        fit_tiny(tmp_path / "run", loggers=("mlflow=nonsense://here",))


def test_a_server_that_goes_away_costs_neither_the_training_nor_its_rows(tmp_path, monkeypatch):
    """Away for the middle of the training: what it missed is sent at the end. Away at the end too: the run is saved."""
    pytest.importorskip("mlflow", reason="mlflow is optional: pip install 'understudy[mlflow]'")
    from lightning.pytorch.loggers import MLFlowLogger
    from mlflow.exceptions import MlflowException

    calls, sent = [], []

    def failing(away):
        def log(self, metrics, step=None):
            calls.append(step)
            if len(calls) in away:
                raise MlflowException("no answer")
            sent.append(step)

        return log

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(MLFlowLogger, "log_metrics", failing({2}))
    fit_tiny(tmp_path / "middle", loggers=(f"mlflow=file://{tmp_path}/store",), metrics_every=1)
    assert sent == [1, 2, 3, 3, 4, 5, 6, 6]
    assert len(calls) == 9
    calls.clear()
    monkeypatch.setattr(MLFlowLogger, "log_metrics", failing(range(2, 100)))
    fit_tiny(tmp_path / "end", loggers=(f"mlflow=file://{tmp_path}/store",), metrics_every=1)
    assert (tmp_path / "end" / "weights.safetensors").is_file()
    assert len(calls) == 3, "one attempt when it failed, one at the end"
