"""Message types for bags: those of ROS 2 Jazzy and our own text of vision_msgs, which rosbags does not bring."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from understudy.errors import BagError


@lru_cache(maxsize=1)
def typestore() -> Any:
    """The type store that reading and writing share."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for package in (entry for entry in files("understudy.bags").joinpath("msg").iterdir() if entry.is_dir()):
        entries = [entry for entry in package.iterdir() if entry.name.endswith(".msg")]
        texts = {entry.name.removesuffix(".msg"): entry.read_text(encoding="utf-8") for entry in entries}
        types: dict[str, Any] = {}
        for name, text in texts.items():
            types.update(get_types_from_msg(text, f"{package.name}/msg/{name}"))
        store.register(types)
    return store


def make_message(type_name: str, /, **fields: Any) -> Any:
    """A message of rosbags' class for `type_name`; all fields must be given.

    Raises:
        BagError: when the type is unknown.
    """
    try:
        kind = typestore().types[type_name]
    except KeyError:
        raise BagError("message type", found=type_name, wanted="one of ROS 2 Jazzy or vision_msgs") from None
    return kind(**fields)
