"""What a report is made from: records that the other verbs wrote, each optional, each checked when read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.configuration import check_config
from understudy.datasets.files import read_json
from understudy.errors import InputError
from understudy.evaluation import Evaluation, read_evaluation
from understudy.latency import LatencyRecord
from understudy.parity.ladder import LadderReport
from understudy_training.ledger import Ledger, read_ledger
from understudy_training.ledger_rows import read_named


@dataclass(frozen=True, eq=False)
class Sources:
    """The records of one report.

    Attributes:
        ledger: the study.
        evaluations: by name, in the order of the curves.
        parity: the ladder, or None.
        latencies: one per configuration measured.
        replays: summaries of replays.
    """

    ledger: Ledger
    evaluations: dict[str, Evaluation]
    parity: LadderReport | None
    latencies: tuple[LatencyRecord, ...]
    replays: tuple[dict[str, Any], ...]


def read_sources(
    ledger: Path, evaluations: Sequence[str], parity: Path | None, latencies: Sequence[Path], replays: Sequence[Path]
) -> Sources:
    """Reads every record named on the command line.

    Args:
        ledger: what `understudy distill` wrote and `understudy ledger` added to.
        evaluations: entries `NAME=FILE`.
        parity: what `understudy compare --json` wrote.
        latencies: what `understudy latency --json` wrote.
        replays: summaries that `understudy replay` wrote, or the folders that hold them.

    Raises:
        InputError: when a file is missing or holds something else.
    """
    return Sources(
        ledger=read_ledger(ledger),
        evaluations={name: read_evaluation(path) for name, path in read_named(evaluations, "--evaluation")},
        parity=check_config(read_json(parity), LadderReport, str(parity)) if parity else None,
        latencies=tuple(check_config(read_json(path), LatencyRecord, str(path)) for path in latencies),
        replays=tuple(_read_replay(path) for path in replays),
    )


def _read_replay(path: Path) -> dict[str, Any]:
    path = path / "replay.json" if path.is_dir() else path
    summary = read_json(path)
    if not isinstance(summary, dict):
        raise InputError(f"{path}", found=type(summary).__name__, wanted="a summary that replay wrote")
    missing = {"bag", "num_frames", "num_detections", "topics", "digest"} - set(summary)
    if missing:
        raise InputError(f"{path}", found=f"no {', '.join(sorted(missing))}", wanted="a summary that replay wrote")
    return summary
