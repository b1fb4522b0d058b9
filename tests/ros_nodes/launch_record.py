"""Reads a launch file without `launch`, which is not on PyPI: stand-ins keep what they were given.

Only the names in `NAMES` exist, so that a misspelled import fails here as it would on a vehicle.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

NAMES = {
    "launch": ("LaunchDescription",),
    "launch.actions": ("DeclareLaunchArgument", "EmitEvent", "RegisterEventHandler"),
    "launch.event_handlers": ("OnProcessStart",),
    "launch.events": ("matches_action",),
    "launch.substitutions": ("LaunchConfiguration",),
    "launch_ros": (),
    "launch_ros.actions": ("LifecycleNode",),
    "launch_ros.event_handlers": ("OnStateTransition",),
    "launch_ros.events": (),
    "launch_ros.events.lifecycle": ("ChangeState",),
}


@dataclass(frozen=True, eq=False)
class Made:
    """A call of a stand-in."""

    kind: str
    given: tuple[Any, ...]
    named: dict[str, Any]


def described_by(path: Path) -> list[Made]:
    """The entries of a launch file's description."""
    with _stand_ins():
        spec = importlib.util.spec_from_file_location("launch_file", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        entries: list[Made] = module.generate_launch_description().given[0]
        return entries


@contextmanager
def _stand_ins() -> Iterator[None]:
    kept = {name: sys.modules.get(name) for name in NAMES}
    for name, attributes in NAMES.items():
        module = ModuleType(name)
        module.__path__ = []
        for attribute in attributes:
            setattr(module, attribute, _stand_in(attribute))
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module_before in kept.items():
            sys.modules.pop(name)
            if module_before is not None:
                sys.modules[name] = module_before


def _stand_in(kind: str) -> type:
    def keep(self: Made, *given: Any, **named: Any) -> None:
        Made.__init__(self, kind, given, named)

    return type(kind, (Made,), {"__init__": keep})
