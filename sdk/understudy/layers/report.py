"""Times, costs and promises of all layers side by side: the record, and how it is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.configuration import Config
from understudy.layers.costs import Cost, layer_cost
from understudy.layers.graph import Graph, Layer
from understudy.layers.mapping import Mapping
from understudy.layers.profiles import NodeTime, Profile
from understudy.layers.roofline import Peak, bound_by, estimate_ms
from understudy.machine import Machine

REFERENCE = "fp32"


class LayerTime(Config):
    """A layer in one precision."""

    ms: float | None
    """None where the runtime reported no time under its name: it ran within another one, or not at all."""
    kernels: tuple[str, ...] = ()
    """What ran it."""
    is_integer: bool = False
    """Whether any of it multiplied integers."""
    giga_macs: float
    megabytes: float
    dtype: str
    """What the graph asks it to multiply; empty where it multiplies nothing."""
    promised_ms: float | None = None
    """ESTIMATE: the FP32 time, scaled as the roofline of this CPU scales; None where it has none."""
    lost_ms: float | None = None
    """What it took beyond what was promised."""
    estimate_ms: dict[str, float]
    """ESTIMATE by target, from its peaks. Targets that do not compute in its type are left out."""
    bound_by: dict[str, str]
    """ESTIMATE by target: compute or memory."""


class LayerRow(Config):
    """A layer of the FP32 file, in all precisions."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    """ONNX nodes of the FP32 file."""
    times: dict[str, LayerTime]

    @property
    def most_lost_ms(self) -> float:
        """In the precision that lost most; 0 where nothing was compared."""
        lost = [time.lost_ms for time in self.times.values() if time.lost_ms is not None]
        return max(lost, default=0.0)


class PrecisionTotal(Config):
    """A whole model."""

    run_ms: float
    """Points to boxes, as the runtime says."""
    nodes_ms: float
    """Sum over its nodes."""
    mapped_ms: float
    """Of that, what belongs to a layer of the FP32 file or is overhead by its kind."""
    num_quantized: int
    """Layers that the graph asks to multiply integers."""
    num_integer: int
    """Of these, how many did."""
    estimate_ms: dict[str, float]
    """ESTIMATE by target: sum over the layers. Targets that do not compute in all of them are left out."""

    @property
    def coverage(self) -> float:
        """Share of the measured time that was mapped."""
        return self.mapped_ms / self.nodes_ms if self.nodes_ms else 0.0


class LayerReport(Config):
    """Everything `understudy inspect --layers` found."""

    student: str
    bundle: str
    """Fingerprint of the bundle."""
    engine: str
    data: str
    """The cloud: of which data, or made up."""
    num_points: int
    num_runs: int
    statistic: str
    """Which of the runs a time is."""
    layers: tuple[LayerRow, ...]
    """By what was lost, the most first."""
    overhead_ms: dict[str, dict[str, float]]
    """By kind and precision: nodes that only carry data between precisions or layouts."""
    unmapped_ms: dict[str, float]
    """By precision: nodes that belong to no layer of the file."""
    totals: dict[str, PrecisionTotal]
    peaks: dict[str, Peak]
    """By target; `this` is measured, the others are published."""
    targets: tuple[str, ...]
    """Of these peaks, those whose estimates were asked for."""
    machine: Machine


@dataclass(frozen=True, eq=False)
class Measured:
    """One precision: its graph with sizes, and its profile."""

    graph: Graph
    profile: Profile


@dataclass(frozen=True, eq=False)
class _Placed:
    """A profile, placed on the reference's layers."""

    layers: Table[str, Sequence[NodeTime]]
    overhead: Table[str, float]
    unmapped_ms: float


