"""What a study may say: differences to the control of the same seed, their intervals, and how many were tried.

The primary comparison is the mean average precision in 3D over the whole range, named before any result was seen.
"gain shown" is said when its whole 95 % interval (Student's t over the seeds) lies above zero. Of many methods that do
nothing, one in forty passes that by luck; so each is also given the p-value that Holm's procedure makes of all
comparisons of the study (S. Holm, "A simple sequentially rejective multiple test procedure", 1979).
Classes and ranges are not adjusted: they describe a gain, they do not show one.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

from understudy.metrics.matching import Overlap
from understudy_training.ledger import PRIMARY, t_interval
from understudy_training.studies.records import ALL_CLASSES, StudyLedger, StudyRow
from understudy_training.studies.study_file import CONTROL

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """Student minus control, paired by seed.

    Attributes:
        by_seed: percent points.
        mean: of them.
        interval: 95 %; None from one seed.
        p_value: two-sided, of a mean of zero; None from one seed.
    """

    by_seed: dict[int, float]
    mean: float
    interval: tuple[float, float] | None
    p_value: float | None

    @property
    def shows_gain(self) -> bool:
        """Whether the interval lies above zero."""
        return self.interval is not None and self.interval[0] > 0


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What a method did to a student.

    Attributes:
        student: whose.
        label: of the method.
        part: "method", or one of the two that must not help.
        teacher: who taught.
        ap_percent: mean over its seeds.
        overall: the primary comparison; None without a pair.
        from_above: the same from above.
        by_class: whole range, by class.
        by_range: mean over classes, by range.
        cpu_ratio: processor time over the control's of the same seed, mean; None where it is not known.
        labels: labelled frames.
        mixed: some pair was computed in different precisions or on different devices.
        holm_p: adjusted for all methods of the study; None for what must not help, and from one seed.
    """

    student: str
    label: str
    part: str
    teacher: str
    ap_percent: float | None
    overall: Difference | None
    from_above: Difference | None
    by_class: dict[str, Difference | None]
    by_range: dict[str, Difference | None]
    cpu_ratio: float | None
    labels: int
    mixed: bool
    holm_p: float | None = None

    @property
    def verdict(self) -> str:
        """`gain shown` or `no gain shown`, not adjusted."""
        return "gain shown" if self.overall is not None and self.overall.shows_gain else "no gain shown"

    @property
    def holds_for_all(self) -> bool:
        """Whether the gain is still shown when all methods that were tried are counted."""
        return self.verdict == "gain shown" and self.holm_p is not None and self.holm_p < LEVEL


@dataclass(frozen=True, eq=False)
class StudentResult:
    """A student and everything that was tried on it.

    Attributes:
        student: its name.
        control: rows by seed.
        results: by falling mean difference; what must not help comes last.
        parameters: of the student.
        gmacs: of the student.
        noise: standard deviation of the control's mean average precision over seeds; None from one.
    """

    student: str
    control: dict[int, StudyRow]
    results: tuple[MethodResult, ...]
    parameters: int
    gmacs: float
    noise: float | None


def compare(ledger: StudyLedger) -> tuple[StudentResult, ...]:
    """The comparisons of a ledger, student by student."""
    names = list(dict.fromkeys(row.student for row in ledger.rows if row.student))
    results = {name: [_result(ledger, name, label) for label in _labels(ledger, name)] for name in names}
    planned = len(ledger.methods) * len(names)
    adjusted = _adjusted([result for name in names for result in results[name]], planned)
    return tuple(_student(ledger, name, [adjusted[name, each.label] for each in results[name]]) for name in names)


def difference(students: dict[int, float | None], controls: dict[int, float | None]) -> Difference | None:
    """Paired over the seeds that have both; None without any."""
    pairs = {seed: (students[seed], controls[seed]) for seed in sorted(students.keys() & controls.keys())}
    by_seed = {seed: own - other for seed, (own, other) in pairs.items() if own is not None and other is not None}
    if not by_seed:
        return None
    values = list(by_seed.values())
    return Difference(by_seed, statistics.fmean(values), t_interval(values), paired_p(values))


def paired_p(values: list[float]) -> float | None:
    """Two-sided p-value of Student's t that the mean is zero; None from fewer than two values."""
    if len(values) < 2:
        return None
    spread, mean = statistics.stdev(values), statistics.fmean(values)
    if spread == 0:
        return 1.0 if mean == 0 else 0.0
    return outside_t(abs(mean) / (spread / math.sqrt(len(values))), len(values) - 1)


