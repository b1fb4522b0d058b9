"""`understudy replay` without its words: opens students, replays, compares, evaluates, and says what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from understudy.bundle.manifest import Precision
from understudy.errors import BagError, InputError
from understudy.evaluation_table import describe
from understudy.pipeline import Pipeline, open_pipeline
from understudy.progress import Track, bar
from understudy.replay.against import DEFAULT_TOLERANCE, Against, tolerance_from
from understudy.replay.labels import EVALUATION_FILE, Scoring
from understudy.replay.options import ReplayOptions
from understudy.replay.player import replay_bag
from understudy.replay.summary import ReplaySummary
from understudy.rig import Rig

Say = Callable[[str], None]


@dataclass(frozen=True)
class Extras:
    """What else is asked for.

    Attributes:
        precision: of both students; None for the runtime's best.
        runtime: of both.
        threads: of each engine.
        lidar: of the rig.
        against: bundle to compare with.
        tolerance: as `tolerance_from` reads it; empty asks for a report only.
        labels_topic: evaluate with these labels; empty does not.
    """

    precision: Precision | None = None
    runtime: str = "onnxruntime"
    threads: int = 1
    lidar: str | None = None
    against: Path | None = None
    tolerance: str = ""
    labels_topic: str = ""

    def __post_init__(self) -> None:
        if self.tolerance and self.against is None:
            raise InputError("--tolerance", found="no --against", wanted="another bundle to compare with")


def run_replay(
    bag: Path,
    bundle: Path,
    rig: Rig,
    out: Path,
    options: ReplayOptions,
    extras: Extras | None = None,
    *,
    say: Say,
    track: Track = bar,
) -> bool:
    """Replays, and compares and evaluates where that is asked for.

    Returns:
        Whether something fell short: a bag that was salvaged, or a tolerance that is not met.

    Raises:
        UnderstudyError: when something given is wrong; also after the table, when the bag is damaged and no salvage was
            asked for.
    """
    extras = extras or Extras()
    tolerance = tolerance_from(extras.tolerance) if extras.tolerance else DEFAULT_TOLERANCE
    with ExitStack() as stack:
        pipeline = stack.enter_context(_opened(bundle, rig, extras))
        against = None
        if extras.against is not None:
            against = Against(pipeline, stack.enter_context(_opened(extras.against, rig, extras)), tolerance)
        scoring = Scoring(pipeline, extras.labels_topic) if extras.labels_topic else None
        summary = replay_bag(bag, pipeline, out, options, against=against, scoring=scoring, track=track)
        _say_all(say, summary.lines())
        if scoring is not None:
            _evaluate(scoring, out, say)
    departs = against is not None and _departs(against, bool(extras.tolerance), say)
    return _is_damaged(summary, options, say) or departs


def _opened(bundle_path: Path, rig: Rig, extras: Extras) -> Pipeline:
    """The student for clouds of as many sweeps as it was trained with: the replay accumulates them."""
    precision, threads = extras.precision, extras.threads
    return open_pipeline(bundle_path, rig, precision, threads, extras.lidar, runtime=extras.runtime, sweeps=None)


def _evaluate(scoring: Scoring, out: Path, say: Say) -> None:
    evaluation = scoring.evaluation()
    evaluation.write(out / EVALUATION_FILE)
    _say_all(say, describe(evaluation))
    say(scoring.told)


def _departs(against: Against, is_asked: bool, say: Say) -> bool:
    report = against.report()
    _say_all(say, report.lines())
    if is_asked and not report.difference.passes:
        say(f"--tolerance is not met: {report.difference.reason}")
        return True
    return False


def _is_damaged(summary: ReplaySummary, options: ReplayOptions, say: Say) -> bool:
    if summary.damage is None:
        return False
    if not options.salvage:
        raise BagError(summary.damage, remedy=f"{summary.num_frames} frames before it are in {summary.out}")
    say(f"DAMAGED: {summary.damage}")
    return True


def _say_all(say: Say, lines: Iterable[str]) -> None:
    for line in lines:
        say(line)
