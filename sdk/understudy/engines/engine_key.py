"""What a compiled engine was made from, kept beside it: a model of the same shape never meets an old engine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision, Tensor
from understudy.configuration import Config, file_sha256
from understudy.engines.attestation import Attestation
from understudy.engines.sealed import read_sealed, write_sealed
from understudy.errors import UnderstudyError

LAYERS = ".layers.json"
State = Literal["ready", "stale", "damaged"]


@dataclass(frozen=True)
class EngineKey:
    """Everything that decides an engine's bytes.

    Attributes:
        onnx_sha256: of the model.
        target: what it is for, such as `cpu` or `rtx-sm86`.
        precision: which model of the bundle.
        library: name and version of the builder.
        flags: build settings, profile included.
    """

    onnx_sha256: str
    target: str
    precision: Precision
    library: str
    flags: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, in 16 hexadecimal digits."""
        parts = (self.onnx_sha256, self.target, self.precision, self.library, *self.flags)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @property
    def stem(self) -> str:
        """File name without its ending."""
        return f"{self.target}-{self.precision}-{self.digest}"


class EngineRecord(Config):
    """The sidecar of an engine file; for the CPU, where there is no such file, the proof that a session opened."""

    schema_version: Literal[1] = 1
    key: str
    target: str
    precision: Precision
    onnx_sha256: str
    library: str
    flags: tuple[str, ...] = ()
    file: str = ""
    """Name of the engine file beside the sidecar; empty when the runtime makes its engine at start."""
    sha256: str = ""
    size_bytes: int = 0
    gpu: str = ""
    """The GPU it was built on and for; empty when it was built ahead of time."""
    architectures: tuple[str, ...] = ()
    """Compute capabilities it runs on, as SM87."""
    build_s: float
    first_run_s: float | None = None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    num_convolutions: int | None = None
    num_int8_convolutions: int | None = None
    layer_types: dict[str, dict[str, int]] | None = None
    """Layers by kind and by the type of their first output."""
    types_read_from: str = ""


@dataclass(frozen=True)
class KnownEngine:
    """A sidecar found in a bundle and whether its engine may be used."""

    record: EngineRecord
    state: State


def record_of(key: EngineKey, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], build_s: float) -> EngineRecord:
    """A record with what the key knows."""
    return EngineRecord(
        key=key.digest,
        target=key.target,
        precision=key.precision,
        onnx_sha256=key.onnx_sha256,
        library=key.library,
        flags=key.flags,
        build_s=round(build_s, 3),
        inputs=inputs,
        outputs=outputs,
    )


def key_of(bundle: Bundle, precision: Precision, target: str, library: str, flags: tuple[str, ...] = ()) -> EngineKey:
    """The key of an engine built now from the bundle's model of a precision."""
    onnx_sha256 = bundle.manifest.files[bundle.model(precision).name]
    return EngineKey(onnx_sha256, target, precision, library, flags)


def ready_record(bundle: Bundle, key: EngineKey) -> EngineRecord | None:
    """The record of an engine with exactly this key whose file and table of layers are whole, or None."""
    sidecar = bundle.engines_folder / f"{key.stem}.yaml"
    if not sidecar.is_file():
        return None
    try:
        record = read_sealed(sidecar, EngineRecord)
        has_table = attestation_of(bundle, record) is not None
    except UnderstudyError:
        return None
    return record if has_table and record.key == key.digest and _state(bundle, record) == "ready" else None


def write_record(bundle: Bundle, key: EngineKey, record: EngineRecord) -> None:
    """Writes the sidecar and removes engines of the same target and precision that were made from something else."""
    bundle.engines_folder.mkdir(exist_ok=True)
    write_sealed(bundle.engines_folder / f"{key.stem}.yaml", record)
    for old in bundle.engines_folder.glob(f"{key.target}-{key.precision}-????????????????.*"):
        if not old.name.startswith(f"{key.stem}."):
            old.unlink()


def attestation_of(bundle: Bundle, record: EngineRecord) -> Attestation | None:
    """The table of layers beside an engine; None where it has none, as a session on a CPU.

    Raises:
        EngineError: when it cannot be read.
    """
    path = bundle.engines_folder / f"{record.target}-{record.precision}-{record.key}{LAYERS}"
    return read_sealed(path, Attestation) if path.is_file() else None


def write_attestation(bundle: Bundle, key: EngineKey, attestation: Attestation) -> None:
    """Writes the table of layers beside the engine."""
    write_sealed(bundle.engines_folder / f"{key.stem}{LAYERS}", attestation)


def known_engines(bundle: Bundle) -> list[KnownEngine]:
    """Every engine of the bundle, by target and precision.

    Raises:
        EngineError: when a sidecar cannot be read.
    """
    sidecars = sorted(bundle.engines_folder.glob("*.yaml")) if bundle.engines_folder.is_dir() else []
    records = [read_sealed(path, EngineRecord) for path in sidecars]
    return [KnownEngine(record, _state(bundle, record)) for record in records]


def _state(bundle: Bundle, record: EngineRecord) -> State:
    model = bundle.manifest.models.get(record.precision)
    if model is None or record.onnx_sha256 != bundle.manifest.files.get(model.file):
        return "stale"
    path = bundle.engines_folder / Path(record.file).name
    if record.file and (not path.is_file() or file_sha256(path) != record.sha256):
        return "damaged"
    return "ready"
