"""Opening a teacher, wherever it comes from: a run, an export, a bundle, a described ONNX file, a user's module."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.bundle.bundle import open_bundle
from understudy.bundle.manifest import Contract
from understudy.bundle.names import MANIFEST
from understudy.configuration import check_config, content_hash, read_config, read_yaml
from understudy.errors import InputError
from understudy_training.checkpoint import CONTRACT, RECIPE, WEIGHTS, load_detector, read_record
from understudy_training.distillation.answers import Asked
from understudy_training.distillation.foreign import ForeignTeacher
from understudy_training.distillation.onnx_teacher import OnnxDescription, description_of_ours, onnx_weights, open_onnx
from understudy_training.distillation.terms.term import Widths
from understudy_training.distillation.torch_teacher import TorchDescription, open_torch, torch_weights
from understudy_training.fitting import widths_of
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import read_recipe
from understudy_training.xray.complete_objects import CompleteObjects

MODEL, DESCRIPTION = "model.onnx", "teacher.yaml"
_PARTS = frozenset({".py", ".pt", ".pth", ".ckpt", ".safetensors"})
"""Files that a description may name and that say nothing by themselves."""
_OF_THE_LABELS = frozenset({"boxes", "trajectory"})
"""What a term asks for that no teacher answers."""


@dataclass(frozen=True, eq=False)
class OpenedTeacher:
    """A network that may teach.

    Attributes:
        network: takes what its `collate` makes, gives a detector's outputs.
        weights: hash of what decides what it says.
        sweeps: in the clouds that it was trained with.
        complete_objects: how the objects were gathered that it was trained on, and is asked about; None for raw frames.
    """

    network: BevDetector | ForeignTeacher
    weights: str = ""
    sweeps: int = 1
    complete_objects: CompleteObjects | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is a detector of ours in PyTorch."""
        return isinstance(self.network, BevDetector)

    @property
    def widths(self) -> Widths:
        """Channels of its feature maps; 0 of those that it does not give."""
        return widths_of(self.network) if isinstance(self.network, BevDetector) else self.network.widths

    @property
    def settings(self) -> str:
        """Everything besides the weights that decides what it says."""
        network = self.network
        return content_hash(network.config) if isinstance(network, BevDetector) else self.weights

    def unanswered(self, asked: Collection[Asked]) -> tuple[str, ...]:
        """What it is asked for and cannot tell; nothing of a detector of ours, whose terms look for themselves."""
        if isinstance(self.network, BevDetector):
            return ()
        widths = self.network.widths
        given = [level for level in ("low", "high") if getattr(widths, level) > 0]
        return tuple(name for name in asked if name not in _OF_THE_LABELS and name.split("_")[0] not in given)


def open_teacher(path: Path, class_names: Sequence[str]) -> OpenedTeacher:
    """The teacher of a run folder, an export folder, a bundle, an ONNX file or a description.

    A run's network must have exactly the student's classes; of any other, those are taken that the student has.

    Args:
        path: of any of them.
        class_names: the student's.

    Raises:
        UnderstudyError: when there is no such thing, or it is damaged or not as described.
    """
    if is_run(path):
        detector, contract = load_detector(path)
        objects = read_recipe(path / RECIPE).data.complete_objects
        return OpenedTeacher(detector, read_record(path).weights, contract.sweeps, objects)
    description, file = _described(path)
    if isinstance(description, TorchDescription):
        weights = torch_weights(file.parent, description)
        return OpenedTeacher(open_torch(file.parent, description, class_names), weights, description.sweeps)
    network = open_onnx(file, description, class_names)
    return OpenedTeacher(network, onnx_weights(file, description), description.sweeps)


def weights_of_teacher(path: Path) -> str:
    """What `open_teacher` gives as its hash, without opening the network.

    Raises:
        UnderstudyError: as `open_teacher`.
    """
    if is_run(path):
        return read_record(path).weights
    description, file = _described(path)
    if isinstance(description, TorchDescription):
        return torch_weights(file.parent, description)
    return onnx_weights(file, description)


def is_run(path: Path) -> bool:
    """Whether it can only be a run folder: none of the other things is there."""
    others = (DESCRIPTION, MANIFEST, MODEL)
    return (path / WEIGHTS).is_file() or not (path.is_file() or any((path / name).is_file() for name in others))


def _described(path: Path) -> tuple[OnnxDescription | TorchDescription, Path]:
    """The description of what is no run, with the ONNX file, or with the description's own file of a torch module."""
    if path.is_dir() and (path / DESCRIPTION).is_file():
        return _read(path / DESCRIPTION)
    if path.suffix in (".yaml", ".yml"):
        return _read(path)
    if path.suffix == ".onnx":
        return _beside(path)
    if path.suffix in _PARTS:
        remedy = "docs/teachers.md says what it holds"
        raise InputError(f"teacher {path}", found="a file alone", wanted="a YAML file that names it", remedy=remedy)
    if path.is_dir() and not (path / MANIFEST).is_file():
        return _of_ours(path / MODEL, path / CONTRACT)
    bundle = open_bundle(path)
    file = bundle.model("fp32")
    return description_of_ours(file, bundle.manifest), file


def _beside(path: Path) -> tuple[OnnxDescription | TorchDescription, Path]:
    """What is written beside an ONNX file: a description of its name, or the contract of one of our exports."""
    described, contract = path.with_suffix(".yaml"), path.with_name(CONTRACT)
    if described.is_file():
        return _read(described)
    if not contract.is_file():
        remedy = "docs/teachers.md says what it holds"
        wanted = f"{described.name} or {CONTRACT} beside it"
        raise InputError(f"teacher {path}", found="no description", wanted=wanted, remedy=remedy)
    return _of_ours(path, contract)


def _of_ours(path: Path, contract: Path) -> tuple[OnnxDescription, Path]:
    return description_of_ours(path, read_config(contract, Contract)), path


def _read(path: Path) -> tuple[OnnxDescription | TorchDescription, Path]:
    values = read_yaml(path)
    kinds: dict[object, type[OnnxDescription] | type[TorchDescription]] = {
        "onnx": OnnxDescription,
        "torch": TorchDescription,
    }
    kind = kinds.get(values.get("kind"))
    if kind is None:
        found = values.get("kind", "none")
        raise InputError(f"{path}: kind", found=found, wanted="onnx or torch", remedy="see docs/teachers.md")
    description = check_config(values, kind, str(path))
    return description, path.parent / description.model if isinstance(description, OnnxDescription) else path
