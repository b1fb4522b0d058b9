"""Rows that are measured after the study: quantized models, and the latency of any row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from understudy.bundle.bundle import open_bundle
from understudy.bundle.manifest import precision_named
from understudy.configuration import check_config
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy.evaluation import read_evaluation
from understudy.latency import LatencyRecord
from understudy.metrics.matching import OVERLAPS
from understudy_training.ledger import Ledger, LedgerEntry


def read_named(entries: Sequence[str], option: str) -> list[tuple[str, Path]]:
    """Entries `NAME=FILE` taken apart.

    Raises:
        InputError: when one has another form.
    """
    pairs = [entry.rpartition("=") for entry in entries]
    wrong = next((entry for entry, (name, _, path) in zip(entries, pairs, strict=True) if not (name and path)), None)
    if wrong is not None:
        raise InputError(option, found=wrong, wanted="NAME=FILE")
    return [(name, Path(path)) for name, _, path in pairs]


def add_quantized(
    ledger: Ledger, bundle_path: Path | None, parent: str | None, precision: str, evaluation: Path
) -> Ledger:
    """The ledger with a row for one quantized model of a bundle; without `parent`, of the first student.

    Raises:
        InputError: without a bundle, when there is no such row, or the evaluation is of other data or precision.
        BundleError: when the bundle has no such precision.
    """
    if bundle_path is None:
        raise InputError("--quantized", found="no --bundle", wanted="the bundle that was evaluated")
    origin, record = _row(ledger, parent or _first_student(ledger)), read_evaluation(evaluation)
    if record.data != origin.data:
        found, wanted = f"data {record.data[:12]}", f"data {origin.data[:12]}, as row {origin.name}"
        raise InputError(f"{evaluation}", found=found, wanted=wanted, remedy="evaluate both on the same split")
    if not record.subject.endswith(precision):
        raise InputError(f"{evaluation}", found=f"an evaluation of {record.subject}", wanted=precision)
    model = open_bundle(bundle_path).model(precision_named(precision))
    facts = origin.facts.model_copy(update={"file_bytes": model.stat().st_size, "latency_ms": None})
    return ledger.add(f"{origin.name} {precision}", "quantized", record, facts, parent=origin.name)


def with_latency(ledger: Ledger, name: str, path: Path) -> Ledger:
    """The ledger with the median of a latency record in the row called `name`.

    Raises:
        InputError: when there is no such row or the record was taken at another precision.
    """
    row = _row(ledger, name)
    record = check_config(read_json(path), LatencyRecord, f"{path}")
    wanted = name.removeprefix(row.parent).strip() if row.parent else "fp32"
    if record.precision != wanted:
        raise InputError(f"{path}", found=f"precision {record.precision}", wanted=f"{wanted}, for row {name}")
    latency_ms = float(np.median(record.samples_ns["total"])) / 1e6
    facts = row.facts.model_copy(update={"latency_ms": round(latency_ms, 3)})
    entries = [row.model_copy(update={"facts": facts}) if entry is row else entry for entry in ledger.entries]
    return ledger.model_copy(update={"entries": tuple(entries)})


def describe_losses(ledger: Ledger) -> Iterator[str]:
    """One line per quantized model: its mean average precision less that of the network it was made from."""
    rows = {entry.name: entry for entry in ledger.entries}
    for entry in ledger.entries:
        if entry.parent in rows:
            losses = _losses(rows[entry.parent], entry)
            yield f"{entry.name} - {entry.parent} in FP32, mean AP: {', '.join(losses)}"


def _losses(origin: LedgerEntry, entry: LedgerEntry) -> list[str]:
    pairs = {overlap: (origin.mean_ap_percent.get(overlap), entry.mean_ap_percent.get(overlap)) for overlap in OVERLAPS}
    return [
        f"{overlap} {after - before:+.1f}"
        for overlap, (before, after) in pairs.items()
        if before is not None and after is not None
    ]


def _first_student(ledger: Ledger) -> str:
    return next((entry.name for entry in ledger.entries if entry.role == "student"), "a student")


def _row(ledger: Ledger, name: str) -> LedgerEntry:
    row = next((entry for entry in ledger.entries if entry.name == name), None)
    if row is None:
        known = ", ".join(entry.name for entry in ledger.entries)
        raise InputError("ledger row", found=name, wanted=f"one of: {known or 'none, the ledger is empty'}")
    return row
