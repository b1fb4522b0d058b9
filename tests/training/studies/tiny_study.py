"""A study of a few steps on a few frames, for tests that train for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from understudy_training.testing import recipe_values

CLASSES = ["car", "truck", "pedestrian", "cyclist"]
GRID = {"x_range_m": [-25.6, 25.6], "y_range_m": [-25.6, 25.6], "z_range_m": [-1.0, 3.0], "cell_m": 1.6}
DENSE = {"label": "dense", "distillation": {"terms": [{"kind": "dense_response"}]}}
FITNET = {"label": "fitnet", "distillation": {"terms": [{"kind": "fitnet"}]}}


def recipe(name: str, **changes: Any) -> dict[str, Any]:
    """The tiny recipe for road users, with changes at the top level."""
    values = recipe_values(name=name, **changes)
    return values | {"detector": values["detector"] | {"class_names": CLASSES, "grid": GRID}}


def study_values(**changes: Any) -> dict[str, Any]:
    """The smallest complete study, with changes at the top level."""
    values: dict[str, Any] = {
        "name": "tiny",
        "seeds": [0, 1],
        "teachers": {"big": {"recipe": "teacher.yaml"}},
        "students": {"small": {"recipe": "student.yaml"}},
        "methods": [DENSE],
    }
    return values | changes


def write_study(folder: Path, student: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The study's file with its recipes beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "teacher.yaml").write_text(yaml.safe_dump(recipe("big")))
    (folder / "student.yaml").write_text(yaml.safe_dump(recipe("small", **(student or {}))))
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study_values(**changes), sort_keys=False))
    return path
