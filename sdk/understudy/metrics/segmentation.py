"""Segmentation: how often points of each class are given each class, and the official scores read off that.

Sources: J. Behley et al., "SemanticKITTI" (ICCV 2019) and its interface's evaluation; W. K. Fong et al., "Panoptic
nuScenes" (RA-L 2022) and the lidarseg evaluation of nuscenes-devkit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from understudy.boxes import Segments
from understudy.errors import InputError


class Confusion:
    """Counts of points by their true and their predicted class.

    Points without a true class (-1) are not counted. A point that is predicted as none of the classes (-1) is missed.

    Args:
        class_names: the classes, in label order.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._stride = len(self.class_names) + 1
        self._counts = np.zeros(self._stride**2, np.int64)

    def add(self, truth: Segments, predicted: Segments, source: str) -> None:
        """Counts the points of one sweep; `source` names the prediction in messages.

        Raises:
            InputError: when the classes are others, or there is not one prediction per point.
        """
        for segments in (truth, predicted):
            if segments.class_names != self.class_names:
                found, wanted = ", ".join(segments.class_names), ", ".join(self.class_names)
                raise InputError(f"{source}: classes", found=found, wanted=wanted)
        if len(predicted) != len(truth):
            raise InputError(
                source, found=f"{len(predicted)} points", wanted=f"{len(truth)}, one for each of the sweep"
            )
        self.add_labels(truth.labels, predicted.labels)

    def add_labels(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Counts `(N,)` true and predicted labels, each -1 or an index of a class, as the caller sees to."""
        pairs = truth * np.int16(self._stride) + predicted
        pairs += np.int16(self._stride + 1)
        self._counts += np.bincount(pairs, minlength=self._stride**2)

    @property
    def counts(self) -> NDArray[np.int64]:
        """`(C, C + 1)` points of each true class (rows) by predicted class; the last column is none of them."""
        square = self._counts.reshape(self._stride, self._stride)[1:]
        return np.roll(square, -1, axis=1)

    def ious(self) -> NDArray[np.float64]:
        """`(C,)` intersection over union of each class; NaN for one that is neither there nor predicted."""
        counts = self.counts
        correct = np.diagonal(counts)
        united = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) - correct
        ious: NDArray[np.float64] = np.divide(correct, united, out=np.full(len(united), np.nan), where=united > 0)
        return ious


def semantickitti_values(confusion: Confusion) -> dict[str, float | None]:
    """SemanticKITTI's scores, 0 to 1: a class that is neither there nor predicted counts as 0 in the mean.

    The accuracy leaves out points that are predicted as none of the classes.
    """
    counts, ious = confusion.counts[:, :-1], np.nan_to_num(confusion.ious())
    accuracy = float(np.diagonal(counts).sum() / max(int(counts.sum()), 1))
    return {"mIoU": float(ious.mean()), "accuracy": accuracy, **_by_class(confusion, ious)}


def lidarseg_values(confusion: Confusion) -> dict[str, float | None]:
    """nuScenes-lidarseg's scores, 0 to 1: a class that is neither there nor predicted is left out of the means."""
    ious, shares = confusion.ious(), confusion.counts.sum(axis=1)
    known = ~np.isnan(ious)
    mean = float(ious[known].mean()) if known.any() else None
    total = int(shares.sum())
    weighted = float((shares[known] * ious[known]).sum() / total) if total else None
    return {"mIoU": mean, "fwIoU": weighted, **_by_class(confusion, ious)}


def _by_class(confusion: Confusion, ious: NDArray[np.float64]) -> dict[str, float | None]:
    return {
        f"{name}/IoU": None if np.isnan(iou) else float(iou)
        for name, iou in zip(confusion.class_names, ious, strict=True)
    }
