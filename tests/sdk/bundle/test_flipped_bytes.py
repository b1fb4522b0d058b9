"""One flipped byte, in any file of a bundle or anywhere in its zip: refused, and the file is named."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.sdk.bundle.bundle_cases import bundle_with_engine, flipped
from understudy.bundle.archives import write_archive
from understudy.bundle.bundle import open_bundle
from understudy.bundle.signing import sign_manifest
from understudy.bundle.verifying import verify_bundle
from understudy.errors import UnderstudyError

FLIPS_A_FILE = 24
MASKS = (1, 0x20, 0x80, 0xFF)


@pytest.fixture(params=["unsigned", "signed", "signed and required"])
def case(request: pytest.FixtureRequest, tmp_path: Path, key: Path) -> tuple[Path, Path | None]:
    """A bundle folder and the key that it is opened with."""
    folder = bundle_with_engine(tmp_path / "bundle").folder
    if request.param != "unsigned":
        sign_manifest(folder, key)
    return folder, key.with_name("key.pub.pem") if request.param == "signed and required" else None


def places(data: bytes, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """First and last byte, and some between; with what they are flipped."""
    middle = rng.integers(0, len(data), FLIPS_A_FILE - 2).tolist()
    for count, place in enumerate([0, len(data) - 1, *middle]):
        yield place, MASKS[count % len(MASKS)]


def refusal_of(path: Path, keys: Path | None) -> str:
    with pytest.raises(UnderstudyError) as refusal:
        verify_bundle(path, keys)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_in_each_file_of_a_folder(case: tuple[Path, Path | None]) -> None:
    folder, keys = case
    rng, files = np.random.default_rng(0), sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.name.split("-")[0] for path in files}
    assert names >= {"manifest.yaml", "checksums.sha256", "model.onnx", "model.uint8.onnx", "rtx"}
    said_of_others = {"manifest.yaml", "manifest.sig", "checksums.sha256"}  # each stands for the others
    for path in files:
        whole = path.read_bytes()
        for place, mask in places(whole, rng):
            path.write_bytes(flipped(whole, place, mask))
            said = refusal_of(folder, keys)
            assert path.name in said or (path.name in said_of_others and "manifest" in said), (path.name, place, said)
        path.write_bytes(whole)
    verify_bundle(folder, keys)


def test_anywhere_in_a_single_file(case: tuple[Path, Path | None], tmp_path: Path) -> None:
    folder, keys = case
    archive = write_archive(folder, tmp_path / "fleet.zip", with_engines=True)
    verify_bundle(archive, keys)
    whole, rng = archive.read_bytes(), np.random.default_rng(1)
    tail = range(len(whole) - 120, len(whole))
    anywhere = [(place, 1 << int(rng.integers(8))) for place in rng.integers(0, len(whole), 150).tolist()]
    for place, mask in [*anywhere, *((place, 0x10) for place in tail)]:
        archive.write_bytes(flipped(whole, place, mask))
        assert str(archive) in refusal_of(archive, keys), place
    for size in (0, 1, 21, 22, 100, len(whole) - 1):
        archive.write_bytes(whole[:size])
        assert str(archive) in refusal_of(archive, keys), size
    archive.write_bytes(whole + b"\0")
    assert str(archive) in refusal_of(archive, keys)


def test_a_zip_of_another_tool_is_refused_or_opens_to_the_same_contents(tmp_path: Path) -> None:
    """It has bytes that mean nothing to anybody, as dates; what is in it is hashed all the same."""
    folder, archive = bundle_with_engine(tmp_path / "bundle").folder, tmp_path / "other.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        for path in sorted(folder.rglob("*")):
            stream.write(path, path.relative_to(folder))
    wanted, whole = open_bundle(archive).fingerprint, archive.read_bytes()
    rng, num_refused = np.random.default_rng(2), 0
    for place in rng.integers(0, len(whole), 250).tolist():
        archive.write_bytes(flipped(whole, place, 1 << int(rng.integers(8))))
        said = outcome_of(archive)
        assert "\n" not in said
        num_refused += said != wanted
        assert said == wanted or str(archive) in said or str(tmp_path / "cache") in said
    assert num_refused > 200


def outcome_of(path: Path) -> str:
    """Fingerprint of the bundle, or why it is refused."""
    try:
        return open_bundle(path).fingerprint
    except UnderstudyError as error:
        return str(error)
