"""A part of a data set to look at: pictures, a bag for Foxglove and RViz, or a Rerun recording."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from understudy.datasets.dataset import Dataset
from understudy.datasets.selection import spread_evenly
from understudy.errors import InputError
from understudy.progress import Track, silent
from understudy_training.data.pictures import write_picture


def chosen(dataset: Dataset, part: str) -> list[int]:
    """Numbers of samples from `first:after`, or so many spread evenly from a plain number.

    Raises:
        InputError: when it is neither, or chooses nothing.
    """
    match = re.fullmatch(r"(\d+)|(\d*):(\d*)", part)
    if match is None:
        raise InputError("--frames", found=part, wanted="a count as 5, or numbers as 10:20, 10: or :20")
    if match[1] is not None:
        numbers = spread_evenly(len(dataset), int(match[1]))
    else:
        first, after = (int(end) if end else None for end in (match[2], match[3]))
        numbers = list(range(len(dataset))[first:after])
    if not numbers:
        raise InputError("--frames", found=f"{part} of {len(dataset)} samples", wanted="at least one")
    return numbers


def write_pictures(
    dataset: Dataset, numbers: Sequence[int], out: Path, range_m: float, track: Track = silent
) -> list[Path]:
    """One PNG a sample, named by its key.

    Raises:
        InputError: when a sample cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in track(numbers, "drawing", len(numbers)):
        sample = dataset[number]
        name = re.sub(r"[^\w.-]+", "_", sample.key)
        paths.append(out / f"{name}.png")
        write_picture(paths[-1], sample, range_m)
    return paths
