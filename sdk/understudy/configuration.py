"""One way to read and write checked YAML: frozen, nothing extra allowed, errors that name file and field."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from understudy.errors import InputError, UnderstudyError


class Config(BaseModel):
    """Base of every configuration record: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


ConfigT = TypeVar("ConfigT", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping read with the safe loader.

    Raises:
        InputError: when the file is missing, is not YAML or is not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}", found="no such file", remedy="check the path") from None
    except OSError as error:
        raise InputError(f"{path}", found=what_is_there(path, error), wanted="a YAML file") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}", found=str(error), wanted="a YAML file") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}", found=type(values).__name__, wanted="a YAML mapping")
    return values


def what_is_there(path: Path, error: OSError) -> str:
    """What a file that cannot be read is instead, for a message."""
    return "a folder" if path.is_dir() else (error.strerror or str(error)).lower()


def read_config(path: Path, kind: type[ConfigT], error: type[UnderstudyError] = InputError) -> ConfigT:
    """Reads and checks a configuration file.

    Raises:
        UnderstudyError: of type `error`, naming the file and the first field that is wrong.
    """
    return check_config(read_yaml(path), kind, str(path), error)


def check_config(values: Any, kind: type[ConfigT], source: str, error: type[UnderstudyError] = InputError) -> ConfigT:
    """Checks already parsed values; `source` names where they came from in the message."""
    try:
        return kind.model_validate(values)
    except ValidationError as failure:
        first = failure.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "(top level)"
        more = f" (and {failure.error_count() - 1} more)" if failure.error_count() > 1 else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(_known_keys(kind, first["loc"]))
            raise error(
                f"{source}: unknown key {where}{more}", wanted=f"one of: {known}", remedy="remove or correct it"
            ) from None
        raise error(f"{source}: {where}{more}", **_said(first)) from None


def _said(failure: Any) -> dict[str, str]:
    """What was found and wanted where pydantic refuses a value; of a whole section that does not fit, only what is."""
    kind, value, text, about = (*(failure[key] for key in ("type", "input", "msg")), failure.get("ctx", {}))
    if kind == "value_error" and isinstance(value, dict | BaseModel):
        return {"found": text.removeprefix("Value error, ")}
    if kind == "missing":
        return {"found": "no such key", "wanted": "one: it has no default"}
    if kind == "union_tag_invalid":
        return {"found": about["tag"], "wanted": f"one of: {about['expected_tags']}".replace("'", "")}
    if kind == "union_tag_not_found":
        return {"found": f"no {about['discriminator']}".replace("'", ""), "wanted": "one that says what it is"}
    wanted = {
        "too_short": f"at least {about.get('min_length')} of them",
        "string_pattern_mismatch": f"a name that matches {about.get('pattern')}",
    }
    return {"found": repr(value)[:80], "wanted": wanted.get(kind) or _message(text)}


def _message(text: str) -> str:
    """What a validator of ours said, without pydantic's own words before it."""
    return text.removeprefix("Value error, ").removeprefix("Input should be ")


def _known_keys(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys allowed at the place of `location`'s last part; unions are followed by their tags, as pydantic does."""
    models = [kind]
    for part in location[:-1]:
        tagged = [model for model in models if _tag(model) == part]
        inside = [field for model in models if (field := model.model_fields.get(str(part))) is not None]
        models = tagged or [found for field in inside for found in _models_in(field.annotation)] or models
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _tag(model: type[BaseModel]) -> Any:
    field = model.model_fields.get("kind")
    return field.default if field is not None else None


def write_yaml(path: Path, config: BaseModel) -> None:
    """Writes a configuration so that `read_config` gives an equal one."""
    path.write_text(dump_yaml(config), encoding="utf-8")


def refuse_unlikely_json(path: Path) -> None:
    """Says before long work what `write_json` would say after it.

    Raises:
        InputError: when a record cannot be written there, or another file is there.
    """
    if path.is_file() and path.suffix != ".json":
        raise InputError(f"{path}", found="another file there", wanted="a new file, or one named *.json")
    nearest = next(place for place in path.absolute().parents if place.exists())
    if path.is_dir() or not nearest.is_dir():
        found = "a folder" if path.is_dir() else f"{nearest}, which is no folder"
        raise InputError(f"{path}", found=found, wanted="a file that can be written")


def write_json(path: Path, record: BaseModel) -> None:
    """Writes a record for other programs to read; its folder is made.

    Raises:
        InputError: when the file cannot be written, or one that is there is not named as JSON: it is something else.
    """
    refuse_unlikely_json(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}", found=error.strerror, wanted="a file that can be written") from error


def dump_yaml(config: BaseModel) -> str:
    """The configuration as YAML, in field order."""
    return yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False, width=100)


def content_hash(config: BaseModel) -> str:
    """SHA-256 of the configuration's canonical JSON: equal contents, equal hash, however the file was written."""
    values = config.model_dump(mode="json", exclude_none=True)
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
