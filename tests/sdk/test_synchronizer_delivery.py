"""Callbacks that raise, call back in, or are interrupted: no set of anybody else is lost and the sums hold."""

from __future__ import annotations

import numpy as np
import pytest

from understudy.synchronization.approximate_time import ApproximatePolicy, ApproximateTime
from understudy.synchronization.delivery import Delivery
from understudy.synchronization.matcher import MatchedSet, Matcher, SyncPolicy
from understudy.synchronization.nearest import Synchronizer

MS = 1_000_000


class Node:
    """A callback on a clock that the test sets; raises for the sweeps it is told to."""

    def __init__(self, matcher: Matcher[str], failing: set[str] | None = None) -> None:
        self.now_ns = 0
        self.failing = failing or set()
        self.seen: list[str] = []
        self.errors: list[str] = []
        self.delivery = Delivery(matcher, self.callback, lambda: self.now_ns, self.on_error)

    def callback(self, matched: MatchedSet[str]) -> None:
        if matched.pivot.item in self.failing:
            raise ValueError(matched.pivot.item)
        self.seen.append(matched.pivot.item)

    def on_error(self, matched: MatchedSet[str], error: Exception) -> None:
        assert str(error) == matched.pivot.item
        self.errors.append(matched.pivot.item)

    def arrive(self, sensor: str, stamp_ms: int) -> None:
        self.now_ns = max(self.now_ns, stamp_ms * MS)
        self.delivery.push(sensor, stamp_ms * MS, f"{sensor}{stamp_ms}")


@pytest.mark.parametrize("matcher", [Synchronizer("L", ("A", "B")), ApproximateTime("L", ("A", "B"))])
def test_an_exception_costs_its_own_set_and_no_other(matcher: Matcher[str]) -> None:
    node = Node(matcher, failing={"L200", "L300", "L700"})
    for stamp_ms in range(0, 1000, 100):
        for sensor in "LAB":
            node.arrive(sensor, stamp_ms)
    node.delivery.flush()
    assert node.errors == ["L200", "L300", "L700"]
    assert node.seen == ["L0", "L100", "L400", "L500", "L600", "L800", "L900"]
    for counts in matcher.counts.values():
        assert counts.adds_up
        assert (counts.outcomes["used"], counts.outcomes["rejected"]) == (7, 3)


def test_only_the_cameras_that_were_there_are_rejected_with_the_set() -> None:
    node = Node(Synchronizer("L", ("A", "B"), SyncPolicy(max_wait_ns=30 * MS)), failing={"L0"})
    node.arrive("L", 0)
    node.arrive("A", 0)
    assert node.errors == []
    node.now_ns = 30 * MS
    node.delivery.tick()
    assert node.errors == ["L0"]
    counts = node.delivery.matcher.counts
    assert [entry.outcomes["rejected"] for entry in counts.values()] == [1, 1, 0]
    assert all(entry.adds_up for entry in counts.values())


def test_time_passes_with_a_message_that_cannot_be_read() -> None:
    node = Node(Synchronizer("L", ("A",), SyncPolicy(max_wait_ns=30 * MS)))
    node.arrive("L", 0)
    node.now_ns = 40 * MS
    node.delivery.reject("A")
    assert node.seen == ["L0"]
    assert node.delivery.matcher.counts["A"].outcomes["rejected"] == 1


def test_a_callback_that_pushes_keeps_the_order_of_sets() -> None:
    matcher: Synchronizer[str] = Synchronizer("L", ("A",), SyncPolicy(max_wait_ns=1000 * MS))
    seen: list[str] = []

    def callback(matched: MatchedSet[str]) -> None:
        seen.append(matched.pivot.item)
        if matched.pivot.item == "L0":
            delivery.push("A", 250 * MS, "A250")  # closes L200, which must not overtake L100
            seen.append("L0 done")

    delivery = Delivery(matcher, callback, lambda: 0, lambda matched, error: None)
    for stamp_ms in (0, 100, 200):
        delivery.push("L", stamp_ms * MS, f"L{stamp_ms}")
    delivery.push("A", 150 * MS, "A150")
    assert seen == ["L0", "L0 done", "L100", "L200"]


def test_after_an_interrupt_what_is_left_is_handed_over() -> None:
    matcher: Synchronizer[str] = Synchronizer("L", ("A",), SyncPolicy(max_wait_ns=1000 * MS))
    seen: list[str] = []

    def callback(matched: MatchedSet[str]) -> None:
        seen.append(matched.pivot.item)
        if matched.pivot.item == "L0":
            raise KeyboardInterrupt

    delivery = Delivery(matcher, callback, lambda: 0, lambda matched, error: None)
    delivery.push("L", 0, "L0")
    delivery.push("L", 100 * MS, "L100")
    with pytest.raises(KeyboardInterrupt):
        delivery.push("A", 150 * MS, "A150")
    assert seen == ["L0"]
    delivery.tick()
    assert seen == ["L0", "L100"]


def test_an_error_handler_that_raises_does_not_wedge_it_either() -> None:
    def on_error(matched: MatchedSet[str], error: Exception) -> None:
        raise error

    seen: list[str] = []
    delivery: Delivery[str] = Delivery(
        Synchronizer("L"), lambda one: seen.append(one.cameras["X"]), lambda: 0, on_error
    )
    for stamp in range(50):
        with pytest.raises(KeyError):
            delivery.push("L", stamp, "L")
    counts = delivery.matcher.counts["L"]
    assert counts.adds_up
    assert counts.outcomes["rejected"] == 50


@pytest.mark.parametrize("seed", range(20))
def test_random_exceptions_never_change_which_sets_are_closed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrivals = [(str(rng.choice(list("LAB"))), int(step * 30 + rng.integers(0, 60))) for step in range(200)]
    rule = ApproximatePolicy(queue_size=5)
    pairs = [(Synchronizer("L", ("A", "B")), Synchronizer("L", ("A", "B")))]
    pairs += [(ApproximateTime("L", ("A", "B"), rule), ApproximateTime("L", ("A", "B"), rule))]
    for quiet, loud in pairs:
        calm, failing = Node(quiet), Node(loud)
        failing.failing = {f"L{stamp_ms}" for _, stamp_ms in arrivals if rng.random() < 0.5}
        for sensor, stamp_ms in arrivals:
            calm.arrive(sensor, stamp_ms)
            failing.arrive(sensor, stamp_ms)
        assert sorted(failing.seen + failing.errors) == sorted(calm.seen)
        assert all(counts.adds_up for counts in loud.counts.values())
