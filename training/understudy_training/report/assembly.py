"""From records to the page."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from understudy import __version__
from understudy.datasets.dataset import Dataset
from understudy.errors import InputError
from understudy.metrics.matching import OVERLAPS
from understudy.progress import Track, silent
from understudy_training.ledger import Ledger, LedgerEntry
from understudy_training.ledger_rows import describe_losses, read_named
from understudy_training.ledger_table import describe_gain
from understudy_training.report.contents import accuracy_section, latency_section, parity_section, replay_section
from understudy_training.report.page import Page, Section, Table
from understudy_training.report.scenery import scenery_section
from understudy_training.report.sources import Sources

_MAX_NETWORKS = 2


@dataclass(frozen=True, eq=False)
class Pictures:
    """What to draw.

    Attributes:
        dataset: labeled frames.
        networks: bundles or run folders by name, at most 2.
        num_frames: how many frames.
    """

    dataset: Dataset
    networks: Mapping[str, Path]
    num_frames: int


def read_networks(entries: Sequence[str]) -> dict[str, Path]:
    """Entries `NAME=BUNDLE_OR_RUN`.

    Raises:
        InputError: when an entry has another form or there are more than two.
    """
    networks = dict(read_named(entries, "--network"))
    if len(networks) > _MAX_NETWORKS:
        raise InputError("--network", found=f"{len(networks)} networks", wanted=f"at most {_MAX_NETWORKS}")
    return networks


def assemble(sources: Sources, pictures: Pictures, title: str, track: Track = silent) -> Page:
    """The page, its sections in the order of the chain."""
    ledger = sources.ledger
    sections = [
        ledger_section(ledger),
        scenery_section(pictures.dataset, pictures.networks, pictures.num_frames, track),
        accuracy_section(sources.evaluations),
    ]
    sections += [parity_section(sources.parity)] if sources.parity else []
    sections += [latency_section(sources.latencies)] if sources.latencies else []
    sections += [replay_section(sources.replays)] if sources.replays else []
    gain = ledger.gain()
    shown = gain is not None and gain.verdict == "gain shown"
    return Page(title, _made(), tuple(_verdict(ledger)), shown, sections)


def ledger_section(ledger: Ledger) -> Section:
    """Every network with what it is worth and what it costs."""
    names = list(dict.fromkeys(name for entry in ledger.entries for name in entry.ap_percent.get("3d", {})))
    header = ("network", *(f"{name} bev / 3d" for name in names), "mean bev / 3d", "parameters", "GMAC", "MB", "ms")
    rows = tuple(_ledger_row(entry, names) for entry in ledger.entries)
    text = (
        "Average precision in percent over the validation drives. A control is the same student with the same seed, "
        "data order and budget, without the teacher. MB is a run's weights file, or a quantized model's ONNX file.",
    )
    return Section("Ledger", text, (Table(header, rows),))


def _ledger_row(entry: LedgerEntry, names: Sequence[str]) -> tuple[str, ...]:
    facts = entry.facts
    by_class = [_pair(*(entry.ap_percent.get(overlap, {}).get(name) for overlap in OVERLAPS)) for name in names]
    mean = _pair(*(entry.mean_ap_percent.get(overlap) for overlap in OVERLAPS))
    millions = None if facts.parameters is None else facts.parameters / 1e6
    megabytes = None if facts.file_bytes is None else facts.file_bytes / 1e6
    costs = (_number(millions, 2, " M"), _number(facts.gmacs, 2), _number(megabytes, 1), _number(facts.latency_ms, 1))
    return (entry.name, *by_class, mean, *costs)


def _pair(*values: float | None) -> str:
    return " / ".join(_number(value, 1) for value in values)


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def _verdict(ledger: Ledger) -> list[str]:
    gains = [ledger.gain(overlap) for overlap in OVERLAPS]
    lines = [describe_gain(gain) for gain in gains if gain is not None]
    return lines + list(describe_losses(ledger))


def _made() -> str:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"Understudy {__version__}, {now}, Python {platform.python_version()}, {platform.platform()}"
