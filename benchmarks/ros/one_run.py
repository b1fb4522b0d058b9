"""One node, its drivers and a listener, for a while: what came, when, and what it took.

python -m benchmarks.ros.one_run PLAN.json OUT.json, in the environment that the nodes shall have. The listener is this
process; the node and the drivers have one each, as on a vehicle.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import Float64MultiArray
from vision_msgs.msg import Detection3DArray

from benchmarks.ros.drive_messages import drive_rig
from benchmarks.ros.plan import Plan
from benchmarks.ros.process_samples import ProcessSample, machine_busy_s, sample_process, shared_segments
from tests.ros_nodes.observer import Observer
from tests.ros_nodes.processes import NodeProcess, Nodes
from understudy.messages.headers import stamp_ns_from_message

SETTLE_S, DRAIN_S = 4.0, 1.0
LOOKS, LOOK_EVERY_S = 8, 0.02
NODE = "student"


@dataclass
class Heard:
    """What the listener got: each with the time of its receipt.

    Attributes:
        results: stamp, and how many boxes.
        timings: milliseconds by stage.
        diagnostics: values and message of the node's status.
    """

    results: list[tuple[int, int, int]] = field(default_factory=list)
    timings: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    diagnostics: list[tuple[int, dict[str, str], str]] = field(default_factory=list)

    def on_result(self, message: Any) -> None:
        """A Detection3DArray."""
        self.results.append((time.time_ns(), stamp_ns_from_message(message), len(message.detections)))

    def on_timing(self, message: Any) -> None:
        """A Float64MultiArray whose label names its columns."""
        stages = message.layout.dim[0].label.split(",")
        self.timings.append((time.time_ns(), dict(zip(stages, message.data, strict=True))))

    def on_diagnostics(self, message: Any) -> None:
        """The node's own status of a DiagnosticArray."""
        for status in message.status:
            if status.name == NODE:
                values = {pair.key: pair.value for pair in status.values}
                self.diagnostics.append((time.time_ns(), values, status.message))


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Brings the node up, lets all of it run, and stops it in order."""
    rig_file, sent_file, heard = folder / "rig.yaml", folder / "sent.json", Heard()
    drive_rig().write(rig_file)
    with Observer() as observer, Nodes(folder) as nodes:
        observer.node.create_subscription(Detection3DArray, f"/{NODE}/detections", heard.on_result, 50)
        observer.node.create_subscription(Float64MultiArray, f"/{NODE}/timing", heard.on_timing, 50)
        observer.node.create_subscription(DiagnosticArray, "/diagnostics", heard.on_diagnostics, 50)
        started_s = time.monotonic()
        node = nodes.start(plan.module, name=NODE, bundle=plan.bundle, rig=rig_file, **plan.parameters)
        observer.bring_up(f"/{NODE}")
        up_s = time.monotonic() - started_s
        drivers = _start_drivers(plan, sent_file, folder)
        try:
            observer.spin(SETTLE_S)
            record = _measure(plan, observer, node.pid, drivers.pid)
        finally:
            status = drivers.stop()
        observer.spin(DRAIN_S)
        node_status = node.stop()
    sent = json.loads(sent_file.read_text(encoding="utf-8"))
    return {
        "plan": {entry.name: getattr(plan, entry.name) for entry in fields(plan)},
        "up_s": up_s,
        "exit_statuses": {"drivers": status, "node": node_status},
        **record,
        **sent,
        "results": heard.results,
        "timings": heard.timings,
        "diagnostics": heard.diagnostics,
        "node_log": node.log[-4000:],
    }


def _start_drivers(plan: Plan, out: Path, folder: Path) -> NodeProcess:
    words = ["--out", str(out), "--cameras", str(plan.cameras), "--camera-hz", str(plan.camera_hz)]
    words += ["--dropouts"] if plan.dropouts else []
    return NodeProcess([sys.executable, "-m", "benchmarks.ros.drivers", *words], folder / "drivers.log")


def _measure(plan: Plan, observer: Observer, node_pid: int, drivers_pid: int) -> dict[str, Any]:
    pids = {"node": node_pid, "drivers": drivers_pid, "listener": os.getpid()}
    begin_s, begin_ns, load = time.monotonic(), time.time_ns(), os.getloadavg()[0]
    busy_s, before = machine_busy_s(), {name: sample_process(pid) for name, pid in pids.items()}
    samples = []
    for number in range(int(plan.seconds / plan.sample_every_s)):
        observer.spin(begin_s + (number + 1) * plan.sample_every_s - time.monotonic())
        samples.append(_sample(time.monotonic() - begin_s, node_pid, observer))
    took_s, after = time.monotonic() - begin_s, {name: sample_process(pid) for name, pid in pids.items()}
    cpu = {name: (after[name].cpu_s - before[name].cpu_s) / took_s for name in pids}
    others = (machine_busy_s() - busy_s) / took_s - sum(cpu.values())
    return {
        "window_ns": [begin_ns, time.time_ns()],
        "cores": os.cpu_count(),
        "priority": "real time" if os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO) else "usual",
        "load_average": [load, os.getloadavg()[0]],
        "cpu_share_of_a_core": {**cpu, "everything else": others},
        "samples": samples,
    }


def _sample(elapsed_s: float, pid: int, observer: Observer) -> dict[str, float]:
    """The smallest of some looks within one period of the LiDAR: six decoded pictures come and go with each frame."""
    looks: list[ProcessSample] = []
    for _ in range(LOOKS):
        observer.spin(LOOK_EVERY_S)
        looks.append(sample_process(pid))
    taken = min(looks, key=lambda look: look.private_mb)
    segments, segments_mb = shared_segments()
    values = {entry.name: getattr(taken, entry.name) for entry in fields(taken)}
    return {"elapsed_s": elapsed_s, **values, "segments": segments, "segments_mb": segments_mb}


def main() -> None:
    plan_file, out = (Path(word) for word in sys.argv[1:3])
    plan = Plan(**json.loads(plan_file.read_text(encoding="utf-8")))
    out.write_text(json.dumps(run(plan, plan_file.parent)), encoding="utf-8")


if __name__ == "__main__":
    main()
