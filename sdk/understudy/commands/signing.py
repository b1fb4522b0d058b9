"""`understudy keygen`, `sign`, `verify`: who a bundle is from."""

from __future__ import annotations

from pathlib import Path

import typer

from understudy.cli import needs


@needs("cryptography", extra="signing")
def keygen(
    key: Path = typer.Argument(..., metavar="PRIVATE", help="PEM file to write; the public key goes beside it."),
) -> None:
    """Make an ed25519 key pair: the private key signs bundles, the public one goes on every vehicle."""
    from understudy.bundle.signing import write_key_pair

    public = write_key_pair(key)
    typer.echo(f"private key {key}: yours alone, not encrypted; whoever has it can sign")
    typer.echo(f"public key  {public}: goes on every vehicle")


@needs("cryptography", extra="signing")
def sign(
    path: Path = typer.Argument(..., metavar="BUNDLE", help="Bundle folder or single file; its signature is written."),
    key: Path = typer.Option(..., "--key", metavar="PRIVATE", help="Private key made by `understudy keygen`."),
) -> None:
    """Sign a bundle's manifest, which holds the hash of every model; all of them are verified first."""
    from understudy.bundle.bundle import open_anyones_bundle
    from understudy.bundle.signing import sign_manifest
    from understudy.bundle.single_file import writable

    bundle = open_anyones_bundle(path)
    with writable(path) as folder:
        signed_by = sign_manifest(folder, key)
    typer.echo(f"signed {path} ({bundle.fingerprint[:12]}) by {signed_by}")


def verify(
    path: Path = typer.Argument(..., metavar="BUNDLE", help="Bundle folder or single file."),
    key: Path | None = typer.Option(None, "--key", metavar="PUBLIC", help="Public key that must have signed it."),
) -> None:
    """Check every hash of a bundle, its compiled engines too, and with --key its signature."""
    from understudy.bundle.verifying import verify_bundle

    typer.echo("\n".join(verify_bundle(path, key)))
