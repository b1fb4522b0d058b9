"""A look at a stream as `diagnostic_msgs/DiagnosticStatus`."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from understudy.live.lidar_tally import Level, Status, Verdict

LEVELS: dict[Level, bytes] = {
    "ok": DiagnosticStatus.OK,
    "warn": DiagnosticStatus.WARN,
    "error": DiagnosticStatus.ERROR,
}


def diagnostic_status(name: str, hardware: str, verdict: Verdict, values: dict[str, str]) -> DiagnosticStatus:
    """The message; `hardware` says which student runs."""
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(
        level=LEVELS[verdict.level], name=name, message=verdict.message, hardware_id=hardware, values=pairs
    )


def values_of(status: Status) -> dict[str, str]:
    """Counters and times of a stream, by name."""
    values = {"received": str(status.received), "waiting": str(status.waiting), "late": str(status.late)}
    values |= {outcome: str(count) for outcome, count in status.outcomes.items()}
    for stage, (median_ms, largest_ms) in status.stages_ms.items():
        values[f"{stage}_ms"] = f"{median_ms:.2f}"
        values[f"{stage}_max_ms"] = f"{largest_ms:.2f}"
    return {**values, "last_trouble": status.trouble}
