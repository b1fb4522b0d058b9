"""A bundle in the layout of Autoware's model packages, with what maps and what does not said beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from understudy.autoware.labels import labels_of
from understudy.autoware.parameters import (
    REMAPPER_FILE,
    Entry,
    class_names_of,
    class_remapper,
    deploy_metadata,
    entries_of,
    ml_package,
)
from understudy.autoware.table import readme
from understudy.bundle.archives import write_archive
from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Precision
from understudy.errors import BundleError, InputError

METADATA_FILE = "deploy_metadata.yaml"
_ML_PACKAGE = "ml_package.param.yaml"
_README = "README.md"
_BUNDLE = "bundle.zip"


@dataclass(frozen=True)
class ModelPackage:
    """What was written.

    Attributes:
        folder: the package.
        precision: of the ONNX file in it.
        onnx_name: name of that file.
        labels: Autoware's label of each class of the student, in label order.
        entries: every parameter with what became of it.
    """

    folder: Path
    precision: Precision
    onnx_name: str
    labels: tuple[str, ...]
    entries: tuple[Entry, ...]


def export_package(
    bundle: Bundle, out: Path, precision: Precision | None = None, chosen: Mapping[str, str] | None = None
) -> ModelPackage:
    """Writes a model package; one that is there is replaced as a whole.

    Args:
        bundle: the student.
        out: folder to write.
        precision: which ONNX file; None takes INT8 where there is one, as `compile` does.
        chosen: Autoware's labels by class name, where the usual one is not right.

    Raises:
        InputError: when the precision is uint8, a class or label is unknown, or the place is another folder or in the
            bundle.
        BundleError: when the bundle has no such precision, or the student looks at pictures.
    """
    _refuse_pictures(bundle)
    precision = precision or ("int8" if "int8" in bundle.manifest.models else "fp32")
    if precision == "uint8":
        wanted = "fp32, fp16 or int8"
        raise InputError(
            "--precision", found="uint8, for CPUs alone", wanted=wanted, remedy="TensorRT clips it silently"
        )
    model, labels = bundle.model(precision), labels_of(bundle.manifest.class_names, chosen)
    entries = tuple(entries_of(bundle.manifest, labels, model.name))
    package = ModelPackage(out, precision, model.name, labels, entries)
    _refuse_foreign(out)
    _refuse_within(bundle, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _write(staging, bundle, package)
        _replace(out, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return package


def _write(folder: Path, bundle: Bundle, package: ModelPackage) -> None:
    shutil.copyfile(bundle.model(package.precision), folder / package.onnx_name)
    write_archive(bundle.folder, folder / _BUNDLE)
    _dump(folder / _ML_PACKAGE, ml_package(package.entries))
    _dump(folder / REMAPPER_FILE, class_remapper())
    _dump(folder / METADATA_FILE, deploy_metadata(_facts(bundle, package)))
    text = readme(bundle.manifest, package.entries, package.labels, package.onnx_name)
    (folder / _README).write_text(text, encoding="utf-8")


def _facts(bundle: Bundle, package: ModelPackage) -> dict[str, Any]:
    manifest = bundle.manifest
    names = class_names_of(manifest, package.labels)
    rows = zip(manifest.class_names, package.labels, names, strict=True)
    return {
        "class_remapper_param_path": REMAPPER_FILE,
        "onnx_path": package.onnx_name,
        "bundle_path": _BUNDLE,
        "name": manifest.name,
        "task": manifest.task,
        "runs_in": "understudy_ros lidar_detector",
        "precision": package.precision,
        "onnx_sha256": manifest.files[package.onnx_name],
        "bundle_fingerprint": bundle.fingerprint,
        "classes": [{"name": name, "label": label, "class_name": shown} for name, label, shown in rows],
        "made_from": manifest.fingerprints.model_dump(),
    }


def _dump(path: Path, values: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(values), sort_keys=False, default_flow_style=None, width=100)
    path.write_text(text, encoding="utf-8")


def _refuse_pictures(bundle: Bundle) -> None:
    if bundle.manifest.pictures is not None:
        raise BundleError(
            f"{bundle.manifest.name} as an Autoware model package",
            found=f"a student that looks at {bundle.manifest.pictures.num_cameras} pictures",
            wanted="one that looks at a LiDAR alone, which this layout is for",
            remedy="run the bundle in understudy's fusion_detector or camera_detector beside Autoware",
        )


def _refuse_foreign(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out}", found="a file or a link", wanted="a new folder", remedy="choose another --out")
    own = {METADATA_FILE, _ML_PACKAGE, REMAPPER_FILE, _README, _BUNDLE}
    entries = sorted(out.iterdir()) if out.is_dir() else []
    strangers = [entry.name for entry in entries if entry.name not in own and not entry.match("model*.onnx")]
    if strangers or (entries and not (out / METADATA_FILE).is_file()):
        found = ", ".join(strangers[:5]) or f"a folder without {METADATA_FILE}"
        raise InputError(
            f"{out}", found=found, wanted="a new folder, or a model package", remedy="choose another --out"
        )


def _refuse_within(bundle: Bundle, out: Path) -> None:
    if bundle.folder.resolve() in out.resolve().parents:
        raise InputError(f"{out}", found="a place in the bundle", wanted="one outside", remedy="choose another --out")


def _replace(out: Path, staging: Path) -> None:
    staging.chmod(0o755)
    if out.exists():
        old = staging.with_name(f"{staging.name}-old")
        out.rename(old)
        staging.rename(out)
        shutil.rmtree(old)
    else:
        staging.rename(out)
