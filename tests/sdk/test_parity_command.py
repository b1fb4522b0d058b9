from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from tests.sdk.parity_cases import TIGHT, TOLERANCE, Drive
from understudy.bundle.bundle import PackedModel, write_bundle
from understudy.bundle.signature import expected_inputs
from understudy.cli import build_app
from understudy.errors import BundleError, EngineError, InputError
from understudy.parity.ladder import climb
from understudy.parity.rungs import parse_runtimes, rungs_of
from understudy.testing import simple_rig, tiny_bundle, tiny_contract, tiny_outputs, write_tiny_model


def test_bundle_of_one_model_has_no_ladder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="parity ladder: found one rung, onnx-fp32"):
        rungs_of(tiny_bundle(tmp_path / "bundle"), None)


def faulty_bundle(folder: Path) -> Path:
    """A real bundle whose INT8 model puts its boxes half a cell off."""
    contract = tiny_contract()
    good = write_tiny_model(folder / "good.onnx", contract)
    model = onnx.load(good)
    for tensor in model.graph.initializer:
        if tensor.name == "x_first":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.5), "x_first"))
    onnx.save(model, folder / "bad.onnx")
    write_bundle(
        folder / "bundle",
        contract,
        {"fp32": PackedModel(good, 18, 10), "int8": PackedModel(folder / "bad.onnx", 18, 10)},
        inputs=expected_inputs(contract),
        outputs=tiny_outputs(),
        tolerances={"fp32": TIGHT, "int8": TOLERANCE},
    )
    return folder / "bundle"


@pytest.fixture
def drive_as_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.datasets.opening.open_dataset", lambda path, split=None: Drive())


@pytest.mark.usefixtures("drive_as_data")
def test_command_passes_with_0_and_writes_its_record(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "bundle", precisions=("fp32", "int8", "uint8"))
    record = tmp_path / "new" / "parity.json"
    arguments = ["compare", str(tmp_path / "bundle"), "--data", ".", "--frames", "3", "--json", str(record)]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "every rung agrees with the reference" in result.stdout
    values = json.loads(record.read_text())
    assert [entry["name"] for entry in values["rungs"]] == ["onnx-int8", "onnx-uint8"]
    assert values["rungs"][0]["total"]["num_pairs"] == values["num_reference_boxes"] > 0
    assert values["frames"] == ["frame-0", "frame-2", "frame-5"]


@pytest.mark.usefixtures("drive_as_data")
def test_command_exits_with_1_and_names_the_rung(tmp_path: Path) -> None:
    bundle = faulty_bundle(tmp_path)
    result = CliRunner().invoke(build_app(), ["compare", str(bundle), "--data", ".", "--frames", "2"])
    assert result.exit_code == 1
    assert "first departing rung: onnx-int8 (position 0.5 m > 0.3 m, frame frame-" in result.stdout


@pytest.mark.data
def test_real_sweeps_agree_over_the_rungs(tmp_path: Path, data_root: Path) -> None:
    from understudy.datasets.kitti import KittiDataset

    bundle = tiny_bundle(tmp_path / "bundle", precisions=("fp32", "uint8"))
    report = climb(rungs_of(bundle, None), KittiDataset(data_root / "kitti" / "object"), num_frames=3)
    assert report.first_departing is None
    assert report.num_reference_boxes > 5


def test_runtimes_are_read_from_a_list() -> None:
    assert parse_runtimes("onnxruntime, openvino,onnxruntime") == ("onnxruntime", "openvino")
    with pytest.raises(EngineError, match="runtime: found caffe, wanted onnxruntime or"):
        parse_runtimes("onnxruntime,caffe")
    with pytest.raises(InputError, match="--runtimes: found nothing"):
        parse_runtimes("")


