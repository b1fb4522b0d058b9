"""Pretending that a part of the drives is labeled: what semi-supervised training is measured with."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path

import numpy as np

from understudy.datasets.dataset import Dataset, Sequential
from understudy.datasets.relabeled import (
    DriveRole,
    LabelsUsed,
    RelabeledDescription,
    Role,
    write_relabeled,
)
from understudy.errors import InputError
from understudy.progress import Track, silent


def share_labels(
    dataset: Dataset,
    source: Path,
    out: Path,
    *,
    split: str | None,
    share: float,
    held_out: float = 0.25,
    seed: int = 0,
    track: Track = silent,
) -> RelabeledDescription:
    """Writes a description of the data in which a share of the drives keeps its labels.

    Whole drives, because objects are gathered over them. Drives without any labels stay without; where some drives have
    none, `share` may be 1.

    Args:
        dataset: the source's split.
        source: its folder.
        out: folder to make.
        split: the source's split that `dataset` is.
        share: part of the labeled drives that keep their labels, (0, 1].
        held_out: part of those that is kept apart to choose thresholds by, at least one drive.
        seed: chooses the drives.
        track: progress.

    Raises:
        InputError: when the data set does not tell which samples follow each other, or fewer than two drives are left.
    """
    if not 0 < share <= 1 or not 0 < held_out < 1:
        raise InputError("share of labels", found=f"{share}, {held_out} of it held out", wanted="parts of 1")
    drives = drives_of(dataset)
    labeled = [number for number, drive in enumerate(drives) if _is_labeled(dataset, drive)]
    num_kept = round(share * len(labeled))
    if num_kept < 2:
        found, wanted = f"{num_kept} of {len(labeled)} labeled drives", "two: one to learn from, one to judge by"
        raise InputError("share of labels", found=found, wanted=wanted, remedy="take a larger --share")
    kept = np.random.default_rng(seed).permutation(labeled)[:num_kept].tolist()
    apart = set(kept[: min(max(round(held_out * num_kept), 1), num_kept - 1)])
    roles: list[Role] = [_role(number, set(kept), apart) for number in range(len(drives))]
    used = [drive for drive, role in zip(drives, roles, strict=True) if role != "unlabeled"]
    description = RelabeledDescription(
        source=os.path.relpath(source.resolve(), out.resolve()),
        source_split=split,
        source_frames=len(dataset),
        source_fingerprint=dataset.fingerprint,
        class_names=dataset.class_names,
        drives=tuple(drive.model_copy(update={"role": role}) for drive, role in zip(drives, roles, strict=True)),
        labels_used=_counted(dataset, used, track),
    )
    write_relabeled(out, description, ())
    return description


def drives_of(dataset: Dataset) -> list[DriveRole]:
    """The drives of a data set, in its order, all as unlabeled.

    Raises:
        InputError: when it does not tell which samples follow each other, or a drive's samples do not.
    """
    if not isinstance(dataset, Sequential):
        found = f"{type(dataset).__name__}, which does not tell which samples follow each other"
        raise InputError("share of labels", found=found, wanted="a data set of drives")
    drives, first = [], 0
    for name, samples in groupby(range(len(dataset)), lambda index: dataset.place(index).drive):
        count = len(list(samples))
        drives.append(DriveRole(name=name, role="unlabeled", first=first, num_frames=count))
        first += count
    return drives


def _is_labeled(dataset: Dataset, drive: DriveRole) -> bool:
    return dataset[drive.first].boxes is not None


def _role(number: int, kept: set[int], apart: set[int]) -> Role:
    if number not in kept:
        return "unlabeled"
    return "held_out" if number in apart else "labeled"


def _counted(dataset: Dataset, drives: list[DriveRole], track: Track) -> LabelsUsed:
    indices = [drive.first + frame for drive in drives for frame in range(drive.num_frames)]
    boxes = [dataset[index].boxes for index in track(indices, "counting labels", len(indices))]
    known = [len(part) for part in boxes if part is not None]
    return LabelsUsed(frames=len(known), boxes=sum(known), of_frames=len(dataset))
