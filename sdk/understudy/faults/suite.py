"""Many scenarios, each judged by every invariant; one that never answers does not stop the rest."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from understudy.faults.contents import Contents
from understudy.faults.harness import OpenStream, Student, play
from understudy.faults.invariants import (
    INVARIANTS,
    RECOVERED_WITHIN_NS,
    Margins,
    named,
    naming_ns,
    nothing_stale,
    recovery_ns,
)
from understudy.faults.record import Record
from understudy.faults.scenario import draw_scenario
from understudy.faults.script import Script, write_script
from understudy.faults.stock import play_stock, published_share
from understudy.live.stream import SensorStream
from understudy.messages.headers import Make

ANSWER_S = 60.0
"""Real time in which a scenario has to be through; one that is not waits for something that never comes."""
_DEADLOCK = "no deadlock"


@dataclass(frozen=True)
class Judged:
    """What became of one scenario.

    Attributes:
        number: of the scenario.
        kind: the fault that it is about.
        name: the scenario in one line.
        violations: texts by invariant; empty when all hold.
        named_ns: times to name, of the faults that had to be named and were.
        recovery_ns: from the end of the faults to the first whole result; None for never.
        published: sweeps published and sent while faults lasted.
        stock_published: the same for the stock synchronizer; None where it was not tried.
        stock_recovery_ns: as `recovery_ns`.
        stock_stale: whether it published what is stale: an older sweep after a newer one, or a frozen sensor's.
        late_ns: by how much whoever played it was late at worst, where that may be why it is violated; else None.
        dropped: what was violated when it was played before, by somebody who was late.
    """

    number: int
    kind: str
    name: str
    violations: dict[str, str]
    named_ns: tuple[int, ...] = ()
    recovery_ns: int | None = None
    published: tuple[int, int] = (0, 0)
    stock_published: tuple[int, int] | None = None
    stock_recovery_ns: int | None = None
    stock_stale: bool = False
    late_ns: int | None = None
    dropped: tuple[Judged, ...] = ()

    @property
    def verdict(self) -> str:
        """In a line."""
        return "; ".join(f"VIOLATED {name}: {text}" for name, text in self.violations.items()) or "held"


@dataclass(frozen=True, eq=False)
class Bench:
    """What scenarios are run with.

    Attributes:
        contents: what the sensors see.
        student: from frame to boxes.
        make: makes the messages.
        open_stream: makes the stream under test.
        with_stock: whether the stock synchronizer gets the same messages.
        answer_s: real time that a scenario may take.
        margins: what is granted to the observer.
    """

    contents: Contents
    student: Student
    make: Make
    open_stream: OpenStream = SensorStream
    with_stock: bool = True
    answer_s: float = ANSWER_S
    margins: Margins = field(default_factory=Margins)

    def judged(self, number: int) -> Judged:
        """Plays one scenario and judges it."""
        script = write_script(draw_scenario(number, self.contents))
        record = play(script, self.student, self.make, self.open_stream)
        return judge_record(script, record, self.margins, self.make if self.with_stock else None)


def run_suite(numbers: Sequence[int], bench: Bench) -> Iterator[Judged]:
    """The scenarios of these numbers, in their order."""
    worker = _Worker(bench.judged)
    for number in numbers:
        judged = worker.answer(number, bench.answer_s)
        if judged is None:
            worker = _Worker(bench.judged)
            scenario = draw_scenario(number, bench.contents)
            text = f"no answer within {bench.answer_s:g} s of real time"
            judged = Judged(number, scenario.kind, scenario.name, {_DEADLOCK: text})
        yield judged


def judge_record(script: Script, record: Record, margins: Margins, make: Make | None) -> Judged:
    """Every invariant of a scenario that was played; with a `make`, the stock synchronizer beside it."""
    texts = {name: invariant(script, record, margins) for name, invariant in INVARIANTS.items()}
    stock = None if make is None else play_stock(script, make)
    times_ns = (naming_ns(script, record, number) for number in named(script))
    return Judged(
        script.scenario.number,
        script.scenario.kind,
        script.scenario.name,
        {name: text for name, text in texts.items() if text},
        tuple(time_ns for time_ns in times_ns if time_ns is not None),
        recovery_ns(script, record, margins),
        published_share(script, record),
        None if stock is None else published_share(script, stock),
        None if stock is None else recovery_ns(script, stock, margins),
        stock is not None and bool(nothing_stale(script, stock, margins)),
    )


def recovered(time_ns: int | None) -> bool:
    """Whether a recovery was in time."""
    return time_ns is not None and time_ns <= RECOVERED_WITHIN_NS


class _Worker:
    """A thread that answers one question after the other, and can be left behind."""

    def __init__(self, function: Callable[[int], Judged]) -> None:
        self._questions: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Judged | BaseException] = queue.SimpleQueue()
        self._function = function
        threading.Thread(target=self._serve, name="faults", daemon=True).start()

    def answer(self, number: int, timeout_s: float) -> Judged | None:
        """None when there is none in time."""
        self._questions.put(number)
        try:
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _serve(self) -> None:
        while True:
            try:
                self._answers.put(self._function(self._questions.get()))
            except BaseException as error:  # raised again where it was asked
                self._answers.put(error)
