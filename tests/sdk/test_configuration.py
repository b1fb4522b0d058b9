from __future__ import annotations

import hashlib

import pytest
from pydantic import Field, ValidationError

from understudy.configuration import (
    Config,
    check_config,
    content_hash,
    dump_yaml,
    file_sha256,
    read_config,
    read_yaml,
    write_yaml,
)
from understudy.errors import InputError, RecipeError


class Inner(Config):
    rate_hz: float = Field(10.0, gt=0)


class Outer(Config):
    name: str
    inner: Inner = Inner()
    note: str | None = None


def test_configurations_are_read_as_written(tmp_path):
    config = Outer(name="first", inner=Inner(rate_hz=5))
    write_yaml(tmp_path / "config.yaml", config)
    assert read_config(tmp_path / "config.yaml", Outer) == config
    assert dump_yaml(config) == "name: first\ninner:\n  rate_hz: 5.0\n"


def test_the_hash_is_that_of_the_contents_not_of_the_file(tmp_path):
    (tmp_path / "a.yaml").write_text("name: x\n# a remark\ninner: {rate_hz: 10}\n")
    assert content_hash(read_config(tmp_path / "a.yaml", Outer)) == content_hash(Outer(name="x"))
    assert content_hash(Outer(name="x")) != content_hash(Outer(name="y"))


class Table(Config):
    rows: dict[str, int]


def test_the_hash_does_not_depend_on_the_order_of_keys():
    assert content_hash(Table(rows={"a": 1, "b": 2})) == content_hash(Table(rows={"b": 2, "a": 1}))
    assert content_hash(Table(rows={"a": 1, "b": 2})) != content_hash(Table(rows={"a": 2, "b": 1}))


def test_configurations_cannot_be_changed():
    with pytest.raises(ValidationError):
        Outer(name="x").name = "y"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ncolor: red", r"config\.yaml: unknown key color: wanted one of: name, inner, note; remove"),
        (
            "name: x\ninner: {rate_hz: -1}",
            r"config\.yaml: inner\.rate_hz: found -1, wanted greater than 0",
        ),
        ("name: x\ninner: {rate_hz: .inf}", r"inner\.rate_hz"),
        ("inner: {rate_hz: fast}", r"config\.yaml: name \(and 1 more\)"),
        ("- name", r"config\.yaml: found list, wanted a YAML mapping"),
        ("", r"found NoneType, wanted a YAML mapping"),
        ("name: [", r"config\.yaml: .*wanted a YAML file"),
        ("name: !!python/object/apply:os.getcwd []", r"config\.yaml: .*wanted a YAML file"),
    ],
)
def test_wrong_files_are_refused_in_one_line_by_file_and_field(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_config(path, Outer)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="wanted a YAML file"):
        read_yaml(tmp_path / "config.yaml")
    with pytest.raises(InputError, match="no such file"):
        read_yaml(tmp_path / "gone.yaml")


def test_the_kind_of_error_is_the_callers():
    with pytest.raises(RecipeError, match="recipe: name"):
        check_config({}, Outer, "recipe", RecipeError)


def test_files_are_hashed_in_blocks(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
