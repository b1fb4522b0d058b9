"""The C++ ApproximateTime rule: the written cases, and random streams against the text taken literally."""

from __future__ import annotations

import re
import weakref

import numpy as np
import pytest

from tests.sdk.approximate_time_by_the_text import Message, TextRule
from understudy.errors import InputError
from understudy.synchronization.approximate_time import ApproximatePolicy, ApproximateTime
from understudy.synchronization.matcher import MatchedSet

MS = 1_000_000

# Arrivals in order; after the colon what each emits: "(A0,B30)[A100]" is the set given when A100 arrives.
PAIRS = "A0 B30 A100 B130 A200 B230 A300 B330 A400 B430"
CASES = {
    "pairs": (PAIRS, {}, "(A0,B30)[A100] (A100,B130)[A200] (A200,B230)[A300] (A300,B330)[A400]"),
    "pairs with lower bounds": (
        PAIRS,
        {"bound": 90},
        "(A0,B30)[B30] (A100,B130)[B130] (A200,B230)[B230] (A300,B330)[B330] (A400,B430)[B430]",
    ),
    "nearer partner": (
        "A0 B90 A100 B190 A200 B290 A300 B390 A400",
        {},
        "(A100,B90)[A100] (A200,B190)[B290] (A300,B290)[B390]",
    ),
    "three topics, one message lost": (
        "A0 B10 C20 A100 B110 C120 A200 C220 A300 B310 C320 A400 B410 C420 A500 B510 C520",
        {"max_interval": 50},
        "(A0,B10,C20)[A100] (A100,B110,C120)[A200] (A300,B310,C320)[A400] (A400,B410,C420)[A500]",
    ),
    "queues of two": (
        "A0 A100 A200 A300 B210 B310 A400 B410 A500 B510",
        {"queue_size": 2},
        "(A200,B210)[B210] (A300,B310)[A400] (A400,B410)[A500]",
    ),
    "10 Hz against 30 Hz": (
        "A0 B7 B40 B73 A100 B107 B140 B173 A200 B207 B240 B273 A300 B307",
        {"max_interval": 40},
        "(A0,B7)[A100] (A100,B107)[B107] (A200,B207)[B207] (A300,B307)[B307]",
    ),
}


def rule(topics: str, queue_size: int = 10, max_interval: int | None = None, bound: int = 0) -> ApproximateTime[str]:
    longest_ns = None if max_interval is None else max_interval * MS
    policy = ApproximatePolicy(queue_size=queue_size, max_interval_ns=longest_ns)
    bounds_ns = dict.fromkeys(topics, bound * MS)
    return ApproximateTime(topics[0], tuple(topics[1:]), policy, lower_bounds_ns=bounds_ns)


def names_of(matched: MatchedSet[str]) -> str:
    partners = [partner.item for partner in matched.cameras.values() if partner is not None]
    return f"({','.join([matched.pivot.item, *partners])})"


@pytest.mark.parametrize("name", CASES)
def test_the_written_cases(name: str) -> None:
    arrivals, options, wanted = CASES[name]
    messages = arrivals.split()
    synchronizer = rule("".join(sorted({message[0] for message in messages})), **options)
    given = []
    for message in messages:
        stamp_ns = int(message[1:]) * MS
        given += [f"{names_of(found)}[{message}]" for found in synchronizer.push(message[0], stamp_ns, message, 0)]
    assert " ".join(given) == wanted
    assert all(counts.adds_up for counts in synchronizer.counts.values())


@pytest.mark.parametrize("name", CASES)
def test_the_literal_rule_gives_the_written_cases_too(name: str) -> None:
    arrivals, options, wanted = CASES[name]
    messages = arrivals.split()
    topics = sorted({message[0] for message in messages})
    bounds = [options.get("bound", 0)] * len(topics)
    text = TextRule(len(topics), options.get("queue_size", 10), 10, options.get("max_interval"), bounds)
    given = []
    for serial, name_of in enumerate(messages):
        number = topics.index(name_of[0])
        for found in text.arrival(number, Message(number, int(name_of[1:]), serial)):
            given.append(f"({','.join(messages[member.serial] for member in found)})[{name_of}]")
    assert " ".join(given) == wanted
    assert re.fullmatch(r"[A-C\d ,()\[\]]+", wanted)


