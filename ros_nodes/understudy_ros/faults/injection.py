"""Plays scenarios to a node in real time and judges it by the same invariants as the core in process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from heapq import merge
from types import TracebackType
from typing import Any

import rclpy
from rcl_interfaces.srv import ListParameters
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from understudy.errors import InputError
from understudy.faults.clocks import EPOCH_NS, ClockScript
from understudy.faults.contents import Contents
from understudy.faults.fault import CLOCK, PUBLISHER, STUDENT, Fault
from understudy.faults.invariants import Margins
from understudy.faults.real_time import judge_played
from understudy.faults.record import Record
from understudy.faults.scenario import SHORT, Scenario, Setting, draw_scenario
from understudy.faults.script import Script, write_script
from understudy.faults.stream_faults import DyingPublisher, QosMismatch
from understudy.faults.suite import Judged
from understudy.faults.system_faults import EngineHang, SlowEngine
from understudy.messages.outputs import DETECTIONS_TYPE
from understudy_ros.faults.observation import Observation, Process
from understudy_ros.faults.publishers import Publishers
from understudy_ros.make import make_message

OUTSIDE = Margins(age_ns=300_000_000, named_ns=500_000_000, published=0.8, sees_cameras=False)
"""What transport, and a look from outside, may cost."""
WELL = "well"
"""The order that ends what a student was told."""
_ANSWER_S, _NUM_QUESTIONS = 3.0, 4
_CLOCK_EVERY_NS, _MEASURE_EVERY_NS, _PULSE_EVERY_NS = 10_000_000, 200_000_000, 50_000_000
_LATE_NS = 300_000_000
_Action = tuple[int, Callable[[], object]]


@dataclass(frozen=True)
class Trial:
    """The node under test, and what its scenarios have in common.

    Attributes:
        node: its full name.
        topics: of its sensors, by name in the rig: the LiDAR's clouds, the cameras' compressed pictures.
        output: its topic of results.
        output_type: `package/msg/Name`; results carry the stamp of their sweep.
        pid: its process, where it runs on this machine.
        orders: topic on which its student takes orders to fail; empty when it takes none.
        sim_time: whether it follows `/clock`, which is then published here.
        most_growth_mib: by how much its memory may grow in a scenario.
        setting: of the scenarios.
        wait_s: how long to wait for the node to listen.
    """

    node: str
    topics: Mapping[str, str]
    output: str
    output_type: str = DETECTIONS_TYPE
    pid: int | None = None
    orders: str = ""
    sim_time: bool = False
    most_growth_mib: int = 64
    setting: Setting = SHORT
    wait_s: float = 20.0


class Injector:
    """This process as all the sensors of a node under test.

    Args:
        trial: the node.
        contents: what the sensors see; its cameras are those of the trial.

    Raises:
        InputError: when a name is none that ROS knows, or results of that type tell no stamp.
    """

    def __init__(self, trial: Trial, contents: Contents) -> None:
        self._trial, self._contents = trial, contents
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("fault_injector", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        try:
            self._publishers = Publishers(self._node, trial.topics, contents.lidar, trial.orders, trial.sim_time)
            self._observation = Observation(self._node, trial.node, trial.output, trial.output_type)
            self._client = self._node.create_client(ListParameters, f"{trial.node}/list_parameters")
        except NameValidationException as error:
            self.close()
            raise InputError("name of a node", found=str(error)) from None
        except InputError:
            self.close()
            raise
        self._process = None if trial.pid is None else Process(trial.pid, trial.most_growth_mib)
        self._sim_ns = EPOCH_NS
        self._stamps_before: frozenset[int] = frozenset()

    def __enter__(self) -> Injector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves ROS."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def connect(self) -> None:
        """Waits for the node.

        Raises:
            InputError: when nobody listens to one of the topics, or publishes the results.
        """
        publishers, output = self._publishers, self._trial.output
        is_there = self._happens(
            lambda: not publishers.unheard and self._node.count_publishers(output) > 0, self._trial.wait_s
        )
        if not is_there:
            found = ", ".join(publishers.unheard) or output
            remedy = "start and activate the node first, with the topics that are given here"
            raise InputError("topics without a partner", found=found, wanted="the node under test", remedy=remedy)

    def why_not(self, number: int) -> str:
        """Why a scenario cannot be played to this node; empty when it can."""
        scenario = self._drawn(number)
        reasons = (self._why_no_fault(fault) for fault in scenario.faults)
        return next((reason for reason in reasons if reason), "")

    def judged(self, number: int, say: Callable[[str], object] = lambda line: None) -> Judged:
        """Plays a scenario, as long as it takes, and judges what was seen; again when we were late ourselves."""
        scenario = self._drawn(number)
        return judge_played(lambda: self._played(scenario), OUTSIDE, say)

    def _drawn(self, number: int) -> Scenario:
        return draw_scenario(number, self._contents, self._trial.setting)

    def _why_no_fault(self, fault: Fault) -> str:
        if fault.target in (STUDENT, PUBLISHER) and not self._trial.orders:
            return "its student takes no orders (--orders)"
        if fault.target == CLOCK and not self._trial.sim_time:
            return "it does not follow /clock (--sim-time)"
        if isinstance(fault, QosMismatch) and not self._publishers.listens_reliably(fault.target):
            return "it listens with best effort, which nothing is too little for"
        return ""

    def _played(self, scenario: Scenario) -> tuple[Script, Record]:
        script = write_script(scenario)
        if self._process is not None:
            self._process.begin()
        self._observation.taken()
        # The clocks together, after all that takes time: what happens in between is our being late.
        epoch_ns, begin_ns, late_ns = self._sim_ns if self._trial.sim_time else time.time_ns(), time.monotonic_ns(), 0
        script = replace(script, scenario=replace(scenario, epoch_ns=epoch_ns))
        for at_ns, act in self._actions(script):
            self._spin_until(begin_ns + at_ns)
            late_ns = max(late_ns, time.monotonic_ns() - begin_ns - at_ns)
            act()
        self._sim_ns = script.scenario.clock.stamp_ns(script.end_ns)
        return script, replace(self._record(script, begin_ns), late_ns=late_ns)

    def _actions(self, script: Script) -> Iterator[_Action]:
        """All that has to be done, by time."""
        actions: list[Iterator[_Action]] = [iter(sorted(self._turns(script), key=lambda action: action[0]))]
        actions.append((sent.arrival_ns, partial(self._send, script, sent)) for sent in script.sent)
        end_ns, clock = script.end_ns, script.scenario.clock
        if self._trial.sim_time:
            ticks = range(0, end_ns, _CLOCK_EVERY_NS)
            actions.append((at_ns, partial(self._show, clock, at_ns)) for at_ns in ticks)
        if self._process is not None:
            actions.append((at_ns, self._process.measure) for at_ns in range(0, end_ns, _MEASURE_EVERY_NS))
        # Often enough to know when this process had to wait.
        actions.append((at_ns, lambda: None) for at_ns in (*range(0, end_ns, _PULSE_EVERY_NS), end_ns))
        return merge(*actions, key=lambda action: action[0])

    def _turns(self, script: Script) -> Iterator[_Action]:
        """What begins and ends with faults that are not in the messages."""
        publishers = self._publishers
        for fault in script.scenario.faults:
            target, start_ns, end_ns = fault.target, fault.start_ns, fault.end_ns
            if isinstance(fault, QosMismatch):
                yield start_ns, partial(publishers.open, target, mismatched=True)
                yield end_ns, partial(publishers.open, target)
            elif isinstance(fault, DyingPublisher):
                yield start_ns, partial(publishers.close, target)
                yield end_ns, partial(publishers.open, target)
            elif target in (STUDENT, PUBLISHER):
                yield start_ns, partial(publishers.order, order_of(fault))
                yield end_ns, partial(publishers.order, WELL)

    def _show(self, clock: ClockScript, at_ns: int) -> None:
        self._publishers.show(clock.stamp_ns(at_ns))

    def _send(self, script: Script, sent: Any) -> None:
        self._publishers.send(sent.sensor, sent.draft.message(make_message, script.stamp_ns(sent)))

    def _record(self, script: Script, begin_ns: int) -> Record:
        seen = self._observation.taken()
        # The last results of the scenario before come in this one.
        seen.results = [result for result in seen.results if result[1] not in self._stamps_before]
        self._stamps_before = frozenset(script.stamp_ns(sent) for sent in script.sent)
        outputs = seen.outputs(begin_ns, lambda at_ns: begun_ns(script.scenario, at_ns))
        record = Record(outputs=outputs, looks=seen.looks(begin_ns))
        for number, fault in enumerate(script.scenario.faults):
            if fault.target in (STUDENT, PUBLISHER):
                record.strikes_ns[number] = fault.start_ns
                record.idle_ns = max(record.idle_ns, fault.end_ns + fault.strike(fault.end_ns).added_ns)
        if self._process is not None:
            record.crash, record.memory = self._process.crash, self._process.growth
        record.stuck = "" if record.crash or self._answers() else f"{self._trial.node} answers no service"
        return record

    def _answers(self) -> bool:
        """Whether the node answers; the first answer may be lost, so it is asked again."""
        for _ in range(_NUM_QUESTIONS):
            if not self._happens(self._client.service_is_ready, _ANSWER_S):
                continue
            answer = self._client.call_async(ListParameters.Request())
            if self._happens(answer.done, _ANSWER_S):
                return True
        return False

    def _happens(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def _spin_until(self, until_ns: int) -> None:
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            self._executor.spin_once(timeout_sec=left_ns / 1e9)


def order_of(fault: Fault) -> str:
    """What a student is told: the kind of the fault, and milliseconds: how long it lasts, or how much slower it is."""
    last_ns = fault.added_ns if isinstance(fault, SlowEngine) else fault.end_ns - fault.start_ns
    return f"{fault.kind} {last_ns // 1_000_000}"


def begun_ns(scenario: Scenario, at_ns: int) -> int:
    """When the student began with a result, as far as the scenario tells: earlier where it was slowed down."""
    for fault in scenario.faults:
        if isinstance(fault, EngineHang) and fault.end_ns <= at_ns <= fault.end_ns + _LATE_NS:
            return fault.start_ns
        if isinstance(fault, SlowEngine) and fault.start_ns <= at_ns <= fault.end_ns + fault.added_ns + _LATE_NS:
            return at_ns - fault.added_ns
    return at_ns
