"""From a data set's class names to ours: the four classes that students are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

CLASS_NAMES = ("car", "truck", "pedestrian", "cyclist")
"""Classes of our own scenes and of every reader, in label order."""


def labels_from_names(
    names: Sequence[str], class_map: Mapping[str, str], class_names: Sequence[str] = CLASS_NAMES
) -> NDArray[np.int32]:
    """`(N,)` index into `class_names` for each foreign name, -1 where the map has none."""
    index = {name: label for label, name in enumerate(class_names)}
    return np.array([index.get(class_map.get(name, ""), -1) for name in names], np.int32)
