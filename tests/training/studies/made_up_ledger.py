"""Ledgers of studies that never took place, for tables, plots and verdicts."""

from __future__ import annotations

import numpy as np

from understudy_training.studies.records import StudyLedger, StudyRow

CLASSES = ("car", "truck", "pedestrian", "cyclist")
RANGES_M = ((0.0, 40.0), (0.0, 20.0), (20.0, 40.0))


def row(label: str, seed: int, mean: float, part: str = "method", **changes: object) -> StudyRow:
    """A row whose classes lie around a mean: car +6, truck +2, pedestrian -2, cyclist -6; near +3, far -3."""
    offsets = dict(zip((*CLASSES, "mean"), (6.0, 2.0, -2.0, -6.0, 0.0), strict=True))
    farther = {"0-40": 0.0, "0-20": 3.0, "20-40": -3.0}
    by_range = {
        name: {class_name: mean + away + offset for class_name, offset in offsets.items()}
        for name, away in farther.items()
    }
    values: dict[str, object] = {
        "part": part,
        "label": label,
        "student": "small",
        "teacher": "" if part == "control" else "teacher",
        "seed": seed,
        "ap_percent": {"3d": by_range, "bev": by_range},
        "parameters": 300_000,
        "gmacs": 0.34,
        "labels": 0 if part == "control" else 240,
        "steps": 100,
        "cpu_s": 100.0 if part == "control" else 110.0,
        "wall_s": 60.0,
    }
    return StudyRow(**{**values, "labels": 240} | changes)


def ledger_of(means: dict[str, list[float]], controls: list[float], **changes: object) -> StudyLedger:
    """A ledger with these means by method and seed; labels that end with -shuffled or -random are such."""
    rows = [row("teacher", 0, 80.0, "teacher", student="", teacher="", parameters=4_530_000, gmacs=3.42)]
    rows += [row("control", seed, mean, "control") for seed, mean in enumerate(controls)]
    for label, values in means.items():
        part = next((part for part in ("shuffled", "random") if label.endswith(part)), "method")
        rows += [row(label, seed, mean, part) for seed, mean in enumerate(values)]
    values = {
        "name": "made-up",
        "data": {"train": "t" * 64, "eval": "e" * 64},
        "num_frames": 96,
        "class_names": CLASSES,
        "ranges_m": RANGES_M,
        "methods": {label: f"paper of {label}" for label in means},
        "rows": tuple(rows),
        "planned": len(rows),
    }
    return StudyLedger(**values | changes)


def of_many_methods(seed: int = 0, num_methods: int = 14) -> StudyLedger:
    """One method gains six, one loses, the others do nothing; the shuffled teacher ruins its student."""
    generator = np.random.default_rng(seed)
    controls = 70 + generator.normal(0, 1, 3)
    names = ["dense_response", "attention_transfer", *(f"method_{number}" for number in range(2, num_methods))]
    gains = dict.fromkeys(names, 0.0) | {"dense_response": 6.0, "attention_transfer": -4.0}
    gains |= {"dense_response-shuffled": -45.0, "dense_response-random": -9.0}
    means = {name: list(controls + gain + generator.normal(0, 0.9, 3)) for name, gain in gains.items()}
    return ledger_of(means, list(controls))