def outside_t(t: float, freedom: int) -> float:
    """Probability that Student's t is farther from zero than `t`.

    Source: M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2 == 1
    term = total = cosine if odd else 1.0
    if freedom == 1:
        total = 0.0
    for step in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (step - 1) / step
        total += term
    inside = 2 * (angle + sine * total) / math.pi if odd else sine * total
    return min(max(1 - inside, 0.0), 1.0)


def holm(p_values: list[float], comparisons: int = 0) -> list[float]:
    """Holm's adjusted p-values, in the given order.

    Args:
        p_values: of the comparisons that were made.
        comparisons: how many are planned, when that is more: those still to come count as if they came last.
    """
    comparisons = max(comparisons, len(p_values))
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (comparisons - rank) * p_values[number]))
        adjusted[number] = largest
    return adjusted


def _adjusted(results: list[MethodResult], planned: int) -> dict[tuple[str, str], MethodResult]:
    by_name = {(each.student, each.label): each for each in results}
    tested = {
        name: each.overall.p_value
        for name, each in by_name.items()
        if each.part == "method" and each.overall is not None and each.overall.p_value is not None
    }
    for name, p_value in zip(tested, holm([*tested.values()], planned), strict=True):
        by_name[name] = replace(by_name[name], holm_p=p_value)
    return by_name


def _labels(ledger: StudyLedger, student: str) -> list[str]:
    labels = [row.label for row in ledger.rows if row.student == student and row.label != CONTROL]
    return list(dict.fromkeys(labels))


def _student(ledger: StudyLedger, student: str, results: list[MethodResult]) -> StudentResult:
    control = _rows(ledger, student, CONTROL)
    means = [mean for row in control.values() if (mean := _ap(ledger, row)) is not None]
    any_row = next(row for row in ledger.rows if row.student == student)

    def place(result: MethodResult) -> tuple[bool, float]:
        return result.part != "method", -math.inf if result.overall is None else -result.overall.mean

    return StudentResult(
        student=student,
        control=control,
        results=tuple(sorted(results, key=place)),
        parameters=any_row.parameters,
        gmacs=any_row.gmacs,
        noise=statistics.stdev(means) if len(means) > 1 else None,
    )


def _rows(ledger: StudyLedger, student: str, label: str) -> dict[int, StudyRow]:
    return {row.seed: row for row in ledger.rows if (row.student, row.label) == (student, label)}


def _ap(
    ledger: StudyLedger, row: StudyRow, overlap: Overlap = PRIMARY, within: str = "", name: str = ALL_CLASSES
) -> float | None:
    return row.ap_percent[overlap][within or ledger.overall].get(name)


def _result(ledger: StudyLedger, student: str, label: str) -> MethodResult:
    rows, controls = _rows(ledger, student, label), _rows(ledger, student, CONTROL)
    first = next(iter(rows.values()))

    def between(overlap: Overlap = PRIMARY, within: str = "", name: str = ALL_CLASSES) -> Difference | None:
        own, other = ({seed: _ap(ledger, row, overlap, within, name) for seed, row in of.items()} for of in sides)
        return difference(own, other)

    sides = (rows, controls)
    ranges = list(first.ap_percent[PRIMARY])
    means = [mean for row in rows.values() if (mean := _ap(ledger, row)) is not None]
    return MethodResult(
        student=student,
        label=label,
        part=first.part,
        teacher=first.teacher,
        ap_percent=statistics.fmean(means) if means else None,
        overall=between(),
        from_above=between("bev"),
        by_class={name: between(name=name) for name in ledger.class_names},
        by_range={within: between(within=within) for within in ranges[1:]},
        cpu_ratio=_cpu_ratio(rows, controls),
        labels=first.labels,
        mixed=any(_computed(rows[seed]) != _computed(controls[seed]) for seed in rows.keys() & controls.keys()),
    )


def _computed(row: StudyRow) -> tuple[str, str]:
    return row.precision, row.device


def _cpu_ratio(rows: dict[int, StudyRow], controls: dict[int, StudyRow]) -> float | None:
    pairs = [(rows[seed].cpu_s, controls[seed].cpu_s) for seed in rows.keys() & controls.keys()]
    ratios = [own / other for own, other in pairs if own and other]
    return statistics.fmean(ratios) if ratios else None
