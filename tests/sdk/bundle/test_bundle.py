from __future__ import annotations

import errno
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import yaml

from understudy.bundle.archives import write_archive
from understudy.bundle.bundle import open_bundle
from understudy.bundle.signature import expected_outputs
from understudy.errors import BundleError
from understudy.pipeline import open_pipeline
from understudy.testing import frame_of, road_cloud, simple_rig, tiny_bundle, tiny_contract


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "bundle", precisions=("fp32", "uint8")).folder


def edited(folder: Path, edit: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    path = folder / "manifest.yaml"
    values = yaml.safe_load(path.read_text())
    edit(values)
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def refusal_of(path: Path) -> str:
    with pytest.raises(BundleError) as refusal:
        open_bundle(path)
    message = str(refusal.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_bundle_knows_its_files(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert set(bundle.manifest.files) == {"model.onnx", "model.uint8.onnx"}
    assert bundle.model("uint8") == folder / "model.uint8.onnx"
    assert bundle.best_cpu_precision == "uint8"
    assert len(bundle.fingerprint) == 64
    with pytest.raises(BundleError, match="wanted fp32 or uint8"):
        bundle.model("int8")
    with pytest.raises(BundleError, match="not in the manifest"):
        bundle.file("engine.bin")


def test_writing_twice_gives_the_same_bytes_and_keeps_engines(tmp_path: Path) -> None:
    first = tiny_bundle(tmp_path / "bundle")
    first.engines_folder.mkdir()
    (first.engines_folder / "kept").write_text("x")
    again = tiny_bundle(tmp_path / "bundle")
    assert again.fingerprint == first.fingerprint
    assert (again.engines_folder / "kept").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "photos"
    target.mkdir()
    (target / "holiday.jpg").write_text("x")
    with pytest.raises(BundleError, match="not a bundle"):
        tiny_bundle(target)
    assert (target / "holiday.jpg").exists()


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing model": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx: found missing, wanted sha256"),
    "missing manifest": (lambda folder: (folder / "manifest.yaml").unlink(), "found no manifest.yaml"),
    "truncated model": (
        lambda folder: (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:100]),
        "model.onnx: sha256: found",
    ),
    "one bit": (lambda folder: flip_bit(folder / "model.uint8.onnx"), "changed or cut short; pack it again"),
    "unknown schema": (
        lambda folder: edited(folder, lambda values: values.update(schema_version=2)),
        "schema_version: found 2, wanted 1",
    ),
    "no schema": (
        lambda folder: edited(folder, lambda values: values.pop("schema_version")),
        "schema_version: found none, wanted 1",
    ),
    "unknown key": (lambda folder: edited(folder, lambda values: values.update(color="red")), "unknown key color"),
    "missing key": (lambda folder: edited(folder, lambda values: values.pop("grid")), "grid"),
    "no classes": (lambda folder: edited(folder, lambda values: values.update(classes=[])), "classes"),
    "threshold of two": (
        lambda folder: edited(folder, lambda values: values["classes"][0].update(score_threshold=2)),
        "score_threshold",
    ),
    "hash left out": (
        lambda folder: edited(folder, lambda values: values["files"].pop("model.onnx")),
        "without a hash",
    ),
    "hash of letters": (lambda folder: edited(folder, lambda values: values["files"].update(x="abc")), "files.x"),
    "path outside": (
        lambda folder: edited(folder, lambda values: values["files"].update({"../secret": "0" * 64})),
        "a path that leaves the bundle",
    ),
    "grid of half cells": (
        lambda folder: edited(folder, lambda values: values["grid"].update(cell_m=0.7)),
        "a whole number is needed",
    ),
    "python object": (
        lambda folder: (folder / "manifest.yaml").write_text("!!python/object/apply:os.system ['true']"),
        "could not determine a constructor",
    ),
}


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", list(DAMAGE))
def test_refuses_a_damaged_bundle(folder: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    damage(folder)
    assert message in refusal_of(folder)


def test_refuses_what_is_not_there(tmp_path: Path) -> None:
    assert "nothing there" in refusal_of(tmp_path / "absent")


def test_a_link_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    assert "leaves the bundle" in refusal_of(folder)


def test_a_graph_of_other_tensors_is_not_packed(tmp_path: Path) -> None:
    from understudy.bundle.bundle import PackedModel, write_bundle
    from understudy.testing import write_tiny_model

    path = write_tiny_model(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="tiny: inputs: found boxes"):
        write_bundle(
            tmp_path / "bundle",
            tiny_contract(),
            {"fp32": PackedModel(path, 18, 10)},
            inputs=expected_outputs(tiny_contract()),
            outputs=expected_outputs(tiny_contract()),
            tolerances={},
        )
    assert not (tmp_path / "bundle").exists()


def test_a_zip_says_the_same_boxes_as_its_folder(folder: Path, tmp_path: Path) -> None:
    archive = write_archive(folder, tmp_path / "bundle.zip")
    assert write_archive(folder, tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    frame = frame_of(road_cloud(np.random.default_rng(0)))
    with open_pipeline(folder, simple_rig()) as one, open_pipeline(archive, simple_rig()) as other:
        assert np.array_equal(one(frame).geometry, other(frame).geometry)
    first, second = open_bundle(archive), open_bundle(archive)
    assert first.folder == second.folder
    assert first.fingerprint == open_bundle(folder).fingerprint


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", "a\\..\\outside"])
def test_a_zip_that_writes_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr(zipfile.ZipInfo(name), b"x")
    assert "leaves the bundle" in refusal_of(archive)
    assert not list(tmp_path.glob("**/outside"))


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    entry = zipfile.ZipInfo("model.onnx")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr(entry, "/etc/passwd")
    assert "leaves the bundle" in refusal_of(archive)


def test_a_full_disk_is_not_the_zips_fault(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(folder, tmp_path / "bundle.zip")
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    said = refusal_of(archive)
    assert said.startswith(f"{tmp_path / 'cache'}")
    assert "found No space left on device, wanted room to unpack" in said
    assert "XDG_CACHE_HOME" in said
    assert not list((tmp_path / "cache").rglob(".extract-*"))


def test_a_damaged_zip_is_refused(folder: Path, tmp_path: Path) -> None:
    archive = write_archive(folder, tmp_path / "bundle.zip")
    archive.write_bytes(archive.read_bytes()[:-40])
    assert "not a zip" in refusal_of(archive)
    archive.write_bytes(b"")
    assert "not a zip" in refusal_of(archive)


def test_a_spoiled_extraction_is_found(folder: Path, tmp_path: Path) -> None:
    archive = write_archive(folder, tmp_path / "bundle.zip")
    flip_bit(open_bundle(archive).folder / "model.onnx")
    with pytest.raises(BundleError, match="sha256"):
        open_bundle(archive)
