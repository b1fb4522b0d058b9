"""nuScenes-lidarseg: one class per point of each key frame's sweep, 32 classes.

Source: W. K. Fong et al., "Panoptic nuScenes" (RA-L 2022) and the data set's schema: `lidarseg.json` names a file of
one byte per point; the byte is the `index` of `category.json`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from understudy.boxes import Segments
from understudy.datasets.nuscenes_index import read_rows, texts
from understudy.errors import InputError


class LidarsegTable:
    """The point classes of a version folder.

    Raises:
        InputError: naming table and record, when one is missing or malformed; at access, when a file is.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder.parent
        rows = read_rows(folder / "lidarseg.json", lambda row: texts(row, "sample_data_token", "filename"))
        self._files: dict[str, str] = dict(rows)
        names = dict(read_rows(folder / "category.json", lambda row: (int(row["index"]), *texts(row, "name"))))
        if sorted(names) != list(range(len(names))):
            found = f"indices {sorted(names)}"
            raise InputError(f"{folder / 'category.json'}", found=found, wanted="0, 1, 2, ... without gaps")
        self.class_names = tuple(names[index] for index in range(len(names)))

    def file(self, sample_data_token: str) -> Path | None:
        """The file of a sweep's classes; None when the sweep has no such labels."""
        name = self._files.get(sample_data_token)
        return None if name is None else self._root / name

    def segments(self, sample_data_token: str, num_points: int) -> Segments | None:
        """The class of each of a sweep's points; None when the sweep has no such labels.

        Raises:
            InputError: when the file is missing, holds not one class per point, or a class that is not there.
        """
        path = self.file(sample_data_token)
        if path is None:
            return None
        try:
            labels = np.fromfile(path, np.uint8)
        except FileNotFoundError:
            raise InputError(f"{path}", found="no such file", wanted="a class per point") from None
        if len(labels) != num_points:
            raise InputError(f"{path}", found=f"{len(labels)} classes", wanted=f"{num_points}, one per point")
        if len(labels) and labels.max() >= len(self.class_names):
            raise InputError(f"{path}", found=f"class {labels.max()}", wanted=f"below {len(self.class_names)}")
        return Segments(labels.astype(np.int16), self.class_names)
