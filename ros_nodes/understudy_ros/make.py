"""Messages of rclpy's classes, for the builders in `understudy.messages`."""

from __future__ import annotations

from array import array
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from understudy.errors import InputError


@cache
def message_class(type_name: str) -> Any:
    """The class of `package/msg/Name`.

    Raises:
        InputError: when its package is not installed.
    """
    package, _, name = type_name.split("/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except ImportError:
        remedy = f"install ros-$ROS_DISTRO-{package.replace('_', '-')}, or turn off the output that needs it"
        raise InputError(f"message package {package}", found="not installed", remedy=remedy) from None


def make_message(type_name: str, /, **fields: Any) -> Any:
    """A message of rclpy's class for `type_name`."""
    return message_class(type_name)(**{name: _assignable(value) for name, value in fields.items()})


def _assignable(value: Any) -> Any:
    """Bytes as rclpy stores them: an ndarray would be taken apart number by number."""
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return array("B", value.tobytes())
    return value
