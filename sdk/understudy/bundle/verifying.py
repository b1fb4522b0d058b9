"""`understudy verify`: everything in a bundle that has a hash, engines included, and who signed it."""

from __future__ import annotations

from pathlib import Path

from understudy.bundle.bundle import Bundle, open_anyones_bundle
from understudy.bundle.names import CHECKSUMS, ENGINES
from understudy.bundle.signing import refuse_unless_signed, trusted_key
from understudy.engines.engine_key import KnownEngine, attestation_of, known_engines
from understudy.errors import BundleError


def verify_bundle(path: Path, keys: Path | None = None) -> list[str]:
    """Checks manifest, models, engines and, with keys, the signature; says in lines what was checked.

    Args:
        path: folder or single file.
        keys: PEM file of trusted public keys; the environment's when left out.

    Raises:
        UnderstudyError: at the first thing that is not as it must be, naming it.
    """
    bundle = open_anyones_bundle(path)
    engines = known_engines(bundle)
    _refuse_damaged(bundle, engines)
    asked = trusted_key(keys)
    if asked is not None:
        refuse_unless_signed(bundle.folder, asked, path)
    has_checksums = (bundle.folder / CHECKSUMS).is_file()
    return [
        f"{path}: {bundle.manifest.name}, fingerprint {bundle.fingerprint[:12]}",
        f"manifest:  {'verified' if has_checksums else f'not verified, no {CHECKSUMS}'}",
        f"models:    {len(bundle.manifest.files)} verified",
        f"engines:   {_engines(engines)}",
        f"signature: {signature_line(bundle, asked)}",
    ]


def signature_line(bundle: Bundle, keys: Path | None) -> str:
    """State of the signature in a few words; `keys` are those it was verified with."""
    if not bundle.signed_by:
        return "none"
    return f"by {bundle.signed_by}, " + (f"verified with {keys}" if keys else "not verified: no key was named")


def _refuse_damaged(bundle: Bundle, engines: list[KnownEngine]) -> None:
    for known in engines:
        attestation_of(bundle, known.record)
        if known.state == "damaged":
            record = known.record
            raise BundleError(
                f"{bundle.source}: {ENGINES}/{record.file}",
                found="missing, changed or cut short",
                wanted=f"sha256 {record.sha256[:12]}",
                remedy=f"understudy compile --target {record.target} --precision {record.precision}",
            )


def _engines(engines: list[KnownEngine]) -> str:
    files = sum(bool(known.record.file) for known in engines)
    stale = sum(known.state == "stale" for known in engines)
    text = f"{files} verified" if files else "none"
    return f"{text}, {stale} of another model" if stale else text
