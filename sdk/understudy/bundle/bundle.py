"""Opening and writing bundles: nothing is trusted before its hash is checked, nothing is unpickled."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from understudy.bundle.archives import extracted, is_archive
from understudy.bundle.checksums import refuse_changed_manifest, write_checksums
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
from understudy.bundle.names import CHECKSUMS, ENGINES, SIGNATURE
from understudy.bundle.names import MANIFEST as MANIFEST
from understudy.bundle.signature import refuse_unless_signature
from understudy.bundle.signing import refuse_unless_signed, signer_of, trusted_key
from understudy.configuration import check_config, file_sha256, read_yaml, write_yaml
from understudy.errors import BundleError, InputError

_OWN = (MANIFEST, SIGNATURE, CHECKSUMS, ENGINES)
_PACK_AGAIN = "pack it again"
_CPU_ORDER: tuple[Precision, ...] = ("uint8", "fp32")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle on disk.

    Attributes:
        folder: where its files are (the extraction folder when it came as a zip).
        manifest: what the student is and expects.
        fingerprint: SHA-256 of the manifest's bytes, which names every file's hash.
        archive: the single file it came from, if it did.
        signed_by: short name of the key that signed it; empty when it is not signed.
        trusted_keys: the file of keys that the signature was verified with; None when none was asked for.
    """

    folder: Path
    manifest: Manifest
    fingerprint: str
    archive: Path | None = None
    signed_by: str = ""
    trusted_keys: Path | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether a signature was asked for, and is there."""
        return self.trusted_keys is not None

    @property
    def source(self) -> Path:
        """The folder or single file that the user knows it by."""
        return self.archive or self.folder

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


def open_bundle(path: Path, *, trusted_keys: Path | None = None) -> Bundle:
    """Opens a bundle folder or its zip, after checking schema, every hash and, where keys are named, the signature.

    Args:
        path: folder or single file.
        trusted_keys: PEM file of the public keys of which one must have signed it; left out, the one that the
            environment variable `UNDERSTUDY_TRUSTED_KEY` names, and where that is unset or empty, anyone's will do.

    Raises:
        BundleError: when it is missing, damaged, of another schema or not signed by whom it must be, naming file,
            found, wanted and remedy.
    """
    return _opened(path, trusted_key(trusted_keys))


def open_anyones_bundle(path: Path) -> Bundle:
    """As `open_bundle`, whatever the environment asks for: for whoever is about to sign it or judge its signature."""
    return _opened(path, None)


def _opened(path: Path, trusted_keys: Path | None) -> Bundle:
    path = Path(path)
    if not path.exists():
        raise BundleError(
            f"{path}", found="nothing there", wanted="a bundle folder or its zip", remedy="check the path"
        )
    try:
        return _verified(path, trusted_keys)
    except OSError as error:
        what, found = str(error.filename or path), error.strerror or str(error)
        raise BundleError(what, found=found, remedy="check the path, its permissions and the space left") from error


def _verified(path: Path, trusted_keys: Path | None) -> Bundle:
    archive = path if is_archive(path) else None
    folder = extracted(archive) if archive else path
    manifest_path = folder / MANIFEST
    if not manifest_path.is_file():
        raise BundleError(
            f"{path}", found=f"no {MANIFEST}", wanted="a bundle", remedy="make one with `understudy pack`"
        )
    if trusted_keys is not None:
        refuse_unless_signed(folder, trusted_keys, path)
    manifest = _read_manifest(manifest_path)
    _refuse_outside(folder, manifest)
    refuse_changed_manifest(folder, path)
    for name, wanted in manifest.files.items():
        _verify(folder, name, wanted)
    signed_by = signer_of(folder, path)
    return Bundle(folder, manifest, file_sha256(manifest_path), archive, signed_by, trusted_keys)


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
        write_checksums(staging)
        _replace(folder, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return open_anyones_bundle(folder)


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


def _refuse_outside(folder: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        if _leaves_folder(name) or (folder / name).is_symlink():
            raise BundleError(f"{folder}: {name}", found="a path that leaves the bundle", wanted="a file inside it")


def _verify(folder: Path, name: str, wanted: str) -> None:
    path = folder / name
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
