"""Which tensor inside a graph departs first: two files of one student, the same feeds, tap by tap in graph order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.bundle.manifest import Precision
from understudy.configuration import Config
from understudy.parity.taps import Graph, Tap, tapped_engine, taps_in_both

Rounding = Literal["exact", "fp16", "int8"]
FLOORS_DB: dict[Rounding, float] = {"exact": 60.0, "fp16": 30.0, "int8": 10.0}
"""Signal-to-noise ratio below which a tensor has departed. Measured on trained students that agree box by box: 56 dB at
least in float16, 14 dB in symmetric int8, 24 dB in the twin, no difference worth the name where nothing is rounded."""
SAME_DB = 200.0
_COMPARISONS = frozenset({"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"})
_MAY_DIFFER = ("Conv", "Gemm", "MatMul", "Reduce")
"""Operators that may say something else from the same inputs: weights are rounded, and a reduction over candidates also
takes in those that only one of the two selected."""
_NUM_LOSSES = 3

Values = Mapping[str, NDArray[Any]]
Rows = tuple[NDArray[np.intp], NDArray[np.intp], int]
"""Rows of candidates in the reference, the same candidates' rows in the other, and how many are selected."""


class TapReport(Config):
    """A tensor whose values differ between the two."""

    name: str
    operator: str
    node: str
    sqnr_db: float
    """Ten times the logarithm of the reference's energy over the difference's; 200 where they are the same."""
    before_db: float | None
    """The lowest of what its node was given; None where that was not compared."""
    heads: tuple[str, ...]
    """The graph's outputs that depend on it."""


class GraphReport(Config):
    """Two graphs held together inside."""

    num_taps: int
    """Tensors that both have and that can be compared."""
    floor_db: float
    first: TapReport | None
    """In the order of the graph, the first below the floor."""
    losses: tuple[TapReport, ...]
    """The nodes that add most noise to what they were given, worst first; none where nothing may be rounded: behind the
    first departing tensor all is consequence."""


def rounding_between(reference: Precision, candidate: Precision) -> Rounding:
    """How much two precisions may differ inside."""
    if reference == candidate:
        return "exact"
    return "fp16" if candidate == "fp16" else "int8"


def compare_graphs(
    reference: Graph,
    candidate: Graph,
    feeds: Sequence[Values],
    rounding: Rounding,
    runtimes: tuple[str, str] = ("onnxruntime", "onnxruntime"),
) -> GraphReport:
    """Runs both with taps on the same feeds.

    Rows behind the selection of candidates (TopK) are brought into one order first, and only those count that both
    selected and that have a score. Where values are rounded, tensors that hold decisions (masks of peaks, indices) are
    left out: background noise decides them, and none of it reaches a box.

    Args:
        reference: taken as right.
        candidate: held against it.
        feeds: the engine's inputs, frame by frame.
        rounding: what the candidate may have lost.
        runtimes: what runs each.

    Raises:
        UnderstudyError: when a file cannot be read or run with its taps.
    """
    comparable = _Comparable(reference, rounding)
    taps = [tap for tap in taps_in_both(reference, candidate) if comparable.takes(tap)]
    noise = _noise(reference, candidate, taps, feeds, comparable, runtimes)
    sqnr_db = {name: _decibels(signal, error) for name, (signal, error) in noise.items()}
    given = _given(reference)
    reports = [_report(reference, tap, sqnr_db, given[tap.name]) for tap in taps if tap.name in sqnr_db]
    floor_db = FLOORS_DB[rounding]
    return GraphReport(
        num_taps=len(reports),
        floor_db=floor_db,
        first=next((report for report in reports if comparable.departs(report, floor_db)), None),
        losses=() if rounding == "exact" else tuple(_worst(reports, comparable.selected)),
    )


def _worst(reports: Sequence[TapReport], selected: Collection[str]) -> list[TapReport]:
    """Of the network itself: behind the selection noise is that of single boxes."""
    lossy = [report for report in reports if report.name not in selected and _added_noise(report)]
    return sorted(lossy, key=_added_noise, reverse=True)[:_NUM_LOSSES]


def _added_noise(report: TapReport) -> float:
    """Noise that a node adds to what it was given, as a part of its signal; 0 where it adds none."""
    if report.before_db is None:
        return 0.0
    added = 10.0 ** (-report.sqnr_db / 10.0) - 10.0 ** (-report.before_db / 10.0)
    return max(0.0, float(added))


