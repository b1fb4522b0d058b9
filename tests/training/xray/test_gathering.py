"""Objects over time: the spec's example by hand, and what must hold for any drive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.boxes import Boxes
from understudy.errors import InputError
from understudy.pose import Pose
from understudy_training.xray.gathering import SeenFrame, complete_frame, cut, gather, owners_of, paste

WHOLE_DRIVE = {"car": None, "pedestrian": None}.get
CLASSES = ("car", "pedestrian")


def boxes_of(*rows: list[float], ids: list[int] | None = None, labels: list[int] | None = None) -> Boxes:
    return Boxes(
        np.array(rows, np.float32).reshape(-1, 7),
        np.array(labels or [0] * len(rows), np.int32),
        CLASSES,
        track_ids=np.array(ids if ids is not None else range(len(rows)), np.int64),
    )


def points_at(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def frame_of(seconds: float, boxes: Boxes, points: np.ndarray, pose: Pose | None = None) -> SeenFrame:
    return SeenFrame(round(seconds * 1e9), points, boxes, pose or Pose.identity())


def by_hand() -> list[SeenFrame]:
    first = frame_of(0.0, boxes_of([10, 0, 0, 4, 2, 2, 0]), points_at([11, 0.5, 0, 1]))
    second = frame_of(0.1, boxes_of([0, 20, 0, 4, 2, 2, np.pi / 2]), points_at([0.5, 18.5, 0, 2]))
    return [first, second]


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_example_by_hand():
    first, second = by_hand()
    np.testing.assert_allclose(cut(first).points, [[1, 0.5, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(cut(second).points, [[-1.5, -0.5, 0, 2]], atol=1e-6)
    done = [complete_frame(by_hand(), t, WHOLE_DRIVE, None, generator()) for t in (0, 1)]
    np.testing.assert_allclose(done[0], [[11, 0.5, 0, 1], [8.5, -0.5, 0, 2]], atol=1e-5)
    np.testing.assert_allclose(done[1], [[0.5, 18.5, 0, 2], [-0.5, 21, 0, 1]], atol=1e-5)


def test_a_window_leaves_out_what_is_too_long_ago():
    done = complete_frame(by_hand(), 0, lambda name: 0.05, None, generator())
    np.testing.assert_array_equal(done, by_hand()[0].points)


def test_an_object_seen_once_stays_as_it_is():
    alone, other = by_hand()
    frames = [alone, frame_of(0.1, boxes_of([0, 20, 0, 4, 2, 2, 0], ids=[5]), other.points)]
    for t in (0, 1):
        assert complete_frame(frames, t, WHOLE_DRIVE, 4.0, generator()).tobytes() == frames[t].points.tobytes()


def test_identities_of_other_classes_are_other_objects():
    first, second = by_hand()
    walker = boxes_of(second.boxes.geometry[0].tolist(), labels=[1])
    frames = [first, frame_of(0.1, walker, second.points)]
    assert len(complete_frame(frames, 0, WHOLE_DRIVE, None, generator())) == 1


def random_drive(seed: int, count: int, tilt_rad: float) -> list[SeenFrame]:
    """One car in `count` frames, seen from a vehicle that turns and tilts."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        tilt = Pose.from_quaternion([np.cos(tilt_rad / 2), np.sin(tilt_rad / 2), 0, 0], [0, 0, 0])
        pose = Pose.from_yaw(rng.uniform(-3, 3), rng.uniform(-50, 50, 3)) @ tilt
        box = [*rng.uniform(-60, 60, 2), rng.uniform(-1, 1), 4.5, 1.9, 1.6, rng.uniform(-3, 3)]
        boxes = boxes_of(box)
        local = rng.uniform(-0.5, 0.5, (rng.integers(0, 30), 3)) * [4.5, 1.9, 1.6]
        placed = Pose.from_yaw(box[6], box[:3]).apply(local)
        floor = np.column_stack([rng.uniform(-70, 70, (50, 2)), np.full(50, -3.0)])
        points = np.column_stack([np.concatenate([floor, placed]), np.zeros(50 + len(local))]).astype(np.float32)
        frames.append(frame_of(number / 10, boxes, points, pose))
    return frames


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=40)
def test_a_box_holds_what_all_frames_saw_in_it(seed, count):
    frames = random_drive(seed, count, tilt_rad=0.0)
    seen = sum(int(frame.boxes.contains(frame.points).sum()) for frame in frames)
    for t, frame in enumerate(frames):
        done = complete_frame(frames, t, WHOLE_DRIVE, None, generator())
        pasted = done[len(frame.points) :]
        assert frame.boxes.contains(pasted).all()
        assert frame.boxes.contains(done).sum() == seen
        assert done[: len(frame.points)].tobytes() == frame.points.tobytes()


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_a_tilting_vehicle_sees_objects_upright(seed):
    """The car's corner points stand in the world; seen level and seen tilted they coincide in its own frame."""
    rng = np.random.default_rng(seed)
    corners = Pose.from_yaw(0.7, (20, 5, 0.8)).apply(rng.uniform(-0.4, 0.4, (9, 3)) * [4.5, 1.9, 1.6])
    cuts = []
    for seconds, tilt_rad in ((0.0, 0.0), (0.1, 0.04)):
        tilt = Pose.from_quaternion([np.cos(tilt_rad / 2), 0, np.sin(tilt_rad / 2), 0], [0, 0, 0])
        pose = Pose.from_yaw(seconds, (30 * seconds, 0, 0)) @ tilt
        boxes = boxes_of([20, 5, 0.8, 4.5, 1.9, 1.6, 0.7]).transformed(pose.inverse())
        points = np.column_stack([pose.inverse().apply(corners), np.zeros(9)]).astype(np.float32)
        cuts.append(cut(frame_of(seconds, boxes, points, pose)).points)
    np.testing.assert_allclose(cuts[1], cuts[0], atol=2e-3)


