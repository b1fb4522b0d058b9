"""What there is to do: work units with keys that depend on contents alone, so that a finished one is known anywhere.

A unit is a slice of one source (a topic of a bag, or a data set). Its key is the SHA-256 of the network's, the rig's
and the source's identities, the slice and the settings: equal keys, equal results.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from understudy.bundle.archives import is_archive
from understudy.bundle.bundle import MANIFEST, open_bundle
from understudy.bundle.manifest import Precision
from understudy.configuration import Config, check_config, file_sha256
from understudy.datasets.files import read_json
from understudy.errors import InputError

_RUN_FILES = ("contract.yaml", "recipe.yaml", "*.safetensors")


class FleetSettings(Config):
    """What changes the results besides network, rig and data."""

    score: float | None = Field(None, gt=0, le=1)
    """Score from which a box is kept, for every class; None takes the network's own thresholds."""
    topic: str | None = None
    """Point clouds to use; None takes `/sensors/<lidar>/points`, or the only such topic."""
    lidar: str | None = None
    """LiDAR of the rig; may be left out when there is one."""
    split: str | None = None
    """Split of the data sets; None takes every sample."""
    check_transforms: bool = True
    """Refuse a bag whose `/tf_static` puts the LiDAR elsewhere than the rig does."""
    sweeps_per_unit: int = Field(200, ge=1)
    """Sweeps of a unit, on average: a bag is cut into slices of equal time, so that planning reads no message."""


class ModelIdentity(Config):
    """A network, where it is and what it is."""

    path: str
    name: str
    precision: Precision
    sha256: str
    """Of a bundle its fingerprint; of a training run over contract, recipe and weights."""


class Source(Config):
    """A bag or a data set."""

    name: str
    """Unique within the plan: the file's name and the beginning of its identity."""
    kind: Literal["bag", "dataset"]
    path: str
    identity: str
    topic: str = ""
    rig: str = ""
    """Hash of the rig in `rigs/`; empty where each sample of a data set brings its own."""
    num_sweeps: int = 0
    """Sweeps that the bag's metadata or the data set promise."""
    problem: str | None = None
    """Why it could not be opened when the plan was made; its one unit fails with this line."""


class Unit(Config):
    """A slice of a source."""

    key: str
    source: str
    first: int | None = None
    """Log time (bag, nanoseconds) or number (data set) of its first sweep; None from the beginning."""
    after: int | None = None
    """Where it ends, not included; None to the end."""


class Plan(Config):
    """Everything that is to be done, in order."""

    schema_version: Literal[1] = 1
    model: ModelIdentity
    settings: FleetSettings
    sources: tuple[Source, ...]
    units: tuple[Unit, ...]

    def source(self, name: str) -> Source:
        """The source of a name."""
        return self._by_name[name]

    def units_of(self, source: Source) -> tuple[Unit, ...]:
        """Its units in order."""
        return tuple(self._by_source[source.name])

    @cached_property
    def _by_name(self) -> dict[str, Source]:
        return {source.name: source for source in self.sources}

    @cached_property
    def _by_source(self) -> dict[str, list[Unit]]:
        units: dict[str, list[Unit]] = {source.name: [] for source in self.sources}
        for unit in self.units:
            units[unit.source].append(unit)
        return units

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of all units."""
        return frozenset(unit.key for unit in self.units)

    def is_same_as(self, other: Plan) -> bool:
        """Whether the same results are planned; where the bags lie does not matter."""
        return self.keys == other.keys

    def may_extend(self, other: Plan) -> bool:
        """Whether only sources differ from another plan's."""
        return (self.model.sha256, self.model.precision, self.settings) == (
            other.model.sha256,
            other.model.precision,
            other.settings,
        )


def read_plan(path: Path) -> Plan:
    """Reads `plan.json`.

    Raises:
        InputError: when it is missing or is no such plan.
    """
    return check_config(read_json(path), Plan, f"{path}")


def identify_model(path: Path, precision: Precision | None) -> ModelIdentity:
    """What a bundle or a training run is; the precision is the one that `open_model` would choose.

    Raises:
        InputError: when the path is neither.
        BundleError: when the bundle is damaged.
    """
    if not path.exists():
        raise InputError(f"{path}", found="no such file or folder", wanted="a bundle or a training run")
    where = str(path.resolve())
    if is_archive(path) or (path / MANIFEST).is_file():
        bundle = open_bundle(path)
        chosen = precision or bundle.best_cpu_precision
        return ModelIdentity(path=where, name=bundle.manifest.name, precision=chosen, sha256=bundle.fingerprint)
    files = sorted(file for pattern in _RUN_FILES for file in path.glob(pattern))
    if not any(file.suffix == ".safetensors" for file in files):
        raise InputError(f"{path}", found="neither", wanted=f"a bundle ({MANIFEST}) or a finished training run")
    lines = [f"{file.name} {file_sha256(file)}" for file in files]
    sha256 = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return ModelIdentity(path=where, name=path.name, precision="fp32", sha256=sha256)


def unit_of(
    model: ModelIdentity, settings: FleetSettings, source: Source, first: int | None = None, after: int | None = None
) -> Unit:
    """The unit of a slice, with its key."""
    ingredients = {
        "model": [model.sha256, model.precision],
        "rig": source.rig,
        "source": [source.kind, source.identity, source.topic],
        "slice": [first, after],
        "settings": settings.model_dump(mode="json", exclude={"topic"}),
    }
    key = hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()
    return Unit(key=key, source=source.name, first=first, after=after)
