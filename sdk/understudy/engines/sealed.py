"""Records beside an engine that end with the hash of themselves: one flipped byte is found, whatever it says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import yaml

from understudy.configuration import Config, ConfigT, check_config, dump_yaml, read_config
from understudy.errors import EngineError

_YAML_FORMAT = re.compile(rb"(.*\n)seal: ([0-9a-f]{64})\n", re.DOTALL)
_JSON_FORMAT = re.compile(rb'(.*),\n  "seal": "([0-9a-f]{64})"\n\}\n', re.DOTALL)


def write_sealed(path: Path, record: Config) -> None:
    """Writes a record as YAML, or as JSON where the name says so, with its hash as the last entry."""
    if path.suffix == ".json":
        body = record.model_dump_json(indent=2).removesuffix("\n}")
        text = f'{body},\n  "seal": "{_sha256(body.encode())}"\n}}\n'
    else:
        body = dump_yaml(record)
        text = f"{body}seal: {_sha256(body.encode())}\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def read_sealed(path: Path, kind: type[ConfigT]) -> ConfigT:
    """Reads a record; one that an earlier version wrote without a hash is read as it is.

    Raises:
        EngineError: when it was changed since it was written, or is no such record.
    """
    is_json = path.suffix == ".json"
    match = (_JSON_FORMAT if is_json else _YAML_FORMAT).fullmatch(path.read_bytes())
    if match is None:
        return read_config(path, kind, EngineError)
    if _sha256(match[1]) != match[2].decode("ascii"):
        remedy = "compile it again, after removing this file"
        raise EngineError(f"{path}", found="changed or damaged", wanted="as it was written", remedy=remedy)
    text = match[1].decode("utf-8") + ("\n}" if is_json else "")
    return check_config(yaml.safe_load(text), kind, str(path), EngineError)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