def test_the_cap_keeps_own_points_and_repeats_with_its_seed():
    frames = [frame for frame in random_drive(1, 6, 0.0) if frame.boxes.contains(frame.points).any()]
    sizes = [int(frame.boxes.contains(frame.points).sum()) for frame in frames]
    assert sum(sizes) > 2 * max(sizes)
    done = [complete_frame(frames, 0, WHOLE_DRIVE, 2.0, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert frames[0].boxes.contains(done[0]).sum() == 2 * max(sizes)
    assert done[0].tobytes() == done[1].tobytes()
    assert done[0].tobytes() != done[2].tobytes()
    assert done[0][: len(frames[0].points)].tobytes() == frames[0].points.tobytes()


def test_a_point_in_two_boxes_belongs_to_the_one_it_lies_deeper_in():
    truck, walker = [0, 0, 0, 8, 3, 3, 0], [0, 1.4, 0, 0.8, 0.8, 1.8, 0]
    points = points_at([0, 1.45, 0, 0], [3, 0, 0, 0], [0, 1.02, 0, 0], [9, 9, 9, 0])
    assert owners_of(boxes_of(truck, walker), points).tolist() == [1, 0, 0, -1]
    assert owners_of(boxes_of(walker, truck), points).tolist() == [0, 1, 1, -1]


def test_nothing_is_pasted_deeper_into_another_object():
    """The car's point lies where the second frame's pedestrian stands."""
    first = frame_of(0.0, boxes_of([10, 0, 0, 4, 2, 2, 0]), points_at([11, 0.5, 0, 1], [9, 0, 0, 1]))
    both = boxes_of([20, 0, 0, 4, 2, 2, 0], [21, 0.5, 0, 0.6, 0.6, 1.8, 0], labels=[0, 1])
    second = frame_of(0.1, both, points_at([20, 0, 0, 2]))
    done = complete_frame([first, second], 1, WHOLE_DRIVE, None, generator())
    np.testing.assert_allclose(done[1:], [[19, 0, 0, 1]], atol=1e-5)


def test_order_of_boxes_does_not_matter():
    def pair(flipped: bool) -> list[SeenFrame]:
        rows = [[10, 0, 0, 4, 2, 2, 0], [20, 5, 0, 4, 2, 2, 1]]
        moved = [[12, 0, 0, 4, 2, 2, 0.3], [20, 8, 0, 4, 2, 2, 1]]
        points = points_at([11, 0.5, 0, 1], [20.2, 5.1, 0, 2])
        turn = slice(None, None, -1 if flipped else None)
        ids = [3, 4][turn]
        return [
            frame_of(0.0, boxes_of(*rows[turn], ids=ids), points),
            frame_of(0.1, boxes_of(*moved[turn], ids=ids), points[:0]),
        ]

    straight, flipped = (complete_frame(pair(order), 1, WHOLE_DRIVE, None, generator()) for order in (False, True))
    assert sorted(map(tuple, straight.tolist())) == sorted(map(tuple, flipped.tolist()))


def test_boxes_of_another_size_take_what_fits():
    first, second = by_hand()
    small = boxes_of([0, 20, 0, 1.6, 2, 2, np.pi / 2])
    done = complete_frame([first, frame_of(0.1, small, second.points[:0])], 1, WHOLE_DRIVE, None, generator())
    assert len(done) == 0


def test_a_frame_without_boxes_or_points():
    empty = frame_of(0.2, Boxes.empty(CLASSES), points_at())
    first, second = by_hand()
    assert complete_frame([first, empty], 1, WHOLE_DRIVE, 4.0, generator()).shape == (0, 4)
    assert len(complete_frame([first, empty, second], 0, WHOLE_DRIVE, 4.0, generator())) == 2


def test_boxes_must_say_which_object_they_are():
    first, _ = by_hand()
    nameless = Boxes(first.boxes.geometry, first.boxes.labels, CLASSES)
    with pytest.raises(InputError, match="boxes without identities, wanted track ids"):
        cut(frame_of(0.0, nameless, first.points))
    twice = boxes_of([10, 0, 0, 4, 2, 2, 0], [30, 0, 0, 4, 2, 2, 0], ids=[7, 7])
    with pytest.raises(InputError, match="two boxes of class car with track 7"):
        paste(frame_of(0.0, twice, first.points), gather([]), WHOLE_DRIVE, None, generator())
