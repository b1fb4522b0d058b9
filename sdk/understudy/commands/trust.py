"""The option --require-signature, the same in every verb that opens a bundle."""

from __future__ import annotations

import os
from pathlib import Path

import typer


def _trust(keys: Path | None) -> Path | None:
    """Holds for the whole process and those it starts, as the environment variable does: it is that variable."""
    if keys is not None:
        from understudy.bundle.signing import TRUSTED_KEY_VARIABLE, public_keys

        public_keys(keys)
        os.environ[TRUSTED_KEY_VARIABLE] = str(keys.absolute())
    return keys


REQUIRE_SIGNATURE: Path | None = typer.Option(
    None,
    "--require-signature",
    metavar="PUBLIC",
    help="Open bundles only if signed by this key; else the one in $UNDERSTUDY_TRUSTED_KEY.",
    callback=_trust,
)
