"""Boxes that are no part of the scene, such as those of earlier frames, moved as a drawn change moved the scene."""

from __future__ import annotations

import numpy as np

from understudy.boxes import Boxes
from understudy_training.augmentation.config import Change
from understudy_training.augmentation.frame_steps import DrawnFlip, DrawnScale, DrawnTranslate, DrawnTurn
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.whole_frame import Draw

_OF_THE_WHOLE = (DrawnFlip, DrawnTurn, DrawnScale, DrawnTranslate)


def moved_alike(change: Draw | Change, boxes: Boxes) -> Boxes:
    """The boxes mirrored, turned, scaled and translated with the scene; what happened to single objects stays away.

    Args:
        change: what was drawn for the scene.
        boxes: in ego as the scene was before.
    """
    if isinstance(change, Draw):
        return change.boxes(boxes)
    whole = Change(steps=tuple(step for step in change.steps if isinstance(step, _OF_THE_WHOLE)))
    return whole.apply(Scene(np.zeros((0, 4), np.float32), boxes)).boxes
