"""A topic that ROS does not take is the user's mistake: one line says which and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rclpy._rclpy_pybind11 import RCLError
from rclpy.exceptions import NameValidationException

from understudy.errors import InputError


@contextmanager
def naming(topic: str) -> Iterator[None]:
    """Around what opens a topic.

    Raises:
        InputError: when the name is none, or what is opened has another type than this process has there already.
    """
    try:
        yield
    except NameValidationException as error:
        reason, wanted = str(error).splitlines()[0].rstrip(":"), "letters, digits and _ between slashes, no digit first"
        raise InputError(f"topic {topic!r}", found=reason, wanted=wanted) from None
    except RCLError as error:
        reason = str(error).partition(", at ")[0]
        # Jazzy says "invalid allocator" of a second type, Kilted "incompatible type".
        wanted, remedy = "one type of message on it", "give each topic a name of its own, remappings included"
        raise InputError(f"topic {topic}", found=reason, wanted=wanted, remedy=remedy) from None