def test_each_runtime_has_its_rungs_and_tensorrt_never_the_twin(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", precisions=("fp32", "int8", "uint8"))
    names = [rung.name for rung in rungs_of(bundle, None, runtimes=("onnxruntime", "openvino", "tensorrt"))]
    assert names[:6] == ["onnx-fp32", "onnx-int8", "onnx-uint8", "openvino-fp32", "openvino-int8", "openvino-uint8"]
    assert names[6:] == ["tensorrt-fp32", "tensorrt-int8"]


@pytest.mark.usefixtures("drive_as_data")
def test_command_climbs_every_rung_that_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("understudy.parity.rungs.Cuda", _NoGpu)
    tiny_bundle(tmp_path / "bundle", precisions=("fp32", "uint8"))
    record = tmp_path / "parity.json"
    line = ["compare", str(tmp_path / "bundle"), "--data", ".", "--frames", "2", "--replay", "--json", str(record)]
    result = CliRunner().invoke(build_app(), [*line, "--runtimes", "onnxruntime,openvino,tensorrt"])
    assert result.exit_code == 0, result.output
    assert "tensorrt-fp32: skipped (CUDA: found no GPU)" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 100
    values = json.loads(record.read_text())
    assert [rung["name"] for rung in values["rungs"]] == ["onnx-uint8", "openvino-fp32", "openvino-uint8", "replay"]
    assert [skipped["name"] for skipped in values["skipped"]] == ["tensorrt-fp32"]


class _NoGpu:
    def device(self) -> None:
        raise EngineError("CUDA", found="no GPU")


@pytest.mark.usefixtures("drive_as_data")
def test_command_explains_what_departs(tmp_path: Path) -> None:
    bundle = faulty_bundle(tmp_path)
    result = CliRunner().invoke(build_app(), ["compare", str(bundle), "--data", ".", "--frames", "2", "--explain"])
    assert result.exit_code == 1
    assert "why onnx-int8 departs, held against onnx-fp32:" in result.stdout
    assert "feeds       the same: points, ego_from_sensor, intensity_factor" in result.stdout
    assert "first departing tensor: x_flat (Add Add_x_flat)" in result.stdout
    assert "agree                 0-20 m         20-40 m           40+ m             all" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 100


@pytest.mark.usefixtures("drive_as_data")
def test_command_explains_what_passes_and_yet_differs(tmp_path: Path) -> None:
    line = ["compare", str(faulty_bundle(tmp_path)), "--data", ".", "--frames", "2", "--explain"]
    manifest = tmp_path / "bundle" / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("min_matched: 0.9\n", "min_matched: 0.0\n"))
    (tmp_path / "bundle" / "checksums.sha256").unlink()
    result = CliRunner().invoke(build_app(), line)
    assert result.exit_code == 0, result.output
    assert "every rung agrees with the reference" in result.stdout
    assert "where onnx-int8 differs, which passes, held against onnx-fp32:" in result.stdout
    tiny_bundle(tmp_path / "same", precisions=("fp32", "int8"))
    same = CliRunner().invoke(build_app(), ["compare", str(tmp_path / "same"), *line[2:]])
    assert same.exit_code == 0
    assert "held against" not in same.stdout
    assert "nothing to explain" in same.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("drive_as_data")
def test_command_tests_itself(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "bundle")
    record = tmp_path / "self-test.json"
    line = ["compare", str(tmp_path / "bundle"), "--data", ".", "--frames", "2", "--self-test", "--json", str(record)]
    result = CliRunner().invoke(build_app(), line)
    assert result.exit_code == 1, "the tiny model has only yaws of 0, so that one fault cannot show"
    assert "NOT onnx-fp32" in next(row for row in result.stdout.splitlines() if "wrong yaw sign" in row)
    assert "no place in this student: " in result.stdout
    assert "no place here: no int8 model\n" in result.stdout
    assert max(len(row) for row in result.stdout.splitlines()) <= 100
    assert len(json.loads(record.read_text())["outcomes"]) == 20


@pytest.mark.usefixtures("drive_as_data")
def test_command_starts_from_another_bundle(tmp_path: Path) -> None:
    good, bad = tiny_bundle(tmp_path / "good"), tiny_bundle(tmp_path / "bad", score_threshold=0.01)
    line = ["compare", str(bad.folder), "--source", str(good.folder), "--data", ".", "--frames", "2", "--explain"]
    result = CliRunner().invoke(build_app(), line)
    assert result.exit_code == 1
    assert "first departing rung: onnx-fp32" in result.stdout
    assert "threshold of car 0.01, not 0.3" in result.stdout


@pytest.mark.usefixtures("drive_as_data")
def test_command_takes_the_vehicles_own_rig(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    rig = simple_rig(height_m=1.2)
    rig.write(tmp_path / "rig.yaml")
    line = ["compare", str(bundle.folder), "--data", ".", "--frames", "2", "--rig", str(tmp_path / "rig.yaml")]
    result = CliRunner().invoke(build_app(), line)
    assert result.exit_code == 1
    words = " ".join(result.stdout.split())
    assert "first departing rung: replay (refused: " in words
    assert "0.600 m" in words
    assert "wanted within 0.01 m and 0.1 degrees of rig simple" in words
