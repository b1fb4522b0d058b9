"""What the verbs `understudy xray ...` say, in lines of at most 100 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from understudy.datasets.relabeled import LabelsUsed, RelabeledDescription
from understudy.evaluation import Evaluation
from understudy_training.xray.labeling import MadeLabels


def describe_comparison(raw: Evaluation, complete: Evaluation) -> list[str]:
    """Average precision in 3D by class on both kinds of frames."""
    rows = [(name, raw.entry(name).ap_percent, complete.entry(name).ap_percent) for name in raw.class_names]
    rows.append(("mean", raw.mean_ap_percent(), complete.mean_ap_percent()))
    lines = [f"{'AP in 3D':<24}{'raw frames':>12}{'complete':>12}{'gain':>8}"]
    for name, before, after in rows:
        gain = f"{after - before:+8.1f}" if before is not None and after is not None else f"{'-':>8}"
        lines.append(f"{name:<24}{_percent(before):>12}{_percent(after):>12}{gain}")
    note = f"{raw.num_frames} frames; the objects were gathered by the labels, which a vehicle does not have"
    return [*lines, note]


def describe_share(description: RelabeledDescription) -> list[str]:
    """Which drives keep their labels, and how many labels that is."""
    drives = Counter[str]()
    for drive in description.drives:
        drives[drive.role] += 1
    counted = ", ".join(f"{drives[role]} {role.replace('_', ' ')}" for role in ("labeled", "held_out", "unlabeled"))
    return [f"drives: {counted}", describe_used(description.labels_used)]


def describe_labels(made: Sequence[MadeLabels], precision: float, used: LabelsUsed) -> list[str]:
    """Threshold of each class, what it was chosen by, and how many boxes it gave."""
    lines = [_row("class", "threshold", "precision", "recall", "boxes made", "doubtful")]
    for entry in made:
        measured = (_part(entry.threshold), _part(entry.precision), _part(entry.recall))
        lines.append(_row(entry.class_name, *measured, f"{entry.num_boxes:,}", f"{entry.num_doubtful:,}"))
    without = [entry.class_name for entry in made if entry.threshold is None]
    if without:
        lines.append(f"no labels for {', '.join(without)}: on the drives held out never {precision:.0%} were right")
    return [*lines, describe_used(used)]


def _row(name: str, threshold: str, precision: str, recall: str, boxes: str, doubtful: str) -> str:
    return f"{name:<24}{threshold:>12}{precision:>12}{recall:>9}{boxes:>13}{doubtful:>12}"


def describe_used(used: LabelsUsed) -> str:
    """How much was labeled by hand."""
    share = f"{used.share:.1%} of {used.of_frames}"
    return f"labels used: {used.boxes:,} boxes in {used.frames} frames ({share})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _part(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
