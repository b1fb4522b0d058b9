"""Who a bundle is from: signed, verified, required, and refused in one line when it is not as it must be."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.sdk.bundle.bundle_cases import Shell, bundle_with_engine, flipped
from understudy.bundle.archives import write_archive
from understudy.bundle.bundle import open_bundle
from understudy.bundle.signing import TRUSTED_KEY_VARIABLE, sign_manifest, write_key_pair
from understudy.errors import BundleError, UnderstudyError
from understudy.pipeline import open_pipeline
from understudy.testing import frame_of, road_cloud, simple_rig, tiny_bundle


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> Path:
    folder = bundle_with_engine(tmp_path / "signed").folder
    sign_manifest(folder, key)
    return folder


def public_of(key: Path) -> Path:
    return key.with_name(f"{key.stem}.pub.pem")


def refusal_of(path: Path, keys: Path) -> str:
    with pytest.raises(UnderstudyError) as refusal:
        open_bundle(path, trusted_keys=keys)
    message = str(refusal.value)
    assert "\n" not in message
    return message


def test_a_private_key_is_its_owners_and_never_overwritten(shell: Shell, tmp_path: Path) -> None:
    status, out, _ = shell("keygen", tmp_path / "new" / "fleet.pem")
    private, public = tmp_path / "new" / "fleet.pem", tmp_path / "new" / "fleet.pub.pem"
    assert status == 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes()
    status, out, err = shell("keygen", private)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "keys are never overwritten" in err
    private.unlink()
    assert shell("keygen", private)[0] == 2  # the public key alone is there
    assert not private.exists()
    assert b"PRIVATE" in before
    assert b"PRIVATE" not in public.read_bytes()


@pytest.mark.parametrize("single_file", [False, True])
def test_keygen_sign_verify_inspect(shell: Shell, tmp_path: Path, key: Path, single_file: bool) -> None:
    path = bundle_with_engine(tmp_path / "bundle").folder
    path = write_archive(path, tmp_path / "fleet.zip", with_engines=True) if single_file else path
    assert "signature: none" in shell("verify", path)[1]
    before = open_bundle(path).fingerprint
    assert shell("sign", path, "--key", key)[0] == 0
    public = public_of(key)
    status, out, _ = shell("verify", path, "--key", public)
    assert status == 0
    for line in ("manifest:  verified", "models:    2 verified", "engines:   1 verified", f"verified with {public}"):
        assert line in out
    assert open_bundle(path).fingerprint == before
    opened = open_bundle(path, trusted_keys=public)
    assert opened.is_trusted
    assert not open_bundle(path).is_trusted
    status, out, _ = shell("inspect", path)
    assert "not verified: no key was named" in " ".join(out.split())
    status, out, _ = shell("inspect", path, "--require-signature", public)
    assert f"by {opened.signed_by}, verified with" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 100 + len(str(public))


def test_the_signature_is_over_the_manifests_bytes_alone(signed: Path, key: Path) -> None:
    _, name, signature = (line.split()[-1] for line in (signed / "manifest.sig").read_text().splitlines())
    loaded = serialization.load_pem_public_key(public_of(key).read_bytes())
    assert isinstance(loaded, ed25519.Ed25519PublicKey)
    loaded.verify(bytes.fromhex(signature), (signed / "manifest.yaml").read_bytes())
    assert name == hashlib.sha256(loaded.public_bytes_raw()).hexdigest()
    done = subprocess.run(
        ["sha256sum", "-c", "checksums.sha256"], cwd=signed, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["manifest.yaml:", "OK", "manifest.sig:", "OK"]


def test_engines_made_on_the_vehicle_leave_the_signature_as_it_is(signed: Path, key: Path) -> None:
    for path in (signed / "engines").iterdir():
        path.unlink()
    assert open_bundle(signed, trusted_keys=public_of(key)).is_trusted


def edit_manifest(folder: Path) -> None:
    values = yaml.safe_load((folder / "manifest.yaml").read_text())
    values["classes"][0]["score_threshold"] = 0.01
    (folder / "manifest.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (folder / "checksums.sha256").unlink()


def other_model(folder: Path) -> None:
    """A model exchanged together with its hash, as one would who can write the folder."""
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    values = yaml.safe_load((folder / "manifest.yaml").read_text())
    values["files"]["model.onnx"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    (folder / "manifest.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (folder / "checksums.sha256").unlink()


def cut_signature(folder: Path) -> None:
    (folder / "manifest.sig").write_bytes((folder / "manifest.sig").read_bytes()[:-9])


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "not signed": (
        lambda folder: (folder / "manifest.sig").unlink(),
        "manifest.sig: found not signed, wanted signed by",
    ),
    "manifest edited": (edit_manifest, "found a manifest.yaml that is not the one that was signed"),
    "model and hash exchanged": (other_model, "found a manifest.yaml that is not the one that was signed"),
    "model changed": (lambda folder: (folder / "model.onnx").write_bytes(b"x"), "model.onnx: sha256"),
    "signature cut": (cut_signature, "bytes that are no signature"),
    "signature empty": (lambda folder: (folder / "manifest.sig").write_bytes(b""), "0 bytes that are no signature"),
    "signature a folder": (
        lambda folder: ((folder / "manifest.sig").unlink(), (folder / "manifest.sig").mkdir()),
        "manifest.sig: found no plain file",
    ),
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_what_was_not_signed_like_this_is_refused(signed: Path, key: Path, name: str) -> None:
    attack, message = ATTACKS[name]
    attack(signed)
    said = refusal_of(signed, public_of(key))
    assert str(signed) in said
    assert message in said


def test_a_signature_that_was_taken_away_is_missed_even_by_who_asks_for_none(signed: Path) -> None:
    (signed / "manifest.sig").unlink()
    with pytest.raises(BundleError, match=r"manifest\.sig: found nothing there, wanted what checksums\.sha256 says"):
        open_bundle(signed)


def test_another_key_is_refused_and_one_of_several_is_enough(signed: Path, key: Path, tmp_path: Path) -> None:
    other = write_key_pair(tmp_path / "other.pem")
    assert "manifest.sig: found signed by" in refusal_of(signed, other)
    both = tmp_path / "both.pem"
    both.write_bytes(other.read_bytes() + public_of(key).read_bytes())
    assert open_bundle(signed, trusted_keys=both).is_trusted


def test_the_name_of_a_trusted_key_is_not_enough(signed: Path, key: Path, tmp_path: Path) -> None:
    """A signature by another key that calls itself the trusted one."""
    trusted_name = (signed / "manifest.sig").read_text().splitlines()[1]
    write_key_pair(tmp_path / "other.pem")
    sign_manifest(signed, tmp_path / "other.pem")
    lines = (signed / "manifest.sig").read_text().splitlines()
    (signed / "manifest.sig").write_text("\n".join([lines[0], trusted_name, lines[2], ""]))
    assert "not the one that was signed" in refusal_of(signed, public_of(key))


def test_keys_that_are_none_are_refused_by_name(shell: Shell, signed: Path, key: Path, tmp_path: Path) -> None:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM
    foreign, foreign_public, encrypted = (tmp_path / f"{name}.pem" for name in ("rsa", "rsa.pub", "encrypted"))
    plain, locked = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"secret")
    foreign.write_bytes(made.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    foreign_public.write_bytes(made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    own = ed25519.Ed25519PrivateKey.generate()
    encrypted.write_bytes(own.private_bytes(pem, serialization.PrivateFormat.PKCS8, locked))
    (tmp_path / "empty.pem").write_bytes(b"")
    cut = tmp_path / "cut.pem"
    cut.write_bytes(flipped(public_of(key).read_bytes(), 40, 0x20))
    for words, message in [
        (("sign", signed, "--key", foreign), "another kind (RSAPrivateKey), wanted an ed25519 private key"),
        (("sign", signed, "--key", public_of(key)), "found a public key, wanted an ed25519 private key"),
        (("sign", signed, "--key", encrypted), "found an encrypted key"),
        (("sign", signed, "--key", tmp_path / "absent.pem"), "No such file"),
        (("sign", signed, "--key", tmp_path / "empty.pem"), "found no key"),
        (("verify", signed, "--key", foreign_public), "another kind (RSAPublicKey), wanted an ed25519 public key"),
        (("verify", signed, "--key", key), "found a private key, wanted an ed25519 public key"),
        (("verify", signed, "--key", tmp_path / "empty.pem"), "found no key"),
        (("verify", signed, "--key", cut), "cut.pem: found"),
        (("inspect", signed, "--require-signature", tmp_path / "absent.pem"), "absent.pem: found No such file"),
        (("sign", tmp_path / "absent", "--key", key), "nothing there"),
        (("verify", tmp_path / "absent"), "nothing there"),
    ]:
        status, out, err = shell(*words)
        assert (status, out, err.count("\n")) == (2, "", 1), (words, err)
        assert message in err


def test_the_environment_holds_for_whoever_opens_a_bundle(
    signed: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsigned = tiny_bundle(tmp_path / "unsigned").folder
    frame = frame_of(road_cloud(np.random.default_rng(0)))
    monkeypatch.setenv(TRUSTED_KEY_VARIABLE, str(public_of(key)))
    with open_pipeline(signed, simple_rig()) as pipeline:
        assert len(pipeline(frame)) > 0
    with pytest.raises(BundleError, match="not signed"):
        open_pipeline(unsigned, simple_rig())
    tiny_bundle(tmp_path / "packed later")  # packing is not opening
    other = write_key_pair(tmp_path / "other.pem")
    with pytest.raises(BundleError, match="signed by"):
        open_bundle(signed, trusted_keys=other)  # an argument is stronger
    monkeypatch.setenv(TRUSTED_KEY_VARIABLE, str(tmp_path / "absent.pem"))
    with pytest.raises(UnderstudyError, match=r"absent\.pem"):
        open_bundle(signed)


def test_a_node_is_held_to_it_too(signed: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = pytest.importorskip("understudy_ros.student")
    monkeypatch.setenv(TRUSTED_KEY_VARIABLE, str(public_of(key)))
    student.bundle_student(signed, simple_rig()).close()
    student.bundle_student(write_archive(signed, tmp_path / "fleet.zip"), simple_rig()).close()
    with pytest.raises(BundleError, match="not signed"):
        student.bundle_student(tiny_bundle(tmp_path / "unsigned").folder, simple_rig())


@pytest.mark.parametrize(
    "verb", ["inspect", "compile", "latency", "compare", "evaluate", "replay", "annotate", "autoware"]
)
def test_every_verb_that_opens_a_bundle_can_require_a_signature(
    shell: Shell, key: Path, tmp_path: Path, verb: str
) -> None:
    unsigned = tiny_bundle(tmp_path / "unsigned").folder
    simple_rig().write(tmp_path / "rig.yaml")
    words: dict[str, tuple[object, ...]] = {
        "inspect": (unsigned,),
        "compile": (unsigned,),
        "latency": (unsigned, "--data", tmp_path),
        "compare": (unsigned, "--data", tmp_path),
        "evaluate": (unsigned, "--data", tmp_path),
        "replay": (tmp_path / "bag", unsigned, "--out", tmp_path / "out", "--rig", tmp_path / "rig.yaml"),
        "annotate": (tmp_path, "--model", unsigned, "--out", tmp_path / "out", "--rig", tmp_path / "rig.yaml"),
        "autoware": (unsigned, "--out", tmp_path / "out"),
    }
    status, out, err = shell(verb, *words[verb], "--require-signature", public_of(key))
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert os.environ[TRUSTED_KEY_VARIABLE] == str(public_of(key))
    if verb not in {"evaluate", "annotate"}:  # these look at their data first
        assert f"{unsigned}: manifest.sig: found not signed" in err
    assert not (unsigned / "engines").exists()


PROGRAM = """
import sys
sys.modules["cryptography"] = None
from pathlib import Path
from understudy.bundle.bundle import open_bundle
from understudy.errors import BundleError
folder, keys = map(Path, sys.argv[1:])
print(open_bundle(folder).signed_by)
try:
    open_bundle(folder, trusted_keys=keys)
except BundleError as error:
    print(error)
"""


def test_without_the_package_a_signature_is_refused_not_believed(signed: Path, key: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, str(signed), str(public_of(key))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    signer, refusal = done.stdout.splitlines()
    assert len(signer) == 16
    assert "package cryptography" in refusal
    assert "pip install 'understudy[signing]'" in refusal