def layer_rows(measured: Table[str, Measured], this: Peak | None, targets: Table[str, Peak]) -> tuple[LayerRow, ...]:
    """Every layer of the FP32 file that took time or costs anything, the one that lost most first.

    Args:
        measured: by precision, `fp32` among them.
        this: what scales a promise; None where the machine that ran is not known.
        targets: for which to estimate.
    """
    reference = measured[REFERENCE].graph
    placed = {name: place(reference, entry) for name, entry in measured.items()}
    own_layers = {name: _own_layers(reference, entry.graph) for name, entry in measured.items()}
    rows = []
    for layer in reference.layers:
        times: dict[str, LayerTime] = {}
        for name, entry in measured.items():
            own = own_layers[name].get(layer.name)
            cost = layer_cost(own, entry.graph) if own is not None else Cost()
            times[name] = _time(placed[name].layers.get(layer.name, ()), cost, times.get(REFERENCE), this, targets)
        if any(time.ms or time.giga_macs for time in times.values()):
            rows.append(LayerRow(name=layer.name, kind=layer.kind, nodes=_names(layer), times=times))
    return tuple(sorted(rows, key=lambda row: (-row.most_lost_ms, -(row.times[REFERENCE].ms or 0.0))))


def place(reference: Graph, measured: Measured) -> _Placed:
    """Each node's time where it belongs."""
    mapping = Mapping(reference, measured.graph)
    layers: dict[str, list[NodeTime]] = defaultdict(list)
    overhead: dict[str, float] = defaultdict(float)
    unmapped_ms = 0.0
    for node in measured.profile.nodes:
        found = mapping.place(node)
        if found.layer:
            layers[found.layer].append(node)
        elif found.overhead:
            overhead[found.overhead] += node.least_ms
        else:
            unmapped_ms += node.least_ms
    return _Placed(layers, overhead, unmapped_ms)


def total(entry: Measured, unmapped_ms: float, rows: Sequence[LayerRow], precision: str) -> PrecisionTotal:
    """Sums of one precision."""
    times = [row.times[precision] for row in rows]
    quantized = [time for time in times if time.dtype in {"int8", "uint8"}]
    nodes_ms = sum(node.least_ms for node in entry.profile.nodes)
    targets = {name for time in times for name in time.estimate_ms}
    told = [target for target in sorted(targets) if all(target in time.estimate_ms for time in times)]
    return PrecisionTotal(
        run_ms=min(entry.profile.runs_ms),
        nodes_ms=nodes_ms,
        mapped_ms=nodes_ms - unmapped_ms,
        num_quantized=len(quantized),
        num_integer=sum(time.is_integer for time in quantized),
        estimate_ms={target: sum(time.estimate_ms[target] for time in times) for target in told},
    )


def _time(
    nodes: Sequence[NodeTime], cost: Cost, reference: LayerTime | None, this: Peak | None, targets: Table[str, Peak]
) -> LayerTime:
    ms = sum(node.least_ms for node in nodes) if nodes else None
    promised_ms = None if this is None or reference is None else _promised(reference, cost, this)
    estimates = {name: estimate_ms(cost, peak) for name, peak in targets.items()}
    return LayerTime(
        ms=ms,
        kernels=tuple(dict.fromkeys(node.kernel or node.kind for node in nodes)),
        is_integer=any(node.is_integer for node in nodes),
        giga_macs=cost.giga_macs,
        megabytes=cost.megabytes,
        dtype=cost.dtype,
        promised_ms=promised_ms,
        lost_ms=None if promised_ms is None else (ms or 0.0) - promised_ms,
        estimate_ms={name: value for name, value in estimates.items() if value is not None},
        bound_by={name: bound for name, peak in targets.items() if (bound := bound_by(cost, peak))},
    )


def _promised(reference: LayerTime, cost: Cost, this: Peak) -> float | None:
    """The FP32 time scaled by the two rooflines: how far FP32 is from its own is not the precision's fault."""
    before = estimate_ms(Cost(reference.giga_macs, reference.megabytes, reference.dtype), this)
    after = estimate_ms(cost, this)
    if reference.ms is None or not before or after is None:
        return reference.ms
    return reference.ms * after / before


def _own_layers(reference: Graph, own: Graph) -> dict[str, Layer]:
    """By the reference's name of a layer: the own one."""
    return {twin: layer for layer, twin in Mapping(reference, own).pairs}


def _names(layer: Layer) -> tuple[str, ...]:
    return tuple(node.name for node in layer.nodes)
