"""A run's folder: the resolved recipe, the weights, the contract, and the record of how they came about."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from understudy.bundle.manifest import Contract
from understudy.configuration import Config, content_hash, file_sha256, read_config, write_json, write_yaml
from understudy.datasets.relabeled import LabelsUsed, labels_used_by
from understudy.errors import InputError
from understudy_training.batches import TrainingFrames
from understudy_training.loop.launch import is_first_process
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe, read_recipe

RECIPE, WEIGHTS, CONTRACT, RECORD = "recipe.yaml", "weights.safetensors", "contract.yaml", "run.json"
DATA = "data.json"


class DataRecord(Config):
    """What a run was trained on."""

    reader: str
    """Name of the data set's class."""
    fingerprint: str
    frames: int
    """How many of its frames were shown."""
    class_names: tuple[str, ...]
    lidar: str | None = None
    labels: LabelsUsed | None = None
    """Labels by hand behind it, those of its teacher included; None where every frame has its own."""

    @classmethod
    def of(cls, clouds: TrainingFrames) -> DataRecord:
        """The record of the frames that a run is shown."""
        dataset = clouds.dataset
        return cls(
            reader=type(dataset).__name__,
            fingerprint=dataset.fingerprint,
            frames=len(clouds),
            class_names=tuple(dataset.class_names),
            lidar=clouds.lidar,
            labels=labels_used_by(dataset),
        )


class RunRecord(Config):
    """How a run came about: enough to repeat it and to say what it cost."""

    schema_version: int = 1
    seed: int
    epochs: int
    steps: int
    frames: int
    data: str = ""
    """Fingerprint of the data set."""
    recipe: str = ""
    """Content hash of the resolved recipe."""
    weights: str = ""
    """SHA-256 of the weights file."""
    teacher: str = ""
    """SHA-256 of the teacher's weights file; empty without a teacher."""
    teacher_shuffled: bool = False
    precision: str
    """What it was computed in, after a fallback if there was one."""
    device: str
    processes: int = 1
    """How many trained together."""
    deterministic: bool = False
    """Whether algorithms whose result depends on timing were refused."""
    threads: int
    torch: str = torch.__version__
    wall_s: float = Field(ge=0)
    cpu_s: float = Field(ge=0)
    parameters: int
    gmacs: float

    def summary(self, run: Path) -> str:
        """The record in one line."""
        return (
            f"{run}: {self.parameters / 1e6:.2f} M parameters, {self.gmacs:.2f} GMAC, {self.steps} steps over "
            f"{self.frames} frames in {self.wall_s:.0f} s ({self.precision}, {self.device}, {self.threads} threads)"
        )


def refuse_to_replace(folder: Path) -> None:
    """Raises InputError when a run would be written over something; only the first of several processes looks."""
    if not is_first_process() or not folder.is_dir() or not any(folder.iterdir()):
        return
    remedy = "choose another folder, remove it, or go on with an interrupted run by --resume"
    raise InputError(f"run {folder}", found="a folder with contents", wanted="a new or empty one", remedy=remedy)


def write_beginning(folder: Path, recipe: Recipe, data: DataRecord) -> None:
    """Writes what is known before the first step: the resolved recipe, and what it is trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / RECIPE, recipe.resolved())
    write_json(folder / DATA, data)


def save_run(folder: Path, detector: BevDetector, recipe: Recipe, record: RunRecord) -> RunRecord:
    """Writes a run's folder; the record is completed with the hashes of what was written, and returned.

    Each file is written under another name and renamed; the weights come last, so a folder with weights is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = recipe.resolved()
    write_yaml(folder / RECIPE, recipe)
    write_yaml(folder / CONTRACT, recipe.contract())
    state = {name: value.detach().cpu().contiguous() for name, value in detector.state_dict().items()}
    weights = save(state)
    hashes = {"recipe": content_hash(recipe), "weights": hashlib.sha256(weights).hexdigest()}
    record = record.model_copy(update=hashes)
    _replace(folder / RECORD, (json.dumps(record.model_dump(), indent=2) + "\n").encode())
    _replace(folder / WEIGHTS, weights)
    return record


def _replace(path: Path, contents: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("wb") as stream:
        stream.write(contents)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)


def load_detector(run: Path) -> tuple[BevDetector, Contract]:
    """The detector of a run, in evaluation mode, and its contract.

    Raises:
        InputError: when the folder is no finished run, its weights are not those it wrote, or do not fit its recipe.
    """
    if not (run / WEIGHTS).is_file():
        raise InputError(f"run {run}", found=f"no {WEIGHTS}", wanted="a finished run", remedy="understudy train")
    _refuse_damaged(run)
    detector = BevDetector(read_recipe(run / RECIPE).detector_config())
    try:
        detector.load_state_dict(load_file(run / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        found = str(error).splitlines()[0]
        raise InputError(
            f"{run / WEIGHTS}", found=found, wanted=f"the weights of {RECIPE} beside it", remedy="train it again"
        ) from error
    return detector.eval(), read_config(run / CONTRACT, Contract)


def _refuse_damaged(run: Path) -> None:
    """The record says what the weights were when they were written."""
    wanted = read_record(run).weights if (run / RECORD).is_file() else ""
    found = file_sha256(run / WEIGHTS)
    if wanted and found != wanted:
        remedy = "the file was changed or cut short; copy it again or train anew"
        raise InputError(f"{run / WEIGHTS}: sha256", found=found[:12], wanted=wanted[:12], remedy=remedy)


def read_labels_used(run: Path) -> LabelsUsed | None:
    """Labels by hand behind a run where somebody counted them; None where every frame has its own.

    Raises:
        InputError: when the run does not say what it was trained on.
    """
    return read_config(run / DATA, DataRecord).labels


def read_record(run: Path) -> RunRecord:
    """A run's record.

    Raises:
        InputError: when it is missing or is not one.
    """
    return read_config(run / RECORD, RunRecord)
