"""Teachers from anywhere: runs, exports, bundles, described ONNX files, users' modules; one of them or several."""

from __future__ import annotations

import copy
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from typer.testing import CliRunner

from understudy.bundle.inputs import DepthBins, Pictures
from understudy.bundle.manifest import Contract
from understudy.cli import build_app
from understudy.configuration import write_yaml
from understudy.errors import InputError, UnderstudyError
from understudy_training.batches import Batch, Collate, Views
from understudy_training.checkpoint import read_record
from understudy_training.distillation.foreign_heads import HeadDescription
from understudy_training.distillation.frames import load_frames
from understudy_training.distillation.onnx_teacher import FeedMaker, OnnxDescription
from understudy_training.distillation.opened_teacher import OpenedTeacher, open_teacher, weights_of_teacher
from understudy_training.distillation.teacher_cache import CachedTeacher, LiveTeacher, weights_bytes
from understudy_training.distillation.teaching import make_teacher, make_teachings, refuse_unless_comparable
from understudy_training.distillation.torch_teacher import Carried
from understudy_training.export import onnx_bytes
from understudy_training.fitting import build_detector, fit
from understudy_training.ledger import read_ledger
from understudy_training.made_up_feeds import made_up_rig
from understudy_training.models.detector import BevDetector
from understudy_training.models.observed import Observed
from understudy_training.recipe import Recipe, check_recipe
from understudy_training.testing import CLASSES, GRID, MadeUpDataset, recipe_values
from understudy_training.tracking.metrics import read_metrics

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


def test_a_users_module_with_its_weights_teaches(tmp_path):
    opened = open_teacher(write_module(tmp_path), CLASSES)
    own = opened.network.held
    assert own is not None
    changed = {name: value + 0.5 for name, value in own.state_dict().items()}
    save_file(changed, tmp_path / "net.safetensors")
    weighted = open_teacher(write_module(tmp_path, weights="net.safetensors"), CLASSES)
    assert weighted.weights != opened.weights
    recipe = recipe_of([{"kind": "dense_response"}, {"kind": "fitnet", "level": "low"}])
    batch = batch_of(weighted.network.collate, recipe)
    answers = LiveTeacher(weighted.network, recipe.distillation.asked)(batch)
    own.load_state_dict(changed)
    said = own(batch.teachers["teacher"].value)
    torch.testing.assert_close(answers.heatmap, said.heatmap[:, [2, 1]])
    torch.testing.assert_close(answers.regression, said.regression)
    torch.testing.assert_close(answers.low_map, said.early)
    assert not any(parameter.requires_grad for parameter in weighted.network.parameters())


def test_a_users_package_teaches(tmp_path, monkeypatch):
    (tmp_path / "their_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    opened = open_teacher(write_module(tmp_path, module="their_networks:build"), CLASSES)
    assert opened.widths.low == 4
    before = opened.weights
    (tmp_path / "their_networks.py").write_text(MODULE + "\n# changed\n")
    assert weights_of_teacher(tmp_path / "net.yaml") != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"module": "net.py:bild"}, r"net\.py:bild: found no such function, wanted one that returns an nn\.Module"),
        ({"module": "net.py:build_nothing"}, r"found NoneType, wanted an nn\.Module with collate"),
        ({"module": "net.py:build_broken"}, r"forward: found ValueError: no such thing \(net\.py, line \d+\)"),
        ({"module": "gone.py:build"}, r"gone\.py:build: found no such file"),
        ({"module": "no_such_package_anywhere:build"}, r"found no such module; install it, or name a file"),
        ({"module": "net.py"}, r"module: found 'net\.py', wanted path/to/file\.py:build or package\.module:build"),
        ({"arguments": {"depth": 3}}, r"found TypeError: .*depth"),
        ({"weights": "gone.safetensors"}, r"gone\.safetensors: found no such file, wanted a safetensors file"),
        ({"weights": "net.py"}, r"net\.py: found .*, wanted the module's own, as safetensors"),
        ({"low": "late"}, r"outputs: .*called late"),
    ],
)
def test_what_is_wrong_with_a_module_is_one_line(tmp_path, changes, message):
    path = write_module(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as caught:
        open_teacher(path, CLASSES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise SystemExit(0)", r"found SystemExit: 0 \(net\.py, line 1\)"),
        ("raise ValueError('word ' * 1000)", r"found ValueError: word .{100,200} \(net\.py, line 1\)"),
        (
            MODULE.replace('raise ValueError("no such thing")', 'return super().forward({"bev": inputs["bev"][:1]})'),
            r"output \w+: found \(1, .* of two frames, wanted one of each frame",
        ),
        (MODULE.replace('raise ValueError("no such thing")', "return 3"), r"found int, wanted maps by name"),
    ],
)
def test_code_that_ends_or_talks_without_end_is_one_line_too(tmp_path, source, message):
    path = write_module(tmp_path, module="net.py:build_broken")
    (tmp_path / "net.py").write_text(source)
    with pytest.raises(InputError, match=message) as caught:
        open_teacher(path, CLASSES)
    assert len(str(caught.value)) < 300


