"""A scenario as what is sent and when: the messages of every sensor with the faults in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.faults.drafts import Sent
from understudy.faults.fault import Fault
from understudy.faults.scenario import Scenario

_LIDAR_LATENCY_NS, _CAMERA_LATENCY_NS = 40_000_000, 30_000_000
_JITTER_NS = 4_000_000
_BEGIN_NS = 50_000_000


@dataclass(frozen=True, eq=False)
class Script:
    """What is sent.

    Attributes:
        scenario: that it follows from.
        sent: the messages, by arrival.
        effects_ns: for each fault, when the first message that it touched would have arrived; its start where it
            touches none.
        over_ns: when all faults are over and the last message that they touched has arrived.
        end_ns: when the scenario ends.
    """

    scenario: Scenario
    sent: tuple[Sent, ...]
    effects_ns: tuple[int, ...]
    over_ns: int
    end_ns: int

    @property
    def start_ns(self) -> int:
        """When the first fault begins."""
        return min(fault.start_ns for fault in self.scenario.faults)

    def stamp_ns(self, sent: Sent) -> int:
        """In the header of a message."""
        return self.scenario.clock.stamp_ns(sent.taken_ns) + sent.shift_ns

    def age_ns(self, taken_ns: int, at_ns: int) -> int:
        """How old a sweep is, a pause of its clock not counted: in it the world stands still."""
        pauses = self.scenario.clock.pauses
        stood_ns = sum(max(0, min(at_ns, pause.end_ns) - max(taken_ns, pause.start_ns)) for pause in pauses)
        return at_ns - taken_ns - stood_ns


def write_script(scenario: Scenario) -> Script:
    """The messages of a scenario; the same every time."""
    rng = np.random.default_rng((scenario.number, 1))
    afterwards_ns = scenario.setting.afterwards_ms * 1_000_000
    longest_ns = max(fault.end_ns for fault in scenario.faults) + afterwards_ns + 1_500_000_000
    healthy = {name: _healthy(scenario, name, longest_ns, rng) for name in scenario.periods_ns}
    effects_ns: list[int] = []
    for fault in scenario.faults:
        effect_ns = fault.start_ns
        if fault.target in healthy:
            healthy[fault.target], effect_ns = _altered(fault, healthy[fault.target], rng)
        effects_ns.append(effect_ns)
    sent = sorted((one for messages in healthy.values() for one in messages), key=lambda one: one.arrival_ns)
    touched_ns = [one.arrival_ns for one in sent if one.faulty]
    over_ns = max([fault.end_ns for fault in scenario.faults] + touched_ns)
    end_ns = over_ns + afterwards_ns
    kept = tuple(one for one in sent if one.arrival_ns <= end_ns)
    return Script(scenario, kept, tuple(effects_ns), over_ns, end_ns)


def _healthy(scenario: Scenario, sensor: str, end_ns: int, rng: np.random.Generator) -> list[Sent]:
    """What a sensor sends when nothing is wrong with it; while the clock is paused, nothing."""
    period_ns, drafts = scenario.periods_ns[sensor], scenario.contents.drafts[sensor]
    is_lidar = sensor == scenario.lidar
    phase_ns = 0 if is_lidar else int(rng.integers(0, 20_000_000))
    latency_ns = _LIDAR_LATENCY_NS if is_lidar else _CAMERA_LATENCY_NS
    clock = scenario.clock
    made = []
    for number in range((end_ns - _BEGIN_NS) // period_ns):
        taken_ns = _BEGIN_NS + phase_ns + number * period_ns + int(rng.integers(0, _JITTER_NS))
        arrival_ns = taken_ns + latency_ns + int(rng.integers(0, _JITTER_NS))
        if not clock.is_paused(taken_ns):
            content = number % len(drafts)
            made.append(Sent(sensor, taken_ns, arrival_ns, drafts[content], content))
    return made


def _altered(fault: Fault, messages: Sequence[Sent], rng: np.random.Generator) -> tuple[list[Sent], int]:
    """The messages with a fault in them, and when the first that it touched would have arrived."""
    window = [one for one in messages if fault.start_ns <= one.taken_ns < fault.end_ns]
    altered = fault.alter(window, rng)
    untouched = {id(one) for one in altered if not one.faulty}
    effect_ns = next((one.arrival_ns for one in window if id(one) not in untouched), fault.end_ns)
    outside = [one for one in messages if not fault.start_ns <= one.taken_ns < fault.end_ns]
    return sorted([*outside, *altered], key=lambda one: one.arrival_ns), effect_ns
