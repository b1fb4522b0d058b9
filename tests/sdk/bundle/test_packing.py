from __future__ import annotations

import json
from pathlib import Path

import pytest

from understudy.bundle.bundle import open_bundle
from understudy.bundle.packing import pack
from understudy.configuration import file_sha256, write_yaml
from understudy.errors import UnderstudyError
from understudy.testing import tiny_contract, write_tiny_model


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    write_tiny_model(folder / "model.onnx")
    write_yaml(folder / "contract.yaml", tiny_contract())
    return folder


def test_packs_an_export_with_what_is_known_of_it(export: Path, tmp_path: Path) -> None:
    digest = file_sha256(export / "model.onnx")
    (export / "export.yaml").write_text(
        f"onnx_sha256: {digest}\nfingerprints: {{recipe: abc, data: def, weights: fed}}\n", encoding="utf-8"
    )
    write_tiny_model(export / "model.int8.onnx")
    (export / "quantization.yaml").write_text(f"source_sha256: {digest}\ncalibration: cal\n", encoding="utf-8")
    (tmp_path / "ledger.json").write_text(json.dumps({"student": {"mAP": 0.5}}))
    bundle = pack(export, tmp_path / "bundle", name="mine", ledger=tmp_path / "ledger.json")
    manifest = open_bundle(bundle.folder).manifest
    assert manifest.name == "mine"
    assert list(manifest.models) == ["fp32", "int8"]
    assert manifest.fingerprints.model_dump() == {
        "recipe": "abc",
        "data": "def",
        "weights": "fed",
        "calibration": "cal",
    }
    assert manifest.ledger == {"student": {"mAP": 0.5}}
    assert manifest.models["fp32"].opset == 18
    assert manifest.models["fp32"].ir_version == 10
    assert [tensor.shape for tensor in manifest.inputs] == [("N", 4), (3, 4), (1,)]
    assert set(manifest.tolerances) == {"fp32", "int8"}


def test_an_export_without_records_is_packed_too(export: Path, tmp_path: Path) -> None:
    bundle = pack(export, tmp_path / "bundle")
    assert bundle.manifest.name == "tiny"
    assert bundle.manifest.fingerprints.recipe == ""


def refusal_of(export: Path, **options: Path) -> str:
    with pytest.raises(UnderstudyError) as refusal:
        pack(export, export.parent / "bundle", **options)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
    assert not (export.parent / "bundle").exists()
    return str(refusal.value)


@pytest.mark.parametrize(
    ("record", "key", "verb"),
    [("export.yaml", "onnx_sha256", "export"), ("quantization.yaml", "source_sha256", "quantize")],
)
def test_files_of_different_making_are_refused(export: Path, record: str, key: str, verb: str) -> None:
    (export / record).write_text(f"{key}: {'0' * 64}\n", encoding="utf-8")
    message = refusal_of(export)
    assert f"{key} of {record}" in message
    assert f"run `understudy {verb}` again" in message


def test_refuses_what_is_no_export(export: Path, tmp_path: Path) -> None:
    (export / "model.onnx").write_bytes(b"garbage that is no graph")
    assert "wanted an ONNX model" in refusal_of(export)
    (export / "model.onnx").unlink()
    assert "run `understudy export`" in refusal_of(export)
    (export / "contract.yaml").unlink()
    assert "contract.yaml: found no such file" in refusal_of(export)


def test_refuses_a_contract_of_another_kind(export: Path) -> None:
    write_yaml(export / "contract.yaml", tiny_contract("pillars"))
    assert "inputs: found points float32(N, 4)" in refusal_of(export)


def test_refuses_a_ledger_that_is_no_json(export: Path, tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text("[1, 2")
    assert "wanted a JSON ledger" in refusal_of(export, ledger=tmp_path / "ledger.json")
