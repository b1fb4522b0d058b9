"""A bundle as one file: signed and compiled in place, engines found in it, its extraction held to it."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.sdk.bundle.bundle_cases import Shell, bundle_with_engine
from tests.sdk.engines.test_tensorrt_engine import assert_same, feeds_of
from tests.sdk.engines.test_tensorrt_targets import Vehicle
from understudy.bundle.archives import write_archive
from understudy.bundle.bundle import open_bundle
from understudy.bundle.signing import sign_manifest
from understudy.bundle.single_file import writable
from understudy.engines.engine_key import known_engines
from understudy.engines.model import open_model
from understudy.engines.tensorrt_opening import open_tensorrt_engine
from understudy.errors import BundleError, EngineError
from understudy.pipeline import open_pipeline
from understudy.testing import frame_of, road_cloud, simple_rig, tiny_bundle


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(bundle_with_engine(tmp_path / "bundle").folder, tmp_path / "fleet.zip", with_engines=True)


def test_the_same_bundle_gives_the_same_bytes(tmp_path: Path, archive: Path) -> None:
    again = bundle_with_engine(tmp_path / "again").folder
    for path in again.rglob("*"):
        os.utime(path, (0, 0))
    written = write_archive(again, tmp_path / "again.zip", with_engines=True)
    assert written.read_bytes() == archive.read_bytes()
    assert zipfile.ZipFile(archive).testzip() is None


def test_engines_are_in_it_when_asked_for_and_are_found_there(tmp_path: Path, archive: Path) -> None:
    bundle = open_bundle(archive)
    (known,) = known_engines(bundle)
    assert known.state == "ready"
    assert (bundle.archive, bundle.source) == (archive, archive)
    engine = bundle.engines_folder / known.record.file
    assert engine.read_bytes() == (tmp_path / "bundle" / "engines" / known.record.file).read_bytes()
    assert stat.S_IMODE(bundle.folder.stat().st_mode) == 0o700
    plain = open_bundle(write_archive(tmp_path / "bundle", tmp_path / "plain.zip"))
    assert known_engines(plain) == []


def test_compile_and_sign_change_the_file_in_place(shell: Shell, tmp_path: Path, key: Path) -> None:
    archive = write_archive(tiny_bundle(tmp_path / "bundle").folder, tmp_path / "fleet.zip")
    fingerprint = open_bundle(archive).fingerprint
    assert shell("sign", archive, "--key", key)[0] == 0
    public = key.with_name("key.pub.pem")
    status, out, _ = shell("compile", archive, "--require-signature", public)
    assert (status, out.startswith("compiled: cpu fp32")) == (0, True)
    bundle = open_bundle(archive)
    assert (bundle.is_trusted, bundle.fingerprint) == (True, fingerprint)
    assert [known.record.target for known in known_engines(bundle)] == ["cpu"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_change_that_fails_leaves_the_file_as_it_was(archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(FileNotFoundError), writable(archive) as folder:
        (folder / "absent.yaml").rename(folder / "manifest.yaml")
    assert archive.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_verbs_and_library_take_the_file(shell: Shell, archive: Path, tmp_path: Path) -> None:
    assert "1 verified" in shell("verify", archive)[1]
    status, out, _ = shell("autoware", archive, "--out", tmp_path / "package")
    assert status == 0
    assert max(map(len, out.splitlines()[1:])) <= 100
    frame = frame_of(road_cloud(np.random.default_rng(0)))
    with open_pipeline(archive, simple_rig()) as one, open_model(archive).engine as engine:
        assert len(one(frame)) > 0
        assert engine.inputs == one.engine.inputs


def test_what_is_put_into_the_extraction_is_found(archive: Path) -> None:
    folder = open_bundle(archive).folder
    manifest = (folder / "manifest.yaml").read_text()
    (folder / "manifest.yaml").write_text(manifest.replace("score_threshold: 0.3", "score_threshold: 0.2", 1))
    (folder / "checksums.sha256").unlink()
    with pytest.raises(BundleError, match="not what was unpacked") as refusal:
        open_bundle(archive)
    assert f"remove {folder}" in str(refusal.value)
    (folder / "manifest.yaml").write_text(manifest)
    with pytest.raises(BundleError, match=r"checksums\.sha256: found not what was unpacked"):
        open_bundle(archive)


def test_an_engine_put_into_the_extraction_is_found(archive: Path) -> None:
    folder = open_bundle(archive).folder
    (folder / "engines" / "this-fp32-0123456789abcdef.engine").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"0123456789abcdef\.engine: found not what was unpacked"):
        open_bundle(archive)


def test_a_cache_that_everyone_can_write_is_refused(archive: Path, tmp_path: Path) -> None:
    place = tmp_path / "cache" / "understudy" / "bundles"
    place.mkdir(parents=True)
    place.chmod(0o777)
    with pytest.raises(BundleError, match="a folder that everyone can write") as refusal:
        open_bundle(archive)
    assert "XDG_CACHE_HOME" in str(refusal.value)


def crafted(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as stream:
        for name, data in entries:
            stream.writestr(name, data)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["manifest.yaml", "./manifest.yaml", "engines/../manifest.yaml"])
def test_a_name_twice_is_refused(tmp_path: Path, name: str) -> None:
    archive = crafted(tmp_path / "twice.zip", ("manifest.yaml", b"a"), (name, b"b"))
    with pytest.raises(BundleError, match=r"manifest\.yaml' twice|leaves the bundle"):
        open_bundle(archive)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: int) -> None:
    entry = zipfile.ZipInfo("engines/model.engine")
    entry.external_attr = (kind | 0o777) << 16
    with pytest.raises(BundleError, match="leaves the bundle"):
        open_bundle(crafted(tmp_path / "special.zip", (entry, b"/etc/passwd")))


def test_too_many_entries_and_sizes_that_lie_are_refused(tmp_path: Path) -> None:
    many = crafted(tmp_path / "many.zip", *((f"file{number}", b"") for number in range(1001)))
    with pytest.raises(BundleError, match="1001 entries"):
        open_bundle(many)
    huge = crafted(tmp_path / "huge.zip", ("model.onnx", b"x" * 100))
    data = bytearray(huge.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    huge.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=r"huge\.zip"):
        open_bundle(huge)


def test_a_link_in_a_folder_does_not_carry_what_it_points_at_into_the_file(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "bundle").folder
    (tmp_path / "secret").write_text("x")
    (folder / "extra.onnx").symlink_to(tmp_path / "secret")
    archive = write_archive(folder, tmp_path / "fleet.zip")
    assert "extra.onnx" not in zipfile.ZipFile(archive).namelist()


def test_an_engine_for_a_fleet_runs_from_the_signed_file_and_on_its_gpu_alone(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed and signed, then compiled on one vehicle; an emulated GPU stands for all of them."""
    archive = write_archive(tiny_bundle(tmp_path / "bundle").folder, tmp_path / "fleet.zip")
    with writable(archive) as folder:
        sign_manifest(folder, key)
    (tmp_path / "built").mkdir()
    orin = Vehicle(monkeypatch, tmp_path / "built", capability=(8, 7))
    with writable(archive) as folder:
        orin.build(open_bundle(folder), "orin")
    fleet = open_bundle(archive, trusted_keys=key.with_name("key.pub.pem"))
    with open_tensorrt_engine(fleet, "fp32", orin.cuda) as engine:
        feeds = feeds_of(500)
        assert_same(fleet, engine(feeds), feeds)
    orin.gpu.capability = (8, 9)
    with pytest.raises(EngineError, match="built for SM87") as refusal:
        open_tensorrt_engine(fleet, "fp32", orin.cuda)
    assert f"understudy compile {archive} --target this" in str(refusal.value)
