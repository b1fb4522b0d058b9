"""A ledger as text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterator

from understudy.metrics.matching import OVERLAPS, Overlap
from understudy_training.ledger import PRIMARY, Gain, Ledger, LedgerEntry

_TITLES: dict[Overlap, str] = {"bev": "from above", "3d": "in 3D"}
_MAX_CLASSES = 5
_COLUMNS = 100


def describe_ledger(ledger: Ledger) -> Iterator[str]:
    """A row per network for each overlap, then the gain and what can be said of it."""
    names = _class_names(ledger)
    overlaps = (PRIMARY, *(other for other in OVERLAPS if other != PRIMARY))
    for overlap in overlaps:
        yield _header(overlap, names)
        for entry in ledger.entries:
            yield _row(entry, overlap, names)
    for overlap in overlaps:
        gain = ledger.gain(overlap)
        if gain is not None:
            yield from (describe_gain(gain), describe_seeds(gain))
    if any(entry.facts.teacher_shuffled for entry in ledger.entries):
        yield "the teacher was shuffled: it answered about other frames, so no gain may be shown"


def describe_gain(gain: Gain) -> str:
    """Student minus control: the mean, its interval, the verdict."""
    interval = "no interval from one seed"
    if gain.interval is not None:
        interval = f"95 % interval {gain.interval[0]:+.1f} to {gain.interval[1]:+.1f}"
    title = _TITLES[gain.overlap]
    return f"gain in mean AP {title}: {gain.mean:+.1f}, {interval} over {len(gain.by_seed)} seeds: {gain.verdict}"


def describe_seeds(gain: Gain) -> str:
    """Student minus control, seed by seed."""
    return f"  student - control by seed: {', '.join(f'{value:+.1f}' for value in gain.by_seed.values())}"[:_COLUMNS]


def _class_names(ledger: Ledger) -> list[str]:
    names = [name for entry in ledger.entries for name in entry.ap_percent.get(PRIMARY, {})]
    return list(dict.fromkeys(names))[:_MAX_CLASSES]


def _header(overlap: Overlap, names: list[str]) -> str:
    classes = "".join(f"{name[:7]:>8s}" for name in names)
    title = f"AP in %, {_TITLES[overlap]}"
    return f"{title:22s}{classes}{'mean':>7s}{'params':>9s}{'GMAC':>7s}{'MB':>6s}{'ms':>7s}"[:_COLUMNS]


def _row(entry: LedgerEntry, overlap: Overlap, names: list[str]) -> str:
    by_class = entry.ap_percent.get(overlap, {})
    classes = "".join(f"{_number(by_class.get(name)):>8s}" for name in names)
    facts = entry.facts
    parameters = "-" if facts.parameters is None else f"{facts.parameters / 1e6:.2f} M"
    megabytes = None if facts.file_bytes is None else facts.file_bytes / 1e6
    costs = f"{parameters:>9s}{_number(facts.gmacs, 2):>7s}{_number(megabytes):>6s}{_number(facts.latency_ms):>7s}"
    return f"{entry.name[:22]:22s}{classes}{_number(entry.mean_ap_percent.get(overlap)):>7s}{costs}"[:_COLUMNS]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
