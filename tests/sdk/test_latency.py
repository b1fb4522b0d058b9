from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from understudy import machine
from understudy.cli import build_app
from understudy.datasets.dataset import Sample
from understudy.engines.engine import Arrays
from understudy.errors import InputError
from understudy.latency import STAGES, LatencyPlan, LatencyRecord, describe, measure, percentile_ns
from understudy.testing import CLASS_NAMES, FakeEngine, frame_of, road_cloud, simple_rig, tiny_bundle, tiny_contract

CONTRACT = tiny_contract()
NAP_S = 0.002


@dataclass(frozen=True)
class Drive:
    num_frames: int = 4
    class_names: tuple[str, ...] = CLASS_NAMES
    fingerprint: str = "e" * 64

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Sample:
        cloud = road_cloud(np.random.default_rng(index), 500 + index, stamp_ns=index)
        return Sample(f"frame-{index}", frame_of(cloud), simple_rig(), boxes=None, segments={})


def nap(feeds: Arrays) -> Mapping[str, np.ndarray]:
    time.sleep(NAP_S)
    return {
        "boxes": np.ones((2, 7), np.float32),
        "scores": np.array([0.9, 0.1], np.float32),
        "labels": np.zeros(2, np.int32),
    }


def napping() -> FakeEngine:
    return FakeEngine(CONTRACT, nap)


@pytest.fixture(scope="module")
def record() -> LatencyRecord:
    plan = LatencyPlan(num_samples=20, num_warmup=3, precision="fp32", threads=1)
    return measure(CONTRACT, napping(), Drive(), plan)


def test_every_call_is_counted_and_warm_up_is_not() -> None:
    engine = napping()
    record = measure(CONTRACT, engine, Drive(), LatencyPlan(num_samples=12, num_warmup=5))
    assert engine.num_calls == 17
    assert record.num_warmup == 5
    assert set(record.samples_ns) == set(STAGES)
    assert all(len(samples) == 12 for samples in record.samples_ns.values())
    assert all(isinstance(sample, int) for sample in record.samples_ns["total"])


def test_stages_add_up_and_the_engine_takes_at_least_its_nap(record: LatencyRecord) -> None:
    for prepare, engine, boxes, total in zip(*(record.samples_ns[stage] for stage in STAGES[:4]), strict=True):
        assert prepare + engine + boxes == total
        assert min(prepare, engine, boxes) > 0
        assert engine >= NAP_S * 1e9
    assert min(record.samples_ns["cpu"]) > 0


def test_steps_are_those_of_the_pipeline(record: LatencyRecord) -> None:
    assert set(record.num_boxes) == {1}, "one of the two boxes is below its threshold"


def test_frames_repeat_in_order_and_say_their_points(record: LatencyRecord) -> None:
    assert record.frames == ("frame-0", "frame-1", "frame-2", "frame-3")
    assert record.num_points == (500, 501, 502, 503) * 5


def test_record_says_what_it_was_measured_on(record: LatencyRecord) -> None:
    assert record.engine == "fake engine"
    assert record.before.num_cpus >= 1
    assert record.before.clock_resolution_ns >= 1
    assert "not monotonic" not in record.before.clock
    assert {"python", "numpy", "understudy"} <= set(record.versions)
    assert LatencyRecord.model_validate_json(record.model_dump_json()) == record


def test_machine_without_proc_is_still_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "missing")
    monkeypatch.setattr(machine, "_GOVERNOR", tmp_path / "missing")
    state = machine.look()
    assert state.cpu_mhz is None
    assert state.governor is None
    assert state.cpu


@pytest.mark.parametrize(
    ("plan", "num_frames", "message"),
    [
        (LatencyPlan(num_samples=9), 4, "--frames: found 9, wanted 10 or more"),
        (LatencyPlan(num_warmup=-1), 4, "--warmup: found -1"),
        (LatencyPlan(), 0, "data set: found no frame"),
    ],
)
def test_too_little_is_refused(plan: LatencyPlan, num_frames: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure(CONTRACT, napping(), Drive(num_frames), plan)


@pytest.mark.parametrize(
    ("count", "percent", "wanted"),
    [
        (100, 99, 98),
        (100, 50, 49),
        (99, 99, None),
        (20, 95, 18),
        (19, 95, None),
        (10, 90, 8),
        (9, 90, None),
        (2, 50, 0),
    ],
)
def test_percentiles_need_samples(count: int, percent: int, wanted: int | None) -> None:
    assert percentile_ns(range(count), percent) == wanted


@given(st.lists(st.integers(0, 10**9), min_size=100, max_size=300), st.sampled_from([50, 90, 95, 99]))
def test_percentile_is_a_sample_that_enough_do_not_exceed(samples: list[int], percent: int) -> None:
    value = percentile_ns(samples, percent)
    assert value in samples
    assert sum(sample <= value for sample in samples) * 100 >= percent * len(samples)
    assert sum(sample < value for sample in samples) * 100 < percent * len(samples)
    assert value == np.percentile(samples, percent, method="inverted_cdf")


def test_table_is_honest_about_few_frames(record: LatencyRecord) -> None:
    lines = list(describe(record))
    assert all(len(line) <= 100 for line in lines)
    assert "too few frames for p99: 20 measured" in lines
    engine_line = next(line for line in lines if line.startswith("engine"))
    assert "-" in engine_line.split()
    assert not any("too few" in line for line in describe(measure(CONTRACT, quick(), Drive(), LatencyPlan(100, 0))))


def quick() -> FakeEngine:
    return FakeEngine.detecting(CONTRACT, [[0, 0, 0, 1, 1, 1, 0]], [0.5], [0])


def test_command_writes_every_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.datasets.opening.open_dataset", lambda path, split=None: Drive())
    bundle = tiny_bundle(tmp_path / "bundle", precisions=("fp32", "uint8"))
    path = tmp_path / "latency.json"
    arguments = ["latency", str(tmp_path / "bundle"), "--data", ".", "--frames", "10", "--json", str(path)]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    values = json.loads(path.read_text())
    assert values["precision"] == "uint8"
    assert values["bundle"] == bundle.fingerprint
    assert values["engine"].startswith("onnxruntime")
    assert len(values["samples_ns"]["total"]) == 10
    assert "too few frames for p95 and p99: 10 measured" in result.stdout
