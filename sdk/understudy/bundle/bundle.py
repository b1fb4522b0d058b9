"""Opening and writing bundles: nothing is trusted before its hash is checked, nothing is unpickled."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from understudy.bundle.archives import extracted, is_archive
from understudy.bundle.manifest import (
    SCHEMA_VERSION,
    Contract,
    Fingerprints,
    Manifest,
    Model,
    Precision,
    Tensor,
    Tolerance,
)
from understudy.bundle.signature import refuse_unless_signature
from understudy.configuration import check_config, file_sha256, read_yaml, write_yaml
from understudy.errors import BundleError, InputError

MANIFEST = "manifest.yaml"
ENGINES = "engines"
_OWN = (MANIFEST, ENGINES)
_PACK_AGAIN = "pack it again"
_CPU_ORDER: tuple[Precision, ...] = ("uint8", "fp32")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle on disk.

    Attributes:
        folder: where its files are (the extraction folder when it came as a zip).
        manifest: what the student is and expects.
        fingerprint: SHA-256 of the manifest's bytes, which names every file's hash.
    """

    folder: Path
    manifest: Manifest
    fingerprint: str

    def file(self, name: str) -> Path:
        """Path of a file the manifest lists.

        Raises:
            BundleError: when the manifest does not list it.
        """
        if name not in self.manifest.files:
            raise BundleError(
                f"{self.folder}: {name}", found="not in the manifest", wanted=", ".join(self.manifest.files)
            )
        return self.folder / name

    def model(self, precision: Precision) -> Path:
        """The ONNX file of a precision.

        Raises:
            BundleError: when the bundle has none.
        """
        model = self.manifest.models.get(precision)
        if model is None:
            raise BundleError(
                f"{self.folder}: precision {precision}",
                found="no such model",
                wanted=" or ".join(self.manifest.models),
                remedy="quantize the export and pack it again",
            )
        return self.file(model.file)

    @property
    def best_cpu_precision(self) -> Precision:
        """What runs fastest on a CPU: the uint8 twin where there is one."""
        return next(precision for precision in _CPU_ORDER if precision in self.manifest.models)

    @property
    def engines_folder(self) -> Path:
        """Where compiled engines live; each carries its own hash in a sidecar."""
        return self.folder / ENGINES


@dataclass(frozen=True)
class PackedModel:
    """One ONNX file to be packed: where it is and what it was written with."""

    path: Path
    opset: int
    ir_version: int


def open_bundle(path: Path) -> Bundle:
    """Opens a bundle folder or its zip, after checking schema and every hash.

    Raises:
        BundleError: when it is missing, damaged or of another schema, naming file, found, wanted and remedy.
    """
    path = Path(path)
    if not path.exists():
        raise BundleError(
            f"{path}", found="nothing there", wanted="a bundle folder or its zip", remedy="check the path"
        )
    try:
        return _verified(path)
    except OSError as error:
        what, found = str(error.filename or path), error.strerror or str(error)
        raise BundleError(what, found=found, remedy="check the path, its permissions and the space left") from error


def _verified(path: Path) -> Bundle:
    folder = extracted(path) if is_archive(path) else path
    manifest_path = folder / MANIFEST
    if not manifest_path.is_file():
        raise BundleError(
            f"{path}", found=f"no {MANIFEST}", wanted="a bundle", remedy="make one with `understudy pack`"
        )
    manifest = _read_manifest(manifest_path)
    for name, wanted in manifest.files.items():
        _verify(folder, name, wanted)
    return Bundle(folder, manifest, file_sha256(manifest_path))


