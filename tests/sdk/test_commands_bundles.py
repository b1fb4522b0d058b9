"""The verbs of a bundle as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy import cli
from understudy.configuration import write_yaml
from understudy.testing import simple_rig, tiny_bundle, tiny_contract, write_tiny_model


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Shell:
    """Runs the command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        self._monkeypatch.setattr("sys.argv", ["understudy", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        captured = self._capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_pack_compile_inspect(shell: Shell, tmp_path: Path) -> None:
    export, bundle = tmp_path / "export", tmp_path / "bundle"
    write_tiny_model(export / "model.onnx")
    write_yaml(export / "contract.yaml", tiny_contract())
    status, out, _ = shell("pack", export, "--out", bundle, "--zip", "--name", "lookout")
    assert (status, out.startswith("packed fp32 into")) == (0, True)
    assert "compiled: cpu fp32, onnxruntime" in shell("compile", bundle)[1]
    assert "compiled: cpu fp32, onnxruntime" in shell("compile", bundle)[1]  # a session is proved each time
    status, out, _ = shell("inspect", bundle)
    assert status == 0
    assert max(len(line) for line in out.splitlines()) <= 100
    for part in ("bundle lookout", "car >= 0.3", "32 x 32 cells", "model.onnx", "[ready]", "0.05 m", "(N, 4)"):
        assert part in out
    assert "bundle lookout" in shell("inspect", tmp_path / "bundle.zip")[1]


def test_rig_and_doctor(shell: Shell, tmp_path: Path) -> None:
    rig = simple_rig(camera=True)
    rig.write(tmp_path / "rig.yaml")
    status, out, _ = shell("rig", tmp_path / "rig.yaml")
    assert status == 0
    assert rig.hash in out
    assert "looking +0.0 deg from ahead" in " ".join(out.split())
    status, out, _ = shell("doctor")
    assert status == 0
    assert "CPUExecutionProvider" in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_wrong_input_is_one_line_and_exit_code_two(shell: Shell, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle").folder
    simple_rig(height_m=1730).write(tmp_path / "millimeters.yaml")
    (tmp_path / "file.zip").write_bytes(b"x")
    for words, message in [
        (("inspect", tmp_path / "absent"), "nothing there"),
        (("inspect", tmp_path / "file.zip"), "not a zip"),
        (("compile", tmp_path / "file.zip"), "not a zip"),
        (("compile", bundle, "--target", "abacus"), "target: found abacus"),
        (("compile", bundle, "--timing-cache", tmp_path), "found a folder, wanted a file"),
        (("compile", bundle, "--timing-cache", tmp_path / "no" / "cache"), "found no folder"),
        (("autoware", bundle, "--out", bundle / "package"), "a place in the bundle"),
        (("autoware", bundle, "--out", tmp_path / "a", "--class", "car=BUS", "--class", "car=CAR"), "each class once"),
        (("keygen", ""), "found a folder, wanted a new file"),
        (("compare", bundle, "--data", tmp_path, "--self-test", "--explain"), "--explain: found with --self-test"),
        (("compare", bundle, "--data", tmp_path, "--json", tmp_path), "found a folder, wanted a file"),
        (("latency", bundle, "--data", tmp_path, "--json", tmp_path), "found a folder, wanted a file"),
        (("compile", bundle, "--precision", "int3"), "precision: found int3, wanted fp32 or"),
        (("compile", bundle, "--target", "rtx", "--precision", "uint8"), "silently clips"),
        (("pack", tmp_path / "absent", "--out", tmp_path / "out"), "contract.yaml: found no such file"),
        (("rig", tmp_path / "absent.yaml"), "no such file"),
        (("rig", tmp_path / "millimeters.yaml"), "found 1730 m"),
    ]:
        status, out, err = shell(*words)
        assert (status, out) == (2, ""), words
        assert err.count("\n") == 1
        assert message in err
