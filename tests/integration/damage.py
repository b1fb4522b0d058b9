"""Ways to make a good input wrong: each gives a step that works on copies in an empty folder."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pyarrow import feather

from tests.integration.chain import Chain
from understudy.bags.reader import BagReader
from understudy.bags.types import make_message
from understudy.bags.writer import BagWriter
from understudy.datasets.feather import write_feather
from understudy.messages.cloud_layouts import LAYOUTS, cloud_message
from understudy.messages.clouds import cloud_from_message

Step = Callable[[Chain, Path], None]
Edit = Callable[[Any], Any]
POINTS = "/sensors/lidar/points"


def copy(link: str, to: str = "") -> Step:
    """A copy of a link of the chain, to be damaged by the steps after it."""

    def step(chain: Chain, here: Path) -> None:
        source, target = chain.names[link], here / (to or chain.names[link].name)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)

    return step


def write(name: str, contents: str | bytes = "") -> Step:
    """A file with these contents."""

    def step(chain: Chain, here: Path) -> None:
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)

    return step


def folder(name: str) -> Step:
    """An empty folder, in the place of whatever was there."""

    def step(chain: Chain, here: Path) -> None:
        (here / name).unlink(missing_ok=True)
        (here / name).mkdir(parents=True)

    return step


def remove(name: str) -> Step:
    """Takes a file or folder away."""

    def step(chain: Chain, here: Path) -> None:
        path = here / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return step


def cut(name: str, num_bytes: int) -> Step:
    """Takes bytes off the end of a file."""
    return _rewrite(name, lambda contents: contents[:-num_bytes])


def flip(name: str, place: int = 1000) -> Step:
    """Turns one bit of a file."""
    return _rewrite(name, lambda contents: contents[:place] + bytes([contents[place] ^ 1]) + contents[place + 1 :])


def swap(name: str, old: str, new: str) -> Step:
    """Replaces a text that must be there."""

    def change(contents: bytes) -> bytes:
        assert old.encode() in contents, f"{old} is not in {name}"
        return contents.replace(old.encode(), new.encode())

    return _rewrite(name, change)


def edit(name: str, **values: Any) -> Step:
    """Sets keys of a YAML file; `a__b=1` sets `b` inside `a`."""

    def change(contents: bytes) -> bytes:
        tree = yaml.safe_load(contents)
        for key, value in values.items():
            *parents, last = key.split("__")
            place = tree
            for parent in parents:
                place = place[parent]
            place[last] = value
        return yaml.safe_dump(tree).encode()

    return _rewrite(name, change)


def change_json(name: str, change: Edit) -> Step:
    """Changes what a JSON file holds; what the change returns, or the content that it changed in place."""

    def changed(contents: bytes) -> bytes:
        tree = json.loads(contents)
        new = change(tree)
        return json.dumps(tree if new is None else new).encode()

    return _rewrite(name, changed)


def change_arrays(name: str, **changes: Edit) -> Step:
    """Changes arrays of an npz file by name; None leaves one out."""

    def step(chain: Chain, here: Path) -> None:
        with np.load(here / name, allow_pickle=False) as stored:
            arrays = {key: changes[key](stored[key]) if key in changes else stored[key] for key in stored.files}
        np.savez(here / name, **{key: values for key, values in arrays.items() if values is not None})

    return step


def change_columns(name: str, **changes: Edit) -> Step:
    """Changes columns of a Feather table."""

    def step(chain: Chain, here: Path) -> None:
        table = feather.read_table(here / name, memory_map=False)
        columns = {key: table[key].to_numpy() for key in table.column_names}
        write_feather(here / name, {key: changes.get(key, np.asarray)(values) for key, values in columns.items()})

    return step


def archive(**entries: str) -> Step:
    """`bundle.zip` with these entries; `__` in a name stands for a slash, `up` for the folder above."""

    def step(chain: Chain, here: Path) -> None:
        with zipfile.ZipFile(here / "bundle.zip", "w") as stream:
            for name, contents in entries.items():
                stream.writestr(name.replace("__", "/").replace("up/", "../"), contents)

    return step


def archive_with_link() -> Step:
    """`bundle.zip` with a symbolic link to a file outside."""

    def step(chain: Chain, here: Path) -> None:
        entry = zipfile.ZipInfo("manifest.yaml")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(here / "bundle.zip", "w") as stream:
            stream.writestr(entry, "/etc/hostname")

    return step


def link(name: str, target: str) -> Step:
    """A symbolic link in the place of a file."""

    def step(chain: Chain, here: Path) -> None:
        (here / name).unlink(missing_ok=True)
        (here / name).symlink_to(target)

    return step


def bag(change: Edit, topics: tuple[str, ...] = (POINTS,)) -> Step:
    """A copy of the bag with every cloud message changed, on each of the topics; None leaves all clouds out."""

    def step(chain: Chain, here: Path) -> None:
        with BagReader(chain.bag) as reader, BagWriter(here / "bag") as writer:
            for message in reader.messages():
                content = reader.decode(message)
                for topic in topics if message.topic == POINTS else (message.topic,):
                    changed = change(content) if message.topic == POINTS else content
                    if changed is not None:
                        writer.write(topic, changed, message.log_time_ns)
        shutil.copyfile(chain.bag / "rig.yaml", here / "bag" / "rig.yaml")

    return step


def points(change: Callable[[np.ndarray], np.ndarray]) -> Edit:
    """Changes the `(N, 4)` points of a cloud message."""

    def changed(message: Any) -> Any:
        cloud = cloud_from_message(message)
        cloud = replace(cloud, points=change(cloud.points.copy()).astype(np.float32), time_offset_s=None, ring=None)
        return cloud_message(make_message, cloud, LAYOUTS["plain"], 1.0)

    return changed


def fields(change: Callable[[Any], Any]) -> Edit:
    """Changes the point fields of a cloud message; None leaves a field out."""

    def changed(message: Any) -> Any:
        kept = [new for field in message.fields if (new := change(field)) is not None]
        return replace(message, fields=kept)

    return changed


def _rewrite(name: str, change: Callable[[bytes], bytes]) -> Step:
    def step(chain: Chain, here: Path) -> None:
        (here / name).write_bytes(change((here / name).read_bytes()))

    return step
