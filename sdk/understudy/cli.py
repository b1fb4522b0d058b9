"""The command `understudy VERB`.

Verbs come from the installed packages through entry points, so a vehicle without torch shows what it can do and says
what to install for the rest.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import typer

from understudy.errors import UnderstudyError

GROUP = "understudy.commands"
CHAIN = (
    *("scenes", "dataset", "train", "distill", "label-free", "evaluate", "score", "export", "quantize", "pack"),
    *("compile", "inspect", "keygen", "sign", "verify", "autoware", "compare", "record", "replay", "annotate"),
    *("faults", "latency", "ledger", "report", "rig", "doctor"),
)
"""The order in which verbs are listed: the order in which a student is made."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of writing that carry no file name."""
_INTERRUPTED = 130
"""What typer returns for an interrupt that it caught."""
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

# Newer typer carries its own copy of click: what it raises on wrong arguments is found through its public classes.
_USAGE_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


@dataclass(frozen=True)
class Needs:
    """What a verb needs beyond the runtime: modules to be importable and the extra that installs them."""

    modules: tuple[str, ...] = ()
    extra: str = ""

    @property
    def missing(self) -> list[str]:
        """The modules that are not installed."""
        return [name for name in self.modules if importlib.util.find_spec(name) is None]


def needs(*modules: str, extra: str) -> Callable[[FunctionT], FunctionT]:
    """Marks a command with the modules it needs, so that it is offered only where it can run."""

    def mark(function: FunctionT) -> FunctionT:
        function.needs = Needs(modules, extra)  # type: ignore[attr-defined]
        return function

    return mark


def build_app() -> typer.Typer:
    """The application with every verb whose needs are met."""
    app = typer.Typer(
        name="understudy",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="From a big teacher to a compact student on the vehicle: distill, quantize, compile, replay, profile.",
    )

    @app.callback()
    def root(verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what the library does.")) -> None:
        level = logging.DEBUG if verbose else logging.WARNING
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")

    for entry_point in sorted(entry_points(group=GROUP), key=_place_in_chain):
        _add(app, entry_point)
    return app


def _place_in_chain(entry_point: EntryPoint) -> tuple[int, str]:
    place = CHAIN.index(entry_point.name) if entry_point.name in CHAIN else len(CHAIN)
    return place, entry_point.name


def _add(app: typer.Typer, entry_point: EntryPoint) -> None:
    try:
        function = entry_point.load()
    except (ImportError, AttributeError) as error:
        _add_unavailable(app, entry_point.name, found=str(error), remedy="reinstall the package that brings this verb")
        return
    required: Needs = getattr(function, "needs", Needs())
    if required.missing:
        found = f"{', '.join(required.missing)} not installed"
        _add_unavailable(app, entry_point.name, found, remedy=f"pip install 'understudy[{required.extra}]'")
    elif isinstance(function, typer.Typer):
        app.add_typer(function, name=entry_point.name)
    else:
        app.command(entry_point.name)(function)


def _add_unavailable(app: typer.Typer, name: str, found: str, remedy: str) -> None:
    """A verb that cannot run here still stands in the list, and says why when it is called."""

    def refuse() -> None:
        raise UnderstudyError(f"understudy {name}", found=found, remedy=remedy)

    lenient = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    app.command(name, help=f"Not available here: {remedy}.", context_settings=lenient)(refuse)


def main() -> None:
    """Runs the command line: 0 on success, 1 when a check found a difference, 2 on wrong input (one line, no trace).

    130 when interrupted, as shells have it.
    """
    try:
        status = build_app()(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except UnderstudyError as error:
        sys.exit(_refuse(str(error)))
    except _USAGE_ERROR as error:
        sys.exit(_refuse(error.format_message().replace("Value error, ", "")))
    except (typer.Abort, KeyboardInterrupt):
        status = _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        sys.exit(_refuse(_about_the_disk(error)))
    if status == _INTERRUPTED:
        _refuse("interrupted")
    sys.exit(status if isinstance(status, int) else 0)


def _about_the_disk(error: OSError) -> str:
    """A path that cannot be used or a disk that is full is no bug; with `--verbose` the place is logged."""
    logging.getLogger(__name__).debug("where it happened", exc_info=error)
    what, remedy = (
        str(error.filename2 or error.filename or "disk"),
        "check the path, its permissions and the space left",
    )
    return str(UnderstudyError(what, found=error.strerror or str(error), remedy=remedy))


def _refuse(message: str) -> int:
    typer.echo(f"error: {message}", err=True)
    return 2
