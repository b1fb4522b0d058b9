"""Teachers that are not ours, made for tests: a graph with a description, a user's module, exports of detectors."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import onnx
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from understudy.bundle.inputs import DepthBins, Pictures
from understudy.bundle.manifest import Contract
from understudy.cli import build_app
from understudy.configuration import write_yaml
from understudy_training.batches import Batch, Collate, Views
from understudy_training.distillation.frames import load_frames
from understudy_training.export import onnx_bytes
from understudy_training.fitting import build_detector
from understudy_training.models.detector import BevDetector
from understudy_training.recipe import Recipe, check_recipe
from understudy_training.testing import CLASSES, GRID, MadeUpDataset, recipe_values

TERMS = [{"kind": "dense_response"}, {"kind": "feature", "level": "low"}, {"kind": "relation"}]
PICTURES = Pictures(
    num_cameras=2, width_px=64, height_px=32, focal_px=40.0, depth=DepthBins(near_m=1.0, far_m=20.0, count=12)
)
CELLS = (32, 32)

MODULE = textwrap.dedent("""
    from dataclasses import dataclass

    import torch
    from torch import nn


    @dataclass
    class Maps:
        heatmap: torch.Tensor
        regression: torch.Tensor
        early: torch.Tensor


    class Occupied(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.stem = nn.Conv2d(1, width, 3, padding=1)
            self.centers = nn.Conv2d(width, 3, 1)
            self.boxes = nn.Conv2d(width, 8, 1)

        def collate(self, frames):
            maps = torch.zeros(len(frames), 1, 32, 32)
            for number, frame in enumerate(frames):
                cells = torch.from_numpy(((frame.points[:, :2] + 12.8) / 0.8).clip(0, 31)).long()
                maps[number, 0, cells[:, 1], cells[:, 0]] = 1
            return {"bev": maps}

        def forward(self, inputs):
            seen = self.stem(inputs["bev"]).relu()
            return Maps(self.centers(seen), self.boxes(seen), seen)


    def build(width=4):
        torch.manual_seed(0)
        return Occupied(width)


    def build_nothing():
        return None


    class Broken(Occupied):
        def forward(self, inputs):
            raise ValueError("no such thing")


    def build_broken():
        return Broken(4)


    class Lost(Occupied):
        def forward(self, inputs):
            said = super().forward(inputs)
            return Maps(said.heatmap / 0, said.regression, said.early)


    def build_lost():
        return Lost(4)
    """)


def recipe_of(terms: list[dict[str, object]] | None = None, **changes: object) -> Recipe:
    return check_recipe(recipe_values(distillation={"terms": terms or TERMS}, **changes), "x")


def detector_of(sensors: str = "lidar", *, learned: bool = False) -> BevDetector:
    """One with statistics that batch normalization has not at birth, so that a cut in a wrong place shows."""
    values = recipe_values()["detector"]
    if sensors != "lidar":
        values = values | {"sensors": sensors, "pictures": PICTURES.model_dump()}
    detector = build_detector(check_recipe(recipe_values(detector=values), "x"), 3)
    if learned:
        encoder = {"kind": "learned", "channels": 6, "max_pillars": 300, "max_points_per_pillar": 8}
        written_out = detector.config.model_dump() | {"encoder": encoder}
        detector = build_detector(check_recipe(recipe_values(detector=written_out), "x"), 3)
    generator = torch.Generator().manual_seed(0)
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return detector.eval()


def contract_of(detector: BevDetector) -> Contract:
    classes = [{"name": name, "score_threshold": 0.1} for name in CLASSES]
    config = detector.config
    return Contract(name="x", classes=classes, grid=GRID, input=config.graph_input(), pictures=config.pictures)


def exported(detector: BevDetector, folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(onnx_bytes(detector.export_spec()))
    write_yaml(folder / "contract.yaml", contract_of(detector))
    return folder


def batch_of(encode: object, recipe: Recipe, *, versions: tuple[int, ...] = (0,), seed: int = 0) -> Batch:
    frames = load_frames(recipe, MadeUpDataset(4))
    views = Views(frames, recipe.data.augmentation, seed)
    student = build_detector(recipe, 0)
    collate = Collate(student.collate, CLASSES, GRID, 3, {"teacher": encode})
    return collate([views[epoch, index] for epoch in versions for index in (2, 0)])


def described(**changes: object) -> dict[str, object]:
    """A graph's description whose head speaks otherwise in everything."""
    base = {
        "kind": "onnx",
        "model": "foreign.onnx",
        "grid": GRID.model_dump(mode="json"),
        "inputs": {"points": "cloud"},
        "rows": "x",
        "scores": "probabilities",
        "heatmap": [
            {"output": "vehicles", "classes": ["truck", "car"]},
            {"output": "people", "classes": ["pedestrian"]},
        ],
        "regression": [
            {"output": "place", "channels": ["dy_m", "dx_center", "z_bottom_m"]},
            {"output": "size", "channels": ["width_m", "log_length", "height_m", "ignored"]},
            {"output": "turn", "channels": ["yaw_rad"]},
        ],
        "low": "early",
    }
    return base | changes


def foreign_maps() -> dict[str, np.ndarray]:
    """Of a network whose rows run along x: values at the cell in column 5 (x) and row 9 (y)."""
    maps = {
        "vehicles": np.full((1, 2, *CELLS), 0.1),
        "people": np.full((1, 1, *CELLS), 0.1),
        "place": np.zeros((1, 3, *CELLS)),
        "size": np.ones((1, 4, *CELLS)),
        "turn": np.zeros((1, 1, *CELLS)),
        "early": np.zeros((1, 5, 16, 16)),
    }
    maps["vehicles"][0, :, 5, 9] = (0.3, 0.9)
    maps["place"][0, :, 5, 9] = (0.2, -0.25, 0.1)
    maps["size"][0, :, 5, 9] = (2.0, np.log(4.0), 1.5, 77.0)
    maps["turn"][0, 0, 5, 9] = 0.5
    maps["early"][0, 2, 3, 4] = 1.0
    return {name: value.astype(np.float32) for name, value in maps.items()}


def write_foreign(folder: Path, **changes: object) -> Path:
    """`foreign.onnx` that says the maps, the vehicles' raised by its cloud's mean intensity, and its description."""
    constants = {f"{name}_map": value for name, value in foreign_maps().items()} | {
        "columns": np.array([3], np.int64),
        "axes": np.array([0, 1], np.int64),
        "factor": np.float32(0.001),
    }
    nodes = [helper.make_node("Identity", [f"{name}_map"], [name]) for name in foreign_maps() if name != "vehicles"]
    nodes += [
        helper.make_node("Gather", ["cloud", "columns"], ["intensity"], axis=1),
        helper.make_node("ReduceMean", ["intensity", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["raised"]),
        helper.make_node("Add", ["vehicles_map", "raised"], ["vehicles"]),
        helper.make_node("Relu", ["vehicles"], ["unused"]),
    ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("cloud", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1, 2, *CELLS])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "foreign.onnx")
    (folder / "foreign.yaml").write_text(yaml.safe_dump(described(**changes)))
    return folder / "foreign.yaml"


def write_module(folder: Path, **changes: object) -> Path:
    (folder / "net.py").write_text(MODULE)
    values = {
        "kind": "torch",
        "module": "net.py:build",
        "grid": GRID.model_dump(mode="json"),
        "heatmap": [{"classes": ["truck", "pedestrian", "car"]}],
        "low": "early",
    }
    (folder / "net.yaml").write_text(yaml.safe_dump(values | changes))
    return folder / "net.yaml"


def run_cli(*command: object) -> tuple[int, str]:
    """Exit code, and what was printed and raised."""
    result = CliRunner().invoke(build_app(), [str(part) for part in command])
    return result.exit_code, f"{result.output}{result.exception or ''}"
