"""What the stock Python synchronizer does by its description, beside what ours does with the same messages."""

from __future__ import annotations

import pytest

from benchmarks.stock_synchronizer import StockSynchronizer
from understudy.synchronization.delivery import Delivery
from understudy.synchronization.matcher import MatchedSet, SyncPolicy
from understudy.synchronization.nearest import Synchronizer

MS = 1_000_000


def stock_sets(stamps_ms: list[tuple[int, int]], queue_size: int = 10, slop_ms: int = 50) -> list[tuple[str, ...]]:
    """Sets of messages, each named by its topic, stamp and place in the stream."""
    sets: list[tuple[str, ...]] = []
    num_topics = 1 + max(topic for topic, _ in stamps_ms)
    stock = StockSynchronizer(num_topics, queue_size, slop_ms * MS, lambda *messages: sets.append(messages))
    for place, (topic, stamp_ms) in enumerate(stamps_ms):
        stock.add(topic, stamp_ms * MS, f"{'ABC'[topic]}{stamp_ms}#{place}")
    return sets


def test_the_slop_is_strict_for_the_set() -> None:
    assert stock_sets([(0, 0), (1, 50)]) == []
    assert len(stock_sets([(0, 0), (1, 49)])) == 1


def test_it_is_greedy_and_takes_the_nearest_to_the_message_that_arrives() -> None:
    assert stock_sets([(0, 0), (1, 40), (0, 41)]) == [("A0#0", "B40#1")]
    assert stock_sets([(0, 0), (0, 30), (1, 40)]) == [("A30#1", "B40#2")]


def test_equal_stamps_overwrite_each_other_and_old_ones_stay() -> None:
    assert stock_sets([(0, 0), (0, 0), (1, 0)]) == [("A0#1", "B0#2")]
    late = stock_sets([(0, 0), (0, 100), (1, 100), (1, 0)])
    assert late == [("A100#1", "B100#2"), ("A0#0", "B0#3")]  # older than the one before


def test_the_oldest_stamp_is_thrown_out() -> None:
    assert stock_sets([(0, 0), (0, 100), (0, 200), (1, 0)], queue_size=2) == []


def test_a_lost_picture_costs_the_stock_one_the_sweep_and_ours_the_picture() -> None:
    arrivals = [(topic, stamp) for stamp in range(0, 1000, 100) for topic in range(3) if (topic, stamp) != (2, 300)]
    assert len(stock_sets(arrivals)) == 9
    synchronizer: Synchronizer[int] = Synchronizer("A", ("B", "C"))
    sets = [one for t, ms in arrivals for one in synchronizer.push("ABC"[t], ms * MS, ms, ms * MS)]
    assert [one.pivot.item for one in sets] == list(range(0, 1000, 100))
    assert [one.pivot.item for one in sets if one.missing] == [300]


def test_an_exception_leaves_the_stock_one_locked_and_ours_goes_on() -> None:
    def fail(*messages: object) -> None:
        raise RuntimeError("callback")

    stock = StockSynchronizer(1, 10, 50 * MS, fail)
    with pytest.raises(RuntimeError):
        stock.add(0, 0, "A0")
    assert stock.lock.locked()  # the next message waits for ever

    failed: list[MatchedSet[str]] = []
    delivery: Delivery[str] = Delivery(
        Synchronizer("A", (), SyncPolicy()), fail, lambda: 0, lambda one, _: failed.append(one)
    )
    for stamp in range(3):
        delivery.push("A", stamp, "A")
    assert len(failed) == 3
