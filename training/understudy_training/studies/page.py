"""The page of one or several studies: tables, a forest plot for each student, and what may be said."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from understudy.errors import InputError
from understudy_training.label_free.ledger import (
    LabelFreeLedger,
    label_free_section,
    read_label_free_ledger,
)
from understudy_training.studies.comparing import MethodResult, StudentResult, compare
from understudy_training.studies.figures import draw_forest
from understudy_training.studies.records import StudyLedger, read_study_ledger
from understudy_training.studies.table import (
    conclusions,
    headline,
    interval_of,
    number,
    overall_ap,
    probability,
    spread_of,
)

_HOW_TO_READ = """
A row is a way of teaching; its gain is student minus control *of the same seed*: same initial weights, frames, order,
augmentation and number of steps (on other data within 5 %), no teacher. The interval is Student's t over the seeds,
95 %. "gain shown" is said only when all of it lies above zero. "Holm p" is the p-value with all comparisons of a
study counted: below 0.05 a gain holds although so many methods were tried. Classes and ranges are not adjusted; they
describe a gain, they do not show one. A teacher whose answers are shuffled, and one that was never trained, must not
help. CPU is the processor time of the training over the control's, with the teacher's answers on disk; asking it once
is not in it, nor its own training. Labels are the labeled frames behind a student, those that made labels for it
included. Adapters stay behind: all rows of a student have its parameters and multiply-accumulates.
"""


def read_for_page(path: Path) -> StudyLedger | LabelFreeLedger:
    """A ledger that a page can show: of a study, whose folder stands for it, or of training without labels.

    Raises:
        InputError: when the file is missing or is neither.
    """
    return read_label_free_ledger(path) or read_study_ledger(path)


def write_page(ledgers: Sequence[StudyLedger | LabelFreeLedger], out: Path, images: Path, command: str) -> list[Path]:
    """Writes the page and its pictures; returns all files.

    Args:
        ledgers: one for each study, or of training without labels.
        out: Markdown file.
        images: folder of the pictures.
        command: what the page says it is made by.

    Raises:
        InputError: when two studies have the same name, one has nothing to show, or a file cannot be written.
    """
    studies = [ledger.name for ledger in ledgers]
    if len(set(studies)) < len(studies):
        raise InputError("ledger report", found="two studies of the same name", wanted="different ones")
    lines, written = ["# The ledger: what each way of teaching gains", ""], [out]
    lines += [f"Made by `{command}`; do not edit.", _HOW_TO_READ]
    for ledger in ledgers:
        if isinstance(ledger, LabelFreeLedger):
            lines += label_free_section(ledger)
            continue
        pictures = {
            student.student: images / f"ledger-{ledger.name}-{student.student}.png" for student in compare(ledger)
        }
        written += pictures.values()
        lines += _study(ledger, pictures, out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}", found=error.strerror, wanted="a file that can be written") from error
    return written


def _study(ledger: StudyLedger, pictures: dict[str, Path], out: Path) -> Iterator[str]:
    students = compare(ledger)
    if not students:
        raise InputError(f"study {ledger.name}", found="no network yet", remedy="understudy ledger run")
    yield f"## {ledger.name}"
    yield ""
    evaluated = f"evaluated on {ledger.num_frames} frames (data `{ledger.data['eval'][:12]}`)"
    yield f"{len(ledger.rows)} of {ledger.planned} networks; {evaluated}."
    for row in [row for row in ledger.rows if row.part == "teacher"]:
        costs = f"{row.parameters / 1e6:.2f} M parameters, {row.gmacs:.2f} GMAC, {row.labels} labeled frames"
        yield f"Teacher `{row.label}`: mean AP in 3D {number(overall_ap(ledger, row))}, {costs}."
    yield ""
    yield from (f"- {line.removeprefix('* ')}" for line in conclusions(students))
    yield from (f"- failed: {name}: {error}" for name, error in ledger.failures.items())
    yield ""
    for student in students:
        yield from _student(ledger, student, pictures[student.student], out)


def _student(ledger: StudyLedger, student: StudentResult, picture: Path, out: Path) -> Iterator[str]:
    title = headline(ledger, student)
    yield f"### {title.split(':')[0]}"
    yield ""
    yield f"{title.split(': ', 1)[1]}."
    yield ""
    if any(result.overall is not None for result in student.results):
        draw_forest(student, picture, f"{ledger.name}: {title}")
        place = Path(os.path.relpath(picture, out.parent)).as_posix()
        yield f"![gains of {student.student}]({place})"
        yield ""
    yield from _table(
        ("method", "teacher", "AP", "gain", "95 %", "from above", "seeds", "Holm p", "CPU", "labels", "verdict"),
        [_overall(result, ledger) for result in student.results],
    )
    if student.results:
        first = student.results[0]
        yield from _table(
            ("gain, ± half of the interval", *first.by_class, *(f"{name} m" for name in first.by_range)),
            [_details(result) for result in student.results],
        )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _overall(result: MethodResult, ledger: StudyLedger) -> tuple[str, ...]:
    overall, source = result.overall, ledger.methods.get(result.label, "")
    return (
        f"{result.label}{'*' if result.mixed else ''}{f' ({source})' if source else ''}",
        result.teacher or "none",
        number(result.ap_percent),
        number(overall.mean if overall else None, sign="+"),
        interval_of(overall),
        spread_of(result.from_above),
        str(len(overall.by_seed) if overall else 0),
        probability(result.holm_p),
        "-" if result.cpu_ratio is None else f"{result.cpu_ratio:.2f}x",
        str(result.labels),
        f"**{result.verdict}**" if result.verdict == "gain shown" else result.verdict,
    )


def _details(result: MethodResult) -> tuple[str, ...]:
    found = (*result.by_class.values(), *result.by_range.values())
    return (result.label, *(spread_of(each) for each in found))
