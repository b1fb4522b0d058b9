"""Checks a data set: every file read, every label looked at, every split against the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from understudy.converters.class_maps import ClassChoice
from understudy.datasets.dataset import Dataset, Sequential
from understudy.datasets.opening import EVERYTHING, open_dataset
from understudy.datasets.selection import spread_evenly
from understudy.errors import InputError, MissingSplit, UnderstudyError
from understudy.progress import Track, silent
from understudy_training.data.drive_rules import Trace, between_splits, within_split
from understudy_training.data.findings import CheckReport, Finding
from understudy_training.data.sample_rules import SAMPLE_RULES

USUAL_SPLITS = (("train", "val", "test"), ("mini_train", "mini_val"))
"""Splits that must be apart, by the names that data sets give them."""


def check_dataset(
    path: Path,
    splits: Sequence[str] = (),
    *,
    classes: ClassChoice | None = None,
    num_frames: int | None = None,
    images: bool = True,
    track: Track = silent,
) -> CheckReport:
    """Reads a data set through and says what is wrong with it; one broken file never hides the next.

    Args:
        path: the data set.
        splits: which to read and to hold against each other; none named takes the usual ones that it has, or all.
        classes: which labels to look at; None is our four classes.
        num_frames: frames of each split, spread evenly; None takes all.
        images: decode the pictures too.
        track: shows progress.

    Raises:
        InputError: when the folder is no data set, a split that was named is missing, or there is nothing to read.
    """
    if num_frames is not None and num_frames < 1:
        raise InputError("frames to check", found=num_frames, wanted="at least 1")
    opened = _opened(path, splits, classes)
    findings: list[Finding] = []
    traces: dict[str, list[Trace]] = {}
    for split, dataset in opened.items():
        traces[split] = []
        findings += _read_through(split, dataset, traces[split], num_frames, images, track)
        findings += within_split(split, traces[split])
    if not splits:
        findings += _in_no_split(path, opened, classes)
    for first, second in combinations(opened, 2):
        findings += between_splits(first, traces[first], second, traces[second])
    counts = {split: len(members) for split, members in traces.items()}
    return CheckReport(data=f"{path}", splits=counts, findings=tuple(findings))


def _opened(path: Path, splits: Sequence[str], classes: ClassChoice | None) -> dict[str, Dataset]:
    if splits:
        return {split: open_dataset(path, split, classes) for split in splits}
    everything = open_dataset(path, EVERYTHING, classes)
    for names in USUAL_SPLITS:
        found = {name: dataset for name in names if (dataset := _open_if_there(path, name, classes)) is not None}
        if found:
            return found
    return {EVERYTHING: everything}


def _open_if_there(path: Path, split: str, classes: ClassChoice | None) -> Dataset | None:
    try:
        return open_dataset(path, split, classes)
    except MissingSplit:
        return None


def _in_no_split(path: Path, opened: dict[str, Dataset], classes: ClassChoice | None) -> Iterator[Finding]:
    total = len(open_dataset(path, EVERYTHING, classes))
    missing = total - sum(len(dataset) for dataset in opened.values())
    if missing > 0:
        message = f"{missing} of {total} frames stand in none of {', '.join(opened)}, and were not read"
        yield Finding(severity="note", rule="frames in no split", split="", key="", message=message)


def _read_through(
    split: str, dataset: Dataset, traces: list[Trace], num_frames: int | None, images: bool, track: Track
) -> Iterator[Finding]:
    """Reads the samples; leaves a trace of each that can be read."""
    numbers = spread_evenly(len(dataset), len(dataset) if num_frames is None else num_frames)
    for number in track(numbers, f"reading {split}", len(numbers)):
        try:
            place = dataset.place(number) if isinstance(dataset, Sequential) else None
            sample = dataset[number]
        except UnderstudyError as error:
            key = f"frame {number}"
            yield Finding(severity="error", rule="cannot be read", split=split, key=key, message=str(error))
            continue
        traces.append(Trace.of(sample, place))
        for rule in SAMPLE_RULES:
            for message in rule.messages(sample):
                yield Finding(severity=rule.severity, rule=rule.name, split=split, key=sample.key, message=message)
        for name in sample.frame.images if images else ():
            try:
                sample.frame.images[name]
            except UnderstudyError as error:
                where = f"{sample.key} {name}"
                yield Finding(severity="error", rule="cannot be read", split=split, key=where, message=str(error))
