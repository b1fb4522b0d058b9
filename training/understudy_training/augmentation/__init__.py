"""Changed views of labeled frames, each decided by (seed, epoch, index) and nothing else."""

from understudy_training.augmentation.config import Augmentation, Change, draw, see, variant_of
from understudy_training.augmentation.scene import Scene
from understudy_training.augmentation.whole_frame import Draw

__all__ = ["Augmentation", "Change", "Draw", "Scene", "draw", "see", "variant_of"]
