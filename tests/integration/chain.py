"""A whole chain in miniature, by the real parts but without training: what the wrong inputs are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.integration.zoo import KINDS, make_zoo
from understudy.bundle.archives import write_archive
from understudy.bundle.packing import pack
from understudy.datasets.opening import open_dataset
from understudy.images import encode_png
from understudy.recording import record_bag
from understudy_calibration.activations.quantization import QuantizationOptions, quantize_folder
from understudy_training.checkpoint import RunRecord, save_run
from understudy_training.export import export_run
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import check_recipe
from understudy_training.scenes.config import SceneConfig
from understudy_training.scenes.writer import make_scenes
from understudy_training.testing import recipe_values

CLASS_NAMES = ("car", "truck", "pedestrian", "cyclist")
CALIBRATION = """\
P2: 700 0 80 0 0 700 48 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""
LABEL = "Car 0.00 0 0.10 10.0 10.0 60.0 60.0 1.50 1.80 4.20 0.00 1.70 10.00 0.10\n"


@dataclass(frozen=True)
class Chain:
    """Where each link lies; `names` are the words that a command line may use for them."""

    root: Path

    @property
    def names(self) -> dict[str, Path]:
        links = ("scenes", "run", "recipe.yaml", "export", "bundle", "bundle.zip", "bag", "kitti", *KINDS)
        return {link.replace(".", "_"): self.root / link for link in links}

    def __getattr__(self, name: str) -> Path:
        try:
            return self.names[name]
        except KeyError:
            raise AttributeError(name) from None


def make_chain(root: Path) -> Chain:
    """Six frames, an untrained detector on 32 x 32 cells, its export, bundle, bag; a KITTI frame, each other kind."""
    chain = Chain(root)
    lidar = {"beams": 16, "azimuth_steps": 180}
    make_scenes(SceneConfig(num_drives=2, num_val_drives=1, num_frames=3, lidar=lidar, camera=None), chain.scenes)
    _save_untrained(chain)
    export_run(chain.run, chain.export)
    options = QuantizationOptions(num_frames=2, threads=1)
    quantize_folder(chain.export, open_dataset(chain.scenes, "train"), options)
    pack(chain.export, chain.bundle)
    write_archive(chain.bundle, chain.bundle_zip)
    record_bag(open_dataset(chain.scenes, "val"), chain.bag)
    _write_kitti(chain.kitti / "training")
    make_zoo(root, chain.scenes)
    return chain


def _save_untrained(chain: Chain) -> None:
    values = recipe_values()
    values["detector"] = {**values["detector"], "class_names": list(CLASS_NAMES)}  # type: ignore[dict-item]
    recipe = check_recipe(values, "the chain's recipe")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = BevDetector(recipe.detector_config()).eval()
    nothing = dict.fromkeys(("seed", "epochs", "steps", "frames", "wall_s", "cpu_s", "parameters", "gmacs"), 0)
    save_run(chain.run, detector, recipe, RunRecord(precision="32-true", device="cpu", threads=1, **nothing))
    chain.recipe_yaml.write_bytes((chain.run / "recipe.yaml").read_bytes())


def _write_kitti(folder: Path) -> None:
    """One frame: a road of returns, a picture, a calibration and a car."""
    generator = np.random.default_rng(0)
    points = np.column_stack([generator.uniform(-20, 20, (500, 2)), np.full(500, -1.7), generator.random(500)])
    files = {
        "velodyne/000000.bin": points.astype("<f4").tobytes(),
        "image_2/000000.png": encode_png(np.zeros((96, 160), np.uint8)),
        "calib/000000.txt": CALIBRATION.encode(),
        "label_2/000000.txt": LABEL.encode(),
    }
    for name, contents in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)
