"""Where a rung's departure comes from: its feeds, its thresholds, the first departing tensor inside, or its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.bundle.manifest import Contract
from understudy.configuration import Config
from understudy.errors import UnderstudyError
from understudy.parity.departing import FLOORS_DB, GraphReport, compare_graphs, rounding_between
from understudy.parity.ladder import Frames, LadderReport, pipeline_of
from understudy.parity.replayed import replay_samples
from understudy.parity.rungs import Rung
from understudy.parity.taps import read_graph

MOST_FRAMES = 2
_TAPPED = ("onnxruntime", "openvino")
_ROUNDED = 1e-4
_RANK_TOLERANCE = 0.02
_COLUMNS = ("x", "y", "z", "length", "width", "height", "yaw")

Values = Mapping[str, NDArray[Any]]


class Explanation(Config):
    """Why a rung departs from another one."""

    rung: str
    partner: str
    """The rung that it is held against: the nearest one below that passes."""
    refusal: str = ""
    """Why the rung does not run at all."""
    feeds: dict[str, str] = Field(default_factory=dict)
    """By input of the engine, how it differs; empty text where it is the same."""
    contract: tuple[str, ...] = ()
    """What differs in classes and thresholds."""
    graph: GraphReport | None = None
    outside: str = ""
    """Why nothing was compared inside, where it was not."""
    outputs: dict[str, str] = Field(default_factory=dict)
    """By output of the engine, how it differs on the same feeds; empty where a tensor inside says more."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a rung was fed and, fed with the partner's feeds, said."""

    contract: Contract
    feeds: Sequence[Values]
    outputs: Sequence[Values]


def explain(rungs: Sequence[Rung], report: LadderReport, frames: Frames) -> Explanation:
    """Looks into the first departing rung, or where all pass into the one that agrees least; there must be one.

    Raises:
        UnderstudyError: when the rung it is held against cannot be run any more.
    """
    departing = report.least_agreeing
    assert departing is not None
    by_name = {rung.name: rung for rung in rungs}
    rung = by_name[departing.name]
    partner = _partner(rung, [entry for entry in rungs if not entry.skipped], report)
    few = Frames(frames.dataset, frames.numbers[:MOST_FRAMES], frames.lidar)
    right = _seen(partner, few)
    try:
        judged = _seen(rung, few, right.feeds)
    except UnderstudyError as error:
        return Explanation(rung=rung.name, partner=partner.name, refusal=str(error))
    graph, outside = _inside(partner, rung, right.feeds)
    return Explanation(
        rung=rung.name,
        partner=partner.name,
        feeds=_differences(right.feeds, judged.feeds),
        contract=tuple(_contract_differences(right.contract, judged.contract)),
        graph=graph,
        outside=outside,
        outputs=_output_differences(right.outputs, judged.outputs) if _rows_tell(graph) else {},
    )


def _partner(rung: Rung, climbed: Sequence[Rung], report: LadderReport) -> Rung:
    """The same file in the first runtime, else the student in full precision, else the first rung."""
    passing = {entry.name for entry in report.rungs if entry.passes} | {report.reference}
    below = [entry for entry in climbed if entry.name in passing and entry.name != rung.name]
    same = [entry for entry in below if entry.model == rung.model and entry.model is not None]
    whole = [entry for entry in below if entry.model is not None and entry.precision == "fp32"]
    return next(iter([*same, *whole, *below]))


def _seen(rung: Rung, frames: Frames, given: Sequence[Values] | None = None) -> _Seen:
    opened = rung.open()
    with opened.engine as engine:
        samples = frames.samples(opened.contract, rung.name)
        if rung.vehicle is not None:
            feeds: Sequence[Values] = replay_samples(opened, samples, frames.lidar, rung.vehicle).feeds
        else:
            feeds = [pipeline_of(opened, sample, frames.lidar).prepare(sample.frame) for sample in samples]
        outputs = [engine(feed) for feed in (feeds if given is None else given)]
        return _Seen(opened.contract, feeds, outputs)


def _inside(partner: Rung, rung: Rung, feeds: Sequence[Values]) -> tuple[GraphReport | None, str]:
    for entry in (partner, rung):
        if entry.model is None or entry.runtime not in _TAPPED:
            return None, f"{entry.name} shows no tensor inside"
    assert partner.model is not None
    assert rung.model is not None
    if (partner.model, partner.runtime) == (rung.model, rung.runtime):
        return None, "both run the same file"
    try:
        graphs = read_graph(partner.model), read_graph(rung.model)
        rounding = rounding_between(partner.precision, rung.precision)
        if partner.runtime != rung.runtime:
            feeds = [_without_nan(feed) for feed in feeds]
        return compare_graphs(*graphs, feeds, rounding, (partner.runtime, rung.runtime)), ""
    except UnderstudyError as error:
        return None, str(error)