def test_answers_that_are_no_numbers_are_refused(tmp_path):
    opened = open_teacher(write_module(tmp_path, module="net.py:build_lost"), CLASSES)
    with pytest.raises(InputError, match="found values that are no numbers, wanted finite maps"):
        opened.network(opened.network.collate([Observed()]))


def test_a_teacher_must_answer_what_the_terms_ask(tmp_path):
    opened = open_teacher(write_module(tmp_path), CLASSES)
    refuse_unless_comparable(recipe_of(TERMS[:2]), opened)
    with pytest.raises(InputError, match=r"teacher's high: found no such map.*name the output in its description"):
        refuse_unless_comparable(recipe_of(), opened)
    with pytest.raises(InputError, match="teacher's high_map: found no such map"):
        refuse_unless_comparable(recipe_of([{"kind": "fitnet", "level": "high"}]), opened)
    other = open_teacher(write_module(tmp_path), ("car", "bus"))
    bus = recipe_values()["detector"] | {"class_names": ["car", "bus"]}
    with pytest.raises(InputError, match=r"teacher's class_names: found \('car',\), wanted \('car', 'bus'\)"):
        refuse_unless_comparable(recipe_of(TERMS[:2], detector=bus), other)
    swept = open_teacher(write_module(tmp_path, sweeps=3), CLASSES)
    with pytest.raises(InputError, match="teacher's sweeps in a cloud: found 3, wanted 1"):
        refuse_unless_comparable(recipe_of(TERMS[:2]), swept)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_what_is_kept_is_what_it_says_of_the_replayed_version(tmp_path, kind):
    write = write_foreign if kind == "onnx" else write_module
    opened = open_teacher(write(tmp_path), CLASSES)
    recipe = recipe_of([{"kind": "dense_response"}, {"kind": "fitnet", "level": "low"}])
    frames = load_frames(recipe, MadeUpDataset(4))
    kept = make_teacher(recipe, opened, frames, tmp_path)
    assert isinstance(kept, CachedTeacher)
    assert len(list(tmp_path.rglob("*.low_map.npy"))) == 4 * 2
    batch = batch_of(opened.network.collate, recipe, versions=(1, 3), seed=11)
    live = kept.live(batch).named()
    for name, part in kept(batch).named().items():
        wanted = live[name].half().float() if live[name].is_floating_point() else live[name]
        torch.testing.assert_close(part.float() if part.is_floating_point() else part, wanted, msg=name)


def test_the_same_weights_in_another_network_are_another_teacher(tmp_path):
    """A camera network with the true depth has the weights of the one without."""
    detector = detector_of("camera")
    settings = {OpenedTeacher(one).settings for one in (detector, BevDetector(detector.config.with_depth("expert")))}
    assert len(settings) == 2


TWO = [
    {"kind": "cwd", "schedule": {"stop_epoch": 2}},
    {"kind": "cwd", "teacher": "early", "schedule": {"start_epoch": 1}},
    {"kind": "feature", "level": "low", "teacher": "early"},
    {"kind": "relation"},
]


