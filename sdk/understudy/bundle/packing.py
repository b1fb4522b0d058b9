"""From an export folder to a bundle: contract, models, fingerprints and tolerances brought together and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.bundle.bundle import Bundle, PackedModel, write_bundle
from understudy.bundle.manifest import Contract, Fingerprints, Precision, Tolerance
from understudy.bundle.onnx_facts import OnnxFacts, read_onnx_facts
from understudy.configuration import file_sha256, read_config, read_yaml
from understudy.errors import BundleError, InputError

MODEL_FILES: Mapping[Precision, str] = {
    "fp32": "model.onnx",
    "fp16": "model.fp16.onnx",
    "int8": "model.int8.onnx",
    "uint8": "model.uint8.onnx",
}

_ROUNDED = Tolerance(min_matched=0.85, position_m=0.3, size_m=0.3, yaw_rad=0.3, score=0.15)
DEFAULT_TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(min_matched=0.99, position_m=0.05, size_m=0.05, yaw_rad=0.05, score=0.02),
    "fp16": Tolerance(min_matched=0.98, position_m=0.1, size_m=0.1, yaw_rad=0.1, score=0.05),
    "int8": _ROUNDED,
    "uint8": _ROUNDED,
}
"""How far each precision may depart from the reference rung, box against box.

Measured for INT8: quantizations that kept their average precision agreed on 90 to 97 % of the boxes, one that lost 2 AP
on 81 to 84 %.
"""

_EXPORT, _HALF_HASH = "export.yaml", "fp16_sha256"
_RECORDED_HASHES: tuple[tuple[str, str, Precision, str], ...] = (
    (_EXPORT, "onnx_sha256", "fp32", "understudy export"),
    (_EXPORT, _HALF_HASH, "fp16", "understudy export --fp16"),
    ("quantization.yaml", "source_sha256", "fp32", "understudy quantize"),
    ("quantization.yaml", "int8_sha256", "int8", "understudy quantize"),
    ("quantization.yaml", "uint8_sha256", "uint8", "understudy quantize"),
)
"""Record, its key, the model whose SHA-256 it holds, and the verb that makes both."""


def pack(folder: Path, out: Path, *, name: str | None = None, ledger: Path | None = None) -> Bundle:
    """Packs an export folder.

    Args:
        folder: with `contract.yaml` and `model.onnx`, and what `quantize` added.
        out: the bundle folder to write; a bundle that is there is replaced.
        name: name of the student, or None to keep the contract's.
        ledger: JSON file that the manifest carries: of a study's ledger the mean average precision of each row,
            of any other its contents.

    Raises:
        UnderstudyError: when a piece is missing, was made from another model, or does not fit the contract.
    """
    contract = read_config(folder / "contract.yaml", Contract, BundleError)
    contract = contract if name is None else contract.model_copy(update={"name": name})
    paths = {precision: folder / file for precision, file in MODEL_FILES.items() if (folder / file).is_file()}
    if "fp32" not in paths:
        raise BundleError(f"{folder}", found="no model.onnx", wanted="an export", remedy="run `understudy export`")
    _refuse_stale_records(folder, paths)
    facts = {precision: read_onnx_facts(path) for precision, path in paths.items()}
    _refuse_different_signatures(paths, facts)
    return write_bundle(
        out,
        contract,
        {
            precision: PackedModel(path, facts[precision].opset, facts[precision].ir_version)
            for precision, path in paths.items()
        },
        inputs=facts["fp32"].inputs,
        outputs=facts["fp32"].outputs,
        tolerances=DEFAULT_TOLERANCES,
        fingerprints=_fingerprints(folder),
        ledger=None if ledger is None else _read_ledger(ledger),
    )


def _refuse_stale_records(folder: Path, paths: Mapping[Precision, Path]) -> None:
    """A quantized file made before the last export stands for other weights; the records say what belongs together."""
    if "fp16" in paths and (folder / _EXPORT).is_file() and not _optional(folder / _EXPORT).get(_HALF_HASH):
        raise BundleError(
            f"{paths['fp16']}",
            found="a float16 model that the last export did not write",
            wanted=f"one whose {_HALF_HASH} is in {_EXPORT}",
            remedy="remove it, or run `understudy export --fp16` again",
        )
    for record, key, precision, verb in _RECORDED_HASHES:
        known = _optional(folder / record).get(key)
        if known is not None and precision in paths and file_sha256(paths[precision]) != known:
            raise BundleError(
                f"{paths[precision]}: sha256",
                found=file_sha256(paths[precision])[:12],
                wanted=f"{str(known)[:12]} ({key} of {record})",
                remedy=f"the files are not of one making; run `{verb}` again",
            )


def _refuse_different_signatures(paths: Mapping[Precision, Path], facts: Mapping[Precision, OnnxFacts]) -> None:
    wanted = facts["fp32"]
    for precision, found in facts.items():
        if (found.inputs, found.outputs) != (wanted.inputs, wanted.outputs):
            raise BundleError(
                f"{paths[precision]}: inputs and outputs",
                found=", ".join(tensor.name for tensor in (*found.inputs, *found.outputs)),
                wanted="those of model.onnx",
                remedy="quantize the export again",
            )


def _fingerprints(folder: Path) -> Fingerprints:
    export, quantization = _optional(folder / "export.yaml"), _optional(folder / "quantization.yaml")
    nested = export.get("fingerprints")
    values = {**export, **nested} if isinstance(nested, dict) else export
    return Fingerprints(
        recipe=_first(values, "recipe", "recipe_hash", "recipe_sha256"),
        data=_first(values, "data", "data_fingerprint"),
        weights=_first(values, "weights", "weights_sha256"),
        calibration=_first(quantization, "calibration", "calibration_fingerprint", "fingerprint"),
    )


def _first(values: Mapping[str, Any], *keys: str) -> str:
    """The first of the keys that holds text."""
    return next((values[key] for key in keys if isinstance(values.get(key), str)), "")


def _optional(path: Path) -> dict[str, Any]:
    return read_yaml(path) if path.is_file() else {}


def _read_ledger(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}", found=str(error), wanted="a JSON ledger") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}", found=type(values).__name__, wanted="a JSON object")
    return _summary(values.get("entries")) or values


def _summary(entries: object) -> dict[str, Any]:
    """Mean average precision of each row, when these are rows that `understudy distill` wrote; empty otherwise."""
    if not isinstance(entries, list):
        return {}
    rows = [row for row in entries if isinstance(row, dict) and isinstance(row.get("mean_ap_percent"), dict)]
    means = {str(row.get("name")): row["mean_ap_percent"] for row in rows}
    return {
        name: {overlap: round(value, 1) for overlap, value in mean.items() if isinstance(value, (int, float))}
        for name, mean in means.items()
    }
