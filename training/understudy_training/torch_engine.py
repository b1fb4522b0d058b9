"""The network in the framework it was trained in, behind the engine contract: rung 0 of the parity ladder.

It runs the very module that is exported, so what it says is what the exported graph has to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.bundle.manifest import Contract
from understudy.engines.engine import Arrays, DescribedEngine, TensorSpec, check_feeds
from understudy.engines.opening import OpenedModel
from understudy.errors import EngineError
from understudy_training.checkpoint import load_detector
from understudy_training.models.detector import BevDetector
from understudy_training.models.graph import ExportSpec


class TorchEngine(DescribedEngine):
    """A detector's export module in PyTorch eager, on the CPU.

    Args:
        detector: the network; a copy is run, so it may be trained on.
        contract: what the network takes and says.
        threads: threads within an operator; set around each call, as PyTorch's setting is the process's.

    Raises:
        EngineError: when threads is below 1.
    """

    def __init__(self, detector: BevDetector, contract: Contract, threads: int = 1) -> None:
        if threads < 1:
            raise EngineError("threads", found=threads, wanted="1 or more")
        self.contract = contract
        self._threads = threads
        self._spec: ExportSpec | None = detector.export_spec()
        self._inputs = input_specs(self._spec)
        self._outputs = self._output_specs(self._spec)
        self._description = f"torch {torch.__version__}, eager, cpu, {threads} thread{'s' * (threads > 1)}"

    def __call__(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Runs once; the arrays returned are the caller's.

        Raises:
            EngineError: when the engine is closed, or a feed is missing, unknown, of another dtype or shape.
        """
        if self._spec is None:
            raise EngineError("engine", found="closed", wanted="open", remedy="open it again")
        check_feeds(self._inputs, feeds)
        tensors = [torch.from_numpy(np.require(feeds[spec.name], requirements="CW")) for spec in self._inputs]
        with _threads(self._threads), torch.inference_mode():
            values = self._spec.module(*tensors)
        return {name: value.numpy() for name, value in zip(self._spec.output_names, values, strict=True)}

    def close(self) -> None:
        """Frees the network; further calls are an error. Closing twice is harmless."""
        self._spec = None

    def _output_specs(self, spec: ExportSpec) -> tuple[TensorSpec, ...]:
        with _threads(self._threads), torch.inference_mode():
            values = spec.module(*spec.example)
        named = zip(spec.output_names, values, strict=True)
        return tuple(TensorSpec(name, _dtype(value), tuple(value.shape)) for name, value in named)


def open_torch_engine(run: Path, *, threads: int = 1) -> OpenedModel:
    """The network of a training run and its contract.

    Raises:
        InputError: when the folder is no finished run.
    """
    detector, contract = load_detector(run)
    return OpenedModel(contract, TorchEngine(detector, contract, threads))


def input_specs(spec: ExportSpec) -> tuple[TensorSpec, ...]:
    """Names, dtypes and shapes of an export specification's inputs; axes that vary by name."""
    return tuple(
        TensorSpec(name, _dtype(value), _shape(value, spec.dynamic.get(name, {})))
        for name, value in zip(spec.input_names, spec.example, strict=True)
    )


def _shape(value: torch.Tensor, dynamic: Any) -> tuple[int | str, ...]:
    return tuple(dynamic.get(axis, size) for axis, size in enumerate(value.shape))


def _dtype(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