def test_two_teachers_are_asked_each_for_its_own_and_keep_their_rows(tmp_path):
    recipe = recipe_of(TWO)
    frames = load_frames(recipe, MadeUpDataset(4))
    fit(check_recipe(recipe_values(schedule={"epochs": 1}), "t"), frames, tmp_path / "run")
    paths = {"teacher": tmp_path / "run", "early": write_module(tmp_path)}
    teachings = make_teachings(recipe, paths, frames, tmp_path / "out")
    assert list(teachings) == ["teacher", "early"]
    asked = {name: entry.teacher.live.asked for name, entry in teachings.items()}
    assert asked == {"teacher": ("high",), "early": ("low",)}
    assert len({entry.teacher.folder for entry in teachings.values()}) == 2
    shapes = {}
    for name, entry in teachings.items():
        kept = [np.load(path) for level in ("low", "high") for path in entry.teacher.folder.glob(f"*-0001.{level}.npy")]
        shapes[name] = {array.shape[1:] for array in kept}
    assert shapes == {"teacher": {(9, 96)}, "early": {(9, 4)}}
    fit(recipe, frames, tmp_path / "student", teaching=teachings)
    first, second = [row for row in read_metrics(tmp_path / "student") if row["kind"] == "epoch"]
    names = {"cwd_logits", "early.cwd_logits", "early.feature_low", "relation_high"}
    assert names <= first.keys(), first.keys()
    assert first["cwd_logits"] != first["early.cwd_logits"]
    assert {f"share_{name}" for name in names} <= second.keys()
    record = read_record(tmp_path / "student")
    assert record.teacher == f"early={teachings['early'].weights},teacher={teachings['teacher'].weights}"


def blocks_of_the_page(language: str) -> list[str]:
    page = (Path(__file__).parents[3] / "docs" / "teachers.md").read_text()
    return [part.split("```")[0] for part in page.split(f"```{language}\n")[1:]]


def test_the_page_says_what_works(tmp_path):
    onnx_file, module, distillation = [yaml.safe_load(block) for block in blocks_of_the_page("yaml")]
    assert OnnxDescription.model_validate(onnx_file).classes == ("truck", "car", "bus", "pedestrian", "cyclist")
    (tmp_path / "teacher.yaml").write_text(yaml.safe_dump(module))
    (tmp_path / "their_network.py").write_text(blocks_of_the_page("python")[0])
    opened = open_teacher(tmp_path, CLASSES)
    assert (opened.network.config.class_names, opened.widths.low) == (CLASSES, 8)
    recipe = check_recipe(recipe_values(schedule={"epochs": 6}) | distillation, "x")
    assert recipe.distillation.teachers == ("teacher", "expert")
    with pytest.raises(InputError, match=r"their_network\.py: found a file alone, wanted a YAML file that names it"):
        open_teacher(tmp_path / "their_network.py", CLASSES)


def test_a_teacher_that_is_not_named_is_missed(tmp_path):
    recipe = recipe_of(TWO)
    frames = load_frames(recipe, MadeUpDataset(2))
    with pytest.raises(InputError, match="teachers: found early, wanted teacher, early; give --teacher NAME=PATH"):
        make_teachings(recipe, {"early": write_module(tmp_path)}, frames, tmp_path)
    with pytest.raises(UnderstudyError, match=r"teacher.*: found 'the-other', wanted a name of letters"):
        recipe_of([{"kind": "cwd", "teacher": "the-other"}])


def test_two_teachers_shuffled_answer_about_another_frame(tmp_path):
    recipe = recipe_of(TWO[:2])
    frames = load_frames(recipe, MadeUpDataset(4))
    fit(check_recipe(recipe_values(schedule={"epochs": 1}), "t"), frames, tmp_path / "run")
    paths = {"teacher": tmp_path / "run", "early": write_module(tmp_path)}
    right, wrong = (make_teachings(recipe, paths, frames, tmp_path, shuffle=shuffle) for shuffle in (False, True))
    batch = batch_of(right["early"].teacher.live.encode, recipe)
    assert [shown.index for shown in batch.shown] == [2, 0]
    for name in paths:
        heatmaps = [teachings[name].teacher(batch).heatmap for teachings in (right, wrong)]
        torch.testing.assert_close(heatmaps[1], heatmaps[0].flip(0))
    assert all(entry.shuffled for entry in wrong.values())


def run_cli(*command: object) -> tuple[int, str]:
    """Exit code, and what was printed and raised."""
    result = CliRunner().invoke(build_app(), [str(part) for part in command])
    return result.exit_code, f"{result.output}{result.exception or ''}"


