"""A small street of generated scenes with other passes, cues and a recipe: what the label-free tests train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from understudy.datasets.opening import open_dataset
from understudy_training.label_free.cues import write_cues
from understudy_training.label_free.labels import Unlabeled
from understudy_training.label_free.passes import OtherPasses, read_passes
from understudy_training.label_free.recipe import LabelFreeRecipe, read_label_free_recipe
from understudy_training.label_free.synthetic_cues import SurrogateSettings, synthetic_cues
from understudy_training.label_free.traversals import write_passes
from understudy_training.scenes.config import CameraConfig, LidarConfig, SceneConfig
from understudy_training.scenes.writer import make_scenes

CONFIG = SceneConfig(
    seed=5,
    num_drives=3,
    num_val_drives=1,
    num_frames=2,
    turns_per_frame=5,
    lidar=LidarConfig(beams=32, azimuth_steps=540, range_m=40.0),
    camera=CameraConfig(width_px=160, height_px=96),
)


@dataclass(frozen=True)
class Street:
    """Where things lie."""

    data: Path
    passes: Path
    cues: Path

    def others(self, recipe: LabelFreeRecipe) -> OtherPasses:
        dataset = Unlabeled(open_dataset(self.data, "train"))
        others = Unlabeled(open_dataset(self.passes, "all"))
        return OtherPasses(dataset, others, read_passes(self.passes), recipe.persistency)


def make_street(folder: Path) -> Street:
    street = Street(folder / "data", folder / "passes", folder / "cues.json")
    make_scenes(CONFIG, street.data, workers=1)
    write_passes(CONFIG, street.passes, 3, every=1)
    write_cues(street.cues, synthetic_cues(open_dataset(street.data, "train"), SurrogateSettings()))
    return street


def small_recipe(*class_names: str, **self_training: object) -> LabelFreeRecipe:
    """Rounds of an epoch with a detector that sees 25 m."""
    recipe = read_label_free_recipe("scenes-objects")
    student = recipe.student.model_dump()
    student["detector"] |= {
        "size": "nano",
        "grid": {"x_range_m": [-25.6, 25.6], "y_range_m": [-25.6, 25.6], "z_range_m": [-1.0, 3.0], "cell_m": 0.8},
        "class_names": class_names or ("object",),
        "strides": (1, 2, 2),
        "output_stride": 1,
    }
    student |= {"schedule": {"epochs": 1, "peak_learning_rate": 0.004}, "precision": "32-true"}
    student["data"] |= {"batch_size": 2}
    rules = {"rounds": 2, "min_score": 0.02, "averaging": {"start_round": 1, "decay": 0.9}} | self_training
    values = recipe.model_dump() | {"student": student, "self_training": rules, "reach_m": 36.0}
    return LabelFreeRecipe.model_validate(values)
