"""Who a bundle is from: an ed25519 signature of its manifest, which holds the hash of every model.

Engines are made on the vehicle and stand outside the signature; each is keyed by the hash of the ONNX file it was
built from. Needs the package cryptography, but only to sign or to verify.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.bundle.checksums import write_checksums
from understudy.bundle.names import MANIFEST, SIGNATURE
from understudy.errors import BundleError, InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TRUSTED_KEY_VARIABLE = "UNDERSTUDY_TRUSTED_KEY"
"""Environment variable with the file of public keys of which one must have signed every bundle that is opened."""

_FORMAT = re.compile(rb"ed25519\nkey ([0-9a-f]{64})\nsignature ([0-9a-f]{128})\n")
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_SHOWN_DIGITS = 16
_SIGN_AGAIN = "do not use it; get it again from whoever signed it"


@dataclass(frozen=True)
class _Signature:
    """Key is the SHA-256 of the raw public key, in hexadecimal digits."""

    key: str
    signature: bytes


def write_key_pair(private: Path) -> Path:
    """Makes a key pair; the private key can be read by its owner alone.

    Args:
        private: PEM file (PKCS 8, not encrypted) to write; the public key goes beside it, as NAME.pub.pem.

    Returns:
        The file of the public key.

    Raises:
        InputError: when one of the files is there, or cannot be written.
    """
    if not private.name:
        raise InputError(f"{private}", found="a folder", wanted="a new file", remedy="name it: fleet.pem")
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = private.with_name(f"{private.name.removesuffix('.pem')}.pub.pem")
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise InputError(f"{path}", found="a file there", wanted="a new one", remedy="keys are never overwritten")
    key = Ed25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _write_new(private, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), 0o600)
    _write_new(public, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo), 0o644)
    return public


def sign_manifest(folder: Path, private: Path) -> str:
    """Writes the signature of a bundle's manifest beside it; one that is there is replaced.

    Returns:
        The short name of the key.

    Raises:
        InputError: when the file is no ed25519 private key.
    """
    key = _private_key(private)
    name = _name_of(key.public_key())
    signature = key.sign((folder / MANIFEST).read_bytes()).hex()
    (folder / SIGNATURE).write_text(f"ed25519\nkey {name}\nsignature {signature}\n", encoding="ascii", newline="\n")
    write_checksums(folder)
    return name[:_SHOWN_DIGITS]


def signer_of(folder: Path, source: Path) -> str:
    """Short name of the key that a bundle says it is signed by, which proves nothing yet; empty when unsigned.

    Raises:
        BundleError: when there is a file that is no signature.
    """
    return _read(folder, source).key[:_SHOWN_DIGITS] if _is_there(folder) else ""


def refuse_unless_signed(folder: Path, keys: Path, source: Path) -> None:
    """Checks the signature of a bundle's manifest.

    Args:
        folder: where the bundle's files are.
        keys: PEM file with the public keys that are trusted, one or several.
        source: the bundle as the user named it.

    Raises:
        BundleError: when it is not signed, by another key, or its manifest was changed since.
        InputError: when `keys` is no such file.
    """
    trusted = {_name_of(key): key for key in public_keys(keys)}
    wanted = f"signed by {' or '.join(name[:_SHOWN_DIGITS] for name in trusted)} ({keys})"
    if not _is_there(folder):
        remedy = "do not use it, or have it signed: understudy sign"
        raise BundleError(f"{source}: {SIGNATURE}", found="not signed", wanted=wanted, remedy=remedy)
    signature = _read(folder, source)
    if signature.key not in trusted:
        found = f"signed by {signature.key[:_SHOWN_DIGITS]}"
        raise BundleError(f"{source}: {SIGNATURE}", found=found, wanted=wanted, remedy=_SIGN_AGAIN)
    from cryptography.exceptions import InvalidSignature

    try:
        trusted[signature.key].verify(signature.signature, (folder / MANIFEST).read_bytes())
    except InvalidSignature:
        found = f"a {MANIFEST} that is not the one that was signed"
        raise BundleError(f"{source}: {SIGNATURE}", found=found, wanted=wanted, remedy=_SIGN_AGAIN) from None


def trusted_key(asked: Path | None) -> Path | None:
    """The file of trusted keys: the one asked for, else the one that the environment names, else none."""
    named = os.environ.get(TRUSTED_KEY_VARIABLE, "")
    return asked or (Path(named) if named else None)


def public_keys(path: Path) -> list[Ed25519PublicKey]:
    """The public keys in a PEM file.

    Raises:
        InputError: when there is none, or one that is no ed25519 public key.
    """
    serialization = _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    blocks = list(_PEM_BLOCK.finditer(_bytes_of(path, "public")))
    keys = []
    for block in blocks:
        if b"PRIVATE" in block[1]:
            remedy = "a vehicle needs the public one alone"
            raise InputError(f"{path}", found="a private key", wanted="an ed25519 public key", remedy=remedy)
        try:
            key = serialization.load_pem_public_key(block[0])
        except (ValueError, UnsupportedAlgorithm):
            raise _no_key(path, "a damaged or unknown key", "public") from None
        if not isinstance(key, Ed25519PublicKey):
            raise _no_key(path, _kind_of(key), "public")
        keys.append(key)
    if not keys:
        raise _no_key(path, "no key", "public")
    return keys


def _private_key(path: Path) -> Ed25519PrivateKey:
    serialization = _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    data = _bytes_of(path, "private")
    if b"-----BEGIN PUBLIC KEY-----" in data:
        raise _no_key(path, "a public key", "private")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        remedy = f"decrypt it where it is used: openssl pkey -in {path}"
        raise InputError(f"{path}", found="an encrypted key", wanted="a plain one", remedy=remedy) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "no key", "private") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, _kind_of(key), "private")
    return key


def _kind_of(key: object) -> str:
    return f"a key of another kind ({type(key).__name__.lstrip('_')})"


def _no_key(path: Path, found: str, half: str) -> InputError:
    wanted = f"an ed25519 {half} key in PEM"
    return InputError(f"{path}", found=found, wanted=wanted, remedy="make a pair: understudy keygen")


def _bytes_of(path: Path, half: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _no_key(path, error.strerror or str(error), half) from None


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise InputError(f"{path}", found=error.strerror, wanted="a new file that can be written") from error
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)


def _is_there(folder: Path) -> bool:
    return (folder / SIGNATURE).exists() or (folder / SIGNATURE).is_symlink()


def _read(folder: Path, source: Path) -> _Signature:
    path = folder / SIGNATURE
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{source}: {SIGNATURE}", found="no plain file", wanted="a signature", remedy=_SIGN_AGAIN)
    match = _FORMAT.fullmatch(path.read_bytes())
    if match is None:
        found = f"{path.stat().st_size} bytes that are no signature"
        raise BundleError(f"{source}: {SIGNATURE}", found=found, wanted="one of ed25519", remedy=_SIGN_AGAIN)
    return _Signature(match[1].decode("ascii"), bytes.fromhex(match[2].decode("ascii")))


def _name_of(key: Ed25519PublicKey) -> str:
    serialization = _serialization()
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        remedy = "pip install 'understudy[signing]'"
        raise BundleError("package cryptography", found=str(error), wanted="installed", remedy=remedy) from error
    return serialization
