"""The loop's own memory is taken once: what a frame allocates is small, given back, and no function of its points."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from understudy.engines.onnxruntime_engine import OnnxRuntimeEngine
from understudy.frame import Frame
from understudy.pipeline import Pipeline
from understudy.testing import FakeEngine, frame_of, road_cloud, simple_rig, tiny_contract, write_tiny_model

MOST_TRANSIENT_BYTES = 16 * 1024
"""A frame may take so much for the moment, in `prepare` and in `boxes` each: views, masks of a hundred scores."""
MOST_GROWTH_BYTES = 32 * 1024
"""Of 200 frames: what numpy and ONNX Runtime keep of small objects to give out again."""
NUM_FRAMES = 200


def transient_bytes(call: Callable[[], object], num_calls: int = 10) -> int:
    """The most that one call of several, after a warm-up, holds above what it began with."""
    for _ in range(5):
        call()
    tracemalloc.start()
    try:
        most = 0
        for _ in range(num_calls):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            call()
            most = max(most, tracemalloc.get_traced_memory()[1] - before)
        return most
    finally:
        tracemalloc.stop()


def frame(num_points: int, *, has_nan: bool = False) -> Frame:
    cloud = road_cloud(np.random.default_rng(num_points), num_points)
    if has_nan:
        cloud.points[::7, :3] = np.nan
    return frame_of(cloud)


def full_pipeline() -> Pipeline:
    """A hundred rows, all of them above the threshold."""
    contract = tiny_contract(uses_intensity=True)
    boxes = np.random.default_rng(0).uniform(1, 2, (100, 7))
    engine = FakeEngine.detecting(contract, boxes.tolist(), np.linspace(0.9, 0.4, 100).tolist(), [0] * 100)
    return Pipeline(contract, engine, simple_rig())


@pytest.mark.parametrize("has_nan", [False, True])
@pytest.mark.parametrize("num_points", [1_000, 120_000])
def test_prepare_takes_little_whatever_the_cloud(num_points: int, has_nan: bool) -> None:
    pipeline, seen = full_pipeline(), frame(num_points, has_nan=has_nan)
    assert transient_bytes(lambda: pipeline.prepare(seen)) < MOST_TRANSIENT_BYTES


def test_boxes_take_little_beyond_what_they_return() -> None:
    pipeline, seen = full_pipeline(), frame(1_000)
    outputs = pipeline.engine(pipeline.prepare(seen))
    assert len(pipeline.boxes(outputs)) == 100
    assert transient_bytes(lambda: pipeline.boxes(outputs)) < MOST_TRANSIENT_BYTES


def test_memory_is_flat_over_many_frames_of_many_sizes(tmp_path: Path) -> None:
    contract = tiny_contract()
    seen = [frame(num_points) for num_points in (900, 5_000, 20_000, 7_000)]
    with Pipeline(contract, OnnxRuntimeEngine(write_tiny_model(tmp_path / "a.onnx", contract)), simple_rig()) as run:
        for index in range(20):
            run(seen[index % 4])
        gc.collect()
        tracemalloc.start()
        try:
            for index in range(NUM_FRAMES):
                run(seen[index % 4])
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < MOST_GROWTH_BYTES
        finally:
            tracemalloc.stop()


def test_pillars_take_room_for_their_points_once() -> None:
    contract = tiny_contract("pillars", uses_intensity=True)
    pipeline = Pipeline(contract, FakeEngine.detecting(contract, [], [], []), simple_rig())
    seen = frame(100_000)
    cloud = seen.clouds["lidar"].points
    returned = sum(array.nbytes for array in pipeline.prepare(seen).values())
    assert transient_bytes(lambda: pipeline.prepare(seen), num_calls=3) - returned < cloud.nbytes


def test_what_prepare_returned_outlives_the_next_frame() -> None:
    contract = tiny_contract("pillars", uses_intensity=True)
    pipeline = Pipeline(contract, FakeEngine.detecting(contract, [], [], []), simple_rig())
    first = pipeline.prepare(frame(3_000))
    kept = {name: array.copy() for name, array in first.items()}
    pipeline.prepare(frame(5_000))
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
