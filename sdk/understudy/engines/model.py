"""A bundle or a training run, whichever a path holds, as a network ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from understudy.bundle.archives import is_archive
from understudy.bundle.bundle import MANIFEST, open_bundle
from understudy.bundle.manifest import Precision
from understudy.engines.opening import OpenedModel, open_engine, open_reference
from understudy.errors import InputError

_CONTRACT, _EXPORTED = "contract.yaml", "model.onnx"


@dataclass(frozen=True, eq=False)
class NamedModel(OpenedModel):
    """An engine, the contract of its network, and what to call it: name and precision, or name and "reference"."""

    name: str


def open_model(path: Path, precision: Precision | None = None, *, threads: int = 1) -> NamedModel:
    """The network in a bundle (at `precision`, or what is fastest on a CPU) or in a training run (FP32 always).

    Raises:
        InputError: when the path is neither, or another precision than FP32 is asked of a run.
        UnderstudyError: when the bundle or run cannot be opened.
    """
    if not path.exists():
        raise InputError(f"{path}", found="no such file or folder", wanted="a bundle or a training run")
    if is_archive(path) or (path / MANIFEST).is_file():
        bundle = open_bundle(path)
        chosen = precision or bundle.best_cpu_precision
        engine = open_engine(bundle, chosen, threads=threads)
        return NamedModel(bundle.manifest, engine, f"{bundle.manifest.name} {chosen}")
    if (path / _EXPORTED).is_file():
        raise InputError(f"{path}", found="an export", wanted="a bundle", remedy="pack it: understudy pack")
    if not (path / _CONTRACT).is_file():
        wanted = f"a bundle ({MANIFEST}) or a training run ({_CONTRACT})"
        raise InputError(f"{path}", found="neither", wanted=wanted)
    if precision not in {None, "fp32"}:
        raise InputError(f"{path}: precision {precision}", found="a training run", wanted="fp32, or a bundle")
    opened = open_reference(path, threads=threads)
    return NamedModel(opened.contract, opened.engine, f"{opened.contract.name} reference")