def random_stream(rng: np.random.Generator, num_topics: int) -> list[tuple[int, int]]:
    """(topic, stamp): periods, phases, jitter, drops, late arrivals and stamps on a grid so that many are equal."""
    period, grid = int(rng.integers(8, 40)), int(rng.choice([1, 1, 5, 10]))
    jitter, drops, lateness = int(rng.integers(0, period)), rng.choice([0.0, 0.05, 0.3]), rng.choice([0, 0, period])
    arrivals = []
    for topic in range(num_topics):
        own = max(1, period // int(rng.integers(1, 4))) if rng.random() < 0.3 else period
        for stamp in range(int(rng.integers(0, period)), 8 * period, own):
            stamp = max(0, stamp + int(rng.integers(-jitter, jitter + 1))) // grid * grid
            if rng.random() >= drops:
                arrivals.append((stamp + int(rng.integers(0, lateness + 1)), topic, stamp))
    order = sorted(range(len(arrivals)), key=lambda k: (arrivals[k][0], rng.random()))
    return [arrivals[k][1:] for k in order]


def compare_once(rng: np.random.Generator) -> int:
    """One random stream through both; the number of sets, which were given by the same messages in the same order."""
    n, K, percent = int(rng.integers(2, 8)), int(rng.integers(1, 8)), int(rng.choice([0, 7, 10, 50, 70, 130]))
    M = None if rng.random() < 0.5 else int(rng.integers(0, 60))
    L = [int(rng.choice([0, rng.integers(0, 40)])) for _ in range(n)]
    text = TextRule(n, K, percent, M, L)
    policy = ApproximatePolicy(queue_size=K, age_penalty=percent / 100, max_interval_ns=M)
    names = [f"topic{number}" for number in range(n)]
    library: ApproximateTime[int] = ApproximateTime(
        names[0], tuple(names[1:]), policy, lower_bounds_ns=dict(zip(names, L, strict=True))
    )
    num_sets = 0
    for serial, (topic, stamp) in enumerate(random_stream(rng, n)):
        wanted = text.arrival(topic, Message(topic, stamp, serial))
        found = library.push(names[topic], stamp, serial, serial)
        members = [[entry.pivot.item, *(p.item for p in entry.cameras.values() if p)] for entry in found]
        assert members == [[member.serial for member in one] for one in wanted]
        num_sets += len(found)
    waiting = [len(queue) + len(hidden) for queue, hidden in zip(text.Q, text.P, strict=True)]
    assert [counts.waiting for counts in library.counts.values()] == waiting
    assert sum(counts.outcomes["unmatched"] for counts in library.counts.values()) == len(text.gone)
    assert all(counts.adds_up and counts.outcomes["used"] == num_sets for counts in library.counts.values())
    return num_sets


@pytest.mark.parametrize("seed", range(5))
def test_random_streams_match_the_text(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert sum(compare_once(rng) for _ in range(1000)) > 3000


def test_counters_add_up_and_memory_is_bounded_under_a_flood_of_one_topic() -> None:
    class Item:
        pass

    synchronizer: ApproximateTime[Item] = ApproximateTime("A", ("B",), ApproximatePolicy(queue_size=7))
    alive: weakref.WeakSet[Item] = weakref.WeakSet()
    for number in range(5000):
        item = Item()
        alive.add(item)
        assert synchronizer.push("A", number, item, number) == []
        del item
        assert len(alive) <= 8
        assert synchronizer.counts["A"].adds_up
    assert synchronizer.counts["A"].waiting == 7
    assert synchronizer.counts["A"].outcomes["unmatched"] == 4993


def test_a_clock_that_starts_over_forgets_what_waits() -> None:
    synchronizer = rule("AB")
    assert synchronizer.push("A", 5000 * MS, "A5000", 5000 * MS) == []
    assert synchronizer.push("B", 30 * MS, "B30", 30 * MS) == []
    assert synchronizer.counts["A"].outcomes["unmatched"] == 1
    synchronizer.push("A", 0, "A0", 40 * MS)
    assert [names_of(found) for found in synchronizer.push("A", 100 * MS, "A100", 100 * MS)] == ["(A0,B30)"]
    assert synchronizer.clock_jumps == 1


def test_a_single_topic_passes_at_once_and_offsets_move_times() -> None:
    synchronizer: ApproximateTime[str] = ApproximateTime("A", offsets_ns={"A": 7})
    assert [found.pivot.time_ns for found in synchronizer.push("A", 1, "A1", 0)] == [8]


def test_rejected_and_left_messages_are_counted() -> None:
    synchronizer = rule("AB")
    synchronizer.reject("B")
    synchronizer.push("A", 0, "A0", 0)
    assert synchronizer.flush() == []
    assert synchronizer.counts["A"].outcomes["unmatched"] == 1
    assert synchronizer.counts["B"].outcomes["rejected"] == 1
    assert all(counts.adds_up and counts.waiting == 0 for counts in synchronizer.counts.values())


@pytest.mark.parametrize(("bounds", "text"), [({"X": 1}, "X"), ({"A": -1}, "-1 ns")])
def test_wrong_lower_bounds_are_refused(bounds: dict[str, int], text: str) -> None:
    with pytest.raises(InputError, match=text):
        ApproximateTime("A", ("B",), lower_bounds_ns=bounds)


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(InputError, match="each name once"):
        ApproximateTime("A", ("A",))
