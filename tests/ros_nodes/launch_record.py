"""Reads launch files without `launch`, which is not on PyPI: stand-ins keep what they were given.

Only the names in `ACCEPTED` exist, each with the keywords that the real one takes, so that a misspelled name fails here
as it would on a vehicle. `launched` then does what `ros2 launch` does with a description: it resolves arguments,
conditions and included files, and says which processes would be started and how.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

_PROCESS = "output condition on_exit additional_env respawn respawn_delay sigterm_timeout sigkill_timeout"
_NODE = f"package executable name namespace parameters remappings arguments ros_arguments {_PROCESS}"
ACCEPTED = {
    "launch": {"LaunchDescription": ""},
    "launch.actions": {
        "DeclareLaunchArgument": "default_value description choices condition",
        "EmitEvent": "event condition",
        "ExecuteProcess": f"cmd name cwd env shell {_PROCESS}",
        "IncludeLaunchDescription": "launch_arguments condition",
        "OpaqueFunction": "function args kwargs condition",
        "RegisterEventHandler": "condition",
        "SetEnvironmentVariable": "name value condition",
        "Shutdown": "reason condition",
        "TimerAction": "period actions condition",
    },
    "launch.conditions": {"IfCondition": ""},
    "launch.event_handlers": {
        "OnProcessExit": "target_action on_exit",
        "OnProcessStart": "target_action on_start",
    },
    "launch.events": {"matches_action": ""},
    "launch.launch_description_sources": {"PythonLaunchDescriptionSource": ""},
    "launch.substitutions": {"EnvironmentVariable": "default_value", "LaunchConfiguration": "default"},
    "launch_ros": {},
    "launch_ros.actions": {"LifecycleNode": _NODE, "Node": _NODE},
    "launch_ros.event_handlers": {
        "OnStateTransition": "entities target_lifecycle_node transition start_state goal_state matcher handle_once"
    },
    "launch_ros.events": {},
    "launch_ros.events.lifecycle": {"ChangeState": "lifecycle_node_matcher transition_id"},
    "launch_ros.parameter_descriptions": {"ParameterValue": "value_type"},
}
"""As in ros2/launch and ros2/launch_ros from Humble on."""


@dataclass(frozen=True, eq=False)
class Made:
    """A call of a stand-in."""

    kind: str
    given: tuple[Any, ...]
    named: dict[str, Any]

    def perform(self, context: Context) -> str:
        """The text of a substitution, as the real ones have it."""
        if self.kind == "LaunchConfiguration":
            return context.launch_configurations[self.given[0]]
        if self.kind == "EnvironmentVariable":
            return os.environ.get(self.given[0], self.named["default_value"])
        raise AssertionError(f"{self.kind} is no substitution")


@dataclass
class Context:
    """What launch knows while it goes through a description."""

    launch_configurations: dict[str, str]

    def text(self, value: Any) -> Any:
        """A value with its substitutions performed; a list of them is one text."""
        if isinstance(value, Made):
            return value.perform(self)
        return "".join(map(self.text, value)) if isinstance(value, list) else value


@dataclass(frozen=True, eq=False)
class Process:
    """What launch would start, every argument resolved."""

    action: Made
    name: str = ""
    namespace: str = ""
    params_files: tuple[Path, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    @property
    def executable(self) -> str:
        return str(self.action.named.get("executable", ""))


@dataclass
class Launched:
    """All that came of a launch file.

    Attributes:
        declared: arguments, included files' too.
        processes: those that start at once.
        handlers: with their targets, as made.
        environment: what was set for the processes.
    """

    declared: dict[str, Made] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    handlers: list[Made] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def process(self, executable: str) -> Process:
        [found] = [process for process in self.processes if process.executable == executable]
        return found


def launched(path: Path, **arguments: str) -> Launched:
    """What `ros2 launch PATH name:=value ...` would do."""
    made, context = Launched(), Context(dict(arguments))
    with _stand_ins():
        _visit(_description(path), context, made)
    return made


def evaluated(process: Made, context: Context) -> Process:
    """A node or process with its arguments resolved."""
    named = process.named
    if process.kind == "ExecuteProcess":
        return Process(process, command=tuple(context.text(word) for word in named["cmd"]))
    parameters = named.get("parameters", [])
    typed = {
        key: _typed(value, context) for entry in parameters if isinstance(entry, dict) for key, value in entry.items()
    }
    return Process(
        process,
        name=context.text(named.get("name", "")),
        namespace=context.text(named.get("namespace", "")),
        params_files=tuple(Path(context.text(entry)) for entry in parameters if not isinstance(entry, dict)),
        parameters=typed,
        remappings={source: context.text(target) for source, target in named.get("remappings", [])},
        command=tuple(context.text(word) for word in named.get("arguments", [])),
    )


def _typed(value: Any, context: Context) -> Any:
    """A parameter; launch reads an untyped text as YAML and refuses an empty one, so we want the type always."""
    if not isinstance(value, Made):
        return value
    assert value.kind == "ParameterValue", f"{value.kind} as a parameter without a type"
    text = context.text(value.given[0])
    return (
        {"true": True, "false": False}[text] if value.named["value_type"] is bool else value.named["value_type"](text)
    )


def _visit(entries: list[Any], context: Context, made: Launched) -> None:
    for entry in entries:
        condition = entry.named.get("condition")
        if condition is None or context.text(condition.given[0]) == "true":
            _VISITS[entry.kind](entry, context, made)


def _declare(entry: Made, context: Context, made: Launched) -> None:
    name, configurations = entry.given[0], context.launch_configurations
    made.declared[name] = entry
    if name not in configurations:
        assert "default_value" in entry.named, f"required launch argument {name} was not provided"
        configurations[name] = context.text(entry.named["default_value"])
    choices = entry.named.get("choices")
    assert not choices or configurations[name] in choices, f"{name}: {configurations[name]}, valid are {choices}"


def _set(entry: Made, context: Context, made: Launched) -> None:
    assert not made.processes, "the environment is set after a process was started"
    name, value = entry.given
    made.environment[name] = context.text(value)


def _start(entry: Made, context: Context, made: Launched) -> None:
    made.processes.append(evaluated(entry, context))


def _call(entry: Made, context: Context, made: Launched) -> None:
    _visit(entry.named["function"](context) or [], context, made)


def _include(entry: Made, context: Context, made: Launched) -> None:
    """With launch's own rule: what has no default must be handed on by name, though it is known already."""
    handed_on = {name: context.text(value) for name, value in entry.named.get("launch_arguments", [])}
    context.launch_configurations.update(handed_on)
    entries = _description(Path(context.text(entry.given[0].given[0])))
    required = {
        one.given[0] for one in entries if one.kind == "DeclareLaunchArgument" and "default_value" not in one.named
    }
    assert required <= handed_on.keys(), f"included launch description misses {required - handed_on.keys()}"
    _visit(entries, context, made)