def test_a_study_with_a_run_and_a_module_and_its_resumption(tmp_path):
    """As a user does it, on drives: `--teacher RUN --teacher early=net.yaml`."""
    few = ["--drives", 2, "--frames", 2, "--val-drives", 1, "--no-camera", "--beams", 16, "--range-m", 20]
    assert run_cli("scenes", tmp_path / "data", *few, "--workers", 1)[0] == 0
    values = recipe_values(schedule={"epochs": 1}, distillation={"terms": [*TWO[2:], {"kind": "cwd"}]})
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "teacher.yaml").write_text(yaml.safe_dump({**values, "distillation": None}))
    shared = ["--data", tmp_path / "data", "--threads", 1]
    assert run_cli("train", tmp_path / "teacher.yaml", *shared, "--out", tmp_path / "run")[0] == 0
    net = write_module(tmp_path)
    command = ["distill", tmp_path / "student.yaml", *shared, "--out", tmp_path / "out"]
    code, output = run_cli(*command, "--teacher", tmp_path / "run", "--teacher", f"early={net}")
    assert code == 0, output
    rows = [entry.role for entry in read_ledger(tmp_path / "out" / "ledger.json").entries]
    assert rows == ["teacher", "control", "student"]
    again = [*command, "--teacher", tmp_path / "run", "--resume"]
    code, output = run_cli(*again, "--teacher", f"early={net}")
    assert code == 0, output
    assert "finished before" in output
    write_module(tmp_path, arguments={"width": 5})
    (tmp_path / "out" / "student-seed0" / "evaluation.json").unlink()
    code, output = run_cli(*again, "--teacher", f"early={net}")
    assert code != 0
    assert "found begun with another teacher, wanted the same as at its start" in output
    one = [*command[:-1], tmp_path / "other", "--teacher", tmp_path / "run"]
    code, output = run_cli(*one)
    assert code != 0
    assert "teachers: found teacher, wanted early, teacher; give --teacher NAME=PATH for each" in output
    code, output = run_cli(*one, "--teacher", f"early={net}", "--teacher", f"third={net}")
    assert code != 0
    assert "--teacher third: found no term, wanted early, teacher; leave it out" in output
    assert not (tmp_path / "other").exists()


def test_what_a_collation_made_is_moved_whatever_it_is():
    made = {"a": [torch.zeros(2), (torch.ones(1), "text")], "b": None}
    moved = Carried(made).to("meta").value
    assert moved["a"][0].is_meta
    assert moved["a"][1][0].is_meta
    assert (moved["a"][1][1], moved["b"]) == ("text", None)
    assert made["a"][0].device.type == "cpu"


def test_weights_that_are_tied_have_a_hash():
    first = torch.nn.Linear(2, 2)
    tied = torch.nn.ModuleList([first, torch.nn.Linear(2, 2)])
    tied[1].weight = first.weight
    assert weights_bytes(tied) == weights_bytes(copy.deepcopy(tied))


def test_a_foreign_teacher_alone_is_evaluated_as_it_is_asked(tmp_path):
    few = ["--drives", 2, "--frames", 2, "--val-drives", 1, "--no-camera", "--beams", 16, "--range-m", 20]
    assert run_cli("scenes", tmp_path / "data", *few, "--workers", 1)[0] == 0
    terms = [{"kind": "dense_response", "teacher": "theirs"}]
    values = recipe_values(schedule={"epochs": 1}, distillation={"terms": terms})
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(values | {"data": {"batch_size": 1, "augmentation": None}}))
    command = ["distill", tmp_path / "student.yaml", "--data", tmp_path / "data", "--threads", 1, "--no-control"]
    code, output = run_cli(*command, "--teacher", f"theirs={write_module(tmp_path)}", "--out", tmp_path / "out")
    assert code == 0, output
    code, output = run_cli(*command, "--teacher", write_module(tmp_path), "--out", tmp_path / "other")
    assert code != 0
    assert "--teacher teacher: found no term, wanted theirs; leave it out" in output
    ledger = read_ledger(tmp_path / "out" / "ledger.json")
    assert [entry.role for entry in ledger.entries] == ["teacher", "student"]
    assert ledger.entries[0].facts.parameters is None
    assert ledger.entries[0].data == ledger.entries[1].data
