"""Teachers from graphs: our own exports and bundles, and described ONNX files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from tests.training.distillation.foreign_teachers import (
    CELLS,
    MODULE,
    PICTURES,
    batch_of,
    contract_of,
    detector_of,
    exported,
    recipe_of,
    run_cli,
    write_foreign,
    write_module,
)
from understudy.configuration import write_yaml
from understudy.errors import InputError, UnderstudyError
from understudy_training.checkpoint import read_record
from understudy_training.distillation.foreign_heads import HeadDescription
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.onnx_teacher import FeedMaker
from understudy_training.distillation.opened_teacher import open_teacher, weights_of_teacher
from understudy_training.distillation.teacher_cache import LiveTeacher
from understudy_training.fitting import fit
from understudy_training.made_up_feeds import made_up_rig
from understudy_training.models.observed import Observed
from understudy_training.recipe import check_recipe
from understudy_training.testing import CLASSES, GRID, MadeUpDataset, recipe_values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sensors", "learned"), [("lidar", False), ("lidar", True), ("camera", False), ("fusion", False)]
)
def test_an_export_says_what_its_detector_says(tmp_path, sensors, learned):
    detector = detector_of(sensors, learned=learned)
    opened = open_teacher(exported(detector, tmp_path / "export"), CLASSES)
    assert (opened.is_ours, opened.widths.low, opened.widths.high) == (False, 16, 96)
    assert opened.network.config.output_cell_m == pytest.approx(0.8)
    rig = made_up_rig(PICTURES)
    generator = np.random.default_rng(0)
    images = {name: generator.integers(0, 256, (32, 64, 3), dtype=np.uint8) for name in rig.cameras}
    seen = [
        Observed(MadeUpDataset(2)[0].frame.clouds["top"].points[1:], images, rig.cameras),
        Observed(images={}, cameras=rig.cameras),
    ]
    with torch.no_grad():
        wanted = detector(detector.collate(seen))
    found = opened.network(opened.network.collate(seen))
    for name in ("heatmap", "regression", "low", "high"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), atol=2e-5, rtol=1e-4, msg=name)


def test_a_run_its_export_and_its_bundle_teach_alike(tmp_path):
    recipe = recipe_of()
    fit(
        check_recipe(recipe_values(schedule={"epochs": 1}), "t"),
        load_frames(recipe, MadeUpDataset(4)),
        tmp_path / "run",
    )
    assert run_cli("export", tmp_path / "run", "--out", tmp_path / "export")[0] == 0
    assert run_cli("pack", tmp_path / "export", "--out", tmp_path / "bundle")[0] == 0
    places = [tmp_path / name for name in ("run", "export", "export/model.onnx", "bundle")]
    opened = [open_teacher(path, CLASSES) for path in places]
    assert [one.is_ours for one in opened] == [True, False, False, False]
    assert [one.weights for one in opened] == [weights_of_teacher(path) for path in places]
    assert opened[0].weights == read_record(tmp_path / "run").weights
    assert opened[1].weights == opened[2].weights
    said = [
        LiveTeacher(one.network, recipe.distillation.asked)(batch_of(one.network.collate, recipe)) for one in opened
    ]
    for name, part in said[0].named().items():
        for other in said[1:]:
            torch.testing.assert_close(other.named()[name], part, atol=2e-5, rtol=1e-4, msg=name)


def test_a_foreign_graph_is_said_in_our_units(tmp_path):
    opened = open_teacher(write_foreign(tmp_path), CLASSES)
    network = opened.network
    points = np.array([[0, 0, 0, 0.5], [0, 0, 0, 1.0]], np.float32)
    with torch.no_grad():
        said = network(network.collate([Observed(points)] * 3))
    assert network.config.class_names == CLASSES
    assert (opened.widths.low, opened.widths.high) == (5, 0)
    assert said.heatmap.shape == (3, 2, *CELLS)
    car, pedestrian = said.heatmap.sigmoid()[1, :, 9, 5].tolist()
    assert (car, pedestrian) == (pytest.approx(0.9 + 0.75e-3, abs=1e-5), pytest.approx(0.1, abs=1e-5))
    dx, dy, z_m, *logs, sine, cosine = said.regression[2, :, 9, 5].tolist()
    assert (dx, dy) == (pytest.approx(0.25), pytest.approx(0.25))
    assert z_m == pytest.approx(0.1 + 0.75)
    assert np.exp(logs).tolist() == pytest.approx([4.0, 2.0, 1.5])
    assert (sine, cosine) == (pytest.approx(np.sin(0.5)), pytest.approx(np.cos(0.5)))
    assert said.low[0, 2, 4, 3].item() == 1
    assert said.high.shape[1] == 0
    assert open_teacher(tmp_path / "foreign.onnx", CLASSES).weights == opened.weights


def test_a_cloud_without_points_is_fed_too(tmp_path):
    feed = FeedMaker(described_takes := contract_of(detector_of()).input, GRID, None, {"points": "points"})
    assert described_takes.kind == "points"
    assert np.isnan(feed([Observed()]).frames[0]["points"]).all()


def test_what_decides_the_answers_decides_the_hash(tmp_path):
    hashes = [weights_of_teacher(write_foreign(tmp_path))]
    hashes.append(weights_of_teacher(write_foreign(tmp_path, scores="logits")))
    model = onnx.load(tmp_path / "foreign.onnx")
    model.graph.node[-1].name = "another"
    onnx.save(model, tmp_path / "foreign.onnx")
    hashes.append(weights_of_teacher(tmp_path / "foreign.yaml"))
    module = write_module(tmp_path)
    hashes += [weights_of_teacher(module), weights_of_teacher(write_module(tmp_path, arguments={"width": 5}))]
    write_module(tmp_path)
    (tmp_path / "net.py").write_text(MODULE + "\n# changed\n")
    hashes.append(weights_of_teacher(module))
    assert len(set(hashes)) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"grid": GRID.model_dump() | {"cell_m": 0.4}},
            r"output vehicles: found \(1, 2, 32, 32\), wanted \(1, 2, 64, 64\)",
        ),
        ({"low": "raised"}, r"outputs: .*wanted a map \(B, C, h, w\) called raised"),
        ({"low": "nothing"}, r"foreign\.onnx: found no tensor nothing, wanted one that its graph makes"),
        ({"inputs": {}}, r"input cloud: wanted points, ego_from_sensor, intensity_factor; correct takes"),
        ({"takes": {"kind": "images"}, "inputs": {}}, r"input cloud"),
        ({"model": "missing.onnx"}, r"missing\.onnx: found no such file, wanted an ONNX file"),
        ({"model": "foreign.yaml"}, r"foreign\.yaml: found .*, wanted an ONNX file"),
        ({"kind": "jax"}, r"foreign\.yaml: kind: found jax, wanted onnx or torch"),
        ({"color": 1}, r"foreign\.yaml: unknown key color"),
        ({"regression": [{"channels": ["dx", "dy"]}]}, "height of the place is told by nothing; once by z_m or z_bott"),
        ({"heatmap": [{"output": "vehicles", "classes": ["car", "car"]}]}, "car is there twice"),
    ],
)
def test_what_does_not_fit_its_description_is_one_line(tmp_path, changes, message):
    path = write_foreign(tmp_path, **changes)
    with pytest.raises(UnderstudyError, match=message) as caught:
        open_teacher(path, CLASSES)
    assert "\n" not in str(caught.value)


def test_a_file_that_nothing_describes_is_refused(tmp_path):
    write_foreign(tmp_path)
    (tmp_path / "foreign.yaml").unlink()
    with pytest.raises(InputError, match=r"no description, wanted foreign\.yaml or contract\.yaml beside it"):
        open_teacher(tmp_path / "foreign.onnx", CLASSES)
    write_yaml(tmp_path / "contract.yaml", contract_of(detector_of()))
    with pytest.raises(InputError, match=r"found no heatmap, wanted an exported float32 detector of ours"):
        open_teacher(tmp_path / "foreign.onnx", CLASSES)
    with pytest.raises(InputError, match=r"found no weights\.safetensors, wanted a finished run"):
        open_teacher(tmp_path / "nothing", CLASSES)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (
            ["dx", "dx_m", "dy", "z_m", "log_length", "log_width", "log_height", "yaw_rad"],
            "place along x is told by dx",
        ),
        (
            ["dx", "dy", "z_m", "log_length", "log_width", "log_height", "sin_yaw"],
            "heading is told by sin_yaw; once by",
        ),
    ],
)
def test_each_quantity_is_told_once(channels, message):
    values = {"heatmap": [{"classes": ["car"]}], "regression": [{"channels": channels}]}
    with pytest.raises(ValueError, match=message):
        HeadDescription.model_validate(values)