class _Comparable:
    """Which tensors mean the same in both files, and how their rows are brought into one order."""

    def __init__(self, graph: Graph, rounding: Rounding) -> None:
        self._graph, self._exact = graph, rounding == "exact"
        self.selected = graph.downstream(graph.selection) if graph.selection else set[str]()
        self._decided = set() if self._exact else _decided(graph) - self.selected

    def takes(self, tap: Tap) -> bool:
        if self._exact:
            return True
        return tap.operator != "Cast" and tap.name not in self._decided  # halving adds casts, and numbers them anew

    def departs(self, report: TapReport, floor_db: float) -> bool:
        """Below the floor; where values are rounded also what differs though all its node was given is the same."""
        if not self._exact and report.before_db == SAME_DB and not report.operator.startswith(_MAY_DIFFER):
            return report.sqnr_db < FLOORS_DB["exact"]
        counts = self._exact or report.name not in self.selected or report.name in self._graph.outputs
        return counts and report.sqnr_db < floor_db

    def ranks(self, values: NDArray[Any], rows: Rows | None) -> bool:
        """Whether a tensor sets candidates against each other: it depends on their ranks, which rounding swaps."""
        return not self._exact and rows is not None and values.shape.count(rows[2]) > 1

    def rows(self, reference: Values, candidate: Values) -> Rows:
        """Rows of candidates that both selected, in both, and how many there are to select."""
        picked, others = (values[self._graph.selection].reshape(-1) for values in (reference, candidate))
        _, rows, columns = np.intersect1d(picked, others, return_indices=True)
        scored = np.ones(len(rows), bool)
        scores = reference.get("scores")
        if scores is not None and len(scores) == len(picked):
            scored = scores[rows] > 0.05 * float(scores.max(initial=0.0))
        return rows[scored], columns[scored], len(picked)


def _decided(graph: Graph) -> set[str]:
    """What depends on a comparison of the network's own values."""
    first = next((tap.name for tap in graph.taps if tap.operator == "Conv"), "")
    learned = graph.downstream(first) if first else set[str]()
    masks = [tap.name for tap in graph.taps if tap.operator in _COMPARISONS and tap.name in learned]
    return set[str]().union(*(graph.downstream(mask) for mask in masks))


def _noise(
    reference: Graph,
    candidate: Graph,
    taps: Sequence[Tap],
    feeds: Sequence[Values],
    comparable: _Comparable,
    runtimes: tuple[str, str],
) -> dict[str, tuple[float, float]]:
    """By tensor, energy of the reference and of the difference, over all frames."""
    selection = [tap.name for tap in taps_in_both(reference, candidate) if tap.name == reference.selection]
    names = [*(tap.name for tap in taps), *selection]
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    with (
        tapped_engine(reference.path, names, runtimes[0]) as right,
        tapped_engine(candidate.path, names, runtimes[1]) as judged,
    ):
        for feed in feeds:
            wanted, found = right(feed), judged(feed)
            rows = comparable.rows(wanted, found) if reference.selection in found else None
            for tap in taps:
                same_rows = rows if tap.name in comparable.selected else None
                pair = _pair(wanted[tap.name], found[tap.name], same_rows)
                if pair is not None and not comparable.ranks(wanted[tap.name], same_rows):
                    sums[tap.name][0] += pair[0]
                    sums[tap.name][1] += pair[1]
    return {name: (signal, error) for name, (signal, error) in sums.items()}


def _pair(
    wanted: NDArray[Any],
    found: NDArray[Any],
    rows: Rows | None,
) -> tuple[float, float] | None:
    """Energy of a tensor and of its difference; None where the two cannot be compared."""
    if (wanted.dtype.kind == "f") != (found.dtype.kind == "f"):
        return None
    if wanted.shape != found.shape:
        return 1.0, np.inf
    if rows is not None:
        wanted, found = _taken(wanted, rows[0], rows[2]), _taken(found, rows[1], rows[2])
    right, judged = wanted.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(right)
    signal = float(np.square(right[finite]).sum())
    if not np.array_equal(finite, np.isfinite(judged)):
        return signal, np.inf
    return signal, float(np.square(right[finite] - judged[finite]).sum())


def _taken(array: NDArray[Any], rows: NDArray[np.intp], count: int) -> NDArray[Any]:
    """The chosen rows of every axis that counts selected candidates."""
    for axis, size in enumerate(array.shape):
        if size == count:
            array = np.take(array, rows, axis=axis)
    return array


def _decibels(signal: float, error: float) -> float:
    if error == 0.0:
        return SAME_DB
    if not np.isfinite(error):
        return -SAME_DB
    return float(np.clip(10.0 * np.log10(max(signal, 1e-30) / error), -SAME_DB, SAME_DB))


def _given(graph: Graph) -> dict[str, list[str]]:
    """By tensor, the tensors that its node was given, behind casts; constants and the graph's inputs left out."""
    made = {tap.name: tap for tap in graph.taps}

    def behind(name: str) -> str:
        tap = made.get(name)
        return name if tap is None or tap.operator != "Cast" else behind(tap.inputs[0])

    return {tap.name: [name for name in map(behind, tap.inputs) if name in made] for tap in graph.taps}


def _report(graph: Graph, tap: Tap, sqnr_db: Mapping[str, float], given: Collection[str]) -> TapReport:
    is_known = all(name in sqnr_db for name in given)
    before_db = round(min((sqnr_db[name] for name in given), default=SAME_DB), 1) if is_known else None
    return TapReport(
        name=tap.name,
        operator=tap.operator,
        node=tap.node,
        sqnr_db=round(sqnr_db[tap.name], 1),
        before_db=before_db,
        heads=graph.heads_of(tap.name),
    )