def write_bundle(
    folder: Path,
    contract: Contract,
    models: Mapping[Precision, PackedModel],
    *,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    tolerances: Mapping[Precision, Tolerance],
    fingerprints: Fingerprints | None = None,
    ledger: Mapping[str, Any] | None = None,
) -> Bundle:
    """Writes a bundle folder; one that is there is replaced as a whole, its compiled engines kept.

    Raises:
        BundleError: when the graph's tensors are not what the contract says, or the folder holds something else.
    """
    refuse_unless_signature(contract, inputs, outputs, contract.name)
    _refuse_foreign(folder)
    staging = _staging(folder)
    try:
        names = {precision: _copy_model(staging, precision, model) for precision, model in models.items()}
        manifest = Manifest(
            **contract.model_dump(),
            inputs=inputs,
            outputs=outputs,
            models={
                precision: Model(file=names[precision], opset=model.opset, ir_version=model.ir_version)
                for precision, model in models.items()
            },
            tolerances={precision: tolerances[precision] for precision in models},
            files={name: file_sha256(staging / name) for name in names.values()},
            fingerprints=fingerprints or Fingerprints(),
            ledger=dict(ledger or {}),
        )
        write_yaml(staging / MANIFEST, manifest)
        _replace(folder, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return open_bundle(folder)


def _read_manifest(path: Path) -> Manifest:
    try:
        values = read_yaml(path)
    except InputError as error:
        raise BundleError(error.what, found=error.found, wanted=error.wanted, remedy=_PACK_AGAIN) from error
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path}: schema_version",
            found=version if version is not None else "none",
            wanted=SCHEMA_VERSION,
            remedy="pack it again with this version of understudy, or install the version that packed it",
        )
    return check_config(values, Manifest, str(path), BundleError)


def _verify(folder: Path, name: str, wanted: str) -> None:
    path = folder / name
    if _leaves_folder(name) or path.is_symlink():
        raise BundleError(f"{folder}: {name}", found="a path that leaves the bundle", wanted="a file inside it")
    if not path.is_file():
        raise BundleError(f"{path}", found="missing", wanted=f"sha256 {wanted[:12]}", remedy=_PACK_AGAIN)
    found = file_sha256(path)
    if found != wanted:
        raise BundleError(
            f"{path}: sha256",
            found=f"{found[:12]} ({path.stat().st_size} bytes)",
            wanted=wanted[:12],
            remedy=f"the file was changed or cut short; {_PACK_AGAIN}",
        )


def _leaves_folder(name: str) -> bool:
    pure = PurePosixPath(name)
    return pure.is_absolute() or ".." in pure.parts or "\\" in name or not pure.parts


def _staging(folder: Path) -> Path:
    """A new folder beside the one to write."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise BundleError(f"{folder}", found=error.strerror, wanted="a folder that can be written") from error


def _copy_model(staging: Path, precision: Precision, model: PackedModel) -> str:
    name = "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"
    shutil.copyfile(model.path, staging / name)
    return name


def _refuse_foreign(folder: Path) -> None:
    """What is there goes as a whole, so it may only be a bundle, with nothing in it that someone else put there."""
    if folder.is_symlink():
        found, remedy = f"a link to {folder.readlink()}", "name the folder itself"
        raise BundleError(f"{folder}", found=found, wanted="a folder", remedy=remedy)
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(
            f"{folder}", found="something that is not a bundle", wanted="a new folder", remedy="choose another --out"
        )
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    strangers = [entry.name for entry in entries if entry.name not in _OWN and entry.suffix != ".onnx"]
    if strangers:
        remedy = "move it away or choose another --out; packing replaces the whole folder"
        raise BundleError(f"{folder}", found=", ".join(strangers), wanted="nothing but a bundle", remedy=remedy)


def _replace(folder: Path, staging: Path) -> None:
    """Puts `staging` in the place of `folder`, engines carried over; they are keyed by the model's hash.

    The old bundle goes last: whoever interrupts this has the old one or the new one.
    """
    staging.chmod(0o755)
    if not folder.exists():
        staging.rename(folder)
        return
    if (folder / ENGINES).is_dir():
        shutil.copytree(folder / ENGINES, staging / ENGINES)
    old = staging.with_name(f"{staging.name}-old")
    folder.rename(old)
    staging.rename(folder)
    shutil.rmtree(old)
