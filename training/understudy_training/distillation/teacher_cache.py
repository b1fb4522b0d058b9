"""A frozen teacher: asked anew each step, or once per version of a frame with its answers kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from understudy.datasets.files import BROKEN_ARRAYS
from understudy.errors import InputError
from understudy_training.batches import Batch, Encode, Shown
from understudy_training.distillation.answers import WHOLE_MAPS, Answers, Asked
from understudy_training.distillation.asking import answers_of
from understudy_training.distillation.foreign import ForeignTeacher
from understudy_training.distillation.sampling import POINTS_PER_BOX
from understudy_training.distillation.terms.term import TEACHER
from understudy_training.models.detector import BevDetector

_SAMPLED = ("low", "high")
_BY_BOX = (*_SAMPLED, "valid")
_BY_PILLAR = {"pillars": 0, "pillar_points": 0, "pillar_cells": -1}
"""What differs in length from frame to frame, and what its padding holds."""


_CHANNELS_LAST = frozenset({*WHOLE_MAPS, "camera_map"})
"""Kept as the student's maps lie in memory, to be compared and read by cells without rearranging them."""


class Teacher(Protocol):
    """Answers for a batch, without gradients."""

    @property
    def encode(self) -> Encode | None:
        """Makes its inputs of what was seen, where it must be shown the frames; a batch brings them by its name."""

    def __call__(self, batch: Batch) -> Answers:
        """What the teacher says about exactly the frames of the batch."""


class LiveTeacher:
    """Runs the teacher on every batch: frozen, in evaluation mode, so that nothing in it ever moves."""

    def __init__(
        self,
        detector: BevDetector | ForeignTeacher,
        asked: tuple[Asked, ...],
        *,
        bf16: bool = False,
        name: str = TEACHER,
    ) -> None:
        self.detector = detector.eval().requires_grad_(False)
        self.asked, self.name = asked, name
        self.bf16 = bf16

    @property
    def encode(self) -> Encode:
        """See `Teacher`."""
        return self.detector.collate

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Answers:
        """See `Teacher`."""
        device = batch.boxes.geometry.device
        self.detector.to(device)
        inputs: Any = batch.teachers[self.name].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            outputs = self.detector(inputs)
        return answers_of(outputs, batch.boxes, self.detector.config.grid, self.asked, inputs)


