"""Two processes with half of each batch are one process with all of it.

In float64, so that agreement means equal formulas: what remains is rounding, 1e-13. In float32 the same rounding is
1e-7 in the first step's loss, and AdamW, which divides each gradient by its own size, makes it 1e-3 within ten steps;
so does showing one process the frames of a batch in another order. There only the first step is compared.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.launching import assert_alike, rows_of, run_cases
from tests.training.processes import ALL_TERMS, LEARNED_PILLARS, recipe_of, train
from understudy.errors import InputError, RecipeError
from understudy_training.fitting import FitOptions, build_detector, fit
from understudy_training.loop.launch import agreed, launch_of
from understudy_training.loop.order import Division, StepSampler, divide, epoch_order, shards_of
from understudy_training.loop.shared_statistics import SharedBatchNorm2d, share_statistics
from understudy_training.testing import MadeUpDataset

DATA = {"batch_size": 4, "augmentation": {"variants": 2}}
CASES = {
    "taught": {
        "changes": {"data": DATA, "schedule": {"epochs": 4}, "distillation": {"terms": ALL_TERMS}},
        "taught": True,
        "float64": True,
    },
    "parts": {
        "changes": {"data": DATA, "schedule": {"epochs": 4, "accumulate": 2}},
        "without_batch_norm": True,
        "float64": True,
    },
    "learned": {"changes": {"data": DATA, "schedule": {"epochs": 1}, "detector": LEARNED_PILLARS}},
    "single": {"changes": {"data": DATA, "schedule": {"epochs": 1}}},
}


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    done = run_cases(folder, [case | {"out": folder / name} for name, case in CASES.items()], processes=2)
    assert done.returncode == 0, done.stderr[-8000:]
    return folder


def test_two_processes_are_one_with_the_whole_batch(tmp_path, two):
    train(tmp_path / "one", **CASES["taught"])
    assert len(rows_of(tmp_path / "one")) == 12 + 4
    assert_alike(tmp_path / "one", two / "taught", rtol=1e-6)  # the sum of the boxes' Gaussians stays float32


def test_two_processes_with_two_parts_each_are_one_with_the_whole_batch(tmp_path, two):
    changes = CASES["parts"]["changes"] | {"schedule": {"epochs": 4}}
    train(tmp_path / "one", changes, without_batch_norm=True, float64=True)
    whole = [row for row in rows_of(tmp_path / "one") if row["kind"] == "steps"]
    assert len(whole) == 12
    assert_alike(tmp_path / "one", two / "parts", rtol=1e-10)


@pytest.mark.parametrize("name", ["learned", "single"])
def test_in_float32_the_first_loss_agrees(tmp_path, two, name):
    train(tmp_path / "one", **CASES[name])
    first, other = rows_of(tmp_path / "one")[0], rows_of(two / name)[0]
    assert first["detection"] == pytest.approx(other["detection"], rel=2e-6)


def test_the_record_says_how_many_trained(two):
    from understudy_training.checkpoint import read_record

    assert read_record(two / "single").processes == 2


def test_a_mean_of_means_would_not_have_agreed():
    """The frames of a batch hold different numbers of boxes; otherwise the tests above would show nothing."""
    counts = [len(MadeUpDataset(12)[index].boxes) for index in epoch_order(12, seed=0, epoch=0)]
    halves = np.reshape(counts, (3, 2, 2)).sum(2)
    assert (halves[:, 0] != halves[:, 1]).any()


def test_batch_norm_alone_is_torchs_own():
    torch.manual_seed(0)
    own, shared = nn.BatchNorm2d(3), share_statistics(nn.Sequential(nn.BatchNorm2d(3)))[0]
    assert isinstance(shared, SharedBatchNorm2d)
    values = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(own(values), shared(values), rtol=0, atol=0)
    assert own.state_dict().keys() == shared.state_dict().keys()


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_a_step_holds_the_same_frames_for_any_number_of_processes(world_size, parts):
    alone = list(StepSampler(27, 3, Division(8), lambda: 0))
    shared = [list(StepSampler(27, 3, divide(8, 27, parts, world_size, rank), lambda: 0)) for rank in range(world_size)]
    for step, frames in enumerate(alone):
        mine = [shared[rank][step * parts + part] for rank in range(world_size) for part in range(parts)]
        assert [frame for share in mine for frame in share] == frames


def test_the_order_depends_on_the_step_alone():
    whole = [list(StepSampler(20, 1, Division(4), lambda done=done: done)) for done in (0, 5)]
    for done in range(10):
        rest = list(StepSampler(20, 1, Division(4), lambda done=done: done))
        assert rest == whole[done // 5][done % 5 :]


def test_shards_are_read_a_few_at_a_time():
    class Shards:
        def shard_of(self, index: int) -> int:
            return index // 10

    shards = shards_of(Shards(), 95)
    order = epoch_order(95, seed=0, epoch=2, shards=shards)
    assert sorted(order) == [*range(95)]
    seen = shards[order]
    windows = [set(seen[start : start + 40]) for start in (0, 40)]
    assert all(len(window) <= 5 for window in windows)
    assert (np.diff(seen) != 0).sum() > 50
    assert (order != epoch_order(95, seed=0, epoch=3, shards=shards)).any()
    assert (order == epoch_order(95, seed=0, epoch=2, shards=shards)).all()
    assert shards_of(object(), 3) is None


def test_shards_decide_the_order_of_a_training(tmp_path):
    class InShards(MadeUpDataset):
        def shard_of(self, index: int) -> int:
            return index // 2

    from understudy_training.distillation.frames import load_frames

    recipe = recipe_of({"schedule": {"epochs": 1}})
    clouds = load_frames(recipe, InShards(12))
    np.testing.assert_array_equal(clouds.shards, np.arange(12) // 2)
    fit(recipe, clouds, tmp_path / "sharded")
    fit(recipe, load_frames(recipe, MadeUpDataset(12)), tmp_path / "plain")
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("sharded", "plain")]
    assert weights[0] != weights[1]


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    recipe = recipe_of({"data": {"batch_size": 3}, "schedule": {"epochs": 1, "accumulate": 2}})
    with pytest.raises(RecipeError, match="multiple of 2"):
        fit(recipe, _clouds(recipe), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="at least 8"):
        divide(16, 5, parts=2, world_size=4)
    with pytest.raises(InputError, match=r"5 frames, fewer than a batch, wanted a multiple of 4"):
        divide(16, 5, parts=2, world_size=2)
    assert divide(16, 5, parts=1, world_size=1).batch_size == 5
    assert divide(16, 8, parts=2, world_size=2).batch_size == 8


def _clouds(recipe):
    from understudy_training.distillation.frames import load_frames

    return load_frames(recipe, MadeUpDataset(6))


def test_fp16_needs_a_gpu(tmp_path):
    recipe = recipe_of({"precision": "fp16-mixed"})
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(RecipeError, match="bf16-mixed"):
        fit(recipe, _clouds(recipe), tmp_path)


def test_deterministic_runs_have_equal_bits_and_leave_torch_as_it_was(tmp_path):
    recipe = recipe_of({})
    for name in "ab":
        fit(recipe, _clouds(recipe), tmp_path / name, FitOptions(deterministic=True))
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")
    assert '"deterministic": true' in (tmp_path / "a" / "run.json").read_text()
    assert not torch.are_deterministic_algorithms_enabled()


def test_workers_change_nothing(tmp_path):
    results = []
    for workers in (0, 2):
        data = {"batch_size": 2, "preload": False, "workers": workers, "prefetch": 1}
        recipe = recipe_of({"data": data})
        fit(recipe, _clouds(recipe), tmp_path / str(workers))
        results.append((tmp_path / str(workers) / "weights.safetensors").read_bytes())
    assert results[0] == results[1]


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}


def test_launchers_are_recognized():
    torchrun, slurm = launch_of(TORCHRUN), launch_of(SLURM)
    assert (torchrun.by, torchrun.rank, torchrun.devices, torchrun.nodes) == ("torchrun", 5, 4, 2)
    assert (slurm.by, slurm.rank, slurm.devices, slurm.nodes) == ("slurm", 3, 2, 2)
    assert launch_of(SLURM | TORCHRUN).by == "torchrun"
    assert launch_of(SLURM | {"SLURM_JOB_NAME": "interactive"}).by == ""
    assert [launch_of(variables).rank for variables in ({}, {"LOCAL_RANK": "0"}, {"LOCAL_RANK": "1"})] == [0, 0, 1]
    assert launch_of({"NODE_RANK": "1"}).rank != 0


def test_options_must_be_what_was_started():
    assert agreed(None, None, TORCHRUN) == (4, 2)
    assert agreed(None, None, {}) == (1, 1)
    assert agreed(3, None, {}) == (3, 1)
    with pytest.raises(InputError, match="torchrun started 4"):
        agreed(2, None, TORCHRUN)
    with pytest.raises(InputError, match="torchrun or srun"):
        agreed(1, 2, {})


def test_processes_that_do_not_know_of_each_other_are_refused():
    """As Kubeflow or mpirun leave them: each would train alone, into the same folder."""
    with pytest.raises(InputError, match="WORLD_SIZE=2 from a launcher that is not known"):
        agreed(None, None, {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"})
    assert agreed(2, None, {"WORLD_SIZE": "2", "LOCAL_RANK": "1"}) == (2, 1), "as Lightning starts them itself"
    assert agreed(None, None, {"WORLD_SIZE": "1"}) == (1, 1)
    with pytest.raises(InputError, match="--ntasks-per-node"):
        agreed(None, None, SLURM)
    assert agreed(None, None, SLURM | {"SLURM_NTASKS_PER_NODE": "2"}) == (2, 2)
    assert launch_of({"TORCHELASTIC_RUN_ID": "x"}).by == ""


def test_the_detector_is_the_same_before_and_after_sharing_its_statistics():
    detector = build_detector(recipe_of({}), seed=1)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    after = share_statistics(detector).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert sum(isinstance(module, SharedBatchNorm2d) for module in detector.modules()) > 5