_VISITS = {
    "DeclareLaunchArgument": _declare,
    "SetEnvironmentVariable": _set,
    "RegisterEventHandler": lambda entry, context, made: made.handlers.append(entry.given[0]),
    "LifecycleNode": _start,
    "Node": _start,
    "ExecuteProcess": _start,
    "OpaqueFunction": _call,
    "IncludeLaunchDescription": _include,
}


def _description(path: Path) -> list[Made]:
    spec = importlib.util.spec_from_file_location("launch_file", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entries: list[Made] = module.generate_launch_description().given[0]
    return entries


@contextmanager
def _stand_ins() -> Iterator[None]:
    """In place of `launch` for the while; whoever imported it meanwhile is forgotten with it."""
    names = [*ACCEPTED, "understudy_ros.launching"]
    kept = {name: sys.modules.pop(name, None) for name in names}
    for name, attributes in ACCEPTED.items():
        module = ModuleType(name)
        module.__path__ = []
        for attribute, keywords in attributes.items():
            setattr(module, attribute, _stand_in(attribute, set(keywords.split())))
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module_before in kept.items():
            sys.modules.pop(name, None)
            if module_before is not None:
                sys.modules[name] = module_before


def _stand_in(kind: str, accepted: set[str]) -> type:
    def keep(self: Made, *given: Any, **named: Any) -> None:
        assert named.keys() <= accepted, f"{kind} takes no {named.keys() - accepted}"
        Made.__init__(self, kind, given, named)

    return type(kind, (Made,), {"__init__": keep})
