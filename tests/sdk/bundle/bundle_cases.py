"""A command line in this process, keys, and a bundle with an engine whose bytes mean nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy import cli
from understudy.bundle.bundle import Bundle
from understudy.engines.attestation import Attestation, LayerPrecision
from understudy.engines.engine_key import key_of, record_of, write_attestation, write_record
from understudy.testing import tiny_bundle

Shell = Callable[..., tuple[int, str, str]]


def make_shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs `understudy WORDS...`: status, output, errors."""

    def shell(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["understudy", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return shell


def bundle_with_engine(folder: Path) -> Bundle:
    """Two models and one engine file with its sidecar."""
    bundle = tiny_bundle(folder, precisions=("fp32", "uint8"))
    key, engine = key_of(bundle, "fp32", "rtx-sm86", "tensorrt_rtx 1.7.1.116"), b"engine " * 40
    record = record_of(key, bundle.manifest.inputs, bundle.manifest.outputs, 0.5).model_copy(
        update={
            "file": f"{key.stem}.engine",
            "sha256": hashlib.sha256(engine).hexdigest(),
            "size_bytes": len(engine),
            "architectures": ("SM86",),
        }
    )
    write_record(bundle, key, record)
    layer = LayerPrecision(name="conv", kind="CONVOLUTION", inputs=("INT8",), weights="INT8", outputs=("HALF",))
    write_attestation(bundle, key, Attestation(source="network", layers=(layer,)))
    (bundle.engines_folder / record.file).write_bytes(engine)
    return bundle


def flipped(data: bytes, place: int, mask: int = 1) -> bytes:
    """The bytes with one of them changed."""
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
