"""What `understudy inspect` shows of a bundle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from understudy.bundle.bundle import Bundle
from understudy.bundle.manifest import Manifest, Tensor
from understudy.bundle.names import CHECKSUMS
from understudy.bundle.verifying import signature_line
from understudy.cards import card, megabytes
from understudy.engines.attestation import describe
from understudy.engines.engine_key import EngineRecord, attestation_of, known_engines
from understudy.errors import EngineError

Row = tuple[str, str]
_LEDGER_ROWS = 12


def bundle_card(bundle: Bundle) -> str:
    """The card of a verified bundle."""
    manifest = bundle.manifest
    rows = [
        _place(bundle),
        ("task", f"{manifest.task}, schema {manifest.schema_version}, fingerprint {bundle.fingerprint[:12]}"),
        ("classes", ", ".join(f"{entry.name} >= {entry.score_threshold:g}" for entry in manifest.classes)),
        ("grid", _grid(manifest)),
        ("input", _input(manifest)),
        ("tensors in", _tensors(manifest.inputs)),
        ("tensors out", _tensors(manifest.outputs)),
        ("signature", signature_line(bundle, bundle.trusted_keys)),
        *_labeled("models", _models(bundle)),
        *_labeled("engines", _engines(bundle)),
        *_labeled("tolerances", _tolerances(manifest)),
        *_labeled("made from", _fingerprints(manifest)),
        *_labeled("ledger", _ledger(manifest.ledger)),
    ]
    return card(f"bundle {manifest.name}: {_verified(bundle)}", rows)


def engine_line(record: EngineRecord) -> str:
    """One engine in one line."""
    parts = [f"{record.target} {record.precision}", record.library]
    parts.append(f"{record.file}, {megabytes(record.size_bytes)}" if record.file else "session ready")
    parts.append(f"{record.build_s:.2f} s")
    if record.first_run_s is not None:
        parts.append(f"first run {record.first_run_s * 1e3:.1f} ms")
    if record.num_convolutions:
        parts.append(f"{record.num_int8_convolutions} of {record.num_convolutions} convolutions INT8")
    return ", ".join(parts)


def precision_tables(bundle: Bundle) -> Iterator[str]:
    """For each compiled engine, a table of its layers with weights.

    Raises:
        EngineError: when there is none, or one cannot be read.
    """
    tables = [(known.record, attestation_of(bundle, known.record)) for known in known_engines(bundle)]
    if not any(attestation for _, attestation in tables):
        raise EngineError(
            f"{bundle.folder}: engines with layers",
            found="none",
            wanted="one",
            remedy="understudy compile --target rtx",
        )
    for record, attestation in tables:
        if attestation is not None:
            yield f"\n{record.target} {record.precision}, {record.library}"
            yield from describe(attestation)


def _verified(bundle: Bundle) -> str:
    if not (bundle.folder / CHECKSUMS).is_file():
        return f"models verified, the manifest not: no {CHECKSUMS}"
    is_damaged = any(known.state == "damaged" for known in known_engines(bundle))
    return "manifest and models verified, AN ENGINE IS DAMAGED" if is_damaged else "every hash verified"


def _place(bundle: Bundle) -> Row:
    if bundle.archive is None:
        return ("folder", str(bundle.folder))
    return ("single file", f"{bundle.archive}, {megabytes(bundle.archive.stat().st_size)}")


def _labeled(label: str, values: Iterator[str]) -> list[Row]:
    """Rows of which only the first carries the label."""
    rows = [("", value) for value in values] or [("", "none")]
    return [(label, rows[0][1]), *rows[1:]]


def _grid(manifest: Manifest) -> str:
    grid = manifest.grid
    ranges = ", ".join(
        f"{name} {low:g}..{high:g} m"
        for name, (low, high) in (("x", grid.x_range_m), ("y", grid.y_range_m), ("z", grid.z_range_m))
    )
    return f"{ranges}; {grid.height} x {grid.width} cells of {grid.cell_m:g} m, in ego (ground, x forward)"


def _input(manifest: Manifest) -> str:
    contract_input = manifest.input
    if not manifest.sees_points:
        return _pictures(manifest)
    intensity = "intensity used" if contract_input.uses_intensity else "intensity ignored"
    fields = ", ".join(contract_input.point_fields)
    points = f"{contract_input.kind}: {fields}; up to {contract_input.max_points} points; {intensity}"
    return points if manifest.pictures is None else f"{points}; {_pictures(manifest)}"


def _pictures(manifest: Manifest) -> str:
    pictures = manifest.pictures
    assert pictures is not None
    names = f" ({', '.join(pictures.cameras)})" if pictures.cameras else ""
    return f"{pictures.num_cameras} pictures of {pictures.width_px} x {pictures.height_px} px{names}"


def _tensors(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(f"{tensor.name} {tensor.dtype} ({', '.join(map(str, tensor.shape))})" for tensor in tensors)


def _models(bundle: Bundle) -> Iterator[str]:
    for precision, model in bundle.manifest.models.items():
        size = megabytes(bundle.file(model.file).stat().st_size)
        digest = bundle.manifest.files[model.file][:12]
        yield f"{precision}: {model.file}, {size}, sha256 {digest}, opset {model.opset}, IR {model.ir_version}"


def _engines(bundle: Bundle) -> Iterator[str]:
    for known in known_engines(bundle):
        yield f"{engine_line(known.record)} [{known.state}]"


def _tolerances(manifest: Manifest) -> Iterator[str]:
    for precision, limit in manifest.tolerances.items():
        yield (
            f"{precision}: {limit.position_m:g} m, size {limit.size_m:g} m, yaw {limit.yaw_rad:g} rad, "
            f"score {limit.score:g}, matched >= {limit.min_matched:g}"
        )


def _fingerprints(manifest: Manifest) -> Iterator[str]:
    for name, value in manifest.fingerprints.model_dump().items():
        if value:
            yield f"{name} {value[:16]}"


def _ledger(ledger: Mapping[str, Any]) -> Iterator[str]:
    for count, (name, value) in enumerate(ledger.items()):
        if count == _LEDGER_ROWS:
            yield f"... and {len(ledger) - count} more entries"
            return
        yield f"{name}: {_readable(value)}"


def _readable(value: object) -> str:
    if isinstance(value, dict) and all(isinstance(part, (str, int, float)) for part in value.values()):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value) if isinstance(value, (str, int, float)) else json.dumps(value)
