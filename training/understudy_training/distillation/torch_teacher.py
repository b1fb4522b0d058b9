"""A teacher from a user's own torch module: their code, run because they named it, and weights in safetensors."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from understudy.configuration import content_hash, file_sha256
from understudy.errors import InputError, UnderstudyError
from understudy_training.distillation.foreign import ForeignDescription, ForeignTeacher
from understudy_training.distillation.foreign_heads import BoxMaps
from understudy_training.models.head import REGRESSION_CHANNELS
from understudy_training.models.observed import Observed

PROTOCOL = "an nn.Module with collate(frames) and forward(inputs)"
_MOST_SAID = 120
"""Letters of another's error that fit a line."""


class TorchDescription(ForeignDescription):
    """A YAML file that names a function which builds a network, its weights, and what its outputs hold."""

    kind: Literal["torch"] = "torch"
    module: str
    """`path/to/file.py:build`, relative to the description's folder, or `package.module:build`. It is executed."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keywords for it."""
    weights: Path | None = None
    """A safetensors file of the network's state dictionary, relative to the description's folder; no other format is
    read, because others execute what they hold. Left out where the function sets the weights itself."""
    regression: tuple[BoxMaps, ...] = Field((BoxMaps(channels=REGRESSION_CHANNELS),), min_length=1)

    @field_validator("module")
    @classmethod
    def _names_both(cls, value: str) -> str:
        place, _, name = value.rpartition(":")
        if not place or not name.isidentifier():
            raise ValueError("path/to/file.py:build or package.module:build")
        return value


@dataclass(frozen=True, eq=False)
class Carried:
    """What a user's collation made, whatever it is made of."""

    value: Any

    def to(self, device: torch.device | str) -> Carried:
        """The same on a device."""
        return Carried(_each(self.value, "to", device))

    def pin_memory(self) -> Carried:
        """The same in pinned memory."""
        return Carried(_each(self.value, "pin_memory"))


def open_torch(folder: Path, description: TorchDescription, class_names: Sequence[str]) -> ForeignTeacher:
    """The network that a description names; executes the user's code.

    Args:
        folder: of the description.
        description: of the network.
        class_names: the student's.

    Raises:
        InputError: when the code cannot be run, gives no such module, the weights do not fit it, or its outputs are not
            as described.
    """
    source = description.module
    with _told_in_one_line(f"teacher {source}"):
        build = getattr(_imported(folder, description), source.rpartition(":")[2], None)
        if not callable(build):
            raise InputError(f"teacher {source}", found="no such function", wanted=f"one that returns {PROTOCOL}")
        network = build(**description.arguments)
    if not isinstance(network, nn.Module) or not callable(getattr(network, "collate", None)):
        raise InputError(f"teacher {source}", found=type(network).__name__, wanted=PROTOCOL)
    if description.weights is not None:
        _load(network, folder / description.weights)
    return ForeignTeacher(source, description, class_names, _Collate(network, source), _Ask(network, source), network)


def torch_weights(folder: Path, description: TorchDescription) -> str:
    """Hash of the file that is executed, of the weights and of the description; other files it imports do not count.

    Raises:
        InputError: when one of them is missing.
    """
    code = _file_of(folder, description)
    files = [code] if description.weights is None else [code, _weights_file(folder / description.weights)]
    hashes = [file_sha256(path) for path in files if path is not None]
    return hashlib.sha256(" ".join([*hashes, content_hash(description)]).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class _Collate:
    network: nn.Module
    source: str

    def __call__(self, frames: Sequence[Observed]) -> Carried:
        with _told_in_one_line(f"teacher {self.source}: collate"):
            return Carried(self.network.collate(frames))  # type: ignore[operator]


@dataclass(frozen=True, eq=False)
class _Ask:
    network: nn.Module
    source: str

    def __call__(self, inputs: Carried) -> Mapping[str, Tensor]:
        with _told_in_one_line(f"teacher {self.source}: forward"):
            return _by_name(self.network(inputs.value))


def _by_name(said: Any) -> Mapping[str, Tensor]:
    """What a user's network said, of a dictionary, a named tuple or an object with attributes."""
    if isinstance(said, Mapping):
        return said
    if hasattr(said, "_asdict"):
        return dict(said._asdict())
    if not hasattr(said, "__dict__"):
        wanted = "maps by name: a dictionary, a named tuple or an object with attributes"
        raise InputError("teacher's forward", found=type(said).__name__, wanted=wanted)
    return dict(vars(said))


def _each(value: Any, method: str, *arguments: Any) -> Any:
    """What `method` makes of each tensor, or record with such a method, within a value."""
    if isinstance(value, dict):
        return {name: _each(part, method, *arguments) for name, part in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_each(part, method, *arguments) for part in value)
    change = getattr(value, method, None)
    return change(*arguments) if callable(change) else value


def _imported(folder: Path, description: TorchDescription) -> ModuleType:
    place = description.module.rpartition(":")[0]
    file = _file_of(folder, description)
    if not place.endswith(".py") or file is None:
        return importlib.import_module(place)
    name = f"understudy_teacher_{file_sha256(file)[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look themselves up
    spec.loader.exec_module(module)
    return module


def _file_of(folder: Path, description: TorchDescription) -> Path | None:
    """The file that is executed; None for a module that is not written in Python."""
    place = description.module.rpartition(":")[0]
    if place.endswith(".py"):
        path = folder / place
        if not path.is_file():
            raise InputError(f"teacher {description.module}", found="no such file", wanted=f"{path}")
        return path
    with _told_in_one_line(f"teacher {description.module}"):
        spec = importlib.util.find_spec(place)
    if spec is None:
        remedy = "install it, or name a file as path/to/file.py:build"
        raise InputError(f"teacher {description.module}", found="no such module", remedy=remedy)
    return Path(spec.origin) if spec.origin is not None and Path(spec.origin).is_file() else None


def _weights_file(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"teacher's weights {path}", found="no such file", wanted="a safetensors file")
    return path


def _load(network: nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(load_file(_weights_file(path)))
    except (SafetensorError, RuntimeError) as error:
        found = " ".join(str(error).split())[:_MOST_SAID]
        remedy = "write it by safetensors.torch.save_file(module.state_dict(), file)"
        raise InputError(
            f"teacher's weights {path}", found=found, wanted="the module's own, as safetensors", remedy=remedy
        ) from error


@contextmanager
def _told_in_one_line(what: str) -> Iterator[None]:
    """Anything that a user's code raises as one line with its place; it is not a fault of ours."""
    try:
        yield
    except UnderstudyError:
        raise
    except (Exception, SystemExit) as error:  # code of others raises what it likes
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {last.lineno}"
        raise InputError(
            what, found=f"{type(error).__name__}: {str(error)[:_MOST_SAID]} ({place})", wanted=PROTOCOL
        ) from error
