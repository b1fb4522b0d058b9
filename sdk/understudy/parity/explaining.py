"""Where a rung's departure comes from: its feeds, its thresholds, the first departing tensor inside, or its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from understudy.bundle.manifest import Contract
from understudy.configuration import Config
from understudy.errors import UnderstudyError
from understudy.parity.departing import GraphReport, compare_graphs, rounding_between
from understudy.parity.ladder import Frames, LadderReport, pipeline_of
from understudy.parity.replayed import replay_samples
from understudy.parity.rungs import Rung
from understudy.parity.taps import read_graph

MOST_FRAMES = 2
_TAPPED = ("onnxruntime", "openvino")
_COLUMNS = ("x", "y", "z", "length", "width", "height", "yaw")

Values = Mapping[str, NDArray[Any]]


class Explanation(Config):
    """Why a rung departs from another one."""

    rung: str
    partner: str
    """The rung that it is held against: the nearest one below that passes."""
    feeds: dict[str, str]
    """By input of the engine, how it differs; empty text where it is the same."""
    contract: tuple[str, ...]
    """What differs in classes and thresholds."""
    graph: GraphReport | None = None
    outside: str = ""
    """Why nothing was compared inside, where it was not."""
    outputs: dict[str, str] = Field(default_factory=dict)
    """By output of the engine, how it differs on the same feeds."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a rung was fed and, fed with the partner's feeds, said."""

    contract: Contract
    feeds: Sequence[Values]
    outputs: Sequence[Values]


def explain(rungs: Sequence[Rung], report: LadderReport, frames: Frames) -> Explanation | None:
    """Looks into the first departing rung; None when there is none.

    Raises:
        UnderstudyError: when the rung it is held against cannot be run any more.
    """
    departing = report.first_departing
    if departing is None:
        return None
    by_name = {rung.name: rung for rung in rungs}
    rung = by_name[departing.name]
    partner = _partner(rung, [entry for entry in rungs if not entry.skipped], report)
    few = Frames(frames.dataset, frames.numbers[:MOST_FRAMES], frames.lidar)
    right = _seen(partner, few)
    try:
        judged = _seen(rung, few, right.feeds)
    except UnderstudyError as error:
        return Explanation(rung=rung.name, partner=partner.name, feeds={}, contract=(), outside=f"refused: {error}")
    graph, outside = _inside(partner, rung, right.feeds)
    return Explanation(
        rung=rung.name,
        partner=partner.name,
        feeds=_differences(right.feeds, judged.feeds),
        contract=tuple(_contract_differences(right.contract, judged.contract)),
        graph=graph,
        outside=outside,
        outputs=_output_differences(right.outputs, judged.outputs),
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
        return compare_graphs(*graphs, feeds, rounding, (partner.runtime, rung.runtime)), ""
    except UnderstudyError as error:
        return None, str(error)


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
    """On the same feeds, row by row, those of the partner that have a score; boxes column by column."""
    gaps: dict[str, float] = {}
    for right, judged in zip(wanted, found, strict=True):
        rows = right["scores"] > 0.05 * float(right["scores"].max(initial=0.0))
        for name, values in right.items():
            if judged[name].shape != values.shape:
                continue
            difference = np.abs(judged[name][rows].astype(np.float64) - values[rows])
            columns = _COLUMNS if difference.ndim == 2 and difference.shape[1] == len(_COLUMNS) else ("",)
            for label, gap in zip(columns, difference.reshape(len(difference), -1).T, strict=False):
                key = f"{name}.{label}" if label else name
                gaps[key] = max(gaps.get(key, 0.0), float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0)))
    return {name: f"up to {gap:.3g}" if gap > 1e-4 else "" for name, gap in gaps.items()}