class CachedTeacher:
    """Answers from a folder, asking the live teacher only for what is not there yet.

    One file for each part of what is said about a version of a frame, half precision, npy without pickle: whoever asks
    for some of it, or for more, shares the rest. `shift` answers with what the teacher said about another frame: a
    control that must not help.
    """

    def __init__(self, live: LiveTeacher, folder: Path, *, num_frames: int, shift: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.live, self.folder, self.num_frames, self.shift = live, folder, num_frames, shift
        self._known_parts: tuple[str, ...] = ()

    @property
    def encode(self) -> None:
        """See `Teacher`: it knows what it said."""
        return None

    def __call__(self, batch: Batch) -> Answers:
        """See `Teacher`; whole maps stay in half precision, for a term may look at a few of their cells only.

        Raises:
            InputError: when it was never asked about one of the frames.
        """
        wanted = [Shown((shown.index + self.shift) % self.num_frames, shown.version) for shown in batch.shown]
        stored = [self._read(shown) for shown in wanted]
        return _stack(stored, batch.boxes.geometry.shape[1]).to(batch.boxes.geometry.device)

    def remember(self, batch: Batch) -> None:
        """Asks the teacher about the batch unless all of it is known."""
        if all(self.knows(shown) for shown in batch.shown):
            return
        answers = self.live(batch)
        for row, shown in enumerate(batch.shown):
            self._write(shown, {name: part[row] for name, part in answers.named().items()})

    def knows(self, shown: Shown) -> bool:
        """Whether it was asked about a version of a frame."""
        return bool(self.parts) and all(self._path(shown, name).is_file() for name in self.parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of `Answers` that its asking leads to; nothing before it was asked for the first time."""
        if not self._known_parts and self._parts_file.is_file():
            self._known_parts = tuple(json.loads(self._parts_file.read_text()))
        return self._known_parts

    @property
    def _parts_file(self) -> Path:
        asked = hashlib.sha256(",".join(self.live.asked).encode()).hexdigest()
        return self.folder / f"parts-{asked[:12]}.json"

    def _path(self, shown: Shown, part: str) -> Path:
        return self.folder / f"{shown.index:06d}-{shown.version:04d}.{_file_of(part)}.npy"

    def summary(self) -> str:
        """One line: how much is kept of what is asked for, and where."""
        sizes = [[path.stat().st_size for path in self.folder.glob(f"*.{_file_of(name)}.npy")] for name in self.parts]
        number, total_mib = max(map(len, sizes), default=0), sum(map(sum, sizes)) / 2**20
        place = f"{self.folder.parent.name}/{self.folder.name}"
        each_kib = total_mib * 2**10 / max(number, 1)
        return f"teacher's answers: {number} of {each_kib:.0f} KiB each, {total_mib:.1f} MiB in {place}"

    def _write(self, shown: Shown, parts: dict[str, Tensor]) -> None:
        arrays = {name: _half(part) for name, part in _without_padding(parts).items()}
        arrays = {name: array for name, array in arrays.items() if name not in _SAMPLED or array.shape[-1]}
        arrays |= {name: np.moveaxis(arrays[name], 0, -1) for name in _CHANNELS_LAST & arrays.keys()}
        for name in [name for name in arrays if not self._path(shown, name).is_file()]:
            with _replaced(self._path(shown, name)) as unfinished, unfinished.open("wb") as stream:
                np.save(stream, arrays[name], allow_pickle=False)
        if not self.parts:
            with _replaced(self._parts_file) as unfinished:
                unfinished.write_text(json.dumps([*arrays]))

    def _read(self, shown: Shown) -> dict[str, Tensor]:
        try:
            arrays = {name: self._load(shown, name) for name in self.parts}
        except FileNotFoundError:
            arrays = {}
        if not arrays:
            found = f"nothing about version {shown.version} of frame {shown.index}"
            raise InputError(
                f"teacher's answers in {self.folder}", found=found, wanted="an answer", remedy="ask it again"
            )
        stored = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {name: part if name in WHOLE_MAPS else _single(part) for name, part in stored.items()}

    def _load(self, shown: Shown, part: str) -> NDArray[np.generic]:
        """A part's file; large ones are copied once, into the batch."""
        file, mapped = self._path(shown, part), "c" if part in _CHANNELS_LAST else None
        try:
            array: NDArray[np.generic] = np.load(file, mmap_mode=mapped, allow_pickle=False)  # type: ignore[call-overload]
        except FileNotFoundError:
            raise
        except BROKEN_ARRAYS as error:
            remedy = "delete it; the teacher is asked again"
            raise InputError(f"{file}", found=f"{error}", wanted="a teacher's answer", remedy=remedy) from error
        return array


def cache_key(detector: nn.Module, facts: dict[str, str]) -> str:
    """Name of the folder for a teacher's answers: changes with its weights and with what shapes its input."""
    digest = hashlib.sha256(weights_bytes(detector))
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def weights_bytes(detector: nn.Module) -> bytes:
    """All parameters and buffers in one defined order: equal bytes, equal network."""
    state = {name: value.detach().cpu().contiguous().clone() for name, value in detector.state_dict().items()}
    return save(state)  # of copies, because a user's network may tie weights, and safetensors keeps no ties


def _file_of(part: str) -> str:
    """What a part's files are called; another name for another layout, so that no file is read as what it is not."""
    return f"{part}.channels-last" if part in _CHANNELS_LAST else part


def _half(part: Tensor) -> NDArray[np.generic]:
    return np.asarray((part.half() if part.is_floating_point() else part).cpu().numpy())


def _single(part: Tensor) -> Tensor:
    return part.float() if part.is_floating_point() else part


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A place to write to, which becomes the file once all is written; other processes may write the same."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    yield unfinished
    unfinished.replace(path)


def _without_padding(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """A frame's parts, of the pillars only those it has."""
    if "pillar_cells" not in parts:
        return parts
    real = parts["pillar_cells"] >= 0
    return {name: part[real] if name in _BY_PILLAR else part for name, part in parts.items()}


def _stack(stored: list[dict[str, Tensor]], num_boxes: int) -> Answers:
    """Answers of several frames as a batch, their box axis padded or cut to `num_boxes`, pillars padded to the most."""
    nothing = torch.zeros(len(stored), num_boxes, POINTS_PER_BOX, 0)
    parts = {name: _batch([parts[name] for parts in stored], name, num_boxes) for name in stored[0]}
    return Answers(**({name: nothing for name in _SAMPLED} | parts))


def _batch(rows: list[Tensor], name: str, num_boxes: int) -> Tensor:
    if name in _BY_PILLAR:
        return pad_sequence(rows, batch_first=True, padding_value=_BY_PILLAR[name])
    rows = [_fit(row, num_boxes) for row in rows] if name in _BY_BOX else rows
    with torch.autocast("cpu", enabled=False):  # which knows no stacking of halves
        stacked = torch.stack(rows)
    return stacked.permute(0, 3, 1, 2) if name in _CHANNELS_LAST else stacked


def _fit(values: Tensor, num_boxes: int) -> Tensor:
    values = values[:num_boxes]
    padding = values.new_zeros((num_boxes - len(values), *values.shape[1:]))
    return torch.cat([values, padding])
