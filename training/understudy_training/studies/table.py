"""A study's ledger as text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterator

from understudy_training.studies.comparing import Difference, MethodResult, StudentResult, compare
from understudy_training.studies.records import ALL_CLASSES, StudyLedger, StudyRow

COLUMNS = 100
_NAME, _CELL = 23, 11
_PER_BLOCK = (COLUMNS - _NAME) // _CELL


def describe_study(ledger: StudyLedger) -> Iterator[str]:
    """For each student its methods by falling gain; then classes and ranges; then what can be said of all."""
    evaluated = f"AP in % over {ledger.num_frames} frames"
    yield f"study {ledger.name}: {len(ledger.rows)} of {ledger.planned} networks, {evaluated}"
    for teacher in [row for row in ledger.rows if row.part == "teacher"]:
        costs = f"{teacher.parameters / 1e6:.2f} M parameters, {teacher.gmacs:.2f} GMAC"
        yield f"  {teacher.label}: mean AP in 3D {number(overall_ap(ledger, teacher))}, {costs}"[:COLUMNS]
    students = compare(ledger)
    for student in students:
        yield ""
        yield from _student(ledger, student)
    yield ""
    yield from conclusions(students)
    yield from (f"failed: {name}: {error}" for name, error in ledger.failures.items())


def overall_ap(ledger: StudyLedger, row: StudyRow) -> float | None:
    """Mean average precision in 3D over the whole range."""
    return row.ap_percent["3d"][ledger.overall].get(ALL_CLASSES)


def headline(ledger: StudyLedger, student: StudentResult) -> str:
    """What the student is, and what it does without a teacher."""
    means = [mean for row in student.control.values() if (mean := overall_ap(ledger, row)) is not None]
    costs = f"{student.parameters / 1e6:.2f} M parameters, {student.gmacs:.2f} GMAC"
    if not means:
        return f"{student.student}: {costs}; no control yet"
    spread = "" if student.noise is None else f", standard deviation {student.noise:.1f}"
    control = f"control {sum(means) / len(means):.1f} over {len(means)} seeds{spread}"
    return f"{student.student}: {costs}; {control}"


def conclusions(students: tuple[StudentResult, ...]) -> Iterator[str]:
    """How many methods were tried, how many of them pass, and whether what must not help does not."""
    results = [each for student in students for each in student.results]
    tried = [each for each in results if each.part == "method" and each.overall and each.overall.interval]
    shown = [each for each in tried if each.verdict == "gain shown"]
    strict = [each for each in tried if each.holds_for_all]
    counted = f"{len(shown)} show a gain by themselves, {len(strict)} when all are counted (Holm)"
    yield f"{len(tried)} comparisons with an interval: {counted}"
    lucky = f"of {len(tried)} that do nothing, {0.025 * len(tried):.1f} would show one by luck"
    yield f"{lucky}; classes and ranges are not adjusted"
    for each in [each for each in results if each.part in ("shuffled", "random")]:
        warning = ": DO NOT BELIEVE THE OTHERS" if each.verdict == "gain shown" else ", as it must be"
        yield f"{each.student} {each.label}: {each.verdict}{warning}"
    if any(each.mixed for each in results):
        yield "* some pairs were computed in different precisions or on different devices"


def number(value: float | None, digits: int = 1, sign: str = "") -> str:
    """A number or a dash."""
    return "-" if value is None else f"{value:{sign}.{digits}f}"


def spread_of(found: Difference | None) -> str:
    """A difference as "+1.2 ±3.4", its interval's half width behind it."""
    if found is None:
        return "-"
    if found.interval is None:
        return f"{found.mean:+.1f}"
    return f"{found.mean:+.1f} ±{(found.interval[1] - found.interval[0]) / 2:.1f}"


def interval_of(found: Difference | None) -> str:
    """The interval as "-1.2 to +3.4"."""
    return "-" if found is None or found.interval is None else f"{found.interval[0]:+.1f} to {found.interval[1]:+.1f}"


def probability(value: float | None) -> str:
    """A p-value with as many digits as matter."""
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 else "<0.001"


def _student(ledger: StudyLedger, student: StudentResult) -> Iterator[str]:
    yield headline(ledger, student)[:COLUMNS]
    numbers = f"{'AP':>6s}{'gain':>7s}{'95 % interval':>17s}{'seeds':>6s}{'Holm p':>8s}"
    yield f"{'method':26s}{numbers}{'CPU':>7s}{'labels':>8s}  verdict"
    for result in student.results:
        yield _row(result)[:COLUMNS]
    for block in _blocks(student):
        yield ""
        yield f"{'gain':{_NAME}s}{''.join(f'{name[: _CELL - 1]:>{_CELL}s}' for name in block)}"
        for result in student.results:
            found = result.by_class | {f"{name} m": each for name, each in result.by_range.items()}
            cells = "".join(f"{spread_of(found.get(name)).replace(' ', ''):>{_CELL}s}" for name in block)
            yield f"{result.label[:_NAME]:{_NAME}s}{cells}"


def _blocks(student: StudentResult) -> Iterator[list[str]]:
    """Names of classes and ranges, as many as fit beside each other."""
    if not student.results:
        return
    first = student.results[0]
    names = [*first.by_class, *(f"{name} m" for name in first.by_range)]
    for start in range(0, len(names), _PER_BLOCK):
        yield names[start : start + _PER_BLOCK]


def _row(result: MethodResult) -> str:
    overall = result.overall
    numbers = f"{number(result.ap_percent):>6s}{number(overall.mean if overall else None, sign='+'):>7s}"
    seeds = len(overall.by_seed) if overall else 0
    ratio = "-" if result.cpu_ratio is None else f"{result.cpu_ratio:.2f}x"
    costs = f"{seeds:>6d}{probability(result.holm_p):>8s}{ratio:>7s}{result.labels:>8d}"
    name = f"{result.label[:25]}{'*' if result.mixed else ''}"
    return f"{name:26s}{numbers}{interval_of(overall):>17s}{costs}  {result.verdict}"
