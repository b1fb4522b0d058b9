"""A suite that finds nothing proves nothing: streams that are broken on purpose, each caught by the right invariant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from understudy.faults.scenario import numbers
from understudy.faults.suite import Bench, run_suite
from understudy.frame import Frame
from understudy.live.stream import SensorStream
from understudy.live.tally import SensorStatus, Status
from understudy.synchronization.matcher import SyncPolicy


class Republishing(SensorStream[Any]):
    """Fills gaps with the last result, under its old stamp."""

    def __init__(self, rig: Any, options: Any, run: Any, publish: Any, clock: Any) -> None:
        self._last: list[tuple[Any, Frame]] = []
        self._send = publish
        super().__init__(rig, options, run, self._keep, clock)

    def _keep(self, result: Any, frame: Frame) -> None:
        self._send(result, frame)
        self._last = [(result, frame)]

    def status(self) -> Status:
        status = super().status()
        if self._last and status.of("lidar").silent_ns > 300_000_000:
            self._send(*self._last[0])
        return status


class Restamping(SensorStream[Any]):
    """Publishes under the time of now, so that everything looks fresh."""

    def __init__(self, rig: Any, options: Any, run: Any, publish: Any, clock: Any) -> None:
        super().__init__(rig, options, run, lambda result, frame: publish(result, restamped(frame, clock)), clock)


def restamped(frame: Frame, clock: Any) -> Frame:
    return replace(frame, stamp_ns=clock.now_ns())


def with_options(**changes: Any) -> Callable[..., SensorStream[Any]]:
    def opened(rig: Any, options: Any, run: Any, publish: Any, clock: Any) -> SensorStream[Any]:
        return SensorStream(rig, replace(options, **changes), run, publish, clock)

    return opened


class Wedging(SensorStream[Any]):
    """Calls the student under a lock that an exception leaves locked, as the stock synchronizer does."""

    def __init__(self, rig: Any, options: Any, run: Any, publish: Any, clock: Any) -> None:
        self._callback_lock = threading.Lock()
        super().__init__(rig, options, lambda frame: self._locked(run, frame), publish, clock)

    def _locked(self, run: Any, frame: Frame) -> Any:
        self._callback_lock.acquire()
        result = run(frame)
        self._callback_lock.release()
        return result


class Fragile(SensorStream[Any]):
    """Lets what the student raises out of `work`."""

    def _fail(self, job: Any, error: Exception) -> None:
        super()._fail(job, error)
        raise error


class Dying(SensorStream[Any]):
    """Never works again after a first failure."""

    def work(self) -> bool:
        return super().work() if not super().status().student_trouble else False


class Altered(SensorStream[Any]):
    """Tells something else about its sensors than what is."""

    def altered(self, name: str, entry: SensorStatus) -> SensorStatus:
        raise NotImplementedError

    def status(self) -> Status:
        status = super().status()
        sensors: Mapping[str, SensorStatus] = status.sensors
        return replace(status, sensors={name: self.altered(name, entry) for name, entry in sensors.items()})


class Forgetful(Altered):
    """Does not count what it refuses."""

    def altered(self, name: str, entry: SensorStatus) -> SensorStatus:
        outcomes = {**entry.outcomes, "rejected": 0}
        return replace(entry, received=entry.received - entry.outcomes["rejected"], outcomes=outcomes)


class Careless(Altered):
    """Has ends for more messages than it got."""

    def altered(self, name: str, entry: SensorStatus) -> SensorStatus:
        outcomes = {**entry.outcomes, "published": entry.outcomes["published"] + entry.outcomes["rejected"]}
        return replace(entry, outcomes=outcomes)


class Secretive(Altered):
    """Never tells that a camera is missing."""

    def altered(self, name: str, entry: SensorStatus) -> SensorStatus:
        return replace(entry, silent_ns=0, missing=0)


class Crying(SensorStream[Any]):
    """Always finds something."""

    def __init__(self, *given: Any) -> None:
        self._looks = 0
        super().__init__(*given)

    def status(self) -> Status:
        self._looks += 1
        return replace(super().status(), clock_leaps=self._looks)


class Hoarding(SensorStream[Any]):
    """Keeps every message."""

    def __init__(self, *given: Any) -> None:
        self._kept: list[Any] = []
        super().__init__(*given)

    def push(self, sensor: str, message: Any) -> None:
        self._kept.append(message)
        super().push(sensor, message)


class Stubborn(SensorStream[Any]):
    """Does not stop."""

    def stop(self, timeout_s: float = 5.0) -> bool:
        super().stop(timeout_s)
        return False


@pytest.mark.parametrize(
    ("broken", "fault", "caught_by"),
    [
        (Republishing, "drop", "fresh"),
        (Restamping, "nan_points", "fresh"),
        (with_options(deadline_ns=None), "delay", "fresh"),
        (with_options(refuse_frozen_after=0), "freeze_new_stamps", "fresh"),
        (with_options(policy=SyncPolicy(require="all")), "dying_publisher", "LiDAR rate"),
        (with_options(rule="approximate_time"), "dying_publisher", "LiDAR rate"),
        (Wedging, "engine_error", "no deadlock"),
        (Stubborn, "drop", "no deadlock"),
        (Fragile, "engine_error", "no crash"),
        (Dying, "callback_exception", "recovers"),
        (with_options(policy=SyncPolicy(jump_back_ns=None)), "clock_jump_back", "recovers"),
        (Forgetful, "empty_cloud", "counts"),
        (Careless, "empty_cloud", "counts"),
        (Secretive, "dying_publisher", "named"),
        (Crying, "duplicate", "quiet"),
        (Hoarding, "reorder", "memory"),
    ],
)
def test_a_broken_stream_is_caught_by_the_invariant_that_it_breaks(
    bench: Bench, broken: Any, fault: str, caught_by: str
) -> None:
    on_trial = replace(bench, open_stream=broken, with_stock=False, answer_s=2.0)
    violated: set[str] = set()
    for judged in run_suite(numbers(0, 8, fault), on_trial):
        violated |= set(judged.violations)
        if caught_by in violated:
            return
    pytest.fail(f"found {violated or 'nothing'}, not {caught_by}")


def test_one_scenario_that_never_answers_does_not_stop_the_others(bench: Bench) -> None:
    on_trial = replace(bench, open_stream=Wedging, with_stock=False, answer_s=2.0)
    [stuck] = numbers(0, 1, "engine_error")
    [fine] = numbers(0, 1, "corrupt_jpeg")
    judged = list(run_suite([fine, stuck, fine], on_trial))
    assert [bool(one.violations) for one in judged] == [False, True, False]
    assert "no answer within 2 s" in judged[1].violations["no deadlock"]
