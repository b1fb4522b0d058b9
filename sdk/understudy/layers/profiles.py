"""What a runtime's own profiler said, in one form for all runtimes."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from understudy.errors import EngineError

_KERNEL = "_kernel_time"
_INTEGER_STARTS = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger")
_INTEGER_ENDS = ("_i8", "_u8", "int8")


@dataclass(frozen=True)
class NodeTime:
    """One node of a runtime's optimized graph.

    Attributes:
        name: as the runtime calls it, which is not always as the ONNX file does.
        kind: operator or layer type, as the runtime calls it.
        runs_ms: wall time in each run, in order.
        sources: names of nodes it says it was made from; empty where it does not say.
        kernel: what ran it, where the runtime tells more than the kind.
    """

    name: str
    kind: str
    runs_ms: tuple[float, ...]
    sources: tuple[str, ...] = ()
    kernel: str = ""

    @property
    def least_ms(self) -> float:
        """Of all runs: whatever else the machine does only adds."""
        return min(self.runs_ms)

    @property
    def is_integer(self) -> bool:
        """Whether it multiplied integers."""
        return self.kind.startswith(_INTEGER_STARTS) or self.kernel.lower().endswith(_INTEGER_ENDS)


@dataclass(frozen=True)
class Profile:
    """All nodes of one network, and how long the runs were as a whole.

    Attributes:
        nodes: each with as many times as there are runs.
        runs_ms: the whole run, what lies between the nodes included.
    """

    nodes: tuple[NodeTime, ...]
    runs_ms: tuple[float, ...]


def onnxruntime_profile(path: Path, num_warmup: int) -> Profile:
    """Reads the file that ONNX Runtime's profiler wrote.

    Runs are told apart by its `model_run` events. Nodes inside another one (the body of a loop) count with that one.

    Args:
        path: the file.
        num_warmup: runs at the start that do not count.

    Raises:
        EngineError: when it is not such a file, or holds no run after the warm-up.
    """
    events = _read_events(path)
    whole = sorted((float(event["ts"]), float(event["dur"])) for event in events if event.get("name") == "model_run")
    runs = [_Run() for _ in whole]
    starts = [start for start, _ in whole]
    for event in _outermost(event for event in events if event.get("cat") == "Node"):
        number = bisect_right(starts, float(event["ts"])) - 1
        if number >= 0:
            runs[number].add(event)
    runs = runs[num_warmup:]
    if not runs or not any(run.ms for run in runs):
        raise EngineError(f"{path}", found=f"{len(whole)} runs", wanted=f"more than {num_warmup}, with their nodes")
    return Profile(_joined(runs), tuple(ms / 1e3 for _, ms in whole[num_warmup:]))


def counted_profile(counts: Sequence[Iterable[NodeTime]], runs_ms: Sequence[float]) -> Profile:
    """From what a runtime counted in each run; the runs counted no node more than once.

    Args:
        counts: for each run its nodes, each with the time of that run.
        runs_ms: the whole runs.
    """
    by_node: dict[tuple[str, str], list[NodeTime]] = defaultdict(list)
    for run in counts:
        for node in run:
            by_node[node.name, node.kind].append(node)
    nodes = tuple(
        NodeTime(name, kind, tuple(node.runs_ms[0] for node in found), found[0].sources, found[0].kernel)
        for (name, kind), found in by_node.items()
    )
    return Profile(nodes, tuple(runs_ms))


def mean_profile(
    before: Iterable[NodeTime], num_before: int, after: Iterable[NodeTime], runs_ms: Sequence[float]
) -> Profile:
    """From a runtime that counts only means since it was opened: the means of the runs between two looks at them.

    Args:
        before: what it said after the warm-up.
        num_before: runs of the warm-up.
        after: what it said at the end.
        runs_ms: the whole runs after the warm-up; each node's time is one mean over all of them.
    """
    earlier = {(node.name, node.kind): node.runs_ms[0] for node in before}
    num_runs = len(runs_ms)
    nodes = []
    for node in after:
        total_ms = node.runs_ms[0] * (num_before + num_runs)
        counted_ms = total_ms - earlier.get((node.name, node.kind), 0.0) * num_before
        nodes.append(replace(node, runs_ms=(max(counted_ms, 0.0) / num_runs,)))
    return Profile(tuple(nodes), (sum(runs_ms) / num_runs,))


@dataclass
class _Run:
    """Milliseconds by name and kind in one run."""

    ms: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def add(self, event: Mapping[str, Any]) -> None:
        name = str(event["name"])[: -len(_KERNEL)]
        kind = str(event.get("args", {}).get("op_name", ""))
        self.ms[name, kind] += float(event["dur"]) / 1e3


def _read_events(path: Path) -> list[dict[str, Any]]:
    try:
        events = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"{path}", found=str(error), wanted="ONNX Runtime's profile") from error
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise EngineError(f"{path}", found=type(events).__name__, wanted="ONNX Runtime's profile, a list of events")
    return [event for event in events if {"name", "ts", "dur"} <= event.keys()]


def _outermost(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Kernel times that do not lie within another one's."""
    kernels = [event for event in events if str(event["name"]).endswith(_KERNEL)]
    end = float("-inf")
    for event in sorted(kernels, key=lambda event: (float(event["ts"]), -float(event["dur"]))):
        if float(event["ts"]) < end and float(event["ts"]) + float(event["dur"]) <= end:
            continue
        end = max(end, float(event["ts"]) + float(event["dur"]))
        yield event


def _joined(runs: Sequence[_Run]) -> tuple[NodeTime, ...]:
    keys = dict.fromkeys(key for run in runs for key in run.ms)
    return tuple(NodeTime(name, kind, tuple(run.ms.get((name, kind), 0.0) for run in runs)) for name, kind in keys)