def _rows_tell(graph: GraphReport | None) -> bool:
    """Whether outputs are to be compared row by row: not where a tensor tells more, or rounding swaps the rows."""
    return graph is None or (graph.first is None and graph.floor_db == FLOORS_DB["exact"])


def _without_nan(feed: Values) -> Values:
    """Runtimes compare NaN with numbers differently (OpenVINO's `>=` says yes), which is masked later: no departure."""
    points = feed.get("points")
    return feed if points is None else {**feed, "points": points[np.isfinite(points).all(axis=1)]}


def _differences(wanted: Sequence[Values], found: Sequence[Values]) -> dict[str, str]:
    names = dict.fromkeys(name for values in (*wanted, *found) for name in values)
    return {name: _difference([v.get(name) for v in wanted], [v.get(name) for v in found]) for name in names}


def _difference(wanted: Sequence[NDArray[Any] | None], found: Sequence[NDArray[Any] | None]) -> str:
    """How an input differs in the first frame in which it does; empty where it never does."""
    for right, judged in zip(wanted, found, strict=True):
        if right is None or judged is None:
            return "only one of the two has it"
        if right.shape != judged.shape:
            return f"shape {judged.shape}, not {right.shape}"
        if not np.array_equal(right, judged, equal_nan=right.dtype.kind == "f"):
            gap = np.nanmax(np.abs(judged.astype(np.float64) - right.astype(np.float64)))
            ratio = _ratio(right, judged)
            return f"differs by up to {gap:.4g}" + (f", {ratio:.4g} times as large" if ratio else "")
    return ""


def _ratio(right: NDArray[Any], judged: NDArray[Any]) -> float | None:
    """The one factor between two arrays, where it is one."""
    valid = np.isfinite(right) & np.isfinite(judged) & (np.abs(right) > 1e-6)
    if not valid.any():
        return None
    ratios = judged[valid].astype(np.float64) / right[valid]
    middle = float(np.median(ratios))
    return middle if np.allclose(ratios, middle, rtol=1e-3) else None


def _contract_differences(right: Contract, judged: Contract) -> list[str]:
    if right.class_names != judged.class_names:
        return [f"classes {', '.join(judged.class_names)}, not {', '.join(right.class_names)}"]
    pairs = zip(right.classes, judged.classes, strict=True)
    found = [
        f"threshold of {a.name} {b.score_threshold:g}, not {a.score_threshold:g}"
        for a, b in pairs
        if a.score_threshold != b.score_threshold
    ]
    if right.grid != judged.grid:
        found.append("another grid")
    return found


def _output_differences(wanted: Sequence[Values], found: Sequence[Values]) -> dict[str, str]:
    """On the same feeds, row by row, those of the partner that have a score; boxes column by column.

    Boxes are left out where the two do not rank the same candidates alike: their rows are other objects.
    """
    gaps: dict[str, float] = {}
    for right, judged in zip(wanted, found, strict=True):
        scores = right["scores"]
        rows = np.flatnonzero(scores > 0.05 * float(scores.max(initial=0.0)))
        are_ranked_alike = _are_ranked_alike(scores[rows], judged["scores"][rows])
        for name in right if are_ranked_alike else ("scores",):
            for key, gap in _column_gaps(name, right[name][rows], judged[name][rows]):
                gaps[key] = max(gaps.get(key, 0.0), gap)
    return {name: f"by {gap:.3g}" if gap > _ROUNDED else "" for name, gap in gaps.items()}


def _are_ranked_alike(scores: NDArray[Any], others: NDArray[Any]) -> bool:
    """Whether nine in ten rows have nearly the same score."""
    return len(scores) > 0 and float((np.abs(scores - others) < _RANK_TOLERANCE).mean()) >= 0.9


def _column_gaps(name: str, wanted: NDArray[Any], found: NDArray[Any]) -> Iterator[tuple[str, float]]:
    """What a quarter of the rows differs by at least, of an output, or of each of its columns where it holds boxes."""
    difference = np.abs(found.astype(np.float64) - wanted.astype(np.float64)).reshape(len(wanted), -1)
    columns = [f"{name}.{column}" for column in _COLUMNS] if difference.shape[1] == len(_COLUMNS) else [name]
    for key, gap in zip(columns, difference.T, strict=True):
        yield key, float(np.percentile(np.nan_to_num(gap, nan=np.inf), 75, method="lower")) if len(gap) else 0.0
