"""What runtimes' profilers say, read robustly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.engines import openvino_engine
from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.errors import EngineError
from understudy.layers.measuring import ProfilePlan, profile_files
from understudy.layers.profiles import NodeTime, counted_profile, mean_profile, onnxruntime_profile
from understudy.testing import road_cloud, write_tiny_model


def event(name: str, ts: int, dur: int, kind: str = "Conv", cat: str = "Node") -> dict[str, Any]:
    return {"cat": cat, "name": name, "ts": ts, "dur": dur, "args": {"op_name": kind}}


def run(start: int, end: int) -> dict[str, Any]:
    return event("model_run", start, end - start, cat="Session")


def write(path: Path, events: object) -> Path:
    path.write_text(json.dumps(events))
    return path


def test_runs_are_told_apart_and_warm_up_is_left_out(tmp_path: Path) -> None:
    events = [
        event("session_initialization", 0, 50, cat="Session"),
        run(100, 200),
        event("conv_kernel_time", 110, 80),
        event("add_kernel_time", 190, 5, "Add"),
        run(300, 350),
        event("conv_kernel_time", 310, 20),
        event("conv_kernel_time", 335, 10),
        event("conv_fence_before", 301, 9),
        run(400, 430),
        event("conv_kernel_time", 401, 25),
        {"cat": "Node", "name": "without time"},
    ]
    found = onnxruntime_profile(write(tmp_path / "a.json", events), num_warmup=1)
    assert found.runs_ms == (0.05, 0.03)
    (node,) = found.nodes
    assert (node.name, node.kind) == ("conv", "Conv")
    assert node.runs_ms == pytest.approx((0.03, 0.025)), "a node that ran twice counts with both"
    assert node.least_ms == pytest.approx(0.025)


def test_what_ran_within_a_loop_counts_with_the_loop(tmp_path: Path) -> None:
    events = [
        run(0, 100),
        event("body_kernel_time", 20, 10, "Add"),
        event("loop_kernel_time", 10, 50, "Loop"),
        event("last_kernel_time", 60, 20, "Mul"),
    ]
    found = onnxruntime_profile(write(tmp_path / "a.json", events), num_warmup=0)
    assert {node.name: node.least_ms for node in found.nodes} == {"loop": 0.05, "last": 0.02}


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", "[{]", "[]", '[{"name": "model_run", "ts": 1, "dur": 2}]'])
def test_what_is_no_profile_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(EngineError, match=r"a\.json") as caught:
        onnxruntime_profile(path, num_warmup=0)
    assert "\n" not in str(caught.value)


def test_means_over_all_runs_become_means_of_those_that_count() -> None:
    before = [NodeTime("conv", "Convolution", (10.0,))]
    after = [NodeTime("conv", "Convolution", (4.0,), kernel="jit_i8"), NodeTime("late", "Add", (1.0,))]
    found = mean_profile(before, 2, after, [6.0] * 8)
    times = {node.name: node.least_ms for node in found.nodes}
    assert times == pytest.approx({"conv": (10 * 4.0 - 2 * 10.0) / 8, "late": 10 * 1.0 / 8})
    assert found.runs_ms == (6.0,)
    assert [node.is_integer for node in found.nodes] == [True, False]


def test_counts_of_single_runs_are_joined() -> None:
    runs = [[NodeTime("a", "", (1.0,)), NodeTime("b", "", (2.0,))], [NodeTime("a", "", (0.5,))]]
    found = counted_profile(runs, [4.0, 3.0])
    assert [(node.name, node.runs_ms) for node in found.nodes] == [("a", (1.0, 0.5)), ("b", (2.0,))]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_real_profilers_account_for_their_runs(tmp_path: Path, runtime: str) -> None:
    if runtime == "openvino" and not openvino_engine.available():
        pytest.skip("openvino is not installed")
    feeds = {
        "points": road_cloud(np.random.default_rng(0), 20_000).points,
        "ego_from_sensor": np.eye(4, dtype=np.float32)[:3].copy(),
        "intensity_factor": np.ones(1, np.float32),
    }
    model = write_tiny_model(tmp_path / "tiny.onnx")
    plan = ProfilePlan(runtime, num_runs=4, num_warmup=1)  # type: ignore[arg-type]
    found = profile_files({"one": model, "other": model}, feeds, plan)
    assert set(found) == {"one", "other"}
    for profile in found.values():
        kinds = {node.kind for node in profile.nodes}
        assert kinds & {"Conv", "FusedConv", "Convolution"}
        assert 0 < sum(node.least_ms for node in profile.nodes) < 1.05 * max(profile.runs_ms)


def test_an_engine_writes_a_profile_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = write_tiny_model(tmp_path / "tiny.onnx")
    with OnnxRuntimeEngine(model) as engine:
        engine({spec.name: spec.zeros(10) for spec in engine.inputs})
    assert list(tmp_path.iterdir()) == [model]
